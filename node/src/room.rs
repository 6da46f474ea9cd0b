//! How much room the disk has, looked at before it is gone.
//!
//! A write that finds the disk full half-way can only wait: it is in the engine, perhaps in other nodes' logs, and
//! whoever reads after it waits as well. So the leader begins no new write when less than a *reserve* is left. What is
//! under way then has the reserve to end in, reads go on, and writes go on as soon as there is room again.
//!
//! Nobody is woken for this: whoever wants to write looks, and looks at most every so often.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::environment::{Disk, Space};

/// An answer is believed for so long.
const STALE_AFTER: Duration = Duration::from_millis(100);
/// Of a small file system only one part in so many is reserved.
const SMALLEST_SHARE: u64 = 8;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Room {
    disk: Arc<dyn Disk>,
    reserve_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    looked_at: Option<Instant>,
    is_short: bool,
    free_bytes: u64,
}

/// There is not enough room to begin a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    /// Bytes that are left.
    pub(crate) free_bytes: u64,
}

impl Room {
    /// Watches the file system of `disk`, of which `reserve_bytes` are to stay free.
    pub(crate) fn new(disk: Arc<dyn Disk>, reserve_bytes: u64) -> Self {
        let state = State {
            looked_at: None,
            is_short: false,
            free_bytes: u64::MAX,
        };
        Self {
            disk,
            reserve_bytes,
            state: Mutex::new(state),
        }
    }

    /// Whether a write may begin that needs about `bytes`.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Short> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: Instant| at.elapsed() < STALE_AFTER;
        if !state.looked_at.is_some_and(fresh) {
            state.looked_at = Some(Instant::now());
            match self.disk.space() {
                Ok(space) => self.note(&mut state, space),
                // The writes themselves will tell what is the matter.
                Err(error) => log::warn!(error:%; "cannot tell how much room the disk has"),
            }
        }
        let free_bytes = state.free_bytes;
        if state.is_short || free_bytes < bytes {
            return Err(Short { free_bytes });
        }
        Ok(())
    }

    fn note(&self, state: &mut State, space: Space) {
        let reserve = self.reserve_bytes.min(space.total / SMALLEST_SHARE);
        // Some more than the reserve must be free again, so that it does not go to and fro.
        let needed = if state.is_short {
            reserve.saturating_add(reserve / 4)
        } else {
            reserve
        };
        let was_short = std::mem::replace(&mut state.is_short, space.free < needed);
        state.free_bytes = space.free;
        if state.is_short && !was_short {
            log::error!(
                free_bytes = space.free,
                reserve_bytes = reserve,
                directory:% = self.disk.path().display();
                "the disk is nearly full: writes are refused until there is room"
            );
        } else if was_short && !state.is_short {
            log::info!(free_bytes = space.free; "there is room on the disk again: writes go on");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::environment::Environment;

    const MIB: u64 = 1 << 20;

    fn room(directory: &tempfile::TempDir, reserve_bytes: u64) -> Room {
        let environment = Environment::system(directory.path()).unwrap();
        Room::new(environment.disk, reserve_bytes)
    }

    fn is_short(room: &Room, total: u64, free: u64) -> bool {
        let mut state = room.state.lock().unwrap();
        room.note(&mut state, Space { total, free });
        state.is_short
    }

    /// Writes end at the reserve, and go on a little above it.
    #[test]
    fn the_reserve_stays_free() {
        let directory = tempfile::tempdir().unwrap();
        let room = room(&directory, 32 * MIB);
        assert!(!is_short(&room, 1000 * MIB, 32 * MIB));
        assert!(is_short(&room, 1000 * MIB, 31 * MIB));
        assert!(is_short(&room, 1000 * MIB, 33 * MIB));
        assert!(!is_short(&room, 1000 * MIB, 40 * MIB));
    }

    /// A small file system is not all reserve.
    #[test]
    fn small_disks_can_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let room = room(&directory, 32 * MIB);
        assert!(!is_short(&room, 64 * MIB, 8 * MIB));
        assert!(is_short(&room, 64 * MIB, 7 * MIB));
    }

    /// A real file system answers, and a write that is larger than it is refused.
    #[test]
    fn a_real_disk_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let room = room(&directory, 0);
        assert_eq!(room.check(0), Ok(()));
        assert!(room.check(u64::MAX).is_err());
    }
}
