//! How many tests ran: read from what `cargo test` prints, so that the closing line counts tests and nothing else.

use std::fmt;
use std::ops::AddAssign;

/// Tests by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored by an attribute. Tests left out by a filter are not counted: nobody asked for them.
    pub(crate) skipped: u64,
}

// === impl Counts ===

impl Counts {
    /// What one line of output says: the closing line of a test binary, such as
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s`. Nothing for every other line.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_verdict, figures) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut counts = Self::default();
        for figure in figures.split("; ") {
            let Some((number, word)) = figure.split_once(' ') else { continue };
            match word {
                "passed" => counts.passed = number.parse().ok()?,
                "failed" => counts.failed = number.parse().ok()?,
                "ignored" => counts.skipped = number.parse().ok()?,
                _ => {}
            }
        }
        Some(counts)
    }

    /// Tests that were run, whatever came out.
    pub(crate) fn ran(self) -> u64 {
        self.passed + self.failed
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_closing_line_of_a_test_binary() {
        let line = "test result: FAILED. 11 passed; 2 failed; 3 ignored; 4 measured; 5 filtered out; finished in 0.25s";
        assert_eq!(Counts::of_line(line), Some(Counts { passed: 11, failed: 2, skipped: 3 }));
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in ["running 3 tests", "test a::b ... ok", " test result: ok. 1 passed", "test result: ok", ""] {
            assert_eq!(Counts::of_line(line), None, "{line}");
        }
    }

    #[test]
    fn the_sum_prints_as_one_plain_line() {
        let mut sum = Counts { passed: 1, failed: 0, skipped: 0 };
        sum += Counts { passed: 2, failed: 1, skipped: 4 };
        assert_eq!(sum.to_string(), "3 passed, 1 failed, 4 skipped");
        assert_eq!(sum.ran(), 4);
    }
}
