//! Where moments come from; the only reader of clocks beside decisions.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::moment::Moment;

/// What the count begins with: what was written down by a controller that ran before happened at ticks
/// that lie before its successor's start, and ticks are never negative.
const BEGINNING: Duration = Duration::from_secs(366 * 24 * 3600);

/// Counts from its own start on.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// This moment.
    pub fn now(self) -> Moment {
        Moment {
            tick: BEGINNING + self.origin.elapsed(),
            wall: SystemTime::now(),
        }
    }

    /// When a tick is due.
    pub fn at(self, tick: Duration) -> Instant {
        self.origin + tick.saturating_sub(BEGINNING)
    }
}
