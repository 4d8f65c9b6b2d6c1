//! Why an operation was not begun, not found, or not controlled.

use super::{MOST, MOST_TARGETS};
use crate::{operands::OperandError, operation::RolloutError, targets::SelectionError};

/// Why nothing was begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The selection.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The programs.
    #[error(transparent)]
    Operand(#[from] OperandError),
    /// The rollout.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// Another number of hosts than was expected.
    #[error("{}, {expected} were expected; nothing was done", selected(*found))]
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
    #[error("{MOST} operations are under way")]
    TooMany,
    /// Too many targets.
    #[error("{0} programs are selected, an operation takes {MOST_TARGETS}")]
    TooManyTargets(usize),
    /// No such operation, for what refers to one.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// Everything ended well.
    #[error("operation {0} has no target that failed")]
    NothingToRetry(String),
    /// The store.
    #[error("the operation could not be written down; nothing was done")]
    NotWritten,
}

/// Why an operation was not found, or not controlled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// There is none.
    #[error("no operation `{0}` is known")]
    Unknown(String),
    /// Several.
    #[error("`{0}` is the beginning of {1} operations")]
    Ambiguous(String, usize),
    /// It has ended.
    #[error("operation {0} has ended: {1}")]
    Ended(String, &'static str),
    /// It has not.
    #[error("operation {0} has not ended: wait for it, or cancel it first")]
    UnderWay(String),
    /// It asks nobody any more.
    #[error("operation {0} is stopping already: it only waits for what is under way")]
    Stopping(String),
}

fn selected(hosts: usize) -> String {
    match hosts {
        1 => "1 host is selected".to_owned(),
        _ => format!("{hosts} hosts are selected"),
    }
}
