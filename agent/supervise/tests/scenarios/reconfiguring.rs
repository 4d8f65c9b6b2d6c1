//! What a changed policy does to a machine in the middle of its life.

use std::time::Duration;

use rsv_supervise::{Attempt, Autorestart, Event, Phase, Policy, RestartWindow, State, Tick, step};

use crate::story::{
    Row, START, STOP, TIME, assert_rests, code, done_twice, gone, jobs, policy, refused, running,
    tell, tell_from, up, words,
};

#[test]
fn a_changed_policy_moves_the_deadlines_already_set() {
    let patient = Policy {
        stopwaitsecs: Duration::from_secs(20),
        ..policy()
    };
    let stopping = tell_from(
        running(),
        &policy(),
        &[(2000, STOP, &["RUNNING>STOPPING 101", "signal 15"])],
    );
    let end = tell_from(stopping, &patient, &[(3000, Event::PolicyChanged, &[])]);
    assert_eq!(end.deadline(), Some(Tick::from_millis(22_000)));

    let eager = Policy {
        startsecs: Duration::ZERO,
        ..policy()
    };
    let starting = tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
        ],
    );
    let changed: &[Row] = &[
        (5, Event::PolicyChanged, &[]),
        (5, TIME, &["STARTING>RUNNING 101"]),
    ];
    let end = tell_from(starting, &eager, &changed[..1]);
    let (end, effects) = step(end, &eager, Tick::from_millis(5), TIME);
    assert_eq!(effects.iter().map(words).collect::<Vec<_>>(), changed[1].2);
    assert_eq!(end.state(), State::Running);
}

#[test]
fn a_changed_policy_starts_nothing_that_rests() {
    let always = Policy {
        autorestart: Autorestart::Always,
        ..policy()
    };
    let exited = Phase::Exited {
        attempt: Attempt::new(1),
        exit: code(0),
    };
    let end = tell_from(exited, &always, &[(9000, Event::PolicyChanged, &[])]);
    assert_rests(&end, State::Exited);
}

#[test]
fn a_lower_cap_shortens_the_delay_that_is_running() {
    let capped = Policy {
        restart_backoff_max: Some(Duration::from_millis(300)),
        ..jobs()
    };
    let end = tell_from(
        done_twice(&jobs()),
        &capped,
        &[(300, Event::PolicyChanged, &[])],
    );
    assert_eq!(end.deadline(), Some(Tick::from_millis(500)));

    let failed = tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1"]),
        ],
    );
    let end = tell_from(failed, &capped, &[(100, Event::PolicyChanged, &[])]);
    assert_eq!(end.deadline(), Some(Tick::from_millis(300)));
}

#[test]
fn a_policy_that_no_longer_restarts_ends_the_pacing_but_not_the_retries() {
    let once = Policy {
        autorestart: Autorestart::Never,
        ..jobs()
    };
    let end = tell_from(
        done_twice(&jobs()),
        &once,
        &[(300, Event::PolicyChanged, &["BACKOFF>STOPPED"])],
    );
    assert_rests(&end, State::Stopped);

    let failed = tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1"]),
        ],
    );
    tell_from(
        failed,
        &once,
        &[
            (100, Event::PolicyChanged, &[]),
            (1000, TIME, &["BACKOFF>STARTING 1", "spawn 2"]),
        ],
    );
}

#[test]
fn restarts_made_while_no_window_was_set_do_not_count() {
    let windowed = Policy {
        restart_window: RestartWindow::new(1, Duration::from_secs(600)),
        ..policy()
    };
    let crash: Row = (
        5000,
        gone(1, code(1), 5000),
        &[
            "RUNNING>EXITED 101 exit status 1 unexpected",
            "EXITED>STARTING 0",
            "spawn 2",
        ],
    );
    let up_again: [Row; 2] = [
        (5000, up(2, 5000), &["spawned 2 pid 102"]),
        (6001, TIME, &["STARTING>RUNNING 102"]),
    ];
    let second: Row = (
        9000,
        gone(2, code(1), 9000),
        &[
            "RUNNING>EXITED 102 exit status 1 unexpected",
            "EXITED>STARTING 0",
            "spawn 3",
        ],
    );
    let third_up: [Row; 2] = [
        (9000, up(3, 9000), &["spawned 3 pid 103"]),
        (10_001, TIME, &["STARTING>RUNNING 103"]),
    ];
    let third: Row = (
        20_000,
        gone(3, code(1), 20_000),
        &[
            "RUNNING>EXITED 103 exit status 1 unexpected",
            "EXITED>STARTING 0",
            "spawn 4",
        ],
    );
    let phase = tell_from(running(), &windowed, &[crash]);
    let phase = tell_from(phase, &windowed, &up_again);
    let phase = tell_from(phase, &policy(), &[second]);
    let phase = tell_from(phase, &policy(), &third_up);
    tell_from(phase, &windowed, &[third]);
}
