//! What is checked when the load has ended: what the writers were told against what there is, in the cluster and in a file.

use std::path::Path;
use std::process::Stdio;

use ferrolite_client::Client;
use ferrolite_processes::Result;
use ferrolite_processes::files::integrity_check;
use tokio::io::AsyncBufReadExt;
use tokio::process::Command;

use crate::writers::{Outcome, Told, number, writer_and_place};

/// So many rows of one kind are named.
const MOST_NAMED: usize = 5;

/// What became of rows whose writers do not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) there: usize,
    pub(crate) unknown_and_there: usize,
}

/// Rows, held against what their writers were told. They come in the order of their rowids.
pub(crate) struct Rows<'a> {
    told: &'a [Told],
    seen: Vec<Vec<bool>>,
    tally: Tally,
    last_rowid: i64,
    wrong: Vec<String>,
    wrong_in_all: usize,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(told: &'a [Told]) -> Self {
        let none = |told: &Told| vec![false; told.outcomes.len()];
        Self {
            told,
            seen: told.iter().map(none).collect(),
            tally: Tally::default(),
            last_rowid: 0,
            wrong: Vec::new(),
            wrong_in_all: 0,
        }
    }

    fn wrong(&mut self, what: String) {
        self.wrong_in_all += 1;
        if self.wrong.len() < MOST_NAMED {
            self.wrong.push(what);
        }
    }

    /// There is a row.
    pub(crate) fn see(&mut self, rowid: i64, number: i64) {
        if rowid != self.last_rowid + 1 {
            let last = self.last_rowid;
            self.wrong(format!("row {rowid} follows row {last}"));
        }
        self.last_rowid = rowid;
        self.tally.there += 1;
        let found = writer_and_place(number).and_then(|(writer, place)| {
            let outcome = *self.told.get(writer)?.outcomes.get(place)?;
            let seen = self.seen.get_mut(writer)?.get_mut(place)?;
            Some((outcome, std::mem::replace(seen, true)))
        });
        match found {
            None => self.wrong(format!("{number} in row {rowid} was never sent")),
            Some((_, true)) => self.wrong(format!("{number} is there twice, once in row {rowid}")),
            Some((Outcome::Refused, _)) => {
                self.wrong(format!("{number} in row {rowid} was refused"));
            }
            Some((Outcome::Unknown, _)) => self.tally.unknown_and_there += 1,
            Some((Outcome::Acknowledged(told), _)) if told != rowid => self.wrong(format!(
                "{number} is in row {rowid}, and its writer was told {told}"
            )),
            Some((Outcome::Acknowledged(_), _)) => {}
        }
    }

    /// There are no more.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn end(mut self) -> Result<Tally, Vec<String>> {
        let (told, seen) = (self.told, std::mem::take(&mut self.seen));
        for (writer, (told, seen)) in told.iter().zip(&seen).enumerate() {
            for (place, (outcome, seen)) in told.outcomes.iter().zip(seen).enumerate() {
                if let (Outcome::Acknowledged(rowid), false) = (outcome, seen) {
                    let number = number(writer, place);
                    self.wrong(format!(
                        "{number} was acknowledged as row {rowid}, and is lost"
                    ));
                }
            }
            let halves = seen
                .chunks_exact(2)
                .filter(|pair| pair.first() != pair.last());
            if told.pairs && halves.count() > 0 {
                self.wrong(format!(
                    "halves of transactions of writer {writer} are there"
                ));
            }
        }
        if self.wrong_in_all == 0 {
            return Ok(self.tally);
        }
        let more = self.wrong_in_all - self.wrong.len();
        if more > 0 {
            self.wrong.push(format!("and {more} more"));
        }
        Err(self.wrong)
    }
}

/// Checks the rows that the cluster has.
///
/// # Errors
/// When they cannot be read. The inner error is what is wrong.
pub(crate) async fn rows_of_cluster(
    client: &Client,
    told: &[Told],
) -> Result<Result<Tally, Vec<String>>> {
    let mut rows = Rows::new(told);
    let all = "SELECT rowid, number FROM rows ORDER BY rowid";
    let mut stream = client.query_stream(all, ()).await?;
    while let Some((rowid, number)) = stream.next_as::<(i64, i64)>().await? {
        rows.see(rowid, number);
    }
    Ok(rows.end())
}

/// Has stock SQLite, if it is installed, check a file, and checks the rows that it finds in it. Returns its version.
///
/// # Errors
/// When something is wrong.
pub(crate) async fn stock_sqlite(path: &Path, told: &[Told]) -> Result<Option<String>> {
    let Some(version) = integrity_check(path).await? else {
        return Ok(None);
    };
    let mut child = Command::new("sqlite3")
        .arg("-readonly")
        .arg(path)
        .arg("SELECT rowid, number FROM rows ORDER BY rowid")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().ok_or("sqlite3 has no output")?;
    let mut lines = tokio::io::BufReader::new(out).lines();
    let mut rows = Rows::new(told);
    while let Some(line) = lines.next_line().await? {
        let (rowid, number) = line.split_once('|').ok_or("sqlite3 prints no columns")?;
        rows.see(rowid.parse()?, number.parse()?);
    }
    rows.end().map_err(|wrong| wrong.join("; "))?;
    Ok(Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Acknowledged, Refused, Unknown};

    fn check(rows: &[(i64, i64)]) -> Result<Tally, Vec<String>> {
        let of = |outcomes: &[Outcome], pairs| Told {
            outcomes: outcomes.to_vec(),
            pairs,
            ..Told::default()
        };
        let told = [
            of(&[Acknowledged(1), Unknown, Refused, Acknowledged(2)], false),
            of(&[Unknown, Unknown, Acknowledged(3), Acknowledged(4)], true),
        ];
        let mut seen = Rows::new(&told);
        for (rowid, number) in rows {
            seen.see(*rowid, *number);
        }
        seen.end()
    }

    /// What the checks are worth: each thing that may be wrong is found, and nothing else.
    #[test]
    fn finds_what_is_wrong() {
        let (one, two) = (number(0, 0), number(1, 0));
        let good = [(1, one), (2, one + 3), (3, two + 2), (4, two + 3)];
        let with = |more: &[(i64, i64)]| check(&[&good, more].concat());
        assert_eq!(with(&[]).map(|tally| tally.there), Ok(4));
        let tally = with(&[(5, one + 1)]).map(|tally| tally.unknown_and_there);
        assert_eq!(tally, Ok(1));
        assert!(with(&[(5, two), (6, two + 1)]).is_ok());
        for (what, wrong) in [
            ("refused", with(&[(5, one + 2)])),
            ("twice", with(&[(5, one)])),
            ("never sent", with(&[(5, one + 4)])),
            ("never sent", with(&[(5, -1)])),
            ("follows", with(&[(6, one + 1)])),
            ("halves", with(&[(5, two)])),
            ("lost", check(good.get(..3).unwrap_or_default())),
            (
                "was told",
                check(&[(1, one + 3), (2, one), (3, two + 2), (4, two + 3)]),
            ),
        ] {
            let wrong = wrong.err().unwrap_or_default().join("; ");
            assert!(wrong.contains(what), "{what}: {wrong}");
        }
    }
}
