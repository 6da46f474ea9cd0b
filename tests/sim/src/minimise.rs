//! Making a failure smaller: fewer faults, fewer clients, less time, and at last fewer statements, as long as it still fails.
//!
//! Statements are left out in pieces, halves at first, which get smaller when no piece can be spared any more (Zeller and
//! Hildebrandt, "Simplifying and isolating failure-inducing input", 2002, without its complements).
//!
//! What is left out changes nothing of what the rest draws (see [`plan`](crate::plan)), but it does change what happens; so a smaller
//! simulation may fail for another reason. That is as good: whoever reads it wants a failure with little around it.

use crate::plan::Plan;
use crate::run::{Extent, Report, run};

/// No more simulations than this to make the plan smaller, and as many again for the statements.
const ATTEMPTS: usize = 120;

/// The smallest simulation found that fails, from one that does. `tell` is told of every attempt: how many there were, and
/// whether it still fails.
pub fn minimise(report: Report, mut tell: impl FnMut(usize, bool)) -> Report {
    let mut attempts = 0;
    let mut attempt = |plan: &Plan| {
        attempts += 1;
        let tried = run(plan, Extent::default());
        let fails = tried.failure.is_some();
        tell(attempts, fails);
        fails.then_some(tried)
    };
    let least = fewer_faults(report, &mut attempt);
    fewer_statements(least, &mut attempt)
}

fn fewer_faults(report: Report, attempt: &mut impl FnMut(&Plan) -> Option<Report>) -> Report {
    let mut least = report;
    let mut left = ATTEMPTS;
    loop {
        let mut smaller = None;
        for plan in reductions(&least.plan) {
            if left == 0 {
                return least;
            }
            left -= 1;
            smaller = attempt(&plan);
            if smaller.is_some() {
                break;
            }
        }
        match smaller {
            Some(tried) => least = tried,
            None => return least,
        }
    }
}

fn fewer_statements(report: Report, attempt: &mut impl FnMut(&Plan) -> Option<Report>) -> Report {
    let mut least = report;
    let mut left = ATTEMPTS;
    let mut size = sent(&least).len() / 2;
    while size > 0 {
        let mut place = 0;
        loop {
            // What is sent changes with what is left out, as clients go on with something else.
            let statements = sent(&least);
            let piece = statements.get(place..).unwrap_or_default();
            let piece = piece.get(..size).unwrap_or(piece);
            if piece.is_empty() {
                break;
            }
            if left == 0 {
                return least;
            }
            left -= 1;
            let mut plan = least.plan.clone();
            plan.left_out.extend(piece);
            match attempt(&plan) {
                Some(tried) => least = tried,
                None => place += size,
            }
        }
        size /= 2;
    }
    least
}

/// The statements that were sent: the client, and the how manieth of its statements.
fn sent(report: &Report) -> Vec<(u64, u64)> {
    let asked = report.counts.asked.iter();
    asked
        .flat_map(|(client, count)| (1..=*count).map(|number| (*client, number)))
        .filter(|statement| !report.plan.left_out.contains(statement))
        .collect()
}

/// Plans with a little less.
fn reductions(plan: &Plan) -> Vec<Plan> {
    let mut reduced = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        reduced.push(smaller);
    };
    if plan.time.as_millis() > 500 {
        with(&|plan| plan.time /= 2);
    }
    if plan.faults.len() > 3 {
        for half in 0..2 {
            with(&|plan| {
                let kept = plan.faults.iter().copied().enumerate();
                let kept = kept.filter(|(place, _)| place % 2 == half);
                plan.faults = kept.map(|(_, fault)| fault).collect();
            });
        }
    }
    for fault in &plan.faults {
        with(&|plan| plan.faults.retain(|kept| kept != fault));
    }
    if plan.loads.len() > 1 {
        for load in &plan.loads {
            with(&|plan| plan.loads = vec![*load]);
        }
    }
    if plan.clients > 1 {
        with(&|plan| plan.clients /= 2);
        with(&|plan| plan.clients -= 1);
    }
    if plan.nodes > 3 {
        with(&|plan| plan.nodes = 3);
    }
    if plan.time.as_millis() > 500 {
        with(&|plan| plan.time = plan.time * 4 / 5);
    }
    reduced
}
