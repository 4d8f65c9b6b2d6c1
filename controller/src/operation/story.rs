//! What is told of an operation to those who watch it.

use std::time::Duration;

use rsv_proto::{
    name::HostName,
    wire::{Outcome, TargetResult},
};

use super::fact::{Row, Why};

/// One thing that is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A target has ended.
    Result(TargetResult),
    /// A connected host has not answered in time; what comes of it is told when it does.
    Late {
        /// Which one.
        host: HostName,
        /// As they are shown; none: the host as a whole.
        programs: Vec<String>,
        /// How long it has been waited for.
        after: Duration,
    },
    /// A batch has its turn.
    BatchBegun {
        /// Counted from 0.
        number: usize,
        /// The first one, of its own size.
        is_canary: bool,
        /// In the order of their turn.
        hosts: Vec<HostName>,
    },
    /// All of it has ended.
    BatchEnded {
        /// Counted from 0.
        number: usize,
        /// The first one, of its own size.
        is_canary: bool,
        /// In the order of their turn.
        hosts: Vec<HostName>,
        /// How its targets ended.
        counts: Counts,
        /// Since it was begun.
        elapsed: Duration,
    },
    /// No further host is asked for now: why.
    Paused(String),
    /// It goes on: who asked.
    Resumed(String),
    /// No further host is asked: why.
    Stopping(Why, String),
}

/// Targets by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Done.
    pub done: u32,
    /// Failed.
    pub failed: u32,
    /// Unreachable.
    pub unreachable: u32,
    /// Expired.
    pub expired: u32,
    /// Denied.
    pub denied: u32,
    /// Not attempted.
    pub not_attempted: u32,
}

impl Counts {
    /// Counts one target.
    pub fn add(&mut self, row: &Row) {
        self.add_outcome(row.outcome());
    }

    /// Counts one target by how it ended.
    pub fn add_outcome(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Done => &mut self.done,
            Outcome::Failed | Outcome::Unspecified => &mut self.failed,
            Outcome::Unreachable => &mut self.unreachable,
            Outcome::Expired => &mut self.expired,
            Outcome::Denied => &mut self.denied,
            Outcome::NotAttempted => &mut self.not_attempted,
        };
        *count = count.saturating_add(1);
    }

    /// All of them.
    pub fn sum(self) -> u32 {
        let Self {
            done,
            failed,
            unreachable,
            expired,
            denied,
            not_attempted,
        } = self;
        done + failed + unreachable + expired + denied + not_attempted
    }
}
