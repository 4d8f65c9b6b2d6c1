//! Hosts that are away, silent or lost, and answers that lack something: each target has one fate.

use super::*;

#[test]
fn hosts_that_were_away_at_the_submission_are_named_at_once_and_not_held_against_it() {
    let mut plan = plan(&["a", "b", "c"], rollout(1));
    plan.parts[1].away = Some("silent".into());
    plan.missing.push("x9".into());
    let mut story = Story::begin(plan);
    assert_eq!(story.outcomes(), ["x9  NotAttempted", "b app Unreachable"]);
    assert_eq!(story.detail("b"), "silent");
    story.answer("a", Outcome::Done);
    assert_eq!(story.asked(), "a c");
}

#[test]
fn a_host_that_is_away_at_its_turn_is_waited_for_until_its_deadline() {
    let mut story = Story::begin(plan(&["a", "b", "c"], rollout(1)));
    story.fleet.away.insert(name("b"));
    story.answer("a", Outcome::Done);
    story.wait(29);
    assert_eq!(story.asked(), "a");
    story.comes_back("b");
    assert_eq!(story.asked(), "b");
    story.fleet.away.insert(name("c"));
    story.answer("b", Outcome::Done);
    story.wait(30);
    let outcomes = ["a app Done", "b app Done", "c app Unreachable"];
    assert_eq!(story.outcomes(), outcomes);
    assert_eq!(*story.operation.phase(), Phase::Over(None));
}

#[test]
fn a_reload_is_answered_by_the_next_agent_however_long_its_programs_took_to_stop() {
    for (deed, seconds, is_waited_for) in [
        (Deed::Reload, 29, true),
        (Deed::Reload, 30, false),
        (Deed::Update, 0, false),
    ] {
        let mut plan = plan(&["a"], rollout(1));
        plan.deed = deed;
        plan.patience.timeout = None;
        let mut story = Story::begin(plan);
        story.wait(40);
        story.feed(Input::Lost(name("a"), "restarting".into()));
        story.wait(seconds);
        story.comes_back("a");
        story.answer("a", Outcome::Done);
        let outcome = if is_waited_for { "Done" } else { "Unreachable" };
        let expected = [format!("a app {outcome}")];
        assert_eq!(story.outcomes(), expected, "{deed:?} {seconds}");
    }
}

/// Who has been said to be late.
fn late(story: &Story) -> Vec<String> {
    let told = story
        .operation
        .story()
        .iter()
        .filter_map(|told| match told {
            Told::Late {
                host,
                programs,
                after,
            } => Some(format!("{host} {} {after:?}", programs.join(" "))),
            _ => None,
        });
    told.collect()
}

#[test]
fn a_connected_host_that_does_not_answer_in_time_is_late_and_its_answer_counts() {
    for lost in [false, true] {
        let mut story = Story::begin(plan(&["a"], rollout(1)));
        assert_eq!(story.operation.deadline(), Some(at(60).tick));
        story.wait(59);
        assert_eq!(late(&story), [""; 0]);
        story.wait(1);
        assert_eq!(late(&story), ["a app 60s"]);
        assert_eq!(story.outcomes(), [""; 0], "what becomes of it is not known");
        assert_eq!(story.operation.finished(), None);
        match lost {
            false => story.answer("a", Outcome::Done),
            true => story.feed(Input::Lost(name("a"), "silent".into())),
        }
        let outcome = if lost { "Unreachable" } else { "Done" };
        assert_eq!(story.outcomes(), [format!("a app {outcome}")]);
        assert!(story.operation.finished().is_some());
        story.answer("a", Outcome::Failed);
        assert_eq!(story.outcomes().len(), 1, "one end for each");
    }
}

#[test]
fn a_late_host_counts_against_the_budget_once_and_its_batch_goes_on_without_it() {
    for (max_fail, asked) in [(1, "a b"), (2, "a b c")] {
        let rollout = Rollout {
            max_fail: count(max_fail),
            ..rollout(2)
        };
        let mut story = Story::begin(plan(&["a", "b", "c"], rollout));
        story.answer("a", Outcome::Done);
        story.wait(60);
        assert_eq!(story.asked(), asked);
        story.answer("b", Outcome::Failed);
        if max_fail == 2 {
            story.answer("c", Outcome::Done);
        }
        assert!(story.operation.finished().is_some());
        let ended = story.operation.story().iter();
        let ended = ended.filter(|told| matches!(told, Told::BatchEnded { .. }));
        assert_eq!(ended.count(), max_fail as usize);
    }
}

#[test]
fn a_host_that_never_answers_fails_in_the_end() {
    let mut story = Story::begin(plan(&["a"], rollout(1)));
    story.wait(60);
    story.wait(3599);
    assert_eq!(story.operation.finished(), None);
    story.wait(1);
    assert_eq!(story.outcomes(), ["a app Failed"]);
    let detail = "no answer within 1h 1m; it may still be under way";
    assert_eq!(story.detail("a"), detail);
}

#[test]
fn a_lost_host_that_returns_in_time_is_asked_again_and_one_that_does_not_is_given_up() {
    let mut story = Story::begin(plan(&["a", "b"], rollout(2)));
    assert_eq!(story.asked(), "a b");
    for host in ["a", "b"] {
        story.feed(Input::Lost(name(host), "connection lost".into()));
    }
    assert_eq!(story.operation.deadline(), Some(at(30).tick));
    story.wait(2);
    story.comes_back("a");
    assert_eq!(story.asked(), "a");
    story.wait(38);
    assert_eq!(story.outcomes(), ["b app Unreachable"]);
    assert_eq!(story.detail("b"), "connection lost; it may have begun");
    story.answer("a", Outcome::Done);
    assert_eq!(story.outcomes(), ["b app Unreachable", "a app Done"]);
}

#[test]
fn a_slow_host_is_waited_for_while_its_session_lives() {
    let mut slow = plan(&["a"], rollout(1));
    slow.patience.timeout = None;
    let mut story = Story::begin(slow);
    story.wait(600);
    assert_eq!(story.operation.finished(), None);
    story.feed(Input::Lost(name("a"), "silent".into()));
    assert_eq!(story.outcomes(), ["a app Unreachable"]);
}

#[test]
fn every_target_has_its_own_fate_whatever_the_answer_lacks() {
    let mut two = plan(&["a", "b"], rollout(2));
    two.parts[0] = part("a", &["app", "g:x"]);
    two.parts[1].programs = None;
    let mut story = Story::begin(two);
    story.answer("a", Outcome::Done);
    let odd = TargetResult {
        outcome: 99,
        ..result("p", Outcome::Done)
    };
    story.feed(Input::Answered(name("b"), vec![odd]));
    assert_eq!(
        story.outcomes(),
        ["a app Done", "a g:x Failed", "b p Failed"]
    );
    let mut one = plan(&["a"], rollout(1));
    one.parts[0] = part("a", &["app", "g:x"]);
    let mut story = Story::begin(one);
    story.feed(Input::Answered(
        name("a"),
        vec![result("", Outcome::Expired)],
    ));
    assert_eq!(story.outcomes(), ["a app Expired", "a g:x Expired"]);
    let mut story = Story::begin(plan(&["a"], rollout(1)));
    story.feed(Input::Answered(name("a"), vec![]));
    assert_eq!(story.outcomes(), ["a app Failed"]);
}
