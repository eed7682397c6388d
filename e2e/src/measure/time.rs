//! Times as others write them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

const NANOSECONDS: i128 = 1_000_000_000;

/// Nanoseconds since 1970, now.
pub(super) fn now() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock shows a time after 1970");
    i128::try_from(since.as_nanos()).expect("it is not that late")
}

/// Nanoseconds since 1970 of a time as container runtimes write it (RFC 3339, in UTC, with up to nine digits of a second).
pub(super) fn parse_instant(text: &str) -> Result<i128> {
    instant(text).with_context(|| format!("{text:?} is no time in UTC"))
}

fn instant(text: &str) -> Option<i128> {
    let (date, time) = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(clock, ':')?;
    let digits: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds = i128::from(days(year, month, day)) * 86_400 + i128::from(hour * 3600 + minute * 60 + second);
    Some(seconds * NANOSECONDS + digits)
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let numbers: Vec<i64> = text.split(between).map(|number| number.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// Days since 1970 of a day of the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms": years begin in March,
/// so that a leap day is the last day of its year).
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Microseconds of a length of time as a status has it, such as `8ms600us`.
pub(super) fn parse_micros(text: &str) -> Result<f64> {
    micros(text).with_context(|| format!("{text:?} is no length of time"))
}

fn micros(mut text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 6] = [("ns", 1e-3), ("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7), ("h", 3.6e9)];
    let mut sum = 0.0;
    while !text.is_empty() {
        let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = text[..digits].parse().ok()?;
        let rest = &text[digits..];
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
        sum += number * unit;
        text = &rest[letters..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_container_runtimes_are_read_to_the_nanosecond() {
        assert_eq!(parse_instant("1970-01-01T00:00:00Z").unwrap(), 0);
        assert_eq!(parse_instant("2026-11-22T10:12:44.4911Z").unwrap(), 1_795_342_364_491_100_000);
        assert_eq!(parse_instant("2024-02-29T23:59:59.123456789+00:00").unwrap(), 1_709_251_199_123_456_789);
        for wrong in ["2026-11-22T10:12:44", "2026-11-22 10:12:44Z", "2026-11-22T10:12Z", ""] {
            assert!(parse_instant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lengths_of_time_are_read_in_microseconds() {
        let close = |text: &str, micros: f64| (parse_micros(text).unwrap() - micros).abs() < 1e-9;
        assert!(close("0s", 0.0) && close("63us", 63.0) && close("8ms600us", 8600.0) && close("1m2s", 6.2e7));
        assert!(parse_micros("8").is_err() && parse_micros("8 ms").is_err() && parse_micros("ms").is_err());
    }
}
