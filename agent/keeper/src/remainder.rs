//! The end of what runs of a key have left that are over: they ended by themselves, and nobody had asked
//! for it. A stop of their program that finds no process ends it, and is answered when that is done.

use std::time::Instant;

use rsv_keeper::message::{Report, Signalled};

use crate::agent::Reminder;
use crate::cgroup;
use crate::keeper::Keeper;
use crate::kin::Kin;
use crate::log::say;
use crate::process::Process;
use crate::rest::{self, Deed, Leftovers, Rest};
use crate::target;

/// What is left of a key, and how far its end has come.
#[derive(Debug)]
pub(crate) struct Remainder {
    key: String,
    /// The request to be answered; absent: whoever asked has gone.
    request: Option<u64>,
    /// Something was found.
    is_any: bool,
    rest: Rest,
}

impl Keeper {
    /// Begins to end what is left of a key of which no run is present.
    pub(crate) fn end_remainder(&mut self, key: &str, request: u64, now: Instant) {
        self.remainders.push(Remainder {
            key: key.to_owned(),
            request: Some(request),
            is_any: false,
            rest: Rest::new(Leftovers::Ask, now),
        });
    }

    /// Whether what is left of a key is being ended.
    pub(crate) fn is_ending_remainder(&self, key: &str) -> bool {
        self.remainders.iter().any(|one| one.key == key)
    }

    /// Attends to those that are due, with one look at all processes for all of them.
    pub(crate) fn attend_remainders(&mut self, now: Instant) {
        if !self.remainders.iter().any(|one| one.rest.is_due(now)) {
            return;
        }
        // What a dead keeper has left is marked, too, and nobody's child.
        let is_anywhere = self.has_adopted || self.cgroups.base().is_none();
        let kin = Kin::look(&self.door.path, is_anywhere, |pid| {
            self.table.child(pid).is_some()
        });
        let mut kept = Vec::new();
        for mut one in std::mem::take(&mut self.remainders) {
            if one.rest.is_due(now) && self.attend_remainder(&mut one, &kin, now) {
                self.remainder_ended(&one, now);
            } else {
                kept.push(one);
            }
        }
        self.remainders = kept;
    }

    /// Goes on with one. Says whether it is over.
    fn attend_remainder(&self, one: &mut Remainder, kin: &Kin, now: Instant) -> bool {
        let cgroup = self.cgroups.path(&one.key);
        let runs: Vec<&Process> = self.table.of_key(&one.key).map(|(_, run)| run).collect();
        let is_left = runs.iter().any(|run| rest::is_left(run, kin))
            || cgroup.as_deref().is_some_and(cgroup::is_populated)
            || kin.has(&one.key);
        one.is_any |= is_left;
        let (next, deed) = one.rest.step(is_left, now);
        one.rest = next;
        let signal = match deed {
            Deed::Wait => return false,
            Deed::Ask => libc::SIGTERM,
            Deed::Kill => libc::SIGKILL,
            Deed::Over => return true,
            Deed::GiveUp => {
                say(format_args!("something of `{}` cannot be ended", one.key));
                return true;
            }
        };
        for run in runs {
            rest::reach(run, kin, signal);
        }
        if let Some(cgroup) = &cgroup {
            // Whoever cannot be reached is found by the next look.
            target::tree(cgroup, signal).ok();
        }
        kin.signal(&one.key, signal);
        false
    }

    fn remainder_ended(&mut self, one: &Remainder, now: Instant) {
        if let Some(request) = one.request {
            let errno = if one.is_any { 0 } else { libc::ESRCH };
            let signalled = Signalled { request, errno };
            self.tell(Reminder::Answer(Box::new(Report::Signalled(signalled))));
            // Whoever asked waits for this, and the kernel may take its time with the rest.
            self.attend(now);
        }
        if let Some(cgroup) = self.cgroups.path(&one.key) {
            self.cgroups.emptied(&cgroup);
        }
    }

    /// When one is to be looked at again.
    pub(crate) fn remainder_deadline(&self) -> Option<Instant> {
        self.remainders.iter().map(|one| one.rest.due()).min()
    }

    /// Something that was left may have ended.
    pub(crate) fn look_at_remainders(&mut self, now: Instant) {
        for one in &mut self.remainders {
            one.rest.look_at(now);
        }
    }

    /// Whoever asked has gone: it is brought to its end all the same.
    pub(crate) fn forget_who_asked(&mut self) {
        for one in &mut self.remainders {
            one.request = None;
        }
    }
}
