//! SQL literals that read back as the very value they were made from.
//!
//! Text, blobs, integers and names are simple. A double is not: SQLite reads a decimal in extended
//! precision and rounds twice, so that a decimal close to the middle between two doubles may become the
//! wrong one, depending on its version (measured on 3.40: one in some thousand doubles when written
//! with the fewest digits that identify them). Eighteen digits stay far from the middle and are always
//! read exactly, but for magnitudes below 1e-280, where even those fail. So a double is written,
//! whichever comes first,
//!
//! 1. with the fewest digits, if its magnitude is an everyday one and the decimal is well off the
//!    middle, which is so for 19 in 20: `19.99`;
//! 2. with 18 digits: `3.00000000000000044e-01`;
//! 3. if tiny, as a larger double divided twice by 2²⁰⁰, all of which are exact.

use std::fmt::Write as _;

/// Below this magnitude SQLite's reader of decimals is not exact for any number of digits.
const TINY: f64 = 1e-280;

/// Between these magnitudes every version of SQLite reads a decimal within a hundredth of a unit.
const EVERYDAY: std::ops::Range<f64> = 1e-20..1e20;

/// 2²⁰⁰ as SQLite reads it exactly.
const TWO_TO_200: &str = "1.60693804425899028e+60";

/// A text literal: `'it''s'`.
pub fn text(value: &str) -> String {
    let mut literal = String::with_capacity(value.len().saturating_add(2));
    literal.push('\'');
    for (number, piece) in value.split('\'').enumerate() {
        if number > 0 {
            literal.push_str("''");
        }
        literal.push_str(piece);
    }
    literal.push('\'');
    literal
}

/// A name in double quotes, whatever it is made of: `"order"`.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A blob literal: `X'00FF'`.
pub fn blob(value: &[u8]) -> String {
    let mut literal = String::with_capacity(value.len().saturating_mul(2).saturating_add(3));
    literal.push_str("X'");
    push_hex(&mut literal, value);
    literal.push('\'');
    literal
}

/// Appends two digits per byte.
pub fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(
                char::from_digit(u32::from(nibble), 16).map_or('0', |c| c.to_ascii_uppercase()),
            );
        }
    }
}

/// An expression that evaluates to exactly this double; see the module's introduction. An infinity is
/// a number too large to hold, as in SQLite's own dumps; NaN, which SQLite does not store, is `NULL`.
pub fn real(value: f64) -> String {
    if value.is_nan() {
        return "NULL".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "9.0e+999" } else { "-9.0e+999" }.to_owned();
    }
    if value == 0.0 || value.abs() >= TINY {
        return if value == 0.0 || is_off_the_middle(value) {
            format_real(value)
        } else {
            scientific(&format!("{value:.17e}"))
        };
    }
    let scale = 2f64.powi(200);
    let scaled = real(value * scale * scale);
    format!("({scaled}/{TWO_TO_200}/{TWO_TO_200})")
}

/// Whether the shortest decimal of this double lies at least a fortieth of a unit in the last place
/// away from the middle to the next double, so that a slightly inexact reader still finds this one.
fn is_off_the_middle(value: f64) -> bool {
    let magnitude = value.abs();
    if !EVERYDAY.contains(&magnitude) {
        return false;
    }
    let shortest = eighteen_digits(&format!("{magnitude:e}"));
    let precise = eighteen_digits(&format!("{magnitude:.17e}"));
    let (Some((shortest, exponent)), Some((precise, same_exponent))) = (shortest, precise) else {
        return false;
    };
    // Measured in units of the eighteenth digit. 2^63 of them would fit; the doubles lie within it.
    let unit = 10f64.powi(exponent.saturating_sub(17));
    let half_ulp_units = (magnitude.next_up() - magnitude) / 2.0 / unit;
    let distance_units = shortest.abs_diff(precise) as f64;
    exponent == same_exponent && distance_units < half_ulp_units * 0.95
}

/// The digits of a decimal in Rust's scientific notation, filled up to 18, and its exponent.
fn eighteen_digits(rust: &str) -> Option<(u64, i32)> {
    let (mantissa, exponent) = rust.split_once('e')?;
    let digits = mantissa.replace('.', "");
    let number = format!("{digits:0<18}").parse().ok()?;
    Some((number, exponent.parse().ok()?))
}

/// A double for people: the fewest digits that identify it, laid out as SQLite prints doubles
/// (`1.0`, `0.0001`, `1.0e+16`, `Inf`).
pub fn format_real(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e15).contains(&magnitude) {
        return scientific(&format!("{value:e}"));
    }
    let mut text = format!("{value}");
    if !text.contains('.') {
        text.push_str(".0");
    }
    text
}

/// Turns Rust's `1e16` into SQLite's `1.0e+16`.
fn scientific(rust: &str) -> String {
    let Some((mantissa, exponent)) = rust.split_once('e') else {
        return rust.to_owned();
    };
    let mut text = mantissa.to_owned();
    if !text.contains('.') {
        text.push_str(".0");
    }
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "e{sign}{digits:0>2}");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    /// Protects: the way numbers look, which users compare with sqlite3's.
    #[test]
    fn doubles_look_like_sqlites() {
        for (value, shown) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1.0e-05"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (1e15, "1.0e+15"),
            (6.02e23, "6.02e+23"),
            (f64::INFINITY, "Inf"),
        ] {
            assert_eq!(format_real(value), shown);
        }
    }

    /// Protects: quoting of what would otherwise end the literal.
    #[test]
    fn quotes_are_doubled() {
        assert_eq!(text("it's; '"), "'it''s; '''");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(blob(&[0, 0xab, 255]), "X'00ABFF'");
        assert_eq!(real(f64::NEG_INFINITY), "-9.0e+999");
        assert_eq!(real(f64::NAN), "NULL");
        assert_eq!(real(19.99), "19.99");
        assert_eq!(real(-1234.5e10), "-12345000000000.0");
        assert_eq!(real(2.162_235e-13), "2.16223499999999987e-13");
    }

    /// Evaluates what `real` writes, with a reader of decimals that is exact.
    fn evaluate(expression: &str) -> f64 {
        let bare = expression.trim_start_matches('(').trim_end_matches(')');
        let mut factors = bare.split('/').map(|factor| factor.parse::<f64>().unwrap());
        let first = factors.next().unwrap();
        factors.fold(first, |value, divisor| value / divisor)
    }

    proptest! {
        /// Protects: every finite double survives a dump, down to the smallest subnormal.
        #[test]
        fn doubles_round_trip(bits in any::<u64>(), tiny in 0u64..0x0600_0000_0000_0000) {
            for value in [f64::from_bits(bits), f64::from_bits(tiny), f64::from_bits(bits & 0xff)] {
                if value.is_finite() {
                    prop_assert_eq!(evaluate(&real(value)).to_bits(), value.to_bits(), "{}", real(value));
                    prop_assert_eq!(format_real(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
                }
            }
        }
    }
}
