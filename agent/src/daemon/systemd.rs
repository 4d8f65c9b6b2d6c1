//! What is told to the service manager, if there is one.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// The agent is ready: programs are adopted and the local socket answers.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The agent is on its way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Everything works at this moment.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is expected: half of what would be too late.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "the service manager cannot be told");
    }
}
