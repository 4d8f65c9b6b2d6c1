//! Who is asked, and when: batches, updates, and how many may be down.

use super::*;

#[test]
fn all_hosts_are_asked_at_once_unless_batches_are_wanted() {
    let mut story = Story::begin(plan(&["a", "b"], Rollout::at_once(Deed::Restart)));
    assert_eq!(story.asked(), "a b");
    story.now = 2;
    story.answer("b", Outcome::Done);
    assert_eq!(story.operation.finished(), None);
    story.answer("a", Outcome::Done);
    assert_eq!(story.outcomes(), ["b app Done", "a app Done"]);
    assert_eq!(story.operation.finished(), Some(Duration::from_secs(2)));
    assert_eq!(story.operation.deadline(), None);
    assert_eq!(*story.operation.phase(), Phase::Over(None));
}

#[test]
fn a_batch_begins_when_the_one_before_has_ended() {
    let canary = Rollout {
        canary: 1,
        ..rollout(2)
    };
    let mut story = Story::begin(plan(&["a", "b", "c", "d"], canary));
    assert_eq!(story.asked(), "a");
    story.answer("a", Outcome::Done);
    assert_eq!(story.asked(), "b c");
    story.answer("c", Outcome::Done);
    assert_eq!(story.asked(), "", "b has not answered");
    story.now = 3;
    story.answer("b", Outcome::Done);
    assert_eq!(story.asked(), "d");
    let told: Vec<String> = story
        .operation
        .story()
        .iter()
        .filter_map(|told| match told {
            Told::BatchBegun { number, .. } => Some(format!("begun {number}")),
            Told::BatchEnded {
                number,
                counts,
                elapsed,
                ..
            } => Some(format!("ended {number} ok {} {elapsed:?}", counts.done)),
            _ => None,
        })
        .collect();
    let expected = [
        "begun 0",
        "ended 0 ok 1 0ns",
        "begun 1",
        "ended 1 ok 2 3s",
        "begun 2",
    ];
    assert_eq!(told, expected);
}

/// Hosts that alone know what an update is about there.
fn update(hosts: &[&str], rollout: Rollout) -> Plan {
    let whole = |host: &&str| Part {
        programs: None,
        ..part(host, &[])
    };
    Plan {
        deed: Deed::Update,
        parts: hosts.iter().map(whole).collect(),
        ..plan(&[], rollout)
    }
}

#[test]
fn an_update_is_looked_at_where_it_started_something_and_only_there() {
    let soaking = Rollout {
        soak: Duration::from_secs(5),
        ..rollout(1)
    };
    let removed = TargetResult {
        steps: vec![Step::Removed.into()],
        ..result("gone", Outcome::Done)
    };
    let nothing = TargetResult {
        steps: Vec::new(),
        ..result("", Outcome::Done)
    };
    for (answer, outcome) in [
        (removed, "a gone Done"),
        (nothing, "a  Done"),
        (result("app", Outcome::Done), "a app Failed"),
    ] {
        let fleet = Fleet {
            down: [(name("a"), "FATAL")].into(),
            ..Fleet::default()
        };
        let mut story = Story::begin_in(fleet, update(&["a", "b"], soaking));
        assert_eq!(story.asked(), "a");
        story.feed(Input::Answered(name("a"), vec![answer]));
        story.wait(5);
        assert_eq!(story.outcomes()[0], outcome);
        let goes_on = outcome.ends_with("Done");
        assert_eq!(story.asked() == "b", goes_on, "{outcome}");
    }
}

#[test]
fn an_update_that_must_keep_programs_up_is_done_by_one_host_after_the_other() {
    let careful = Rollout {
        at_most_down: NonZeroU32::new(3),
        ..Rollout::at_once(Deed::Update)
    };
    let mut story = Story::begin(update(&["a", "b"], careful));
    assert_eq!(story.asked(), "a");
    story.answer("a", Outcome::Done);
    assert_eq!(story.asked(), "b");
}

#[test]
fn no_more_than_k_are_down_whoever_took_them_down() {
    let guarded = Rollout {
        at_most_down: NonZeroU32::new(2),
        ..rollout(4)
    };
    let mut fleet = Fleet::default();
    fleet.down.insert(name("d"), "FATAL");
    let hosts = ["a", "b", "c", "d"];
    let mut story = Story::begin_in(fleet, plan(&hosts, guarded));
    assert_eq!(story.asked(), "a d", "d is down already and takes no room");
    assert!(story.operation.is_held());
    story.answer("a", Outcome::Done);
    assert_eq!(story.asked(), "b");
    story.fleet.others.push((name("x"), "OTHER".into()));
    story.answer("b", Outcome::Done);
    assert_eq!(story.asked(), "", "another operation is acting on x");
    story.fleet.others.clear();
    story.feed(Input::Changed(name("x")));
    assert_eq!(story.asked(), "c");
    assert!(!story.operation.is_held());
}

#[test]
fn who_is_held_back_says_by_whom_unless_its_own_hosts_are_in_the_way() {
    let guarded = Rollout {
        at_most_down: NonZeroU32::new(2),
        on_fail: OnFail::Continue,
        ..rollout(4)
    };
    let fleet = Fleet {
        others: vec![(name("x"), "OTHER".into()), (name("y"), "OTHER".into())],
        ..Fleet::default()
    };
    let mut story = Story::begin_in(fleet, plan(&["a", "b", "c"], guarded));
    assert_eq!(story.asked(), "");
    let why = "operation OTHER is acting on app, which may be down on 2 at most";
    assert_eq!(story.operation.waits_for(), Some(why));
    story.fleet.others.pop();
    story.fleet.down.insert(name("c"), "FATAL");
    story.feed(Input::Changed(name("c")));
    assert_eq!(story.asked(), "c", "it is down already and takes no room");
    assert!(story.operation.is_held());
    assert_eq!(story.operation.waits_for(), None, "c is under way");
    story.answer("c", Outcome::Failed);
    let why = "operation OTHER is acting on app, which is not known to be RUNNING on c either, and may be \
               down on 2 at most";
    assert_eq!(story.operation.held(), Some(why));
}

#[test]
fn a_stop_that_would_keep_too_many_down_is_refused() {
    let guarded = Rollout {
        at_most_down: NonZeroU32::new(1),
        ..Rollout::at_once(Deed::Stop)
    };
    let mut stop = plan(&["a", "b"], guarded);
    stop.deed = Deed::Stop;
    assert!(matches!(
        stop.check(),
        Err(RolloutError::StopsTooMany { targets: 2, .. })
    ));
    stop.parts.pop();
    assert_eq!(stop.check(), Ok(()));
}

/// Two hosts of which one is down, and of a program only one may be.
fn held() -> Story {
    let guarded = Rollout {
        at_most_down: NonZeroU32::new(1),
        ..rollout(2)
    };
    let mut plan = plan(&["a", "b"], guarded);
    plan.parts[1].away = Some("silent".into());
    let fleet = Fleet {
        away: [name("b")].into(),
        ..Fleet::default()
    };
    Story::begin_in(fleet, plan)
}

#[test]
fn who_waits_for_what_nobody_brings_up_says_so_and_expires_at_its_deadline() {
    let mut story = held();
    let why = "app is not known to be RUNNING on b, and may be down on 1 at most";
    assert_eq!(story.operation.held(), Some(why));
    assert_eq!(story.operation.deadline(), Some(at(30).tick));
    story.wait(30);
    assert_eq!(story.asked(), "");
    assert_eq!(story.outcomes(), ["b app Unreachable", "a app Expired"]);
    let late = format!("it could not be asked in time: {why}");
    assert_eq!(story.detail("a"), late);
    assert_eq!(*story.operation.phase(), Phase::Over(None));
}

#[test]
fn who_waits_for_what_is_down_is_asked_as_soon_as_it_is_seen_to_be_up() {
    let mut story = held();
    story.fleet.unseen.insert(name("b"));
    story.wait(5);
    story.comes_back("b");
    assert_eq!(
        story.asked(),
        "",
        "it is there, and its programs are not known yet"
    );
    story.fleet.unseen.clear();
    story.feed(Input::Changed(name("b")));
    assert_eq!(story.asked(), "a");
    assert_eq!(story.operation.held(), None);
}

#[test]
fn who_failed_and_stays_down_does_not_hold_the_others_for_ever() {
    let guarded = Rollout {
        at_most_down: NonZeroU32::new(1),
        on_fail: OnFail::Continue,
        ..rollout(3)
    };
    let mut story = Story::begin(plan(&["a", "b", "c"], guarded));
    story.wait(40);
    assert_eq!(
        story.outcomes(),
        [""; 0],
        "a is under way: their turn does not pass"
    );
    story.fleet.down.insert(name("a"), "FATAL");
    story.answer("a", Outcome::Failed);
    story.wait(29);
    assert_eq!(story.outcomes(), ["a app Failed"]);
    story.wait(1);
    let outcomes = ["a app Failed", "b app Expired", "c app Expired"];
    assert_eq!(story.outcomes(), outcomes);
}
