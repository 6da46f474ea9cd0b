//! The Rust client of Ferrolite and dqlite clusters
