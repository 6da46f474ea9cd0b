//! Snapshots for peers that need what the log no longer holds (paper §7).
//!
//! To the core a snapshot is an opaque stream of bytes with a [`SnapshotMeta`](crate::SnapshotMeta). The leader's driver
//! cuts it into chunks, the follower's driver puts them together, and the core moves them: several at a time, so that
//! reading, sending and writing go on at once, and no more than a window of them, so that a slow disk slows the stream
//! and nothing piles up.
//!
//! ```text
//!    leader                                               follower
//!    ReadSnapshot ─► driver                                  driver ◄─ WriteSnapshot
//!         ▲            │                                        │           ▲
//!         │       SnapshotRead ── Snapshot{offset, data} ───────┼───────────┘ in order, within the window
//!    within the window                                          ▼
//!         └────────────────────── SnapshotResponse{next} ◄── SnapshotWritten
//! ```
//!
//! **What a follower says is where it stands.** It takes the chunk that begins where the one before it ended, and no
//! other, and answers each with the offset up to which everything is written; so answers may be lost, and late ones do no
//! harm. One number more would be needed to say that a chunk was lost, but for this rule: a follower that is offered
//! another chunk than the next one *says the same offset again*, once it has nothing left to write. A leader that hears an
//! offset for the second time, and has sent what lies there, sends it again, and whatever came after it; once for each
//! offset, so that an answer that the network doubles does not double the stream. If nothing at all is heard of what was
//! sent, it does so after an election timeout. A follower goes back to the beginning only (it was started anew, or a chunk
//! could not be used), and is then given a new stream.
//!
//! **The window** opens with one chunk, grows by one with each chunk that arrives, and falls back to one when the
//! leader has to go back: to a peer that does not answer one chunk is sent now and then, not a window full. Its limits in
//! chunks and bytes are the leader's; a follower has the same limits for what it has handed out, and passes over what is
//! beyond them. A follower of before there was a window, which takes one chunk at a time, is served by the same rules, and
//! so is one by such a leader.
//!
//! **The end comes last.** What the driver says with the last chunk may be about the stream as a whole, and a chunk that
//! is sent again is read again. So the leader reads the last chunk when all others have arrived, and if it was read
//! before, reads it once more. With the last chunk the follower's driver replaces state and log in one step. The core hands
//! that chunk out only when no other write of the log or of the stream is under way, and touches the log no more until the
//! driver has answered. A snapshot of a position that the log holds already is not installed at all: the position
//! being committed is all it says.

mod receiving;
mod sending;

pub(crate) use receiving::{ChunkWrite, Incoming};
pub(crate) use sending::SnapshotSend;
