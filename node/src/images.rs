//! The last images of pages that went into the log, kept in memory for a while.
//!
//! Two need them, and both soon after. The replica writes the next change of a page as the
//! [difference](ferrolite_wal::frames#differences) against its last image. And the engine's other connections read the page,
//! which without this would be put together again out of a chain of differences for each of them.
//!
//! An image is known by the place in the log that it stands at, and by nothing else: so it does not matter whether it is
//! still the page's newest, or whether the database has been closed or replaced meanwhile. Only when the log itself may
//! have become another, because leadership was lost, are they forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ferrolite_consensus::Index;
use ferrolite_wal::frames::Base;
use ferrolite_wal::view::FramePlace;

/// So much memory is for images, of all databases together.
const MAX_BYTES: usize = 2 << 20;

/// An image of a page, and where the log has it.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) place: FramePlace,
    /// How many differences it stands on in the log.
    pub(crate) depth: u8,
    /// The entry with the whole image that these stand on.
    pub(crate) root: Index,
    pub(crate) image: Bytes,
}

impl Logged {
    /// The image as the base of a difference.
    pub(crate) fn base(&self) -> Base<'_> {
        Base {
            place: self.place,
            depth: self.depth,
            root: self.root,
            image: &self.image,
        }
    }
}

#[derive(Debug)]
struct Kept {
    logged: Logged,
    /// Its place in [`State::order`].
    used: u64,
}

#[derive(Debug, Default)]
struct State {
    databases: HashMap<Arc<str>, HashMap<u32, Kept>>,
    /// The pages by when they were written or changed last, which is when they are worth something.
    order: BTreeMap<u64, (Arc<str>, u32)>,
    next: u64,
    bytes: usize,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Images {
    state: Mutex<State>,
}

impl Images {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change below is complete before the guard is dropped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last image of a page, if it is here.
    pub(crate) fn last(&self, database: &str, page_no: u32) -> Option<Logged> {
        let state = self.state();
        let kept = state.databases.get(database)?.get(&page_no)?;
        Some(kept.logged.clone())
    }

    /// The image that the log has at `place`, if it is here.
    pub(crate) fn at(&self, database: &str, page_no: u32, place: FramePlace) -> Option<Bytes> {
        let state = self.state();
        let kept = state.databases.get(database)?.get(&page_no)?;
        (kept.logged.place == place).then(|| kept.logged.image.clone())
    }

    /// Keeps an image, in place of the one before. Those that nobody has written for longest give way.
    pub(crate) fn put(&self, database: &str, page_no: u32, logged: Logged) {
        let mut state = self.state();
        let state = &mut *state;
        let name = match state.databases.get_key_value(database) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(database),
        };
        let used = state.next;
        state.next += 1;
        state.bytes += logged.image.len();
        state.order.insert(used, (Arc::clone(&name), page_no));
        let pages = state.databases.entry(name).or_default();
        if let Some(before) = pages.insert(page_no, Kept { logged, used }) {
            state.bytes -= before.logged.image.len();
            state.order.remove(&before.used);
        }
        while state.bytes > MAX_BYTES
            && let Some((_, (name, page_no))) = state.order.pop_first()
        {
            if let Some(pages) = state.databases.get_mut(&name) {
                let gone = pages.remove(&page_no);
                state.bytes -= gone.map_or(0, |kept| kept.logged.image.len());
                if pages.is_empty() {
                    state.databases.remove(&name);
                }
            }
        }
    }

    /// Forgets all: what the log has at these places may be something else from now on.
    pub(crate) fn clear(&self) {
        *self.state() = State::default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PAGE: usize = 4096;

    fn logged(index: Index, fill: u8) -> Logged {
        let place = FramePlace {
            index,
            offset: 60,
            len: 9,
            encoding: 0,
        };
        Logged {
            place,
            depth: 0,
            root: index,
            image: Bytes::from(vec![fill; PAGE]),
        }
    }

    /// The last image of each page is known, under its own place only; memory is bounded, and the oldest goes first.
    #[test]
    fn the_last_images() {
        let images = Images::default();
        let (first, second) = (logged(1, 1), logged(2, 2));
        images.put("a", 7, first.clone());
        images.put("b", 7, second.clone());
        assert_eq!(images.last("a", 7).unwrap().place, first.place);
        assert!(images.last("a", 8).is_none() && images.last("c", 7).is_none());
        images.put("a", 7, second.clone());
        assert!(images.at("a", 7, first.place).is_none());
        assert_eq!(images.at("a", 7, second.place), Some(second.image));

        let fit = u32::try_from(MAX_BYTES / PAGE).unwrap();
        for page_no in 1..=2 * fit {
            images.put("many", page_no, logged(u64::from(page_no), 3));
            // Written again and again.
            images.put("hot", 1, logged(u64::from(page_no), 4));
            assert!(images.state().bytes <= MAX_BYTES);
        }
        assert!(images.last("a", 7).is_none() && images.last("many", fit + 1).is_none());
        assert!(images.last("many", fit + 2).is_some() && images.last("hot", 1).is_some());
        assert_eq!(images.state().order.len(), MAX_BYTES / PAGE);
        assert_eq!(
            images.state().databases.len(),
            2,
            "names of databases without pages are kept"
        );
        images.clear();
        assert!(images.last("hot", 1).is_none());
        assert_eq!(images.state().bytes, 0);
    }
}
