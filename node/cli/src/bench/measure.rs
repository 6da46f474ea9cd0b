//! What is counted while a phase runs, and what it comes to.
//!
//! Latencies go into an HDR histogram: fixed memory, three significant digits, percentiles that are exact to that.
//! Completed operations are also counted by intervals of time, for the plot of throughput.

use std::fmt;
use std::time::Duration;

use ferrolite_client::Error as ClientError;
use hdrhistogram::Histogram;

use super::phase::{Operation, Phase};
use crate::error::{Error, Result};

/// The longest latency that is told apart, in nanoseconds: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;
/// Into how many intervals a phase is cut, at most.
const INTERVALS: u32 = 60;
/// How many are shown, of a phase that took longer than it should.
const MOST_INTERVALS: usize = 10_000;
/// The shortest such interval.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// What the operations of one kind have come to.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The kind.
    pub operation: Operation,
    /// How long they took, in nanoseconds; unfinished ones with the time they had waited.
    latencies: Histogram<u64>,
    /// Those that succeeded.
    pub completed: u64,
    /// The rows that those read or wrote.
    pub rows: u64,
    /// Attempts that were refused in passing, and made again.
    pub retries: u64,
    /// Those that failed for good, or whose outcome is unknown.
    pub errors: u64,
    /// Those that had no answer when the phase ended.
    pub unfinished: u64,
    /// How many completed in each interval of time.
    pub timeline: Vec<u64>,
}

impl Tally {
    fn new(operation: Operation) -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .map_err(|error| Error::input(format!("cannot measure latencies: {error}")))?;
        Ok(Self {
            operation,
            latencies,
            completed: 0,
            rows: 0,
            retries: 0,
            errors: 0,
            unfinished: 0,
            timeline: Vec::new(),
        })
    }

    fn latency(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST_NS);
        self.latencies.saturating_record(ns);
    }

    /// The latency that this part (0 to 1) of the operations stayed below, in milliseconds; 0 without any.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        milliseconds(self.latencies.value_at_quantile(quantile))
    }

    /// The longest latency, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        milliseconds(self.latencies.max())
    }

    /// The shortest latency, in milliseconds.
    pub fn min_ms(&self) -> f64 {
        milliseconds(self.latencies.min())
    }

    /// The mean latency, in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.latencies.mean() / 1e6
    }

    /// How many latencies there are.
    pub fn measured(&self) -> u64 {
        self.latencies.len()
    }

    /// The distribution, as pairs of a quantile below 1 and a latency in milliseconds; denser towards 1.
    pub fn distribution(&self) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for step in self.latencies.iter_quantiles(8) {
            let point = (
                step.quantile_iterated_to(),
                milliseconds(step.value_iterated_to()),
            );
            // The last step is 1, which a logarithmic axis does not have: it is shown where one operation of so many
            // would stand.
            let last = 1.0 - 0.5 / self.measured().max(1) as f64;
            points.push((point.0.min(last), point.1));
            if point.0 >= last {
                break;
            }
        }
        points
    }
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Why an attempt failed.
#[derive(Debug)]
pub enum Failure {
    /// The cluster, or the way there.
    Client(ClientError),
    /// The answer came, and is wrong.
    Answer(String),
}

impl Failure {
    /// Whether the same operation may be tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_retryable())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Answer(text) => f.write_str(text),
        }
    }
}

/// What a phase has come to so far. All clients of the phase share it.
#[derive(Debug)]
pub struct Recorder {
    interval: Duration,
    tallies: Vec<Tally>,
    /// The last failure, of those that were tried again too.
    last_failure: Option<Failure>,
    /// The first failures that were not tried again, in words.
    messages: Vec<String>,
}

/// How many different messages are kept.
const MOST_MESSAGES: usize = 5;

impl Recorder {
    /// A recorder for a phase of this length.
    pub fn new(phase: Phase, duration: Duration) -> Result<Self> {
        let kinds = phase.operations().iter();
        Ok(Self {
            interval: (duration / INTERVALS).max(SHORTEST_INTERVAL),
            tallies: kinds.map(|&kind| Tally::new(kind)).collect::<Result<_>>()?,
            last_failure: None,
            messages: Vec::new(),
        })
    }

    fn tally(&mut self, operation: Operation) -> Option<&mut Tally> {
        self.tallies
            .iter_mut()
            .find(|tally| tally.operation == operation)
    }

    /// An operation succeeded, `at` this time since the phase began.
    pub fn completed(&mut self, operation: Operation, latency: Duration, rows: u64, at: Duration) {
        let interval = self.interval.as_nanos().max(1);
        let index = usize::try_from(at.as_nanos() / interval).unwrap_or(usize::MAX);
        let Some(tally) = self.tally(operation) else {
            return;
        };
        tally.latency(latency);
        tally.completed += 1;
        tally.rows += rows;
        if index >= tally.timeline.len() {
            tally.timeline.resize(index.saturating_add(1), 0);
        }
        if let Some(count) = tally.timeline.get_mut(index) {
            *count += 1;
        }
    }

    /// An attempt failed, and will be made again.
    pub fn retried(&mut self, operation: Operation, why: Failure) {
        self.last_failure = Some(why);
        if let Some(tally) = self.tally(operation) {
            tally.retries += 1;
        }
    }

    /// An operation failed.
    pub fn failed(&mut self, operation: Operation, why: Failure) {
        let message = why.to_string();
        if self.messages.len() < MOST_MESSAGES && !self.messages.contains(&message) {
            self.messages.push(message);
        }
        self.last_failure = Some(why);
        if let Some(tally) = self.tally(operation) {
            tally.errors += 1;
        }
    }

    /// The phase ended while an operation waited.
    pub fn unfinished(&mut self, operation: Operation, waited: Duration) {
        if let Some(tally) = self.tally(operation) {
            tally.latency(waited);
            tally.unfinished += 1;
        }
    }

    /// What there is so far, of all kinds together.
    pub fn glance(&self) -> Glance {
        let sum = |of: fn(&Tally) -> u64| self.tallies.iter().map(of).sum();
        let slowest = |quantile| {
            let each = self.tallies.iter().map(|tally| tally.quantile_ms(quantile));
            each.fold(0.0, f64::max)
        };
        Glance {
            completed: sum(|tally| tally.completed),
            retries: sum(|tally| tally.retries),
            errors: sum(|tally| tally.errors),
            p50_ms: slowest(0.5),
            p99_ms: slowest(0.99),
        }
    }

    /// Closes the account.
    pub fn finish(&mut self, phase: Phase, clients: u64, elapsed: Duration) -> Outcome {
        Outcome {
            phase,
            clients,
            elapsed,
            interval: self.interval,
            tallies: std::mem::take(&mut self.tallies),
            last_failure: self.last_failure.take(),
            messages: std::mem::take(&mut self.messages),
            interrupted: false,
        }
    }
}

/// A phase at a glance, all kinds of operations together.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    /// Operations that succeeded.
    pub completed: u64,
    /// Attempts that were made again.
    pub retries: u64,
    /// Operations that failed.
    pub errors: u64,
    /// The median latency of the slowest kind, in milliseconds.
    pub p50_ms: f64,
    /// Its 99th percentile.
    pub p99_ms: f64,
}

/// What a phase came to with one number of clients.
#[derive(Debug)]
pub struct Outcome {
    /// The phase.
    pub phase: Phase,
    /// The number of clients.
    pub clients: u64,
    /// From the start of the first operation to the end of the last one.
    pub elapsed: Duration,
    /// The length of one interval of the timelines.
    pub interval: Duration,
    /// One for each of the phase's operations.
    pub tallies: Vec<Tally>,
    /// What went wrong last, if anything did.
    last_failure: Option<Failure>,
    /// The errors, in words: the first different ones.
    pub messages: Vec<String>,
    /// Whether Ctrl-C cut it short.
    pub interrupted: bool,
}

impl Outcome {
    /// So many a second, over the whole phase.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Operations a second in each whole interval of the phase, all kinds together.
    pub fn throughput(&self) -> Vec<f64> {
        let whole = self.elapsed.as_nanos() / self.interval.as_nanos().max(1);
        let whole = usize::try_from(whole)
            .unwrap_or(usize::MAX)
            .min(MOST_INTERVALS);
        let at = |index: usize| {
            let counts = self
                .tallies
                .iter()
                .filter_map(|tally| tally.timeline.get(index));
            counts.sum::<u64>() as f64 / self.interval.as_secs_f64().max(1e-9)
        };
        (0..whole).map(at).collect()
    }

    /// An error if no operation succeeded, and something went wrong.
    pub fn judge(&mut self) -> Result<()> {
        if self.tallies.iter().any(|tally| tally.completed > 0) {
            return Ok(());
        }
        let what = format!(
            "no operation of the phase {} with {} succeeded",
            self.phase.name(),
            super::report::clients(self.clients)
        );
        match self.last_failure.take() {
            Some(Failure::Client(source)) => Err(Error::client(what)(source)),
            Some(Failure::Answer(text)) => Err(Error::input(format!("{what}: {text}"))),
            None if self.interrupted => Ok(()),
            None => Err(Error::Input {
                message: format!("{what}, because none was answered"),
                advice: Some("give the phase more time with --duration".to_owned()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= expected * 0.001
    }

    /// Protects: percentiles, on a distribution for which they are known.
    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut recorder = Recorder::new(Phase::Read, SECOND).unwrap();
        for millisecond in 1..=1000 {
            let latency = Duration::from_millis(millisecond);
            recorder.completed(Operation::Read, latency, 1, Duration::ZERO);
        }
        let outcome = recorder.finish(Phase::Read, 1, 4 * SECOND);
        let tally = &outcome.tallies[0];
        for (quantile, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = tally.quantile_ms(quantile);
            assert!(near(found, expected), "{quantile}: {found}");
        }
        assert!(near(tally.max_ms(), 1000.0));
        assert!(near(tally.min_ms(), 1.0));
        assert!(near(tally.mean_ms(), 500.5));
        assert!(near(outcome.per_second(tally.completed), 250.0));
        let distribution = tally.distribution();
        assert!(distribution.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        assert!(distribution.iter().all(|point| point.0 < 1.0));
        assert!(near(distribution.last().unwrap().1, 1000.0));
    }

    /// Protects: one short operation and one of sub-microseconds are told apart, and an endless one is kept.
    #[test]
    fn extreme_latencies_are_kept() {
        let mut recorder = Recorder::new(Phase::Insert, SECOND).unwrap();
        for latency in [Duration::from_nanos(700), Duration::from_secs(100_000)] {
            recorder.completed(Operation::Insert, latency, 1, Duration::ZERO);
        }
        let outcome = recorder.finish(Phase::Insert, 1, SECOND);
        assert!(near(outcome.tallies[0].min_ms(), 0.0007));
        assert!(near(outcome.tallies[0].max_ms(), 3_600_000.0));
    }

    /// Protects: what waits when the phase ends shows in the percentiles, and not in the throughput.
    #[test]
    fn unfinished_operations_are_not_forgotten() {
        let mut recorder = Recorder::new(Phase::Insert, SECOND).unwrap();
        recorder.completed(
            Operation::Insert,
            Duration::from_millis(1),
            1,
            Duration::ZERO,
        );
        recorder.unfinished(Operation::Insert, 9 * SECOND);
        let outcome = recorder.finish(Phase::Insert, 2, SECOND);
        let tally = &outcome.tallies[0];
        assert_eq!((tally.completed, tally.unfinished, tally.rows), (1, 1, 1));
        assert!(near(tally.max_ms(), 9000.0));
        assert!(near(outcome.per_second(tally.completed), 1.0));
    }

    /// Protects: the plot over time: intervals without an operation are there, a partial last one is not.
    #[test]
    fn the_timeline_has_every_whole_interval() {
        let mut recorder = Recorder::new(Phase::Mixed, 6 * SECOND).unwrap();
        for (operation, at_ms) in [
            (Operation::Read, 0),
            (Operation::Update, 99),
            (Operation::Read, 250),
            (Operation::Read, 520),
        ] {
            let at = Duration::from_millis(at_ms);
            recorder.completed(operation, Duration::from_millis(1), 1, at);
        }
        let outcome = recorder.finish(Phase::Mixed, 1, Duration::from_millis(530));
        assert_eq!(outcome.interval, Duration::from_millis(100));
        assert_eq!(outcome.throughput(), [20.0, 0.0, 10.0, 0.0, 0.0]);
    }

    /// Protects: a run in which everything fails does not look like a success.
    #[test]
    fn a_phase_without_success_is_an_error() {
        let mut recorder = Recorder::new(Phase::Insert, SECOND).unwrap();
        for _ in 0..3 {
            recorder.failed(Operation::Insert, ClientError::NoRow.into());
        }
        let mut outcome = recorder.finish(Phase::Insert, 16, SECOND);
        assert_eq!(outcome.messages, ["the query returned no row"]);
        assert_eq!(outcome.tallies[0].errors, 3);
        let error = outcome.judge().unwrap_err();
        assert_eq!(
            error.to_string(),
            "no operation of the phase insert with 16 clients succeeded: the query returned no row"
        );
        let mut empty = Recorder::new(Phase::Insert, SECOND).unwrap();
        assert!(empty.finish(Phase::Insert, 1, SECOND).judge().is_err());
    }
}
