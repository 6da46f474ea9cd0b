//! The workloads, by name.
//!
//! A workload says what its clients may ask for ([`Workload::plan`]), how that is done in SQL ([`Workload::attempt`]), and
//! with which checkers the answers are judged. The rest is the same for all and is here: clients that ask one thing after
//! another, connect anew when they have to, and write down what they were told.
//!
//! | name | what clients do | what must hold |
//! |---|---|---|
//! | `bank` | transfers between accounts, reads of all | money is neither made nor lost |
//! | `append` | transactions of appends to lists and reads of them | strict serializability |
//! | `register` | read, write, compare-and-set of single values | linearizability |
//! | `set` | adds of several elements, reads of all | what is added is there from then on |
//! | `long-fork` | writes of single keys, reads of groups of them | writes are seen in one order by all |
//! | `monotonic` | increments and reads of counters | counters never go back |

pub(crate) mod append;
pub(crate) mod bank;
pub(crate) mod long_fork;
pub(crate) mod monotonic;
pub(crate) mod register;
pub(crate) mod set;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use append::Append;
pub use bank::Bank;
pub use long_fork::LongFork;
pub use monotonic::Monotonic;
pub use register::Register;
pub use set::Set;

use crate::check::{Anomaly, Violation};
use crate::connection::{Connection, Failure, World};
use crate::history::{FINISH, History, Operation, Outcome};
use crate::transaction::{Manner, Stop};

/// How long a client waits before it connects again, at most.
const RECONNECT: Duration = Duration::from_millis(200);
/// How long a client waits between two operations, at most.
const THINK: Duration = Duration::from_millis(10);

/// For how long a client goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many operations. Connecting in vain counts as one, so that it comes to an end without a cluster.
    Operations(u64),
    /// Until the world's time is that.
    Until(Duration),
}

/// What a history that is in order consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many operations there are.
    pub operations: u64,
    /// How many were acknowledged.
    pub acknowledged: u64,
    /// How many certainly had no effect.
    pub failed: u64,
    /// How many have an outcome that nobody knows.
    pub unknown: u64,
}

impl Summary {
    fn of<Q, A>(operations: &[Operation<Q, A>]) -> Self {
        let mut summary = Self::default();
        for operation in operations {
            summary.operations += 1;
            match operation.outcome {
                Outcome::Ok(_) => summary.acknowledged += 1,
                Outcome::Failed(_) => summary.failed += 1,
                Outcome::Unknown(_) => summary.unknown += 1,
            }
        }
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operations,
            acknowledged,
            failed,
            unknown,
        } = self;
        write!(
            f,
            "{operations} operations: {acknowledged} acknowledged, {failed} failed, {unknown} unknown"
        )
    }
}

/// A kind of client, with the history that its clients write.
#[allow(async_fn_in_trait)] // the futures stay on their thread
pub trait Workload {
    /// What clients ask for.
    type Question: Clone + fmt::Display;
    /// What they are told.
    type Answer: Clone + fmt::Display;

    /// What was asked and told so far.
    fn history(&self) -> &History<Self::Question, Self::Answer>;

    /// Creates what clients need. It may be done several times, also if it is not known what became of the times before.
    ///
    /// # Errors
    /// It has to be done again, on a new connection.
    async fn setup<C: Connection>(&self, connection: &mut C) -> Result<(), Failure>;

    /// What a client asks for next, and in which manner.
    fn plan(&self, rng: &mut fastrand::Rng) -> (Self::Question, Manner);

    /// The reads that are done when all clients have ended.
    fn last(&self) -> Vec<Self::Question>;

    /// Does what was asked for. What it learns on the way may be written into the question.
    ///
    /// # Errors
    /// Why it was not acknowledged.
    async fn attempt<C: Connection>(
        &self,
        connection: &mut C,
        question: &mut Self::Question,
        manner: Manner,
    ) -> Result<Self::Answer, Stop>;

    /// Whether the answers can be.
    ///
    /// # Errors
    /// They cannot, or that could not be found out.
    fn judge(&self) -> Result<(), Violation>;

    /// Asks for one thing after another.
    async fn client<W: World>(
        &self,
        world: &W,
        number: u64,
        rng: &mut fastrand::Rng,
        length: Length,
    ) {
        let mut connection = None;
        let mut attempts = 0;
        loop {
            match length {
                Length::Operations(most) if attempts >= most => return,
                Length::Until(time) if world.now() >= time => return,
                _ => attempts += 1,
            }
            let mut open = match connection.take() {
                Some(open) => open,
                None => match world.connect(number).await {
                    Ok(open) => open,
                    Err(_) => {
                        world.pause(random_pause(rng, RECONNECT)).await;
                        continue;
                    }
                },
            };
            let (question, manner) = self.plan(rng);
            let usable = ask(self, world, &mut open, number, question, manner).await;
            let pause = match usable {
                Ok(()) | Err(Stop { usable: true, .. }) => {
                    connection = Some(open);
                    THINK
                }
                Err(_) => {
                    drop(open);
                    RECONNECT
                }
            };
            world.pause(random_pause(rng, pause)).await;
        }
    }

    /// Does the last reads. All clients must have ended.
    ///
    /// # Errors
    /// It has to be done again, on a new connection.
    async fn finish<W: World>(
        &self,
        world: &W,
        connection: &mut W::Connection,
    ) -> Result<(), Failure> {
        for question in self.last() {
            ask(self, world, connection, FINISH, question, Manner::last()).await?;
        }
        self.history().close();
        Ok(())
    }

    /// Judges the history.
    ///
    /// # Errors
    /// What no database may answer that keeps its promises, or that it could not be found out whether this one does.
    fn check(&self) -> Result<Summary, Violation> {
        let mut oddities = self.history().oddities().into_iter();
        if let Some(oddity) = oddities.next() {
            return Err(Violation::new(Anomaly::Malformed, oddity));
        }
        self.judge()?;
        if !self.history().is_closed() {
            let why = "not all was read when all clients had ended";
            return Err(Violation::new(Anomaly::Undecided, why));
        }
        Ok(self.history().with(Summary::of))
    }
}

/// Any time up to `most`.
fn random_pause(rng: &mut fastrand::Rng, most: Duration) -> Duration {
    most.mul_f64(rng.f64())
}

/// Asks for one thing and writes down what is answered.
async fn ask<L: Workload + ?Sized, W: World>(
    workload: &L,
    world: &W,
    connection: &mut W::Connection,
    client: u64,
    mut question: L::Question,
    manner: Manner,
) -> Result<(), Stop> {
    let history = workload.history();
    let invocation = history.invoke(client, question.clone(), world.now());
    let attempt = workload.attempt(connection, &mut question, manner).await;
    let (outcome, result) = match attempt {
        Ok(answer) => (Outcome::Ok(answer), Ok(())),
        Err(stop) => {
            if stop.oddity {
                history.oddity(format!("{question}: {}", stop.why));
            }
            (stop.clone().outcome(), Err(stop))
        }
    };
    history.complete(invocation, question, outcome, world.now());
    result
}

/// Makes the workloads' names and everything that is done by name.
macro_rules! workloads {
    ($($(#[$doc:meta])* $kind:ident $name:literal)*) => {
        /// The name of a workload.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Name {
            $($(#[$doc])* $kind,)*
        }

        impl Name {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];
        }

        impl fmt::Display for Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$kind => f.write_str($name),)*
                }
            }
        }

        impl FromStr for Name {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $($name => Ok(Self::$kind),)*
                    _ => Err(format!("no workload {name}; there are: {}", [$($name,)*].join(", "))),
                }
            }
        }

        /// A workload that was chosen by its name: [`Workload`] for those who do not care which it is.
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum Scenario {
            $($(#[$doc])* $kind($kind),)*
        }

        impl Scenario {
            /// A workload with an empty history, of the usual size.
            pub fn new(name: Name) -> Self {
                match name {
                    $(Name::$kind => Self::$kind($kind::default()),)*
                }
            }

            /// Its name.
            pub fn name(&self) -> Name {
                match self {
                    $(Self::$kind(_) => Name::$kind,)*
                }
            }

            /// [`Workload::setup`].
            ///
            /// # Errors
            /// It has to be done again, on a new connection.
            pub async fn setup<C: Connection>(&self, connection: &mut C) -> Result<(), Failure> {
                match self {
                    $(Self::$kind(workload) => workload.setup(connection).await,)*
                }
            }

            /// [`Workload::client`].
            pub async fn client<W: World>(&self, world: &W, number: u64, rng: &mut fastrand::Rng, length: Length) {
                match self {
                    $(Self::$kind(workload) => workload.client(world, number, rng, length).await,)*
                }
            }

            /// [`Workload::finish`].
            ///
            /// # Errors
            /// It has to be done again, on a new connection.
            pub async fn finish<W: World>(&self, world: &W, connection: &mut W::Connection) -> Result<(), Failure> {
                match self {
                    $(Self::$kind(workload) => workload.finish(world, connection).await,)*
                }
            }

            /// [`Workload::check`].
            ///
            /// # Errors
            /// What no database may answer that keeps its promises, or that it could not be found out whether this one does.
            pub fn check(&self) -> Result<Summary, Violation> {
                match self {
                    $(Self::$kind(workload) => workload.check(),)*
                }
            }
        }

        /// The history.
        impl fmt::Display for Scenario {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$kind(workload) => workload.history().fmt(f),)*
                }
            }
        }
    };
}

workloads! {
    /// Transfers between accounts.
    Bank "bank"
    /// Lists that are appended to.
    Append "append"
    /// Single values that are read, written, and compared and set.
    Register "register"
    /// Sets to which elements are added.
    Set "set"
    /// Keys that are written once and read in groups.
    LongFork "long-fork"
    /// Counters that are incremented.
    Monotonic "monotonic"
}
