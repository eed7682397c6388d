//! What happened, as a hash, and on demand as the last events in words.

use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
};

use crate::{clock::Moment, limits::TRACE_LINES_MAX};

/// The trace of one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    hash: WordHasher,
    /// None: only the hash is kept, which is what makes many seeds quick.
    lines: Option<VecDeque<String>>,
}

/// Rotates, xors and multiplies, a word at a time: the same everywhere, which the standard library's hasher does not
/// promise.
#[derive(Debug, Clone, Default)]
pub(crate) struct WordHasher(u64);

impl Trace {
    pub(crate) fn new(in_words: bool) -> Self {
        Self { hash: WordHasher::default(), lines: in_words.then(VecDeque::new) }
    }

    /// Notes what happened at `now`; the words are only made when they are kept.
    pub(crate) fn note(&mut self, now: Moment, what: &impl Hash, words: impl FnOnce() -> String) {
        now.hash(&mut self.hash);
        what.hash(&mut self.hash);
        self.say(now, words);
    }

    /// Adds words that are no part of the hash.
    pub(crate) fn say(&mut self, now: Moment, words: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == TRACE_LINES_MAX {
            lines.pop_front();
        }
        let microseconds = now.0 / 1_000;
        lines.push_back(format!("{:>6}.{:03} ms  {}", microseconds / 1_000, microseconds % 1_000, words()));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.map(Vec::from).unwrap_or_default()
    }
}

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// The hash of one value.
pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = WordHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}
