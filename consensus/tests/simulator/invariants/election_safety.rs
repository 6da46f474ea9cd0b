//! Election Safety (paper, figure 3): at most one leader can be elected in a given term.

use std::collections::HashMap;

use ferrolite_consensus::{NodeId, Term};

use super::{Check, Observation};

#[derive(Default)]
pub struct ElectionSafety {
    leaders: HashMap<Term, NodeId>,
}

impl ElectionSafety {
    pub fn check(&mut self, seen: &Observation<'_>) -> Check {
        if let Observation::Elected { node, term } = seen {
            let first = *self.leaders.entry(*term).or_insert(*node);
            if first != *node {
                return Err(format!("n{first} and n{node} both lead term {term}"));
            }
        }
        Ok(())
    }
}
