//! What is told of operations: by name, page by page, as a list, and what of one is to be tried again.

use rsv_proto::wire::{self, OperationState};

use super::{OperationError, Operations, SubmitError, entry::Entry};
use crate::{
    hub::handle::{End, Page, Submitted},
    operation::{HostPrograms, Record, Told, wire::state},
    targets::Outcomes,
};

/// The most of an operation's story in one page: at some 200 bytes each, far below the limit of a message.
const PAGE: usize = 500;

/// The shortest beginning of a name that stands for it.
const SHORTEST: usize = 4;

impl Operations {
    /// The name of the operation that is meant: it, or a beginning of it that no other has.
    pub(in crate::hub) fn named(&self, said: &str) -> Result<&str, OperationError> {
        let said = said.trim().to_ascii_uppercase();
        if let Some((id, _)) = self.entries.get_key_value(&said) {
            return Ok(id);
        }
        let begins = |(id, _): &(&String, &Entry)| id.starts_with(&said);
        let mut found = self.entries.range(said.clone()..).take_while(begins);
        match (found.next(), found.count()) {
            (Some((id, _)), 0) if said.len() >= SHORTEST => Ok(id),
            (Some(_), others) if said.len() >= SHORTEST => {
                Err(OperationError::Ambiguous(said, others + 1))
            }
            _ => Err(OperationError::Unknown(said)),
        }
    }

    /// How an operation that was submitted, or is to be watched, is followed; only what comes, or all.
    pub(in crate::hub) fn follow(&self, id: &str, from_now: bool) -> Option<Submitted> {
        let entry = self.entries.get(id)?;
        Some(Submitted {
            id: id.to_owned(),
            hosts: entry.operation.hosts().cloned().collect(),
            brief: entry.brief(),
            told: match from_now {
                true => entry.story().len(),
                false => 0,
            },
            news: Some(entry.news.subscribe()),
        })
    }

    /// What came of an operation so far, host by host; absent: it is not known.
    pub(in crate::hub) fn outcomes(&self, id: &str) -> Option<Outcomes> {
        let operation = &self.entries.get(self.named(id).ok()?)?.operation;
        let mut outcomes: Outcomes = operation
            .hosts()
            .map(|host| (host.to_string(), Vec::new()))
            .collect();
        for told in operation.story() {
            if let Told::Result(result) = told {
                let of_host = outcomes.entry(result.host.clone()).or_default();
                of_host.push(result.outcome());
            }
        }
        Some(outcomes)
    }

    /// What is told after the first so much, as far as it is durable.
    pub(in crate::hub) fn page(&self, id: &str, after: usize) -> Option<Page> {
        let entry = self.entries.get(id)?;
        let rest = entry.story().get(after..).unwrap_or_default();
        let told: Vec<_> = rest.iter().take(PAGE).cloned().collect();
        let is_all = told.len() == rest.len();
        let end = entry.finished().filter(|_| is_all);
        let waits_for = entry.operation.waits_for().filter(|_| is_all);
        Some(Page {
            told,
            is_all,
            waits_for: waits_for.map(str::to_owned),
            end: end.map(|elapsed| {
                let (state, reason) = state(entry.operation.phase());
                End {
                    elapsed,
                    state,
                    reason,
                    rolled_back_by: entry.rolled_back_by.clone(),
                }
            }),
        })
    }

    /// One operation as it is shown; absent: it is not known.
    pub(in crate::hub) fn info(&self, id: &str) -> Option<wire::Operation> {
        self.entries.get(id).map(Entry::info)
    }

    /// The latest operations.
    pub(in crate::hub) fn list(&self, active_only: bool, limit: usize) -> Vec<wire::Operation> {
        let entries = self.entries.iter().rev();
        let wanted = entries.filter(|(id, _)| !active_only || self.active.contains(*id));
        wanted.take(limit).map(|(_, entry)| entry.info()).collect()
    }

    /// What is to be tried again of an operation: a submission, and its parts.
    pub(in crate::hub) fn again(
        &self,
        id: &str,
        tried_only: bool,
    ) -> Result<(&Record, HostPrograms), SubmitError> {
        let unknown = || OperationError::Unknown(id.to_owned());
        let entry = self.entries.get(id).ok_or_else(unknown)?;
        if entry.operation.finished().is_none() {
            return Err(OperationError::UnderWay(id.to_owned()).into());
        }
        let targets = entry.operation.unwell(tried_only);
        match targets.is_empty() {
            true => Err(SubmitError::NothingToRetry(id.to_owned())),
            false => Ok((&entry.record, targets)),
        }
    }
}

/// The word for where an operation stands.
pub(in crate::hub) fn state_word(state: OperationState) -> &'static str {
    match state {
        OperationState::Unspecified => "unknown",
        OperationState::Running => "running",
        OperationState::Paused => "paused",
        OperationState::Stopping => "stopping",
        OperationState::Finished => "finished",
        OperationState::Aborted => "aborted",
        OperationState::Cancelled => "cancelled",
    }
}
