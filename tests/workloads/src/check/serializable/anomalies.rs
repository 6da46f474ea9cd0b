//! Which cycles there are, what they are called, and how they read.
//!
//! Kinds of edges are added one after another, so a cycle is named after the strongest promise that it breaks:
//!
//! | edges | anomaly |
//! |---|---|
//! | ww | G0 |
//! | ww, wr | G1c |
//! | ww, wr, one rw | G-single |
//! | ww, wr, rw | G2 |
//! | the same once more, with time | a real-time violation, of that kind |

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Operation;
use super::graph::{Edge, Graph, Kinds, Why};
use super::lists::Index;
use crate::check::{Anomaly, Violation, lines};

/// How many ways around are looked at to find a short cycle, at most.
const WAYS: usize = 256;
/// How many nodes are looked at on all these ways, about. A few ways are looked at however many nodes there are.
const NODES: usize = 1_000_000;

/// Searches for a cycle.
///
/// # Errors
/// There is one.
pub(super) fn check(operations: &[Operation], graph: &Graph) -> Result<(), Violation> {
    let all = Kinds {
        wr: true,
        rw: true,
        time: true,
    };
    if graph.components(all).is_empty() {
        return Ok(());
    }
    for time in [false, true] {
        for (wr, rw, anomaly) in [
            (false, false, Anomaly::WriteCycle),
            (true, false, Anomaly::CircularFlow),
            (true, true, Anomaly::Antidependency),
        ] {
            let kinds = Kinds { wr, rw, time };
            let components = graph.components(kinds);
            let cycles: Vec<Vec<Edge>> = components
                .iter()
                .filter_map(|component| cycle(graph, component, kinds))
                .collect();
            if let Some(cycle) = cycles
                .into_iter()
                .min_by_key(|cycle| (missed(cycle), cycle.len()))
            {
                let anomaly = match missed(&cycle) {
                    1 => Anomaly::SingleAntidependency,
                    _ => anomaly,
                };
                return Err(explain(operations, graph, &cycle, anomaly));
            }
        }
    }
    Err(Violation::new(
        Anomaly::Undecided,
        "there is a cycle, which was not found",
    ))
}

/// How many edges say that something was not seen.
fn missed(cycle: &[Edge]) -> usize {
    let edges = cycle.iter();
    edges
        .filter(|edge| matches!(edge.why, Why::Rw { .. }))
        .count()
}

/// A short cycle in a component, with a single rw edge if there is such a one.
fn cycle(graph: &Graph, component: &BTreeSet<Index>, kinds: Kinds) -> Option<Vec<Edge>> {
    let around = |edge: &Edge, kinds: Kinds| {
        let mut cycle = vec![*edge];
        cycle.extend(graph.shortest(component, kinds, edge.to, edge.from)?);
        Some(cycle)
    };
    let shortest = |cycles: &mut dyn Iterator<Item = Vec<Edge>>| {
        cycles.min_by_key(|cycle| {
            cycle
                .iter()
                .filter(|edge| graph.is_operation(edge.to))
                .count()
        })
    };
    // Most edges lead from what was invoked earlier to what was later. In a large component, the cycles that
    // are easy to understand are those of a few that lead back.
    let mut edges: Vec<&Edge> = graph
        .within(component, kinds)
        .filter(|edge| graph.is_operation(edge.from))
        .collect();
    edges.sort_by_key(|edge| {
        (
            edge.to.saturating_sub(edge.from),
            Reverse(edge.from.saturating_sub(edge.to)),
        )
    });
    let ways = (NODES / component.len().max(1)).clamp(4, WAYS);
    if kinds.rw {
        let without = Kinds { rw: false, ..kinds };
        let missing = edges
            .iter()
            .filter(|edge| matches!(edge.why, Why::Rw { .. }));
        let single = shortest(&mut missing.take(ways).filter_map(|edge| around(edge, without)));
        if single.is_some() {
            return single;
        }
    }
    shortest(
        &mut edges
            .iter()
            .take(ways)
            .filter_map(|edge| around(edge, kinds)),
    )
}

/// The cycle, transaction by transaction.
fn explain(operations: &[Operation], graph: &Graph, cycle: &[Edge], anomaly: Anomaly) -> Violation {
    // Begins with an operation, and leaves out the nodes of completions.
    let mut hops: Vec<Edge> = Vec::new();
    for edge in cycle {
        match hops.last_mut() {
            Some(last) if !graph.is_operation(last.to) => last.to = edge.to,
            _ => hops.push(*edge),
        }
    }
    let mut names: BTreeMap<Index, usize> = BTreeMap::new();
    let mut members = Vec::new();
    for hop in &hops {
        let next = names.len() + 1;
        names.entry(hop.from).or_insert(next);
        if let Some(operation) = operations.get(hop.from) {
            members.push(format!("T{next} = {operation}"));
        }
    }
    let name = |node: Index| names.get(&node).copied().unwrap_or_default();
    let steps = hops.iter().map(|hop| {
        let (from, to) = (name(hop.from), name(hop.to));
        match hop.why {
            Why::Ww { key, element, next } => {
                format!("T{from} before T{to} (ww): T{to} appended {next} to {key} after T{from}'s {element}")
            }
            Why::Wr { key, element } => {
                format!("T{from} before T{to} (wr): T{to} read {key} up to T{from}'s {element}")
            }
            Why::Rw { key, element } => {
                format!("T{from} before T{to} (rw): T{from} read {key} without T{to}'s {element}")
            }
            Why::Time => {
                format!("T{from} before T{to} (time): T{from} was complete when T{to} was invoked")
            }
        }
    });
    let by_time = hops.iter().any(|hop| hop.why == Why::Time);
    let (anomaly, kind) = match by_time {
        true => (Anomaly::RealTime, format!(" with {anomaly}")),
        false => (anomaly, String::new()),
    };
    let why = format!(
        "a cycle of {} transactions{kind}{}{}",
        hops.len(),
        lines(members),
        lines(steps)
    );
    Violation::new(anomaly, why)
}
