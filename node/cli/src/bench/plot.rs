//! Line plots as SVG.
//!
//! Drawn by hand rather than by a plotting crate: two kinds of plots need few marks, an axis of percentiles that
//! none of them has, and colours that follow the reader's light or dark theme, for which the SVG has to be part of
//! the page and styled by it. The colours are classes, `s0` to `s5`; the page says what they look like.

use super::report::rate;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;
/// How many colours there are.
pub const COLOURS: usize = 6;
/// Up to which quantile an axis of percentiles reaches at most: eight nines.
const MOST_NINES: f64 = 8.0;

/// What an axis shows, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From 0 on.
    Linear,
    /// Latencies in milliseconds, over several powers of ten.
    Logarithmic,
    /// Quantiles (0 to 1), such that 90 %, 99 %, 99.9 % … are equally far apart.
    Percentiles,
}

/// A line with a name.
#[derive(Debug, Clone)]
pub struct Series {
    /// The name.
    pub name: String,
    /// Its points; those that the scales do not have are left out.
    pub points: Vec<(f64, f64)>,
}

/// An axis whose range is known: it maps values to 0 … 1.
#[derive(Debug)]
struct Axis {
    scale: Scale,
    min: f64,
    max: f64,
    /// Values (already scaled) with their labels.
    ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Where a value stands on an axis, before its range is known; nothing for what the axis does not have.
    fn apply(self, value: f64) -> Option<f64> {
        let scaled = match self {
            Self::Linear => value,
            Self::Logarithmic => value.log10(),
            Self::Percentiles => (-(1.0 - value).log10()).clamp(0.0, MOST_NINES),
        };
        scaled.is_finite().then_some(scaled)
    }

    /// The axis that has room for these values.
    fn axis(self, values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter_map(|value| self.apply(value)) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        match self {
            Self::Linear => linear(high),
            Self::Logarithmic => logarithmic(low, high),
            Self::Percentiles => percentiles(high),
        }
    }
}

fn linear(high: f64) -> Axis {
    // A step of 1, 2 or 5 times a power of ten, such that there are four to ten of them.
    let rough = (high / 5.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let steps = (high / step).ceil().clamp(1.0, 10.0);
    let mut ticks = Vec::new();
    let mut nth = 0.0;
    while nth <= steps {
        let value = nth * step;
        let label = match value {
            value if step < 1.0 => format!("{value:.1}"),
            value if value < 100.0 => format!("{value:.0}"),
            value => rate(value),
        };
        ticks.push((value, label));
        nth += 1.0;
    }
    Axis {
        scale: Scale::Linear,
        min: 0.0,
        max: steps * step,
        ticks,
    }
}

fn logarithmic(low: f64, high: f64) -> Axis {
    let (first, last) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    let mut ticks = Vec::new();
    let mut decade = first;
    while decade <= last {
        ticks.push((decade, milliseconds(10f64.powf(decade))));
        // With few powers of ten there is room for what lies between them.
        if last - first <= 3.0 && decade < last {
            for factor in [2.0f64, 5.0] {
                let scaled = decade + factor.log10();
                ticks.push((scaled, milliseconds(10f64.powf(scaled))));
            }
        }
        decade += 1.0;
    }
    Axis {
        scale: Scale::Logarithmic,
        min: first,
        max: last,
        ticks,
    }
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms >= 999.5 => format!("{} s", trimmed(ms / 1000.0)),
        ms if ms >= 0.9995 => format!("{} ms", trimmed(ms)),
        ms => format!("{} µs", trimmed(ms * 1000.0)),
    }
}

/// A number of one digit that counts, without what rounding leaves behind it.
fn trimmed(value: f64) -> String {
    if value >= 0.95 {
        format!("{value:.0}")
    } else {
        format!("{value}")
    }
}

fn percentiles(high: f64) -> Axis {
    let last = high.ceil().clamp(2.0, MOST_NINES);
    let mut ticks = vec![
        (0.0, "0 %".to_owned()),
        (0.5f64.log10().abs(), "50 %".to_owned()),
    ];
    let mut nines = 1.0;
    let mut label = "90".to_owned();
    while nines <= last {
        ticks.push((nines, format!("{label} %")));
        label = match label.as_str() {
            "90" => "99".to_owned(),
            "99" => "99.9".to_owned(),
            _ => format!("{label}9"),
        };
        nines += 1.0;
    }
    Axis {
        scale: Scale::Percentiles,
        min: 0.0,
        max: last,
        ticks,
    }
}

impl Axis {
    /// Where a value stands, from 0 at the axis's beginning to 1 at its end.
    fn position(&self, value: f64) -> Option<f64> {
        self.scale.apply(value).map(|scaled| self.fraction(scaled))
    }

    fn fraction(&self, scaled: f64) -> f64 {
        ((scaled - self.min) / (self.max - self.min)).clamp(0.0, 1.0)
    }
}

fn across(fraction: f64) -> f64 {
    LEFT + fraction * (WIDTH - LEFT - RIGHT)
}

fn down(fraction: f64) -> f64 {
    HEIGHT - BOTTOM - fraction * (HEIGHT - TOP - BOTTOM)
}

/// A plot, as an `<svg>` element. `label` and the names must hold no markup.
pub fn plot(label: &str, x: (Scale, &str), y: (Scale, &str), series: &[Series]) -> String {
    let points = || series.iter().flat_map(|line| &line.points);
    let x_axis = x.0.axis(points().map(|point| point.0));
    let y_axis = y.0.axis(points().map(|point| point.1));
    let mut svg = String::new();
    let mut put = |part: std::fmt::Arguments<'_>| svg.push_str(&std::fmt::format(part));
    put(format_args!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\" xmlns=\"http://www.w3.org/2000/svg\">\n"
    ));
    for (value, text) in &y_axis.ticks {
        let at = down(y_axis.fraction(*value));
        put(format_args!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>\n",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        ));
    }
    for (value, text) in &x_axis.ticks {
        let at = across(x_axis.fraction(*value));
        put(format_args!(
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/><text class=\"x\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>\n",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0
        ));
    }
    put(format_args!(
        "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"y\" transform=\"translate(12 {:.1}) rotate(-90)\" style=\"text-anchor:middle\">{}</text>\n",
        across(0.5),
        HEIGHT - 6.0,
        x.1,
        down(0.5),
        y.1
    ));
    for (number, line) in series.iter().enumerate() {
        let places = line.points.iter().filter_map(|point| {
            let (x, y) = (x_axis.position(point.0)?, y_axis.position(point.1)?);
            Some(format!("{:.1},{:.1}", across(x), down(y)))
        });
        put(format_args!(
            "<polyline class=\"s{}\" points=\"{}\"><title>{}</title></polyline>\n",
            number % COLOURS,
            places.collect::<Vec<_>>().join(" "),
            line.name
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// What a line's colour means, as HTML.
pub fn key(number: usize, html: &str) -> String {
    format!(
        "<span class=\"key\"><i class=\"s{}\"></i>{html}</span>",
        number % COLOURS
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
    }

    /// Protects: axes that can be read, whatever the values.
    #[test]
    fn axes_have_round_ticks() {
        let axis = Scale::Linear.axis([0.0, 4_321.0].into_iter());
        assert_eq!(
            labels(&axis),
            ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]
        );
        let axis = Scale::Linear.axis([0.0, 0.7].into_iter());
        assert_eq!(labels(&axis), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        let axis = Scale::Logarithmic.axis([0.055, 30.0].into_iter());
        assert_eq!(labels(&axis).first(), Some(&"10 µs"));
        assert_eq!(labels(&axis).last(), Some(&"100 ms"));
        let axis = Scale::Logarithmic.axis([2.0, 3.0].into_iter());
        assert_eq!(labels(&axis), ["1 ms", "2 ms", "5 ms", "10 ms"]);
        let axis = Scale::Percentiles.axis([0.0, 0.9995].into_iter());
        assert_eq!(
            labels(&axis),
            ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
    }

    /// Protects: a plot of nothing, of one point, and of values that an axis does not have.
    #[test]
    fn no_value_leaves_the_plot() {
        for points in [
            vec![],
            vec![(0.0, 0.0)],
            vec![(1.0, 0.0), (f64::NAN, f64::INFINITY), (0.5, 5.0)],
        ] {
            let line = Series {
                name: "a".to_owned(),
                points,
            };
            let svg = plot(
                "p",
                (Scale::Percentiles, "x"),
                (Scale::Logarithmic, "y"),
                &[line],
            );
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    /// Protects: the right way up, and to scale.
    #[test]
    fn points_stand_where_they_belong() {
        let line = Series {
            name: "a".to_owned(),
            points: vec![(0.0, 0.0), (10.0, 100.0)],
        };
        let svg = plot("p", (Scale::Linear, "x"), (Scale::Linear, "y"), &[line]);
        assert!(svg.contains("points=\"74.0,256.0 614.0,10.0\""), "{svg}");
    }
}
