//! The database file by pages: checkpoint target and snapshot source
