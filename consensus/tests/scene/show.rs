//! Words for messages and configurations.

use ferrolite_consensus::{Body, Configuration, Member, Message, Position, Role};

pub fn members(configuration: &Configuration) -> String {
    let list = |members: &[Member]| {
        let each = members.iter().map(|member| match member.role {
            Role::Voter => member.id.to_string(),
            Role::Standby => format!("({})", member.id),
            Role::Spare => format!("[{}]", member.id),
        });
        each.collect::<Vec<_>>().join(" ")
    };
    match configuration.is_joint() {
        true => format!(
            "{}, leaving {}",
            list(configuration.members()),
            list(configuration.outgoing())
        ),
        false => list(configuration.members()),
    }
}

pub fn show(message: &Message) -> String {
    let term = message.term;
    let at = |position: &Position| format!("{}@{}", position.index, position.term);
    match &message.body {
        Body::VoteRequest {
            last,
            pre,
            transfer,
        } => {
            let kind = if *pre { "pre-vote" } else { "vote" };
            format!(
                "{kind} in term {term}? log ends at {}{}",
                at(last),
                if *transfer { ", by transfer" } else { "" }
            )
        }
        Body::VoteResponse { pre, granted } => {
            let kind = if *pre { "pre-vote" } else { "vote" };
            format!(
                "{kind} in term {term}: {}",
                if *granted { "yes" } else { "no" }
            )
        }
        Body::Append {
            prev,
            commit,
            entries,
            ..
        } => {
            let entries: Vec<String> = entries.iter().map(|entry| at(&entry.position())).collect();
            format!(
                "append in term {term} after {}: [{}] commit {commit}",
                at(prev),
                entries.join(" ")
            )
        }
        Body::AppendResponse { outcome, .. } => {
            format!("append answer in term {term}: {outcome:?}")
        }
        Body::Heartbeat { round, commit } => {
            format!("heartbeat {round} in term {term} commit {commit}")
        }
        Body::HeartbeatResponse { round, matched, .. } => {
            format!("heartbeat answer {round} in term {term} matched {matched}")
        }
        Body::Snapshot {
            meta, offset, done, ..
        } => {
            format!(
                "snapshot of {} at {offset}{}",
                at(&meta.position),
                if *done { ", the end" } else { "" }
            )
        }
        Body::SnapshotResponse {
            next, installed, ..
        } => format!("snapshot answer: next {next}, installed {installed}"),
        Body::TimeoutNow => format!("timeout now in term {term}"),
    }
}
