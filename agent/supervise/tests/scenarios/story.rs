//! How a story is told.
//!
//! A row is a moment in milliseconds, an event, and the effects in short words. A row may not
//! step over a deadline, so that each story shows every moment at which the driver wakes.

use std::time::Duration;

use rsv_supervise::{
    Ask, Attempt, Autorestart, Change, Effect, Entered, Event, Exit, Observation, Phase, Policy,
    Scope, State, Tick, step,
};

pub(crate) type Row = (u64, Event, &'static [&'static str]);

pub(crate) const TERM: Exit = Exit::Signal {
    signal: 15,
    core: false,
};
pub(crate) const START: Event = Event::Asked(Ask::Start);
pub(crate) const STOP: Event = Event::Asked(Ask::Stop);
pub(crate) const RESTART: Event = Event::Asked(Ask::Restart);
pub(crate) const TIME: Event = Event::Elapsed;

pub(crate) fn up(attempt: u64, ms: u64) -> Event {
    Event::Observed(Observation::Spawned {
        attempt: Attempt::new(attempt),
        pid: pid(attempt),
        at: Tick::from_millis(ms),
    })
}

pub(crate) fn refused(attempt: u64) -> Event {
    let why = "can't find command 'x'".to_owned();
    Event::Observed(Observation::SpawnRefused {
        attempt: Attempt::new(attempt),
        why,
    })
}

pub(crate) fn gone(attempt: u64, exit: Exit, ms: u64) -> Event {
    Event::Observed(Observation::Exited {
        attempt: Attempt::new(attempt),
        exit,
        at: Tick::from_millis(ms),
    })
}

pub(crate) fn unsignallable(attempt: u64) -> Event {
    let why = "EPERM".to_owned();
    Event::Observed(Observation::SignalFailed {
        attempt: Attempt::new(attempt),
        why,
    })
}

pub(crate) fn pid(attempt: u64) -> u32 {
    u32::try_from(100 + attempt).expect("stories are short")
}

pub(crate) fn code(code: u8) -> Exit {
    Exit::Code(code)
}

pub(crate) fn policy() -> Policy {
    Policy::default()
}

pub(crate) fn words(effect: &Effect) -> String {
    match effect {
        Effect::Spawn { attempt, .. } => format!("spawn {attempt}"),
        Effect::Spawned { attempt, pid, .. } => format!("spawned {attempt} pid {pid}"),
        Effect::Signal {
            signal,
            scope: Scope::Process,
            ..
        } => format!("signal {signal}"),
        Effect::Signal {
            signal,
            scope: Scope::Group,
            ..
        } => format!("signal {signal} group"),
        Effect::Transition(change) => change_words(change),
    }
}

pub(crate) fn change_words(change: &Change) -> String {
    let data = match &change.to {
        Entered::Stopped { ended: Some(ended) } => format!(" {} {}", ended.pid, ended.exit),
        Entered::Starting { tries } | Entered::Backoff { tries } => format!(" {tries}"),
        Entered::Running { pid } | Entered::Unknown { pid } => format!(" {pid}"),
        Entered::Stopping { pid: Some(pid) } => format!(" {pid}"),
        Entered::Exited(ended) => {
            let word = if ended.expected {
                "expected"
            } else {
                "unexpected"
            };
            format!(" {} {} {word}", ended.pid, ended.exit)
        }
        Entered::Stopped { ended: None } | Entered::Stopping { pid: None } | Entered::Fatal => {
            String::new()
        }
    };
    format!("{}>{}{data}", change.from, change.to.state())
}

/// Tells a story and returns the phase at its end.
pub(crate) fn tell(policy: &Policy, story: &[Row]) -> Phase {
    tell_from(Phase::default(), policy, story)
}

pub(crate) fn tell_from(mut phase: Phase, policy: &Policy, story: &[Row]) -> Phase {
    for (ms, event, expected) in story {
        let now = Tick::from_millis(*ms);
        let late = phase
            .deadline()
            .map_or(Duration::ZERO, |due| now.since(due));
        assert!(
            late <= Duration::from_millis(1),
            "the row at {ms} ms steps over a deadline"
        );
        let state = phase.state();
        let (next, effects) = step(phase, policy, now, event.clone());
        let told: Vec<String> = effects.iter().map(words).collect();
        assert_eq!(told, *expected, "in {state} at {ms} ms after {event:?}");
        phase = next;
    }
    phase
}

pub(crate) fn assert_rests(phase: &Phase, state: State) {
    assert_eq!(phase.state(), state);
    assert_eq!(phase.deadline(), None);
    assert!(phase.is_at_rest(), "{phase:?}");
}

/// A process that has been running since a long time.
pub(crate) fn running() -> Phase {
    tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
            (1001, TIME, &["STARTING>RUNNING 101"]),
        ],
    )
}

pub(crate) const JOB_DONE: &str = "RUNNING>EXITED 101 exit status 0 expected";

/// A job of the given policy that was done twice, each time in a short life; the second life was
/// from 100 ms to 200 ms.
pub(crate) fn done_twice(jobs: &Policy) -> Phase {
    let pause: &[Row] = &[
        (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
        (0, up(1, 0), &["spawned 1 pid 101", "STARTING>RUNNING 101"]),
        (
            100,
            gone(1, code(0), 100),
            &[JOB_DONE, "EXITED>STARTING 0", "spawn 2"],
        ),
        (
            100,
            up(2, 100),
            &["spawned 2 pid 102", "STARTING>RUNNING 102"],
        ),
        (
            200,
            gone(2, code(0), 200),
            &[
                "RUNNING>EXITED 102 exit status 0 expected",
                "EXITED>BACKOFF 0",
            ],
        ),
    ];
    tell(jobs, pause)
}

pub(crate) fn jobs() -> Policy {
    Policy {
        startsecs: Duration::ZERO,
        autorestart: Autorestart::Always,
        ..policy()
    }
}
