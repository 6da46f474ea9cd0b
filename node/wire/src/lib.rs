//! The dqlite client protocol's codec, without I/O
