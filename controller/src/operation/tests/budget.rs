//! What failures do: the budget, pause, cancellation, undoing.

use super::*;

#[test]
fn too_many_failures_end_it_and_the_rest_is_not_attempted() {
    let mut story = Story::begin(plan(&["a", "b", "c", "d"], rollout(2)));
    story.answer("a", Outcome::Failed);
    assert_eq!(story.operation.finished(), None, "b is under way");
    story.answer("b", Outcome::Done);
    assert_eq!(story.asked(), "a b");
    let outcomes = [
        "a app Failed",
        "c app NotAttempted",
        "d app NotAttempted",
        "b app Done",
    ];
    assert_eq!(story.outcomes(), outcomes);
    let ended = story.operation.story().iter().find_map(|told| match told {
        Told::BatchEnded { counts, .. } => Some(*counts),
        _ => None,
    });
    let of_the_batch = Counts {
        done: 1,
        failed: 1,
        ..Counts::default()
    };
    assert_eq!(ended, Some(of_the_batch), "others are not counted in it");
    let reason = "1 failed, budget 1".to_owned();
    assert_eq!(
        *story.operation.phase(),
        Phase::Over(Some((Why::Aborted, reason)))
    );
}

#[test]
fn a_larger_budget_takes_more_and_continue_takes_all() {
    for (max_fail, on_fail, asked) in [
        (count(2), OnFail::Abort, 2),
        (
            Share::Percent(NonZeroU32::new(75).unwrap()),
            OnFail::Abort,
            3,
        ),
        (count(1), OnFail::Continue, 4),
    ] {
        let rollout = Rollout {
            max_fail,
            on_fail,
            ..rollout(1)
        };
        let hosts = ["a", "b", "c", "d"];
        let mut story = Story::begin(plan(&hosts, rollout));
        for host in hosts {
            story.answer(host, Outcome::Failed);
        }
        assert_eq!(story.asked.len(), asked, "{max_fail:?} {on_fail:?}");
        assert!(story.operation.finished().is_some());
    }
}

#[test]
fn a_paused_operation_asks_nobody_until_it_is_resumed_and_failures_are_forgiven() {
    let pausing = Rollout {
        on_fail: OnFail::Pause,
        ..rollout(1)
    };
    let mut story = Story::begin(plan(&["a", "b", "c"], pausing));
    story.answer("a", Outcome::Failed);
    assert!(matches!(story.operation.phase(), Phase::Paused(_)));
    story.wait(100_000);
    assert_eq!(story.asked(), "a");
    story.feed(Input::Resume("operator/x".into()));
    assert_eq!(story.asked(), "b");
    story.answer("b", Outcome::Done);
    assert_eq!(story.asked(), "c");
    story.feed(Input::Pause("operator/x".into()));
    story.answer("c", Outcome::Done);
    assert!(story.operation.finished().is_some(), "nothing is left");
}

#[test]
fn a_cancelled_operation_waits_for_what_is_under_way() {
    let mut story = Story::begin(plan(&["a", "b"], rollout(1)));
    story.feed(Input::Cancel("operator/x".into()));
    assert_eq!(story.outcomes(), ["b app NotAttempted"]);
    story.feed(Input::Resume("operator/x".into()));
    assert_eq!(story.operation.finished(), None);
    story.answer("a", Outcome::Done);
    let why = (Why::Cancelled, "by operator/x".to_owned());
    assert_eq!(*story.operation.phase(), Phase::Over(Some(why)));
}

#[test]
fn names_that_a_host_does_not_have_are_failures_that_stop_nobody() {
    let mut plan = plan(&["a", "b"], rollout(1));
    plan.parts[0].programs = Some(Vec::new());
    let row = Row {
        refusal: rsv_proto::wire::Refusal::NoSuchProcess.into(),
        ..Row::new("app", Outcome::Failed, "")
    };
    plan.parts[0].unmatched = vec![row];
    let mut story = Story::begin(plan);
    assert_eq!(story.outcomes(), ["a app Failed"]);
    assert_eq!(story.asked(), "b");
}

#[test]
fn a_name_that_a_host_with_the_others_does_not_have_counts_against_the_budget() {
    let mut plan = plan(&["a", "b"], rollout(1));
    let row = Row {
        refusal: rsv_proto::wire::Refusal::NoSuchProcess.into(),
        ..Row::new("nosuch", Outcome::Failed, "")
    };
    plan.parts[0].unmatched = vec![row.clone()];
    plan.parts[1].unmatched = vec![row];
    let mut story = Story::begin(plan);
    story.answer("a", Outcome::Done);
    let outcomes = ["a app Done", "a nosuch Failed", "b app NotAttempted"];
    assert_eq!(story.outcomes()[..3], outcomes);
    let reason = "1 failed, budget 1".to_owned();
    let over = Phase::Over(Some((Why::Aborted, reason)));
    assert_eq!(*story.operation.phase(), over);
}

#[test]
fn what_was_started_is_to_be_stopped_when_it_is_rolled_back() {
    let undone = Rollout {
        on_fail: OnFail::RollBack,
        ..rollout(1)
    };
    let mut start = plan(&["a", "b", "c"], undone);
    start.deed = Deed::Start;
    let mut story = Story::begin(start);
    story.answer("a", Outcome::Done);
    assert_eq!(story.operation.undoing(), None);
    story.answer("b", Outcome::Failed);
    let app = || vec![Program::from_shown("app")];
    assert_eq!(
        story.operation.undoing(),
        Some((Deed::Stop, vec![(name("a"), app())]))
    );
    let again = story.operation.unwell(true);
    assert_eq!(again, [(name("b"), app())]);
    assert_eq!(story.operation.unwell(false).len(), 2);
}
