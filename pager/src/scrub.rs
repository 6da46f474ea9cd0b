//! Looking for rot before somebody needs the page.
//!
//! A page that nobody reads may rot for years, on one node after the other, until no good copy is left. So somebody has to
//! read all of them, slowly. The [`Scrubber`] is that, without a thread or a clock: it remembers where it is, and each
//! [`next`](Scrubber::next) looks at as many pages as it is allowed to and goes on from there. Who calls it decides
//! how fast it goes, and what is done about what it finds.
//!
//! A round goes through the databases by name, and through the pages of each. A database that was added or dropped
//! meanwhile is no trouble; one that grew is read to its new end. Pages of which nothing is known are *adopted*: their sums
//! are noted as they are, so that rot from then on is seen.
//!
//! ```
//! use std::sync::Arc;
//! use ferrolite_pager::{CheckpointMark, PageFile, Scrubber, write_transaction_at};
//! use ferrolite_wal::backend::MemBackend;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let path = dir.path().join("app.sqlite");
//! let mark = Arc::new(CheckpointMark::open(&MemBackend::new())?);
//! let file = Arc::new(PageFile::open_checked(&path, 512, mark)?);
//! let (one, two) = ([1; 512], [2; 512]);
//! write_transaction_at(&file, 512, [(1, &one[..]), (2, &two[..])].into_iter(), 2, 7)?;
//! file.sync()?;
//!
//! // A disk forgets a bit of page 2 …
//! std::fs::write(&path, [vec![1; 512], vec![2; 511], vec![3]].concat())?;
//!
//! // … and the scrubber comes by, a page at a time.
//! let files = [("app".to_owned(), Arc::clone(&file))];
//! let mut scrubber = Scrubber::new();
//! assert!(scrubber.next(&files, 1)?.rot.is_empty());
//! let found = scrubber.next(&files, 1)?;
//! assert_eq!((found.rot[0].0.as_str(), found.rot[0].1.page_no), ("app", 2));
//!
//! // Another node still has it.
//! file.repair(2, &two, 7)?;
//! assert_eq!(file.read_page(2)?.bytes, two);
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use crate::error::Error;
use crate::page_file::PageFile;
use crate::rot::Rot;

/// Walks over all pages of all databases, round after round. See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Scrubber {
    /// The database to go on with, or the first one after it.
    database: String,
    /// The page of it to go on with, less 1.
    done_pages: u32,
    rounds: u64,
}

/// What a stretch of pages turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Rotten pages, with the name of their database.
    pub rot: Vec<(String, Rot)>,
    /// Pages that were looked at.
    pub pages: u32,
    /// Pages that were adopted.
    pub adopted: u32,
    /// Whether the round ended with these: the next call begins another one.
    pub ends_round: bool,
}

impl Scrubber {
    /// A scrubber at the beginning of its first round.
    #[must_use]
    pub fn new() -> Scrubber {
        Scrubber::default()
    }

    /// Rounds that it has ended.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Looks at up to `budget_pages` further pages of `files`, which are all databases with their names, in any
    /// order, opened with sums. Stops at the end of a round.
    ///
    /// # Errors
    /// [`Error::Io`] when the sums, or a page that nothing is known of, cannot be read: the next call goes on behind it;
    /// [`Error::Refused`] for a file that was opened without sums.
    pub fn next(
        &mut self,
        files: &[(String, Arc<PageFile>)],
        budget_pages: u32,
    ) -> Result<Scrubbed, Error> {
        let mut found = Scrubbed::default();
        while found.pages < budget_pages {
            let due = files
                .iter()
                .filter(|(name, _)| *name >= self.database)
                .min_by(|(a, _), (b, _)| a.cmp(b));
            let Some((name, file)) = due else {
                *self = Scrubber {
                    rounds: self.rounds + 1,
                    ..Scrubber::default()
                };
                found.ends_round = true;
                break;
            };
            if *name != self.database {
                self.database.clone_from(name);
                self.done_pages = 0;
            }
            if self.done_pages >= file.pages()? && self.done_pages >= file.known_pages()? {
                // The smallest name after this one.
                self.database.push('\0');
                self.done_pages = 0;
                continue;
            }
            self.done_pages += 1;
            found.pages += 1;
            if let Some(rot) = look_at(file, self.done_pages, &mut found.adopted)? {
                found.rot.push((name.clone(), rot));
            }
        }
        Ok(found)
    }
}

/// Compares a page with its sum, or adopts it.
fn look_at(file: &PageFile, page_no: u32, adopted: &mut u32) -> Result<Option<Rot>, Error> {
    match file.read_page(page_no) {
        Ok(page) => {
            if page.sum.is_none() && file.adopt(page_no)? {
                *adopted += 1;
            }
            Ok(None)
        }
        Err(Error::Rot(rot)) => Ok(Some(rot)),
        // Cut off since its number was asked for.
        Err(Error::Refused { .. }) => Ok(None),
        Err(error) => match file.page_sum(page_no)? {
            // The disk does not give it back, so it has to come from elsewhere.
            Some(known) => Ok(Some(Rot {
                path: file.path().display().to_string(),
                page_no,
                index: known.index,
                expected: known.sum,
                found: None,
            })),
            None => Err(error),
        },
    }
}
