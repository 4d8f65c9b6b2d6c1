//! The decisions: what a machine does next, given where it stands, what happened and when.
//!
//! This is Supervisor's state machine, driven by events instead of a loop pass, with these
//! differences:
//!
//! - A time is a monotonic tick, so that no clock set back or forth moves a deadline. An end is
//!   dated by when the process ended, not by when it was seen.
//! - A process that was up and is to run again is spawned in the same step that sees its end.
//!   The one exception, lives shorter than a second with `startsecs=0`, is explained in
//!   [`crate::Strain`]'s file; the machine then waits in BACKOFF, with no failed start counted.
//! - A stop during BACKOFF forgets the failures, so that the next start has all its tries.
//! - A start of a process that is being stopped happens after the stop. A restart is one ask.
//! - A stop while the spawn is not yet answered shows STOPPING at once and takes effect with the
//!   answer. A stop during BACKOFF always ends in STOPPED, also when everything is shut down.
//! - UNKNOWN is left when the process is seen to end, and can be told to stop again.
//! - SIGKILL is repeated every `stopwaitsecs`, but not more often than once a second.
//!
//! Files: `asked`, `observed` and `timed` hold one function for each event, each an exhaustive
//! match of the phase. The moves they share are here.

mod asked;
mod observed;
mod timed;

use std::time::Duration;

use crate::strain::Life;
use crate::{
    After, Ask, Attempt, Change, Effect, Ended, Entered, Event, Exit, Failure, GaveUp, Phase,
    Policy, Reason, State, Strain, Tick,
};

/// The shortest time between two SIGKILLs, whatever `stopwaitsecs` says: a process that survives
/// one is stuck in the kernel, and no number of signals hurries that.
const REKILL_MIN: Duration = Duration::from_secs(1);

const SIGKILL: i32 = 9;

/// Moves one supervised process on by one event. Pure: equal inputs, equal outputs.
///
/// `now` is the moment of the decision and never goes back for one machine. Any event may come in
/// any phase; one that has no meaning there changes nothing.
pub fn step(phase: Phase, policy: &Policy, now: Tick, event: Event) -> (Phase, Vec<Effect>) {
    let mut turn = Turn {
        policy,
        now,
        effects: Vec::new(),
    };
    let next = match event {
        Event::Created => turn.created(phase),
        Event::Asked(Ask::Start) => turn.start(phase),
        Event::Asked(Ask::Stop) => turn.stop(phase),
        Event::Asked(Ask::Restart) => turn.restart(phase),
        Event::Observed(observation) => turn.observed(phase, observation),
        Event::PolicyChanged => turn.policy_changed(phase),
        Event::Elapsed => turn.elapsed(phase),
    };
    (next, turn.effects)
}

/// One step in the making: its inputs, and the effects so far.
struct Turn<'a> {
    policy: &'a Policy,
    now: Tick,
    effects: Vec<Effect>,
}

/// A live process, as the phases that have one know it.
#[derive(Clone, Copy)]
struct Live {
    attempt: Attempt,
    pid: u32,
    started: Tick,
}

/// Why a machine with this to do afterwards was stopped.
const fn halt_reason(then: After) -> Reason {
    match then {
        After::Restart => Reason::AskedToRestart,
        After::Rest | After::Start => Reason::AskedToStop,
    }
}

/// An end that was seen.
#[derive(Clone, Copy)]
struct End {
    exit: Exit,
    at: Tick,
}

impl Turn<'_> {
    fn tell(&mut self, attempt: Attempt, from: State, to: Entered, at: Tick, reason: Reason) {
        self.effects.push(Effect::Transition(Change {
            attempt,
            from,
            to,
            at,
            reason,
        }));
    }

    /// Asks for the next attempt after `last`.
    fn spawn(&mut self, from: State, last: Attempt, strain: Strain, reason: Reason) -> Phase {
        let attempt = last.next();
        let entered = Entered::Starting {
            tries: strain.tries(),
        };
        self.tell(attempt, from, entered, self.now, reason.clone());
        self.effects.push(Effect::Spawn { attempt, reason });
        Phase::Spawning { attempt, strain }
    }

    /// Signals a live process to stop, without a word on the state.
    fn signal_stop(&mut self, attempt: Attempt, pid: u32, then: After) -> Phase {
        self.effects.push(Effect::Signal {
            attempt,
            signal: self.policy.stopsignal,
            scope: self.policy.stop_scope,
            reason: halt_reason(then),
        });
        Phase::Stopping {
            attempt,
            pid,
            signalled: self.now,
            until: self.now + self.policy.stopwaitsecs,
            killing: false,
            then,
        }
    }

    /// A stop is complete: rests, or starts anew with a clean record.
    fn stopped(
        &mut self,
        from: State,
        attempt: Attempt,
        ended: Option<(u32, Exit)>,
        at: Tick,
        then: After,
    ) -> Phase {
        let expects = |exit| self.policy.expects(exit);
        let ended = ended.map(|(pid, exit)| Ended {
            pid,
            exit,
            expected: expects(exit),
        });
        let reason = Reason::Stopped {
            exit: ended.map(|ended| ended.exit),
        };
        self.tell(attempt, from, Entered::Stopped { ended }, at, reason);
        self.rest(attempt, then)
    }

    /// What comes after STOPPED.
    fn rest(&mut self, attempt: Attempt, then: After) -> Phase {
        let reason = match then {
            After::Rest => return Phase::Stopped { attempt },
            After::Start => Reason::AskedToStart,
            After::Restart => Reason::AskedToRestart,
        };
        self.spawn(State::Stopped, attempt, Strain::default(), reason)
    }

    /// The process counts as up.
    fn came_up(&mut self, live: Live, strain: &mut Strain, at: Tick) {
        strain.came_up();
        let reason = Reason::StayedUp {
            startsecs: self.policy.startsecs,
        };
        let entered = Entered::Running { pid: live.pid };
        self.tell(live.attempt, State::Starting, entered, at, reason);
    }

    /// A start came to nothing.
    fn failed(&mut self, attempt: Attempt, cause: Failure, mut strain: Strain, at: Tick) -> Phase {
        strain.count_failure();
        let due = strain.due_after_failure(at, self.policy);
        let entered = Entered::Backoff {
            tries: strain.tries(),
        };
        self.tell(
            attempt,
            State::Starting,
            entered,
            at,
            Reason::Failed(cause.clone()),
        );
        match due {
            Ok(until) => Phase::Backoff {
                attempt,
                since: at,
                until,
                cause,
                strain,
            },
            Err(why) => self.give_up(State::Backoff, attempt, cause, why, at),
        }
    }

    /// A life that counted as up came to its end: rests, or starts anew by the policy.
    fn ended(&mut self, live: Live, mut strain: Strain, end: End) -> Phase {
        let Live {
            attempt,
            pid,
            started,
        } = live;
        let End { exit, at } = end;
        let expected = self.policy.expects(exit);
        let entered = Entered::Exited(Ended {
            pid,
            exit,
            expected,
        });
        self.tell(
            attempt,
            State::Running,
            entered,
            at,
            Reason::Ended { exit, expected },
        );
        if !self.policy.restarts_after(exit) {
            return Phase::Exited { attempt, exit };
        }
        let cause = Failure::Ended { exit, expected };
        match strain.due_after_life(
            Life {
                started,
                ended: at,
                expected,
            },
            self.policy,
        ) {
            Ok(due) if due <= at => self.spawn(State::Exited, attempt, strain, Reason::Restarted),
            Ok(until) => {
                let entered = Entered::Backoff {
                    tries: strain.tries(),
                };
                self.tell(
                    attempt,
                    State::Exited,
                    entered,
                    at,
                    Reason::Failed(cause.clone()),
                );
                Phase::Backoff {
                    attempt,
                    since: at,
                    until,
                    cause,
                    strain,
                }
            }
            Err(why) => self.give_up(State::Exited, attempt, cause, why, at),
        }
    }

    /// There will be no further attempt.
    fn give_up(
        &mut self,
        from: State,
        attempt: Attempt,
        cause: Failure,
        why: GaveUp,
        at: Tick,
    ) -> Phase {
        self.tell(attempt, from, Entered::Fatal, at, Reason::GaveUp(why));
        Phase::Fatal { attempt, cause }
    }
}
