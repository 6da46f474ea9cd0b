//! What is known while the pages are looked at: which ones have their use already, and what is wrong.

use super::header::Header;
use super::pointer_map;
use super::source::Opened;
use super::{Problem, Report};
use crate::error::Error;

/// Most problems that are reported: a database with so many is not worth a closer look.
pub const MAX_PROBLEMS: usize = 100;
/// The byte that SQLite locks; the page around it is never used (section 1.4).
const LOCK_BYTE: u64 = 0x4000_0000;

pub(super) struct Survey<'a> {
    source: &'a Opened<'a>,
    pub header: Header,
    /// Pages of the database.
    pub pages: u32,
    /// One bit per page, set once the page has a use.
    used: Vec<u64>,
    problems: Vec<Problem>,
    pub trees: u32,
    pub tree_pages: u32,
    pub overflow_pages: u32,
    pub free_pages: u32,
}

impl<'a> Survey<'a> {
    pub(super) fn new(source: &'a Opened<'a>, header: Header, pages: u32) -> Survey<'a> {
        Survey {
            source,
            header,
            pages,
            used: vec![0; pages as usize / 64 + 1],
            problems: Vec::new(),
            trees: 0,
            tree_pages: 0,
            overflow_pages: 0,
            free_pages: 0,
        }
    }

    /// Bytes of a page that are SQLite's.
    pub(super) fn usable(&self) -> usize {
        self.header.usable_bytes() as usize
    }

    pub(super) fn lock_byte_page(&self) -> u64 {
        LOCK_BYTE / u64::from(self.header.page_size) + 1
    }

    pub(super) fn problem(&mut self, page: u32, description: impl Into<String>) {
        if !self.is_full() {
            self.problems.push(Problem {
                page,
                description: description.into(),
            });
        }
    }

    /// Whether enough is known to be wrong.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// Notes that `page` is used as `role`, as `from` says. False, and a problem of `from`, when it cannot be.
    pub(super) fn claim(&mut self, page: u32, from: u32, role: &str) -> bool {
        let reason = if page == 0 || page > self.pages {
            "is not in the database"
        } else if u64::from(page) == self.lock_byte_page() {
            "is the one that is kept for locks"
        } else {
            let word = self.used.get_mut(page as usize / 64);
            let bit = 1 << (page % 64);
            match word {
                Some(word) if *word & bit == 0 => {
                    *word |= bit;
                    return true;
                }
                _ => "has another use",
            }
        };
        self.problem(from, format!("page {page}, said to be {role}, {reason}"));
        false
    }

    /// Reads the usable bytes of `page` into `buf`. What the file does not have reads as zeros.
    pub(super) fn read(&self, page: u32, buf: &mut Vec<u8>) -> Result<(), Error> {
        buf.clear();
        buf.resize(self.usable(), 0);
        self.read_at(page, 0, buf)
    }

    /// Reads bytes of `page` from its byte `at` on.
    pub(super) fn read_at(&self, page: u32, at: u64, buf: &mut [u8]) -> Result<(), Error> {
        let position = u64::from(page.saturating_sub(1)) * u64::from(self.header.page_size);
        self.source.read_at(position + at, buf).map(drop)
    }

    /// Looks for pages without any use. Only in a database that is sound otherwise: below a damaged page
    /// nothing is found.
    pub(super) fn unused(&mut self) {
        if !self.problems.is_empty() {
            return;
        }
        let lock_byte_page = self.lock_byte_page();
        for page in 1..=self.pages {
            let word = self
                .used
                .get(page as usize / 64)
                .copied()
                .unwrap_or_default();
            if word & (1 << (page % 64)) == 0 && u64::from(page) != lock_byte_page {
                self.problem(page, "it is never used");
            }
        }
    }

    /// Checks what the pointer map says of `page`, if there is one.
    pub(super) fn expect_pointer(
        &mut self,
        page: u32,
        pointer: pointer_map::Pointer,
    ) -> Result<(), Error> {
        pointer_map::expect(self, page, pointer)
    }

    pub(super) fn report(self) -> Report {
        Report {
            header: self.header,
            pages: self.pages,
            trees: self.trees,
            tree_pages: self.tree_pages,
            overflow_pages: self.overflow_pages,
            free_pages: self.free_pages,
            problems: self.problems,
        }
    }
}

/// The two bytes at `at`, as SQLite writes numbers: the highest first.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u16::from_be_bytes(*bytes))
}

/// The four bytes at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}
