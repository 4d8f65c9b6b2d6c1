//! How an action goes about many hosts, and what `op` takes.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rsv_proto::{
    time::duration_to_wire,
    wire::{Gate, HostOrder, OnFail, Rollout, Share, share::Size},
};

use super::parse_duration;

const ROLLOUT: &str = "Rollout, with --host and its like";

/// What `start`, `stop` and `restart` take.
#[derive(Debug, Args)]
pub(crate) struct ActArgs {
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    /// NAME, GROUP:NAME, GROUP:*, `all`, or a quoted glob such as 'work*'
    #[arg(value_name = "PROGRAM")]
    pub(crate) programs: Vec<String>,
}

/// What `update` takes.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    /// The name of a group; a program that is in none is a group of its own
    #[arg(value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
}

/// What verbs about whole agents take.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[arg(hide = true)]
    pub(crate) words: Vec<String>,
}

/// In which steps, and what has to hold between them.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct RolloutArgs {
    /// So many hosts at a time
    #[arg(long, value_name = "N|N%", value_parser = parse_share, help_heading = ROLLOUT)]
    pub(crate) batch: Option<Share>,
    /// First so many hosts by themselves
    #[arg(long, value_name = "N", help_heading = ROLLOUT)]
    pub(crate) canary: Option<u32>,
    /// What a batch must fulfil before the next begins [default: running; none for stop]
    #[arg(long, value_name = "running|healthy|none", hide_possible_values = true, value_enum, help_heading = ROLLOUT)]
    pub(crate) gate: Option<GateArg>,
    /// How long programs have to remain up before they count as well
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = ROLLOUT)]
    pub(crate) soak: Option<Duration>,
    /// So many failed targets are too many [default: 1]
    #[arg(long, value_name = "N|N%", value_parser = parse_share, help_heading = ROLLOUT)]
    pub(crate) max_fail: Option<Share>,
    /// What happens then [default: abort]
    #[arg(long, value_name = "abort|pause|continue|rollback", hide_possible_values = true, value_enum, help_heading = ROLLOUT)]
    pub(crate) on_fail: Option<OnFailArg>,
    /// Begin with no host while a program is down on so many; who waits longer than --deadline for what
    /// nobody brings up expires
    #[arg(long, value_name = "K", help_heading = ROLLOUT)]
    pub(crate) at_most_k_down: Option<u32>,
    /// Which hosts come first [default: name]
    #[arg(long, value_name = "name|reverse|random", hide_possible_values = true, value_enum, help_heading = ROLLOUT)]
    pub(crate) order: Option<OrderArg>,
}

/// What a batch must fulfil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GateArg {
    /// Its programs run
    Running,
    /// Its programs are healthy; the same where they have no health check
    Healthy,
    /// Its hosts have answered
    None,
}

/// What happens when too much has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailArg {
    /// No further host is asked
    Abort,
    /// No further host is asked until it is resumed
    Pause,
    /// Nothing
    Continue,
    /// It is undone where that is possible
    Rollback,
}

/// Which hosts come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrderArg {
    /// In natural order
    Name,
    /// The other way round
    Reverse,
    /// By lot
    Random,
}

impl RolloutArgs {
    /// For the wire; absent: nothing was said.
    pub(crate) fn to_wire(&self) -> Option<Rollout> {
        let is_said = *self != Self::default();
        is_said.then(|| Rollout {
            batch: self.batch,
            canary: self.canary.unwrap_or_default(),
            gate: self.gate.map_or(Gate::Unspecified, GateArg::wire).into(),
            soak: self.soak.map(duration_to_wire),
            max_fail: self.max_fail,
            on_fail: self
                .on_fail
                .map_or(OnFail::Unspecified, OnFailArg::wire)
                .into(),
            at_most_down: self.at_most_k_down,
            order: self
                .order
                .map_or(HostOrder::Unspecified, OrderArg::wire)
                .into(),
        })
    }
}

impl GateArg {
    fn wire(self) -> Gate {
        match self {
            Self::Running => Gate::Running,
            Self::Healthy => Gate::Healthy,
            Self::None => Gate::None,
        }
    }
}

impl OnFailArg {
    fn wire(self) -> OnFail {
        match self {
            Self::Abort => OnFail::Abort,
            Self::Pause => OnFail::Pause,
            Self::Continue => OnFail::Continue,
            Self::Rollback => OnFail::Rollback,
        }
    }
}

impl OrderArg {
    fn wire(self) -> HostOrder {
        match self {
            Self::Name => HostOrder::Name,
            Self::Reverse => HostOrder::Reverse,
            Self::Random => HostOrder::Random,
        }
    }
}

/// Reads `N` or `N%`.
fn parse_share(text: &str) -> Result<Share, String> {
    let super::Limit(limit) =
        super::parse_limit(text).map_err(|_| "a number from 1, or 1% to 100%".to_owned())?;
    let size = match limit {
        rsv_proto::wire::host_limit::Size::Count(count) => Size::Count(count),
        rsv_proto::wire::host_limit::Size::Percent(percent) => Size::Percent(percent),
    };
    Ok(Share { size: Some(size) })
}

/// What can be asked about operations. What names one has an id of its own: `id` is that of the key that every
/// verb takes, and clap would give its value to both.
#[derive(Debug, Subcommand)]
pub(crate) enum OpVerb {
    /// List operations, the newest first
    Ls {
        /// Only those that have not ended
        #[arg(long)]
        active: bool,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        lines: u32,
    },
    /// Show one operation, and what came of each target
    Show {
        /// Its id, or the beginning of it
        #[arg(id = "operation", value_name = "OPERATION")]
        id: String,
    },
    /// Follow an operation to its end
    Watch {
        /// Its id, or the beginning of it
        #[arg(id = "operation", value_name = "OPERATION")]
        id: String,
    },
    /// Ask no further host until it is resumed
    Pause {
        /// Its id, or the beginning of it
        #[arg(id = "operation", value_name = "OPERATION")]
        id: String,
    },
    /// Go on with what was paused
    Resume {
        /// Its id, or the beginning of it
        #[arg(id = "operation", value_name = "OPERATION")]
        id: String,
    },
    /// Ask no further host at all; what is under way is finished
    Cancel {
        /// Its id, or the beginning of it
        #[arg(id = "operation", value_name = "OPERATION")]
        id: String,
    },
    /// Try again, as a new operation, what did not end well
    Retry {
        /// Its id, or the beginning of it
        #[arg(id = "operation", value_name = "OPERATION")]
        id: String,
        /// Only what was tried: not what was never attempted
        #[arg(long)]
        failed: bool,
    },
}

impl OpVerb {
    /// The verb as it is typed, with its noun.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ls { .. } => "op ls",
            Self::Show { .. } => "op show",
            Self::Watch { .. } => "op watch",
            Self::Pause { .. } => "op pause",
            Self::Resume { .. } => "op resume",
            Self::Cancel { .. } => "op cancel",
            Self::Retry { .. } => "op retry",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Verb};

    fn rollout(line: &str) -> Option<Rollout> {
        match Arguments::read(line.split(' ')).unwrap().verb.unwrap() {
            Verb::Restart(args) => args.rollout.to_wire(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rollout_is_what_the_flags_say_and_nothing_when_they_say_nothing() {
        assert_eq!(rollout("rsv -A restart app"), None);
        let said = rollout(
            "rsv -A restart app --batch 25% --canary 1 --gate healthy --soak 2s --max-fail 3 \
             --on-fail pause --at-most-k-down 2 --order reverse",
        );
        let share = |size| Some(Share { size: Some(size) });
        let wanted = Rollout {
            batch: share(Size::Percent(25)),
            canary: 1,
            gate: Gate::Healthy.into(),
            soak: Some(duration_to_wire(Duration::from_secs(2))),
            max_fail: share(Size::Count(3)),
            on_fail: OnFail::Pause.into(),
            at_most_down: Some(2),
            order: HostOrder::Reverse.into(),
        };
        assert_eq!(said, Some(wanted));
        assert!(Arguments::read("rsv -A restart app --batch 0".split(' ')).is_err());
    }
}
