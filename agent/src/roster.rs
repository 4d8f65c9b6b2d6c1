//! The owner of what is configured and what of it is supervised.
//!
//! A task answers one ask after the other: read the files again, add or remove a group, bring
//! everything in line. Files are read on a blocking thread and judged as a whole: a configuration that
//! is refused changes nothing. What the hub is to do follows from [`rsv_config::plan`], so that only
//! processes that really differ are touched. Options of `[supervisord]`, servers and places stay as the
//! agent was started with; they change with a reload.
//!
//! Everybody else looks at the [`Standing`], which is replaced after each change.

mod files;
mod last_good;
mod refusal;
mod standing;
mod update;
mod words;

use std::sync::Arc;
use std::time::SystemTime;

use rsv_config::{Config, Group, Plan, ProcessId, plan};
use rsv_proto::wire::{self, GroupOutcome, ProcessState};
use tokio::sync::{mpsc, oneshot, watch};

pub use files::{Inputs, Read, Source};
pub use last_good::{LastGood, Remembered, holds_programs};
pub use refusal::ConfigRefusal;
pub use standing::{Applied, Standing};
pub use words::{planned, refused_section};

use crate::hub::{HubGone, HubHandle, Key, ProgramChange};
use crate::listeners::Listeners;
use crate::spec::{self, Ambience, AutoLogs, Program};

/// Asks that wait for the task. Each caller waits for its answer; when it is full a caller waits for
/// its turn.
const ASKS: usize = 16;

/// What the roster works with.
#[derive(Debug)]
pub struct RosterOptions {
    /// The owner of every machine.
    pub hub: HubHandle,
    /// The one who tells event listeners.
    pub listeners: Listeners,
    /// Where the configuration comes from.
    pub source: Source,
    /// Where configurations that could be read are remembered; absent: nowhere.
    pub last_good: Option<LastGood>,
    /// The configuration with which the agent was started.
    pub config: Arc<Config>,
    /// What it was read from, to be remembered; absent: it is an older one.
    pub inputs: Option<Inputs>,
    /// Where logs are that the agent names.
    pub auto: AutoLogs,
    /// What all users are to be told; empty: nothing.
    pub notice: String,
}

/// The front of the task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RosterHandle {
    asks: mpsc::Sender<Ask>,
    standing: watch::Receiver<Arc<Standing>>,
}

/// What an update would do.
#[derive(Clone, Debug)]
pub struct Reread {
    /// What differs from what is supervised.
    pub plan: Plan,
    /// Sections that are refused alone.
    pub refused: Vec<rsv_config::BrokenProgram>,
}

/// Why the configuration is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is refused.
    #[error("{0}")]
    Refused(ConfigRefusal),
    /// The agent is at its end.
    #[error(transparent)]
    Gone(#[from] HubGone),
}

/// Whether a configuration that was read becomes the one that others refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It does.
    Yes,
    /// It was only looked at.
    No,
}

#[derive(Debug)]
enum Ask {
    Reread {
        keep: Keep,
        answer: oneshot::Sender<Result<Reread, ReadError>>,
    },
    Update {
        groups: Vec<String>,
        events: oneshot::Sender<mpsc::Receiver<wire::UpdateResponse>>,
    },
    Add {
        group: String,
        answer: oneshot::Sender<GroupOutcome>,
    },
    Remove {
        group: String,
        answer: oneshot::Sender<GroupOutcome>,
    },
    Check {
        answer: oneshot::Sender<Result<(), ReadError>>,
    },
}

/// The task's own state.
#[derive(Debug)]
struct Roster {
    hub: HubHandle,
    listeners: Listeners,
    source: Source,
    last_good: Option<LastGood>,
    /// As the agent was started with; its programs are of no interest.
    base: Config,
    /// Read last.
    candidate: Arc<Config>,
    /// What is supervised; absent: exactly what was read last.
    active: Option<Vec<Group>>,
    auto: AutoLogs,
    /// Sections that are shown as programs that cannot start.
    refused: Vec<(Key, String)>,
    notice: String,
    applied: Applied,
    /// What is supervised has changed since that was last said.
    is_changed: bool,
    standing: watch::Sender<Arc<Standing>>,
}

/// Starts the task; it ends when the last handle is dropped.
pub fn start(options: RosterOptions) -> RosterHandle {
    let RosterOptions {
        hub,
        listeners,
        source,
        last_good,
        config,
        inputs,
        auto,
        notice,
    } = options;
    let refused = config.broken.iter().map(words::key_and_reason).collect();
    let candidate = config;
    let base = candidate.without_programs();
    let applied = Applied::first(&candidate.groups, SystemTime::now());
    let standing = Standing {
        config: Arc::clone(&candidate),
        active: None,
        auto: auto.clone(),
        notice: notice.clone(),
        applied,
    };
    let (sender, receiver) = watch::channel(Arc::new(standing));
    let (asks, inbox) = mpsc::channel(ASKS);
    let roster = Roster {
        hub,
        listeners,
        source,
        last_good,
        base,
        candidate,
        active: None,
        auto,
        refused,
        notice,
        applied,
        is_changed: false,
        standing: sender,
    };
    tokio::spawn(roster.run(inbox, inputs));
    RosterHandle {
        asks,
        standing: receiver,
    }
}

impl RosterHandle {
    /// What is configured and supervised now.
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.borrow())
    }

    /// As [`RosterHandle::standing`], to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.clone()
    }

    /// Reads the configuration again and says what an update would do.
    ///
    /// # Errors
    ///
    /// [`ReadError`], and then the one that was read before still counts.
    pub async fn reread(&self, keep: Keep) -> Result<Reread, ReadError> {
        self.ask(|answer| Ask::Reread { keep, answer }).await?
    }

    /// Reads the configuration again and begins to bring these groups in line with it, or all. The
    /// events come as things are done; dropping the channel stops nothing.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the agent is at its end.
    pub async fn update(
        &self,
        groups: Vec<String>,
    ) -> Result<mpsc::Receiver<wire::UpdateResponse>, HubGone> {
        self.ask(|events| Ask::Update { groups, events }).await
    }

    /// Begins to supervise a group of the configuration that was read last.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the agent is at its end.
    pub async fn add(&self, group: &str) -> Result<GroupOutcome, HubGone> {
        let group = group.to_owned();
        self.ask(|answer| Ask::Add { group, answer }).await
    }

    /// Ceases to supervise a group whose processes are all at rest.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the agent is at its end.
    pub async fn remove(&self, group: &str) -> Result<GroupOutcome, HubGone> {
        let group = group.to_owned();
        self.ask(|answer| Ask::Remove { group, answer }).await
    }

    /// Whether the agent could start anew with the configuration as it is now: it is accepted, and no
    /// program that is supervised would be refused.
    ///
    /// # Errors
    ///
    /// [`ReadError`] says why not.
    pub async fn check(&self) -> Result<(), ReadError> {
        self.ask(|answer| Ask::Check { answer }).await?
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, HubGone> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| HubGone)?;
        answered.await.map_err(|_| HubGone)
    }
}

impl Roster {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>, inputs: Option<Inputs>) {
        if let Some(inputs) = inputs {
            self.remember(inputs).await;
        }
        while let Some(ask) = inbox.recv().await {
            // An answer that nobody waits for any more is not missed.
            match ask {
                Ask::Reread { keep, answer } => drop(answer.send(self.reread(keep).await)),
                Ask::Update { groups, events } => self.update(groups, events).await,
                Ask::Add { group, answer } => drop(answer.send(self.add(&group).await)),
                Ask::Remove { group, answer } => drop(answer.send(self.remove(&group).await)),
                Ask::Check { answer } => drop(answer.send(self.check().await)),
            }
        }
    }

    fn active(&self) -> &[Group] {
        self.active.as_deref().unwrap_or(&self.candidate.groups)
    }

    /// The configuration as the files say it now.
    async fn read(&mut self) -> Result<Config, ReadError> {
        let source = self.source.clone();
        let read = blocking(move || source.read()).await?;
        let Read { loaded, inputs } = match read {
            Ok(read) => read,
            Err(errors) => {
                let refusal = ConfigRefusal::of(errors.iter());
                tracing::error!("the configuration is refused: {refusal}");
                return Err(ReadError::Refused(refusal));
            }
        };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        self.remember(inputs).await;
        Ok(loaded.config)
    }

    /// The way from what is supervised, as it runs, to what is wanted.
    async fn plan(&self, wanted: &Config) -> Result<Plan, HubGone> {
        let mut plan = plan(self.active(), wanted);
        plan.take_in(&self.outdated().await?, wanted);
        Ok(plan)
    }

    /// What runs as an earlier configuration had it.
    async fn outdated(&self) -> Result<Vec<ProcessId>, HubGone> {
        let running = self.hub.snapshot().await?.programs.into_iter();
        let outdated = running.filter(|program| program.outdated);
        let id = |program: wire::ProcessStatus| ProcessId {
            group: program.group,
            name: program.name,
        };
        Ok(outdated.map(id).collect())
    }

    async fn reread(&mut self, keep: Keep) -> Result<Reread, ReadError> {
        let wanted = self.read().await?;
        let reread = Reread {
            plan: self.plan(&wanted).await?,
            refused: wanted.broken.clone(),
        };
        if keep == Keep::Yes {
            self.take_candidate(wanted);
            self.publish();
        }
        Ok(reread)
    }

    async fn check(&mut self) -> Result<(), ReadError> {
        let wanted = self.read().await?;
        let breaks = wanted
            .broken
            .iter()
            .filter(|broken| words::is_known(broken, self.active()));
        let errors: Vec<_> = breaks.flat_map(|broken| &broken.errors).collect();
        if errors.is_empty() {
            return Ok(());
        }
        let refusal = ConfigRefusal::of(errors);
        tracing::error!("the configuration is refused: {refusal}");
        Err(ReadError::Refused(refusal))
    }

    async fn add(&mut self, name: &str) -> GroupOutcome {
        if self.active().iter().any(|group| group.name == name) {
            return GroupOutcome::AlreadyActive;
        }
        let candidate = Arc::clone(&self.candidate);
        let Some(group) = candidate.group(name) else {
            return GroupOutcome::NoSuchGroup;
        };
        let Ok(programs) = self.programs(&candidate).await else {
            return GroupOutcome::ShuttingDown;
        };
        let added = words::programs_of(name, &programs).map(ProgramChange::Add);
        self.listeners.add(group).await;
        match self.hub.reconfigure(added.collect()).await {
            Ok(_) => {
                self.put_active(group.clone());
                self.refused.retain(|(key, _)| key.group != name);
                self.publish();
                GroupOutcome::Done
            }
            Err(HubGone) => GroupOutcome::ShuttingDown,
        }
    }

    async fn remove(&mut self, name: &str) -> GroupOutcome {
        let is_refused = self.refused.iter().any(|(key, _)| key.group == name);
        if !is_refused && !self.active().iter().any(|group| group.name == name) {
            return GroupOutcome::NoSuchGroup;
        }
        let Ok(snapshot) = self.hub.snapshot().await else {
            return GroupOutcome::ShuttingDown;
        };
        let members = snapshot.programs.into_iter();
        let members: Vec<_> = members.filter(|process| process.group == name).collect();
        if !members.iter().all(|process| is_at_rest(process.state())) {
            return GroupOutcome::StillRunning;
        }
        let gone = members.into_iter().map(|process| {
            let (group, name) = (process.group, process.name);
            ProgramChange::Remove(Key { group, name })
        });
        match self.hub.reconfigure(gone.collect()).await {
            Ok(mut results) => {
                // What they have left is ended first.
                while results.recv().await.is_some() {}
                self.listeners.remove(name).await;
                self.drop_active(name);
                self.publish();
                GroupOutcome::Done
            }
            Err(HubGone) => GroupOutcome::ShuttingDown,
        }
    }

    /// Every program of a configuration, with the options of the daemon that are in force.
    async fn programs(&self, wanted: &Config) -> Result<Vec<Program>, HubGone> {
        let config = Config {
            groups: wanted.groups.clone(),
            broken: wanted.broken.clone(),
            ..self.base.clone()
        };
        let auto = self.auto.clone();
        blocking(move || spec::load(&config, Ambience::of_this_process(), &auto)).await
    }

    /// Another configuration was read; what is supervised stays what it is.
    fn take_candidate(&mut self, wanted: Config) {
        let former = std::mem::replace(&mut self.candidate, Arc::new(wanted));
        if self.active.is_none() {
            self.active = Some(former.groups.clone());
        }
    }

    fn put_active(&mut self, group: Group) {
        let groups = self.active_mut();
        groups.retain(|known| known.name != group.name);
        groups.push(group);
        groups.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
    }

    fn drop_active(&mut self, name: &str) {
        self.active_mut().retain(|known| known.name != name);
        self.refused.retain(|(key, _)| key.group != name);
    }

    fn active_mut(&mut self) -> &mut Vec<Group> {
        self.is_changed = true;
        let candidate = &self.candidate;
        self.active.get_or_insert_with(|| candidate.groups.clone())
    }

    /// Lets everybody see what is so now. One copy of the groups is enough when what is supervised is
    /// what is configured.
    fn publish(&mut self) {
        if self.active.as_ref() == Some(&self.candidate.groups) {
            self.active = None;
        }
        if std::mem::take(&mut self.is_changed) {
            self.applied.generation += 1;
            self.applied.at = SystemTime::now();
            let active = self.active.as_ref().unwrap_or(&self.candidate.groups);
            self.applied.digest = rsv_config::digest(active);
        }
        let standing = Standing {
            config: Arc::clone(&self.candidate),
            active: self.active.clone().map(Arc::from),
            auto: self.auto.clone(),
            notice: self.notice.clone(),
            applied: self.applied,
        };
        self.standing.send_replace(Arc::new(standing));
    }

    async fn remember(&mut self, inputs: Inputs) {
        let Some(mut last_good) = self.last_good.take() else {
            return;
        };
        let kept = blocking(move || {
            let saved = last_good.save(inputs, SystemTime::now());
            (last_good, saved)
        });
        let Ok((last_good, saved)) = kept.await else {
            return;
        };
        if let Err(error) = saved {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the configuration cannot be remembered");
        }
        self.last_good = Some(last_good);
    }
}

fn is_at_rest(state: ProcessState) -> bool {
    use ProcessState as S;
    matches!(state, S::Stopped | S::Exited | S::Fatal | S::Unknown)
}

/// Runs what may block off the runtime's own thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HubGone> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a task has failed"
        );
        HubGone
    })
}
