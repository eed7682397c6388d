//! The only source of chance: splitmix64 to seed, xoshiro256** to draw.
//!
//! Written here, so that the trace of a seed does not change with somebody else's library. Both algorithms are Vigna's,
//! from their published descriptions.

use std::time::Duration;

/// A stream of draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let mut mixer = seed;
        let mut state = [0; 4];
        let mut index = 0;
        while index < state.len() {
            mixer = mixer.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = mixer;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            state[index] = word ^ (word >> 31);
            index += 1;
        }
        Self { state }
    }

    /// The next 64 bits.
    pub const fn word(&mut self) -> u64 {
        let [first, second, third, fourth] = self.state;
        let drawn = second.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (third, fourth) = (third ^ first, fourth ^ second);
        self.state = [first ^ fourth, second ^ third, third ^ (second << 17), fourth.rotate_left(45)];
        drawn
    }

    /// A number below `end`, which must not be zero.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "nothing is below zero");
        let product = u128::from(self.word()) * u128::from(end);
        u64::try_from(product >> 64).expect("the upper half of a product of two words is a word")
    }

    /// A number from `first` to `last`, both possible.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True in so many of a million draws.
    pub fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }

    /// A time from `first` to `last`.
    pub fn time(&mut self, first: Duration, last: Duration) -> Duration {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).expect("a drawn time is far below 584 years");
        Duration::from_nanos(self.between(nanoseconds(first), nanoseconds(last)))
    }

    /// One of the choices, of which there must be at least one.
    pub fn pick<'choices, Choice>(&mut self, choices: &'choices [Choice]) -> &'choices Choice {
        let index = usize::try_from(self.below(choices.len() as u64)).expect("an index below a length");
        &choices[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut random = Random::new(1);
        let drawn: Vec<u64> = (0..3).map(|_| random.word()).collect();
        assert_eq!(drawn, [0xb3f2_af6d_0fc7_10c5, 0x853b_5596_4736_4cea, 0x92f8_9756_082a_4514]);
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut random = Random::new(7);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            seen[usize::try_from(random.between(3, 7) - 3).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert!((0..100).all(|_| !random.chance(0) && random.chance(1_000_000)));
    }
}
