//! What is to be done about one program, or which ones are meant: the decisions of the hub that are not
//! the machine's own.
//!
//! Pure. Invariants: what the fleet holds is never started, by nobody; an action that is exact about its
//! targets touches nothing else.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rsv_proto::select::ProgramPattern;
use rsv_proto::wire::{self, action::Verb};
use rsv_supervise::{Ask, Autorestart, Event, Phase, Policy, Retries, State};

use super::handle::{ActOn, Key, Resolved, UnderWay};
use super::verdicts::Refused;
use crate::desired::Desired;

/// The signals that Linux has.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

/// What is to be done about a program that somebody acts on.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Nothing.
    Refuse(Refused),
    /// Its machine is asked; when that is done, the rest may be refused.
    Ask(Ask, Option<Refused>),
    /// A start is under way: whoever acts waits for what becomes of it.
    Join,
    /// Its process gets a signal.
    Signal(i32),
}

/// Decides about an action on a program in this phase. `obstacle` says why it cannot be started now.
pub fn deed(
    verb: Option<Verb>,
    under_way: UnderWay,
    phase: &Phase,
    obstacle: impl FnOnce() -> Option<Refused>,
) -> Deed {
    match verb {
        // As in Supervisor the command is looked at first, even if the program runs.
        Some(Verb::Start(_)) => match obstacle() {
            Some(refused) => Deed::Refuse(refused),
            None if under_way == UnderWay::Awaited && is_on_its_way(phase) => Deed::Join,
            None => Deed::Ask(Ask::Start, None),
        },
        Some(Verb::Stop(_)) => Deed::Ask(Ask::Stop, None),
        Some(Verb::Restart(_)) => restart(phase, obstacle()),
        Some(Verb::Signal(signal)) => signalled(phase, signal.signal),
        // What is not done to programs, and what is not known.
        Some(
            Verb::Update(_)
            | Verb::Reread(_)
            | Verb::Clear(_)
            | Verb::Add(_)
            | Verb::Remove(_)
            | Verb::Reload(_)
            | Verb::Shutdown(_),
        )
        | None => Deed::Refuse((
            wire::Refusal::Other,
            "the action is not known here".to_owned(),
        )),
    }
}

fn is_on_its_way(phase: &Phase) -> bool {
    matches!(phase.state(), State::Starting | State::Backoff)
}

/// A program that runs and cannot be started again is stopped all the same, as a stop and a start would
/// do it.
fn restart(phase: &Phase, obstacle: Option<Refused>) -> Deed {
    match obstacle {
        None => Deed::Ask(Ask::Restart, None),
        Some(refused) if phase.is_at_rest() => Deed::Refuse(refused),
        Some(refused) => Deed::Ask(Ask::Stop, Some(refused)),
    }
}

fn signalled(phase: &Phase, signal: i32) -> Deed {
    let refusal = if !SIGNALS.contains(&signal) {
        wire::Refusal::BadSignal
    } else if !phase.state().is_signallable() || phase.pid().is_none() {
        wire::Refusal::NotRunning
    } else {
        return Deed::Signal(signal);
    };
    Deed::Refuse((refusal, String::new()))
}

/// The rules for a machine now: while everything is being stopped nothing is started again, and what is
/// held is not started at all.
pub fn rules(policy: &Policy, may_start: bool) -> Cow<'_, Policy> {
    if may_start {
        return Cow::Borrowed(policy);
    }
    Cow::Owned(Policy {
        autostart: false,
        autorestart: Autorestart::Never,
        startretries: Retries::Limit(0),
        ..policy.clone()
    })
}

/// How a program is started that nobody has asked for, if it is to be: it is new, or may run again.
pub fn first_start(policy: &Policy, phase: &Phase) -> Option<Event> {
    let event = match *phase == Phase::default() {
        true => Event::Created,
        false => Event::Asked(Ask::Start),
    };
    (policy.autostart && phase.is_at_rest()).then_some(event)
}

/// How a program comes up that the fleet lets go, if it is to. One that is still on its way down is started
/// when it is there: nothing else would do it then.
pub fn let_go(policy: &Policy, phase: &Phase) -> Option<Event> {
    let is_going_down = policy.autostart && phase.state() == State::Stopping;
    let afterwards = is_going_down.then_some(Event::Asked(Ask::Start));
    first_start(policy, phase).or(afterwards)
}

/// How a program makes room for another one of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// Nothing runs: the other one takes its place at once.
    AtRest,
    /// It waits for its next try: it is stopped, and the other one is started.
    InBackoff,
    /// It is up: it is restarted by its former rules, and what comes is the other one.
    Up,
    /// It is being stopped: what is started next is the other one.
    Ending,
}

/// Decides about a program in this phase that is to be another one.
pub fn exchange(phase: &Phase) -> Exchange {
    match phase {
        phase if phase.is_at_rest() => Exchange::AtRest,
        Phase::Backoff { .. } => Exchange::InBackoff,
        Phase::Unknown { .. } => Exchange::Up,
        phase if phase.state().is_running() => Exchange::Up,
        _ => Exchange::Ending,
    }
}

/// The order in which programs follow a newer word of the fleet: those that are held go down in the
/// reverse order of starting, as at any stop; then the others may come up.
pub fn hold_order(order: &[Key], desired: &Desired) -> Vec<Key> {
    let is_held = |key: &&Key| desired.hold(key).is_some();
    let (held, free): (Vec<&Key>, Vec<&Key>) = order.iter().partition(is_held);
    held.into_iter().rev().chain(free).cloned().collect()
}

/// The keys that patterns name, in the order of the patterns, then of starting, which is that of `order`.
pub fn resolve(order: &[Key], patterns: &[String]) -> Resolved {
    let mut resolved = Resolved::default();
    let mut seen = BTreeSet::new();
    for text in patterns {
        let pattern = ProgramPattern::parse(text);
        let named = order
            .iter()
            .filter(|key| pattern.matches(&key.group, &key.name));
        let mut is_any = pattern == ProgramPattern::All;
        for key in named {
            is_any = true;
            if seen.insert(key) {
                resolved.keys.push(key.clone());
            }
        }
        if !is_any {
            let refusal = refusal_of(&pattern).into();
            let pattern = text.clone();
            resolved
                .unmatched
                .push(wire::UnmatchedProgram { pattern, refusal });
        }
    }
    resolved
}

/// What an action names. One that is exact about it was decided on what was known of this host: what has
/// come since is left alone, and what is gone is named.
pub fn resolve_exactly(order: &[Key], request: &ActOn) -> Resolved {
    let mut resolved = resolve(order, &request.programs);
    if request.exactly.is_empty() {
        return resolved;
    }
    let mut gone: BTreeSet<String> = request.exactly.iter().cloned().collect();
    resolved.keys.retain(|key| gone.remove(&key.to_string()));
    let unmatched = gone.into_iter().map(|pattern| wire::UnmatchedProgram {
        pattern,
        refusal: wire::Refusal::NoSuchProcess.into(),
    });
    resolved.unmatched = unmatched.collect();
    resolved
}

fn refusal_of(pattern: &ProgramPattern) -> wire::Refusal {
    match pattern {
        ProgramPattern::Group(_) => wire::Refusal::NoSuchGroup,
        ProgramPattern::All | ProgramPattern::Exact { .. } | ProgramPattern::Glob(_) => {
            wire::Refusal::NoSuchProcess
        }
    }
}

#[cfg(test)]
mod tests {
    use rsv_supervise::{Attempt, Strain, Tick, step};

    use super::*;

    fn running() -> Phase {
        Phase::Running {
            attempt: Attempt::new(1),
            pid: 7,
            started: Tick::ZERO,
            strain: Strain::default(),
        }
    }

    #[test]
    fn what_cannot_be_started_is_refused_or_stopped_first() {
        let why = || Some((wire::Refusal::SpawnError, "held".to_owned()));
        let refuse = || Deed::Refuse(why().unwrap());
        let start = Verb::Start(wire::StartAction {});
        let restart = Verb::Restart(wire::RestartAction {});
        let stop = Verb::Stop(wire::StopAction {});
        for (verb, phase, is_held, expected) in [
            (start, running(), false, Deed::Ask(Ask::Start, None)),
            (start, running(), true, refuse()),
            (restart, running(), false, Deed::Ask(Ask::Restart, None)),
            (restart, running(), true, Deed::Ask(Ask::Stop, why())),
            (restart, Phase::default(), true, refuse()),
            (stop, running(), true, Deed::Ask(Ask::Stop, None)),
        ] {
            let held = || why().filter(|_| is_held);
            let found = deed(Some(verb), UnderWay::Told, &phase, held);
            assert_eq!(found, expected, "{verb:?} {phase:?} {is_held}");
        }
    }

    #[test]
    fn a_start_of_what_is_on_its_way_up_waits_for_it_on_the_fleet_alone() {
        let starting = || {
            let (phase, _) = step(
                Phase::default(),
                &Policy::default(),
                Tick::ZERO,
                Event::Asked(Ask::Start),
            );
            phase
        };
        let start = Some(Verb::Start(wire::StartAction {}));
        let ask = || Deed::Ask(Ask::Start, None);
        for (under_way, phase, expected) in [
            (UnderWay::Told, starting(), ask()),
            (UnderWay::Awaited, starting(), Deed::Join),
            (UnderWay::Awaited, running(), ask()),
            (UnderWay::Awaited, Phase::default(), ask()),
        ] {
            let found = deed(start, under_way, &phase, || None);
            assert_eq!(found, expected, "{under_way:?} {phase:?}");
        }
    }

    #[test]
    fn what_cannot_be_signalled_is_refused() {
        for (signal, phase, expected) in [
            (10, running(), Ok(10)),
            (99, running(), Err(wire::Refusal::BadSignal)),
            (10, Phase::default(), Err(wire::Refusal::NotRunning)),
        ] {
            let verb = Verb::Signal(wire::SignalAction { signal });
            let expected = match expected {
                Ok(signal) => Deed::Signal(signal),
                Err(refusal) => Deed::Refuse((refusal, String::new())),
            };
            assert_eq!(deed(Some(verb), UnderWay::Told, &phase, || None), expected);
        }
    }

    #[test]
    fn an_exact_action_leaves_others_alone_and_names_what_is_gone() {
        let key = |name: &str| Key {
            group: name.into(),
            name: name.into(),
        };
        let request = ActOn {
            programs: vec!["all".into()],
            exactly: vec!["a".into(), "gone".into()],
            ..ActOn::default()
        };
        let found = resolve_exactly(&[key("a"), key("new")], &request);
        assert_eq!(found.keys, [key("a")]);
        assert_eq!(found.unmatched[0].pattern, "gone");
    }
}
