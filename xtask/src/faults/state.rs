//! What is kept between calls.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::files;

/// The rounds that have passed in a row with one set of programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    fingerprint: String,
    /// Rounds.
    pub(super) passed: u32,
    /// Times from a rank's end to the end of the last rank of its gang, in microseconds.
    pub(super) micros: Vec<u64>,
}

// === impl State ===

impl State {
    pub(super) fn new(fingerprint: String) -> Self {
        Self { fingerprint, passed: 0, micros: Vec::new() }
    }

    /// The kept state; none when there is none that can be read.
    pub(super) fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Replaces the kept state as a whole: an interrupt leaves the old one or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        files::replace_json(path, self)
    }

    pub(super) fn is_of(&self, fingerprint: &str) -> bool {
        self.fingerprint == fingerprint
    }

    pub(super) fn pass(&mut self, micros: Vec<u64>) {
        self.passed += 1;
        self.micros.extend(micros);
    }

    /// The same programs with nothing passed.
    pub(super) fn forget(&self) -> Self {
        Self::new(self.fingerprint.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_kept_for_the_same_programs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(State::load(&path), None);
        let mut state = State::new("a".to_owned());
        state.pass(vec![3000]);
        state.save(&path).unwrap();
        let kept = State::load(&path).unwrap();
        assert!(kept.is_of("a") && !kept.is_of("b"));
        assert_eq!((kept.passed, kept.micros.as_slice()), (1, [3000].as_slice()));
        assert_eq!(kept.forget(), State::new("a".to_owned()));
    }
}
