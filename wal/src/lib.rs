//! One durable log: Raft's log and the databases' write-ahead log at once
