//! Failures and restarts on record, and what they cost: a delay, or the end of all attempts.
//!
//! Three things are counted, each for its own rule:
//!
//! - *tries*: failed starts in a row, as Supervisor counts them. Each costs one second more than
//!   the one before, and more of them than `startretries` are the end. Being up resets it.
//! - *short lives*: lives in a row shorter than [`SHORT_LIFE`] that nevertheless counted as up,
//!   which `startsecs=0` makes possible. Supervisor restarts these without any delay, and a
//!   program that dies at once then loops as fast as the machine can. Here the first restart is
//!   immediate, as after any end. Further ones wait: after an unexpected end 1, 2, 3 s and so on up to
//!   [`SHORT_LIFE_DELAY_MAX`] (or `restart_backoff_max`, where that is set); after an expected one
//!   until a second after the life began, because a program that does one job a life is not
//!   failing, and this is the pace Supervisor's own loop gave it. They never lead to FATAL,
//!   as they never did: `restart_window` is the means for that.
//! - *restarts*: the moments of automatic restarts of either kind, kept only while a
//!   `restart_window` is configured, and never more than it allows.
//!
//! A start, stop or restart that somebody asks for begins with a clean record.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{GaveUp, Policy, Retries, Tick};

/// A life shorter than this is short, however it ended.
pub const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The longest delay after short lives, unless `restart_backoff_max` says otherwise. There is no
/// count that ends them, so that without a limit a delay would grow for as long as they last.
pub const SHORT_LIFE_DELAY_MAX: Duration = Duration::from_secs(10);

/// What has gone wrong since somebody last asked for something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strain {
    #[serde(default, skip_serializing_if = "is_zero")]
    tries: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    short_lives: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    restarts: Vec<Tick>,
}

/// A life that counted as up and has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) started: Tick,
    pub(crate) ended: Tick,
    pub(crate) expected: bool,
}

/// The delay after this many failures in a row: a second each, at most `restart_backoff_max`.
pub fn retry_delay(failures: u32, policy: &Policy) -> Duration {
    let linear = Duration::from_secs(u64::from(failures));
    policy
        .restart_backoff_max
        .map_or(linear, |max| linear.min(max))
}

impl Strain {
    /// Failed starts in a row.
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// The process counts as up: what came before are no longer failures in a row.
    pub(crate) fn came_up(&mut self) {
        self.tries = 0;
    }

    /// Counts a failed start.
    pub(crate) fn count_failure(&mut self) {
        self.tries = self.tries.saturating_add(1);
    }

    /// When the next attempt is due after a start that failed at `at` and has been counted.
    pub(crate) fn due_after_failure(&mut self, at: Tick, policy: &Policy) -> Result<Tick, GaveUp> {
        match policy.startretries {
            Retries::Limit(limit) if self.tries > limit => {
                Err(GaveUp::Retries { tries: self.tries })
            }
            Retries::Limit(_) | Retries::Unlimited => {
                self.admit(at + retry_delay(self.tries, policy), policy)
            }
        }
    }

    /// When the next attempt is due after a life; no later than its end means at once.
    pub(crate) fn due_after_life(&mut self, life: Life, policy: &Policy) -> Result<Tick, GaveUp> {
        let due = self.pace(life, policy);
        self.admit(due, policy)
    }

    fn pace(&mut self, life: Life, policy: &Policy) -> Tick {
        if life.ended.since(life.started) >= SHORT_LIFE {
            self.short_lives = 0;
            return life.ended;
        }
        let before = self.short_lives;
        if before == 0 {
            self.short_lives = 1;
            return life.ended;
        }
        let max = policy.restart_backoff_max.unwrap_or(SHORT_LIFE_DELAY_MAX);
        if life.expected {
            return (life.started + SHORT_LIFE).min(life.ended + max);
        }
        self.short_lives = before.saturating_add(1);
        life.ended + retry_delay(before, policy).min(max)
    }

    fn admit(&mut self, due: Tick, policy: &Policy) -> Result<Tick, GaveUp> {
        let Some(limit) = policy.restart_window else {
            self.restarts.clear();
            return Ok(due);
        };
        self.restarts
            .retain(|earlier| due.since(*earlier) < limit.window());
        if self.restarts.len() >= limit.count() as usize {
            return Err(GaveUp::Window {
                count: limit.count(),
                window: limit.window(),
            });
        }
        self.restarts.push(due);
        Ok(due)
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
