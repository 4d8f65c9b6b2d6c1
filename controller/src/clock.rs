//! Where moments come from; the only reader of clocks beside decisions.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::moment::Moment;

/// Counts from its own start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts at zero now.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// This moment.
    pub fn now(self) -> Moment {
        Moment {
            tick: self.origin.elapsed(),
            wall: SystemTime::now(),
        }
    }

    /// When a tick is due.
    pub fn at(self, tick: Duration) -> Instant {
        self.origin + tick
    }
}
