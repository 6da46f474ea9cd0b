//! What threads of a node tell each other without a lock, tried in every order that a weakly ordered memory allows.
//!
//! An emulator on x86-64 shows the instructions of ARM or POWER and not their memory, where a thread may see what another
//! wrote in another order. So the few places where more than a count goes through an atomic are modelled here, with the
//! same operations and orderings and nothing around them, and `loom` runs each model through every interleaving and every
//! value that the language lets a load return. What "data" is in a place is a relaxed atomic here: it guarantees nothing by
//! itself, so a model that holds with it holds with what is there in its place.
//!
//! Every model has a twin with the mistake that it is to find, which must fail: a model that cannot fail shows nothing.
//!
//! | module | models | in |
//! |---|---|---|
//! | `counted` | a commit is counted before a reader can have seen it | `WalView::commits`, below the engine |
//! | `line` | whoever waits for a commit is woken or has seen it, and sees what was said with it | `CommitLine` |
//! | `driver` | an event that is left to another thread is taken by it | `Driver` |
//! | `lease` | who knows of another leader does not see a lease | `Lease` |
//! | `durable` | what is said to be durable was synced, and never less is said | `Log::durable` |
#![cfg(test)]
#![allow(clippy::unwrap_used)]

mod counted;
mod driver;
mod durable;
mod lease;
mod line;
