//! Which file holds which numbers.

/// Being written.
#[derive(Debug)]
pub(crate) struct LogIndex;
