//! The front of the hub: what other tasks ask of it.
//!
//! A handle only sends a request and waits for the answer; it decides nothing.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rsv_proto::wire;
use tokio::sync::{mpsc, oneshot};

use super::reconfigure::ProgramChange;
use crate::desired::Desired;
use crate::journal::{Journal, JournalReader};
use crate::listeners::Noted;

/// The hub has gone: the agent is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the supervisor is shutting down")]
pub struct HubGone;

/// Why nothing can be written to the standard input of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStdin {
    /// There is no such program.
    #[error("there is no such program")]
    NoSuchProcess,
    /// It does not run.
    #[error("it does not run")]
    NotRunning,
    /// It runs and has no such pipe.
    #[error("it has no standard input to write to")]
    NoPipe,
}

/// Names one supervised process. Ordered by group, then name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The group's name.
    pub group: String,
    /// The process's name inside its group.
    pub name: String,
}

/// One action on many programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActOn {
    /// Patterns: `name`, `group:name`, `group:*`, globs of these, `all`.
    pub programs: Vec<String>,
    /// What to do with each. An action without a verb fails for every target.
    pub action: wire::Action,
    /// Exactly these of the processes that `programs` names, as they are shown; empty: all of them.
    pub exactly: Vec<String>,
    /// Who asks, such as `operator/admin`; empty: the local socket's user. Only for the log.
    pub actor: String,
    /// How a start of what is on its way up already is answered.
    pub under_way: UnderWay,
}

/// How a start of what is on its way up already is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderWay {
    /// At once: it has been started already, as Supervisor says.
    #[default]
    Told,
    /// When it is up, or has failed: on the fleet what is done is RUNNING.
    Awaited,
}

/// Every process, as it was after one change of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// This agent's epoch.
    pub epoch: u64,
    /// The change after which this was the state.
    pub seq: u64,
    /// In the order of group and name.
    pub programs: Vec<wire::ProcessStatus>,
}

/// What patterns name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Each process once, in the order of the patterns, then of group and name.
    pub keys: Vec<Key>,
    /// Patterns that name nothing.
    pub unmatched: Vec<wire::UnmatchedProgram>,
}

/// What becomes of the programs when the hub ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Each is stopped, in Supervisor's order, and the keeper ends too.
    StopPrograms,
    /// They run on under the keeper, and the next agent takes them over.
    LeavePrograms,
}

/// The front of the hub. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HubHandle {
    asks: mpsc::Sender<Ask>,
    journal: Journal,
    without_keeper: Arc<AtomicBool>,
}

/// A request to the hub.
#[derive(Debug)]
pub(super) enum Ask {
    Act {
        request: ActOn,
        results: oneshot::Sender<mpsc::Receiver<wire::TargetResult>>,
    },
    Status {
        patterns: Vec<String>,
        answer: oneshot::Sender<wire::HostStatus>,
    },
    Snapshot {
        answer: oneshot::Sender<Snapshot>,
    },
    Resolve {
        patterns: Vec<String>,
        answer: oneshot::Sender<Resolved>,
    },
    Reconfigure {
        changes: Vec<ProgramChange>,
        results: oneshot::Sender<mpsc::Receiver<wire::TargetResult>>,
    },
    Stdin {
        key: Key,
        /// Only that of this attempt; absent: of whichever it is in.
        attempt: Option<u64>,
        answer: oneshot::Sender<Result<OwnedFd, NoStdin>>,
    },
    Listener {
        key: Key,
        attempt: u64,
        noted: Noted,
        done: oneshot::Sender<()>,
    },
    Desire {
        desired: Desired,
        done: oneshot::Sender<()>,
    },
    RestartRun {
        key: Key,
        attempt: u64,
    },
    /// The listeners have heard all that they are to hear before they are stopped.
    ListenersHeard,
    Shutdown {
        mode: Shutdown,
        done: oneshot::Sender<()>,
    },
}

impl Key {
    /// The key as the keeper and the logs know it: always both parts.
    pub fn as_run_key(&self) -> String {
        format!("{}:{}", self.group, self.name)
    }

    /// The reverse of [`Key::as_run_key`]. Names have no colon, so the first one divides.
    pub fn from_run_key(key: &str) -> Option<Self> {
        let (group, name) = key.split_once(':')?;
        Some(Self {
            group: group.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Key {
    /// As people see it: `name`, or `group:name` when they differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group == self.name {
            f.write_str(&self.name)
        } else {
            write!(f, "{}:{}", self.group, self.name)
        }
    }
}

impl HubHandle {
    pub(super) fn new(asks: mpsc::Sender<Ask>, journal: Journal) -> Self {
        Self {
            asks,
            journal,
            without_keeper: Arc::default(),
        }
    }

    /// Where the hub says that it has no keeper.
    pub(super) fn without_keeper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.without_keeper)
    }

    /// Whether there has been no keeper for some time, so that nothing can be started.
    pub fn is_without_keeper(&self) -> bool {
        self.without_keeper.load(Ordering::Relaxed)
    }

    /// Begins an action on every process that the patterns name, and on its way gives each result
    /// when it is there. The channel ends when all are in. Dropping it does not stop the action.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub has ended.
    pub async fn act(&self, request: ActOn) -> Result<mpsc::Receiver<wire::TargetResult>, HubGone> {
        self.ask(|results| Ask::Act { request, results }).await
    }

    /// The state of the processes that the patterns name, in lexical order; none or `all`: of every
    /// one. `host` is left empty.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub has ended.
    pub async fn status(&self, patterns: &[String]) -> Result<wire::HostStatus, HubGone> {
        let patterns = patterns.to_vec();
        self.ask(|answer| Ask::Status { patterns, answer }).await
    }

    /// The state of every process and the journal's number it belongs to.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, HubGone> {
        self.ask(|answer| Ask::Snapshot { answer }).await
    }

    /// What patterns name.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub has ended.
    pub async fn resolve(&self, patterns: &[String]) -> Result<Resolved, HubGone> {
        let patterns = patterns.to_vec();
        self.ask(|answer| Ask::Resolve { patterns, answer }).await
    }

    /// Changes what is supervised, all at once. Gives one result for each program that has to be
    /// stopped for it, when it is; the channel ends when all are in. Dropping it stops nothing.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub has ended.
    pub async fn reconfigure(
        &self,
        changes: Vec<ProgramChange>,
    ) -> Result<mpsc::Receiver<wire::TargetResult>, HubGone> {
        self.ask(|results| Ask::Reconfigure { changes, results })
            .await
    }

    /// Obeys what the fleet wants of the programs, if it is newer than what was known. Returns when what
    /// is to be stopped has been told to.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub has ended.
    pub async fn desire(&self, desired: Desired) -> Result<(), HubGone> {
        self.ask(|done| Ask::Desire { desired, done }).await
    }

    /// A copy of the writing end of a process's standard input. It does not block.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub has ended.
    pub async fn stdin_of(&self, key: &Key) -> Result<Result<OwnedFd, NoStdin>, HubGone> {
        self.ask(|answer| Ask::Stdin {
            key: key.clone(),
            attempt: None,
            answer,
        })
        .await
    }

    /// The same of one attempt of a process, and of no later one.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub has ended.
    pub async fn stdin_of_attempt(
        &self,
        key: &Key,
        attempt: u64,
    ) -> Result<Result<OwnedFd, NoStdin>, HubGone> {
        self.ask(|answer| Ask::Stdin {
            key: key.clone(),
            attempt: Some(attempt),
            answer,
        })
        .await
    }

    /// Keeps for the next agent where a process stands as an event listener. Returns when the keeper
    /// has been told.
    pub async fn note_listener(&self, key: &Key, attempt: u64, noted: Noted) {
        let key = key.clone();
        let ask = |done| Ask::Listener {
            key,
            attempt,
            noted,
            done,
        };
        // The only error is that the hub has gone, and then the keeper keeps what it has.
        self.ask(ask).await.ok();
    }

    /// Starts a process anew, if it is still in this attempt and up. Does not wait for what comes of it.
    pub async fn restart_run(&self, key: &Key, attempt: u64) {
        let key = key.clone();
        // The only error is that the hub has gone.
        self.asks.send(Ask::RestartRun { key, attempt }).await.ok();
    }

    /// The answer to [`Notice::LastWords`](crate::listeners::Notice::LastWords).
    pub async fn listeners_heard(&self) {
        // The only error is that the hub has gone.
        self.asks.send(Ask::ListenersHeard).await.ok();
    }

    /// Ends the hub; returns when that is done. A second call waits for the first one's end.
    ///
    /// # Errors
    ///
    /// [`HubGone`] when the hub had ended before.
    pub async fn shutdown(&self, mode: Shutdown) -> Result<(), HubGone> {
        self.ask(|done| Ask::Shutdown { mode, done }).await
    }

    /// A reader of the changes from now on.
    pub fn subscribe(&self) -> JournalReader {
        self.journal.subscribe()
    }

    /// The journal, to read from a given number or to see which are kept.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, HubGone> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| HubGone)?;
        answered.await.map_err(|_| HubGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_short_when_group_and_name_are_equal() {
        for (group, name, shown, run) in [
            ("app", "app", "app", "app:app"),
            ("web", "app", "web:app", "web:app"),
        ] {
            let key = Key {
                group: group.into(),
                name: name.into(),
            };
            assert_eq!(key.to_string(), shown);
            assert_eq!(key.as_run_key(), run);
            assert_eq!(Key::from_run_key(run), Some(key));
        }
    }
}
