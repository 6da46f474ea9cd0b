//! Who came before whom.
//!
//! The nodes are the transactions and, after them, one for each completion. An operation leads to the node of its completion, that
//! to the next completion's, and the last one before an invocation to the operation that is invoked: so there is a path of such
//! edges between two operations just if one was complete when the other was invoked, with three edges for each of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Operation;
use super::lists::{Index, Key, Lists};

/// Why one came before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It appended the element, and the other the next.
    Ww { key: i64, element: i64, next: i64 },
    /// It appended the last element that the other found.
    Wr { key: i64, element: i64 },
    /// It found the list without this element, which the other appended.
    Rw { key: i64, element: i64 },
    /// By time.
    Time,
}

/// Kinds of edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) wr: bool,
    pub(super) rw: bool,
    pub(super) time: bool,
}

impl Kinds {
    /// Whether an edge is of one of the kinds. Those between appends always are.
    fn have(self, why: Why) -> bool {
        match why {
            Why::Ww { .. } => true,
            Why::Wr { .. } => self.wr,
            Why::Rw { .. } => self.rw,
            Why::Time => self.time,
        }
    }
}

/// An edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) from: Index,
    pub(super) to: Index,
    pub(super) why: Why,
}

/// All edges.
#[derive(Debug)]
pub(super) struct Graph {
    /// How many of the nodes are operations; they come first.
    operations: usize,
    /// By the node that they leave.
    edges: Vec<Vec<Edge>>,
}

/// What Tarjan's algorithm knows of a node.
#[derive(Debug, Clone, Copy)]
struct Visit {
    /// When it was reached.
    order: usize,
    /// The earliest that is known to be reachable and is not in a component yet.
    low: usize,
    stacked: bool,
}

impl Graph {
    /// The graph of a history.
    pub(super) fn of(operations: &[Operation], lists: &Lists<'_>) -> Self {
        let mut graph = Self {
            operations: operations.len(),
            edges: vec![Vec::new(); operations.len()],
        };
        for (name, key) in &lists.keys {
            graph.add_list(*name, key);
        }
        graph.add_time(operations);
        graph
    }

    fn add(&mut self, from: Option<Index>, to: Option<Index>, why: Why) {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
            && let Some(edges) = self.edges.get_mut(from)
        {
            edges.push(Edge { from, to, why });
        }
    }

    fn add_list(&mut self, name: i64, key: &Key<'_>) {
        for pair in key.order.windows(2) {
            if let [element, next] = *pair {
                let why = Why::Ww {
                    key: name,
                    element,
                    next,
                };
                self.add(key.writer(element), key.writer(next), why);
            }
        }
        // What nobody has read comes after all that somebody has; in which order is not known.
        if let Some(element) = key.order.last().copied() {
            for next in key.unread.iter().copied() {
                let why = Why::Ww {
                    key: name,
                    element,
                    next,
                };
                self.add(key.writer(element), key.writer(next), why);
            }
        }
        for read in &key.reads {
            if let Some(element) = read.list.last().copied() {
                let why = Why::Wr { key: name, element };
                self.add(key.writer(element), Some(read.by), why);
            }
            let next = key.order.get(read.list.len());
            let unread: &[i64] = match next {
                Some(_) => &[],
                None => &key.unread,
            };
            for element in next.into_iter().chain(unread).copied() {
                let why = Why::Rw { key: name, element };
                self.add(Some(read.by), key.writer(element), why);
            }
        }
    }

    fn add_time(&mut self, operations: &[Operation]) {
        let mut completions: Vec<(u64, Index)> = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            completions.extend(operation.completed.map(|moment| (moment.position, index)));
        }
        completions.sort_unstable();
        for (nth, (_, index)) in completions.iter().enumerate() {
            let node = self.edges.len();
            self.edges.push(Vec::new());
            self.add(Some(*index), Some(node), Why::Time);
            if nth > 0 {
                self.add(node.checked_sub(1), Some(node), Why::Time);
            }
        }
        for (index, operation) in operations.iter().enumerate() {
            let count = completions.partition_point(|(position, _)| *position < operation.start());
            if let Some(nth) = count.checked_sub(1) {
                self.add(Some(self.operations + nth), Some(index), Why::Time);
            }
        }
    }

    /// Whether a node is an operation.
    pub(super) fn is_operation(&self, node: Index) -> bool {
        node < self.operations
    }

    fn edges(&self, node: Index, kinds: Kinds) -> impl Iterator<Item = &Edge> {
        let edges = self.edges.get(node).into_iter().flatten();
        edges.filter(move |edge| kinds.have(edge.why))
    }

    /// The edges of these kinds between nodes of a component.
    pub(super) fn within<'g>(
        &'g self,
        component: &'g BTreeSet<Index>,
        kinds: Kinds,
    ) -> impl Iterator<Item = &'g Edge> {
        let edges = component
            .iter()
            .flat_map(move |node| self.edges(*node, kinds));
        edges.filter(|edge| component.contains(&edge.to))
    }

    /// Sets of nodes of which each reaches each by edges of these kinds, those of a single node left out (Tarjan 1972).
    pub(super) fn components(&self, kinds: Kinds) -> Vec<BTreeSet<Index>> {
        let mut visits: Vec<Option<Visit>> = vec![None; self.edges.len()];
        let mut components = Vec::new();
        let mut stack = Vec::new();
        let mut order = 0;
        for root in 0..self.edges.len() {
            // A node, and how many of its edges were followed: recursion would be as deep as a history is long.
            let mut path = vec![(root, 0)];
            while let Some((node, followed)) = path.pop() {
                if followed == 0 {
                    if visits.get(node).is_none_or(Option::is_some) {
                        continue;
                    }
                    let visit = Visit {
                        order,
                        low: order,
                        stacked: true,
                    };
                    set(&mut visits, node, visit);
                    order += 1;
                    stack.push(node);
                }
                if let Some(edge) = self.edges(node, kinds).nth(followed) {
                    path.push((node, followed + 1));
                    match visit(&visits, edge.to) {
                        None => path.push((edge.to, 0)),
                        Some(to) if to.stacked => lower(&mut visits, node, to.order),
                        Some(_) => {}
                    }
                    continue;
                }
                let Some(done) = visit(&visits, node) else {
                    continue;
                };
                if let Some((parent, _)) = path.last() {
                    lower(&mut visits, *parent, done.low);
                }
                if done.low == done.order {
                    let mut component = BTreeSet::new();
                    while let Some(member) = stack.pop() {
                        component.insert(member);
                        if let Some(mut visit) = visit(&visits, member) {
                            visit.stacked = false;
                            set(&mut visits, member, visit);
                        }
                        if member == node {
                            break;
                        }
                    }
                    if component.len() > 1 {
                        components.push(component);
                    }
                }
            }
        }
        components
    }

    /// A way inside a component by edges of these kinds that passes as few operations as possible.
    pub(super) fn shortest(
        &self,
        component: &BTreeSet<Index>,
        kinds: Kinds,
        from: Index,
        to: Index,
    ) -> Option<Vec<Edge>> {
        let mut came: BTreeMap<Index, (usize, Option<Edge>)> = BTreeMap::from([(from, (0, None))]);
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((node, length)) = queue.pop_front() {
            if node == to {
                break;
            }
            if came.get(&node).is_some_and(|(known, _)| *known < length) {
                continue;
            }
            for edge in self.edges(node, kinds) {
                if !component.contains(&edge.to) {
                    continue;
                }
                // Between completions it costs nothing.
                let cost = usize::from(self.is_operation(edge.to));
                let known = came.get(&edge.to).map(|(known, _)| *known);
                if known.is_some_and(|known| known <= length + cost) {
                    continue;
                }
                came.insert(edge.to, (length + cost, Some(*edge)));
                match cost {
                    0 => queue.push_front((edge.to, length)),
                    _ => queue.push_back((edge.to, length + cost)),
                }
            }
        }
        let mut way = Vec::new();
        let mut node = to;
        while node != from {
            let edge = came.get(&node).and_then(|(_, edge)| *edge)?;
            way.push(edge);
            node = edge.from;
        }
        way.reverse();
        Some(way)
    }
}

fn visit(visits: &[Option<Visit>], node: Index) -> Option<Visit> {
    visits.get(node).copied().flatten()
}

fn set(visits: &mut [Option<Visit>], node: Index, visit: Visit) {
    if let Some(place) = visits.get_mut(node) {
        *place = Some(visit);
    }
}

fn lower(visits: &mut [Option<Visit>], node: Index, low: usize) {
    if let Some(Some(visit)) = visits.get_mut(node) {
        visit.low = visit.low.min(low);
    }
}
