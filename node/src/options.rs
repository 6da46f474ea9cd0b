//! A node's settings.

use std::time::Duration;

/// Settings of a node beyond its identity. Start from the default and change what is to be different.
///
/// ```
/// use ferrolite_node::Options;
///
/// let mut options = Options::default();
/// options.latency = std::time::Duration::from_millis(50);
/// assert_eq!(options.heartbeat().as_millis(), 500);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Latency of the network between the nodes, one way. Heartbeats come every ten latencies, elections
    /// begin after forty to eighty without one. 10 ms by default.
    pub latency: Duration,
    /// The node's failure domain: a number that nodes share which may fail together.
    pub failure_domain: u64,
    /// The wish not to lead: of several nodes the one with the lowest weight does.
    pub weight: u32,
    /// How long a writer waits for its turn before it gets SQLITE_BUSY. 5 s by default.
    pub busy_timeout: Duration,
    /// How long a client may leave a transaction open, or an import unfinished, without sending anything; then its connection
    /// is closed and the transaction rolled back, so that others can go on. 60 s by default; zero: for ever.
    pub idle_transaction: Duration,
    /// Whether reads are answered under a lease: without asking other nodes, for as long as no other can have been elected.
    /// That trusts the monotonic clocks of the voters to run at rates that differ by at most one part in a hundred, and not to
    /// stand still (as those of a suspended virtual machine do) for more than half of a heartbeat. Without it a quorum is asked,
    /// once for all reads that arrive together. On by default.
    pub read_lease: bool,
    /// A database that is open for stale reads on a node that follows is closed when nobody has read it for so long. 30 s by
    /// default.
    pub stale_idle: Duration,
    /// The largest message of a client, in bytes. 256 MiB by default.
    pub max_message_bytes: u64,
    /// The most pages that one transaction may change, in bytes. 512 MiB by default.
    pub max_transaction_bytes: u64,
    /// So much log is kept, in bytes, for nodes that were away or are slow: one that misses more gets the databases
    /// instead. What is not in the database files yet comes on top, and up to an eighth, 2 MiB at most, that this may refer
    /// to. Of what all others have, at most 32,768 entries are kept. 64 MiB by default.
    pub log_bytes: u64,
    /// So much log may be kept, in bytes, only because a reader has its snapshot open for long; then readers are told that
    /// their snapshots are too old, and have to begin again. 1 GiB by default.
    pub reader_log_bytes: u64,
    /// So many bytes of log may gather before they are written into the database files; an entry counts as 512 bytes at
    /// least. 8 MiB by default.
    pub checkpoint_bytes: u64,
    /// So many bytes of the disk stay free: with less, the leader refuses to begin writes. Never more than an eighth of the
    /// file system. 32 MiB by default.
    pub reserve_bytes: u64,
    /// Size of a page in bytes, the same for all databases of a cluster. 4096.
    pub page_size: u32,
    /// Threads that serve sockets, and run statements that take little. As many as there are processors by default.
    pub network_threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            failure_domain: 0,
            weight: 0,
            busy_timeout: Duration::from_secs(5),
            idle_transaction: Duration::from_secs(60),
            read_lease: true,
            stale_idle: Duration::from_secs(30),
            max_message_bytes: 256 << 20,
            max_transaction_bytes: 512 << 20,
            log_bytes: 64 << 20,
            reader_log_bytes: 1 << 30,
            checkpoint_bytes: 8 << 20,
            reserve_bytes: 32 << 20,
            page_size: 4096,
            network_threads: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

impl Options {
    /// Time between two heartbeats of a leader.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.latency.max(Duration::from_millis(1)) * 10
    }

    /// The least and the most time without a heartbeat before an election begins.
    #[must_use]
    pub fn election_timeout(&self) -> (Duration, Duration) {
        (self.heartbeat() * 4, self.heartbeat() * 8)
    }
}
