//! Bringing what is supervised in line with the configuration: group by group, first those that are
//! gone, then the changed ones, then the new ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use rsv_config::{Change, Config, Group, GroupChange};
use rsv_proto::wire::{
    Outcome, Refusal, TargetResult, UpdateResponse,
    update_response::{Event, ShuttingDown, Updated},
};
use tokio::sync::{mpsc, oneshot};

use super::words::{changed_group, is_known, key_and_reason, refused_section};
use super::{ReadError, Roster};
use crate::capacity;
use crate::hub::{HubGone, Key, ProgramChange};
use crate::spec::Program;

/// Where the events of one update go. There is room for all of them.
struct Events(mpsc::Sender<UpdateResponse>);

/// The groups that an update is about.
enum Selection {
    All,
    These(BTreeSet<String>),
}

/// The agent is at its end, and the update with it.
struct Ending;

impl From<HubGone> for Ending {
    fn from(_: HubGone) -> Self {
        Self
    }
}

/// What stopping for a change came to.
enum Stopped {
    Done,
    /// A process cannot be stopped.
    Failed,
}

impl Roster {
    pub(super) async fn update(
        &mut self,
        names: Vec<String>,
        answer: oneshot::Sender<mpsc::Receiver<UpdateResponse>>,
    ) {
        let wanted = self.read().await;
        let room = match &wanted {
            Ok(wanted) => {
                let groups = self.active().len() + wanted.groups.len();
                2 * groups + wanted.broken.len() + self.refused.len() + names.len() + 2
            }
            Err(_) => 1,
        };
        let (sender, receiver) = mpsc::channel(room);
        let events = Events(sender);
        // Whoever asked may have gone; what was asked for is done.
        drop(answer.send(receiver));
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(ReadError::Refused(refusal)) => {
                self.applied.refused = Some(SystemTime::now());
                self.publish();
                return events.say(Event::Refused(refusal.into()));
            }
            Err(ReadError::Gone(_)) => return events.say(Event::ShuttingDown(ShuttingDown {})),
        };
        if self.carry_out(wanted, names, &events).await.is_err() {
            events.say(Event::ShuttingDown(ShuttingDown {}));
        }
        self.publish();
    }

    async fn carry_out(
        &mut self,
        wanted: Config,
        names: Vec<String>,
        events: &Events,
    ) -> Result<(), Ending> {
        let plan = self.plan(&wanted).await?;
        let programs = self.programs(&wanted).await?;
        if let Some(note) = capacity::make_room(programs.len()) {
            tracing::info!("{note}");
        }
        self.take_candidate(wanted);
        let wanted = Arc::clone(&self.candidate);
        let selection = self.selection(names, events);
        for name in plan.removed.iter().filter(|name| selection.has(name)) {
            self.remove_changed(name, events).await?;
        }
        let changed = plan.changed.iter();
        for change in changed.filter(|change| selection.has(&change.name)) {
            if let Some(group) = wanted.group(&change.name) {
                self.change_group(change, group, &programs, events).await?;
            }
        }
        let added = plan.added.iter().filter(|name| selection.has(name));
        let added: Vec<&Group> = added.filter_map(|name| wanted.group(name)).collect();
        self.add_groups(&added, &programs, events).await?;
        self.show_refused(&wanted, &programs, &selection, events)
            .await?;
        if matches!(selection, Selection::All) && !self.notice.is_empty() {
            tracing::info!("the present configuration is in force again");
            self.notice.clear();
        }
        Ok(())
    }

    /// All at once, so that they are started in the order of their priorities.
    async fn add_groups(
        &mut self,
        groups: &[&Group],
        programs: &[Program],
        events: &Events,
    ) -> Result<(), Ending> {
        let names: BTreeSet<&str> = groups.iter().map(|group| &*group.name).collect();
        let members = programs
            .iter()
            .filter(|program| names.contains(&*program.key.group));
        let added = members.cloned().map(ProgramChange::Add);
        for group in groups {
            self.listeners.add(group).await;
        }
        self.stop_for(added.collect()).await?;
        for group in groups {
            self.put_active(Group::clone(group));
            events.say(Event::Added(group.name.clone()));
        }
        Ok(())
    }

    /// What the names mean. A name without a group is said, and then matches nothing.
    fn selection(&self, names: Vec<String>, events: &Events) -> Selection {
        if names.is_empty() || names.iter().any(|name| name == "all") {
            return Selection::All;
        }
        let is_known = |name: &String| {
            let mut groups = self.active().iter().chain(&self.candidate.groups);
            let mut broken = self.candidate.broken.iter();
            let mut refused = self.refused.iter();
            groups.any(|group| group.name == *name)
                || broken.any(|broken| broken.group == *name)
                || refused.any(|(key, _)| key.group == *name)
        };
        let names: BTreeSet<String> = names.into_iter().collect();
        for name in names.iter().filter(|name| !is_known(name)) {
            events.say(Event::NoSuchGroup(name.clone()));
        }
        Selection::These(names)
    }

    async fn remove_changed(&mut self, name: &str, events: &Events) -> Result<(), Ending> {
        let group = self.active().iter().find(|group| group.name == name);
        let members = match group {
            Some(group) => keys_of(group),
            None => self.strays(name).await?,
        };
        let gone = members.into_iter().map(ProgramChange::Remove).collect();
        let stopped = self.stop_for(gone).await?;
        events.say(Event::Stopped(name.to_owned()));
        match stopped {
            Stopped::Done => {
                self.listeners.remove(name).await;
                self.drop_active(name);
                events.say(Event::Removed(name.to_owned()));
            }
            Stopped::Failed => events.say(Event::Problems(name.to_owned())),
        }
        Ok(())
    }

    /// What still runs of a group that was gone before the agent was started.
    async fn strays(&self, group: &str) -> Result<Vec<Key>, Ending> {
        let outdated = self.outdated().await?.into_iter();
        let strays = outdated.filter(|id| id.group == group).map(|id| Key {
            group: id.group,
            name: id.name,
        });
        Ok(strays.collect())
    }

    async fn change_group(
        &mut self,
        change: &GroupChange,
        group: &Group,
        programs: &[Program],
        events: &Events,
    ) -> Result<(), Ending> {
        let changes = changes_of(change, group, programs);
        let stops = |change: &ProgramChange| {
            matches!(change, ProgramChange::Restart(_) | ProgramChange::Remove(_))
        };
        let is_any_stopped = changes.iter().any(stops);
        self.listeners.change(group).await;
        self.stop_for(changes).await?;
        if is_any_stopped {
            events.say(Event::Stopped(change.name.clone()));
        }
        let differs = |name: &str| change.processes.iter().any(|process| process.name == name);
        let unchanged = group
            .processes
            .iter()
            .filter(|process| !differs(&process.id.name));
        events.say(Event::Updated(Updated {
            group: Some(changed_group(change)),
            unchanged: unchanged.count().try_into().unwrap_or(u32::MAX),
        }));
        let former = self.active().iter().find(|known| known.name == group.name);
        let merged = merged(group, former, change);
        self.put_active(merged);
        Ok(())
    }

    /// Sections that are refused alone are said, and shown as programs that cannot start, unless they
    /// are supervised as they were before.
    async fn show_refused(
        &mut self,
        wanted: &Config,
        programs: &[Program],
        selection: &Selection,
        events: &Events,
    ) -> Result<(), Ending> {
        let mut shown = Vec::new();
        let mut changes = Vec::new();
        for broken in &wanted.broken {
            if !selection.has(&broken.group) {
                continue;
            }
            events.say(Event::RefusedSection(refused_section(broken)));
            let entry = key_and_reason(broken);
            if is_known(broken, self.active()) {
                continue;
            }
            let is_shown = self.refused.contains(&entry);
            let program = programs.iter().find(|program| program.key == entry.0);
            changes.extend(
                program
                    .filter(|_| !is_shown)
                    .cloned()
                    .map(ProgramChange::Add),
            );
            shown.push(entry);
        }
        for (key, reason) in std::mem::take(&mut self.refused) {
            if !selection.has(&key.group) {
                shown.push((key, reason));
            } else if !programs.iter().any(|program| program.key == key) {
                changes.push(ProgramChange::Remove(key));
            }
        }
        self.refused = shown;
        self.stop_for(changes).await?;
        Ok(())
    }

    /// Carries out changes, and waits for all that has to stop.
    async fn stop_for(&self, changes: Vec<ProgramChange>) -> Result<Stopped, Ending> {
        let mut results = self.hub.reconfigure(changes).await?;
        let mut stopped = Stopped::Done;
        while let Some(result) = results.recv().await {
            match fate(&result) {
                Fate::Fine => {}
                Fate::Failed => stopped = Stopped::Failed,
                Fate::Ending => return Err(Ending),
            }
        }
        Ok(stopped)
    }
}

impl Events {
    fn say(&self, event: Event) {
        // The only error is a reader who has gone.
        self.0.try_send(UpdateResponse { event: Some(event) }).ok();
    }
}

impl Selection {
    fn has(&self, group: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(group),
        }
    }
}

enum Fate {
    Fine,
    Failed,
    Ending,
}

fn fate(result: &TargetResult) -> Fate {
    match (result.outcome(), result.refusal()) {
        (_, Refusal::ShuttingDown) => Fate::Ending,
        // Somebody else has stopped it meanwhile.
        (Outcome::Done, _) | (_, Refusal::NotRunning | Refusal::Superseded) => Fate::Fine,
        _ => Fate::Failed,
    }
}

fn keys_of(group: &Group) -> Vec<Key> {
    let key = |process: &rsv_config::Process| Key {
        group: process.id.group.clone(),
        name: process.id.name.clone(),
    };
    group.processes.iter().map(key).collect()
}

/// What the hub is to do for a changed group. Rules of the group itself concern all of its processes.
fn changes_of(change: &GroupChange, group: &Group, programs: &[Program]) -> Vec<ProgramChange> {
    let program = |name: &str| {
        let mut members = programs.iter().filter(|p| p.key.group == change.name);
        members.find(|program| program.key.name == name).cloned()
    };
    let mut changes = Vec::new();
    for process in &change.processes {
        let name = &process.name;
        changes.extend(match &process.change {
            Change::Added => program(name).map(ProgramChange::Add),
            Change::Restart(_) => program(name).map(ProgramChange::Restart),
            Change::Live(_) => program(name).map(ProgramChange::Adjust),
            Change::Removed => Some(ProgramChange::Remove(Key {
                group: change.name.clone(),
                name: name.clone(),
            })),
        });
    }
    if !change.keys.is_empty() {
        let is_named = |name: &str| change.processes.iter().any(|process| process.name == name);
        let others = group.processes.iter().map(|process| &*process.id.name);
        let others = others.filter(|name| !is_named(name));
        changes.extend(others.filter_map(program).map(ProgramChange::Adjust));
    }
    changes
}

/// The group as it is supervised now: as configured, and with those of its processes that are missing
/// only because their section is broken.
fn merged(group: &Group, former: Option<&Group>, change: &GroupChange) -> Group {
    let mut merged = group.clone();
    let is_removed = |name: &str| {
        let mut processes = change.processes.iter();
        processes.any(|process| process.name == name && process.change == Change::Removed)
    };
    for process in former
        .map(|former| &former.processes[..])
        .unwrap_or_default()
    {
        let name = &process.id.name;
        let is_there = merged.processes.iter().any(|known| known.id.name == *name);
        if !is_there && !is_removed(name) {
            merged.processes.push(process.clone());
        }
    }
    merged
}
