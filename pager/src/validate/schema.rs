//! The schema (section 2.6): the table at page 1, whose rows name the roots of all other trees.

use super::page::TreeKind;
use super::record;
use super::survey::Survey;
use super::tree;
use crate::error::Error;

/// Most bytes of a schema row that are looked at. The root page comes before the SQL, behind two names.
const MAX_ROW_BYTES: usize = 1 << 20;

/// A root, and the schema page that names it.
struct Root {
    page: u32,
    from: u32,
    /// What the tree has to be, if the row says it: a table may be without row ids, and is an index tree then.
    kind: Option<TreeKind>,
}

/// Walks the schema and all the trees that it names.
pub(super) fn walk(survey: &mut Survey<'_>) -> Result<(), Error> {
    let mut roots = Vec::new();
    tree::walk(
        survey,
        1,
        1,
        Some(TreeKind::Table),
        &mut |survey, page, local, payload| {
            let whole = tree::gather(survey, local, payload, MAX_ROW_BYTES)?;
            match read(&whole, payload.total) {
                Ok(None) => {}
                // Each tree has a page of its own, so no sound schema needs more memory than that.
                Ok(Some(_)) if roots.len() >= survey.pages as usize => {
                    survey.problem(page, "the schema names more trees than there are pages");
                }
                Ok(Some((root, kind))) => {
                    let root = u32::try_from(root).unwrap_or_default();
                    roots.push(Root {
                        page: root,
                        from: page,
                        kind,
                    });
                }
                Err(description) => survey.problem(page, description),
            }
            Ok(())
        },
    )?;
    let largest = roots.iter().map(|root| root.page).max().unwrap_or(1);
    if survey.header.is_auto_vacuum() && survey.header.largest_root_page != largest {
        let said = survey.header.largest_root_page;
        survey.problem(
            1,
            format!("the largest root page is {largest}, the header says {said}"),
        );
    }
    for root in roots {
        tree::walk(
            survey,
            root.page,
            root.from,
            root.kind,
            &mut |_, _, _, _| Ok(()),
        )?;
    }
    Ok(())
}

/// Root page and kind of tree of a row; `None` for what has no tree, as a view has none.
fn read(row: &[u8], total: u64) -> Result<Option<(i64, Option<TreeKind>)>, &'static str> {
    let mut values: [Option<(u64, &[u8])>; 5] = [None; 5];
    let mut count = 0;
    record::columns(row, total, |number, serial_type, place| {
        count = number + 1;
        let place = usize::try_from(place.start)
            .ok()
            .zip(usize::try_from(place.end).ok());
        let bytes = place.and_then(|(begin, end)| row.get(begin..end));
        if let (Some(value), Some(bytes)) = (values.get_mut(number), bytes) {
            *value = Some((serial_type, bytes));
        }
    })?;
    if count != values.len() {
        return Err("a row of the schema does not have five columns");
    }
    let [kind, _, _, root, _] = values;
    let (Some((_, kind)), Some((root_type, root))) = (kind, root) else {
        return Err("a row of the schema has names without end");
    };
    match (root_type, record::integer(root_type, root)) {
        (0, _) | (_, Some(0)) => Ok(None),
        (_, Some(root)) => {
            let kind = (kind == b"index").then_some(TreeKind::Index);
            Ok(Some((root, kind)))
        }
        (_, None) => Err("a row of the schema has a root page that is no number"),
    }
}
