//! How much memory the nodes have in use while they work, and whether that grows.
//!
//! Leading takes more than following, and a node that was just started, or has never led, needs far less than it will for ever
//! after. So what is judged is the largest of the nodes, whichever that is: memory is *flat* if the median of the last minute is
//! at most [`GROWTH_PERCENT`] above that of the third. In the first two caches fill, and it is one node that leads; what grows
//! with the number of rows, or with every failover, goes on growing. What each role had in use is shown beside it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::cluster::Watcher;

const SAMPLE_EVERY: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_secs(60);
/// The minute that others are held against begins here.
const SETTLED: Duration = Duration::from_secs(120);
/// In a shorter run that minute and the last are too close to each other to say anything.
const SHORTEST_RUN: Duration = Duration::from_secs(300);
/// See the [module](self).
pub(crate) const GROWTH_PERCENT: u64 = 25;

/// What a node had in use at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Since the load began.
    at: Duration,
    pub(crate) node: u64,
    pub(crate) leads: bool,
    term: u64,
    pub(crate) kib: u64,
}

/// All samples of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Arc<Mutex<Vec<Sample>>>);

impl Samples {
    /// Takes samples, until it is dropped.
    pub(crate) async fn take(self, watcher: Watcher, begun: Instant) {
        loop {
            let at = begun.elapsed();
            for (status, kib) in watcher.look().await {
                let sample = Sample {
                    at,
                    node: status.id,
                    leads: status.serves,
                    term: status.term,
                    kib,
                };
                self.all(|samples| samples.push(sample));
            }
            sleep(SAMPLE_EVERY).await;
        }
    }

    fn all<T>(&self, look: impl FnOnce(&mut Vec<Sample>) -> T) -> T {
        // Nothing that could panic runs under this lock.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last sample of each node, by the node's number.
    pub(crate) fn latest(&self) -> Vec<Sample> {
        let mut latest = BTreeMap::new();
        self.all(|samples| latest.extend(samples.iter().map(|sample| (sample.node, *sample))));
        latest.into_values().collect()
    }

    /// How many terms somebody led in.
    pub(crate) fn terms(&self) -> usize {
        let led = |samples: &mut Vec<Sample>| {
            let leaders = samples.iter().filter(|sample| sample.leads);
            leaders
                .map(|sample| sample.term)
                .collect::<std::collections::BTreeSet<_>>()
        };
        self.all(led).len()
    }

    /// What a role had in use, between two moments.
    fn of(&self, leads: bool, from: Duration, to: Duration) -> Vec<(Duration, u64)> {
        self.all(|samples| {
            let wanted =
                |sample: &&Sample| sample.leads == leads && (from..to).contains(&sample.at);
            let wanted = samples.iter().filter(wanted);
            wanted.map(|sample| (sample.at, sample.kib)).collect()
        })
    }

    /// What the largest node had in use, between two moments.
    fn largest(&self, from: Duration, to: Duration) -> Vec<(Duration, u64)> {
        self.all(|samples| {
            let mut largest: BTreeMap<Duration, u64> = BTreeMap::new();
            for sample in samples
                .iter()
                .filter(|sample| (from..to).contains(&sample.at))
            {
                let most = largest.entry(sample.at).or_default();
                *most = sample.kib.max(*most);
            }
            largest.into_iter().collect()
        })
    }

    /// A line for each minute, and one about how it grew; with an error if it is not flat.
    pub(crate) fn judge(&self, ran: Duration) -> (String, Vec<String>) {
        let mut text = String::new();
        let mut wrong = Vec::new();
        let minutes = ran.as_secs().div_ceil(60);
        for minute in 0..minutes {
            let from = MINUTE * u32::try_from(minute).unwrap_or(u32::MAX);
            let of = |leads| mib(median(self.of(leads, from, from + MINUTE)));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  minute {:>3}   largest {:>6} MiB   leader {:>6} MiB   followers {:>6} MiB",
                minute + 1,
                mib(median(self.largest(from, from + MINUTE))),
                of(true),
                of(false)
            );
        }
        let settled = median(self.largest(SETTLED, SETTLED + MINUTE));
        let last = median(self.largest(ran.saturating_sub(MINUTE), Duration::MAX));
        let highest = self.largest(Duration::ZERO, Duration::MAX);
        let highest = highest.into_iter().map(|(_, kib)| kib).max();
        let slope = slope(&self.largest(SETTLED, Duration::MAX));
        let _ = writeln!(
            text,
            "  largest: third minute {} MiB, last {} MiB, highest {} MiB, {:+.2} MiB a minute from then on",
            mib(settled),
            mib(last),
            mib(highest),
            slope / 1024.0
        );
        if let (Some(settled), Some(last)) = (settled, last) {
            let bound = settled + settled * GROWTH_PERCENT / 100;
            if ran >= SHORTEST_RUN && last > bound {
                wrong.push(format!(
                    "memory of the largest node has grown from {} to {} MiB, and may at most have grown to {}",
                    mib(Some(settled)),
                    mib(Some(last)),
                    mib(Some(bound))
                ));
            }
        }
        (text, wrong)
    }
}

/// The middle one.
fn median(samples: Vec<(Duration, u64)>) -> Option<u64> {
    let mut kib: Vec<u64> = samples.into_iter().map(|(_, kib)| kib).collect();
    kib.sort_unstable();
    kib.get(kib.len() / 2).copied()
}

/// By how much it grew, in KiB a minute: the line with the least squares.
fn slope(samples: &[(Duration, u64)]) -> f64 {
    let points = samples.iter();
    let points: Vec<(f64, f64)> = points
        .map(|(at, kib)| (at.as_secs_f64() / 60.0, *kib as f64))
        .collect();
    let count = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (x, y) = (x / count, y / count);
    let both: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let squares: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if squares > 0.0 { both / squares } else { 0.0 }
}

/// An amount in MiB, for people.
pub(crate) fn mib(kib: Option<u64>) -> String {
    kib.map_or("—".to_owned(), |kib| {
        format!("{:.1}", kib as f64 / 1024.0)
    })
}
