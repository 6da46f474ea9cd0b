//! A follower's driver is given a snapshot in order, without gaps, within the window, and the last chunk alone: nothing else
//! is being written then, of the snapshot or of the log. And the end of a snapshot was read after everything before it:
//! what it says of the rest must hold for the bytes that arrived, however often they were read.

use super::super::snapshots::versions;
use super::{Check, Nodes, Observation};

pub fn check(nodes: &Nodes, seen: &Observation<'_>) -> Check {
    match seen {
        Observation::Writing { node: id, chunk } => {
            let Some(node) = nodes.get(id) else {
                return Ok(());
            };
            let (stream, offset) = (chunk.meta.id, chunk.offset);
            let receiver = &node.receiver;
            let follows = receiver.handed == Some((stream, offset));
            if offset != 0 && !follows {
                return Err(format!(
                    "n{id} is to write snapshot {stream} at {offset}, but was last given {:?}",
                    receiver.handed
                ));
            }
            let waiting: u64 = receiver.writes.iter().map(|c| c.data.len() as u64).sum();
            let is_beyond = receiver.writes.len() >= node.options.snapshot_window_chunks
                || waiting + chunk.data.len() as u64 > node.options.snapshot_window_bytes;
            if !receiver.writes.is_empty() && is_beyond {
                return Err(format!(
                    "n{id} is to write {} chunks of {waiting} bytes and another",
                    receiver.writes.len()
                ));
            }
            if chunk.done && (!receiver.writes.is_empty() || node.disk.is_writing()) {
                return Err(format!(
                    "n{id} is to install snapshot {stream} while something else is being written"
                ));
            }
            Ok(())
        }
        Observation::Installed { node, bytes, .. } => {
            let versions = versions(bytes);
            let end = versions.last().copied().unwrap_or(0);
            match versions.iter().position(|version| *version > end) {
                Some(at) => Err(format!(
                    "n{node} installs a snapshot whose end was read before byte {at} of its filler: {versions:?}"
                )),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
