//! What `events` takes.

use std::str::FromStr;

use clap::Args;
use rsv_proto::wire::{EventKind, ProcessState};

use super::{Moment, parse_moment, watch::parse_state};

/// What `events` takes.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on as things happen; Ctrl-C ends it
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of these kinds alone: process, host, operation, or a state that processes come into, such as
    /// fatal; several with commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub(crate) types: Vec<EventType>,
    /// Begin with what happened since then: 10m ago, or a time such as 14:30
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_moment, conflicts_with_all = ["from", "lines"])]
    pub(crate) since: Option<Moment>,
    /// Begin with the event of this number
    #[arg(long, value_name = "SEQ")]
    pub(crate) from: Option<u64>,
    /// Begin with the last N events [default: 100; with --follow: 0]
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub(crate) lines: Option<u32>,
    /// Of these programs alone: NAME, GROUP:NAME, GROUP:*, or a quoted glob
    #[arg(value_name = "PROGRAM")]
    pub(crate) programs: Vec<String>,
}

/// A kind of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventType {
    /// What they are about.
    Kind(EventKind),
    /// Processes that come into this state.
    State(ProcessState),
}

const KINDS: [EventKind; 3] = [EventKind::Process, EventKind::Host, EventKind::Operation];

impl EventType {
    /// The word for a kind.
    pub(crate) fn word(kind: EventKind) -> &'static str {
        match kind {
            EventKind::Process => "process",
            EventKind::Host => "host",
            EventKind::Operation => "operation",
            EventKind::Unspecified => "unknown",
        }
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kind = KINDS.into_iter().find(|kind| text == Self::word(*kind));
        let state = || parse_state(text).ok();
        kind.map(Self::Kind)
            .or_else(|| state().map(Self::State))
            .ok_or_else(|| {
                "accepted: process, host, operation, and states such as running, exited, fatal"
                    .to_owned()
            })
    }
}
