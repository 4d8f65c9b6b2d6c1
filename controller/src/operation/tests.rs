//! Operations as stories: an operation and its fleet, in which time goes by.

mod absence;
mod batches;
mod budget;
mod gate;
mod laws;
mod restart;

use std::{collections::BTreeMap, num::NonZeroU32};

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
    /// How often its program was started anew by itself.
    starts: BTreeMap<HostName, u32>,
    /// Where other operations are acting.
    others: Vec<(HostName, String)>,
}

impl World for Fleet {
    fn unreachable(&self, host: &HostName) -> Option<String> {
        self.away.contains(host).then(|| "silent".into())
    }

    fn condition(&self, host: &HostName, _program: &Program) -> Condition {
        if self.away.contains(host) || self.unseen.contains(host) {
            return Condition::Unknown;
        }
        let start = self.starts.get(host).copied().unwrap_or_default();
        self.down
            .get(host)
            .map_or(Condition::Up(Some(start)), |word| Condition::Down(word))
    }

    fn acted_on(&self, _program: &Program) -> Vec<(HostName, String)> {
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
