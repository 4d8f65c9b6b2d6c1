//! How a process comes to run, or is given up.

use std::time::Duration;

use rsv_supervise::{Attempt, Effect, Event, Failure, Phase, Policy, Retries, State, Tick, step};

use crate::story::{
    RESTART, START, STOP, TERM, TIME, assert_rests, code, gone, policy, refused, running, tell,
    tell_from, unsignallable, up,
};

#[test]
fn a_start_becomes_running_after_startsecs_and_a_stop_ends_it() {
    let end = tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
            (1000, TIME, &[]),
            (1001, TIME, &["STARTING>RUNNING 101"]),
            (5000, STOP, &["RUNNING>STOPPING 101", "signal 15"]),
            (
                5200,
                gone(1, TERM, 5200),
                &["STOPPING>STOPPED 101 terminated by SIGTERM"],
            ),
        ],
    );
    assert_rests(&end, State::Stopped);
}

#[test]
fn a_new_machine_autostarts_unless_told_otherwise() {
    tell(
        &policy(),
        &[(0, Event::Created, &["STOPPED>STARTING 0", "spawn 1"])],
    );
    let manual = Policy {
        autostart: false,
        ..policy()
    };
    let end = tell(&manual, &[(0, Event::Created, &[])]);
    assert_rests(&end, State::Stopped);
}

#[test]
fn created_starts_nothing_that_was_started_before() {
    let end = tell_from(
        Phase::Stopped {
            attempt: Attempt::new(3),
        },
        &policy(),
        &[(0, Event::Created, &[])],
    );
    assert_rests(&end, State::Stopped);
}

#[test]
fn with_startsecs_zero_it_runs_as_soon_as_it_exists() {
    let eager = Policy {
        startsecs: Duration::ZERO,
        ..policy()
    };
    tell(
        &eager,
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (3, up(1, 2), &["spawned 1 pid 101", "STARTING>RUNNING 101"]),
        ],
    );
}

#[test]
fn quick_ends_back_off_by_1_2_3_seconds_and_end_in_fatal() {
    let twice = Policy {
        startretries: Retries::Limit(2),
        ..policy()
    };
    let end = tell(
        &twice,
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
            (100, gone(1, code(0), 100), &["STARTING>BACKOFF 1"]),
            (1099, TIME, &[]),
            (1100, TIME, &["BACKOFF>STARTING 1", "spawn 2"]),
            (1100, up(2, 1100), &["spawned 2 pid 102"]),
            (1200, gone(2, code(1), 1200), &["STARTING>BACKOFF 2"]),
            (3199, TIME, &[]),
            (3200, TIME, &["BACKOFF>STARTING 2", "spawn 3"]),
            (3200, up(3, 3200), &["spawned 3 pid 103"]),
            (
                3300,
                gone(3, code(1), 3300),
                &["STARTING>BACKOFF 3", "BACKOFF>FATAL"],
            ),
        ],
    );
    assert_rests(&end, State::Fatal);
    let error = end.failure().map(Failure::spawn_error);
    assert_eq!(
        error.as_deref(),
        Some("Exited too quickly (process log may have details)")
    );
}

#[test]
fn a_refused_spawn_backs_off_with_its_own_words() {
    let once = Policy {
        startretries: Retries::Limit(1),
        ..policy()
    };
    let end = tell(
        &once,
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1"]),
            (1000, TIME, &["BACKOFF>STARTING 1", "spawn 2"]),
            (1001, refused(2), &["STARTING>BACKOFF 2", "BACKOFF>FATAL"]),
        ],
    );
    let error = end.failure().map(Failure::spawn_error);
    assert_eq!(error.as_deref(), Some("can't find command 'x'"));
}

#[test]
fn with_no_retries_the_first_failure_is_fatal() {
    let none = Policy {
        startretries: Retries::Limit(0),
        ..policy()
    };
    let end = tell(
        &none,
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1", "BACKOFF>FATAL"]),
        ],
    );
    assert_rests(&end, State::Fatal);
}

#[test]
fn a_start_out_of_fatal_has_all_its_tries() {
    let none = Policy {
        startretries: Retries::Limit(0),
        ..policy()
    };
    tell(
        &none,
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1", "BACKOFF>FATAL"]),
            (9000, STOP, &[]),
            (9000, START, &["FATAL>STARTING 0", "spawn 2"]),
        ],
    );
}

#[test]
fn the_backoff_is_capped_where_a_cap_is_set() {
    let capped = Policy {
        startretries: Retries::Unlimited,
        restart_backoff_max: Some(Duration::from_millis(1500)),
        ..policy()
    };
    tell(
        &capped,
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1"]),
            (1000, TIME, &["BACKOFF>STARTING 1", "spawn 2"]),
            (1000, refused(2), &["STARTING>BACKOFF 2"]),
            (2500, TIME, &["BACKOFF>STARTING 2", "spawn 3"]),
            (2500, refused(3), &["STARTING>BACKOFF 3"]),
            (4000, TIME, &["BACKOFF>STARTING 3", "spawn 4"]),
            (4000, refused(4), &["STARTING>BACKOFF 4"]),
        ],
    );
}

#[test]
fn being_up_resets_the_tries() {
    tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, refused(1), &["STARTING>BACKOFF 1"]),
            (1000, TIME, &["BACKOFF>STARTING 1", "spawn 2"]),
            (1000, up(2, 1000), &["spawned 2 pid 102"]),
            (2001, TIME, &["STARTING>RUNNING 102"]),
            (
                9000,
                gone(2, code(1), 9000),
                &[
                    "RUNNING>EXITED 102 exit status 1 unexpected",
                    "EXITED>STARTING 0",
                    "spawn 3",
                ],
            ),
            (9000, refused(3), &["STARTING>BACKOFF 1"]),
        ],
    );
}

#[test]
fn a_life_of_exactly_startsecs_was_running() {
    tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
            (
                1000,
                gone(1, code(1), 1000),
                &[
                    "STARTING>RUNNING 101",
                    "RUNNING>EXITED 101 exit status 1 unexpected",
                    "EXITED>STARTING 0",
                    "spawn 2",
                ],
            ),
        ],
    );
}

#[test]
fn a_start_of_what_runs_does_nothing() {
    tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, START, &[]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
            (10, START, &[]),
            (20, gone(1, code(1), 20), &["STARTING>BACKOFF 1"]),
            (30, START, &[]),
        ],
    );
    tell_from(running(), &policy(), &[(2000, START, &[])]);
}

#[test]
fn observations_of_an_older_attempt_are_ignored() {
    tell_from(
        running(),
        &policy(),
        &[
            (2000, RESTART, &["RUNNING>STOPPING 101", "signal 15"]),
            (
                2100,
                gone(1, TERM, 2100),
                &[
                    "STOPPING>STOPPED 101 terminated by SIGTERM",
                    "STOPPED>STARTING 0",
                    "spawn 2",
                ],
            ),
            (2101, gone(1, code(1), 2100), &[]),
            (2102, refused(1), &[]),
            (2103, unsignallable(1), &[]),
            (2104, up(1, 2104), &[]),
        ],
    );
}

#[test]
fn the_change_to_running_is_dated_no_later_than_the_end() {
    let starting = tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
        ],
    );
    let second = Tick::from_millis(1000);
    let (_, effects) = step(starting, &policy(), second, gone(1, code(1), 1000));
    let Some(Effect::Transition(change)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!((change.to.state(), change.at), (State::Running, second));
}

#[test]
fn observations_of_an_attempt_never_made_are_ignored() {
    tell_from(
        running(),
        &policy(),
        &[
            (2000, gone(2, code(1), 2000), &[]),
            (2000, unsignallable(2), &[]),
        ],
    );
}

#[test]
fn states_have_supervisors_codes_names_and_sets() {
    let told: Vec<String> = State::ALL
        .iter()
        .map(|state| {
            let sets = [
                (state.is_running(), " running"),
                (state.is_stopped(), " stopped"),
                (state.is_signallable(), " signallable"),
            ];
            let sets: String = sets
                .iter()
                .filter(|(is_in, _)| *is_in)
                .map(|(_, n)| *n)
                .collect();
            format!("{state} {}{sets}", state.code())
        })
        .collect();
    let expected = [
        "STOPPED 0 stopped",
        "STARTING 10 running signallable",
        "RUNNING 20 running signallable",
        "BACKOFF 30 running",
        "STOPPING 40 signallable",
        "EXITED 100 stopped",
        "FATAL 200 stopped",
        "UNKNOWN 1000 stopped",
    ];
    assert_eq!(told, expected);
}
