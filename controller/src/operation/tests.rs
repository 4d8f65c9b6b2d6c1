use std::{collections::BTreeMap, time::SystemTime};

use proptest::prelude::*;

use super::*;

const PATIENCE: Patience = Patience {
    deadline: Duration::from_secs(30),
    timeout: Some(Duration::from_secs(60)),
};

fn start() -> Moment {
    Moment {
        tick: Duration::from_secs(100),
        wall: SystemTime::UNIX_EPOCH,
    }
}

fn at(seconds: u64) -> Moment {
    start().after(Duration::from_secs(seconds))
}

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn done(program: &str) -> Vec<TargetResult> {
    let outcome = Outcome::Done.into();
    vec![TargetResult {
        program: program.into(),
        outcome,
        ..Default::default()
    }]
}

fn submit(hosts: &[(&str, bool)], patience: Patience) -> (Operation, Vec<Effect>) {
    let reach = |&(host, connected): &(&str, bool)| {
        let away = || Reach::Unreachable("silent".into());
        (
            name(host),
            if connected { Reach::Connected } else { away() },
        )
    };
    Operation::submit(start(), hosts.iter().map(reach).collect(), vec![], patience)
}

/// The results in short: `host program outcome`.
fn told(operation: &Operation) -> Vec<String> {
    let words = |r: &TargetResult| format!("{} {} {:?}", r.host, r.program, r.outcome());
    operation.results().iter().map(words).collect()
}

#[test]
fn reachable_hosts_are_asked_and_the_others_named_at_once() {
    let (mut operation, effects) = submit(&[("a", true), ("b", false), ("c", true)], PATIENCE);
    assert_eq!(effects, [Effect::Ask(name("a")), Effect::Ask(name("c"))]);
    assert_eq!(told(&operation), ["b  Unreachable"]);
    assert_eq!(operation.results()[0].detail, "silent");
    operation.apply(at(1), Input::Answered(name("c"), done("app")));
    assert_eq!(operation.finished(), None);
    operation.apply(at(2), Input::Answered(name("a"), done("app")));
    assert_eq!(
        told(&operation),
        ["b  Unreachable", "c app Done", "a app Done"]
    );
    assert_eq!(operation.finished(), Some(Duration::from_secs(2)));
    assert_eq!(operation.deadline(), None);
}

#[test]
fn an_operation_without_a_reachable_host_is_finished_at_once() {
    let (operation, effects) = submit(&[("a", false)], PATIENCE);
    assert!(effects.is_empty());
    assert_eq!(operation.finished(), Some(Duration::ZERO));
}

#[test]
fn a_host_that_is_silent_is_given_up_at_the_timeout() {
    let (mut operation, _) = submit(&[("a", true)], PATIENCE);
    assert_eq!(operation.deadline(), Some(at(60).tick));
    operation.apply(at(59), Input::Elapsed);
    assert_eq!(operation.finished(), None);
    operation.apply(at(60), Input::Elapsed);
    assert_eq!(told(&operation), ["a  Unreachable"]);
    assert_eq!(operation.results()[0].detail, "no answer within 1m");
    operation.apply(at(61), Input::Answered(name("a"), done("app")));
    assert_eq!(
        told(&operation),
        ["a  Unreachable"],
        "one end for each host"
    );
}

#[test]
fn a_lost_host_that_returns_in_time_is_asked_again_and_answers() {
    let (mut operation, _) = submit(&[("a", true)], PATIENCE);
    operation.apply(at(1), Input::Lost(name("a"), "connection lost".into()));
    assert_eq!(operation.deadline(), Some(at(30).tick));
    let effects = operation.apply(at(2), Input::Returned(name("a")));
    assert_eq!(effects, [Effect::Ask(name("a"))]);
    operation.apply(at(40), Input::Answered(name("a"), done("app")));
    assert_eq!(told(&operation), ["a app Done"]);
}

#[test]
fn a_lost_host_is_given_up_when_it_could_no_longer_begin() {
    let (mut operation, _) = submit(&[("a", true)], PATIENCE);
    operation.apply(at(1), Input::Lost(name("a"), "connection lost".into()));
    operation.apply(at(30), Input::Elapsed);
    assert_eq!(told(&operation), ["a  Unreachable"]);
    let effects = operation.apply(at(31), Input::Returned(name("a")));
    assert!(
        effects.is_empty(),
        "nothing is asked of a host that was given up"
    );
}

#[test]
fn a_host_lost_after_the_deadline_is_given_up_at_once() {
    let patience = Patience {
        timeout: None,
        ..PATIENCE
    };
    let (mut operation, _) = submit(&[("a", true)], patience);
    operation.apply(at(600), Input::Elapsed);
    assert_eq!(
        operation.finished(),
        None,
        "a slow stop is waited for while its host is there"
    );
    operation.apply(at(601), Input::Lost(name("a"), "silent".into()));
    assert_eq!(told(&operation), ["a  Unreachable"]);
}

#[test]
fn an_answer_without_results_and_an_unknown_outcome_are_failures() {
    let (mut operation, _) = submit(&[("a", true), ("b", true)], PATIENCE);
    operation.apply(at(1), Input::Answered(name("a"), vec![]));
    let odd = TargetResult {
        program: "p".into(),
        outcome: 99,
        ..Default::default()
    };
    operation.apply(at(1), Input::Answered(name("b"), vec![odd]));
    assert_eq!(told(&operation), ["a  Failed", "b p Failed"]);
}

#[test]
fn names_that_no_host_has_are_listed() {
    let hosts = vec![(name("a"), Reach::Connected)];
    let (operation, _) = Operation::submit(start(), hosts, vec!["x9".into()], PATIENCE);
    assert_eq!(told(&operation), ["x9  NotAttempted"]);
}

fn inputs() -> impl Strategy<Value = Vec<(u64, Input)>> {
    let host = (0..4u8).prop_map(|n| name(&format!("h{n}")));
    let input = prop_oneof![
        host.clone().prop_map(|h| Input::Answered(h, done("app"))),
        host.clone().prop_map(|h| Input::Lost(h, "lost".into())),
        host.prop_map(Input::Returned),
        Just(Input::Elapsed),
    ];
    prop::collection::vec((0..20u64, input), 0..40)
}

proptest! {
    /// Whatever happens, and then silence: every host ends exactly once, and results only grow.
    #[test]
    fn every_host_ends_exactly_once(
        connected in prop::collection::vec(any::<bool>(), 4),
        timeout in prop::option::of(1..100u64),
        history in inputs(),
    ) {
        let patience = Patience { timeout: timeout.map(Duration::from_secs), ..PATIENCE };
        let names = ["h0", "h1", "h2", "h3"];
        let hosts: Vec<(&str, bool)> = names.into_iter().zip(connected).collect();
        let (mut operation, _) = submit(&hosts, patience);
        let mut now = start();
        for (pause, input) in history {
            now = now.after(Duration::from_secs(pause));
            let before = operation.results().to_vec();
            let finished = operation.finished();
            operation.apply(now, input);
            prop_assert!(operation.results().starts_with(&before));
            if finished.is_some() {
                prop_assert_eq!(operation.finished(), finished);
                prop_assert_eq!(operation.results().len(), before.len());
            }
        }
        while let Some(deadline) = operation.deadline() {
            prop_assert!(deadline >= now.tick || operation.finished().is_none());
            now = Moment { tick: deadline.max(now.tick), wall: now.wall };
            let before = operation.deadline();
            operation.apply(now, Input::Elapsed);
            prop_assert_ne!(operation.deadline(), before, "waiting for a deadline makes progress");
        }
        prop_assert!(operation.finished().is_some());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for result in operation.results() {
            *counts.entry(result.host.as_str()).or_default() += 1;
        }
        prop_assert_eq!(counts, names.into_iter().map(|n| (n, 1)).collect::<BTreeMap<_, _>>());
    }
}
