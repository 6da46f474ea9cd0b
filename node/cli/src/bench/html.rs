//! The results as one HTML file with plots: no script, nothing loaded from elsewhere, and XML at the same time.

use super::Setting;
use super::measure::{Outcome, Tally};
use super::phase::Phase;
use super::plot::{self, Scale, Series};
use super::report::{clients, each, latency, rate};

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--faint:#6a737d;--grid:#d8dee4;--paper:#fff;
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#cc79a7;--s4:#e69f00;--s5:#56b4e9}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#9aa4af;--grid:#343b44;--paper:#0f1318;
--s0:#4fa8e0;--s1:#ff8a3d;--s2:#2fc79a;--s3:#e39ac4;--s4:#f2b83c;--s5:#8ed0f7}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1360px;margin:2em auto;padding:0 1.5em}
h1{font-size:1.6em}h2{font-size:1.2em;margin:2em 0 .3em}
p,dl{max-width:60em}.faint,small{color:var(--faint)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1.2em}dt{color:var(--faint)}dd{margin:0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25em .8em;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--faint);font-weight:600}
.plots{display:flex;flex-wrap:wrap;gap:1em 2em}figure{margin:0;flex:1 1 480px;max-width:660px}
figcaption{font-weight:600}.keys{display:flex;flex-wrap:wrap;gap:0 1.2em}
.key i{display:inline-block;width:1.4em;height:3px;vertical-align:middle;margin-right:.4em}
svg{width:100%;height:auto;display:block}svg text{font:12px system-ui,sans-serif;fill:var(--faint)}
text.x{text-anchor:middle}text.y{text-anchor:end}.grid{stroke:var(--grid);stroke-width:1}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}
.bad{color:var(--s1);font-weight:600}
";

/// The whole page.
pub fn page(setting: &Setting, outcomes: &[Outcome], interrupted: bool) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n",
    );
    page.push_str("<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    page.push_str("<title>ferrolite bench</title>\n<style>");
    page.push_str(STYLE);
    for number in 0..plot::COLOURS {
        add(
            &mut page,
            format_args!(
                "polyline.s{number}{{stroke:var(--s{number})}}.key i.s{number}{{background:var(--s{number})}}\n"
            ),
        );
    }
    page.push_str("</style>\n</head>\n<body>\n<h1>ferrolite bench</h1>\n");
    if interrupted {
        page.push_str("<p class=\"bad\">The run was interrupted: the last phase is cut short, and others are missing.</p>\n");
    }
    settings(&mut page, setting);
    table(&mut page, outcomes);
    let mut shown: Vec<Phase> = Vec::new();
    for outcome in outcomes {
        if !shown.contains(&outcome.phase) {
            shown.push(outcome.phase);
            let same = |other: &&Outcome| other.phase == outcome.phase;
            phase(
                &mut page,
                outcome.phase,
                outcomes.iter().filter(same).collect(),
            );
        }
    }
    page.push_str(
        "<h2>How to read this</h2>\n<p>Each client has a connection of its own and begins an operation when it has the answer to the \
         one before it (a closed loop). A latency is the time from the first attempt to success, with all retries and pauses; what \
         had no answer when the phase ended counts as unfinished, and with the time it had waited. Clients that wait send less, so \
         requests that come at a pace of their own would queue and wait longer than shown here. In the plots of latency, \
         a line that passes 99 % at 5 ms says that 99 of 100 operations took no longer than that.</p>\n</body>\n</html>\n",
    );
    page
}

/// Appends a part.
fn add(page: &mut String, part: std::fmt::Arguments<'_>) {
    page.push_str(&std::fmt::format(part));
}

/// Text as text, whatever it holds. Control characters, which XML has not, become question marks.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            control if control.is_control() => escaped.push('?'),
            other => escaped.push(other),
        }
    }
    escaped
}

fn settings(page: &mut String, setting: &Setting) {
    let facts = [
        ("Begun", utc(setting.begun_unix_s)),
        ("Servers", setting.servers.join(", ")),
        ("Leader at the start", setting.leader.clone()),
        ("Database", setting.database.clone()),
        (
            "Each phase",
            format!("{} s", setting.duration.as_secs_f64()),
        ),
        ("Rows to read from, and to load", rate(setting.rows as f64)),
        ("Text in each row", format!("{} bytes", setting.value_bytes)),
        ("Seed", setting.seed.to_string()),
        (
            "Pauses before another attempt",
            format!(
                "{} ms, doubled each time, at most {} ms",
                setting.backoff.first.as_millis(),
                setting.backoff.longest.as_millis()
            ),
        ),
        (
            "Made by",
            concat!("ferrolite ", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
    ];
    page.push_str("<dl>\n");
    for (name, value) in facts {
        add(
            page,
            format_args!("<dt>{name}</dt><dd>{}</dd>\n", escape(&value)),
        );
    }
    page.push_str("</dl>\n");
}

fn table(page: &mut String, outcomes: &[Outcome]) {
    page.push_str("<h2>Results</h2>\n<div class=\"wide\"><table>\n<thead><tr>");
    for column in [
        "phase",
        "clients",
        "a second",
        "rows a second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "retries",
        "errors",
        "unfinished",
    ] {
        add(page, format_args!("<th>{column}</th>"));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (outcome, tally) in each(outcomes) {
        let class = if tally.errors > 0 {
            " class=\"bad\""
        } else {
            ""
        };
        add(
            page,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td{class}>{}</td><td>{}</td></tr>\n",
                outcome.phase.label(tally.operation),
                outcome.clients,
                rate(outcome.per_second(tally.completed)),
                rate(outcome.per_second(tally.rows)),
                latency(tally.quantile_ms(0.5)),
                latency(tally.quantile_ms(0.99)),
                latency(tally.quantile_ms(0.999)),
                latency(tally.max_ms()),
                tally.retries,
                tally.errors,
                tally.unfinished,
            ),
        );
    }
    page.push_str("</tbody>\n</table></div>\n");
}

fn phase(page: &mut String, phase: Phase, outcomes: Vec<&Outcome>) {
    add(page, format_args!("<h2>{}</h2>\n", phase.title()));
    for outcome in &outcomes {
        for message in &outcome.messages {
            add(
                page,
                format_args!(
                    "<p class=\"bad\">{}: {}</p>\n",
                    clients(outcome.clients),
                    escape(message)
                ),
            );
        }
    }
    let of = |outcome: &Outcome, tally: &Tally| match phase.operations() {
        [_] => clients(outcome.clients),
        _ => format!("{}, {}", tally.operation.name(), clients(outcome.clients)),
    };
    let latencies: Vec<(Series, String)> = outcomes
        .iter()
        .flat_map(|outcome| outcome.tallies.iter().map(move |tally| (outcome, tally)))
        .enumerate()
        .map(|(number, (outcome, tally))| {
            let name = of(outcome, tally);
            let key = plot::key(
                number,
                &format!(
                    "{name} <small>(p50 {} ms)</small>",
                    latency(tally.quantile_ms(0.5))
                ),
            );
            let points = tally.distribution();
            (Series { name, points }, key)
        })
        .collect();
    let rates: Vec<(Series, String)> = outcomes
        .iter()
        .enumerate()
        .map(|(number, outcome)| {
            let name = clients(outcome.clients);
            let interval_s = outcome.interval.as_secs_f64();
            let middles = (0u32..).map(|nth| (f64::from(nth) + 0.5) * interval_s);
            let series = Series {
                points: middles.zip(outcome.throughput()).collect(),
                name: name.clone(),
            };
            let completed = outcome.tallies.iter().map(|tally| tally.completed).sum();
            let mean = rate(outcome.per_second(completed));
            (
                series,
                plot::key(number, &format!("{name} <small>(mean {mean})</small>")),
            )
        })
        .collect();
    page.push_str("<div class=\"plots\">\n");
    figure(
        page,
        "Latency: so many of the operations took no longer",
        (Scale::Percentiles, "part of the operations"),
        (Scale::Logarithmic, "latency"),
        latencies,
    );
    figure(
        page,
        "Throughput over time",
        (Scale::Linear, "seconds since the phase began"),
        (Scale::Linear, "operations a second"),
        rates,
    );
    page.push_str("</div>\n");
}

fn figure(
    page: &mut String,
    caption: &str,
    x: (Scale, &str),
    y: (Scale, &str),
    series: Vec<(Series, String)>,
) {
    let (series, keys): (Vec<Series>, Vec<String>) = series.into_iter().unzip();
    add(
        page,
        format_args!(
            "<figure>\n<figcaption>{caption}</figcaption>\n<div class=\"keys\">{}</div>\n{}</figure>\n",
            keys.concat(),
            plot::plot(caption, x, y, &series)
        ),
    );
}

/// A moment as `2026-01-31 12:34:56 UTC`.
fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days since 0000-03-01: a year that begins in March has its leap day at its end, and 400 years have 146,097
    // days. From H. Hinnant, "chrono-compatible low-level date algorithms".
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let (month, later) = if shifted < 10 {
        (shifted + 3, 0)
    } else {
        (shifted - 9, 1)
    };
    let year = year_of_era + era * 400 + later;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::super::report::tests::example;
    use super::*;

    /// Protects: a page that every reader takes: all elements closed, all text escaped, all plots there.
    #[test]
    fn the_page_is_well_formed() {
        let (mut setting, outcomes) = example();
        setting.database.push_str("\u{1}\u{7f}");
        let page = page(&setting, &outcomes, true);
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            ..roxmltree::ParsingOptions::default()
        };
        let document =
            roxmltree::Document::parse_with_options(&page, options).expect("well-formed");
        let count = |name: &str| {
            document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", name)))
                .count()
        };
        assert_eq!((count("h2"), count("figure"), count("tr")), (4, 4, 5));
        let svg = ("http://www.w3.org/2000/svg", "polyline");
        let lines: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name(svg))
            .collect();
        // Insert: two numbers of clients in both plots; mixed: two operations in one plot, their sum in the other.
        assert_eq!(lines.len(), 4 + 3);
        for line in lines {
            let points = line.attribute("points").unwrap();
            assert!(points.split(' ').count() >= 10, "{points}");
        }
        let texts = document.descendants().filter_map(|node| node.text());
        assert!(texts.into_iter().any(|text| text == "<a> & \"b\"??"));
        for elsewhere in ["<script", "src=", "<link", "url("] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }

    /// Protects: the calendar, around leap days.
    #[test]
    fn dates_are_right() {
        for (unix_s, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(unix_s), expected);
        }
    }
}
