//! Stories of taking over: a note, what is found of the process, and where the machine goes on.

use std::time::Duration;

use rsv_supervise::{
    After, Attempt, Effect, Event, Exit, Failure, Found, Observation, Phase, Policy, State, Strain,
    Tick, adopt, step,
};

const FIRST: Attempt = Attempt::new(1);
const SECOND: Attempt = Attempt::new(2);
const NOW: Tick = Tick::from_millis(100_000);

fn alive(attempt: Attempt) -> Found {
    Found::Alive {
        attempt,
        pid: 101,
        started: Tick::from_millis(50_000),
    }
}

fn ended(attempt: Attempt, exit: Exit, at_ms: u64) -> Found {
    let at = Tick::from_millis(at_ms);
    Found::Ended {
        attempt,
        pid: 101,
        started: Tick::from_millis(50_000),
        exit,
        at,
    }
}

fn running(attempt: Attempt) -> Phase {
    let started = Tick::from_millis(50_000);
    Phase::Running {
        attempt,
        pid: 101,
        started,
        strain: Strain::default(),
    }
}

fn stopping(then: After) -> Phase {
    Phase::Stopping {
        attempt: FIRST,
        pid: 101,
        signalled: Tick::from_millis(95_000),
        until: Tick::from_millis(105_000),
        killing: false,
        then,
    }
}

fn spawning(attempt: Attempt) -> Phase {
    Phase::Spawning {
        attempt,
        strain: Strain::default(),
    }
}

fn take_over(note: Phase, found: Found) -> (Phase, Vec<Effect>) {
    adopt(Some(note), found, &Policy::default(), NOW)
}

fn states(effects: &[Effect]) -> Vec<State> {
    let to_state = |effect: &Effect| match effect {
        Effect::Transition(change) => Some(change.to.state()),
        Effect::Spawn { .. } | Effect::Spawned { .. } | Effect::Signal { .. } => None,
    };
    effects.iter().filter_map(to_state).collect()
}

fn spawns(effects: &[Effect]) -> Vec<Attempt> {
    let to_attempt = |effect: &Effect| match effect {
        Effect::Spawn { attempt, .. } => Some(*attempt),
        Effect::Transition(_) | Effect::Spawned { .. } | Effect::Signal { .. } => None,
    };
    effects.iter().filter_map(to_attempt).collect()
}

#[test]
fn without_note_and_process_the_machine_is_new_and_autostarts() {
    let (phase, effects) = adopt(None, Found::Nothing, &Policy::default(), NOW);
    assert_eq!(phase, spawning(FIRST));
    assert_eq!(spawns(&effects), [FIRST]);

    let manual = Policy {
        autostart: false,
        ..Policy::default()
    };
    assert_eq!(
        adopt(None, Found::Nothing, &manual, NOW),
        (Phase::default(), Vec::new())
    );
}

#[test]
fn a_stop_on_record_is_not_undone_by_autostart() {
    let stopped = Phase::Stopped {
        attempt: Attempt::NONE,
    };
    assert_eq!(
        take_over(stopped.clone(), Found::Nothing),
        (stopped, Vec::new())
    );
}

#[test]
fn a_running_process_goes_on_without_a_word() {
    assert_eq!(
        take_over(running(FIRST), alive(FIRST)),
        (running(FIRST), Vec::new())
    );
}

#[test]
fn a_stop_in_progress_goes_on_to_its_kill() {
    let (phase, effects) = take_over(stopping(After::Rest), alive(FIRST));
    assert_eq!((&phase, effects), (&stopping(After::Rest), Vec::new()));
    let late = Tick::from_millis(105_000);
    let (_, effects) = step(phase, &Policy::default(), late, Event::Elapsed);
    assert!(
        matches!(effects[..], [Effect::Signal { signal: 9, .. }]),
        "{effects:?}"
    );
}

#[test]
fn a_stop_that_completed_meanwhile_is_complete_with_what_comes_after() {
    let end = ended(FIRST, Exit::Code(0), 97_000);
    let (phase, effects) = take_over(stopping(After::Rest), end.clone());
    assert_eq!(phase, Phase::Stopped { attempt: FIRST });
    assert_eq!(states(&effects), [State::Stopped]);

    let (phase, effects) = take_over(stopping(After::Restart), end);
    assert_eq!(phase, spawning(SECOND));
    assert_eq!(states(&effects), [State::Stopped, State::Starting]);
}

#[test]
fn a_crash_that_happened_meanwhile_is_followed_by_its_restart() {
    let (phase, effects) = take_over(running(FIRST), ended(FIRST, Exit::Code(1), 97_000));
    assert_eq!(phase, spawning(SECOND));
    assert_eq!(states(&effects), [State::Exited, State::Starting]);
    assert_eq!(spawns(&effects), [SECOND]);
    let Some(Effect::Transition(exited)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!(exited.at, Tick::from_millis(97_000));
}

#[test]
fn a_backoff_holds_its_deadline_even_when_it_has_passed() {
    let since = Tick::from_millis(90_000);
    let backoff = Phase::Backoff {
        attempt: FIRST,
        since,
        until: since,
        cause: Failure::ExitedTooQuickly {
            exit: Exit::Code(1),
        },
        strain: Strain::default(),
    };
    let (phase, effects) = take_over(backoff, Found::Nothing);
    assert_eq!((phase.state(), effects), (State::Backoff, Vec::new()));
    let (phase, effects) = step(phase, &Policy::default(), NOW, Event::Elapsed);
    assert_eq!((phase, spawns(&effects)), (spawning(SECOND), vec![SECOND]));
}

#[test]
fn a_quick_end_that_happened_meanwhile_backs_off_from_when_it_was() {
    let (phase, effects) = take_over(spawning(FIRST), ended(FIRST, Exit::Code(1), 50_300));
    assert_eq!(states(&effects), [State::Backoff]);
    assert_eq!(phase.deadline(), Some(Tick::from_millis(51_300)));
}

#[test]
fn a_spawn_whose_answer_was_lost_is_answered_by_what_is_found() {
    let (phase, effects) = take_over(spawning(FIRST), alive(FIRST));
    assert_eq!((phase.state(), phase.pid()), (State::Starting, Some(101)));
    assert!(
        matches!(effects[..], [Effect::Spawned { pid: 101, .. }]),
        "{effects:?}"
    );

    let refused = Found::Refused {
        attempt: FIRST,
        why: "no".to_owned(),
    };
    let (phase, _) = take_over(spawning(FIRST), refused);
    assert_eq!(phase.state(), State::Backoff);
}

#[test]
fn a_spawn_that_never_arrived_is_asked_for_again_under_its_number() {
    let (phase, effects) = take_over(spawning(SECOND), Found::Nothing);
    assert_eq!((phase, spawns(&effects)), (spawning(SECOND), vec![SECOND]));

    let old = ended(FIRST, Exit::Code(1), 97_000);
    let (phase, effects) = take_over(spawning(SECOND), old);
    assert_eq!((phase, spawns(&effects)), (spawning(SECOND), vec![SECOND]));
}

#[test]
fn an_aborted_spawn_that_never_arrived_is_stopped() {
    let aborting = Phase::Aborting {
        attempt: FIRST,
        then: After::Rest,
    };
    let (phase, effects) = take_over(aborting, Found::Nothing);
    assert_eq!(phase, Phase::Stopped { attempt: FIRST });
    assert_eq!(states(&effects), [State::Stopped]);
}

#[test]
fn a_process_that_vanished_has_ended_in_an_unknown_way() {
    let (phase, effects) = take_over(running(FIRST), Found::Nothing);
    assert_eq!(phase, spawning(SECOND));
    assert_eq!(states(&effects), [State::Exited, State::Starting]);
}

#[test]
fn a_live_process_without_a_note_is_taken_in_and_not_doubled() {
    let (phase, effects) = adopt(None, alive(SECOND), &Policy::default(), NOW);
    assert_eq!((phase.attempt(), phase.pid()), (SECOND, Some(101)));
    assert_eq!(
        (states(&effects), spawns(&effects)),
        (vec![State::Starting], vec![])
    );
    let (phase, _) = step(phase, &Policy::default(), NOW, Event::Elapsed);
    assert_eq!(phase, running(SECOND));
}

#[test]
fn a_live_process_that_the_note_calls_gone_is_taken_in() {
    let (phase, effects) = take_over(Phase::Stopped { attempt: FIRST }, alive(FIRST));
    assert_eq!((phase.attempt(), phase.pid()), (FIRST, Some(101)));
    assert_eq!(spawns(&effects), []);
}

#[test]
fn an_end_that_is_told_again_changes_nothing() {
    let stopped = Phase::Stopped { attempt: FIRST };
    let end = ended(FIRST, Exit::Code(1), 97_000);
    assert_eq!(take_over(stopped.clone(), end), (stopped, Vec::new()));
}

#[test]
fn a_policy_that_changed_meanwhile_moves_the_deadline() {
    let hasty = Policy {
        stopwaitsecs: Duration::from_secs(2),
        ..Policy::default()
    };
    let (phase, _) = adopt(Some(stopping(After::Rest)), alive(FIRST), &hasty, NOW);
    assert_eq!(phase.deadline(), Some(Tick::from_millis(97_000)));
}

#[test]
fn a_note_of_an_older_agent_can_be_read() {
    let note = r#"{"running":{"attempt":1,"pid":101,"started":{"secs":50,"nanos":0},"new":7}}"#;
    let phase: Phase = serde_json::from_str(note).unwrap();
    assert_eq!(phase, running(FIRST));
}

#[test]
fn a_note_is_small() {
    let mut phase = spawning(FIRST);
    for observation in [
        Observation::Spawned {
            attempt: FIRST,
            pid: 101,
            at: NOW,
        },
        Observation::Exited {
            attempt: FIRST,
            exit: Exit::Code(1),
            at: NOW,
        },
    ] {
        phase = step(phase, &Policy::default(), NOW, Event::Observed(observation)).0;
    }
    let note = serde_json::to_string(&phase).unwrap();
    assert!(note.len() < 250, "{note}");
}

#[test]
fn an_end_of_an_attempt_that_the_note_does_not_know_is_taken_in() {
    let (phase, effects) = take_over(
        Phase::Stopped { attempt: FIRST },
        ended(SECOND, Exit::Code(0), 97_000),
    );
    assert_eq!(
        phase,
        Phase::Exited {
            attempt: SECOND,
            exit: Exit::Code(0)
        }
    );
    assert_eq!(
        states(&effects),
        [State::Starting, State::Running, State::Exited]
    );
}

#[test]
fn a_live_process_older_than_the_note_is_kept_rather_than_doubled() {
    let (phase, effects) = take_over(spawning(SECOND), alive(FIRST));
    assert_eq!((phase.state(), phase.attempt()), (State::Starting, FIRST));
    assert_eq!((states(&effects), spawns(&effects)), (vec![], vec![]));
}

#[test]
fn failures_on_record_count_on_over_an_attempt_that_the_note_does_not_know() {
    let policy = Policy::default();
    let refused = Observation::SpawnRefused {
        attempt: FIRST,
        why: "no".to_owned(),
    };
    let note = step(
        spawning(FIRST),
        &policy,
        Tick::from_millis(40_000),
        Event::Observed(refused),
    )
    .0;
    assert_eq!(note.tries(), 1);
    let found = Found::Refused {
        attempt: SECOND,
        why: "no".to_owned(),
    };
    assert_eq!(take_over(note, found).0.tries(), 2);
}
