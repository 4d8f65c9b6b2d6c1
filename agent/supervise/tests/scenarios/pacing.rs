//! Short lives that count as up: how often they may follow each other.

use std::time::Duration;

use rsv_supervise::{Autorestart, Policy, Tick, step};

use crate::story::{
    Row, START, STOP, TIME, code, done_twice, gone, jobs, pid, policy, tell, tell_from, up, words,
};

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
fn a_life_of_a_second_ends_the_pacing() {
    let story: &[Row] = &[
        (1100, TIME, &["BACKOFF>STARTING 0", "spawn 3"]),
        (
            1100,
            up(3, 1100),
            &["spawned 3 pid 103", "STARTING>RUNNING 103"],
        ),
        (
            2100,
            gone(3, code(0), 2100),
            &[
                "RUNNING>EXITED 103 exit status 0 expected",
                "EXITED>STARTING 0",
                "spawn 4",
            ],
        ),
        (
            2100,
            up(4, 2100),
            &["spawned 4 pid 104", "STARTING>RUNNING 104"],
        ),
        (
            2200,
            gone(4, code(0), 2200),
            &[
                "RUNNING>EXITED 104 exit status 0 expected",
                "EXITED>STARTING 0",
                "spawn 5",
            ],
        ),
    ];
    tell_from(done_twice(&jobs()), &jobs(), story);
}

#[test]
fn the_cap_on_delays_holds_for_jobs_too() {
    let capped = Policy {
        restart_backoff_max: Some(Duration::from_millis(300)),
        ..jobs()
    };
    assert_eq!(done_twice(&capped).deadline(), Some(Tick::from_millis(500)));
}
