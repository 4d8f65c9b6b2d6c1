//! The laws of operations, over random histories.

use proptest::prelude::*;

use super::*;

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
        let down = operation
            .hosts()
            .filter(|host| is_in_flight(host) || !self.story.fleet.condition(host, &app).is_up());
        let down: Vec<&HostName> = down.collect();
        let newly = asked.iter().any(|host| {
            let host = name(host);
            self.story.fleet.condition(&host, &app).is_up()
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

    /// Everybody comes back, nobody holds it: it ends, whatever stays down.
    fn silence(&mut self) -> Result<(), TestCaseError> {
        self.story.fleet.away.clear();
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
                Outcome::Unreachable | Outcome::Expired => {}
                _ => prop_assert!(was_asked, "{} was not asked", result.host),
            }
        }
        prop_assert_eq!(ends, HOSTS.into_iter().map(|h| (h, 1)).collect::<BTreeMap<_, _>>());
        prop_assert_eq!(operation.pending(), 0);
        prop_assert_eq!(operation.counts().sum() as usize, HOSTS.len());
    }
}
