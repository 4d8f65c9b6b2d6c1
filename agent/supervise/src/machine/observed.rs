//! What is seen of a machine's attempts.
//!
//! An observation of any attempt but the latest is dropped before it reaches a decision. One that
//! does not fit the phase (an answer that was given before, an exit told twice) changes nothing.

use super::{End, Live, Turn};
use crate::{After, Effect, Entered, Failure, Observation, Phase, Reason, Strain};

impl Turn<'_> {
    pub(super) fn observed(&mut self, phase: Phase, observation: Observation) -> Phase {
        if observation.attempt() != phase.attempt() {
            return phase;
        }
        match observation {
            Observation::Spawned { attempt, pid, at } => {
                let started = at.min(self.now);
                self.spawned(
                    phase,
                    Live {
                        attempt,
                        pid,
                        started,
                    },
                )
            }
            Observation::SpawnRefused { why, .. } => self.refused(phase, why),
            Observation::Exited { exit, at, .. } => {
                let at = at.min(self.now);
                self.exited(phase, End { exit, at })
            }
            Observation::SignalFailed { why, .. } => self.signal_failed(phase, why),
        }
    }

    fn spawned(&mut self, phase: Phase, live: Live) -> Phase {
        let Live {
            attempt,
            pid,
            started,
        } = live;
        let told = Effect::Spawned {
            attempt,
            pid,
            at: started,
        };
        match phase {
            Phase::Spawning { strain, .. } => {
                self.effects.push(told);
                self.starting(live, strain)
            }
            Phase::Aborting { then, .. } => {
                self.effects.push(told);
                self.signal_stop(attempt, pid, then)
            }
            Phase::Stopped { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Backoff { .. }
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::Fatal { .. }
            | Phase::Unknown { .. } => phase,
        }
    }

    fn starting(&mut self, live: Live, mut strain: Strain) -> Phase {
        let Live {
            attempt,
            pid,
            started,
        } = live;
        if self.policy.startsecs.is_zero() {
            self.came_up(live, &mut strain, started);
            return Phase::Running {
                attempt,
                pid,
                started,
                strain,
            };
        }
        let until = self.policy.up_at(started);
        Phase::Starting {
            attempt,
            pid,
            started,
            until,
            strain,
        }
    }

    fn refused(&mut self, phase: Phase, why: String) -> Phase {
        let from = phase.state();
        match phase {
            Phase::Spawning { attempt, strain } => {
                self.failed(attempt, Failure::NotSpawned { why }, strain, self.now)
            }
            Phase::Aborting { attempt, then } => self.stopped(from, attempt, None, self.now, then),
            Phase::Stopped { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Backoff { .. }
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::Fatal { .. }
            | Phase::Unknown { .. } => phase,
        }
    }

    fn exited(&mut self, phase: Phase, end: End) -> Phase {
        let End { exit, at } = end;
        let from = phase.state();
        match phase {
            // The spawn was never answered, so that nothing is known of this life but its end.
            Phase::Spawning { attempt, strain } => {
                self.failed(attempt, Failure::ExitedTooQuickly { exit }, strain, at)
            }
            Phase::Aborting { attempt, then } => self.stopped(from, attempt, None, at, then),
            Phase::Starting {
                attempt,
                pid,
                started,
                strain,
                ..
            } => self.exited_while_starting(
                Live {
                    attempt,
                    pid,
                    started,
                },
                strain,
                end,
            ),
            Phase::Running {
                attempt,
                pid,
                started,
                strain,
            } => self.ended(
                Live {
                    attempt,
                    pid,
                    started,
                },
                strain,
                end,
            ),
            Phase::Stopping {
                attempt, pid, then, ..
            } => self.stopped(from, attempt, Some((pid, exit)), at, then),
            Phase::Unknown { attempt, pid } => {
                self.stopped(from, attempt, Some((pid, exit)), at, After::Rest)
            }
            Phase::Stopped { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Fatal { .. } => phase,
        }
    }

    fn exited_while_starting(&mut self, live: Live, mut strain: Strain, end: End) -> Phase {
        let lived = end.at.since(live.started);
        if lived < self.policy.startsecs {
            let cause = Failure::ExitedTooQuickly { exit: end.exit };
            return self.failed(live.attempt, cause, strain, end.at);
        }
        let up_at = self.policy.up_at(live.started).min(end.at);
        self.came_up(live, &mut strain, up_at);
        self.ended(live, strain, end)
    }

    fn signal_failed(&mut self, phase: Phase, why: String) -> Phase {
        match phase {
            Phase::Starting { attempt, pid, .. }
            | Phase::Running { attempt, pid, .. }
            | Phase::Stopping { attempt, pid, .. } => {
                let entered = Entered::Unknown { pid };
                let reason = Reason::SignalFailed { why };
                self.tell(attempt, phase.state(), entered, self.now, reason);
                Phase::Unknown { attempt, pid }
            }
            Phase::Stopped { .. }
            | Phase::Spawning { .. }
            | Phase::Aborting { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Fatal { .. }
            | Phase::Unknown { .. } => phase,
        }
    }
}
