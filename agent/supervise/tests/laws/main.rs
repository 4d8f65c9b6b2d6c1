//! Laws: what holds for every policy and every history.
//!
//! The seed is pinned and printed; `RSV_LAWS_SEED` and `RSV_LAWS_CASES` (numbers) replace it and
//! the count of histories.

mod world;

use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rsv_supervise::{
    Ask, Attempt, Event, Exit, Found, Observation, Phase, Policy, Retries, State, Tick, adopt,
    retry_delay, step,
};
use world::{Act, Life, World, acts, exits, policies};

const SEED: u64 = 20_240_229;
const CASES: u32 = 96;

fn from_env<N: std::str::FromStr>(name: &str, default: N) -> N {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Checks a law for many inputs; a failure is shrunk and shown with its input.
fn law<S: Strategy>(inputs: &S, holds: impl Fn(S::Value))
where
    S::Value: Debug,
{
    let seed = from_env("RSV_LAWS_SEED", SEED);
    let cases = from_env("RSV_LAWS_CASES", CASES);
    println!("RSV_LAWS_SEED={seed} RSV_LAWS_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let verdict = TestRunner::new_with_rng(config, rng).run(inputs, |input| {
        holds(input);
        Ok(())
    });
    if let Err(failure) = verdict {
        panic!("{failure}");
    }
}

fn histories() -> impl Strategy<Value = (Vec<Policy>, Vec<Act>)> {
    (proptest::collection::vec(policies(), 2..4), acts())
}

#[test]
fn every_step_of_every_history_is_sound() {
    // The world asserts at each step: one live attempt at most, no spawn after a stop, signals
    // only to the live attempt, transitions that form a chain, a note that can be read back, and
    // an adoption that changes nothing.
    law(&histories(), |(policies, acts)| {
        World::new(policies).live(&acts);
    });
}

#[test]
fn equal_histories_have_equal_effects() {
    law(&histories(), |(policies, acts)| {
        let mut first = World::new(policies.clone());
        let mut second = World::new(policies);
        first.live(&acts);
        second.live(&acts);
        assert_eq!(first.phase, second.phase);
        assert_eq!(first.told, second.told);
    });
}

#[test]
fn a_life_in_which_the_agent_dies_at_every_step_is_no_other() {
    law(&histories(), |(policies, acts)| {
        let mut lucky = World::new(policies.clone());
        lucky.live(&acts);
        let mut cursed = World::new(policies);
        for act in &acts {
            cursed.act(act);
            cursed.die_and_adopt();
        }
        assert_eq!(lucky.phase, cursed.phase);
        assert_eq!(lucky.told, cursed.told);
    });
}

#[test]
fn silence_and_time_lead_to_rest_or_to_running() {
    law(&histories(), |(policies, acts)| {
        let mut world = World::new(policies);
        world.live(&acts);
        world.settle();
        let phase = &world.phase;
        let is_settled = phase.is_at_rest()
            || matches!(phase.state(), State::Running | State::Unknown) && phase.pid().is_some();
        assert!(is_settled, "{phase:?}");
        assert_eq!(phase.deadline(), None);
    });
}

#[test]
fn everybody_who_waits_gets_a_verdict() {
    law(&histories(), |(policies, acts)| {
        let mut world = World::new(policies);
        world.live(&acts);
        world.act(&Act::Ask(Ask::Stop));
        world.settle();
        assert!(
            world.waits.is_empty(),
            "{:?} in {:?}",
            world.waits,
            world.phase
        );
    });
}

#[test]
fn what_always_dies_is_paced_and_given_up_as_the_policy_says() {
    law(
        &(policies(), 0..400_u64, exits()),
        |(policy, life_ms, exit)| {
            let minute = Duration::from_secs(100);
            let doomed = world::Doomed {
                policy: &policy,
                life_ms,
                exit,
            };
            let spawns = doomed.spawns_in(minute);
            let is_failing = Duration::from_millis(life_ms) < policy.startsecs;
            if let (true, Retries::Limit(limit)) = (is_failing, policy.startretries) {
                assert!(spawns.len() <= limit as usize + 1, "{spawns:?}");
            }
            let floor = policy
                .restart_backoff_max
                .unwrap_or(minute)
                .min(Duration::from_millis(600));
            let too_soon = spawns
                .windows(2)
                .skip(1)
                .any(|pair| pair[1].since(pair[0]) < floor);
            assert!(!too_soon, "{spawns:?}");
        },
    );
}

#[test]
fn the_delay_grows_with_the_failures_and_keeps_its_cap() {
    law(&(policies(), any::<u32>()), |(policy, failures)| {
        let delay = retry_delay(failures, &policy);
        assert!(delay <= retry_delay(failures.saturating_add(1), &policy));
        assert!(policy.restart_backoff_max.is_none_or(|max| delay <= max));
    });
}

#[test]
fn an_exit_seen_late_leads_where_it_would_have_led_in_time() {
    law(
        &(histories(), exits(), 0..100_000_u64),
        |((policies, acts), exit, late_ms)| {
            let mut world = World::new(policies);
            world.live(&acts);
            let Some(Life { attempt, .. }) = world.life else {
                return;
            };
            let at = world.now;
            let seen = Event::Observed(Observation::Exited { attempt, exit, at });
            let in_time = step(world.phase.clone(), world.policy(), at, seen.clone()).0;
            let late = at + Duration::from_millis(late_ms);
            assert_eq!(
                step(world.phase.clone(), world.policy(), late, seen).0,
                in_time
            );
        },
    );
}

#[test]
fn what_happened_while_the_agent_was_dead_is_taken_in_at_adoption() {
    law(
        &(histories(), exits(), 0..100_000_u64),
        |((policies, acts), exit, late_ms)| {
            let mut world = World::new(policies);
            world.live(&acts);
            if !world.phase.awaits_spawn() && world.life.is_none() {
                return;
            }
            let attempt = world.phase.attempt();
            let (pid, started) = world
                .life
                .map_or((7, world.now), |life| (life.pid, life.started));
            let at = world.now;
            let now = at + Duration::from_millis(late_ms);
            let missed = [
                Observation::Spawned {
                    attempt,
                    pid,
                    at: started,
                },
                Observation::Exited { attempt, exit, at },
            ];
            let (mut phase, mut effects) = (world.phase.clone(), Vec::new());
            for observation in missed {
                let (next, more) = step(phase, world.policy(), now, Event::Observed(observation));
                phase = next;
                effects.extend(more);
            }
            let found = Found::Ended {
                attempt,
                pid,
                started,
                exit,
                at,
            };
            let adopted = adopt(Some(world.phase.clone()), found, world.policy(), now);
            assert_eq!(adopted, (phase, effects));
        },
    );
}

fn any_tick() -> impl Strategy<Value = Tick> {
    prop_oneof![
        (0..30_000_u64).prop_map(Tick::from_millis),
        Just(Tick::new(Duration::MAX)),
        any::<u64>().prop_map(Tick::from_millis),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let attempts = || {
        prop_oneof![
            (0..6_u64).prop_map(Attempt::new),
            Just(Attempt::new(u64::MAX))
        ]
    };
    prop_oneof![
        Just(Event::Created),
        Just(Event::Elapsed),
        Just(Event::PolicyChanged),
        world::asks().prop_map(Event::Asked),
        (attempts(), any::<u32>(), any_tick()).prop_map(|(attempt, pid, at)| {
            Event::Observed(Observation::Spawned { attempt, pid, at })
        }),
        (attempts(), exits(), any_tick()).prop_map(|(attempt, exit, at)| {
            Event::Observed(Observation::Exited { attempt, exit, at })
        }),
        (attempts(), any::<bool>()).prop_map(|(attempt, refused)| {
            let why = String::new();
            Event::Observed(if refused {
                Observation::SpawnRefused { attempt, why }
            } else {
                Observation::SignalFailed { attempt, why }
            })
        }),
    ]
}

#[test]
fn no_sequence_of_events_at_any_times_panics_or_loses_a_note() {
    let events = proptest::collection::vec((any_tick(), any_event(), policies()), 0..40);
    law(&events, |events| {
        let mut phase = Phase::default();
        for (now, event, policy) in events {
            phase = step(phase, &policy, now, event).0;
            let note = serde_json::to_string(&phase).unwrap();
            assert_eq!(serde_json::from_str::<Phase>(&note).unwrap(), phase);
        }
    });
}

#[test]
fn any_note_and_any_finding_can_be_adopted() {
    let found = (
        0..6_u64,
        any::<u32>(),
        any_tick(),
        exits(),
        any_tick(),
        0..4,
    )
        .prop_map(|(attempt, pid, started, exit, at, kind)| {
            let attempt = Attempt::new(attempt);
            match kind {
                0 => Found::Nothing,
                1 => Found::Alive {
                    attempt,
                    pid,
                    started,
                },
                2 => Found::Ended {
                    attempt,
                    pid,
                    started,
                    exit,
                    at,
                },
                _ => Found::Refused {
                    attempt,
                    why: String::new(),
                },
            }
        });
    law(
        &(histories(), found, any_tick()),
        |((policies, acts), found, now)| {
            let mut world = World::new(policies);
            world.live(&acts);
            let is_alive = matches!(found, Found::Alive { .. });
            let phase = adopt(Some(world.phase.clone()), found, world.policy(), now).0;
            if is_alive {
                assert!(
                    phase.pid().is_some(),
                    "a live process without a machine: {phase:?}"
                );
            }
        },
    );
}

#[test]
fn an_unknown_exit_is_expected_by_no_policy() {
    law(&policies(), |policy| {
        assert!(!policy.expects(Exit::Unknown));
        assert!(!policy.expects(Exit::Signal {
            signal: 15,
            core: false
        }));
    });
}
