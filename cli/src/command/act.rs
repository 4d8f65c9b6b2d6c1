//! `start`, `stop`, `restart`, `signal`: one action on many programs.
//!
//! What is asked is here; asking this machine's agent is in `local`, asking the fleet in `fleet`,
//! and what results mean, in words and exit codes, in `verdict`.

pub(super) mod care;
mod fleet;
mod follow;
mod local;
pub(super) mod plan;
pub(super) mod verdict;

use rsv_config::Signal;
use rsv_proto::wire::{
    Action, AddAction, ClearAction, HostSelection, ReloadAction, RemoveAction, RereadAction,
    RestartAction, ShutdownAction, SignalAction, StartAction, StopAction, TargetResult,
    UpdateAction, act_response::Accepted, action::Verb,
};

use crate::{
    args::{ActArgs, RolloutArgs},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    ui::printable,
};

pub(super) use follow::{Report, count_words, follow, show};

/// What is asked of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Start,
    Stop,
    Restart,
    /// With its number.
    Signal(i32),
    /// On the fleet, as the following: on this machine they have words of their own.
    Update,
    Reread,
    Clear,
    Add,
    Remove,
    Reload,
    Shutdown,
}

impl Asked {
    /// The verb as it is typed.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Signal(_) => "signal",
            Self::Update => "update",
            Self::Reread => "reread",
            Self::Clear => "clear",
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Reload => "reload",
            Self::Shutdown => "shutdown",
        }
    }

    /// From the wire; absent: it is nothing that this version knows.
    pub(super) fn of(action: Action) -> Option<Self> {
        Some(match action.verb? {
            Verb::Start(_) => Self::Start,
            Verb::Stop(_) => Self::Stop,
            Verb::Restart(_) => Self::Restart,
            Verb::Signal(signal) => Self::Signal(signal.signal),
            Verb::Update(_) => Self::Update,
            Verb::Reread(_) => Self::Reread,
            Verb::Clear(_) => Self::Clear,
            Verb::Add(_) => Self::Add,
            Verb::Remove(_) => Self::Remove,
            Verb::Reload(_) => Self::Reload,
            Verb::Shutdown(_) => Self::Shutdown,
        })
    }

    /// For the wire.
    pub(super) fn action(self) -> Action {
        let verb = match self {
            Self::Start => Verb::Start(StartAction {}),
            Self::Stop => Verb::Stop(StopAction {}),
            Self::Restart => Verb::Restart(RestartAction {}),
            Self::Signal(signal) => Verb::Signal(SignalAction { signal }),
            Self::Update => Verb::Update(UpdateAction {}),
            Self::Reread => Verb::Reread(RereadAction {}),
            Self::Clear => Verb::Clear(ClearAction {}),
            Self::Add => Verb::Add(AddAction {}),
            Self::Remove => Verb::Remove(RemoveAction {}),
            Self::Reload => Verb::Reload(ReloadAction {}),
            Self::Shutdown => Verb::Shutdown(ShutdownAction {}),
        };
        Action { verb: Some(verb) }
    }
}

/// What came of one target, in one line.
pub(super) fn result_line(asked: Asked, result: &TargetResult) -> String {
    let words = verdict::words(asked, result);
    match result.host.as_str() {
        "" => words,
        host => format!("{host}: {words}"),
    }
}

/// Runs `start`, `stop` or `restart`.
pub(super) async fn run(
    invocation: &mut Invocation,
    asked: Asked,
    args: ActArgs,
) -> Result<Exit, Failure> {
    let ActArgs { rollout, programs } = args;
    match invocation.scope()? {
        Scope::Local => {
            no_rollout(&rollout)?;
            local::act(invocation, asked, programs).await
        }
        Scope::Fleet(hosts) => on_fleet(invocation, asked, programs, hosts, &rollout).await,
    }
}

/// Does it on hosts of the fleet, as one operation.
pub(super) async fn on_fleet(
    invocation: &mut Invocation,
    asked: Asked,
    mut names: Vec<String>,
    hosts: HostSelection,
    rollout: &RolloutArgs,
) -> Result<Exit, Failure> {
    let word = asked.word();
    match asked {
        // Without names every group is meant, as on one machine.
        Asked::Update | Asked::Reread | Asked::Reload | Asked::Shutdown if names.is_empty() => {
            names.push("all".to_owned());
        }
        Asked::Add | Asked::Remove if names.is_empty() => {
            let text = format!("`{word}` needs a group");
            return Err(Failure::usage(text).hint("`rsv -A avail` lists what is configured"));
        }
        _ if names.is_empty() => {
            let text = format!("`{word}` needs a program");
            return Err(Failure::usage(text).hint("`all` means every program"));
        }
        _ => {}
    }
    fleet::act(invocation, asked, names, hosts, rollout).await
}

/// Refuses batches and gates where this machine is meant.
pub(super) fn no_rollout(rollout: &RolloutArgs) -> Result<(), Failure> {
    match *rollout == RolloutArgs::default() {
        true => Ok(()),
        false => Err(Failure::usage(
            "batches and gates are for many hosts, and this machine is meant",
        )
        .hint("add --host, --label or --all-hosts")),
    }
}

/// Runs `signal`, whose first word is the signal.
pub(super) async fn run_signal(
    invocation: &mut Invocation,
    words: Vec<String>,
) -> Result<Exit, Failure> {
    let mut words = words.into_iter();
    let name = words.next();
    let programs: Vec<String> = words.collect();
    let scope = invocation.scope()?;
    let signal = name.as_deref().and_then(signal_number);
    match (scope, name, signal) {
        (Scope::Local, Some(_), Some(signal)) if !programs.is_empty() => {
            local::act(invocation, Asked::Signal(signal), programs).await
        }
        (Scope::Local, Some(_), None) if !programs.is_empty() && !invocation.global.dry_run => {
            local::act(invocation, Asked::Signal(local::NO_SUCH_SIGNAL), programs).await
        }
        (Scope::Local, name, _) => local::refuse_signal(invocation, name, &programs).await,
        (Scope::Fleet(_), None, _) => Err(needs_signal()),
        (Scope::Fleet(_), Some(_), _) if programs.is_empty() => Err(needs_signal()),
        (Scope::Fleet(hosts), Some(_), Some(signal)) => {
            let rollout = RolloutArgs::default();
            fleet::act(invocation, Asked::Signal(signal), programs, hosts, &rollout).await
        }
        (Scope::Fleet(_), Some(name), None) => {
            Err(Failure::usage(format!("`{name}` is no signal"))
                .hint("a name such as HUP or SIGUSR1, or a number"))
        }
    }
}

/// Says that nothing new was begun: the key is that of an earlier operation.
fn joined(invocation: &mut Invocation, accepted: &Accepted) {
    if accepted.joined {
        let words = format!("joined operation {}", printable(&accepted.operation));
        invocation.ui.note(&words);
    }
}

fn needs_signal() -> Failure {
    Failure::usage("`signal` needs a signal and a program").hint("rsv -H 'web*' signal HUP app")
}

/// A signal by name in any case, with or without `SIG`, or by number.
fn signal_number(text: &str) -> Option<i32> {
    let signal = match text.trim().parse() {
        Ok(number) => Signal::from_number(number),
        Err(_) => Signal::from_name(text),
    };
    signal.map(Signal::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for text in ["HUP", "hup", "SIGHUP", "1"] {
            assert_eq!(signal_number(text), Some(1), "{text}");
        }
        for text in ["", "0", "65", "-1", "BAD"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}
