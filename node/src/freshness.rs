//! How far what this node has applied may be behind what the cluster has, in the worst case.
//!
//! Nobody compares clocks for that. A node that follows notes the time, by its own clock, and asks the leader how far the
//! cluster is; the leader answers with its commit index, once it is certain that it led *after* it was asked. What was
//! committed before the question is then not behind that index. So as soon as this node has applied it, what it has is at
//! least as new as the moment in which it asked. How long question and answer took, and whether they were overtaken, does not
//! matter, and clocks that differ or are set do not either: two readings of one monotonic clock are compared.
//!
//! A leader knows without asking: from each round of heartbeats that a quorum has answered.
//!
//! Nobody is asked unless a reader wants to know. A reader that finds the last answer too old for it asks, and those that come
//! meanwhile share the answer; one that finds it only half as old as it may be asks as well, but does not wait. So as long as
//! there are readers, and the leader answers, they do not wait for anything.
//!
//! ```text
//! question  u8 'F' · u8 version = 1 · u8 0 · u64 number of the question
//! answer    u8 'F' · u8 version = 1 · u8 1 · u64 number of the question · u64 commit index
//! ```
//!
//! The messages travel between nodes like those about [pages](crate::scrub), and only to nodes which have said, when they
//! connected, that they know them ([`SPEAKS_OF_FRESHNESS`]): an older one would take them for damage, and hang up.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ferrolite_consensus::{Index, NodeId};
use tokio::sync::watch;
use tokio::time::Instant;

/// First byte of the messages; no other message between nodes begins with it.
pub(crate) const TAG: u8 = b'F';
const VERSION: u8 = 1;
const QUESTION: u8 = 0;
const ANSWER: u8 = 1;

/// In what a node says of itself when it connects: that it answers questions of this kind.
pub(crate) const SPEAKS_OF_FRESHNESS: u16 = 1;

/// Questions whose answers may still come, and answers that are remembered; of more, the oldest are forgotten.
const REMEMBERED: usize = 64;
/// Between two questions there is so much time, at least.
pub(crate) const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// What nodes say to each other about how far the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FreshnessMessage {
    /// How far is the cluster?
    Question { number: u64 },
    /// Everything up to this log index is committed, and when the question was asked nothing behind it was.
    Answer { number: u64, commit: Index },
}

impl FreshnessMessage {
    pub(crate) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(19);
        out.put_u8(TAG);
        out.put_u8(VERSION);
        match self {
            Self::Question { number } => {
                out.put_u8(QUESTION);
                out.put_u64_le(number);
            }
            Self::Answer { number, commit } => {
                out.put_u8(ANSWER);
                out.put_u64_le(number);
                out.put_u64_le(commit);
            }
        }
        out.freeze()
    }

    /// Reads a message, which begins with [`TAG`]; `None` if it makes no sense, or is of a later version.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let head = [bytes.try_get_u8().ok()?, bytes.try_get_u8().ok()?];
        if head != [TAG, VERSION] {
            return None;
        }
        let kind = bytes.try_get_u8().ok()?;
        let number = bytes.try_get_u64_le().ok()?;
        let message = match kind {
            QUESTION => Self::Question { number },
            ANSWER => Self::Answer {
                number,
                commit: bytes.try_get_u64_le().ok()?,
            },
            _ => return None,
        };
        bytes.is_empty().then_some(message)
    }
}

#[derive(Debug)]
struct State {
    next_number: u64,
    /// Questions, the oldest first, and when they were asked.
    asked: VecDeque<(u64, Instant)>,
    /// When a question was asked, the oldest first, and its answer.
    known: VecDeque<(Instant, Index)>,
    /// Nodes that understand questions.
    able: HashSet<NodeId>,
}

impl State {
    fn note(&mut self, at: Instant, commit: Index) {
        if self.known.len() >= REMEMBERED {
            self.known.pop_front();
        }
        let place = self.known.partition_point(|(known, _)| *known <= at);
        self.known.insert(place, (at, commit));
    }
}

/// What to do for a reader that needs to know more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Ask the leader, with this number.
    Ask(u64),
    /// Wait for the answer to what was asked already.
    IsAsked,
    /// One was asked only just now, but too early; look again after the [pause](LEAST_PAUSE).
    TooSoon,
}

/// What this node knows of how far the cluster is; see the [module](self).
#[derive(Debug)]
pub(crate) struct Freshness {
    began: Instant,
    state: Mutex<State>,
    /// Counts the answers.
    answers: watch::Sender<u64>,
}

impl Freshness {
    /// Nothing is known. The questions' numbers begin with `first`, which no earlier process of this node has come near to.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            began: Instant::now(),
            state: Mutex::new(State {
                next_number: first,
                asked: VecDeque::new(),
                known: VecDeque::new(),
                able: HashSet::new(),
            }),
            answers: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change below is complete before the guard is dropped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment before which nothing was ever known.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// A peer has connected, and said what it can do.
    pub(crate) fn note_peer(&self, peer: NodeId, abilities: u16) {
        let able = &mut self.state().able;
        if abilities & SPEAKS_OF_FRESHNESS != 0 {
            able.insert(peer);
        } else {
            able.remove(&peer);
        }
    }

    /// Whether a peer understands questions.
    pub(crate) fn can_ask(&self, peer: NodeId) -> bool {
        self.state().able.contains(&peer)
    }

    /// Whether there is anything to ask for whoever needs to know of a moment after `since`. A question that was not answered
    /// within `patience` is taken for lost.
    pub(crate) fn question(&self, since: Instant, patience: Duration) -> Question {
        let mut state = self.state();
        let now = Instant::now();
        if let Some((_, last)) = state.asked.back() {
            let age = now.saturating_duration_since(*last);
            if *last >= since && age < patience {
                return Question::IsAsked;
            }
            if age < LEAST_PAUSE {
                return Question::TooSoon;
            }
        }
        let number = state.next_number;
        state.next_number = number.wrapping_add(1);
        if state.asked.len() >= REMEMBERED {
            state.asked.pop_front();
        }
        state.asked.push_back((number, now));
        Question::Ask(number)
    }

    /// A leader has answered a question.
    pub(crate) fn answered(&self, number: u64, commit: Index) {
        let mut state = self.state();
        let asked = state.asked.iter().position(|(asked, _)| *asked == number);
        let Some((_, at)) = asked.and_then(|place| state.asked.remove(place)) else {
            log::debug!(number; "an answer to what nobody has asked, or not lately");
            return;
        };
        state.note(at, commit);
        drop(state);
        self.answers.send_modify(|count| *count += 1);
    }

    /// It is known without a question: nothing behind `commit` was committed at the moment `at`.
    pub(crate) fn note(&self, at: Instant, commit: Index) {
        self.state().note(at, commit);
    }

    /// Sees each further answer.
    pub(crate) fn answers(&self) -> watch::Receiver<u64> {
        self.answers.subscribe()
    }

    /// The moment that what was applied up to `applied` is at least as new as, if anything is known of that.
    pub(crate) fn as_of(&self, applied: Index) -> Option<Instant> {
        let state = self.state();
        let mut known = state.known.iter().rev();
        known
            .find(|(_, commit)| *commit <= applied)
            .map(|(at, _)| *at)
    }

    /// What has to be applied to be as new as the moment `since`, by the first answer that tells.
    pub(crate) fn needed(&self, since: Instant) -> Option<Index> {
        let state = self.state();
        let mut known = state.known.iter();
        known
            .find(|(at, _)| *at >= since)
            .map(|(_, commit)| *commit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(3600);

    fn ask(freshness: &Freshness, since: Instant) -> u64 {
        loop {
            match freshness.question(since, PATIENCE) {
                Question::Ask(number) => return number,
                Question::TooSoon => std::thread::yield_now(),
                Question::IsAsked => panic!("it is asked already"),
            }
        }
    }

    /// What is known counts from when it was asked, and for those who have applied it.
    #[test]
    fn as_new_as_the_question() {
        let freshness = Freshness::new(u64::MAX);
        assert_eq!(freshness.as_of(u64::MAX), None);
        let before = Instant::now();
        let first = ask(&freshness, before);
        let between = Instant::now();
        let second = ask(&freshness, between);
        assert_ne!(first, second, "numbers begin anew at the end");
        assert_eq!(freshness.as_of(u64::MAX), None);
        freshness.answered(second, 20);
        freshness.answered(first, 10);
        let as_of = |applied| freshness.as_of(applied);
        assert_eq!(as_of(9), None);
        assert!((before..=between).contains(&as_of(10).unwrap()));
        assert_eq!(as_of(19), as_of(10));
        assert!(as_of(20).unwrap() >= between);
        assert_eq!(freshness.needed(before), Some(10));
        assert_eq!(freshness.needed(between), Some(20));
        assert_eq!(freshness.needed(Instant::now()), None);
        // Again, and what was not asked.
        freshness.answered(second, 0);
        freshness.answered(second.wrapping_add(1), 0);
        assert_eq!(as_of(9), None);
    }

    /// A question that was asked late enough is not asked again before there is reason to think that it is lost.
    #[test]
    fn questions_are_shared() {
        let freshness = Freshness::new(0);
        let before = Instant::now();
        assert_eq!(ask(&freshness, before), 0);
        assert_eq!(freshness.question(before, PATIENCE), Question::IsAsked);
        let after = Instant::now();
        assert_eq!(ask(&freshness, after), 1, "the first was asked earlier");
        assert_eq!(freshness.question(after, PATIENCE), Question::IsAsked);
        std::thread::sleep(LEAST_PAUSE);
        assert_eq!(
            freshness.question(after, LEAST_PAUSE),
            Question::Ask(2),
            "lost"
        );
    }

    /// However much is asked, and whatever is answered, memory is bounded.
    #[test]
    fn memory_is_bounded() {
        let freshness = Freshness::new(0);
        for _ in 0..2 * REMEMBERED {
            ask(&freshness, Instant::now());
        }
        assert_eq!(freshness.state().asked.len(), REMEMBERED);
        for number in 0..4 * REMEMBERED as u64 {
            freshness.answered(number, number);
        }
        assert!(freshness.state().asked.is_empty());
        assert_eq!(freshness.state().known.len(), REMEMBERED);
    }

    /// Who has not said that it understands, or says so no more, is not asked.
    #[test]
    fn abilities() {
        let freshness = Freshness::new(0);
        assert!(!freshness.can_ask(2));
        freshness.note_peer(2, u16::MAX);
        assert!(freshness.can_ask(2) && !freshness.can_ask(3));
        freshness.note_peer(2, !SPEAKS_OF_FRESHNESS);
        assert!(!freshness.can_ask(2));
    }

    proptest! {
        /// What is said is what is understood.
        #[test]
        fn messages_come_back(number in any::<u64>(), commit in any::<u64>()) {
            for message in [FreshnessMessage::Question { number }, FreshnessMessage::Answer { number, commit }] {
                prop_assert_eq!(FreshnessMessage::decode(&message.encode()), Some(message));
            }
        }

        /// Nothing that a peer sends does harm, and what is understood was said in full.
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..24), kind in 0..4_u8) {
            let framed = [&[TAG, VERSION, kind][..], &bytes].concat();
            if let Some(message) = FreshnessMessage::decode(&framed) {
                let encoded = message.encode();
                prop_assert_eq!(&encoded[..], &framed[..]);
            }
            for head in [[TAG, VERSION + 1, QUESTION], [TAG + 1, VERSION, QUESTION]] {
                let other = [&head[..], &bytes].concat();
                prop_assert_eq!(FreshnessMessage::decode(&other), None);
            }
        }
    }
}
