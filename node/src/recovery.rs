//! A new cluster out of one data directory, when a majority of the old one is gone for good.
//!
//! No election can be won any more then, and rightly so: what is left cannot know whether the lost nodes have
//! acknowledged more than it holds. Whoever calls [`found_anew`] decides to go on with what this directory
//! has. It becomes the only voter of a cluster with a *new* number; every other node of the old cluster is
//! refused by it from then on, whatever it holds, and can come back only with an empty directory. So two
//! halves of one cluster can never be recovered and then meet.
//!
//! Everything in this directory's log counts as committed afterwards, also what was never acknowledged.

use std::path::Path;

use ferrolite_consensus::{Index, Member, Role, Term, force_configuration};
use ferrolite_wal::Record;

use crate::environment::SystemRandom;
use crate::error::Error;
use crate::options::Options;
use crate::store::{self, Store};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewCluster {
    /// The node whose directory it was.
    pub id: u64,
    /// Number of the cluster that is no more.
    pub old_cluster: u128,
    /// Number of the new one.
    pub cluster: u128,
    /// Log index and term up to which the directory's databases reach.
    pub last: (Index, Term),
    /// The members that the directory knew.
    pub old_members: Vec<(u64, String)>,
}

/// The number of the node whose data directory this is; `None` if it is no data directory.
///
/// # Errors
/// When the directory is damaged, in use by a live process, or written by a newer program.
pub fn owner(directory: &Path) -> Result<Option<u64>, Error> {
    store::owner(directory)
}

/// Makes the node of this data directory the only voter of a new cluster, with `address` as its own. Durable on
/// return; the node is then started as always. See the [module](self) for what that means.
///
/// # Errors
/// When `directory` is not a data directory of a node that held data, is damaged, in use by a live process, or not
/// writable. Nothing was changed then, unless writing failed half-way; it can be called again in any case.
pub fn found_anew(directory: &Path, address: &str) -> Result<NewCluster, Error> {
    let Some(id) = owner(directory)? else {
        return Err(Error::Options(format!(
            "{} is not the data directory of a node",
            directory.display()
        )));
    };
    let (store, past) = Store::open(directory, id, &Options::default())?;
    let recovered = past.recovered;
    let old_members = recovered
        .configurations
        .last()
        .or(recovered.configuration.as_ref())
        .map(|(_, configuration)| {
            let members = configuration.members().iter();
            members.map(|m| (m.id, m.address.clone())).collect()
        });
    let Some(old_members) = old_members else {
        return Err(Error::Options(format!(
            "{} never held data of a cluster: nothing can be recovered from it",
            directory.display()
        )));
    };
    let last = recovered.last_position();
    let old_cluster = recovered.hard_state.cluster;
    let cluster = store::random_cluster(&SystemRandom)?;
    let survivor = Member::new(id, Role::Voter, address).with_incarnation(store.incarnation());
    let (state, entry) = force_configuration(&recovered, cluster, survivor)?;
    store.save_hard_state(&state)?;
    store.log.append(&[Record {
        index: entry.index,
        term: entry.term,
        kind: entry.kind.to_byte(),
        payload: entry.payload,
    }])?;
    store.log.sync()?;
    Ok(NewCluster {
        id,
        old_cluster,
        cluster,
        last: (last.index, last.term),
        old_members,
    })
}
