//! The results as a table and as JSON.

use serde_json::{Value as Json, json};

use super::measure::{Outcome, Tally};
use super::{BenchFormat, Setting};
use crate::error::Result;
use crate::report::{Report, ReportFormat};
use crate::shell::output::Output;

/// The version of the JSON, which goes up when a program that reads it has to change.
const JSON_VERSION: u64 = 1;

/// The quantiles that the JSON has.
const QUANTILES: [(&str, f64); 7] = [
    ("p10", 0.1),
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// `1 client`, `16 clients`.
pub fn clients(number: u64) -> String {
    match number {
        1 => "1 client".to_owned(),
        _ => format!("{number} clients"),
    }
}

/// A rate for people: `12,345`, `12.3`, `0.12`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 99.95 => grouped(r),
        r if r >= 9.995 => format!("{r:.1}"),
        r => format!("{r:.2}"),
    }
}

/// A latency in milliseconds for people, with three digits.
pub fn latency(ms: f64) -> String {
    match ms {
        ms if ms >= 99.95 => grouped(ms),
        ms if ms >= 9.995 => format!("{ms:.1}"),
        ms if ms >= 0.9995 => format!("{ms:.2}"),
        ms => format!("{ms:.3}"),
    }
}

/// A number without decimals, its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(index);
        if index > 0 && left.is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes the results to standard output, and what went wrong to standard error.
///
/// # Errors
/// When that cannot be written.
pub fn print(
    format: BenchFormat,
    setting: &Setting,
    outcomes: &[Outcome],
    interrupted: bool,
) -> Result<()> {
    match format {
        BenchFormat::Text => {
            table(outcomes).print(ReportFormat::Table)?;
            for outcome in outcomes {
                for message in &outcome.messages {
                    let name = format!("{}, {}", outcome.phase.name(), clients(outcome.clients));
                    let line = format!("{name}: an operation failed: {message}");
                    eprintln!(
                        "{}",
                        crate::render::cell::escape_controls(line.into(), true)
                    );
                }
            }
            Ok(())
        }
        BenchFormat::Json => {
            let mut output = Output::standard();
            let text = format!("{:#}\n", to_json(setting, outcomes, interrupted));
            let written = output.writer().write_all(text.as_bytes());
            written.map_err(|source| output.error(source))?;
            output.flush()
        }
    }
}

/// A column of what went wrong.
type Trouble = (&'static str, fn(&Tally) -> u64);

/// The table: a row for each kind of operation of each phase with each number of clients. It has to fit a terminal,
/// so what went wrong has columns only where something did.
fn table(outcomes: &[Outcome]) -> Report {
    let troubles: [Trouble; 3] = [
        ("retries", |tally| tally.retries),
        ("errors", |tally| tally.errors),
        ("unfinished", |tally| tally.unfinished),
    ];
    let met = |trouble: &Trouble| each(outcomes).any(|(_, tally)| (trouble.1)(tally) > 0);
    let troubles: Vec<_> = troubles.into_iter().filter(met).collect();
    let mut columns = vec![
        "phase",
        "clients",
        "per_second",
        "p50_ms",
        "p99_ms",
        "p99.9_ms",
        "max_ms",
    ];
    columns.extend(troubles.iter().map(|(name, _)| name));
    let mut report = Report::new(&columns);
    for (outcome, tally) in each(outcomes) {
        let mut row = vec![
            json!(outcome.phase.label(tally.operation)),
            json!(outcome.clients),
            json!(rate(outcome.per_second(tally.completed))),
            json!(latency(tally.quantile_ms(0.5))),
            json!(latency(tally.quantile_ms(0.99))),
            json!(latency(tally.quantile_ms(0.999))),
            json!(latency(tally.max_ms())),
        ];
        row.extend(troubles.iter().map(|(_, count)| json!(count(tally))));
        report.push(row);
    }
    report
}

/// All kinds of operations, with the phase that they belong to.
pub fn each(outcomes: &[Outcome]) -> impl Iterator<Item = (&Outcome, &Tally)> {
    outcomes
        .iter()
        .flat_map(|outcome| outcome.tallies.iter().map(move |tally| (outcome, tally)))
}

/// The whole, for programs.
fn to_json(setting: &Setting, outcomes: &[Outcome], interrupted: bool) -> Json {
    json!({
        "version": JSON_VERSION,
        "program": concat!("ferrolite ", env!("CARGO_PKG_VERSION")),
        "begun_unix_s": setting.begun_unix_s,
        "servers": setting.servers,
        "leader": setting.leader,
        "database": setting.database,
        "duration_s": setting.duration.as_secs_f64(),
        "rows": setting.rows,
        "value_bytes": setting.value_bytes,
        "seed": setting.seed,
        "backoff_ms": milliseconds(setting.backoff.first),
        "backoff_max_ms": milliseconds(setting.backoff.longest),
        "interrupted": interrupted,
        "phases": outcomes.iter().map(phase_json).collect::<Vec<_>>(),
    })
}

fn milliseconds(duration: std::time::Duration) -> Json {
    json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn phase_json(outcome: &Outcome) -> Json {
    json!({
        "phase": outcome.phase.name(),
        "clients": outcome.clients,
        "elapsed_s": outcome.elapsed.as_secs_f64(),
        "interrupted": outcome.interrupted,
        "errors": outcome.messages,
        "timeline": {
            "interval_s": outcome.interval.as_secs_f64(),
            "per_second": outcome.throughput(),
        },
        "operations": outcome.tallies.iter().map(|tally| tally_json(outcome, tally)).collect::<Vec<_>>(),
    })
}

fn tally_json(outcome: &Outcome, tally: &Tally) -> Json {
    let mut latencies = serde_json::Map::new();
    latencies.insert("min".to_owned(), json!(tally.min_ms()));
    latencies.insert("mean".to_owned(), json!(tally.mean_ms()));
    for (name, quantile) in QUANTILES {
        latencies.insert(name.to_owned(), json!(tally.quantile_ms(quantile)));
    }
    latencies.insert("max".to_owned(), json!(tally.max_ms()));
    json!({
        "operation": tally.operation.name(),
        "completed": tally.completed,
        "rows": tally.rows,
        "per_second": outcome.per_second(tally.completed),
        "rows_per_second": outcome.per_second(tally.rows),
        "retries": tally.retries,
        "errors": tally.errors,
        "unfinished": tally.unfinished,
        "latency_ms": latencies,
        "distribution": tally.distribution(),
    })
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::super::measure::Recorder;
    use super::super::phase::{Operation, Phase};
    use super::super::worker::Backoff;
    use super::*;
    use std::time::Duration;

    /// A run of two phases, the second of which had an error.
    pub fn example() -> (Setting, Vec<Outcome>) {
        let setting = Setting {
            begun_unix_s: 1_709_251_199,
            servers: vec!["127.0.0.1:9001".to_owned()],
            leader: "127.0.0.1:9001".to_owned(),
            database: "<a> & \"b\"".to_owned(),
            duration: Duration::from_secs(2),
            rows: 1000,
            value_bytes: 100,
            seed: 1,
            backoff: Backoff::new(200, 1000),
        };
        let mut outcomes = Vec::new();
        for (phase, clients) in [(Phase::Insert, 1), (Phase::Insert, 16), (Phase::Mixed, 16)] {
            let mut recorder = Recorder::new(phase, setting.duration).unwrap();
            for &operation in phase.operations() {
                for n in 1..=200u64 {
                    let latency = Duration::from_micros(n * n * clients);
                    recorder.completed(operation, latency, 1, Duration::from_millis(n * 10));
                }
            }
            if phase == Phase::Mixed {
                recorder.failed(Operation::Update, ferrolite_client::Error::NoRow.into());
            }
            outcomes.push(recorder.finish(phase, clients, setting.duration));
        }
        (setting, outcomes)
    }

    /// Protects: figures that can be read.
    #[test]
    fn numbers_have_three_digits_or_are_grouped() {
        for (number, expected) in [
            (0.0, "0.00"),
            (9.99, "9.99"),
            (9.996, "10.0"),
            (99.96, "100"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(rate(number), expected);
        }
        for (ms, expected) in [(0.0554, "0.055"), (0.9996, "1.00"), (5_912.3, "5,912")] {
            assert_eq!(latency(ms), expected);
        }
    }

    /// Protects: what scripts read.
    #[test]
    fn the_json_has_every_figure() {
        let (setting, outcomes) = example();
        let json = to_json(&setting, &outcomes, true);
        assert_eq!(json["version"], 1);
        assert_eq!(json["interrupted"], true);
        let insert = &json["phases"][1]["operations"][0];
        assert_eq!(insert["completed"], 200);
        assert_eq!(insert["per_second"], 100.0);
        let p50 = insert["latency_ms"]["p50"].as_f64().unwrap();
        assert!((p50 - 160.0).abs() < 0.2, "{p50}");
        assert_eq!(json["phases"][2]["operations"][1]["errors"], 1);
        assert_eq!(json["phases"][2]["errors"][0], "the query returned no row");
        let timeline = json["phases"][0]["timeline"]["per_second"]
            .as_array()
            .unwrap();
        assert_eq!(timeline.len(), 20);
    }

    /// Protects: a line for each kind of operation.
    #[test]
    fn the_table_has_every_operation() {
        let (_, outcomes) = example();
        let rows = table(&outcomes).to_json();
        let names: Vec<_> = rows
            .iter()
            .map(|row| row["phase"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["insert", "insert", "mixed: read", "mixed: update"]);
        assert_eq!(rows[0]["per_second"], "100");
        assert_eq!(rows[0]["max_ms"], "40.0");
        assert_eq!(rows[3]["errors"], 1);
        assert!(rows[3].get("retries").is_none());
    }
}
