//! What is done must stay up: the gate and the soak time.

use super::*;

#[test]
fn programs_have_to_stay_up_for_the_soak_time() {
    let soaking = Rollout {
        soak: Duration::from_secs(5),
        ..rollout(1)
    };
    let mut story = Story::begin(plan(&["a", "b", "c"], soaking));
    story.answer("a", Outcome::Done);
    assert_eq!(story.outcomes(), [""; 0]);
    story.wait(4);
    assert_eq!(story.asked(), "a");
    story.wait(1);
    assert_eq!(story.asked(), "b");
    story.answer("b", Outcome::Done);
    story.feed(Input::Changed(name("b")));
    story.fleet.down.insert(name("b"), "BACKOFF");
    story.feed(Input::Changed(name("b")));
    story.fleet.down.clear();
    story.feed(Input::Changed(name("b")));
    story.wait(5);
    let outcomes = ["a app Done", "b app Failed", "c app NotAttempted"];
    assert_eq!(
        story.outcomes(),
        outcomes,
        "up again is not up all the time"
    );
    assert_eq!(
        story.detail("b"),
        "BACKOFF instead of RUNNING after it was done"
    );
}

#[test]
fn who_falls_for_a_moment_within_the_soak_time_does_not_pass() {
    let soaking = Rollout {
        soak: Duration::from_secs(5),
        ..rollout(1)
    };
    // Nothing has been heard of it between its answer and its fall, or only that it is another start.
    for is_fall_seen in [true, false] {
        let mut story = Story::begin(plan(&["a", "b"], soaking));
        story.answer("a", Outcome::Done);
        story.now += 2;
        if is_fall_seen {
            story.fleet.down.insert(name("a"), "EXITED");
            story.feed(Input::Changed(name("a")));
            story.fleet.down.clear();
        }
        story.fleet.starts.insert(name("a"), 1);
        story.feed(Input::Changed(name("a")));
        story.wait(5);
        let outcomes = ["a app Failed", "b app NotAttempted"];
        assert_eq!(story.outcomes(), outcomes);
        let how = match is_fall_seen {
            true => "EXITED instead of RUNNING after it was done",
            false => "it did not stay RUNNING and was started anew",
        };
        assert_eq!(story.detail("a"), how);
    }
}

#[test]
fn an_answer_that_overtakes_its_changes_in_a_new_session_is_no_fall() {
    let soaking = Rollout {
        soak: Duration::from_secs(5),
        ..rollout(1)
    };
    let mut story = Story::begin(plan(&["a"], soaking));
    story.feed(Input::Lost(name("a"), "silent".into()));
    story.comes_back("a");
    story.answer("a", Outcome::Done);
    story.fleet.down.insert(name("a"), "STARTING");
    story.feed(Input::Changed(name("a")));
    story.fleet.down.clear();
    story.fleet.starts.insert(name("a"), 1);
    story.feed(Input::Changed(name("a")));
    story.wait(5);
    assert_eq!(story.outcomes(), ["a app Done"]);
}

#[test]
fn a_view_that_lags_behind_the_answer_is_no_failure_but_one_at_the_end_is() {
    let soaking = Rollout {
        soak: Duration::from_secs(5),
        ..rollout(2)
    };
    let mut story = Story::begin(plan(&["a", "b"], soaking));
    for host in ["a", "b"] {
        story.fleet.down.insert(name(host), "STARTING");
        story.answer(host, Outcome::Done);
        story.feed(Input::Changed(name(host)));
    }
    story.fleet.down.remove(&name("a"));
    story.wait(5);
    assert_eq!(story.outcomes(), ["a app Done", "b app Failed"]);
}

#[test]
fn who_vanishes_while_it_is_looked_at_is_waited_for_and_then_unreachable() {
    for returns in [true, false] {
        let soaking = Rollout {
            soak: Duration::from_secs(5),
            ..rollout(1)
        };
        let mut story = Story::begin(plan(&["a"], soaking));
        story.answer("a", Outcome::Done);
        story.fleet.away.insert(name("a"));
        story.wait(6);
        assert_eq!(story.operation.finished(), None);
        if returns {
            story.comes_back("a");
        }
        story.wait(40);
        let outcome = if returns { "Done" } else { "Unreachable" };
        assert_eq!(story.outcomes(), [format!("a app {outcome}")]);
    }
}

#[test]
fn without_a_gate_the_soak_time_is_only_a_pause() {
    let pausing = Rollout {
        gate: Gate::None,
        soak: Duration::from_secs(5),
        ..rollout(1)
    };
    let mut story = Story::begin(plan(&["a", "b"], pausing));
    story.fleet.down.insert(name("a"), "EXITED");
    story.answer("a", Outcome::Done);
    story.wait(5);
    assert_eq!((story.outcomes().len(), story.asked()), (1, "a b".into()));
}
