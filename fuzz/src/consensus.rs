//! What nodes say to each other, and what a node keeps of itself.

use bytes::Bytes;
use ferrolite_consensus::message::codec::{decode, decode_shared, encode};
use ferrolite_consensus::{Body, Configuration, HardState};

use crate::Target;

#[path = "../../consensus/tests/simulator/mod.rs"]
mod simulator;
#[path = "../../consensus/tests/storm/mod.rs"]
mod storm;

/// The targets of this layer.
pub const TARGETS: &[(&str, Target)] = &[
    ("consensus_message", consensus_message),
    ("consensus_simulation", consensus_simulation),
    ("consensus_storm", consensus_storm),
];

/// Events in the rough phase of a simulation, at most.
const STEPS: u32 = 600;

/// Bytes as the choices of a simulated cluster: no invariant breaks, and what is healed converges.
///
/// `simulate --replay FILE`, an example of the crate, shows what happens in an input.
pub fn consensus_simulation(data: &[u8]) {
    let outcome = simulator::run(simulator::Tape::from_bytes(data), STEPS, false);
    if let Some(violation) = outcome.violation {
        panic!("{}: {}", violation.invariant, violation.details);
    }
}

/// Bytes as events that no correct peer and no correct driver would send: the node does not panic, keeps to its bounds,
/// and takes back nothing that it has promised.
pub fn consensus_storm(data: &[u8]) {
    storm::run(data);
}

/// Bytes as a message, a configuration, and a hard state: reading never panics, and what is read survives being
/// written and read again.
pub fn consensus_message(data: &[u8]) {
    let message = decode(data);
    assert_eq!(message, decode_shared(Bytes::copy_from_slice(data)));
    if let Ok(message) = message {
        if let Body::Append { prev, entries, .. } = &message.body {
            // Each entry takes 13 bytes at least, and they follow each other.
            assert!(entries.len() * 13 <= data.len());
            for (nth, entry) in (1..).zip(entries) {
                assert_eq!(prev.index.checked_add(nth), Some(entry.index));
            }
        }
        let bytes = encode(&message);
        assert_eq!(decode(&bytes).as_ref(), Ok(&message));
        assert_eq!(encode(&message), bytes);
    }
    if let Ok(configuration) = Configuration::decode(data) {
        let again = Configuration::decode(&configuration.encode());
        assert_eq!(again.as_ref(), Ok(&configuration));
        let ids: Vec<_> = configuration.members().iter().map(|m| m.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "members {ids:?}");
        assert!(!configuration.voter_ids().is_empty());
        for id in configuration.voter_ids() {
            assert!(configuration.is_voter(*id) && configuration.replicates_to(*id));
        }
    }
    if let Ok(state) = HardState::decode(data) {
        assert_eq!(HardState::decode(&state.encode()), Ok(state));
    }
}
