//! Stops and restarts that somebody asks for.

use std::time::Duration;

use rsv_supervise::{Exit, Policy, Scope, State};

use crate::story::{
    RESTART, Row, START, STOP, TERM, TIME, assert_rests, code, gone, policy, refused, running,
    tell, tell_from, up,
};

#[test]
fn a_stop_that_does_not_help_is_followed_by_kill_and_kill_again() {
    let end = tell_from(
        running(),
        &policy(),
        &[
            (2000, STOP, &["RUNNING>STOPPING 101", "signal 15"]),
            (11_999, TIME, &[]),
            (12_000, TIME, &["signal 9 group"]),
            (22_000, TIME, &["signal 9 group"]),
            (
                22_100,
                gone(
                    1,
                    Exit::Signal {
                        signal: 9,
                        core: false,
                    },
                    22_100,
                ),
                &["STOPPING>STOPPED 101 terminated by SIGKILL"],
            ),
        ],
    );
    assert_rests(&end, State::Stopped);
}

#[test]
fn without_patience_kill_comes_at_once_but_is_not_repeated_at_once() {
    let impatient = Policy {
        stopwaitsecs: Duration::ZERO,
        ..policy()
    };
    tell_from(
        running(),
        &impatient,
        &[
            (2000, STOP, &["RUNNING>STOPPING 101", "signal 15"]),
            (2000, TIME, &["signal 9 group"]),
            (2000, TIME, &[]),
            (3000, TIME, &["signal 9 group"]),
        ],
    );
}

#[test]
fn the_scopes_and_the_signal_are_those_of_the_policy() {
    let wide = Policy {
        stopsignal: 3,
        stop_scope: Scope::Group,
        kill_scope: Scope::Process,
        ..policy()
    };
    tell_from(
        running(),
        &wide,
        &[
            (2000, STOP, &["RUNNING>STOPPING 101", "signal 3 group"]),
            (12_000, TIME, &["signal 9"]),
        ],
    );
}

#[test]
fn a_second_stop_does_not_signal_again() {
    tell_from(
        running(),
        &policy(),
        &[
            (2000, STOP, &["RUNNING>STOPPING 101", "signal 15"]),
            (2500, STOP, &[]),
        ],
    );
}

#[test]
fn a_crash_while_stopping_is_a_stop() {
    let end = tell_from(
        running(),
        &policy(),
        &[
            (2000, STOP, &["RUNNING>STOPPING 101", "signal 15"]),
            (
                2100,
                gone(1, code(70), 2100),
                &["STOPPING>STOPPED 101 exit status 70"],
            ),
        ],
    );
    assert_rests(&end, State::Stopped);
}

#[test]
fn a_stop_during_backoff_cancels_the_restart_and_forgets_the_failures() {
    tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1"]),
            (1000, TIME, &["BACKOFF>STARTING 1", "spawn 2"]),
            (1000, refused(2), &["STARTING>BACKOFF 2"]),
            (1500, STOP, &["BACKOFF>STOPPED"]),
            (9000, TIME, &[]),
            (9500, START, &["STOPPED>STARTING 0", "spawn 3"]),
            (9500, refused(3), &["STARTING>BACKOFF 1"]),
        ],
    );
}

#[test]
fn a_start_of_a_stopping_process_happens_after_the_stop() {
    tell_from(
        running(),
        &policy(),
        &[
            (2000, STOP, &["RUNNING>STOPPING 101", "signal 15"]),
            (2100, START, &[]),
            (
                2200,
                gone(1, TERM, 2200),
                &[
                    "STOPPING>STOPPED 101 terminated by SIGTERM",
                    "STOPPED>STARTING 0",
                    "spawn 2",
                ],
            ),
        ],
    );
}

#[test]
fn a_stop_takes_back_the_start_that_was_to_follow() {
    let end = tell_from(
        running(),
        &policy(),
        &[
            (2000, RESTART, &["RUNNING>STOPPING 101", "signal 15"]),
            (2100, STOP, &[]),
            (
                2200,
                gone(1, TERM, 2200),
                &["STOPPING>STOPPED 101 terminated by SIGTERM"],
            ),
        ],
    );
    assert_rests(&end, State::Stopped);
}

#[test]
fn a_restart_stops_and_starts_without_a_pause() {
    tell_from(
        running(),
        &policy(),
        &[
            (2000, RESTART, &["RUNNING>STOPPING 101", "signal 15"]),
            (
                2200,
                gone(1, TERM, 2200),
                &[
                    "STOPPING>STOPPED 101 terminated by SIGTERM",
                    "STOPPED>STARTING 0",
                    "spawn 2",
                ],
            ),
        ],
    );
}

#[test]
fn a_restart_of_what_does_not_run_is_a_start() {
    tell(
        &policy(),
        &[(0, RESTART, &["STOPPED>STARTING 0", "spawn 1"])],
    );
    tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1"]),
            (
                500,
                RESTART,
                &["BACKOFF>STOPPED", "STOPPED>STARTING 0", "spawn 2"],
            ),
        ],
    );
}

#[test]
fn a_stop_before_the_spawn_is_answered_takes_effect_with_the_answer() {
    let begun: Row = (0, START, &["STOPPED>STARTING 0", "spawn 1"]);
    let end = tell(
        &policy(),
        &[
            begun.clone(),
            (1, STOP, &["STARTING>STOPPING"]),
            (2, up(1, 2), &["spawned 1 pid 101", "signal 15"]),
            (
                9,
                gone(1, TERM, 9),
                &["STOPPING>STOPPED 101 terminated by SIGTERM"],
            ),
        ],
    );
    assert_rests(&end, State::Stopped);
    let end = tell(
        &policy(),
        &[
            begun.clone(),
            (1, STOP, &["STARTING>STOPPING"]),
            (2, refused(1), &["STOPPING>STOPPED"]),
        ],
    );
    assert_rests(&end, State::Stopped);
    tell(
        &policy(),
        &[
            begun,
            (1, RESTART, &["STARTING>STOPPING"]),
            (
                2,
                refused(1),
                &["STOPPING>STOPPED", "STOPPED>STARTING 0", "spawn 2"],
            ),
        ],
    );
}

#[test]
fn a_start_while_a_spawn_is_aborted_happens_after_the_stop() {
    tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (1, STOP, &["STARTING>STOPPING"]),
            (2, START, &[]),
            (
                3,
                refused(1),
                &["STOPPING>STOPPED", "STOPPED>STARTING 0", "spawn 2"],
            ),
        ],
    );
}
