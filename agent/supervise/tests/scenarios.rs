//! Stories: what one process goes through, as tables of time, event and what the machine wants.
//!
//! A row is a moment in milliseconds, an event, and the effects in short words. A row may not
//! step over a deadline, so that each story shows every moment at which the driver wakes.

use std::time::Duration;

use rsv_supervise::{
    Ask, Attempt, Autorestart, Change, Effect, Entered, Event, Exit, Observation, Phase, Policy,
    RestartWindow, Retries, Scope, State, Tick, step,
};

type Row = (u64, Event, &'static [&'static str]);

const TERM: Exit = Exit::Signal {
    signal: 15,
    core: false,
};
const START: Event = Event::Asked(Ask::Start);
const STOP: Event = Event::Asked(Ask::Stop);
const RESTART: Event = Event::Asked(Ask::Restart);
const TIME: Event = Event::Elapsed;

fn up(attempt: u64, ms: u64) -> Event {
    Event::Observed(Observation::Spawned {
        attempt: Attempt::new(attempt),
        pid: pid(attempt),
        at: Tick::from_millis(ms),
    })
}

fn refused(attempt: u64) -> Event {
    let why = "can't find command 'x'".to_owned();
    Event::Observed(Observation::SpawnRefused {
        attempt: Attempt::new(attempt),
        why,
    })
}

fn gone(attempt: u64, exit: Exit, ms: u64) -> Event {
    Event::Observed(Observation::Exited {
        attempt: Attempt::new(attempt),
        exit,
        at: Tick::from_millis(ms),
    })
}

fn unsignallable(attempt: u64) -> Event {
    let why = "EPERM".to_owned();
    Event::Observed(Observation::SignalFailed {
        attempt: Attempt::new(attempt),
        why,
    })
}

fn pid(attempt: u64) -> u32 {
    u32::try_from(100 + attempt).expect("stories are short")
}

fn code(code: u8) -> Exit {
    Exit::Code(code)
}

fn policy() -> Policy {
    Policy::default()
}

fn words(effect: &Effect) -> String {
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

fn change_words(change: &Change) -> String {
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
fn tell(policy: &Policy, story: &[Row]) -> Phase {
    tell_from(Phase::default(), policy, story)
}

fn tell_from(mut phase: Phase, policy: &Policy, story: &[Row]) -> Phase {
    for (ms, event, expected) in story {
        let now = Tick::from_millis(*ms);
        let is_overdue = phase.deadline().is_some_and(|deadline| deadline < now);
        let is_ms_late = is_overdue && phase.deadline() < Some(Tick::from_millis(ms.max(&1) - 1));
        assert!(
            !is_ms_late,
            "the row at {ms} ms steps over {:?}",
            phase.deadline()
        );
        let state = phase.state();
        let (next, effects) = step(phase, policy, now, event.clone());
        let told: Vec<String> = effects.iter().map(words).collect();
        assert_eq!(told, *expected, "in {state} at {ms} ms after {event:?}");
        phase = next;
    }
    phase
}

fn assert_rests(phase: &Phase, state: State) {
    assert_eq!(phase.state(), state);
    assert_eq!(phase.deadline(), None);
    assert!(phase.is_at_rest(), "{phase:?}");
}

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
    let error = end.failure().map(rsv_supervise::Failure::spawn_error);
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
    let error = end.failure().map(rsv_supervise::Failure::spawn_error);
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

/// A process that has been running since a long time.
fn running() -> Phase {
    tell(
        &policy(),
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101"]),
            (1001, TIME, &["STARTING>RUNNING 101"]),
        ],
    )
}

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

const CRASHED: &str = "exit status 1 unexpected";

#[test]
fn lives_that_are_short_and_bad_are_paced_and_never_fatal() {
    let eager = Policy {
        startsecs: Duration::ZERO,
        ..policy()
    };
    let mut phase = tell(&eager, &[(0, START, &["STOPPED>STARTING 0", "spawn 1"])]);
    let mut now = 0;
    let mut pauses = Vec::new();
    for attempt in 1..=15 {
        let at = Tick::from_millis(now);
        phase = step(phase, &eager, at, up(attempt, now)).0;
        let (next, effects) = step(phase, &eager, at, gone(attempt, code(1), now));
        let first = effects.first().map(words);
        assert_eq!(
            first,
            Some(format!("RUNNING>EXITED {} {CRASHED}", pid(attempt)))
        );
        phase = next;
        let pause = phase.deadline().map_or(Duration::ZERO, |due| due.since(at));
        pauses.push(pause.as_secs());
        now += u64::try_from(pause.as_millis()).unwrap();
        if !pause.is_zero() {
            let (next, effects) = step(phase, &eager, Tick::from_millis(now), TIME);
            let told: Vec<String> = effects.iter().map(words).collect();
            assert_eq!(
                told,
                ["BACKOFF>STARTING 0", &format!("spawn {}", attempt + 1)]
            );
            phase = next;
        }
    }
    assert_eq!(pauses, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10, 10]);
}

#[test]
fn a_job_done_in_a_short_life_is_started_once_a_second() {
    let jobs = Policy {
        startsecs: Duration::ZERO,
        autorestart: Autorestart::Always,
        ..policy()
    };
    tell(
        &jobs,
        &[
            (0, START, &["STOPPED>STARTING 0", "spawn 1"]),
            (0, up(1, 0), &["spawned 1 pid 101", "STARTING>RUNNING 101"]),
            (
                300,
                gone(1, code(0), 300),
                &[
                    "RUNNING>EXITED 101 exit status 0 expected",
                    "EXITED>STARTING 0",
                    "spawn 2",
                ],
            ),
            (
                300,
                up(2, 300),
                &["spawned 2 pid 102", "STARTING>RUNNING 102"],
            ),
            (
                700,
                gone(2, code(0), 700),
                &[
                    "RUNNING>EXITED 102 exit status 0 expected",
                    "EXITED>BACKOFF 0",
                ],
            ),
            (1300, TIME, &["BACKOFF>STARTING 0", "spawn 3"]),
            (
                1300,
                up(3, 1300),
                &["spawned 3 pid 103", "STARTING>RUNNING 103"],
            ),
            (
                1400,
                gone(3, code(0), 1400),
                &[
                    "RUNNING>EXITED 103 exit status 0 expected",
                    "EXITED>BACKOFF 0",
                ],
            ),
            (1900, STOP, &["BACKOFF>STOPPED"]),
        ],
    );
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
