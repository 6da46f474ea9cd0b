//! The SQL engine standing on the log and the page store
