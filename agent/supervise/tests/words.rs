//! The words for people, and the texts that Supervisor's clients match on.

use std::time::Duration;

use rsv_supervise::{Exit, Failure, GaveUp, Reason, signal_name};

const CRASH: Exit = Exit::Signal {
    signal: 11,
    core: true,
};

#[test]
fn ends_are_told_as_supervisor_tells_them() {
    let killed = |signal| Exit::Signal {
        signal,
        core: false,
    };
    assert_eq!(Exit::Code(3).to_string(), "exit status 3");
    assert_eq!(killed(9).to_string(), "terminated by SIGKILL");
    assert_eq!(killed(40).to_string(), "terminated by signal 40");
    assert_eq!(CRASH.to_string(), "terminated by SIGSEGV (core dumped)");
    assert_eq!(Exit::Unknown.to_string(), "exit status unknown");
    assert_eq!(signal_name(0), None);
}

#[test]
fn the_exit_status_of_a_signal_is_minus_one() {
    assert_eq!(Exit::Code(255).supervisor_code(), 255);
    assert_eq!(CRASH.supervisor_code(), -1);
    assert_eq!(Exit::Unknown.supervisor_code(), -1);
}

#[test]
fn spawn_errors_are_supervisors_texts() {
    let ended = |exit, expected| Failure::Ended { exit, expected };
    let quick = Failure::ExitedTooQuickly { exit: CRASH };
    let text = "Exited too quickly (process log may have details)";
    assert_eq!(quick.spawn_error(), text);
    let refused = Failure::NotSpawned {
        why: "command is empty".to_owned(),
    };
    assert_eq!(refused.spawn_error(), "command is empty");
    assert_eq!(ended(Exit::Code(3), false).spawn_error(), "Bad exit code 3");
    assert_eq!(ended(CRASH, false).spawn_error(), "Bad exit code -1");
    assert_eq!(ended(Exit::Code(0), true).spawn_error(), "");
}

#[test]
fn reasons_are_short_clauses() {
    let second = Duration::from_secs(1);
    let quick = Failure::ExitedTooQuickly {
        exit: Exit::Code(1),
    };
    let window = GaveUp::Window {
        count: 5,
        window: 60 * second,
    };
    let ended = Reason::Ended {
        exit: CRASH,
        expected: false,
    };
    let table = [
        (Reason::AskedToRestart, "asked to restart"),
        (
            Reason::StayedUp { startsecs: second },
            "stayed up for more than 1s",
        ),
        (ended, "terminated by SIGSEGV (core dumped); not expected"),
        (Reason::Failed(quick), "exited too quickly (exit status 1)"),
        (
            Reason::GaveUp(GaveUp::Retries { tries: 4 }),
            "gave up after 4 failed starts in a row",
        ),
        (
            Reason::GaveUp(window),
            "gave up: more than 5 restarts in 60s",
        ),
        (Reason::Retried { tries: 2 }, "retry 2"),
        (
            Reason::StopTimedOut {
                stopwaitsecs: 10 * second,
            },
            "did not stop within 10s",
        ),
    ];
    for (reason, words) in table {
        assert_eq!(reason.to_string(), words);
    }
}
