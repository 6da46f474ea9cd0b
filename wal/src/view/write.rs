//! What the engine writes.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::frames::{Body, Frames, Slot};
use super::spill::Spill;
use super::{FRAME_HEADER_BYTES, ViewError, WAL_HEADER_BYTES, WalView};

impl WalView {
    /// Writes what the engine writes: the file's header, or whole frames at a frame's position.
    ///
    /// # Errors
    /// [`ViewError::Closed`], [`ViewError::TooLarge`], [`ViewError::Spill`], and [`ViewError::Refused`] for a write over frames
    /// that were taken, over frames that are not yet in the database file, with a gap, or not of whole
    /// frames. A refused write changes nothing.
    pub fn write_at(&self, pos: u64, data: &[u8]) -> Result<(), ViewError> {
        self.while_open(|| self.write_open(pos, data))?
    }

    fn write_open(&self, pos: u64, data: &[u8]) -> Result<(), ViewError> {
        let mut frames = self.frames();
        if pos == 0 {
            let Ok(header) = <[u8; WAL_HEADER_BYTES]>::try_from(data) else {
                return Err(ViewError::Refused("a header of another length"));
            };
            frames.start_over()?;
            frames.header = Some(header);
            return Ok(());
        }
        if frames.header.is_none() {
            return Err(ViewError::Refused("a frame before the header"));
        }
        let at = pos
            .checked_sub(WAL_HEADER_BYTES as u64)
            .and_then(|at| self.frame_at(at));
        let Some((first, 0)) = at else {
            return Err(ViewError::Refused("not at a frame's position"));
        };
        if !data.len().is_multiple_of(self.frame_bytes()) {
            return Err(ViewError::Refused("not of whole frames"));
        }
        if first < frames.taken {
            return Err(ViewError::Refused("over frames of a committed transaction"));
        }
        if first > frames.len() {
            return Err(ViewError::Refused("a gap between frames"));
        }
        let staged = (first - frames.taken) as u64 * self.frame_bytes() as u64 + data.len() as u64;
        if staged > self.limit_bytes {
            return Err(ViewError::TooLarge {
                limit_bytes: self.limit_bytes,
            });
        }
        let slots = self.place(&mut frames, first, data)?;
        // A commit that was staged and is written over was none.
        let mut commits = self.commits() - frames.truncate(first);
        for slot in slots {
            commits += u64::from(slot.db_size() != 0);
            frames.push(slot);
        }
        self.commits.store(commits, Ordering::SeqCst);
        Ok(())
    }

    /// Finds a place for the pages of frames that are to stand from `first` on: memory, as long as there is room.
    fn place(
        &self,
        frames: &mut Frames,
        first: usize,
        data: &[u8],
    ) -> Result<Vec<Slot>, ViewError> {
        let held = frames.image_bytes() - frames.image_bytes_from(first);
        let mut room = self.memory_limit_bytes.saturating_sub(held);
        let mut slots = Vec::with_capacity(data.len() / self.frame_bytes());
        for chunk in data.chunks_exact(self.frame_bytes()) {
            let (header, page) = chunk.split_at(FRAME_HEADER_BYTES);
            let body = match (room.checked_sub(page.len() as u64), &mut frames.spill) {
                (None, Some(spill)) => match spill.write(page) {
                    Ok(place) => Body::Spilled(place),
                    Err(e) => {
                        give_back(spill, &slots);
                        return Err(ViewError::Spill(e));
                    }
                },
                (left, _) => {
                    room = left.unwrap_or(0);
                    Body::Memory(Bytes::copy_from_slice(page))
                }
            };
            let mut slot = Slot {
                header: [0; FRAME_HEADER_BYTES],
                body,
            };
            slot.header.copy_from_slice(header);
            slots.push(slot);
        }
        Ok(slots)
    }

    /// Shortens the file to `len` bytes, as the engine does when it starts it over.
    ///
    /// # Errors
    /// [`ViewError::Closed`], and [`ViewError::Refused`] when that would lose frames which are not in the
    /// database file.
    pub fn truncate(&self, len: u64) -> Result<(), ViewError> {
        self.while_open(|| self.truncate_open(len))?
    }

    fn truncate_open(&self, len: u64) -> Result<(), ViewError> {
        let mut frames = self.frames();
        if len > WAL_HEADER_BYTES as u64 {
            return Err(ViewError::Refused("truncation to some frames"));
        }
        frames.start_over()?;
        if len < WAL_HEADER_BYTES as u64 {
            frames.header = None;
        }
        Ok(())
    }
}

/// Gives up the places of frames that are not to be after all.
fn give_back(spill: &mut Spill, slots: &[Slot]) {
    for slot in slots {
        if let Body::Spilled(place) = slot.body {
            spill.free(place);
        }
    }
}
