//! The part of a node that is the same in a process and in a simulation, put together: the store, the replica on it, and the
//! [`Handle`] by which everyone else talks to both.
//!
//! What differs is around it, and is added by who asks for this: where what the node says leaves it
//! ([`Outlet`](crate::peers::Outlet)), and who does its [errands](crate::errands), threads or tasks.

use std::sync::Arc;

use ferrolite_consensus::{ClusterId, NodeId, bootstrap};
use tokio::sync::watch;

use crate::checkpoint::Job;
use crate::environment::Environment;
use crate::errands::Errands;
use crate::error::Error;
use crate::following::Following;
use crate::freshness::Freshness;
use crate::handle::{Handle, Status};
use crate::leading::Registry;
use crate::lease::Lease;
use crate::log_writer::Work;
use crate::options::Options;
use crate::replica::{self, Driver, Replica};
use crate::store::Store;

/// What it is made of.
pub(crate) struct Parts<'a> {
    pub(crate) id: NodeId,
    pub(crate) address: &'a str,
    pub(crate) options: &'a Options,
    pub(crate) environment: Environment,
    /// Founds a cluster if the data directory belongs to none.
    pub(crate) founds: bool,
    pub(crate) writes: Errands<Work>,
    pub(crate) jobs: Errands<Job>,
}

/// See the [module](self).
pub(crate) struct Assembly {
    pub(crate) handle: Handle,
    /// The cluster that the node belongs to, once it is known.
    pub(crate) cluster: watch::Receiver<ClusterId>,
    /// To be given to the handle's driver, with an outlet.
    pub(crate) replica: Replica,
}

impl Assembly {
    /// Opens the data directory, or makes one, and puts the rest on it.
    pub(crate) fn new(parts: Parts<'_>) -> Result<Self, Error> {
        let Parts {
            id,
            address,
            options,
            environment,
            founds,
            writes,
            jobs,
        } = parts;
        let (clock, workers) = (Arc::clone(&environment.clock), environment.workers);
        let (store, past) = Store::open_in(environment, id, options)?;
        let store = Arc::new(store);
        let past = if past.is_fresh() && founds {
            store.found_cluster(id, address, bootstrap)?
        } else {
            past
        };
        let registry = Arc::new(Registry::default());
        let lease = Arc::new(Lease::new(clock));
        let following = Arc::new(Following::new(options.stale_idle));
        let freshness = Arc::new(Freshness::new(store.process_id()));
        let (published, status) = watch::channel(Status::default());
        let (cluster, cluster_known) = watch::channel(past.cluster());
        let handle = Handle {
            driver: Arc::new(Driver::new(Arc::clone(&lease))),
            status,
            registry: Arc::clone(&registry),
            following: Arc::clone(&following),
            freshness: Arc::clone(&freshness),
            store: Arc::clone(&store),
            lease: Arc::clone(&lease),
            workers,
            id,
        };
        let replica = Replica::new(replica::Parts {
            id,
            address: address.to_owned(),
            options,
            past,
            store,
            registry,
            following,
            freshness,
            published,
            cluster,
            lease,
            writes,
            jobs,
        })?;
        Ok(Self {
            handle,
            cluster: cluster_known,
            replica,
        })
    }
}
