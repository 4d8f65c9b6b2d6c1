//! An agent's owner of commands: does what the desk says, and waits for the disk where the desk has it wait.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use rsv_agent::{
    hub::ActOn,
    link::commands::{
        configuration::Deed,
        desk::Todo,
        ledger::Begun,
        resume::{Resumption, given_up},
        run::{pids, request},
    },
};
use rsv_proto::wire::{Command, CommandResult, Outcome, TargetResult, action::Verb};

use super::{
    agent::{AgentEvent, ToDesk},
    flaw::Flaw,
    host::Host,
    programs::{Asker, Programs, Yard},
    world::Stage,
};

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running {
    left: usize,
    results: Vec<TargetResult>,
    sequel: Sequel,
}

/// What is made of the results.
#[derive(Debug)]
pub(super) enum Sequel {
    /// They are told.
    Nothing,
    /// The command was begun by a former agent.
    Resumption(Resumption),
    /// It was a reload, of which this is told before what has gone wrong.
    Arrival(Vec<TargetResult>),
}

impl Host {
    /// What the owner of the commands does until it has to wait for the disk.
    pub(super) fn work_at_desk(&mut self, stage: &mut Stage) {
        loop {
            let now = self.moment(stage).tick;
            let Some(agent) = &mut self.agent else {
                return;
            };
            if agent.writing.is_some() {
                return;
            }
            if let Some(todo) = agent.todo.pop_front() {
                self.carry_out(stage, now, todo);
                continue;
            }
            let Some(ask) = agent.inbox.pop_front() else {
                return;
            };
            let todo = match ask {
                ToDesk::Opened => {
                    if let Some(link) = &mut agent.link {
                        link.results = Some(VecDeque::new());
                    }
                    agent.desk.opened()
                }
                ToDesk::Order(order) => {
                    stage.witness.ordered();
                    agent.desk.ordered(now, order)
                }
                ToDesk::Acknowledged(ids) => agent.desk.acknowledged(&ids),
                ToDesk::Finished(result) => agent.desk.finished(result),
            };
            agent.todo.extend(todo);
        }
    }

    fn carry_out(&mut self, stage: &mut Stage, now: Duration, todo: Todo) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        match todo {
            Todo::Keep(record) => {
                agent.writing = Some(record);
                let pause = match stage.dice.chance(5) {
                    true => stage.dice.millis(100, 2000),
                    false => stage.dice.millis(0, 3),
                };
                self.plan(stage, pause, AgentEvent::Kept);
            }
            Todo::Tell(result) => {
                let keeper = &self.keeper;
                stage
                    .witness
                    .told(self.number, &result, |key| keeper.alive(key));
                let results = agent.link.as_mut().and_then(|link| link.results.as_mut());
                if let Some(results) = results {
                    results.push_back(result);
                }
            }
            Todo::Look(order) => {
                let status = agent.programs.status(&order.command.programs);
                let before = pids(&order.command, &status);
                stage.witness.looked(self.number, &order.command, &before);
                agent.todo.extend(agent.desk.looked(order, before));
            }
            Todo::Check(order) => agent.todo.extend(agent.desk.noted(now, order)),
            Todo::Run(command) => {
                let wall = stage.schedule.wall();
                stage.witness.begun(self.number, &command, wall);
                let request = request(&command);
                if let Some(deed) = Deed::of(&request.action) {
                    return self.configure(stage, &command.id, deed, &request);
                }
                let mut request = request;
                if stage.flaw == Some(Flaw::BroadSignal)
                    && matches!(request.action.verb, Some(Verb::Signal(_)))
                {
                    request.programs = vec!["all".to_owned()];
                    request.exactly.clear();
                }
                let acts = std::slice::from_ref(&request);
                self.run(stage, &command.id, acts, Sequel::Nothing);
                self.be_early(stage, &command);
                self.be_eager(stage, request);
            }
        }
    }

    /// Hands a command's actions to the hub; its results are collected.
    pub(super) fn run(&mut self, stage: &mut Stage, id: &Asker, acts: &[ActOn], sequel: Sequel) {
        if let Some(agent) = &mut self.agent {
            let running = Running {
                left: usize::MAX,
                results: Vec::new(),
                sequel,
            };
            agent.running.insert(id.clone(), running);
        }
        let mut left = 0;
        self.with_programs(stage, |programs, yard| {
            for act in acts {
                left += programs.act(yard, act, id);
            }
        });
        if let Some(running) = self.agent.as_mut().and_then(|a| a.running.get_mut(id)) {
            running.left = left;
        }
        self.collect();
    }

    /// Finishes what a former agent began.
    pub(super) fn resume(&mut self, stage: &mut Stage, begun: &Begun) {
        let Some(order) = begun.order() else {
            return;
        };
        let now = self.moment(stage).tick;
        let Some(agent) = &self.agent else {
            return;
        };
        let status = agent.programs.status(&["all".to_owned()]);
        let id = &order.command.id;
        if let Some(deed) = order.command.action.as_ref().and_then(Deed::of) {
            if deed == Deed::Reload && self.has_come_of(stage, begun, id) {
                return;
            }
            if let Some(result) = given_up(now, &order) {
                let agent = self.agent.as_mut();
                return agent.map_or((), |a| a.inbox.push_back(ToDesk::Finished(result)));
            }
            stage.witness.resumed(self.number, id);
            return self.configure(stage, id, deed, &request(&order.command));
        }
        stage.witness.resumed(self.number, id);
        let resumption = Resumption::new(now, &order, begun, &status);
        let acts = resumption.acts().to_vec();
        let sequel = Sequel::Resumption(resumption);
        self.run(stage, &order.command.id, &acts, sequel);
    }

    /// Works on the programs, and takes in the results that come of it.
    pub(super) fn with_programs(
        &mut self,
        stage: &mut Stage,
        work: impl FnOnce(&mut Programs, &mut Yard<'_>),
    ) {
        let post = self.post();
        let Some(agent) = &mut self.agent else {
            return;
        };
        let mut yard = Yard {
            stage,
            keeper: &mut self.keeper,
            journal: &agent.journal,
            post,
            booted: self.booted,
            answers: Vec::new(),
        };
        work(&mut agent.programs, &mut yard);
        for (asker, result) in yard.answers {
            if let Some(running) = agent.running.get_mut(&asker) {
                running.results.push(result);
            } else {
                agent.roster.take(&asker, &result);
            }
        }
        self.collect();
    }

    /// With the one mistake: a restart is carried out again, long after it was done.
    fn be_eager(&self, stage: &mut Stage, request: ActOn) {
        let is_restart = matches!(request.action.verb, Some(Verb::Restart(_)));
        if stage.flaw == Some(Flaw::DoubleRestart) && is_restart {
            let again = AgentEvent::Again(Box::new(request));
            self.plan(stage, Duration::from_secs(12), again);
        }
    }

    /// With the one mistake: a stop that has just begun is done.
    fn be_early(&mut self, stage: &Stage, command: &Command) {
        let verb = command.action.and_then(|action| action.verb);
        let is_stop = matches!(verb, Some(Verb::Stop(_)));
        if stage.flaw != Some(Flaw::EarlyStop) || !is_stop {
            return;
        }
        let Some(agent) = &mut self.agent else {
            return;
        };
        if let Some(running) = agent.running.remove(&command.id) {
            let id = command.id.clone();
            let known = running.results.iter().map(|result| result.program.clone());
            let known: BTreeSet<String> = known.collect();
            let waits = |name: &&String| !known.contains(*name);
            let names = exactly(command, &agent.programs);
            let early = names.iter().filter(waits).map(|name| TargetResult {
                program: name.clone(),
                outcome: Outcome::Done.into(),
                ..Default::default()
            });
            let results = running.results.iter().cloned().chain(early).collect();
            let result = CommandResult { id, results };
            agent.inbox.push_back(ToDesk::Finished(result));
        }
    }

    /// Commands that have all their results are finished.
    fn collect(&mut self) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let is_done = |running: &Running| running.results.len() >= running.left;
        let done = agent.running.extract_if(.., |_, running| is_done(running));
        for (id, running) in done.collect::<Vec<_>>() {
            let Running { results, .. } = running;
            let is_trouble = |result: &TargetResult| result.outcome() != Outcome::Done;
            let result = match running.sequel {
                Sequel::Resumption(resumption) => resumption.finish(results),
                Sequel::Nothing => CommandResult { id, results },
                Sequel::Arrival(told) => {
                    let troubles = results.into_iter().filter(is_trouble);
                    let results = told.into_iter().chain(troubles).collect();
                    CommandResult { id, results }
                }
            };
            agent.inbox.push_back(ToDesk::Finished(result));
        }
    }

    pub(super) fn kept(&mut self) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        if let Some(record) = agent.writing.take() {
            self.disk.commands.push(record);
        }
    }
}

/// The programs that a command is for.
fn exactly(command: &Command, programs: &Programs) -> Vec<String> {
    let status = programs.status(&command.programs);
    let named = pids(command, &status).into_iter();
    named.map(|(name, _)| name).collect()
}
