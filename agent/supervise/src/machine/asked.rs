//! What is asked of a machine: to come to life, to start, to stop, to restart.

use super::{Turn, halt_reason};
use crate::{After, Attempt, Entered, Phase, Reason, State, Strain};

impl Turn<'_> {
    pub(super) fn created(&mut self, phase: Phase) -> Phase {
        match phase {
            Phase::Stopped {
                attempt: Attempt::NONE,
            } if self.policy.autostart => self.spawn(
                State::Stopped,
                Attempt::NONE,
                Strain::default(),
                Reason::Autostart,
            ),
            other => other,
        }
    }

    pub(super) fn start(&mut self, phase: Phase) -> Phase {
        match phase {
            Phase::Stopped { attempt }
            | Phase::Exited { attempt, .. }
            | Phase::Fatal { attempt, .. } => self.spawn(
                phase.state(),
                attempt,
                Strain::default(),
                Reason::AskedToStart,
            ),
            Phase::Aborting {
                attempt,
                then: After::Rest,
            } => Phase::Aborting {
                attempt,
                then: After::Start,
            },
            Phase::Stopping {
                attempt,
                pid,
                signalled,
                until,
                killing,
                then: After::Rest,
            } => Phase::Stopping {
                attempt,
                pid,
                signalled,
                until,
                killing,
                then: After::Start,
            },
            Phase::Aborting { .. }
            | Phase::Stopping { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Backoff { .. }
            | Phase::Unknown { .. } => phase,
        }
    }

    pub(super) fn stop(&mut self, phase: Phase) -> Phase {
        self.halt(phase, After::Rest)
    }

    pub(super) fn restart(&mut self, phase: Phase) -> Phase {
        match phase {
            Phase::Stopped { attempt }
            | Phase::Exited { attempt, .. }
            | Phase::Fatal { attempt, .. } => self.spawn(
                phase.state(),
                attempt,
                Strain::default(),
                Reason::AskedToRestart,
            ),
            Phase::Spawning { .. }
            | Phase::Aborting { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Backoff { .. }
            | Phase::Stopping { .. }
            | Phase::Unknown { .. } => self.halt(phase, After::Restart),
        }
    }

    /// Ends whatever goes on, and remembers what comes after. A stop under way goes on as it was:
    /// a second signal would mean something else to many programs.
    fn halt(&mut self, phase: Phase, then: After) -> Phase {
        let from = phase.state();
        let reason = halt_reason(then);
        match phase {
            Phase::Stopped { .. } | Phase::Exited { .. } | Phase::Fatal { .. } => phase,
            Phase::Spawning { attempt, .. } => {
                self.tell(
                    attempt,
                    from,
                    Entered::Stopping { pid: None },
                    self.now,
                    reason,
                );
                Phase::Aborting { attempt, then }
            }
            Phase::Aborting { attempt, .. } => Phase::Aborting { attempt, then },
            Phase::Starting { attempt, pid, .. }
            | Phase::Running { attempt, pid, .. }
            | Phase::Unknown { attempt, pid } => {
                let entered = Entered::Stopping { pid: Some(pid) };
                self.tell(attempt, from, entered, self.now, reason);
                self.signal_stop(attempt, pid, then)
            }
            Phase::Backoff { attempt, .. } => {
                self.tell(
                    attempt,
                    from,
                    Entered::Stopped { ended: None },
                    self.now,
                    reason,
                );
                self.rest(attempt, then)
            }
            Phase::Stopping {
                attempt,
                pid,
                signalled,
                until,
                killing,
                ..
            } => Phase::Stopping {
                attempt,
                pid,
                signalled,
                until,
                killing,
                then,
            },
        }
    }
}
