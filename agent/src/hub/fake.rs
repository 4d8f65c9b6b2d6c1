//! A hub for the tests of its callers: it owns no machine, answers every ask at once, and publishes
//! what it is told to.

use std::sync::Arc;

use rsv_proto::process::display_name;
use rsv_proto::select::ProgramPattern;
use rsv_proto::wire::{self, Outcome, Refusal, TargetResult};
use tokio::sync::{Notify, mpsc};

use super::handle::{ActOn, Ask, HubHandle, Key, Resolved, Snapshot};
use crate::journal::Journal;

/// More actions than any test asks for without looking at them; one more fails the test.
const ACTS: usize = 64;

/// A fake hub, and what it was asked to do.
pub(crate) struct FakeHub {
    pub(crate) handle: HubHandle,
    pub(crate) journal: Journal,
    /// Each action, as it came.
    pub(crate) acts: mpsc::Receiver<ActOn>,
    /// Told: what is stuck ends without a result.
    pub(crate) release: Arc<Notify>,
}

/// Starts a hub with these programs, each a group of its own. An action on `stuck` has no result.
pub(crate) fn start(epoch: u64, programs: &[&str]) -> FakeHub {
    let journal = Journal::new(epoch, 64);
    let (asks, mut inbox) = mpsc::channel(8);
    let (told, acts) = mpsc::channel(ACTS);
    let handle = HubHandle::new(asks, journal.clone());
    let keys: Vec<Key> = programs
        .iter()
        .map(|name| Key {
            group: (*name).to_owned(),
            name: (*name).to_owned(),
        })
        .collect();
    let shared = journal.clone();
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    tokio::spawn(async move {
        let mut stuck = Vec::new();
        loop {
            tokio::select! {
                ask = inbox.recv() => match ask {
                    Some(ask) => answer(ask, &keys, &shared, &told, &mut stuck),
                    None => return,
                },
                () = released.notified() => stuck.clear(),
            }
        }
    });
    FakeHub {
        handle,
        journal,
        acts,
        release,
    }
}

fn answer(
    ask: Ask,
    keys: &[Key],
    journal: &Journal,
    told: &mpsc::Sender<ActOn>,
    stuck: &mut Vec<mpsc::Sender<TargetResult>>,
) {
    match ask {
        Ask::Act { request, results } => {
            let (sender, receiver) = mpsc::channel(keys.len().max(1));
            for key in resolve(keys, &request.programs).keys {
                if key.name == "stuck" {
                    stuck.push(sender.clone());
                } else {
                    sender.try_send(done(&key)).unwrap();
                }
            }
            let told = told.try_send(request);
            assert!(
                !matches!(told, Err(mpsc::error::TrySendError::Full(_))),
                "nobody looks at the actions"
            );
            results.send(receiver).ok();
        }
        Ask::Status { patterns, answer } => {
            let Resolved { keys, unmatched } = match patterns.is_empty() {
                true => resolve(keys, &["all".to_owned()]),
                false => resolve(keys, &patterns),
            };
            let programs = keys.iter().map(status).collect();
            let status = wire::HostStatus {
                programs,
                unmatched,
                ..Default::default()
            };
            answer.send(status).ok();
        }
        Ask::Snapshot { answer } => {
            let programs = keys.iter().map(status).collect();
            let (epoch, seq) = (journal.epoch(), journal.newest_seq());
            answer
                .send(Snapshot {
                    epoch,
                    seq,
                    programs,
                })
                .ok();
        }
        Ask::Resolve { patterns, answer } => drop(answer.send(resolve(keys, &patterns))),
        Ask::Reconfigure { results, .. } => drop(results.send(mpsc::channel(1).1)),
        Ask::Desire { done, .. } => {
            done.send(()).ok();
        }
        Ask::Listener { .. } | Ask::RestartRun { .. } | Ask::ListenersHeard => {}
        Ask::Stdin { answer, .. } => drop(answer.send(Err(super::NoStdin::NoPipe))),
        Ask::Shutdown { done, .. } => {
            journal.end();
            done.send(()).ok();
        }
    }
}

fn resolve(keys: &[Key], patterns: &[String]) -> Resolved {
    let mut resolved = Resolved::default();
    for text in patterns {
        let pattern = ProgramPattern::parse(text);
        let before = resolved.keys.len();
        let named = keys
            .iter()
            .filter(|key| pattern.matches(&key.group, &key.name));
        resolved.keys.extend(named.cloned());
        if resolved.keys.len() == before {
            let refusal = Refusal::NoSuchProcess.into();
            let pattern = text.clone();
            resolved
                .unmatched
                .push(wire::UnmatchedProgram { pattern, refusal });
        }
    }
    resolved
}

fn done(key: &Key) -> TargetResult {
    TargetResult {
        program: display_name(&key.group, &key.name),
        outcome: Outcome::Done.into(),
        ..Default::default()
    }
}

fn status(key: &Key) -> wire::ProcessStatus {
    wire::ProcessStatus {
        group: key.group.clone(),
        name: key.name.clone(),
        state: wire::ProcessState::Running.into(),
        ..Default::default()
    }
}
