//! Scenarios: one idea a file in `tests/scenarios`, told as commands with what the nodes do.
//!
//! Nothing happens here but what a script says, so a scenario shows one thing at a time. `UPDATE_GOLDENFILES=1` writes
//! the answers anew. The commands:
//!
//! | command | what it does |
//! |---|---|
//! | `voters 1 2 3` | the founding configuration |
//! | `start 1 [terms=1.1.2] [term=2] [applied=N] [damaged=N] [lease] […]` | starts a node; `terms` makes its log, whose first entry is the configuration; a node that ran before starts from its disk. Options: `cache=` `message=` `uncommitted=` `window=` `chunks=` (of a snapshot) `chunk_bytes=` `chunks_window=` `chunks_bytes=` `lag=` `trailing=` `weight=` `drift=` `jump=` |
//! | `fresh 4` | starts a node that knows nothing |
//! | `wait MS` | time passes |
//! | `timeout 1`, `next` | time passes until the node, or the first of all nodes, wants a tick, and it gets that |
//! | `deliver [from=] [to=] [only=WORD]` | the messages that wait arrive, and are shown |
//! | `drop [from=] [to=] [only=WORD]` | they are lost |
//! | `settle` | messages arrive until there are none |
//! | `cut 1 2`, `heal` | messages between the two are lost from now on |
//! | `hold 1`, `persist 1` | the node's writes are not completed; are all completed |
//! | `refuse 1` | they are all completed, but for chunks of a snapshot, which cannot be used |
//! | `propose 1 a b` `read 1 TOKEN` `tell 1 PEER` `transfer 1 [2]` `change 1 add=4 [spare=5] [set=4.voter] [remove=2]` | requests |
//! | `crash 1`, `purge 1 N`, `fail 1` | the process ends; a prefix of the log goes; storage fails |
//! | `force 1 CLUSTER` | a node that is down gets a configuration of which it is the only voter |
//! | `status`, `logs`, `peers 1`, `limit 1` | shows nodes, logs, what a leader knows, how far the log may be purged |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod scene;

use scene::Scene;

#[test]
fn scenarios() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "the scenarios are gone");
    for path in paths {
        if let Err(error) = goldenscript::run(&mut Scene::default(), &path) {
            panic!("{}: {error}", path.display());
        }
    }
}
