//! What scripts read about this command itself.

use serde::Serialize;

/// `help`.
#[derive(Debug, Serialize)]
pub(crate) struct Help {
    pub(crate) schema: &'static str,
    /// Null: of everything.
    pub(crate) verb: Option<String>,
    pub(crate) about: String,
    /// The page.
    pub(crate) text: String,
    /// Each verb that can be typed, of everything or of this noun; none below a verb.
    pub(crate) verbs: Vec<HelpVerb>,
}

/// A verb in `help`.
#[derive(Debug, Serialize)]
pub(crate) struct HelpVerb {
    /// As it is typed, with its noun.
    pub(crate) verb: String,
    pub(crate) about: String,
    /// What it gives with `-o json`: `object`, `pieces` (one object for each) or `refused`.
    pub(crate) json: &'static str,
}

/// `man`.
#[derive(Debug, Serialize)]
pub(crate) struct Man {
    schema: &'static str,
    files: Vec<String>,
}

impl Man {
    /// With these files written.
    pub(crate) fn new(files: Vec<String>) -> Self {
        Self {
            schema: "rsv/man/v1",
            files,
        }
    }
}
