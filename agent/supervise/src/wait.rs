//! The fate of an ask: when what was asked for is so, or will not be.
//!
//! The driver opens a wait with the phase before the ask's own step, then shows it every change
//! of that machine from that step on, and every later ask before its step. The first verdict is
//! the last. A wait decides nothing about the machine and may be dropped at any time.

use serde::{Deserialize, Serialize};

use crate::{After, Ask, Change, Entered, Phase, Reason, State};

/// Somebody who waits for the outcome of an ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    ask: Ask,
    #[serde(default)]
    stopped: bool,
    #[serde(default)]
    was_stopping: bool,
    #[serde(default)]
    was_starting: bool,
}

/// What an ask came to at the moment it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There is nothing to wait for.
    Settled(Verdict),
    /// The outcome is not known yet.
    Waiting(Wait),
}

/// What came of an ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// Why what was asked for was not done, or not all of it; absent: it was.
    pub refusal: Option<Refusal>,
}

/// Something that was done on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The process was stopped.
    Stopped,
    /// The process is up.
    Started,
}

/// Why what was asked for was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It runs, or is on its way to; nothing had to be done.
    AlreadyStarted,
    /// It does not run, or was being stopped before; nothing had to be done.
    NotRunning,
    /// It could not be spawned, or ended too quickly.
    SpawnError {
        /// The spawn error, in the words shown to people.
        why: String,
    },
    /// It ended on its way up, in no way that makes a spawn error.
    AbnormalTermination,
    /// A later stop came before it was done.
    Superseded,
    /// It cannot be signalled, so that it can be neither stopped nor started.
    Unsignallable,
}

impl Refusal {
    /// What was asked for is so all the same.
    pub const fn is_benign(&self) -> bool {
        matches!(self, Self::AlreadyStarted | Self::NotRunning)
    }
}

impl Wait {
    /// Opens a wait for `ask`, made while the machine stands in `phase`.
    pub fn open(ask: Ask, phase: &Phase) -> Opened {
        let refusal = match ask {
            Ask::Start if phase.state().is_running() => Some(Refusal::AlreadyStarted),
            Ask::Start if phase.state() == State::Unknown => Some(Refusal::Unsignallable),
            Ask::Stop if phase.is_at_rest() => Some(Refusal::NotRunning),
            Ask::Start | Ask::Stop | Ask::Restart => None,
        };
        match refusal {
            Some(refusal) => Opened::Settled(Verdict {
                steps: Vec::new(),
                refusal: Some(refusal),
            }),
            None => Opened::Waiting(Self {
                ask,
                stopped: false,
                was_stopping: ask == Ask::Stop && is_ending_in_rest(phase),
                was_starting: false,
            }),
        }
    }

    /// Waits for what becomes of a start that is under way, for somebody who asks for the same and wants
    /// to know more than that. The machine has nothing to be asked then.
    pub const fn joining() -> Self {
        Self {
            ask: Ask::Start,
            stopped: false,
            was_stopping: false,
            was_starting: true,
        }
    }

    /// What was asked for.
    pub const fn ask(&self) -> Ask {
        self.ask
    }

    /// Takes in a later ask of the same machine: a stop overtakes a start that is not done yet.
    /// A later start or restart overtakes nothing: what was asked for comes to be on its way.
    pub fn overtaken(&self, later: Ask) -> Option<Verdict> {
        match (self.ask, later) {
            (Ask::Start | Ask::Restart, Ask::Stop) => Some(self.refused(Refusal::Superseded)),
            (Ask::Start | Ask::Restart, Ask::Start | Ask::Restart) | (Ask::Stop, _) => None,
        }
    }

    /// Takes in a change of the machine.
    pub fn settle(&mut self, change: &Change) -> Option<Verdict> {
        match self.ask {
            Ask::Stop => self.settle_stop(change),
            Ask::Start => self.settle_start(change),
            Ask::Restart => {
                self.stopped |= matches!(change.to, Entered::Stopped { .. });
                self.settle_start(change)
            }
        }
    }

    fn settle_stop(&self, change: &Change) -> Option<Verdict> {
        match change.to {
            Entered::Stopped { .. } if self.was_stopping => Some(self.refused(Refusal::NotRunning)),
            Entered::Stopped { .. } => Some(Verdict {
                steps: vec![Step::Stopped],
                refusal: None,
            }),
            Entered::Unknown { .. } => Some(self.refused(Refusal::Unsignallable)),
            // A stop that was asked for leaves no way to these but through STOPPED.
            Entered::Starting { .. }
            | Entered::Running { .. }
            | Entered::Backoff { .. }
            | Entered::Stopping { .. }
            | Entered::Exited(_)
            | Entered::Fatal => None,
        }
    }

    fn settle_start(&self, change: &Change) -> Option<Verdict> {
        match change.to {
            Entered::Running { .. } if self.was_starting => {
                Some(self.refused(Refusal::AlreadyStarted))
            }
            Entered::Running { .. } => {
                let mut steps = self.steps();
                steps.push(Step::Started);
                Some(Verdict {
                    steps,
                    refusal: None,
                })
            }
            Entered::Backoff { .. } | Entered::Fatal => Some(self.refused(start_failure(change))),
            Entered::Exited(_) => Some(self.refused(Refusal::AbnormalTermination)),
            Entered::Unknown { .. } => Some(self.refused(Refusal::Unsignallable)),
            Entered::Starting { .. } | Entered::Stopping { .. } | Entered::Stopped { .. } => None,
        }
    }

    fn refused(&self, refusal: Refusal) -> Verdict {
        Verdict {
            steps: self.steps(),
            refusal: Some(refusal),
        }
    }

    fn steps(&self) -> Vec<Step> {
        if self.stopped {
            vec![Step::Stopped]
        } else {
            Vec::new()
        }
    }
}

fn is_ending_in_rest(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Stopping {
            then: After::Rest,
            ..
        } | Phase::Aborting {
            then: After::Rest,
            ..
        }
    )
}

fn start_failure(change: &Change) -> Refusal {
    match &change.reason {
        Reason::Failed(failure) => Refusal::SpawnError {
            why: failure.spawn_error(),
        },
        _ => Refusal::AbnormalTermination,
    }
}
