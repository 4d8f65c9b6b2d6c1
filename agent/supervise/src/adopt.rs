//! Resuming a machine from its note and from what is found of its process.
//!
//! The note says where the machine stood when its driver died; whoever holds the processes says
//! what is so now. Where the note is older than the facts (it was lost, or not yet written), the
//! facts win. What happened meanwhile is taken in as if it had been seen when it happened.
//!
//! The driver hands over the note and the effects of one step together, so that a phase on
//! record means that its signals were sent. A spawn is the exception that can be told apart, and
//! is asked for again under its old number.

use crate::{
    Attempt, Change, Effect, Entered, Event, Exit, Observation, Phase, Policy, Reason, State,
    Strain, Tick, step,
};

/// What is found of a machine's process by whoever holds the processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: no process, and no end of one that was not taken note of. To be said only when no
    /// request of the earlier driver can be under way any more.
    Nothing,
    /// A live process.
    Alive {
        /// The attempt it is.
        attempt: Attempt,
        /// The process.
        pid: u32,
        /// When it came to be.
        started: Tick,
    },
    /// A process that has ended.
    Ended {
        /// The attempt it was.
        attempt: Attempt,
        /// The process that was.
        pid: u32,
        /// When it came to be.
        started: Tick,
        /// How it ended.
        exit: Exit,
        /// When it ended.
        at: Tick,
    },
    /// An attempt that came to nothing.
    Refused {
        /// The attempt.
        attempt: Attempt,
        /// The spawn error, in the words shown to people.
        why: String,
    },
}

impl Found {
    /// What was found, unless it is the end of an attempt that the note is past already: then
    /// nothing is found of the attempt that the note speaks of.
    fn if_news_to(self, note: &Phase) -> Self {
        match self {
            Self::Ended { attempt, .. } | Self::Refused { attempt, .. }
                if attempt < note.attempt() =>
            {
                Self::Nothing
            }
            Self::Nothing | Self::Alive { .. } | Self::Ended { .. } | Self::Refused { .. } => self,
        }
    }
}

/// Puts a machine back where it stood, and takes in what happened since.
///
/// Without a note and without a process the machine is new, and autostarts by the policy. A
/// deadline that has passed meanwhile is not acted upon here: it is the phase's deadline still,
/// and due at once.
pub fn adopt(
    note: Option<Phase>,
    found: Found,
    policy: &Policy,
    now: Tick,
) -> (Phase, Vec<Effect>) {
    if note.is_none() && found == Found::Nothing {
        return step(Phase::default(), policy, now, Event::Created);
    }
    let note = note.unwrap_or_default();
    let found = found.if_news_to(&note);
    let (phase, mut effects) = believe(note, &found, now);
    let (phase, more) = step(phase, policy, now, Event::PolicyChanged);
    effects.extend(more);
    let (phase, more) = take_in(phase, found, policy, now);
    effects.extend(more);
    (phase, effects)
}

/// The phase in which what was found makes sense: the note's own, unless it is behind the facts.
fn believe(note: Phase, found: &Found, now: Tick) -> (Phase, Vec<Effect>) {
    let (attempt, is_alive) = match found {
        Found::Nothing => return (note, Vec::new()),
        Found::Alive { attempt, .. } => (*attempt, true),
        Found::Ended { attempt, .. } | Found::Refused { attempt, .. } => (*attempt, false),
    };
    let is_behind = attempt > note.attempt();
    // A live process must be somebody's, even if the note speaks of it as gone.
    let is_orphan = is_alive && (attempt != note.attempt() || !has_process(&note));
    if !is_behind && !is_orphan {
        return (note, Vec::new());
    }
    let from = note.state();
    let strain = strain_of(note);
    let to = Entered::Starting {
        tries: strain.tries(),
    };
    let change = Change {
        attempt,
        from,
        to,
        at: now,
        reason: Reason::Resumed,
    };
    let told = (from != State::Starting).then_some(Effect::Transition(change));
    (
        Phase::Spawning { attempt, strain },
        told.into_iter().collect(),
    )
}

fn has_process(phase: &Phase) -> bool {
    phase.awaits_spawn() || phase.pid().is_some()
}

fn strain_of(phase: Phase) -> Strain {
    match phase {
        Phase::Spawning { strain, .. }
        | Phase::Starting { strain, .. }
        | Phase::Running { strain, .. }
        | Phase::Backoff { strain, .. } => strain,
        Phase::Stopped { .. }
        | Phase::Aborting { .. }
        | Phase::Stopping { .. }
        | Phase::Exited { .. }
        | Phase::Fatal { .. }
        | Phase::Unknown { .. } => Strain::default(),
    }
}

/// Feeds the machine what it has not seen yet.
fn take_in(phase: Phase, found: Found, policy: &Policy, now: Tick) -> (Phase, Vec<Effect>) {
    match found {
        Found::Nothing => vanished(phase, policy, now),
        Found::Alive {
            attempt,
            pid,
            started,
        } => observe(phase, policy, now, [spawned(attempt, pid, started)]),
        Found::Ended {
            attempt,
            pid,
            started,
            exit,
            at,
        } => {
            let exited = Observation::Exited { attempt, exit, at };
            observe(phase, policy, now, [spawned(attempt, pid, started), exited])
        }
        Found::Refused { attempt, why } => observe(
            phase,
            policy,
            now,
            [Observation::SpawnRefused { attempt, why }],
        ),
    }
}

/// Nothing is known of the attempt: it was never begun, or its end was lost.
fn vanished(phase: Phase, policy: &Policy, now: Tick) -> (Phase, Vec<Effect>) {
    let attempt = phase.attempt();
    match phase {
        Phase::Spawning { .. } => (
            phase,
            vec![Effect::Spawn {
                attempt,
                reason: Reason::Resumed,
            }],
        ),
        Phase::Aborting { .. } => {
            let why = "the request was lost".to_owned();
            observe(
                phase,
                policy,
                now,
                [Observation::SpawnRefused { attempt, why }],
            )
        }
        Phase::Starting { .. }
        | Phase::Running { .. }
        | Phase::Stopping { .. }
        | Phase::Unknown { .. } => {
            let exit = Exit::Unknown;
            observe(
                phase,
                policy,
                now,
                [Observation::Exited {
                    attempt,
                    exit,
                    at: now,
                }],
            )
        }
        Phase::Stopped { .. }
        | Phase::Backoff { .. }
        | Phase::Exited { .. }
        | Phase::Fatal { .. } => (phase, Vec::new()),
    }
}

fn spawned(attempt: Attempt, pid: u32, at: Tick) -> Observation {
    Observation::Spawned { attempt, pid, at }
}

fn observe<const N: usize>(
    mut phase: Phase,
    policy: &Policy,
    now: Tick,
    observations: [Observation; N],
) -> (Phase, Vec<Effect>) {
    let mut effects = Vec::new();
    for observation in observations {
        let (next, more) = step(phase, policy, now, Event::Observed(observation));
        phase = next;
        effects.extend(more);
    }
    (phase, effects)
}
