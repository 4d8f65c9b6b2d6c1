//! A run: everything that happens, one step after the other, until all agree or a law is broken.

use std::{fmt, time::Duration};

use rsv_controller::{desired::HostDesired, host::Host as Known, hub::Control};
use rsv_proto::{digest::Digest, name::HostName};

use super::{
    agent::AgentEvent,
    controller::{Controller, Store},
    dice::Dice,
    flaw::Flaw,
    host::Host,
    keeper::KeeperEvent,
    network::{ConnectionId, Mischief, Network},
    operator::Operator,
    schedule::Schedule,
    witness::Witness,
};

/// How many hosts there are.
pub(super) const HOSTS: usize = 50;

/// How long faults go on, at least, and how much longer at most.
const STORM: (u64, u64) = (20_000, 60_000);

/// By then all must agree, counted from the end of the faults.
const PATIENCE: Duration = Duration::from_secs(300);

/// So long an operation that stands still is told to go on; then it is told to end.
const GENTLE: Duration = Duration::from_secs(45);

/// How often it is looked whether they do.
const LOOK: Duration = Duration::from_secs(2);

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    /// The next frame of a connection arrives.
    AtController(ConnectionId),
    AtAgent(ConnectionId),
    StartController,
    ControllerTimer(u64, Duration),
    /// The store has come to an end with what a start of the controller has given it.
    Written(u64),
    /// What is wanted reaches the hub of a start.
    Desire(u64, Vec<(HostName, HostDesired)>),
    StartAgent(usize),
    /// At an agent of this host, if this start of it lives.
    Agent(usize, u64, AgentEvent),
    /// At the keeper of a boot.
    Keeper(usize, u64, KeeperEvent),
    /// The operator does something.
    Act,
    /// Something breaks.
    Fault,
    /// The faults cease.
    Calm,
    /// It is looked at everything.
    Look,
}

/// What all of them work with.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) dice: Dice,
    pub(super) schedule: Schedule<Event>,
    pub(super) network: Network,
    pub(super) witness: Witness,
    pub(super) mischief: Mischief,
    pub(super) is_calm: bool,
    /// A mistake of every host.
    pub(super) flaw: Option<Flaw>,
    /// At so many hosts, the first ones, things are done and break.
    pub(super) focus: usize,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Events.
    pub steps: u64,
    /// Of the run's own time.
    pub elapsed: Duration,
    /// Operations that were answered for.
    pub operations: usize,
    /// Things told of them.
    pub told: usize,
    /// Commands that reached a host, repeated ones too.
    pub commands: u64,
    /// Processes.
    pub spawned: u64,
    /// Things that broke.
    pub faults: u64,
}

struct World {
    stage: Stage,
    hosts: Vec<Host>,
    names: Vec<HostName>,
    controller: Controller,
    operator: Operator,
    figures: Figures,
    calm_since: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            steps,
            elapsed,
            operations,
            told,
            commands,
            spawned,
            faults,
        } = self;
        let seconds = elapsed.as_secs();
        write!(
            f,
            "{steps} steps in {seconds} s of their own time, {operations} operations, {told} lines of \
             their stories, {commands} commands, {spawned} processes, {faults} faults"
        )
    }
}

/// Runs the fleet that follows from a seed.
///
/// # Errors
///
/// Which law was broken, and when.
pub fn simulate(seed: u64) -> Result<Figures, String> {
    simulate_with(seed, None)
}

/// The same with a mistake of every host.
///
/// # Errors
///
/// Which law was broken, and when.
pub fn simulate_with(seed: u64, flaw: Option<Flaw>) -> Result<Figures, String> {
    let mut world = World::new(seed, flaw);
    let is_traced = std::env::var_os("RSV_TRACE").is_some();
    while let Some(event) = world.stage.schedule.next() {
        if is_traced {
            eprintln!("{:?} {event:?}", world.stage.schedule.now());
        }
        let is_look = matches!(event, Event::Look);
        world.step(event);
        let at = world.stage.schedule.now();
        if let Some(law) = world.stage.witness.broken() {
            return Err(format!(
                "after {} steps, at {at:?}: {law}",
                world.figures.steps
            ));
        }
        if is_look && world.stage.is_calm {
            match world.disagreement() {
                None => return Ok(world.figures()),
                Some(why) if at > world.calm_since + PATIENCE => {
                    return Err(format!("there is no agreement: {why}"));
                }
                Some(_) => {}
            }
        }
    }
    Err("nothing happens any more".into())
}

impl World {
    fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut dice = Dice::new(seed);
        // A lie is found by its digest; where there are none, all that is shown must be true.
        let mischief = Mischief {
            disorder: dice.one_of(&[0, 20, 100]),
            lies: dice.one_of(&[0, 0, 30]),
        };
        let focus = dice.one_of(&[HOSTS, HOSTS, 8, 2]);
        let mut stage = Stage {
            dice,
            schedule: Schedule::new(),
            network: Network::default(),
            witness: Witness::default(),
            mischief,
            is_calm: false,
            flaw,
            focus,
        };
        let hosts: Vec<Host> = (0..HOSTS).map(|n| Host::new(n, &mut stage)).collect();
        let names: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
        let controller = Controller::new(Store::new(names.iter().cloned()));
        stage.schedule.at(Duration::ZERO, Event::StartController);
        for host in 0..HOSTS {
            let pause = stage.dice.millis(0, 2000);
            stage.schedule.after(pause, Event::StartAgent(host));
        }
        let storm = stage.dice.millis(STORM.0, STORM.0 + STORM.1);
        stage.schedule.after(storm, Event::Calm);
        for event in [Event::Act, Event::Fault, Event::Look] {
            stage.schedule.after(Duration::from_secs(3), event);
        }
        Self {
            stage,
            hosts,
            names,
            controller,
            operator: Operator::default(),
            figures: Figures::default(),
            calm_since: storm,
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            elapsed: self.stage.schedule.now(),
            operations: self.operator.len(),
            told: self.operator.n_results,
            commands: self.stage.witness.n_ordered,
            spawned: self.stage.witness.n_spawned,
            ..self.figures
        }
    }

    fn step(&mut self, event: Event) {
        self.figures.steps += 1;
        let stage = &mut self.stage;
        match event {
            Event::AtController(connection) => self.at_controller(connection),
            Event::AtAgent(connection) => {
                if let Some((host, agent, frame)) = stage.arrived_down(connection) {
                    self.hosts[host].heard(stage, (connection, agent), frame);
                }
            }
            Event::StartController => {
                let was_up = self.controller.is_up();
                self.controller.start(stage);
                if !was_up {
                    self.operator.watch_again(stage, &mut self.controller);
                }
            }
            Event::ControllerTimer(start, at) => {
                self.controller.timer(stage, start, at);
                if let Some(host) = self.controller.stale(stage).cloned() {
                    let law = || format!("{host} is silent and shown as connected");
                    stage.witness.breaks(law);
                }
            }
            Event::Written(start) => self.controller.written(stage, start),
            Event::Desire(start, changed) => {
                let controller = &mut self.controller;
                self.operator.desire(stage, controller, start, changed);
            }
            Event::StartAgent(host) => self.hosts[host].start_agent(stage),
            Event::Agent(host, start, event) => self.hosts[host].agent_event(stage, start, event),
            Event::Keeper(host, boot, event) => {
                let host = &mut self.hosts[host];
                if host.boots == boot {
                    let post = host.post();
                    host.keeper.handle(stage, post, event);
                }
            }
            Event::Act => self.act(),
            Event::Fault => self.fault(),
            Event::Calm => self.calm(),
            Event::Look => {
                self.operator.read_events(stage, &mut self.controller);
                stage.sweep();
                self.controller.sweep(stage);
                stage.schedule.after(LOOK, Event::Look);
            }
        }
        self.operator.read(&mut self.stage, &mut self.controller);
    }

    fn at_controller(&mut self, connection: ConnectionId) {
        let stage = &mut self.stage;
        let Some(number) = stage.host_of(connection) else {
            return;
        };
        let Some(frame) = stage.arrived_up(connection) else {
            return;
        };
        let name = self.names[number].clone();
        self.controller
            .heard(stage, (connection, name.clone()), frame);
        let host = self.controller.fleet().and_then(|fleet| fleet.host(&name));
        if let Some(obeyed) = host.and_then(Known::obeyed) {
            stage.witness.told_obeyed(number, obeyed);
        }
        let Some(host) = host.filter(|host| host.is_live()) else {
            return;
        };
        if let (Some(session), Some(programs)) = (host.session(), host.programs()) {
            let digest = || Digest::of(programs.values()).value();
            stage.witness.seen(number, session.epoch, digest);
        }
    }

    fn act(&mut self) {
        let stage = &mut self.stage;
        if stage.is_calm {
            return;
        }
        self.operator.act(stage, &mut self.controller, &self.names);
        if stage.dice.chance(150) {
            for _ in 0..=stage.dice.below(6) {
                let host = stage.dice.below(stage.focus);
                self.hosts[host].edit(stage);
            }
        }
        let pause = match stage.focus < HOSTS {
            true => stage.dice.millis(100, 2000),
            false => stage.dice.millis(500, 6000),
        };
        stage.schedule.after(pause, Event::Act);
    }

    /// Something breaks, and comes back after a while.
    fn fault(&mut self) {
        let stage = &mut self.stage;
        if stage.is_calm {
            return;
        }
        self.figures.faults += 1;
        let number = stage.dice.below(stage.focus);
        let host = &mut self.hosts[number];
        match stage.dice.below(100) {
            0..35 => stage.cut_all(Some(number)),
            35..60 => {
                host.kill_agent(stage);
                let pause = stage.dice.millis(50, 8000);
                stage.schedule.after(pause, Event::StartAgent(number));
            }
            60..70 => host.reboot(stage),
            70..85 => {
                self.controller.kill(stage);
                let pause = stage.dice.millis(100, 8000);
                stage.schedule.after(pause, Event::StartController);
            }
            85..90 => stage.cut_all(None),
            // A part of the fleet at once.
            _ => {
                for host in 0..stage.focus {
                    if stage.dice.chance(300) {
                        stage.cut_all(Some(host));
                    }
                }
            }
        }
        let pause = stage.dice.millis(20, 2500);
        stage.schedule.after(pause, Event::Fault);
    }

    /// From here on nothing breaks; everything that is down comes up.
    fn calm(&mut self) {
        let stage = &mut self.stage;
        stage.is_calm = true;
        self.calm_since = stage.schedule.now();
        self.controller.start(stage);
        self.operator.watch_again(stage, &mut self.controller);
        for host in &mut self.hosts {
            host.start_agent(stage);
        }
    }

    /// Why they do not all agree; absent: they do.
    fn disagreement(&mut self) -> Option<String> {
        if let Some(target) = self.stage.witness.attempted() {
            return Some(format!("{target} was told not to be attempted, and was"));
        }
        let now = self.stage.schedule.now();
        let what = match now > self.calm_since + GENTLE {
            true => Control::Cancel,
            false => Control::Resume,
        };
        self.operator
            .clean_up(&mut self.stage, &mut self.controller, what);
        if let Some(id) = self.operator.open() {
            return Some(format!("operation {id} is not over"));
        }
        let fleet = self.controller.fleet()?;
        for host in &self.hosts {
            let name = &host.name;
            let Some(agent) = &host.agent else {
                return Some(format!("{name} has no agent"));
            };
            if let Some(unrest) = agent.unrest() {
                return Some(format!("{name}: {unrest}"));
            }
            let known = fleet.host(name).filter(|known| known.is_live());
            let shown = known.and_then(|known| known.programs());
            let Some(shown) = shown else {
                return Some(format!("{name} is not shown live"));
            };
            let is_same = shown.values().cloned().eq(agent.statuses());
            if !is_same {
                return Some(format!("{name} is shown as it is not"));
            }
            let wanted = self.controller.store.desired.get(name);
            let wanted = wanted.map_or(0, |wanted| wanted.generation);
            if host.disk.desired.generation != wanted {
                return Some(format!("{name} does not know what is wanted"));
            }
            if known.and_then(Known::obeyed).unwrap_or_default() != wanted {
                return Some(format!("{name} is not known to keep to what is wanted"));
            }
        }
        None
    }
}
