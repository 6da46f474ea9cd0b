//! Quorum arithmetic against a naive twin that enumerates sets of voters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use ferrolite_consensus::quorum::{joint_reached, joint_vote, majority};
use ferrolite_consensus::{NodeId, VoteResult};
use proptest::prelude::*;

/// All majorities of a set, by brute force: every subset with more members inside than outside.
fn majorities(voters: &[NodeId]) -> Vec<Vec<NodeId>> {
    (0_u32..1 << voters.len())
        .map(|mask| {
            (0..voters.len())
                .filter(|bit| mask >> bit & 1 == 1)
                .map(|bit| voters[bit])
                .collect::<Vec<_>>()
        })
        .filter(|subset| 2 * subset.len() > voters.len())
        .collect()
}

/// Whether some majority of each set satisfies the predicate as a whole.
fn naive(sets: [&[NodeId]; 2], holds: impl Fn(NodeId) -> bool) -> bool {
    sets.iter().all(|set| {
        set.is_empty()
            || majorities(set)
                .iter()
                .any(|quorum| quorum.iter().all(|&id| holds(id)))
    })
}

fn voters() -> impl Strategy<Value = Vec<NodeId>> {
    proptest::collection::btree_set(1_u64..9, 0..7).prop_map(|set| set.into_iter().collect())
}

proptest! {
    /// Protects: the counts agree with the definition, joint or not, for any votes.
    #[test]
    fn votes_are_counted_as_defined(
        incoming in voters(),
        outgoing in voters(),
        votes in proptest::collection::btree_map(1_u64..9, any::<bool>(), 0..9),
    ) {
        let sets = [incoming.as_slice(), outgoing.as_slice()];
        let won = naive(sets, |id| votes.get(&id) == Some(&true));
        let winnable = naive(sets, |id| votes.get(&id) != Some(&false));
        let expected = match (won, winnable) {
            (true, _) => VoteResult::Won,
            (false, true) => VoteResult::Pending,
            (false, false) => VoteResult::Lost,
        };
        prop_assert_eq!(joint_vote(&incoming, &outgoing, |id| votes.get(&id).copied()), expected);
    }

    /// Protects: the commit index is the greatest that some quorum has reached as a whole, and no greater.
    #[test]
    fn the_value_reached_is_the_greatest_of_a_quorum(
        incoming in voters(),
        outgoing in voters(),
        values in proptest::collection::btree_map(1_u64..9, 0_u64..20, 0..9),
    ) {
        prop_assume!(!incoming.is_empty());
        let value = |id: NodeId| values.get(&id).copied().unwrap_or(0);
        let sets = [incoming.as_slice(), outgoing.as_slice()];
        let expected = (0..=20).rev().find(|&least| naive(sets, |id| value(id) >= least)).unwrap_or(0);
        prop_assert_eq!(joint_reached(&incoming, &outgoing, value), expected);
    }

    /// Protects: two majorities of one set always share a voter, the property that everything else stands on.
    #[test]
    fn majorities_intersect(size in 1_usize..100) {
        prop_assert!(2 * majority(size) > size);
        prop_assert!(majority(size) <= size);
    }

    /// Protects: an order of answers does not matter, only what they are.
    #[test]
    fn the_order_of_voters_does_not_matter(mut incoming in voters(), seed in any::<u64>()) {
        let values: BTreeMap<NodeId, u64> = incoming.iter().map(|&id| (id, id.wrapping_mul(seed) % 7)).collect();
        let before = joint_reached(&incoming, &[], |id| values[&id]);
        incoming.reverse();
        prop_assert_eq!(joint_reached(&incoming, &[], |id| values[&id]), before);
    }
}
