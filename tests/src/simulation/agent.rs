//! An agent: its session, its desk of commands and its programs, each the product's own. What is here
//! carries out what they say, as the agent's tasks do, and may be killed between any two things.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use futures_util::FutureExt as _;
use rsv_agent::{
    desired::Desired,
    hub::ActOn,
    journal::{Item, Journal, JournalReader},
    link::{
        backoff,
        clock::Moment,
        commands::{
            desk::{Desk, Todo},
            ledger::Record,
        },
        session::{End, Input, Order, Output, Session},
    },
};
use rsv_proto::{
    digest::DigestMirror,
    limits::PROTOCOL,
    time::to_wire,
    wire::{self, CommandResult, agent_message::Message as Ours},
};

use super::{
    desk::Running,
    ending::Course,
    flaw::Flaw,
    host::Host,
    keeper::Report,
    network::ConnectionId,
    programs::{Asker, Programs, Yard},
    roster::Roster,
    world::{Event, Stage},
};

/// What the steady count of a host shows when it has just booted.
const BOOTING: Duration = Duration::from_secs(20);

/// After such a pause it is tried again to start an agent whose keeper is still stopping everything.
const ANOTHER_TRY: Duration = Duration::from_millis(300);

/// What happens to an agent by itself.
#[derive(Debug)]
pub(super) enum AgentEvent {
    Dial,
    /// The session's deadline, as it was planned.
    SessionTimer(Duration),
    /// A machine's.
    ProgramTimer,
    Report(Report),
    /// The hub gives the snapshot that this connection has asked for.
    Snapshot(ConnectionId),
    /// What was written is on the disk.
    Kept,
    /// What is wanted was read.
    Desired(wire::Desired),
    /// The configuration was read.
    FileRead,
    /// It has taken too long to part.
    Parted,
    /// With the one mistake: what was done is done again.
    Again(Box<ActOn>),
}

/// An agent's process.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) number: u64,
    instance: String,
    pub(super) journal: Journal,
    mirror: DigestMirror,
    pub(super) link: Option<Link>,
    failures: u32,
    pub(super) desk: Desk,
    pub(super) todo: VecDeque<Todo>,
    pub(super) inbox: VecDeque<ToDesk>,
    pub(super) writing: Option<Record>,
    /// Results under way, by command.
    pub(super) running: BTreeMap<Asker, Running>,
    pub(super) programs: Programs,
    pub(super) roster: Roster,
    pub(super) course: Course,
    program_timer: Option<Duration>,
}

/// What waits for the owner of the commands.
#[derive(Debug)]
pub(super) enum ToDesk {
    Opened,
    Order(Order),
    Acknowledged(Vec<String>),
    Finished(CommandResult),
}

/// A session, or what is to become one.
#[derive(Debug)]
pub(super) struct Link {
    connection: ConnectionId,
    session: Session,
    was_open: bool,
    reader: Option<JournalReader>,
    /// Absent: the owner of the commands does not know this session yet.
    pub(super) results: Option<VecDeque<CommandResult>>,
    /// The number of what is wanted that was said to be kept to, and the latest that was heard.
    obeyed: u64,
    heard: u64,
    timer: Option<Duration>,
}

impl Agent {
    /// What was being written to the notes on commands.
    pub(super) fn half_written(self) -> Option<Record> {
        self.writing
    }

    /// The connection, if there is one.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.link.as_ref().map(|link| link.connection)
    }

    /// Why it is not at rest; absent: it is.
    pub(super) fn unrest(&self) -> Option<String> {
        if !self.programs.is_settled() {
            return Some("a program is on its way".into());
        }
        if let Some(key) = self.programs.defiant() {
            return Some(format!("{key} is held and up"));
        }
        if let Some(command) = self.running.keys().next() {
            return Some(format!("command {command} has not finished"));
        }
        if self.programs.is_ending() {
            return Some("it is at its end".into());
        }
        if let Some(command) = self.roster.unrest() {
            return Some(format!("command {command} has not finished"));
        }
        let owes = self.desk.opened().len();
        (owes > 0).then(|| format!("{owes} results are not acknowledged"))
    }

    /// Every program as it is.
    pub(super) fn statuses(&self) -> Vec<wire::ProcessStatus> {
        self.programs.statuses()
    }
}

impl Link {
    /// What is wanted and kept to, if that was not said yet.
    fn newly_obeyed(&mut self, kept: u64, is_hasty: bool) -> Option<u64> {
        let obeyed = match is_hasty {
            true => kept.max(self.heard),
            false => kept,
        };
        let is_new = self.was_open && obeyed > self.obeyed;
        self.obeyed = self.obeyed.max(obeyed);
        is_new.then_some(obeyed)
    }
}

impl Host {
    /// Starts the agent.
    pub(super) fn start_agent(&mut self, stage: &mut Stage) {
        if self.agent.is_some() || stage.schedule.now() < self.down_until {
            return;
        }
        if self.keeper.is_stopping() {
            // One that came now would be told to end.
            let event = Event::StartAgent(self.number);
            return stage.schedule.after(ANOTHER_TRY, event);
        }
        if self.keeper.is_entrusted() {
            self.keeper.go();
            stage.witness.ended(self.number, false);
        }
        self.starts += 1;
        self.disk.epoch += 1;
        let journal = Journal::new(self.disk.epoch, self.kept);
        stage.witness.started(self.number, &self.disk.file);
        let mut post = self.post();
        post.agent = Some(self.starts);
        let mut yard = Yard {
            stage,
            keeper: &mut self.keeper,
            journal: &journal,
            post,
            booted: self.booted,
            answers: Vec::new(),
        };
        let desired = Desired::of(self.disk.desired.clone());
        let programs = Programs::adopted(&mut yard, &self.disk.file, desired);
        let (desk, unfinished) = Desk::restored(&self.boot_id(), self.disk.commands.clone());
        self.agent = Some(Agent {
            number: self.starts,
            instance: format!("{:x}", stage.dice.number()),
            journal,
            mirror: DigestMirror::default(),
            link: None,
            failures: 0,
            desk,
            todo: VecDeque::new(),
            inbox: VecDeque::new(),
            writing: None,
            running: BTreeMap::new(),
            programs,
            roster: Roster::new(&self.disk.file),
            course: Course::default(),
            program_timer: None,
        });
        for begun in unfinished {
            self.resume(stage, &begun);
        }
        self.plan(stage, Duration::from_millis(1), AgentEvent::Dial);
        self.go_on(stage);
    }

    /// Something happens to the agent; one that is dead by now does not hear of it.
    pub(super) fn agent_event(&mut self, stage: &mut Stage, number: u64, event: AgentEvent) {
        if self
            .agent
            .as_ref()
            .is_none_or(|agent| agent.number != number)
        {
            return;
        }
        match event {
            AgentEvent::Dial => self.dial(stage),
            AgentEvent::SessionTimer(at) => {
                let link = self.agent.as_mut().and_then(|agent| agent.link.as_mut());
                if let Some(link) = link.filter(|link| link.timer == Some(at)) {
                    link.timer = None;
                    self.session_input(stage, Input::Elapsed);
                }
            }
            AgentEvent::ProgramTimer => {
                self.with_programs(stage, Programs::elapsed);
                if let Some(agent) = &mut self.agent {
                    agent.program_timer = None;
                }
            }
            AgentEvent::Report(report) => {
                self.with_programs(stage, |programs, yard| programs.reported(yard, report));
            }
            AgentEvent::Snapshot(connection) => self.give_snapshot(stage, connection),
            AgentEvent::Kept => self.kept(),
            AgentEvent::Desired(desired) => self.desire(stage, desired),
            AgentEvent::FileRead => self.file_read(stage),
            AgentEvent::Parted => self.leave(stage, false),
            AgentEvent::Again(act) => self.with_programs(stage, |programs, yard| {
                programs.act(yard, &act, &String::new());
            }),
        }
        self.go_on(stage);
    }

    /// Something came on a connection; absent: its end.
    pub(super) fn heard(
        &mut self,
        stage: &mut Stage,
        (connection, agent): (ConnectionId, u64),
        message: Option<wire::ControllerMessage>,
    ) {
        let is_it = |known: &&mut Agent| known.number == agent;
        let Some(known) = self.agent.as_mut().filter(is_it) else {
            return;
        };
        if known.connection() != Some(connection) {
            return;
        }
        match message {
            Some(message) => self.session_input(stage, Input::Said(message.message)),
            None => self.hang_up(stage, None),
        }
        self.go_on(stage);
    }

    /// Does what need not wait, and plans what has to.
    fn go_on(&mut self, stage: &mut Stage) {
        self.work_at_job(stage);
        self.stop_serving(stage);
        self.work_at_desk(stage);
        self.say_what_is_new(stage);
        self.part(stage);
        let (booted, now) = (self.booted, stage.schedule.now());
        let Some(agent) = &mut self.agent else {
            return;
        };
        let deadline = agent.programs.deadline();
        let program_at = deadline.map(|at| (booted + at.since_origin()).max(now));
        let mut plans = Vec::new();
        if let Some(at) = program_at
            && agent.program_timer.is_none_or(|planned| at < planned)
        {
            agent.program_timer = Some(at);
            plans.push((at, AgentEvent::ProgramTimer));
        }
        if let Some(link) = &mut agent.link {
            let deadline = link.session.deadline();
            let at = deadline.map(|at| (at.saturating_sub(BOOTING) + booted).max(now));
            if at != link.timer {
                link.timer = at;
                plans.extend(at.map(|at| (at, AgentEvent::SessionTimer(at))));
            }
        }
        let (host, number) = (self.number, agent.number);
        for (at, event) in plans {
            stage.schedule.at(at, Event::Agent(host, number, event));
        }
    }

    pub(super) fn plan(&self, stage: &mut Stage, pause: Duration, event: AgentEvent) {
        if let Some(agent) = &self.agent {
            let event = Event::Agent(self.number, agent.number, event);
            stage.schedule.after(pause, event);
        }
    }

    pub(super) fn moment(&self, stage: &Stage) -> Moment {
        Moment {
            tick: BOOTING + stage.schedule.now().saturating_sub(self.booted),
            // Every host's clock is wrong in its own way.
            wall: stage.schedule.wall() + Duration::from_secs(37 * self.number as u64),
        }
    }

    fn dial(&mut self, stage: &mut Stage) {
        let now = self.moment(stage);
        let boot_id = self.boot_id();
        let Some(agent) = self.agent.as_mut().filter(|agent| agent.link.is_none()) else {
            return;
        };
        let connection = stage.connect(self.number, agent.number);
        agent.link = Some(Link {
            connection,
            session: Session::new(now, std::mem::take(&mut agent.mirror)),
            was_open: false,
            reader: None,
            results: None,
            obeyed: self.disk.desired.generation,
            heard: 0,
            timer: None,
        });
        let hello = wire::Hello {
            desired_generation: Some(self.disk.desired.generation),
            boot_id,
            epoch: agent.journal.epoch(),
            protocol_min: *PROTOCOL.start(),
            protocol_max: *PROTOCOL.end(),
            version: "simulated".into(),
            labels: Default::default(),
            oldest_seq: agent.journal.oldest_seq(),
            newest_seq: agent.journal.newest_seq(),
            sent_at: Some(to_wire(now.wall)),
            instance: agent.instance.clone(),
            configured: None,
        };
        stage
            .witness
            .obeys(self.number, self.disk.desired.generation);
        stage.send_up(connection, Some(Ours::Hello(hello)));
    }

    fn session_input(&mut self, stage: &mut Stage, input: Input) {
        let now = self.moment(stage);
        let link = self.agent.as_mut().and_then(|agent| agent.link.as_mut());
        let Some(link) = link else {
            return;
        };
        for output in link.session.handle(now, input) {
            match output {
                Output::End(end) => return self.hang_up(stage, Some(&end)),
                output => self.perform(stage, output),
            }
        }
    }

    fn perform(&mut self, stage: &mut Stage, output: Output) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let Some(link) = &mut agent.link else {
            return;
        };
        match output {
            Output::Send(message) => stage.send_up(link.connection, Some(message)),
            Output::Opened => {
                link.was_open = true;
                agent.inbox.push_back(ToDesk::Opened);
            }
            Output::TakeSnapshot => {
                let event = AgentEvent::Snapshot(link.connection);
                let pause = stage.dice.millis(0, 5);
                self.plan(stage, pause, event);
            }
            Output::Follow { after } => {
                link.reader = Some(agent.journal.subscribe_after(after));
            }
            Output::Order(order) => agent.inbox.push_back(ToDesk::Order(order)),
            Output::Acknowledged(ids) => agent.inbox.push_back(ToDesk::Acknowledged(ids)),
            Output::Desired(desired) => {
                link.heard = desired.generation;
                let pause = stage.dice.millis(0, 5);
                self.plan(stage, pause, AgentEvent::Desired(desired));
            }
            Output::OpenLog(_) | Output::End(_) => {}
        }
    }

    fn give_snapshot(&mut self, stage: &mut Stage, connection: ConnectionId) {
        let agent = self.agent.as_ref();
        let agent = agent.filter(|agent| agent.connection() == Some(connection));
        if let Some(agent) = agent {
            let snapshot = agent.programs.snapshot(&agent.journal);
            self.session_input(stage, Input::Snapshot(snapshot));
        }
    }

    /// Changes first, so that nobody who has a result has an older view.
    fn say_what_is_new(&mut self, stage: &mut Stage) {
        let kept = self.disk.desired.generation;
        let is_hasty = stage.flaw == Some(Flaw::HastyWord);
        loop {
            let link = self.agent.as_mut().and_then(|agent| agent.link.as_mut());
            let Some(link) = link else {
                return;
            };
            let item = match &mut link.reader {
                Some(reader) if link.session.is_following() => reader.next().now_or_never(),
                _ => None,
            };
            let input = match item {
                Some(Item::Ended) => return,
                Some(item) => Input::Journal(item),
                None => match link.results.as_mut().and_then(VecDeque::pop_front) {
                    Some(result) => Input::Outcome(result),
                    None => match link.newly_obeyed(kept, is_hasty) {
                        Some(generation) => {
                            stage.witness.obeys(self.number, generation);
                            Input::Obeyed(generation)
                        }
                        None => return,
                    },
                },
            };
            self.session_input(stage, input);
        }
    }

    /// The session is over; after a pause there is another try.
    fn hang_up(&mut self, stage: &mut Stage, end: Option<&End>) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let Some(link) = agent.link.take() else {
            return;
        };
        stage.send_up(link.connection, None);
        stage.cut_silently(link.connection);
        agent.failures = match link.was_open {
            true => 1,
            false => agent.failures + 1,
        };
        agent.mirror = link.session.into_mirror();
        let jitter = stage.dice.fraction();
        let pause = match end {
            Some(End::Dismissed { retry_after, .. }) => backoff::asked_pause(*retry_after, jitter),
            _ => backoff::pause(agent.failures - 1, jitter),
        };
        self.plan(stage, pause, AgentEvent::Dial);
    }

    /// To the disk first, then it is obeyed.
    fn desire(&mut self, stage: &mut Stage, told: wire::Desired) {
        let desired = Desired::of(told.clone());
        if desired.is_newer_than(&Desired::of(self.disk.desired.clone())) {
            self.disk.desired = told;
            stage
                .witness
                .kept(self.number, self.disk.desired.generation);
            self.with_programs(stage, |programs, yard| programs.desire(yard, desired));
        }
    }
}
