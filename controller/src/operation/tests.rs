use std::{collections::BTreeMap, num::NonZeroU32};

use proptest::prelude::*;
use rsv_proto::wire::Step;

use super::*;

const PATIENCE: Patience = Patience {
    deadline: Duration::from_secs(30),
    timeout: Some(Duration::from_secs(60)),
};

fn at(seconds: u64) -> Moment {
    Moment {
        tick: Duration::from_secs(10_000),
        wall: from_milliseconds(1_000_000),
    }
    .after(Duration::from_secs(seconds))
}

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn result(program: &str, outcome: Outcome) -> TargetResult {
    let steps = match outcome {
        Outcome::Done => vec![Step::Started.into()],
        _ => Vec::new(),
    };
    TargetResult {
        program: program.into(),
        outcome: outcome.into(),
        steps,
        ..Default::default()
    }
}

/// A fleet as a test wants it: every host is there and every program up, but for what is said.
#[derive(Debug, Clone, Default)]
struct Fleet {
    away: BTreeSet<HostName>,
    down: BTreeMap<HostName, &'static str>,
    unseen: BTreeSet<HostName>,
    others: Vec<HostName>,
}

impl World for Fleet {
    fn unreachable(&self, host: &HostName) -> Option<String> {
        self.away.contains(host).then(|| "silent".into())
    }

    fn condition(&self, host: &HostName, _program: &Program) -> Condition {
        if self.away.contains(host) || self.unseen.contains(host) {
            return Condition::Unknown;
        }
        self.down
            .get(host)
            .map_or(Condition::Up, |word| Condition::Down(word))
    }

    fn acted_on(&self, _program: &Program) -> Vec<HostName> {
        self.others.clone()
    }
}

fn rollout(batch: u32) -> Rollout {
    Rollout {
        batch: count(batch),
        ..Rollout::at_once(Deed::Restart)
    }
}

fn count(n: u32) -> Share {
    Share::Count(NonZeroU32::new(n).unwrap())
}

fn part(host: &str, programs: &[&str]) -> Part {
    Part {
        host: name(host),
        programs: Some(programs.iter().map(|p| Program::from_shown(p)).collect()),
        away: None,
        unmatched: Vec::new(),
    }
}

fn plan(hosts: &[&str], rollout: Rollout) -> Plan {
    Plan {
        id: "op".into(),
        deed: Deed::Restart,
        rollout,
        patience: PATIENCE,
        parts: hosts.iter().map(|host| part(host, &["app"])).collect(),
        missing: Vec::new(),
    }
}

/// An operation and its fleet, in which time goes by.
struct Story {
    operation: Operation,
    fleet: Fleet,
    now: u64,
    asked: Vec<String>,
    facts: Vec<Fact>,
}

impl Story {
    fn begin(plan: Plan) -> Self {
        Self::begin_in(Fleet::default(), plan)
    }

    fn begin_in(fleet: Fleet, plan: Plan) -> Self {
        let mut story = Self {
            operation: Operation::new(at(0), plan),
            fleet,
            now: 0,
            asked: Vec::new(),
            facts: Vec::new(),
        };
        story.feed(Input::Elapsed);
        story
    }

    fn feed(&mut self, input: Input) {
        let asks = self.operation.apply(at(self.now), input, &self.fleet);
        self.asked.extend(asks.iter().map(ToString::to_string));
        self.facts.extend(self.operation.take_facts());
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        self.feed(Input::Elapsed);
    }

    fn answer(&mut self, host: &str, outcome: Outcome) {
        self.feed(Input::Answered(name(host), vec![result("app", outcome)]));
    }

    /// Who was asked since this was last looked at.
    fn asked(&mut self) -> String {
        std::mem::take(&mut self.asked).join(" ")
    }

    /// The outcomes so far, in short.
    fn outcomes(&self) -> Vec<String> {
        results(&self.operation)
            .iter()
            .map(|r| format!("{} {} {:?}", r.host, r.program, r.outcome()))
            .collect()
    }

    fn detail(&self, host: &str) -> String {
        let results = results(&self.operation);
        let found = results.iter().find(|r| r.host == host).unwrap();
        found.detail.clone()
    }

    /// The controller is killed and started again, so many seconds later; nobody is there yet.
    fn restart(&mut self, seconds: u64) {
        self.now += seconds;
        let plan = self.operation.plan().clone();
        let submitted = self.operation.submitted();
        self.operation = Operation::restore(at(self.now), submitted, plan, &self.facts);
        self.fleet.away = self.operation.hosts().cloned().collect();
        self.feed(Input::Elapsed);
    }

    fn comes_back(&mut self, host: &str) {
        self.fleet.away.remove(&name(host));
        self.feed(Input::Returned(name(host)));
    }
}

fn results(operation: &Operation) -> Vec<&TargetResult> {
    let story = operation.story().iter();
    story
        .filter_map(|told| match told {
            Told::Result(result) => Some(result),
            _ => None,
        })
        .collect()
}

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
    let reason = "1 failed, budget 1".to_owned();
    assert_eq!(
        *story.operation.phase(),
        Phase::Over(Some((Why::Aborted, reason)))
    );
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
    story.fleet.others.push(name("x"));
    story.answer("b", Outcome::Done);
    assert_eq!(story.asked(), "", "another operation is acting on x");
    story.fleet.others.clear();
    story.feed(Input::Changed(name("x")));
    assert_eq!(story.asked(), "c");
    assert!(!story.operation.is_held());
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
fn a_silent_host_is_given_up_at_the_timeout() {
    let mut story = Story::begin(plan(&["a"], rollout(1)));
    assert_eq!(story.operation.deadline(), Some(at(60).tick));
    story.wait(59);
    assert_eq!(story.operation.finished(), None);
    story.wait(1);
    assert_eq!(story.outcomes(), ["a app Unreachable"]);
    assert_eq!(story.detail("a"), "no answer within 1m");
    story.answer("a", Outcome::Done);
    assert_eq!(story.outcomes().len(), 1, "one end for each");
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

const HOSTS: [&str; 6] = ["h0", "h1", "h2", "h3", "h4", "h5"];

/// What happens in random histories.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Answer(usize, Outcome),
    Away(usize),
    Back(usize),
    Falls(usize),
    Rises(usize),
    Control(u8),
    /// The controller is killed and comes back.
    Restart,
    Time,
}

fn happenings() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let host = || 0..HOSTS.len();
    let outcome = prop_oneof![
        6 => Just(Outcome::Done),
        1 => Just(Outcome::Failed),
        1 => Just(Outcome::Expired),
    ];
    let happening = prop_oneof![
        6 => (host(), outcome).prop_map(|(h, o)| Happening::Answer(h, o)),
        1 => host().prop_map(Happening::Away),
        2 => host().prop_map(Happening::Back),
        1 => host().prop_map(Happening::Falls),
        1 => host().prop_map(Happening::Rises),
        1 => (0..8u8).prop_map(Happening::Control),
        1 => Just(Happening::Restart),
        2 => Just(Happening::Time),
    ];
    prop::collection::vec((0..8u64, happening), 0..80)
}

fn rollouts() -> impl Strategy<Value = Rollout> {
    let on_fail = prop_oneof![
        Just(OnFail::Abort),
        Just(OnFail::Pause),
        Just(OnFail::Continue)
    ];
    let order = prop_oneof![Just(Order::Name), Just(Order::Reverse), Just(Order::Random)];
    let gate = prop_oneof![Just(Gate::None), Just(Gate::Running)];
    let sizes = (
        1..7u32,
        0..3u32,
        0..4u64,
        1..4u32,
        prop::option::of(1..4u32),
    );
    (sizes, on_fail, order, gate).prop_map(
        |((batch, canary, soak, max_fail, down), on_fail, order, gate)| Rollout {
            batch: count(batch),
            canary,
            gate,
            soak: Duration::from_secs(soak),
            max_fail: count(max_fail),
            on_fail,
            at_most_down: down.and_then(NonZeroU32::new),
            order,
        },
    )
}

/// Follows an operation through a history and keeps an eye on the laws.
struct Watched {
    story: Story,
    /// Hosts that were asked, ever.
    ever_asked: BTreeSet<String>,
}

impl Watched {
    fn happens(&mut self, pause: u64, happening: Happening) -> Result<(), TestCaseError> {
        let story = &mut self.story;
        story.now += pause;
        let told = story.operation.story().to_vec();
        let finished = story.operation.finished();
        let was_flying: BTreeSet<HostName> = story.operation.flying.clone();
        let host = |n: usize| name(HOSTS[n]);
        match happening {
            Happening::Answer(n, outcome) => story.answer(HOSTS[n], outcome),
            Happening::Away(n) => {
                story.fleet.away.insert(host(n));
                story.feed(Input::Lost(host(n), "lost".into()));
            }
            Happening::Back(n) => story.comes_back(HOSTS[n]),
            Happening::Falls(n) => {
                story.fleet.down.insert(host(n), "EXITED");
                story.feed(Input::Changed(host(n)));
            }
            Happening::Rises(n) => {
                story.fleet.down.remove(&host(n));
                story.feed(Input::Changed(host(n)));
            }
            Happening::Control(0) => story.feed(Input::Cancel("x".into())),
            Happening::Control(1 | 2) => story.feed(Input::Pause("x".into())),
            Happening::Control(_) => story.feed(Input::Resume("x".into())),
            Happening::Restart => story.restart(1),
            Happening::Time => story.feed(Input::Elapsed),
        }
        let operation = &story.operation;
        prop_assert!(operation.story().starts_with(&told), "what was told stays");
        if finished.is_some() {
            prop_assert_eq!(operation.finished(), finished);
            prop_assert_eq!(operation.story().len(), told.len());
        }
        let mut asked = std::mem::take(&mut story.asked);
        for host in &asked {
            let is_again = self.ever_asked.contains(host);
            prop_assert!(
                !is_again || was_flying.contains(&name(host)),
                "only who has not answered is asked again"
            );
            self.ever_asked.insert(host.clone());
        }
        asked.retain(|host| !was_flying.contains(&name(host)));
        self.down_within_limit(&asked)?;
        self.replays()
    }

    /// Nobody is asked while too much is down.
    fn down_within_limit(&self, asked: &[String]) -> Result<(), TestCaseError> {
        let operation = &self.story.operation;
        let Some(limit) = operation.plan().rollout.at_most_down else {
            return Ok(());
        };
        let app = Program::from_shown("app");
        let is_in_flight = |host: &HostName| operation.awaits(host);
        let down = operation.hosts().filter(|host| {
            is_in_flight(host) || self.story.fleet.condition(host, &app) != Condition::Up
        });
        let down: Vec<&HostName> = down.collect();
        let newly = asked.iter().any(|host| {
            let host = name(host);
            self.story.fleet.condition(&host, &app) == Condition::Up
        });
        prop_assert!(
            !newly || down.len() <= limit.get() as usize,
            "{down:?} are down, {limit} may be"
        );
        Ok(())
    }

    /// What was written down is all that it takes to tell the same.
    fn replays(&self) -> Result<(), TestCaseError> {
        let story = &self.story;
        let again = Operation::restore(
            at(story.now),
            story.operation.submitted(),
            story.operation.plan().clone(),
            &story.facts,
        );
        prop_assert_eq!(again.story(), story.operation.story());
        prop_assert_eq!(again.phase(), story.operation.phase());
        prop_assert_eq!(again.counts(), story.operation.counts());
        prop_assert_eq!(again.pending(), story.operation.pending());
        prop_assert_eq!(&again.flying, &story.operation.flying);
        prop_assert_eq!(again.failures, story.operation.failures);
        Ok(())
    }

    /// Everybody comes back, everything is up, nobody holds it: it ends.
    fn silence(&mut self) -> Result<(), TestCaseError> {
        self.story.fleet = Fleet::default();
        self.story.feed(Input::Resume("x".into()));
        for host in HOSTS {
            self.story.comes_back(host);
        }
        for _ in 0..200 {
            if self.story.operation.finished().is_some() {
                return Ok(());
            }
            let phase = self.story.operation.phase().clone();
            if matches!(phase, Phase::Paused(_)) {
                self.happens(0, Happening::Control(7))?;
            }
            let due = self.story.operation.deadline();
            let due = due.map_or(1, |due| {
                due.saturating_sub(at(self.story.now).tick).as_secs()
            });
            self.happens(due, Happening::Time)?;
        }
        prop_assert!(false, "it does not end: {:#?}", self.story.operation);
        Ok(())
    }
}

proptest! {
    #[test]
    fn laws_hold_over_random_histories(
        rollout in rollouts(),
        away in prop::collection::vec(prop::bool::weighted(0.1), HOSTS.len()),
        history in happenings(),
    ) {
        let mut plan = plan(&HOSTS, rollout);
        for (part, away) in plan.parts.iter_mut().zip(away) {
            part.away = away.then(|| "silent".to_owned());
        }
        let story = Story::begin(plan);
        let ever_asked = story.asked.iter().cloned().collect();
        let mut watched = Watched { story, ever_asked };
        watched.story.asked.clear();
        for (pause, happening) in history {
            watched.happens(pause, happening)?;
        }
        watched.silence()?;
        let operation = &watched.story.operation;
        let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
        for result in results(operation) {
            *ends.entry(result.host.as_str()).or_default() += 1;
            let was_asked = watched.ever_asked.contains(&result.host);
            match result.outcome() {
                Outcome::NotAttempted => prop_assert!(!was_asked, "{} was asked", result.host),
                Outcome::Unreachable => {}
                _ => prop_assert!(was_asked, "{} was not asked", result.host),
            }
        }
        prop_assert_eq!(ends, HOSTS.into_iter().map(|h| (h, 1)).collect::<BTreeMap<_, _>>());
        prop_assert_eq!(operation.pending(), 0);
        prop_assert_eq!(operation.counts().sum() as usize, HOSTS.len());
    }
}
