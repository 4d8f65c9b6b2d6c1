//! What has become of an operation, one step after the other: what is written down at each step, and
//! from which the operation is made again after a restart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rsv_proto::{
    name::HostName,
    process::display_name,
    wire::{Outcome, Refusal, TargetResult},
};
use serde::{Deserialize, Serialize};

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Milliseconds since 1970.
    pub at: u64,
    /// What has become true.
    pub what: What,
}

/// What has become true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// This batch has its turn, counted from 0.
    Batch(usize),
    /// A host gets the command.
    Asked(#[serde(with = "text")] HostName),
    /// A connected host has not answered in time: nobody waits for it any more, and its answer still counts.
    Late(#[serde(with = "text")] HostName),
    /// A host has answered; its programs are looked at for a while.
    Answered(#[serde(with = "text")] HostName, Vec<Row>),
    /// All targets of a host have ended.
    Ended(#[serde(with = "text")] HostName, Vec<Row>),
    /// No further host is asked for now: why.
    Paused(String),
    /// It goes on: who asked.
    Resumed(String),
    /// No further host is asked: why.
    Stopping(Why, String),
    /// Nothing is left to be done.
    Finished,
}

/// Why an operation ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Too many targets failed.
    Aborted,
    /// Somebody asked.
    Cancelled,
}

/// The fate of one target of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// As it is shown; empty: the whole host.
    pub program: String,
    /// [`Outcome`].
    pub outcome: i32,
    /// [`Refusal`].
    #[serde(default)]
    pub refusal: i32,
    /// Steps on the way.
    #[serde(default)]
    pub steps: Vec<i32>,
    /// Words for people.
    #[serde(default)]
    pub detail: String,
}

/// One process of a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// Its group.
    pub group: String,
    /// Its name in it.
    pub name: String,
}

impl Fact {
    /// A step at this moment.
    pub fn new(at: SystemTime, what: What) -> Self {
        Self {
            at: milliseconds(at),
            what,
        }
    }

    /// When it was.
    pub fn moment(&self) -> SystemTime {
        from_milliseconds(self.at)
    }
}

impl Row {
    /// A fate with words.
    pub fn new(program: &str, outcome: Outcome, detail: impl Into<String>) -> Self {
        let refusal = match outcome {
            Outcome::Failed => Refusal::Other,
            _ => Refusal::Unspecified,
        };
        Self {
            program: program.to_owned(),
            outcome: outcome.into(),
            refusal: refusal.into(),
            steps: Vec::new(),
            detail: detail.into(),
        }
    }

    /// How it ended; one that this version does not know has failed.
    pub fn outcome(&self) -> Outcome {
        match Outcome::try_from(self.outcome) {
            Ok(Outcome::Unspecified) | Err(_) => Outcome::Failed,
            Ok(outcome) => outcome,
        }
    }

    /// Whether the host has no such program: nothing was tried.
    pub fn names_nothing(&self) -> bool {
        let refusal = Refusal::try_from(self.refusal);
        matches!(refusal, Ok(Refusal::NoSuchProcess | Refusal::NoSuchGroup))
            && self.outcome() == Outcome::Failed
    }

    /// For the wire.
    pub fn to_wire(&self, host: &str) -> TargetResult {
        TargetResult {
            host: host.to_owned(),
            program: self.program.clone(),
            outcome: self.outcome().into(),
            refusal: self.refusal,
            steps: self.steps.clone(),
            detail: self.detail.clone(),
        }
    }
}

impl From<TargetResult> for Row {
    fn from(result: TargetResult) -> Self {
        let row = Self {
            program: result.program,
            outcome: result.outcome,
            refusal: result.refusal,
            steps: result.steps,
            detail: result.detail,
        };
        Self {
            outcome: row.outcome().into(),
            ..row
        }
    }
}

impl Program {
    /// From what is shown.
    pub fn from_shown(shown: &str) -> Self {
        let (group, name) = shown.split_once(':').unwrap_or((shown, shown));
        Self {
            group: group.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&display_name(&self.group, &self.name))
    }
}

/// A moment as it is stored.
pub fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A moment that was stored.
pub fn from_milliseconds(at: u64) -> SystemTime {
    let since = Duration::from_millis(at);
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// Stores what has a text of its own as that text.
pub mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    /// Writes it.
    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads it.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}
