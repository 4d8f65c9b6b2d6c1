//! All randomness of a run.

use std::time::Duration;

use fastrand::Rng;

/// Dice that fall the same way for the same seed.
#[derive(Debug)]
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// True in so many of a thousand throws.
    pub(super) fn chance(&mut self, of_thousand: u32) -> bool {
        self.0.u32(..1000) < of_thousand
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// A time between two, in milliseconds.
    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.0.u64(from * 1000..to * 1000 + 1))
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(&mut self) -> f64 {
        self.0.f64()
    }

    /// A new name.
    pub(super) fn number(&mut self) -> u128 {
        self.0.u128(..)
    }

    /// One of these, which are not none.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
