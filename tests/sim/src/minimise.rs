//! Making a failure smaller: fewer faults, fewer clients, less time, as long as it still fails.
//!
//! What is left out changes nothing of what the rest draws (see [`plan`](crate::plan)), but it does change what happens; so a smaller
//! simulation may fail for another reason. That is as good: whoever reads it wants a failure with little around it.

use crate::plan::Plan;
use crate::run::{Extent, Report, run};

/// No more simulations than this.
const ATTEMPTS: usize = 80;

/// The smallest simulation found that fails, from one that does. `tell` is told of every attempt: how many there were, and
/// whether it still fails.
pub fn minimise(report: Report, mut tell: impl FnMut(usize, bool)) -> Report {
    let mut least = report;
    let mut attempts = 0;
    loop {
        let mut smaller = false;
        for plan in reductions(&least.plan) {
            if attempts == ATTEMPTS {
                return least;
            }
            attempts += 1;
            let tried = run(&plan, Extent::default());
            let fails = tried.failure.is_some();
            tell(attempts, fails);
            if fails {
                least = tried;
                smaller = true;
                break;
            }
        }
        if !smaller {
            return least;
        }
    }
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
