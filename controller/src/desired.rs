//! What is wanted of one host: which programs are to be down and stay down, or the whole host.
//!
//! Pure. It is kept as a whole with a number that grows with each change, so that whoever has the
//! higher number has the later word; a change that changes nothing keeps the number.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rsv_proto::{
    name::HostName,
    time::to_wire,
    wire::{Desired, DisabledProgram, Hold},
};
use serde::{Deserialize, Serialize};

/// The most programs that may be disabled on one host, known to it or not.
pub const MAX_DISABLED: usize = 20_000;

/// What is wanted of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDesired {
    /// Grows with each change; 0: nothing was ever wanted.
    pub generation: u64,
    /// By group, then name.
    disabled: BTreeMap<String, BTreeMap<String, Wanted>>,
    /// The whole host; absent: only those above.
    drained: Option<Wanted>,
}

/// Who wants it, why and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// For people; may be empty.
    pub reason: String,
    /// Such as "operator/admin".
    pub actor: String,
    /// Seconds since 1970.
    pub since: u64,
}

/// A group and a name in it.
pub type Program = (String, String);

/// A change of what is wanted of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These programs may run.
    Enable(Vec<Program>),
    /// These programs are to be down.
    Disable(Vec<Program>, Wanted),
    /// Every program is to be down.
    Drain(Wanted),
    /// The opposite.
    Resume,
}

/// A change for one host.
#[derive(Debug, Clone)]
pub struct HostChange {
    /// Which host.
    pub host: HostName,
    /// What changes.
    pub change: Change,
    /// The number of what the host keeps to; 0: it has never said.
    pub obeyed: u64,
}

/// More programs than may be disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_DISABLED} programs of one host would be disabled")]
pub struct TooMany;

impl HostDesired {
    /// Nothing is wanted any more, under this number.
    pub fn nothing(generation: u64) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    /// Carries a change out. `least` keeps the number above those of a store that was put back, and so does
    /// `obeyed`, the number of what the host keeps to: one that keeps to a later word than is known here has to
    /// be told, even if nothing changes here. What is wanted already keeps its reason, and who wanted it first.
    pub fn change(&mut self, change: Change, least: u64, obeyed: u64) -> Result<(), TooMany> {
        let mut next = self.clone();
        match change {
            Change::Enable(programs) => programs.iter().for_each(|p| next.enable(p)),
            Change::Disable(programs, wanted) => {
                for (group, name) in programs {
                    let group = next.disabled.entry(group).or_default();
                    group.entry(name).or_insert_with(|| wanted.clone());
                }
            }
            Change::Drain(wanted) => {
                next.drained.get_or_insert(wanted);
            }
            Change::Resume => next.drained = None,
        }
        if next.disabled.values().map(BTreeMap::len).sum::<usize>() > MAX_DISABLED {
            return Err(TooMany);
        }
        let latest = self.generation.max(obeyed);
        if next != *self || latest > self.generation {
            next.generation = latest.saturating_add(1).max(least);
            *self = next;
        }
        Ok(())
    }

    /// Whether every program is to be down.
    pub fn is_drained(&self) -> bool {
        self.drained.is_some()
    }

    /// Why the whole host is to be down, if it is.
    pub fn drain(&self) -> Option<Hold> {
        self.drained.as_ref().map(|wanted| wanted.hold(true))
    }

    /// Why a program is to be down, if it is.
    pub fn hold(&self, group: &str, name: &str) -> Option<Hold> {
        let own = self.disabled.get(group).and_then(|names| names.get(name));
        own.map(|wanted| wanted.hold(false))
            .or_else(|| self.drain())
    }

    /// The programs that are disabled by themselves.
    pub fn disabled(&self) -> impl Iterator<Item = (&str, &str)> {
        let groups = self.disabled.iter();
        groups.flat_map(|(group, names)| names.keys().map(|name| (group.as_str(), name.as_str())))
    }

    /// For the agent.
    pub fn to_wire(&self) -> Desired {
        let programs = self.disabled.iter().flat_map(|(group, names)| {
            names.iter().map(|(name, wanted)| DisabledProgram {
                group: group.clone(),
                name: name.clone(),
                hold: Some(wanted.hold(false)),
            })
        });
        Desired {
            generation: self.generation,
            disabled: programs.collect(),
            drained: self.drain(),
        }
    }

    fn enable(&mut self, (group, name): &Program) {
        if let Some(names) = self.disabled.get_mut(group) {
            names.remove(name);
            if names.is_empty() {
                self.disabled.remove(group);
            }
        }
    }
}

impl Wanted {
    fn hold(&self, whole_host: bool) -> Hold {
        let since = UNIX_EPOCH.checked_add(Duration::from_secs(self.since));
        Hold {
            reason: self.reason.clone(),
            actor: self.actor.clone(),
            since: since.map(|at: SystemTime| to_wire(at)),
            whole_host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(reason: &str) -> Wanted {
        Wanted {
            reason: reason.into(),
            actor: "operator/ann".into(),
            since: 7,
        }
    }

    fn app() -> Vec<Program> {
        vec![("app".into(), "app".into())]
    }

    #[test]
    fn each_change_has_a_higher_number_and_no_change_keeps_it() {
        let mut desired = HostDesired::default();
        let disable = |why| Change::Disable(app(), wanted(why));
        for (change, generation, reason) in [
            (Change::Enable(app()), 0, None),
            (Change::Resume, 0, None),
            (disable("leaks"), 100, Some("leaks")),
            (disable("again"), 100, Some("leaks")),
            (Change::Drain(wanted("disk")), 101, Some("leaks")),
            (Change::Enable(app()), 102, Some("disk")),
            (Change::Resume, 103, None),
            (Change::Resume, 103, None),
        ] {
            desired.change(change.clone(), 100, 0).unwrap();
            let hold = desired.hold("app", "app").map(|hold| hold.reason);
            let found = (desired.generation, hold.as_deref());
            assert_eq!(found, (generation, reason), "{change:?}");
        }
        assert_eq!(desired.to_wire().disabled, []);
    }

    #[test]
    fn a_host_that_keeps_to_a_later_word_than_is_known_is_told_what_is_so_already() {
        let mut desired = HostDesired::default();
        let enable = Change::Enable(app());
        for (obeyed, generation) in [(0, 0), (200, 201), (201, 201), (150, 201)] {
            desired.change(enable.clone(), 100, obeyed).unwrap();
            assert_eq!(desired.generation, generation, "{obeyed}");
        }
    }

    #[test]
    fn a_host_has_a_bound_of_disabled_programs() {
        let mut desired = HostDesired::default();
        let many = (0..=MAX_DISABLED).map(|n| ("g".to_owned(), n.to_string()));
        let change = Change::Disable(many.collect(), wanted(""));
        assert_eq!(desired.change(change, 1, 0), Err(TooMany));
        assert_eq!(desired, HostDesired::default());
    }
}
