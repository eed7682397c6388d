//! CPU lists in the kernel's notation: `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use thiserror::Error;

use crate::limits::{MAX_CPU_LIST_LENGTH, MAX_CPU_NUMBER};

/// The schema's pattern: numbers and ranges of numbers, parted by commas, no spaces.
pub const PATTERN: &str = "^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$";

/// A set of CPUs of one node, never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CpuList(BTreeSet<u16>);

/// Why a text is not a CPU list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseCpuListError {
    /// The text does not follow [`PATTERN`] or is longer than the limit.
    #[error("is {0:?}, which is not a CPU list")]
    Malformed(String),
    /// A range ends before it starts.
    #[error("has the range {0}, which ends before it starts")]
    Backwards(String),
    /// A CPU number is beyond the limit.
    #[error("names CPU {0}, beyond the highest allowed number {MAX_CPU_NUMBER}")]
    TooHigh(u16),
}

// === impl CpuList ===

impl CpuList {
    /// The list of these CPUs; none of no CPU.
    pub fn of(cpus: impl IntoIterator<Item = u16>) -> Option<Self> {
        let cpus: BTreeSet<u16> = cpus.into_iter().collect();
        (!cpus.is_empty()).then_some(Self(cpus))
    }

    /// The CPU numbers, rising.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }

    /// How many CPUs there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a list is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromStr for CpuList {
    type Err = ParseCpuListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_CPU_LIST_LENGTH as usize {
            return Err(ParseCpuListError::Malformed(text.to_owned()));
        }
        let mut cpus = BTreeSet::new();
        for part in text.split(',') {
            let range = parse_range(part).ok_or_else(|| ParseCpuListError::Malformed(text.to_owned()))?;
            if range.is_empty() {
                return Err(ParseCpuListError::Backwards(part.to_owned()));
            }
            if *range.end() > MAX_CPU_NUMBER {
                return Err(ParseCpuListError::TooHigh(*range.end()));
            }
            cpus.extend(range);
        }
        Ok(Self(cpus))
    }
}

/// Reads `3` or `0-3`; the range may be backwards.
fn parse_range(part: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    Some(parse_number(first)?..=parse_number(last)?)
}

/// Reads one to four digits.
fn parse_number(text: &str) -> Option<u16> {
    let well_formed = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.parse().ok()).flatten()
}

/// The shortest form: neighbours joined to ranges.
impl fmt::Display for CpuList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for cpu in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        for (index, (first, last)) in ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(formatter, "{comma}{first}")?;
            } else {
                write!(formatter, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_WRITTEN_CPU_LIST_LENGTH;

    #[test]
    fn reads_numbers_and_ranges() {
        let list: CpuList = "8,0-3,2".parse().unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 8]);
        assert_eq!(list.to_string(), "0-3,8");
        assert_eq!(list.len(), 5);
    }

    #[test]
    fn the_longest_list_has_room_where_it_is_written() {
        let written = |leaves_out: fn(u16) -> bool| CpuList::of((0..=MAX_CPU_NUMBER).filter(|cpu| !leaves_out(*cpu))).unwrap().to_string();
        for text in [written(|_| false), written(|cpu| cpu % 2 == 1), written(|cpu| cpu % 3 == 2), written(|cpu| cpu % 4 == 3)] {
            assert!(text.len() <= MAX_WRITTEN_CPU_LIST_LENGTH as usize, "{} bytes", text.len());
        }
        assert_eq!(CpuList::of([]), None);
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", ",", "1,", "a", "1-", "-1", "0 - 3", "1-2-3", "00001", "0x1"] {
            assert!(matches!(text.parse::<CpuList>(), Err(ParseCpuListError::Malformed(_))), "{text}");
        }
        assert_eq!("3-0".parse::<CpuList>(), Err(ParseCpuListError::Backwards("3-0".into())));
        assert_eq!("0-1024".parse::<CpuList>(), Err(ParseCpuListError::TooHigh(1024)));
    }

    #[test]
    fn agrees_with_the_pattern() {
        let pattern = regex::Regex::new(PATTERN).unwrap();
        for text in ["", "1", "0-3,8", "1,", "1-", "1-2-3", "9999", "00001", "3-0", "a", "1, 2"] {
            let malformed = matches!(text.parse::<CpuList>(), Err(ParseCpuListError::Malformed(_)));
            assert_eq!(malformed, !pattern.is_match(text), "{text}");
        }
    }
}
