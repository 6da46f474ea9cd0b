//! Words for what happens, for the script of a run.

use ferrolite_consensus::{Body, Configuration, Entry, Member, Message};

pub fn span(entries: &[Entry]) -> String {
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) => format!(
            "{}@{}..{}@{}",
            first.index, first.term, last.index, last.term
        ),
        _ => "nothing".to_owned(),
    }
}

pub fn members(configuration: &Configuration) -> String {
    let list = |members: &[Member]| {
        let each = members
            .iter()
            .map(|member| format!("{}{}", &format!("{:?}", member.role)[..2], member.id));
        each.collect::<Vec<_>>().join(" ")
    };
    match configuration.is_joint() {
        true => format!(
            "[{}] leaving [{}]",
            list(configuration.members()),
            list(configuration.outgoing())
        ),
        false => format!("[{}]", list(configuration.members())),
    }
}

pub fn brief(message: &Message) -> String {
    match &message.body {
        Body::Append {
            seq,
            prev,
            commit,
            entries,
        } => {
            format!(
                "append #{seq} after {}@{}: {}, commit {commit}",
                prev.index,
                prev.term,
                span(entries)
            )
        }
        Body::Snapshot {
            meta, offset, done, ..
        } => {
            format!(
                "snapshot {} of {} at {offset}, last: {done}",
                meta.id, meta.position.index
            )
        }
        other => format!("{other:?}"),
    }
}
