//! The log's twin: what it should hold, kept in the simplest way.

use std::collections::BTreeMap;

use bytes::Bytes;
use ferrolite_wal::backend::FaultBackend;
use ferrolite_wal::{Error, Log, LogOptions, Record};

/// Segments as small as they may be, so that short tests cross many.
pub fn options() -> LogOptions {
    let mut options = LogOptions::default();
    options.segment_bytes = 64 << 10;
    options.spares = 1;
    options.salt = Some(42);
    options
}

/// A small deterministic generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A record whose payload tells where it came from.
pub fn record(index: u64, term: u64, len: usize) -> Record {
    let mut rng = Rng(index << 20 ^ term << 50 ^ len as u64);
    let payload: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
    Record {
        index,
        term,
        kind: (index % 5) as u8,
        payload: Bytes::from(payload),
    }
}

/// What changes a log's content.
#[derive(Debug, Clone)]
pub enum Event {
    Push(Record),
    Reset(u64, u64),
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub base: (u64, u64),
    pub records: BTreeMap<u64, Record>,
}

impl Content {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Push(record) => {
                self.records.split_off(&record.index);
                self.records.insert(record.index, record.clone());
            }
            Event::Reset(index, term) => {
                *self = Content {
                    base: (*index, *term),
                    records: BTreeMap::new(),
                }
            }
        }
    }

    pub fn last(&self) -> (u64, u64) {
        self.records
            .last_key_value()
            .map_or(self.base, |(index, record)| (*index, record.term))
    }

    /// Whether `log` holds the same, but for a front that it may have given up.
    pub fn matches(&self, log: &Log) -> Result<(), String> {
        let first = log.first_index();
        if log.last_index() != self.last().0 || first <= self.base.0 {
            return Err(format!(
                "{}..={} instead of {}..={}",
                first,
                log.last_index(),
                self.base.0 + 1,
                self.last().0
            ));
        }
        let base_term = match self.records.get(&(first - 1)) {
            Some(record) => record.term,
            None => self.base.1,
        };
        if log.base() != (first - 1, base_term) {
            return Err(format!(
                "base {:?} instead of {:?}",
                log.base(),
                (first - 1, base_term)
            ));
        }
        let expected: Vec<_> = self
            .records
            .range(first..)
            .map(|(_, record)| record.clone())
            .collect();
        let found = log
            .read(first, u64::MAX, usize::MAX)
            .map_err(|e| e.to_string())?;
        if found != expected {
            return Err(format!(
                "entries {:?}",
                found.iter().map(|r| (r.index, r.term)).collect::<Vec<_>>()
            ));
        }
        for record in &expected {
            if log.entry(record.index).map_err(|e| e.to_string())? != *record
                || log.term(record.index).map_err(|e| e.to_string())? != record.term
            {
                return Err(format!("entry {} alone", record.index));
            }
        }
        let stored = |len: usize| (48 + len as u64).next_multiple_of(8);
        let mut bytes = 0;
        for record in expected.iter().rev() {
            bytes += stored(record.payload.len());
            if log.bytes_from(record.index) != bytes {
                let found = log.bytes_from(record.index);
                return Err(format!("{found} bytes from {}, not {bytes}", record.index));
            }
        }
        if log.bytes_from(0) != bytes || log.bytes_from(log.last_index() + 1) != 0 {
            return Err(format!("{} bytes in all", log.bytes_from(0)));
        }
        if log.size() < bytes || log.size() > log.disk_bytes() {
            return Err(format!("{} bytes of files", log.size()));
        }
        let mut runs: Vec<(u64, u64)> = expected.iter().map(|r| (r.index, r.term)).collect();
        runs.dedup_by_key(|run| run.1);
        let found: Vec<_> = log
            .term_runs()
            .iter()
            .map(|run| (run.first_index, run.term))
            .collect();
        if found != runs {
            return Err(format!("term runs {found:?} instead of {runs:?}"));
        }
        Ok(())
    }
}

/// What was done to a log so far, and how much of it was promised.
#[derive(Default)]
pub struct History {
    pub events: Vec<Event>,
    /// The disk that it happens on, if that is to fail on the way.
    pub disk: FaultBackend,
    /// So many of the events are promised.
    promised: usize,
    /// The log's front was given up at most to here.
    dropped_to: u64,
}

impl History {
    pub fn append(&mut self, log: &Log, records: &[Record]) -> Result<(), Error> {
        let before = self.events.len();
        self.events.extend(records.iter().cloned().map(Event::Push));
        log.append(records).inspect_err(|e| {
            if e.is_full() {
                self.events.truncate(before);
            }
        })
    }

    pub fn sync(&mut self, log: &Log) -> Result<(), Error> {
        log.sync()?;
        self.promise();
        Ok(())
    }

    pub fn reset(&mut self, log: &Log, index: u64, term: u64) -> Result<(), Error> {
        self.events.push(Event::Reset(index, term));
        log.reset(index, term).inspect_err(|e| {
            if e.is_full() {
                self.events.pop();
            }
        })?;
        self.promise();
        Ok(())
    }

    pub fn drop_prefix(&mut self, log: &Log, first: u64) -> Result<(), Error> {
        self.dropped_to = self.dropped_to.max(first);
        log.drop_prefix(first).map(|_| ())
    }

    /// The shortest history that leads to `content`, all of it promised.
    pub fn from(content: &Content) -> History {
        let (index, term) = content.base;
        let pushes = content.records.values().cloned().map(Event::Push);
        let events: Vec<_> = std::iter::once(Event::Reset(index, term))
            .chain(pushes)
            .collect();
        History {
            disk: FaultBackend::new(),
            promised: events.len(),
            events,
            dropped_to: u64::MAX,
        }
    }

    /// What the log held when it was last promised.
    fn promised(&self) -> Content {
        let mut content = Content::default();
        self.events
            .iter()
            .take(self.promised)
            .for_each(|event| content.apply(event));
        content
    }

    /// Everything so far is promised.
    pub fn promise(&mut self) {
        self.promised = self.events.len();
    }

    /// The state that `log` is in: one since the last promise.
    pub fn find(&self, log: &Log) -> Result<Content, String> {
        let mut content = self.promised();
        let mut reasons = Vec::new();
        let later = self
            .events
            .iter()
            .skip(self.promised)
            .map(Some)
            .chain([None]);
        for event in later {
            match content.matches(log) {
                Ok(()) if log.first_index() > self.dropped_to.max(content.base.0 + 1) => {
                    reasons.push("its front is missing".to_owned());
                }
                Ok(()) => return Ok(content),
                Err(reason) => reasons.push(reason),
            }
            event.into_iter().for_each(|event| content.apply(event));
        }
        Err(format!("no state since the last promise: {reasons:#?}"))
    }
}
