//! Waiting for something to become true, with one patience for all tests.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a promise without a limit of its own may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked at.
const PERIOD: Duration = Duration::from_millis(20);

/// Waits until `claim` is true.
///
/// # Panics
///
/// When it does not become true within [`PATIENCE`].
pub fn eventually(what: &str, claim: impl FnMut() -> bool) {
    within(PATIENCE, what, claim);
}

/// Waits until `claim` is true and returns how long that took.
///
/// # Panics
///
/// When it does not become true within `limit`.
pub fn within(limit: Duration, what: &str, mut claim: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !claim() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(PERIOD);
    }
    start.elapsed()
}
