//! Linearizable reads (paper §8): a read sees everything that was committed when it began.

use std::collections::HashMap;

use ferrolite_consensus::Index;

use super::super::history::History;
use super::{Check, Observation};

#[derive(Default)]
pub struct LinearizableReads {
    /// What was committed when each read began.
    must_see: HashMap<u64, Index>,
}

impl LinearizableReads {
    pub fn check(&mut self, history: &History, seen: &Observation<'_>) -> Check {
        match seen {
            Observation::ReadStarted { token, .. } => {
                self.must_see.insert(*token, history.last_committed());
                Ok(())
            }
            Observation::ReadReady { node, token, index } => match self.must_see.remove(token) {
                None => Err(format!(
                    "n{node} answers read {token} twice, or it never began"
                )),
                Some(least) if *index < least => Err(format!(
                    "n{node} serves read {token} at {index}, but {least} was committed when it began"
                )),
                Some(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
