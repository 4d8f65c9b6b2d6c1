//! What is written down of an operation at its submission.

use std::time::SystemTime;

use rsv_proto::wire::{
    Action, AddAction, ClearAction, ReloadAction, RemoveAction, RereadAction, RestartAction,
    ShutdownAction, SignalAction, StartAction, StopAction, UpdateAction, action::Verb,
};
use serde::{Deserialize, Serialize};

use super::{Deed, Plan, from_milliseconds};

/// An operation as it was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is to do.
    pub plan: Plan,
    /// Milliseconds since 1970.
    pub submitted: u64,
    /// Who asked.
    pub actor: String,
    /// The same key joins this operation; empty: none.
    pub key: String,
    /// The same for submissions that ask for the same.
    pub request: String,
    /// Which programs, as they are understood: a [`Settled`](rsv_proto::select::Settled) each.
    pub programs: Vec<String>,
    /// The signal, if that is what is sent.
    pub signal: i32,
    /// W3C trace context of whoever asked.
    pub trace: (String, String),
    /// Whose failed targets it tries again.
    pub retry_of: String,
    /// What it undoes.
    pub rollback_of: String,
}

impl Record {
    /// The action for the wire.
    pub fn action(&self) -> Action {
        action(self.plan.deed, self.signal)
    }

    /// When it was submitted.
    pub fn moment(&self) -> SystemTime {
        from_milliseconds(self.submitted)
    }
}

/// An action for the wire.
pub fn action(deed: Deed, signal: i32) -> Action {
    let verb = match deed {
        Deed::Start => Verb::Start(StartAction {}),
        Deed::Stop => Verb::Stop(StopAction {}),
        Deed::Restart => Verb::Restart(RestartAction {}),
        Deed::Signal => Verb::Signal(SignalAction { signal }),
        Deed::Update => Verb::Update(UpdateAction {}),
        Deed::Reread => Verb::Reread(RereadAction {}),
        Deed::Clear => Verb::Clear(ClearAction {}),
        Deed::Add => Verb::Add(AddAction {}),
        Deed::Remove => Verb::Remove(RemoveAction {}),
        Deed::Reload => Verb::Reload(ReloadAction {}),
        Deed::Shutdown => Verb::Shutdown(ShutdownAction {}),
    };
    Action { verb: Some(verb) }
}

/// An action from the wire, with the signal; absent: none that is known here.
pub fn deed(action: &Action) -> Option<(Deed, i32)> {
    Some(match action.verb.as_ref()? {
        Verb::Start(_) => (Deed::Start, 0),
        Verb::Stop(_) => (Deed::Stop, 0),
        Verb::Restart(_) => (Deed::Restart, 0),
        Verb::Signal(signal) => (Deed::Signal, signal.signal),
        Verb::Update(_) => (Deed::Update, 0),
        Verb::Reread(_) => (Deed::Reread, 0),
        Verb::Clear(_) => (Deed::Clear, 0),
        Verb::Add(_) => (Deed::Add, 0),
        Verb::Remove(_) => (Deed::Remove, 0),
        Verb::Reload(_) => (Deed::Reload, 0),
        Verb::Shutdown(_) => (Deed::Shutdown, 0),
    })
}
