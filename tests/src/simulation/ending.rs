//! How an agent comes to its end at the word of the fleet: everything is stopped, whoever waits is answered,
//! the controller is taken leave of, and the keeper goes, too. After a reload there is a new agent at once,
//! after a shutdown when somebody starts one.

use std::time::Duration;

use rsv_agent::{
    hub::{ActOn, UnderWay},
    link::commands::{
        ending::{arrived, is_ending, is_reloaded, shut_down},
        ledger::Begun,
    },
};
use rsv_proto::wire::{
    self, Action, CommandResult, StartAction, TargetResult, action::Verb, agent_message::Message,
};

use super::{
    agent::{Agent, AgentEvent, ToDesk},
    desk::Sequel,
    flaw::Flaw,
    host::Host,
    programs::{Asker, Programs},
    world::{Event, Stage},
};

/// How long an agent takes to part, at most.
const PARTING: Duration = Duration::from_secs(10);

/// Where an agent is on its way.
#[derive(Debug, Default)]
pub(super) enum Course {
    #[default]
    Serving,
    /// Everything is being stopped; these wait for the end.
    Stopping(Ending, Vec<Asker>),
    /// Everything is stopped.
    Parting(Ending),
}

/// What comes after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Restart,
    Exit,
}

impl Host {
    /// Begins to end, or says that this is under way.
    pub(super) fn end(&mut self, stage: &mut Stage, id: &Asker, ending: Ending) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        if agent.programs.is_ending() {
            return self.finish(id.clone(), vec![is_ending()]);
        }
        let is_awaited = ending == Ending::Exit;
        let waiting = is_awaited.then(|| id.clone()).into_iter().collect();
        agent.course = Course::Stopping(ending, waiting);
        self.keeper.entrust();
        stage.witness.ends(self.number, id);
        if stage.flaw == Some(Flaw::EarlyShutdown) && is_awaited {
            self.finish(id.clone(), shut_down());
        }
        self.with_programs(stage, Programs::end);
    }

    fn finish(&mut self, id: Asker, results: Vec<TargetResult>) {
        if let Some(agent) = &mut self.agent {
            let result = CommandResult { id, results };
            agent.inbox.push_back(ToDesk::Finished(result));
        }
    }

    /// Answers whoever waits, once everything is stopped.
    pub(super) fn stop_serving(&mut self, stage: &mut Stage) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let Course::Stopping(ending, _) = agent.course else {
            return;
        };
        if !agent.programs.is_at_rest() {
            return;
        }
        let former = std::mem::replace(&mut agent.course, Course::Parting(ending));
        let unfinished = agent.roster.give_up();
        self.with_programs(stage, Programs::give_up);
        for id in unfinished {
            self.finish(id, vec![is_ending()]);
        }
        if let Course::Stopping(_, waiting) = former {
            for id in waiting {
                self.finish(id, shut_down());
            }
        }
        self.plan(stage, PARTING, AgentEvent::Parted);
    }

    /// Ends the agent when all is said, and noted, that is to be.
    pub(super) fn part(&mut self, stage: &mut Stage) {
        let Some(agent) = &self.agent else {
            return;
        };
        let is_parting = matches!(agent.course, Course::Parting(_));
        let is_idle = agent.inbox.is_empty() && agent.todo.is_empty() && agent.writing.is_none();
        if is_parting && is_idle && agent.desk.is_settled() {
            self.leave(stage, true);
        }
    }

    /// The agent goes, and the keeper with it.
    pub(super) fn leave(&mut self, stage: &mut Stage, is_in_order: bool) {
        let Some(agent) = &self.agent else {
            return;
        };
        let Course::Parting(ending) = agent.course else {
            return;
        };
        if let Some(connection) = agent.connection() {
            let reason = "ending".to_owned();
            let goodbye = Message::Goodbye(wire::Goodbye { reason });
            stage.send_up(connection, Some(goodbye));
            stage.send_up(connection, None);
            stage.cut_silently(connection);
        }
        if let Some(record) = self.agent.take().and_then(Agent::half_written)
            && stage.dice.chance(500)
        {
            self.disk.commands.push(record);
        }
        self.keeper.go();
        stage.witness.ended(self.number, is_in_order);
        let pause = match ending {
            Ending::Restart => stage.dice.millis(50, 500),
            Ending::Exit => stage.dice.millis(500, 8_000),
        };
        stage.schedule.after(pause, Event::StartAgent(self.number));
    }

    /// Goes on with a reload of a former agent, if this one is what it has brought.
    pub(super) fn has_come_of(&mut self, stage: &mut Stage, begun: &Begun, id: &Asker) -> bool {
        let Some(agent) = &mut self.agent else {
            return false;
        };
        let now = agent.programs.status(&["all".to_owned()]);
        if !is_reloaded(begun, &now) || stage.flaw == Some(Flaw::DoubleReload) {
            return false;
        }
        let (results, coming) = arrived(&now);
        let start = |names: &Vec<String>| ActOn {
            programs: names.clone(),
            action: Action {
                verb: Some(Verb::Start(StartAction {})),
            },
            exactly: names.clone(),
            actor: String::new(),
            under_way: UnderWay::Awaited,
        };
        let acts: Vec<ActOn> = Some(&coming)
            .filter(|c| !c.is_empty())
            .map(start)
            .into_iter()
            .collect();
        self.run(stage, id, &acts, Sequel::Arrival(results));
        true
    }
}
