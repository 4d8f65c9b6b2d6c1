//! The operations under way and the recent ones: who submitted them, which command each host gets, who
//! reads their results. What each of them does next is decided in [`crate::operation`].

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use rsv_proto::{
    name::HostName,
    time::to_wire,
    wire::{Action, Command, CommandResult},
};
use tokio::sync::watch;

use super::handle::{Page, Submission};
use crate::{
    audit,
    moment::Moment,
    operation::{Effect, Input, Operation, Reach},
    targets::{Selected, SelectionError},
};

/// Finished operations are remembered for so long, for those who read their results late.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The most results that finished operations are remembered with; the oldest go first.
const REMEMBERED_RESULTS: usize = 200_000;

/// The most operations at one time, finished ones included.
const MOST: usize = 10_000;

/// The most results in one page: at some 200 bytes each, far below the limit of a message.
const PAGE: usize = 500;

/// Every operation that is known.
#[derive(Debug, Default)]
pub(super) struct Operations {
    entries: BTreeMap<String, Entry>,
    /// Actor and idempotency key to operation.
    keys: HashMap<(String, String), String>,
}

/// One operation and what belongs to it.
#[derive(Debug)]
struct Entry {
    operation: Operation,
    request: Request,
    actor: String,
    key: String,
    deadline: SystemTime,
    trace: (String, String),
    /// The tick at which it was submitted.
    since: Duration,
    news: watch::Sender<usize>,
}

/// What makes two submissions the same.
#[derive(Debug, Clone, PartialEq)]
struct Request {
    selection: rsv_proto::wire::HostSelection,
    programs: Vec<String>,
    action: Action,
}

/// Why nothing was begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The selection.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// Another number of hosts than was expected.
    #[error("{found} hosts are selected, {expected} were expected; nothing was done")]
    Count {
        /// As selected.
        found: usize,
        /// As expected.
        expected: u32,
    },
    /// The key belongs to something else.
    #[error("the idempotency key belongs to operation {0}, which is another action")]
    KeyReused(String),
    /// Too many operations.
    #[error("{MOST} operations are under way or were a moment ago")]
    TooMany,
}

/// A command for a host.
pub(super) type Order = (HostName, Command);

impl Operations {
    /// The operation that this submission joins, if its key is known.
    pub(super) fn find(&self, submission: &Submission) -> Result<Option<String>, SubmitError> {
        if submission.key.is_empty() {
            return Ok(None);
        }
        let key = (submission.actor.clone(), submission.key.clone());
        let Some(id) = self.keys.get(&key) else {
            return Ok(None);
        };
        match self.entries.get(id) {
            Some(entry) if entry.request != Request::of(submission) => {
                Err(SubmitError::KeyReused(id.clone()))
            }
            Some(_) => Ok(Some(id.clone())),
            None => Ok(None),
        }
    }

    /// Begins an operation on these hosts.
    pub(super) fn submit(
        &mut self,
        now: Moment,
        submission: &Submission,
        selected: Selected,
        reach: impl Fn(&HostName) -> Reach,
    ) -> Result<Vec<Order>, SubmitError> {
        self.forget(now);
        if self.entries.len() >= MOST {
            return Err(SubmitError::TooMany);
        }
        audit::submitted(submission, &selected.hosts);
        let hosts = selected
            .hosts
            .into_iter()
            .map(|h| (h.clone(), reach(&h)))
            .collect();
        let (operation, effects) =
            Operation::submit(now, hosts, selected.missing, submission.patience);
        let entry = Entry {
            operation,
            request: Request::of(submission),
            actor: submission.actor.clone(),
            key: submission.key.clone(),
            deadline: now.wall + submission.patience.deadline,
            trace: submission.trace.clone(),
            since: now.tick,
            news: watch::Sender::new(0),
        };
        if !submission.key.is_empty() {
            let key = (submission.actor.clone(), submission.key.clone());
            self.keys.insert(key, submission.id.clone());
        }
        entry.publish(&submission.id, false);
        let orders = entry.orders(&submission.id, effects);
        self.entries.insert(submission.id.clone(), entry);
        Ok(orders)
    }

    /// The hosts of an operation, and where news of it are told.
    pub(super) fn follow(&self, id: &str) -> Option<(Vec<HostName>, watch::Receiver<usize>)> {
        let entry = self.entries.get(id)?;
        Some((
            entry.operation.hosts().cloned().collect(),
            entry.news.subscribe(),
        ))
    }

    /// Results after the first so many.
    pub(super) fn page(&self, id: &str, after: usize) -> Option<Page> {
        let operation = &self.entries.get(id)?.operation;
        let rest = operation.results().get(after..).unwrap_or_default();
        let results: Vec<_> = rest.iter().take(PAGE).cloned().collect();
        let finished = operation.finished().filter(|_| results.len() == rest.len());
        Some(Page { results, finished })
    }

    /// A host answered a command.
    pub(super) fn answered(&mut self, now: Moment, host: &HostName, result: CommandResult) {
        let id = operation_of(&result.id);
        let Some(entry) = self.entries.get_mut(id) else {
            tracing::info!(%host, op = id, "an answer to an operation that is not known any more");
            return;
        };
        if !entry.operation.awaits(host) {
            tracing::info!(%host, op = id, "an answer that is not waited for any more");
            return;
        }
        let input = Input::Answered(host.clone(), result.results);
        let _none = entry.apply(now, id, input);
    }

    /// A host's session is over.
    pub(super) fn lost(&mut self, now: Moment, host: &HostName, reason: &str) {
        for (id, entry) in self.awaiting(host) {
            let input = Input::Lost(host.clone(), reason.to_owned());
            let _none = entry.apply(now, id, input);
        }
    }

    /// A host has a session again.
    pub(super) fn returned(&mut self, now: Moment, host: &HostName) -> Vec<Order> {
        let entries = self.awaiting(host);
        entries
            .flat_map(|(id, e)| e.apply(now, id, Input::Returned(host.clone())))
            .collect()
    }

    /// Time has passed.
    pub(super) fn elapsed(&mut self, now: Moment) {
        let due = |e: &Entry| e.operation.deadline().is_some_and(|at| at <= now.tick);
        for (id, entry) in self.entries.iter_mut().filter(|(_, e)| due(e)) {
            let _none = entry.apply(now, id, Input::Elapsed);
        }
    }

    /// The tick at which [`Operations::elapsed`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.entries
            .values()
            .filter_map(|e| e.operation.deadline())
            .min()
    }

    fn awaiting(&mut self, host: &HostName) -> impl Iterator<Item = (&str, &mut Entry)> {
        let entries = self.entries.iter_mut();
        entries
            .filter(|(_, e)| e.operation.awaits(host))
            .map(|(id, e)| (id.as_str(), e))
    }

    fn forget(&mut self, now: Moment) {
        let mut results = 0;
        let mut forgotten = Vec::new();
        // The newest first: names of operations are sorted by time.
        for (id, entry) in self.entries.iter().rev() {
            results += entry.operation.results().len();
            let is_old = now.since(entry.since) > REMEMBERED || results > REMEMBERED_RESULTS;
            if entry.operation.finished().is_some() && is_old {
                forgotten.push(id.clone());
            }
        }
        for id in forgotten {
            if let Some(entry) = self.entries.remove(&id) {
                self.keys.remove(&(entry.actor, entry.key));
            }
        }
    }
}

impl Entry {
    fn apply(&mut self, now: Moment, id: &str, input: Input) -> Vec<Order> {
        let was_finished = self.operation.finished().is_some();
        let effects = self.operation.apply(now, input);
        self.publish(id, was_finished);
        self.orders(id, effects)
    }

    /// Tells the readers, and the audit when it has just been finished.
    fn publish(&self, id: &str, was_finished: bool) {
        let finished = self.operation.finished();
        if let (Some(elapsed), false) = (finished, was_finished) {
            audit::finished(id, &self.actor, self.operation.results(), elapsed);
        }
        let version = self.operation.results().len() + usize::from(finished.is_some());
        self.news.send_replace(version);
    }

    fn orders(&self, id: &str, effects: Vec<Effect>) -> Vec<Order> {
        let order = |Effect::Ask(host): Effect| {
            let command = Command {
                id: command_id(id),
                operation: id.to_owned(),
                deadline: Some(to_wire(self.deadline)),
                action: Some(self.request.action),
                programs: self.request.programs.clone(),
                actor: self.actor.clone(),
                traceparent: self.trace.0.clone(),
                tracestate: self.trace.1.clone(),
            };
            (host, command)
        };
        effects.into_iter().map(order).collect()
    }
}

impl Request {
    fn of(submission: &Submission) -> Self {
        Self {
            selection: submission.selection.clone(),
            programs: submission.programs.clone(),
            action: submission.action,
        }
    }
}

/// The id of the one command that each host gets in an operation.
fn command_id(operation: &str) -> String {
    format!("{operation}.1")
}

fn operation_of(command: &str) -> &str {
    command
        .rsplit_once('.')
        .map_or(command, |(operation, _)| operation)
}
