//! What `status`, `wait` and `top` take.

use clap::{Args, ValueEnum};
use rsv_proto::{process::state_word, wire::ProcessState};

/// What `status` takes.
#[derive(Debug, Default, Args)]
pub(crate) struct StatusArgs {
    /// Go on, and show it anew when something changes; Ctrl-C ends it
    #[arg(short = 'w', long)]
    pub(crate) watch: bool,
    /// Programs in this state alone, such as fatal; several with commas
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    pub(crate) states: Vec<ProcessState>,
    /// The first line alone, which says whether all is fine
    #[arg(long)]
    pub(crate) summary: bool,
    /// NAME, GROUP:NAME, GROUP:*, `all`, or a quoted glob such as 'work*'
    #[arg(value_name = "PROGRAM")]
    pub(crate) programs: Vec<String>,
}

/// What `wait` takes.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// What they should be
    #[arg(long = "for", value_name = "STATE", value_enum, default_value_t)]
    pub(crate) state: WaitFor,
    /// Until one of them is, instead of all
    #[arg(long)]
    pub(crate) any: bool,
    /// NAME, GROUP:NAME, GROUP:*, `all`, or a quoted glob such as 'work*'
    #[arg(value_name = "PROGRAM")]
    pub(crate) programs: Vec<String>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum WaitFor {
    /// RUNNING
    #[default]
    Running,
    /// STOPPED, EXITED or FATAL
    Stopped,
    /// Running, and healthy where there is a health check
    Healthy,
}

impl WaitFor {
    /// As it is typed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Healthy => "healthy",
        }
    }
}

/// What `top` takes.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// NAME, GROUP:NAME, GROUP:*, or a quoted glob such as 'work*'; none: every program
    #[arg(value_name = "PROGRAM")]
    pub(crate) programs: Vec<String>,
}

const STATES: [ProcessState; 8] = [
    ProcessState::Stopped,
    ProcessState::Starting,
    ProcessState::Running,
    ProcessState::Backoff,
    ProcessState::Stopping,
    ProcessState::Exited,
    ProcessState::Fatal,
    ProcessState::Unknown,
];

/// Reads a process's state in any case.
pub(super) fn parse_state(text: &str) -> Result<ProcessState, String> {
    let mut states = STATES.into_iter();
    states
        .find(|state| text.eq_ignore_ascii_case(state_word(*state)))
        .ok_or_else(|| {
            let words: Vec<String> = STATES.map(|s| state_word(s).to_lowercase()).into();
            format!("accepted: {}", words.join(", "))
        })
}
