//! The time of a decision, told from outside: nothing that decides reads a clock.

use std::time::{Duration, SystemTime};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the driver's start; never goes back. Waits are measured with it.
    pub tick: Duration,
    /// What people read and the wire carries; may jump.
    pub wall: SystemTime,
}

impl Moment {
    /// The moment so much later, for stories told in tests and for deadlines.
    #[must_use]
    pub fn after(self, elapsed: Duration) -> Self {
        Self {
            tick: self.tick + elapsed,
            wall: self.wall + elapsed,
        }
    }

    /// How long ago a tick was; zero when it lies ahead.
    pub fn since(self, tick: Duration) -> Duration {
        self.tick.saturating_sub(tick)
    }
}
