//! A world around one machine: a holder of processes, askers, a clock, and a judge of each step.

use std::time::Duration;

use proptest::prelude::*;
use rsv_supervise::{
    Ask, Attempt, Autorestart, Change, Effect, Event, Exit, Found, Observation, Opened, Phase,
    Policy, RestartWindow, Retries, Scope, State, Tick, Wait, adopt, step,
};

/// One thing that happens in the world. What cannot happen at the moment does not.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Ask(Ask),
    Created,
    /// A spawn that waits for its answer succeeds.
    Answer,
    /// A spawn that waits for its answer is refused.
    Refuse,
    /// The live process ends.
    End(Exit),
    /// The system refuses to signal the live process.
    SignalFails,
    /// Time passes, and the driver wakes at each deadline on the way.
    Pass(u64),
    /// Time passes, and the driver sleeps over its deadlines.
    Oversleep(u64),
    /// The driver wakes without need.
    Wake,
    /// An observation of an attempt that is past.
    Echo(Exit),
    /// Another policy is in force.
    Reconfigure(usize),
}

/// The live process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) attempt: Attempt,
    pub(crate) pid: u32,
    pub(crate) started: Tick,
}

#[derive(Debug)]
pub(crate) struct World {
    policies: Vec<Policy>,
    current: usize,
    pub(crate) now: Tick,
    pub(crate) phase: Phase,
    pub(crate) told: Vec<Effect>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) life: Option<Life>,
    requested: Option<Attempt>,
    latest: Attempt,
    is_stopped_by_ask: bool,
}

impl World {
    pub(crate) fn new(policies: Vec<Policy>) -> Self {
        Self {
            policies,
            current: 0,
            now: Tick::from_millis(1_000_000),
            phase: Phase::default(),
            told: Vec::new(),
            waits: Vec::new(),
            life: None,
            requested: None,
            latest: Attempt::NONE,
            is_stopped_by_ask: true,
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policies[self.current]
    }

    pub(crate) fn live(&mut self, acts: &[Act]) {
        for act in acts {
            self.act(act);
        }
    }

    pub(crate) fn act(&mut self, act: &Act) {
        match act {
            Act::Ask(ask) => self.ask(*ask),
            Act::Created => {
                self.is_stopped_by_ask &= self.latest != Attempt::NONE;
                self.step(Event::Created);
            }
            Act::Answer => self.answer(),
            Act::Refuse => {
                if let Some(attempt) = self.requested.take() {
                    let why = "no".to_owned();
                    self.observe(Observation::SpawnRefused { attempt, why });
                }
            }
            Act::End(exit) => self.end(*exit),
            Act::SignalFails => {
                if let Some(Life { attempt, .. }) = self.life {
                    let why = "EPERM".to_owned();
                    self.observe(Observation::SignalFailed { attempt, why });
                }
            }
            Act::Pass(ms) => self.pass(Duration::from_millis(*ms)),
            Act::Oversleep(ms) => self.now = self.now + Duration::from_millis(*ms),
            Act::Wake => self.step(Event::Elapsed),
            Act::Echo(exit) => self.echo(*exit),
            Act::Reconfigure(index) => {
                self.current = index % self.policies.len();
                self.step(Event::PolicyChanged);
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.waits.retain(|wait| wait.overtaken(ask).is_none());
        if let Opened::Waiting(wait) = Wait::open(ask, &self.phase) {
            self.waits.push(wait);
        }
        self.is_stopped_by_ask = match ask {
            Ask::Stop => true,
            Ask::Start if self.phase.state() == State::Unknown => self.is_stopped_by_ask,
            Ask::Start | Ask::Restart => false,
        };
        self.step(Event::Asked(ask));
    }

    fn answer(&mut self) {
        if let Some(attempt) = self.requested.take() {
            let pid = 1000 + u32::try_from(attempt.get()).expect("histories are short");
            self.life = Some(Life {
                attempt,
                pid,
                started: self.now,
            });
            self.observe(Observation::Spawned {
                attempt,
                pid,
                at: self.now,
            });
        }
    }

    fn end(&mut self, exit: Exit) {
        if let Some(Life { attempt, .. }) = self.life.take() {
            self.observe(Observation::Exited {
                attempt,
                exit,
                at: self.now,
            });
        }
    }

    fn echo(&mut self, exit: Exit) {
        let before = self.phase.clone();
        let told = self.told.len();
        for number in 0..self.phase.attempt().get() {
            let attempt = Attempt::new(number);
            self.observe(Observation::Spawned {
                attempt,
                pid: 1,
                at: self.now,
            });
            self.observe(Observation::Exited {
                attempt,
                exit,
                at: self.now,
            });
        }
        assert_eq!(
            (&self.phase, self.told.len()),
            (&before, told),
            "an echo was heard"
        );
    }

    /// Lets time pass; the driver wakes at each deadline.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.phase.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.step(Event::Elapsed);
            let next = self.phase.deadline();
            assert!(
                next.is_none_or(|next| next > self.now),
                "woken at {due:?} for nothing"
            );
        }
        self.now = end;
    }

    /// Lets time pass in silence: spawns succeed and live, and SIGKILL kills.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            self.answer();
            let Some(due) = self.phase.deadline() else {
                return;
            };
            let told = self.told.len();
            self.now = self.now.max(due);
            self.step(Event::Elapsed);
            let is_kill = |effect: &Effect| matches!(effect, Effect::Signal { signal: 9, .. });
            if self.told[told..].iter().any(is_kill) {
                self.end(Exit::Signal {
                    signal: 9,
                    core: false,
                });
            }
        }
        panic!("no end of deadlines: {:?}", self.phase);
    }

    fn observe(&mut self, observation: Observation) {
        self.step(Event::Observed(observation));
    }

    fn step(&mut self, event: Event) {
        let from = self.phase.state();
        let before = std::mem::take(&mut self.phase);
        let (phase, effects) = step(before, self.policy(), self.now, event);
        self.phase = phase;
        self.judge(from, &effects);
        self.told.extend(effects);
        self.check_note();
    }

    fn judge(&mut self, mut state: State, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Spawn { attempt, .. } => {
                    assert!(self.life.is_none(), "a second live attempt");
                    assert!(self.requested.is_none(), "a second request");
                    assert_eq!(*attempt, self.latest.next());
                    assert!(!self.is_stopped_by_ask, "a spawn after a stop");
                    self.latest = *attempt;
                    self.requested = Some(*attempt);
                }
                Effect::Signal { attempt, .. } => {
                    let live = self.life.map(|life| life.attempt);
                    assert_eq!(live, Some(*attempt), "a signal to a stranger");
                }
                Effect::Spawned { attempt, .. } => assert_eq!(*attempt, self.latest),
                Effect::Transition(change) => {
                    assert_eq!(change.from, state, "a broken chain: {effects:?}");
                    assert_ne!(change.from, change.to.state(), "no change: {effects:?}");
                    assert!(change.at <= self.now, "a change in the future: {effects:?}");
                    state = change.to.state();
                    self.settle_waits(change);
                }
            }
        }
        assert_eq!(self.phase.state(), state, "a change untold: {effects:?}");
        assert_eq!(self.phase.pid(), self.life.map(|life| life.pid));
        assert_eq!(self.phase.awaits_spawn(), self.requested.is_some());
        assert_eq!(self.phase.attempt(), self.latest);
    }

    fn settle_waits(&mut self, change: &Change) {
        self.waits.retain_mut(|wait| wait.settle(change).is_none());
    }

    fn check_note(&self) {
        let note = serde_json::to_string(&self.phase).expect("a note can be written");
        assert_eq!(
            serde_json::from_str::<Phase>(&note).expect("a note can be read"),
            self.phase
        );
        assert!(note.len() < 4000, "a note of {} bytes", note.len());
    }

    /// The agent dies here, and the next one goes on from the note. Not while a spawn is being
    /// aborted: an adoption settles that at once where the request was lost.
    pub(crate) fn die_and_adopt(&mut self) {
        if matches!(self.phase, Phase::Aborting { .. }) {
            return;
        }
        let note = serde_json::to_string(&self.phase).expect("a note can be written");
        let note: Phase = serde_json::from_str(&note).expect("a note can be read");
        let (phase, effects) = adopt(Some(note), self.found(), self.policy(), self.now);
        assert_eq!(phase, self.phase);
        match &effects[..] {
            [] => assert_eq!(self.requested, None),
            [Effect::Spawn { attempt, .. }] => assert_eq!(Some(*attempt), self.requested),
            _ => panic!("an adoption with a word: {effects:?}"),
        }
        self.phase = phase;
    }

    fn found(&self) -> Found {
        let Some(Life {
            attempt,
            pid,
            started,
        }) = self.life
        else {
            return Found::Nothing;
        };
        Found::Alive {
            attempt,
            pid,
            started,
        }
    }
}

/// A program that always ends, so long after each start.
pub(crate) struct Doomed<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) life_ms: u64,
    pub(crate) exit: Exit,
}

impl Doomed<'_> {
    /// The moments of its spawns within this time.
    pub(crate) fn spawns_in(&self, span: Duration) -> Vec<Tick> {
        let start = Event::Asked(Ask::Start);
        let mut now = Tick::ZERO;
        let (mut phase, _) = step(Phase::default(), self.policy, now, start);
        let mut spawns = Vec::new();
        while now < Tick::new(span) {
            let attempt = phase.attempt();
            let event = match (&phase, phase.deadline()) {
                (Phase::Spawning { .. }, _) => {
                    spawns.push(now);
                    assert!(spawns.len() < 10_000, "a hot loop");
                    Event::Observed(Observation::Spawned {
                        attempt,
                        pid: 1,
                        at: now,
                    })
                }
                (Phase::Starting { until, .. }, _)
                    if *until < now + Duration::from_millis(self.life_ms) =>
                {
                    now = *until;
                    Event::Elapsed
                }
                (Phase::Starting { started, .. } | Phase::Running { started, .. }, _) => {
                    now = now.max(*started + Duration::from_millis(self.life_ms));
                    Event::Observed(Observation::Exited {
                        attempt,
                        exit: self.exit,
                        at: now,
                    })
                }
                (_, Some(due)) => {
                    now = now.max(due);
                    Event::Elapsed
                }
                (_, None) => return spawns,
            };
            phase = step(phase, self.policy, now, event).0;
        }
        spawns
    }
}

pub(crate) fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![Just(Ask::Start), Just(Ask::Stop), Just(Ask::Restart)]
}

pub(crate) fn exits() -> impl Strategy<Value = Exit> {
    prop_oneof![
        (0..3_u8).prop_map(Exit::Code),
        (1..32, any::<bool>()).prop_map(|(signal, core)| Exit::Signal { signal, core }),
        Just(Exit::Unknown),
    ]
}

pub(crate) fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => asks().prop_map(Act::Ask),
        1 => Just(Act::Created),
        6 => Just(Act::Answer),
        2 => Just(Act::Refuse),
        4 => exits().prop_map(Act::End),
        1 => Just(Act::SignalFails),
        4 => (0..4000_u64).prop_map(Act::Pass),
        1 => (0..40_000_u64).prop_map(Act::Pass),
        1 => (0..4000_u64).prop_map(Act::Oversleep),
        1 => Just(Act::Wake),
        1 => exits().prop_map(Act::Echo),
        1 => (0..3_usize).prop_map(Act::Reconfigure),
    ];
    proptest::collection::vec(act, 0..60)
}

fn millis(choices: &'static [u64]) -> impl Strategy<Value = Duration> {
    proptest::sample::select(choices).prop_map(Duration::from_millis)
}

pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    let autorestarts = vec![
        Autorestart::Never,
        Autorestart::Unexpected,
        Autorestart::Always,
    ];
    let retries = prop_oneof![
        3 => (0..5_u32).prop_map(Retries::Limit),
        1 => Just(Retries::Unlimited),
    ];
    let windows = (1..4_u32, millis(&[500, 10_000, 60_000]))
        .prop_map(|(count, window)| RestartWindow::new(count, window));
    let scopes = || proptest::sample::select(vec![Scope::Process, Scope::Group]);
    (
        any::<bool>(),
        proptest::sample::select(autorestarts),
        (millis(&[0, 200, 1000, 5000]), millis(&[0, 500, 10_000])),
        retries,
        (scopes(), scopes()),
        proptest::option::of(millis(&[700, 1500, 20_000])),
        prop_oneof![2 => Just(None), 1 => windows],
    )
        .prop_map(
            |(autostart, autorestart, (startsecs, stopwaitsecs), retries, scopes, max, window)| {
                Policy {
                    autostart,
                    autorestart,
                    startsecs,
                    stopwaitsecs,
                    startretries: retries,
                    stop_scope: scopes.0,
                    kill_scope: scopes.1,
                    restart_backoff_max: max,
                    restart_window: window,
                    ..Policy::default()
                }
            },
        )
}
