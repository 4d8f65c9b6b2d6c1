//! What really happened, seen from outside of every machine, and the laws that it must keep.
//!
//! 1. A program has at most one process.
//! 2. A command id is begun at most once on a host, not after its deadline, and has one answer for ever.
//! 3. A stop that was answered for is done, and stays done until somebody asks for something else, or for an
//!    update to another version.
//! 4. What the fleet holds is not started.
//! 5. A command takes a program down at most once, however often it is asked for and resumed.
//! 6. What is told of a target is what its host has answered, and one that was not attempted was not.
//! 7. What a controller shows of a connected host was so.
//! 8. A command sends a signal at most once to a process.
//! 9. A change of the configuration touches only what differs; what it was answered for is what runs, and what
//!    went with it is not started.
//! 10. A host says that it keeps to what is wanted only when it does, and nobody is told so before.
//! 11. Nothing is asked of a program that was not named for its host, and nothing else is told of.
//! 12. A command ends an agent once. While everything is stopped nothing is started; what is answered for then
//!     is stopped, and after a reload nothing runs that ran before.
//!
//! Those of operations are the operator's, who reads what is told of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::{Duration, SystemTime},
};

use rsv_agent::{hub::Key, link::commands::configuration::Deed};
use rsv_proto::{
    time::from_wire,
    wire::{Command, CommandResult, Outcome, TargetResult, action::Verb},
};

mod configuration;
mod ending;
mod obedience;
mod targets;

use super::{file::Version, keeper::Alive, meaning::Meaning};
use configuration::deed;
use ending::Ends;

/// How wrong an agent may take the controller's clock: half of the time that a welcome may take.
const TOLERANCE: Duration = Duration::from_secs(5);

/// A program of a host.
type Place = (usize, String);

/// Sees everything.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// The first law that was broken, and how.
    broken: Option<String>,
    /// Commands that a host has begun, each with its number in the order of all.
    begun: BTreeMap<(usize, String), Begun>,
    n_begun: u64,
    answers: BTreeMap<(usize, String), CommandResult>,
    /// The number of the latest command that was to bring a program up.
    brought_up: BTreeMap<Place, u64>,
    /// Programs whose stop was answered for, by which command.
    stopped: BTreeMap<Place, String>,
    held: BTreeSet<Place>,
    leave: BTreeMap<Place, Leave>,
    /// Commands of hosts that were told not to be attempted.
    unattempted: BTreeMap<(usize, String), String>,
    /// Every state that a host was in, by epoch.
    shown: BTreeMap<usize, (u64, HashSet<u64>)>,
    /// Hosts of which something wrong was told.
    lied: BTreeSet<usize>,
    /// What the files say, and the latest version of each.
    described: BTreeMap<Place, Version>,
    edited: BTreeMap<usize, Version>,
    /// Changes of the configuration under way, by host and command.
    updates: BTreeSet<(usize, String)>,
    /// Programs that are not supervised any more, by which command.
    gone: BTreeMap<Place, String>,
    /// Programs that are not supervised.
    absent: BTreeSet<Place>,
    /// Signals, by program and command.
    signals: BTreeSet<(Place, String)>,
    /// The version of the latest process of each program.
    ran_as: BTreeMap<Place, Version>,
    /// The number of what is wanted that each host has on its disk.
    kept: BTreeMap<usize, u64>,
    /// What operations mean.
    meanings: BTreeMap<String, Meaning>,
    ends: Ends,
    pub(super) n_spawned: u64,
    pub(super) n_ordered: u64,
}

#[derive(Debug)]
struct Begun {
    number: u64,
    programs: Vec<String>,
    /// The version of the host's file.
    edited: Option<Version>,
    command: Command,
    /// How many processes there had been.
    n_spawned: u64,
    is_run: bool,
    /// The least version of each program that is there when an update is done.
    least: BTreeMap<String, Version>,
}

/// Leave to take a program down once.
#[derive(Debug, Default)]
struct Leave {
    /// Of these commands, which are not finished.
    commands: Vec<String>,
    /// By the fleet.
    holds: u32,
    /// The attempt that was signalled last.
    attempt: u64,
}

impl Witness {
    /// The law that was broken first.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(super) fn breaks(&mut self, law: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(law());
        }
    }

    /// A command reaches a host, perhaps not for the first time.
    pub(super) fn ordered(&mut self) {
        self.n_ordered += 1;
    }

    /// A host is about to begin a command for these programs.
    pub(super) fn looked(&mut self, host: usize, command: &Command, before: &[(String, u32)]) {
        self.named(host, command, before);
        self.n_begun += 1;
        let begun = Begun {
            number: self.n_begun,
            programs: before.iter().map(|(name, _)| name.clone()).collect(),
            edited: self.edited.get(&host).copied(),
            command: command.clone(),
            n_spawned: self.n_spawned,
            is_run: false,
            least: BTreeMap::new(),
        };
        let known = self.begun.insert((host, command.id.clone()), begun);
        if known.is_some_and(|known| known.is_run) {
            let id = &command.id;
            self.breaks(|| format!("h{:02} begins command {id} a second time", host + 1));
        }
    }

    /// A host runs a command.
    pub(super) fn begun(&mut self, host: usize, command: &Command, now: SystemTime) {
        let deadline = command.deadline.as_ref().and_then(from_wire);
        let id = command.id.clone();
        if deadline.is_none_or(|deadline| deadline + TOLERANCE < now) {
            self.breaks(|| format!("h{:02} begins command {id} after its deadline", host + 1));
        }
        self.runs(host, &id);
    }

    /// A host finishes a command that was noted: it may have been killed before it ran it.
    pub(super) fn resumed(&mut self, host: usize, command: &str) {
        let begun = self.begun.get(&(host, command.to_owned()));
        if begun.is_some_and(|begun| !begun.is_run || deed(&begun.command).is_some()) {
            self.runs(host, command);
        }
    }

    fn runs(&mut self, host: usize, command: &str) {
        let least = self.least(host);
        let Some(begun) = self.begun.get_mut(&(host, command.to_owned())) else {
            return;
        };
        begun.is_run = true;
        if matches!(deed(&begun.command), Some(Deed::Update | Deed::Add)) {
            begun.least = least;
            self.updates.insert((host, command.to_owned()));
            self.gone.retain(|(of, _), _| *of != host);
        }
        if takes_down(&begun.command) {
            for program in &begun.programs {
                let leave = self.leave.entry((host, program.clone())).or_default();
                leave.commands.push(begun.command.id.clone());
            }
        }
        if brings_up(&begun.command) {
            for program in &begun.programs {
                self.brought_up
                    .insert((host, program.clone()), begun.number);
                self.stopped.remove(&(host, program.clone()));
            }
        }
    }

    /// A host answers a command.
    pub(super) fn told(
        &mut self,
        host: usize,
        result: &CommandResult,
        alive: impl Fn(&Key) -> Option<Alive>,
    ) {
        let name = (host, result.id.clone());
        match self.answers.get(&name) {
            None => drop(self.answers.insert(name.clone(), result.clone())),
            Some(known) if known == result => return,
            Some(known) => {
                let text = format!("h{:02} answers {} in two ways", host + 1, result.id);
                let (first, second) = (format!("{known:?}"), format!("{result:?}"));
                return self.breaks(|| format!("{text}: {first} and {second}"));
            }
        }
        self.configured(&name, result, &alive);
        self.answered_for_an_end(&name, result, &alive);
        let Some(begun) = self.begun.get(&name) else {
            return;
        };
        for program in &begun.programs {
            if let Some(leave) = self.leave.get_mut(&(host, program.clone())) {
                leave.commands.retain(|id| *id != result.id);
            }
        }
        if !stops(&begun.command) {
            return;
        }
        let number = begun.number;
        let done = result.results.iter();
        let done = done.filter(|result| result.outcome() == Outcome::Done);
        for program in done.map(|result| result.program.clone()) {
            let place = (host, program.clone());
            if self.brought_up.get(&place).is_some_and(|up| *up > number) {
                continue;
            }
            if alive(&key_of(&program)).is_some() {
                let id = &result.id;
                self.breaks(|| {
                    format!(
                        "h{:02} answers for stop {id} while {program} lives",
                        host + 1
                    )
                });
            }
            if !self.absent.contains(&place) {
                self.stopped.insert(place, result.id.clone());
            }
        }
    }

    /// A process gets a signal that somebody has asked for.
    pub(super) fn sent(&mut self, host: usize, key: &Key, command: &str) {
        self.aimed(host, key, command);
        let place = (host, key.to_string());
        if !self.signals.insert((place, command.to_owned())) {
            self.breaks(|| {
                format!(
                    "h{:02} sends {key} the signal of {command} a second time",
                    host + 1
                )
            });
        }
    }

    /// A program is not supervised any more: what is to be done when it comes back is another matter.
    pub(super) fn removed(&mut self, host: usize, key: &Key) {
        let place = (host, key.to_string());
        self.stopped.remove(&place);
        self.absent.insert(place);
    }

    /// A keeper starts a process.
    pub(super) fn spawned(&mut self, host: usize, key: &Key, version: Version, is_alive: bool) {
        self.n_spawned += 1;
        let place = (host, key.to_string());
        self.ends.spawned(place.clone(), self.n_spawned);
        if self.ends.is_under_way(host) {
            self.breaks(|| format!("h{:02} starts {key} while all is being stopped", host + 1));
        }
        let former = self.ran_as.insert(place.clone(), version);
        if former != Some(version) && self.is_updated(host) {
            // What is another one by now begins as if it were new.
            self.stopped.remove(&place);
            self.n_begun += 1;
            self.brought_up.insert(place.clone(), self.n_begun);
        }
        if is_alive {
            self.breaks(|| format!("h{:02} has two processes of {key}", host + 1));
        }
        if self.held.contains(&place) {
            self.breaks(|| format!("h{:02} starts {key}, which is held", host + 1));
        }
        if let Some(id) = self.gone.get(&place).cloned() {
            self.breaks(|| {
                format!(
                    "h{:02} starts {key}, which is not supervised since {id}",
                    host + 1
                )
            });
        }
        if let Some(id) = self.stopped.get(&place).cloned() {
            self.breaks(|| {
                format!(
                    "h{:02} starts {key} after the stop {id} was answered for",
                    host + 1
                )
            });
        }
    }

    /// A program is told to stop because the fleet holds it.
    pub(super) fn may_go_down(&mut self, host: usize, key: &Key) {
        let place = (host, key.to_string());
        self.leave.entry(place).or_default().holds += 1;
    }

    /// A process gets a signal that is to end it, perhaps not for the first time.
    pub(super) fn signalled(&mut self, host: usize, key: &Key, attempt: u64, version: Version) {
        let is_other = self.described.get(&(host, key.to_string())) != Some(&version);
        let is_updated = self.is_updated(host);
        let leave = self.leave.entry((host, key.to_string())).or_default();
        if std::mem::replace(&mut leave.attempt, attempt) == attempt {
            return;
        }
        if self.ends.is_under_way(host) {
            // Once each: the next process of it is another attempt.
        } else if !leave.commands.is_empty() {
            leave.commands.remove(0);
        } else if leave.holds > 0 {
            leave.holds -= 1;
        } else if !(is_updated && is_other) {
            self.breaks(|| format!("h{:02} takes {key} down and nobody wanted it", host + 1));
        }
    }

    /// This is told of a target of an operation.
    pub(super) fn told_of(&mut self, operation: &str, host: usize, result: &TargetResult) {
        self.told_aside(operation, host, result);
        let name = (host, format!("{operation}.1"));
        let shown = format!("h{:02} {} in {operation}", host + 1, result.program);
        if result.outcome() == Outcome::NotAttempted {
            self.unattempted.insert(name.clone(), shown.clone());
        }
        let answer = self.answers.get(&name);
        let is_so = |answer: &CommandResult| {
            let results = &mut answer.results.iter();
            let is_it = |told: &TargetResult| {
                told.outcome() == Outcome::Done
                    && (told.program == result.program || result.program.is_empty())
            };
            results.any(is_it)
        };
        if result.outcome() == Outcome::Done && !answer.is_some_and(is_so) {
            self.breaks(|| format!("{shown} is told to be done, and was not"));
        }
    }

    /// A target that was told not to be attempted, and was.
    pub(super) fn attempted(&self) -> Option<&String> {
        let mut wrong = self.unattempted.iter();
        let wrong = wrong.find(|(name, _)| self.begun.contains_key(*name));
        wrong.map(|(_, shown)| shown)
    }

    /// The fleet holds a program, or lets it go: then it may come up.
    pub(super) fn held(&mut self, host: usize, key: &Key, is_held: bool) {
        let place = (host, key.to_string());
        if is_held {
            self.held.insert(place);
        } else {
            self.held.remove(&place);
            self.stopped.remove(&place);
            self.n_begun += 1;
            self.brought_up.insert(place, self.n_begun);
        }
    }

    /// A program is supervised from now on, by an agent that knows this of what the fleet holds.
    pub(super) fn known_held(&mut self, host: usize, key: &Key, is_held: bool) {
        let place = (host, key.to_string());
        self.absent.remove(&place);
        match is_held {
            true => drop(self.held.insert(place)),
            false => drop(self.held.remove(&place)),
        }
    }

    /// A new agent starts what is configured to start, also what was stopped before. The stops that the
    /// former one has not answered for are finished by the new one, which takes that down again.
    fn begins_anew(&mut self, host: usize) {
        self.stopped.retain(|(of, _), _| *of != host);
        self.leave.retain(|(of, _), _| *of != host);
        self.n_begun += 1;
        let of_host = self.begun.range((host, String::new())..);
        let of_host = of_host.take_while(|((of, _), _)| *of == host);
        for (name, begun) in of_host.filter(|(_, begun)| begun.is_run && stops(&begun.command)) {
            for program in &begun.programs {
                let place = (host, program.clone());
                if !self.answers.contains_key(name) {
                    let leave = self.leave.entry(place.clone()).or_default();
                    leave.commands.push(begun.command.id.clone());
                }
                self.brought_up.insert(place, self.n_begun);
            }
        }
    }

    /// A host's programs are in a new state.
    pub(super) fn shown(&mut self, host: usize, epoch: u64, digest: u64) {
        let (known, states) = self.shown.entry(host).or_default();
        if *known != epoch {
            *known = epoch;
            states.clear();
        }
        states.insert(digest);
    }

    /// Something wrong was told of a host.
    pub(super) fn lied(&mut self, host: usize) {
        self.lied.insert(host);
    }

    /// A controller shows this of a connected host.
    pub(super) fn seen(&mut self, host: usize, epoch: u64, digest: impl FnOnce() -> u64) {
        let Some((known, states)) = self.shown.get(&host) else {
            return;
        };
        if *known == epoch && !self.lied.contains(&host) && !states.contains(&digest()) {
            self.breaks(|| format!("the controller shows of h{:02} what never was", host + 1));
        }
    }
}

/// Whether a command is to have its programs running.
fn brings_up(command: &Command) -> bool {
    let verb = command.action.and_then(|action| action.verb);
    matches!(verb, Some(Verb::Start(_) | Verb::Restart(_)))
}

/// Whether a command is to have its programs stopped.
fn stops(command: &Command) -> bool {
    let verb = command.action.and_then(|action| action.verb);
    matches!(verb, Some(Verb::Stop(_)))
}

/// Whether a command ends processes.
fn takes_down(command: &Command) -> bool {
    let verb = command
        .action
        .as_ref()
        .and_then(|action| action.verb.as_ref());
    matches!(verb, Some(Verb::Stop(_) | Verb::Restart(_)))
}

fn key_of(shown: &str) -> Key {
    let (group, name) = shown.split_once(':').unwrap_or((shown, shown));
    Key {
        group: group.to_owned(),
        name: name.to_owned(),
    }
}
