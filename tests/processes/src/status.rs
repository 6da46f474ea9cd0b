//! What a node says about itself.

/// A part of a node's answer to STATUS.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// Its number.
    pub id: u64,
    /// Whether it votes.
    pub is_voter: bool,
    /// Whether it serves as the leader.
    pub serves: bool,
    /// Its term.
    pub term: u64,
    /// The last entry of its log.
    pub last: u64,
    /// The last entry that it has applied.
    pub applied: u64,
}

impl Status {
    /// Reads the answer of node `id`. None if it lacks something.
    #[must_use]
    pub fn parse(id: u64, said: &str) -> Option<Self> {
        let said: serde_json::Value = serde_json::from_str(said).ok()?;
        let log = said.get("log")?;
        Some(Self {
            id,
            is_voter: said.get("role")? == "voter",
            serves: said.get("serves")?.as_bool()?,
            term: said.get("term")?.as_u64()?,
            last: log.get("last")?.as_u64()?,
            applied: log.get("applied")?.as_u64()?,
        })
    }
}
