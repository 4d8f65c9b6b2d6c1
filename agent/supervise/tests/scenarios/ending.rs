//! What follows when a process ends by itself.

use std::time::Duration;

use rsv_supervise::{Autorestart, Exit, Policy, RestartWindow, State, Tick};

use crate::story::{
    Row, START, STOP, TIME, assert_rests, code, gone, policy, running, tell, tell_from,
    unsignallable, up,
};

#[test]
fn a_crash_is_followed_by_a_spawn_in_the_same_step() {
    let story: &[Row] = &[(
        60_000,
        gone(
            1,
            Exit::Signal {
                signal: 11,
                core: true,
            },
            60_000,
        ),
        &[
            "RUNNING>EXITED 101 terminated by SIGSEGV (core dumped) unexpected",
            "EXITED>STARTING 0",
            "spawn 2",
        ],
    )];
    tell_from(running(), &policy(), story);
}

#[test]
fn an_expected_end_is_followed_by_nothing() {
    let end = tell_from(
        running(),
        &policy(),
        &[(
            60_000,
            gone(1, code(0), 60_000),
            &["RUNNING>EXITED 101 exit status 0 expected"],
        )],
    );
    assert_rests(&end, State::Exited);
}

#[test]
fn an_end_that_nobody_can_explain_is_not_expected() {
    let effects: Row = (
        60_000,
        gone(1, Exit::Unknown, 60_000),
        &[
            "RUNNING>EXITED 101 exit status unknown unexpected",
            "EXITED>STARTING 0",
            "spawn 2",
        ],
    );
    tell_from(running(), &policy(), &[effects]);
}

#[test]
fn autorestart_always_and_never_do_not_look_at_the_exit_code() {
    let always = Policy {
        autorestart: Autorestart::Always,
        ..policy()
    };
    let again: Row = (
        60_000,
        gone(1, code(0), 60_000),
        &[
            "RUNNING>EXITED 101 exit status 0 expected",
            "EXITED>STARTING 0",
            "spawn 2",
        ],
    );
    tell_from(running(), &always, &[again]);

    let never = Policy {
        autorestart: Autorestart::Never,
        ..policy()
    };
    let over: Row = (
        60_000,
        gone(1, code(9), 60_000),
        &["RUNNING>EXITED 101 exit status 9 unexpected"],
    );
    tell_from(running(), &never, &[over]);
}

#[test]
fn an_end_seen_late_is_judged_by_when_it_was() {
    let end = tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
            (1000, gone(1, code(1), 400), &["STARTING>BACKOFF 1"]),
        ],
    );
    assert_eq!(end.deadline(), Some(Tick::from_millis(1400)));
}

#[test]
fn what_cannot_be_signalled_is_unknown_until_it_ends_or_can() {
    let end = tell_from(
        running(),
        &policy(),
        &[
            (2000, STOP, &["RUNNING>STOPPING 101", "signal 15"]),
            (2000, unsignallable(1), &["STOPPING>UNKNOWN 101"]),
            (3000, START, &[]),
            (4000, STOP, &["UNKNOWN>STOPPING 101", "signal 15"]),
            (4000, unsignallable(1), &["STOPPING>UNKNOWN 101"]),
            (
                5000,
                gone(1, code(1), 5000),
                &["UNKNOWN>STOPPED 101 exit status 1"],
            ),
        ],
    );
    assert_rests(&end, State::Stopped);
}

#[test]
fn a_crash_loop_slower_than_startsecs_is_fatal_where_a_window_is_set() {
    let windowed = Policy {
        restart_window: RestartWindow::new(2, Duration::from_secs(60)),
        ..policy()
    };
    let end = tell_from(
        running(),
        &windowed,
        &[
            (
                5000,
                gone(1, code(1), 5000),
                &[
                    "RUNNING>EXITED 101 exit status 1 unexpected",
                    "EXITED>STARTING 0",
                    "spawn 2",
                ],
            ),
            (5000, up(2, 5000), &["spawned 2 pid 102"]),
            (6001, TIME, &["STARTING>RUNNING 102"]),
            (
                10_000,
                gone(2, code(1), 10_000),
                &[
                    "RUNNING>EXITED 102 exit status 1 unexpected",
                    "EXITED>STARTING 0",
                    "spawn 3",
                ],
            ),
            (10_000, up(3, 10_000), &["spawned 3 pid 103"]),
            (11_001, TIME, &["STARTING>RUNNING 103"]),
            (
                15_000,
                gone(3, code(1), 15_000),
                &[
                    "RUNNING>EXITED 103 exit status 1 unexpected",
                    "EXITED>FATAL",
                ],
            ),
        ],
    );
    assert_rests(&end, State::Fatal);
}

#[test]
fn restarts_that_are_older_than_the_window_are_forgiven() {
    let windowed = Policy {
        restart_window: RestartWindow::new(1, Duration::from_secs(60)),
        ..policy()
    };
    tell_from(
        running(),
        &windowed,
        &[
            (
                5000,
                gone(1, code(1), 5000),
                &[
                    "RUNNING>EXITED 101 exit status 1 unexpected",
                    "EXITED>STARTING 0",
                    "spawn 2",
                ],
            ),
            (5000, up(2, 5000), &["spawned 2 pid 102"]),
            (6001, TIME, &["STARTING>RUNNING 102"]),
            (
                65_000,
                gone(2, code(1), 65_000),
                &[
                    "RUNNING>EXITED 102 exit status 1 unexpected",
                    "EXITED>STARTING 0",
                    "spawn 3",
                ],
            ),
        ],
    );
}

#[test]
fn what_is_dated_in_the_future_happened_now() {
    let spawning = tell(&policy(), &[(0, START, &["STOPPED>STARTING 0", "spawn 1"])]);
    let starting = tell_from(
        spawning,
        &policy(),
        &[(10, up(1, 99_000), &["spawned 1 pid 101"])],
    );
    assert_eq!(
        starting
            .deadline()
            .map(|due| due.since(Tick::from_millis(10)).as_secs()),
        Some(1)
    );
    let backoff = tell_from(
        starting,
        &policy(),
        &[(20, gone(1, code(1), 99_000), &["STARTING>BACKOFF 1"])],
    );
    assert_eq!(backoff.deadline(), Some(Tick::from_millis(1020)));
}
