//! What an agent supervises of what is configured, and the commands that change that: one after the other, as
//! the agent's roster does it. What is told of an update is the product's own.

use std::collections::{BTreeMap, VecDeque};

use rsv_agent::{
    hub::{ActOn, Key, UnderWay, decide},
    link::commands::{
        configuration::{Deed, group_result, merge, one_each, or_nothing, pids, settle},
        ending::is_ending,
    },
};
use rsv_proto::{
    process::display_name,
    wire::{
        Action, CommandResult, GroupOutcome, Outcome, Refusal, StartAction, Step, TargetResult,
        action::Verb,
    },
};

use super::{
    agent::{AgentEvent, ToDesk},
    ending::Ending,
    file::{Change, File, Part},
    flaw::Flaw,
    host::Host,
    programs::{Asker, Programs},
    world::Stage,
};

/// What is supervised, and what is to be done about that.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Read last.
    candidate: File,
    active: File,
    waiting: VecDeque<Job>,
    job: Option<Job>,
}

/// A command about the configuration.
#[derive(Debug)]
struct Job {
    id: Asker,
    deed: Deed,
    names: Vec<String>,
    /// The processes that there were.
    before: BTreeMap<String, u32>,
    parts: VecDeque<Part>,
    /// What is told when all that has to stop has stopped.
    rows: Vec<TargetResult>,
    results: Vec<TargetResult>,
    stage: JobStage,
}

/// What a job waits for.
#[derive(Debug)]
enum JobStage {
    /// Its turn, and the file.
    Reading,
    /// So many programs that have to stop; of which group that is to go.
    Stopping(usize, Option<String>),
    /// So many programs that are on their way up.
    Starting(usize),
}

impl Roster {
    /// Of an agent that starts with this file.
    pub(super) fn new(file: &File) -> Self {
        Self {
            candidate: file.clone(),
            active: file.clone(),
            ..Self::default()
        }
    }

    /// The hub has ended: gives the commands that come to nothing.
    pub(super) fn give_up(&mut self) -> Vec<Asker> {
        let jobs = self.job.take().into_iter().chain(self.waiting.drain(..));
        jobs.map(|job| job.id).collect()
    }

    /// A command that is not finished.
    pub(super) fn unrest(&self) -> Option<&Asker> {
        self.job.as_ref().map(|job| &job.id)
    }

    /// Takes a result that a job waits for; whether it is one.
    pub(super) fn take(&mut self, asker: &Asker, result: &TargetResult) -> bool {
        let Some(job) = self.job.as_mut().filter(|job| job.id == *asker) else {
            return false;
        };
        match &mut job.stage {
            JobStage::Reading => {}
            JobStage::Stopping(left, gone) => {
                *left = left.saturating_sub(1);
                if let Some(group) = gone.take_if(|_| !is_fine(result)) {
                    job.rows = vec![failed(&group)];
                }
            }
            JobStage::Starting(left) => {
                *left = left.saturating_sub(1);
                merge(&mut job.results, vec![result.clone()]);
            }
        }
        true
    }
}

impl Host {
    /// Begins with a command about the configuration, or lets it wait for its turn.
    pub(super) fn configure(&mut self, stage: &mut Stage, id: &Asker, deed: Deed, act: &ActOn) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let all = agent.programs.status(&["all".to_owned()]);
        if deed == Deed::Clear {
            let keys = decide::resolve_exactly(&agent.programs.order, act).keys;
            let cleared = |key: &Key| row(&key.to_string(), &[Step::Cleared]);
            let results = keys.iter().map(cleared).collect();
            let id = id.clone();
            let result = CommandResult { id, results };
            return agent.inbox.push_back(ToDesk::Finished(result));
        }
        if deed == Deed::Shutdown {
            return self.end(stage, id, Ending::Exit);
        }
        agent.roster.waiting.push_back(Job {
            id: id.clone(),
            deed,
            names: act.programs.clone(),
            before: pids(&all),
            parts: VecDeque::new(),
            rows: Vec::new(),
            results: Vec::new(),
            stage: JobStage::Reading,
        });
        self.next_job(stage);
    }

    fn next_job(&mut self, stage: &mut Stage) {
        let roster = self.agent.as_mut().map(|agent| &mut agent.roster);
        let Some(roster) = roster.filter(|roster| roster.job.is_none()) else {
            return;
        };
        roster.job = roster.waiting.pop_front();
        if roster.job.is_some() {
            let pause = stage.dice.millis(0, 20);
            self.plan(stage, pause, AgentEvent::FileRead);
        }
    }

    /// The file is read: as it is now.
    pub(super) fn file_read(&mut self, stage: &mut Stage) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let Some(mut job) = agent.roster.job.take() else {
            return;
        };
        let wanted = self.disk.file.clone();
        let outdated = agent.programs.outdated();
        match job.deed {
            Deed::Update | Deed::Reread => {
                let names = match job.deed {
                    Deed::Update => &job.names[..],
                    _ => &["all".to_owned()],
                };
                let plan = wanted.plan(&agent.roster.active, &outdated, names);
                agent.roster.candidate = wanted;
                if job.deed == Deed::Update {
                    job.parts = plan.into();
                } else {
                    job.results = plan.iter().map(|part| row(&part.name(), &[])).collect();
                }
            }
            Deed::Reload => {
                self.end(stage, &job.id, Ending::Restart);
                return self.next_job(stage);
            }
            Deed::Add | Deed::Remove | Deed::Clear | Deed::Shutdown => {}
        }
        if job.deed == Deed::Update {
            if stage.flaw == Some(Flaw::IdleUpdate) {
                job.parts.clear();
            }
            if stage.flaw == Some(Flaw::NeedlessRestart) {
                job.parts = everything(&agent.roster.active).into();
            }
        }
        for name in std::mem::take(&mut job.names) {
            match job.deed {
                Deed::Add => job.results.push(self.add_group(stage, name)),
                Deed::Remove => job.results.push(self.remove_group(stage, name)),
                Deed::Update | Deed::Reread | Deed::Clear | Deed::Reload | Deed::Shutdown => {}
            }
        }
        job.stage = JobStage::Stopping(0, None);
        if let Some(agent) = &mut self.agent {
            agent.roster.job = Some(job);
        }
        self.work_at_job(stage);
    }

    fn add_group(&mut self, stage: &mut Stage, name: String) -> TargetResult {
        let outcome = match &mut self.agent {
            Some(agent) if agent.programs.is_ending() => GroupOutcome::ShuttingDown,
            Some(agent) if agent.roster.active.has_group(&name) => GroupOutcome::AlreadyActive,
            Some(agent) if agent.roster.candidate.has_group(&name) => {
                let Roster {
                    candidate, active, ..
                } = &mut agent.roster;
                active.take_group(&name, candidate);
                let added = additions(candidate, &name);
                self.reconfigure(stage, added, &String::new());
                GroupOutcome::Done
            }
            _ => GroupOutcome::NoSuchGroup,
        };
        group_result(Deed::Add, name, outcome)
    }

    fn remove_group(&mut self, stage: &mut Stage, name: String) -> TargetResult {
        let outcome = match &mut self.agent {
            Some(agent) if agent.programs.is_ending() => GroupOutcome::ShuttingDown,
            Some(agent) if agent.roster.active.has_group(&name) => {
                let slots = agent.programs.slots.iter();
                let members = slots.filter(|(key, _)| key.group == name);
                if members.clone().any(|(_, slot)| !slot.phase.is_at_rest()) {
                    GroupOutcome::StillRunning
                } else {
                    let gone = members.map(|(key, _)| Change::Remove(key.clone()));
                    let gone = gone.collect();
                    agent.roster.active.take_group(&name, &File::default());
                    self.reconfigure(stage, gone, &String::new());
                    GroupOutcome::Done
                }
            }
            _ => GroupOutcome::NoSuchGroup,
        };
        group_result(Deed::Remove, name, outcome)
    }

    fn reconfigure(&mut self, stage: &mut Stage, changes: Vec<Change>, asker: &Asker) -> usize {
        let mut left = 0;
        self.with_programs(stage, |programs, yard| {
            left = programs.reconfigure(yard, changes, asker);
        });
        left
    }

    /// Goes on with the job as far as that goes without waiting.
    pub(super) fn work_at_job(&mut self, stage: &mut Stage) {
        loop {
            let Some(agent) = &mut self.agent else {
                return;
            };
            let Some(job) = &mut agent.roster.job else {
                return;
            };
            match &mut job.stage {
                JobStage::Reading => return,
                JobStage::Stopping(left, _) | JobStage::Starting(left) if *left > 0 => return,
                JobStage::Starting(_) => return self.finish_job(stage),
                JobStage::Stopping(..) => {
                    let mut rows = std::mem::take(&mut job.rows);
                    job.results.append(&mut rows);
                }
            }
            if agent.programs.is_ending() && !job.parts.is_empty() {
                job.parts.clear();
                job.results.push(is_ending());
            }
            match job.parts.pop_front() {
                Some(part) => self.begin_part(stage, part),
                None => self.await_starts(stage),
            }
        }
    }

    fn begin_part(&mut self, stage: &mut Stage, part: Part) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let Roster {
            candidate,
            active,
            job: Some(job),
            ..
        } = &mut agent.roster
        else {
            return;
        };
        job.rows = part.rows(candidate);
        let mut gone = None;
        let changes = match part {
            Part::Removed(group, members) => {
                active.take_group(&group, &File::default());
                gone = Some(group);
                members.into_iter().map(Change::Remove).collect()
            }
            Part::Changed(group, changes) => {
                active.take_group(&group, candidate);
                changes
            }
            Part::Added(groups) => {
                let mut changes = Vec::new();
                for group in groups {
                    active.take_group(&group, candidate);
                    changes.extend(additions(candidate, &group));
                }
                changes
            }
        };
        let id = job.id.clone();
        // Results may come before it is known how many there will be.
        job.stage = JobStage::Stopping(usize::MAX, gone);
        let number = self.reconfigure(stage, changes, &id);
        let job = self.agent.as_mut().and_then(|a| a.roster.job.as_mut());
        if let Some(JobStage::Stopping(left, _)) = job.map(|job| &mut job.stage) {
            *left = number - (usize::MAX - *left);
        }
    }

    /// An update is over when what it started is up, or has failed.
    fn await_starts(&mut self, stage: &mut Stage) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let now = agent.programs.status(&["all".to_owned()]);
        let Some(job) = &mut agent.roster.job else {
            return;
        };
        job.results = one_each(std::mem::take(&mut job.results));
        let on_their_way = settle(&mut job.results, &job.before, &now);
        if job.deed != Deed::Update || on_their_way.is_empty() {
            job.stage = JobStage::Starting(0);
            return;
        }
        let id = job.id.clone();
        job.stage = JobStage::Starting(usize::MAX);
        let act = ActOn {
            programs: on_their_way.clone(),
            action: Action {
                verb: Some(Verb::Start(StartAction {})),
            },
            exactly: on_their_way,
            actor: String::new(),
            under_way: UnderWay::Awaited,
        };
        let mut number = 0;
        self.with_programs(stage, |programs: &mut Programs, yard| {
            number = programs.act(yard, &act, &id);
        });
        let job = self.agent.as_mut().and_then(|a| a.roster.job.as_mut());
        if let Some(JobStage::Starting(left)) = job.map(|job| &mut job.stage) {
            *left = number - (usize::MAX - *left);
        }
    }

    fn finish_job(&mut self, stage: &mut Stage) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        if let Some(Job { id, results, .. }) = agent.roster.job.take() {
            let results = or_nothing(results);
            let result = CommandResult { id, results };
            agent.inbox.push_back(ToDesk::Finished(result));
        }
        self.next_job(stage);
    }
}

impl Part {
    fn name(&self) -> String {
        match self {
            Self::Removed(group, _) | Self::Changed(group, _) => group.clone(),
            Self::Added(groups) => groups.join(","),
        }
    }

    /// What is told of it when it is done.
    fn rows(&self, wanted: &File) -> Vec<TargetResult> {
        match self {
            Self::Removed(group, _) => vec![row(group, &[Step::Removed])],
            Self::Changed(_, changes) => {
                let of = |change: &Change| match change {
                    Change::Add(key, _) => row(&key.to_string(), &[Step::Added, Step::Started]),
                    Change::Restart(key, _) => row(&key.to_string(), &[Step::Started]),
                    Change::Remove(key) => row(&key.to_string(), &[Step::Removed]),
                };
                changes.iter().map(of).collect()
            }
            Self::Added(groups) => {
                let members = groups.iter().flat_map(|group| wanted.group(group));
                let members = members.map(|(key, _)| display_name(&key.group, &key.name));
                let started = [Step::Added, Step::Started];
                members.map(|name| row(&name, &started)).collect()
            }
        }
    }
}

fn additions(file: &File, group: &str) -> Vec<Change> {
    let members = file.group(group);
    let add = |(key, described): (&Key, &_)| {
        let described: &super::file::Described = described;
        Change::Add(key.clone(), described.clone())
    };
    members.map(add).collect()
}

/// A plan that restarts all there is.
fn everything(active: &File) -> Vec<Part> {
    let programs = active.programs();
    let restart = programs.map(|(key, described)| {
        let change = Change::Restart(key.clone(), described.clone());
        Part::Changed(key.group.clone(), vec![change])
    });
    restart.collect()
}

fn row(program: &str, steps: &[Step]) -> TargetResult {
    TargetResult {
        program: program.to_owned(),
        outcome: Outcome::Done.into(),
        steps: steps.iter().map(|step| (*step).into()).collect(),
        ..Default::default()
    }
}

/// A group of which a process cannot be stopped.
fn failed(group: &str) -> TargetResult {
    TargetResult {
        outcome: Outcome::Failed.into(),
        refusal: Refusal::Other.into(),
        ..row(group, &[])
    }
}

/// Somebody else may have stopped it meanwhile.
fn is_fine(result: &TargetResult) -> bool {
    let refusal = result.refusal();
    result.outcome() == Outcome::Done
        || matches!(refusal, Refusal::NotRunning | Refusal::Superseded)
}
