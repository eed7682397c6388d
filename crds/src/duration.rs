//! Lengths of time as Kubernetes writes them: `10ms`, `1m30s`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::limits::MAX_DURATION_LENGTH;

/// The schema's pattern: whole or decimal numbers, each with its unit. [`Duration::from_str`] takes the same texts.
pub const PATTERN: &str = r"^([0-9]{1,9}(\.[0-9]{1,3})?(us|ms|s|m|h))+$";

/// Units by falling length, in nanoseconds.
const UNITS: [(&str, u128); 5] = [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];

/// What a duration in a manifest must look like; ends every message about one.
pub const EXPECTED: &str = "a number with a unit (us, ms, s, m, h), such as 10ms, 1.5s or 1m30s";

/// A length of time, written as a number with a unit. Kept in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseDurationError {
    /// The text does not follow [`PATTERN`] or is longer than the limit.
    #[error("is {0:?}, which is not a duration")]
    Malformed(String),
    /// The text is a number without a unit.
    #[error("is {0:?}, which has no unit")]
    NoUnit(String),
    /// The time does not fit 64 bits of nanoseconds (292 years).
    #[error("is {0:?}, which is too long a time")]
    TooLong(String),
}

// === impl Duration ===

impl Duration {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// So many microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(std::time::Duration::from_micros(micros))
    }

    /// The same time in the standard library's type.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(time: std::time::Duration) -> Self {
        Self(time)
    }
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseDurationError::Malformed(text.to_owned());
        if text.is_empty() || text.len() > MAX_DURATION_LENGTH as usize {
            return Err(malformed());
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(ParseDurationError::NoUnit(text.to_owned()));
        }
        let mut rest = text;
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let (part, after) = take_part(rest).ok_or_else(malformed)?;
            nanos += part;
            rest = after;
        }
        i64::try_from(nanos)
            .map(|nanos| Self(std::time::Duration::from_nanos(nanos.unsigned_abs())))
            .map_err(|_| ParseDurationError::TooLong(text.to_owned()))
    }
}

/// Reads one number with its unit: its nanoseconds, and what follows it.
fn take_part(text: &str) -> Option<(u128, &str)> {
    let (whole, mut rest) = take_digits(text, 9)?;
    let mut thousandths: u128 = whole.parse::<u128>().ok()? * 1000;
    if let Some(after) = rest.strip_prefix('.') {
        let (fraction, after) = take_digits(after, 3)?;
        thousandths += format!("{fraction:0<3}").parse::<u128>().ok()?;
        rest = after;
    }
    let letters = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some((thousandths * length / 1000, rest))
}

/// Splits off between one and `most` leading digits.
fn take_digits(text: &str, most: usize) -> Option<(&str, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    (1..=most).contains(&count).then(|| text.split_at(count))
}

/// The shortest form in whole units, such as `1m30s`.
impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = self.0.as_nanos();
        if nanos == 0 {
            return formatter.write_str("0s");
        }
        for (unit, length) in UNITS {
            let count = nanos / length;
            nanos %= length;
            if count > 0 && (unit != "us" || nanos == 0) {
                write!(formatter, "{count}{unit}")?;
            } else if unit == "us" && nanos > 0 {
                write!(formatter, "{count}.{nanos:03}us")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|error| de::Error::custom(format!("{error}; must be {EXPECTED}")))
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": MAX_DURATION_LENGTH })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        for (text, micros) in [
            ("10ms", 10_000),
            ("1m30s", 90_000_000),
            ("1.5s", 1_500_000),
            ("0.25ms", 250),
            ("0s", 0),
            ("2h", 7_200_000_000),
            ("500us", 500),
        ] {
            assert_eq!(text.parse::<Duration>(), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "ms", "-5ms", "5 ms", "5d", "1.ms", "1.2345s", "5ms,", "1234567890ms", ".5s", "5µs"] {
            assert!(matches!(text.parse::<Duration>(), Err(ParseDurationError::Malformed(_))), "{text}");
        }
        assert_eq!("10".parse::<Duration>(), Err(ParseDurationError::NoUnit("10".into())));
        assert_eq!("999999999h".parse::<Duration>(), Err(ParseDurationError::TooLong("999999999h".into())));
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["10ms", "1m30s", "1s500ms", "250us", "0.125us", "1ms0.005us", "1h", "0s"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn agrees_with_the_pattern() {
        let pattern = regex::Regex::new(PATTERN).unwrap();
        for text in ["10ms", "1m30s", "10", "ms", "1.2345s", "5d", "1h1h", "1s ", "1.5us", "0000000001s", "1.s"] {
            assert_eq!(text.parse::<Duration>().is_ok(), pattern.is_match(text), "{text}");
        }
    }
}
