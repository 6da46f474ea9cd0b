//! What clients asked for and what they were told, in one order.
//!
//! Each operation has two places in that order, its invocation and its completion. They are numbered by one counter, an
//! invocation *before* anything is sent and a completion *after* the answer has come, so that of two operations one
//! of which was complete before the other was invoked, the database must not tell another tale. An operation whose outcome is
//! unknown is never complete: it may take effect at any time after its invocation, or never.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The client in whose name the last reads are done, when all others have ended.
pub const FINISH: u64 = u64::MAX;

/// A place in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The place in the order; no two invocations or completions have the same.
    pub position: u64,
    /// The world's time, for the reader.
    pub time: Duration,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<A> {
    /// It was acknowledged, with this answer.
    Ok(A),
    /// It certainly had no effect and never will, for this reason.
    Failed(String),
    /// Nobody knows, for this reason.
    Unknown(String),
}

/// Something that a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<Q, A> {
    /// Who.
    pub client: u64,
    /// What.
    pub question: Q,
    /// What became of it.
    pub outcome: Outcome<A>,
    /// When it was asked for.
    pub invoked: Moment,
    /// When its outcome was learned; none if it is unknown.
    pub completed: Option<Moment>,
}

impl<Q, A> Operation<Q, A> {
    /// The answer, if it was acknowledged.
    pub fn answer(&self) -> Option<&A> {
        match &self.outcome {
            Outcome::Ok(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether it was acknowledged.
    pub fn is_ok(&self) -> bool {
        self.answer().is_some()
    }

    /// Whether it certainly had no effect.
    pub fn is_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }

    /// Whether it is one of the last reads.
    pub fn is_final(&self) -> bool {
        self.client == FINISH
    }

    /// The position of its invocation.
    pub fn start(&self) -> u64 {
        self.invoked.position
    }

    /// The position of its completion, which is beyond all others if that has not been.
    pub fn end(&self) -> u64 {
        self.completed.map_or(u64::MAX, |moment| moment.position)
    }
}

/// `client 3 [12 at 1.204s, 18 at 1.310s] QUESTION -> ANSWER`.
impl<Q: fmt::Display, A: fmt::Display> fmt::Display for Operation<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            FINISH => f.write_str("at last ")?,
            client => write!(f, "client {client} ")?,
        }
        let when = |moment: Moment| format!("{} at {:.3?}", moment.position, moment.time);
        let completed = self.completed.map_or_else(|| "-".to_owned(), when);
        write!(
            f,
            "[{}, {completed}] {} ",
            when(self.invoked),
            self.question
        )?;
        match &self.outcome {
            Outcome::Ok(answer) => write!(f, "-> {answer}"),
            Outcome::Failed(why) => write!(f, "-> failed ({why})"),
            Outcome::Unknown(why) => write!(f, "-> unknown ({why})"),
        }
    }
}

/// Operations, to which several clients add. Clones are the same history.
#[derive(Debug)]
pub struct History<Q, A> {
    shared: Rc<RefCell<Shared<Q, A>>>,
}

#[derive(Debug)]
struct Shared<Q, A> {
    /// The next position.
    next: u64,
    /// In the order of invocations.
    operations: Vec<Operation<Q, A>>,
    /// What was answered that cannot be understood.
    oddities: Vec<String>,
    /// Whether all that is left in the end was read.
    closed: bool,
}

/// An operation that is under way.
#[derive(Debug)]
#[must_use = "what is never completed stays unknown"]
pub struct Invocation {
    index: usize,
}

impl<Q, A> Clone for History<Q, A> {
    fn clone(&self) -> Self {
        let shared = Rc::clone(&self.shared);
        Self { shared }
    }
}

impl<Q, A> Default for History<Q, A> {
    fn default() -> Self {
        let shared = Shared {
            next: 0,
            operations: Vec::new(),
            oddities: Vec::new(),
            closed: false,
        };
        Self {
            shared: Rc::new(RefCell::new(shared)),
        }
    }
}

impl<Q, A> Shared<Q, A> {
    fn moment(&mut self, time: Duration) -> Moment {
        let position = self.next;
        self.next += 1;
        Moment { position, time }
    }
}

impl<Q, A> History<Q, A> {
    /// A client is about to ask for something.
    pub fn invoke(&self, client: u64, question: Q, now: Duration) -> Invocation {
        let mut shared = self.shared.borrow_mut();
        let invoked = shared.moment(now);
        let index = shared.operations.len();
        shared.operations.push(Operation {
            client,
            question,
            outcome: Outcome::Unknown("not answered".to_owned()),
            invoked,
            completed: None,
        });
        Invocation { index }
    }

    /// A client has learned what became of what it asked for. The question may have become more exact meanwhile.
    pub fn complete(
        &self,
        invocation: Invocation,
        question: Q,
        outcome: Outcome<A>,
        now: Duration,
    ) {
        let mut shared = self.shared.borrow_mut();
        let known = !matches!(outcome, Outcome::Unknown(_));
        let completed = known.then(|| shared.moment(now));
        if let Some(operation) = shared.operations.get_mut(invocation.index) {
            operation.question = question;
            operation.outcome = outcome;
            operation.completed = completed;
        }
    }

    /// Something was answered that no database may answer, whatever was done to it.
    pub fn oddity(&self, what: String) {
        self.shared.borrow_mut().oddities.push(what);
    }

    /// What was answered that no database may answer.
    pub fn oddities(&self) -> Vec<String> {
        self.shared.borrow().oddities.clone()
    }

    /// All clients have ended, and all that is left was read.
    pub fn close(&self) {
        self.shared.borrow_mut().closed = true;
    }

    /// Whether all clients have ended, and all that is left was read.
    pub fn is_closed(&self) -> bool {
        self.shared.borrow().closed
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.shared.borrow().operations.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at what there is, in the order of invocations.
    pub fn with<T>(&self, look: impl FnOnce(&[Operation<Q, A>]) -> T) -> T {
        look(&self.shared.borrow().operations)
    }
}

/// An operation a line, in the order of invocations.
impl<Q: fmt::Display, A: fmt::Display> fmt::Display for History<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared.borrow();
        let mut operations = shared.operations.iter();
        operations.try_for_each(|operation| writeln!(f, "{operation}"))?;
        let mut oddities = shared.oddities.iter();
        oddities.try_for_each(|oddity| writeln!(f, "odd: {oddity}"))
    }
}
