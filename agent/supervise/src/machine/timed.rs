//! What the passing of time does, and what a new policy does to times already set.

use super::{Live, REKILL_MIN, SIGKILL, Turn};
use crate::{Effect, Entered, Failure, Phase, Reason, retry_delay};

impl Turn<'_> {
    pub(super) fn elapsed(&mut self, phase: Phase) -> Phase {
        if phase.deadline().is_none_or(|deadline| self.now < deadline) {
            return phase;
        }
        match phase {
            Phase::Starting {
                attempt,
                pid,
                started,
                until,
                mut strain,
            } => {
                self.came_up(
                    Live {
                        attempt,
                        pid,
                        started,
                    },
                    &mut strain,
                    until,
                );
                Phase::Running {
                    attempt,
                    pid,
                    started,
                    strain,
                }
            }
            Phase::Backoff {
                attempt,
                ref strain,
                ..
            } => {
                let reason = Reason::Retried {
                    tries: strain.tries(),
                };
                self.spawn(phase.state(), attempt, strain.clone(), reason)
            }
            Phase::Stopping {
                attempt, pid, then, ..
            } => {
                let stopwaitsecs = self.policy.stopwaitsecs;
                self.effects.push(Effect::Signal {
                    attempt,
                    signal: SIGKILL,
                    scope: self.policy.kill_scope,
                    reason: Reason::StopTimedOut { stopwaitsecs },
                });
                let until = self.now + stopwaitsecs.max(REKILL_MIN);
                Phase::Stopping {
                    attempt,
                    pid,
                    signalled: self.now,
                    until,
                    killing: true,
                    then,
                }
            }
            Phase::Stopped { .. }
            | Phase::Spawning { .. }
            | Phase::Aborting { .. }
            | Phase::Running { .. }
            | Phase::Exited { .. }
            | Phase::Fatal { .. }
            | Phase::Unknown { .. } => phase,
        }
    }

    /// A process at rest stays there, whatever the new policy would have done at its end: to run
    /// a finished job a second time is worse than to wait for somebody to start it.
    pub(super) fn policy_changed(&mut self, phase: Phase) -> Phase {
        match phase {
            Phase::Starting {
                attempt,
                pid,
                started,
                strain,
                ..
            } => {
                let until = self.policy.up_at(started);
                Phase::Starting {
                    attempt,
                    pid,
                    started,
                    until,
                    strain,
                }
            }
            Phase::Stopping {
                attempt,
                pid,
                signalled,
                killing,
                then,
                ..
            } => {
                let wait = self.policy.stopwaitsecs;
                let wait = if killing { wait.max(REKILL_MIN) } else { wait };
                let until = signalled + wait;
                Phase::Stopping {
                    attempt,
                    pid,
                    signalled,
                    until,
                    killing,
                    then,
                }
            }
            Phase::Backoff { .. } => self.policy_changed_in_backoff(phase),
            Phase::Stopped { .. }
            | Phase::Spawning { .. }
            | Phase::Aborting { .. }
            | Phase::Running { .. }
            | Phase::Exited { .. }
            | Phase::Fatal { .. }
            | Phase::Unknown { .. } => phase,
        }
    }

    fn policy_changed_in_backoff(&mut self, phase: Phase) -> Phase {
        let from = phase.state();
        let Phase::Backoff {
            attempt,
            since,
            until,
            cause,
            strain,
        } = phase
        else {
            return phase;
        };
        let until = match cause {
            Failure::Ended { exit, .. } if !self.policy.restarts_after(exit) => {
                let entered = Entered::Stopped { ended: None };
                self.tell(attempt, from, entered, self.now, Reason::RestartNotWanted);
                return Phase::Stopped { attempt };
            }
            Failure::Ended { .. } => self
                .policy
                .restart_backoff_max
                .map_or(until, |max| until.min(since + max)),
            Failure::NotSpawned { .. } | Failure::ExitedTooQuickly { .. } => {
                since + retry_delay(strain.tries(), self.policy)
            }
        };
        Phase::Backoff {
            attempt,
            since,
            until,
            cause,
            strain,
        }
    }
}
