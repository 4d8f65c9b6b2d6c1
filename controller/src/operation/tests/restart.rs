//! A controller that is killed and started again.

use super::*;

#[test]
fn a_restarted_controller_asks_those_in_flight_again_and_goes_on() {
    let mut story = Story::begin(plan(&["a", "b", "c", "d"], rollout(2)));
    story.answer("a", Outcome::Done);
    assert_eq!(story.asked(), "a b");
    let asked_at = story.operation.asked(&name("b"));
    story.restart(100);
    assert_eq!(story.outcomes(), ["a app Done"]);
    assert_eq!(story.operation.asked(&name("b")), asked_at);
    story.comes_back("a");
    story.comes_back("c");
    assert_eq!(story.asked(), "", "neither is due");
    story.wait(20);
    story.comes_back("b");
    assert_eq!(
        story.asked(),
        "b",
        "past its deadline: it tells what became of it"
    );
    story.answer("b", Outcome::Done);
    assert_eq!(story.asked(), "c");
    story.comes_back("d");
    assert_eq!(story.asked(), "d");
    story.answer("c", Outcome::Done);
    story.answer("d", Outcome::Done);
    assert_eq!(*story.operation.phase(), Phase::Over(None));
}

#[test]
fn a_pause_and_a_soak_outlive_the_controller() {
    let soaking = Rollout {
        soak: Duration::from_secs(10),
        ..rollout(1)
    };
    let mut story = Story::begin(plan(&["a", "b"], soaking));
    story.answer("a", Outcome::Done);
    story.feed(Input::Pause("operator/x".into()));
    story.restart(4);
    story.comes_back("a");
    story.comes_back("b");
    story.wait(5);
    assert_eq!(story.outcomes(), [""; 0]);
    story.wait(1);
    assert_eq!(story.outcomes(), ["a app Done"]);
    assert_eq!(story.asked(), "a", "it is still paused");
    story.feed(Input::Resume("operator/x".into()));
    assert_eq!(story.asked(), "b");
}
