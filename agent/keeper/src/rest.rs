//! What a run leaves behind when its process has ended, and the end of it.
//!
//! After a stop nothing is to be left: it is asked to end (SIGTERM), and killed when its short grace is
//! over. Only then is the exit told, so that whoever starts the program again finds its ports free.
//! After a crash it is left alone; the next stop of the program ends it too (`remainder`, when nothing of
//! it runs).
//!
//! Where there is a cgroup, what is left is what is in it. Elsewhere it is looked for: `kin`. Of a run
//! that leaves daemons only the process group counts.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rsv_keeper::message::Exited;

use crate::agent::Reminder;
use crate::cgroup;
use crate::keeper::Keeper;
use crate::kin::Kin;
use crate::log::say;
use crate::os;
use crate::process::{Life, Parentage, Process};
use crate::table::Id;
use crate::target;

/// How long what is left may take to end when it is asked to.
const GRACE: Duration = Duration::from_millis(500);

/// How long the end of what was killed is waited for. Only a process stuck in the kernel takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked at, at first and at last: without cgroups a look reads all of /proc. Processes that
/// become our children are noticed without that.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// What is to become of what a run leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leftovers {
    /// It stays: nobody has asked the run to end.
    Stay,
    /// It is asked to end.
    Ask,
    /// It has had its time, with the run.
    Kill,
}

/// How far the end of what is left has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    stage: Stage,
    /// When to look again, and the pause before that.
    look: Instant,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New(Leftovers),
    Asked { kill_at: Instant },
    Killed { give_up: Instant },
}

/// What is to be done about what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Wait,
    Ask,
    Kill,
    /// Nothing is left.
    Over,
    /// It cannot be ended.
    GiveUp,
}

impl Rest {
    /// Nothing has been done yet.
    pub(crate) fn new(leftovers: Leftovers, now: Instant) -> Self {
        Self {
            stage: Stage::New(leftovers),
            look: now,
            pause: LOOKS.0,
        }
    }

    /// Goes on, as something is left or not.
    pub(crate) fn step(self, is_left: bool, now: Instant) -> (Self, Deed) {
        let pause = (self.pause * 2).min(LOOKS.1);
        let look = now + self.pause;
        let kill = Stage::Killed {
            give_up: now + PATIENCE,
        };
        let (stage, deed) = match self.stage {
            stage if !is_left => (stage, Deed::Over),
            Stage::New(Leftovers::Stay) => (self.stage, Deed::Over),
            Stage::New(Leftovers::Ask) => {
                let kill_at = now + GRACE;
                (Stage::Asked { kill_at }, Deed::Ask)
            }
            Stage::New(Leftovers::Kill) => (kill, Deed::Kill),
            Stage::Asked { kill_at } if kill_at <= now => (kill, Deed::Kill),
            Stage::Asked { .. } => (self.stage, Deed::Wait),
            Stage::Killed { give_up } if give_up <= now => (self.stage, Deed::GiveUp),
            // It may have gone on forking.
            Stage::Killed { .. } => (self.stage, Deed::Kill),
        };
        (Self { stage, look, pause }, deed)
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Instant {
        self.look
    }

    /// Whether it is time to look again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.look <= now
    }

    /// Something may have ended.
    pub(crate) fn look_at(&mut self, now: Instant) {
        self.look = now;
    }

    /// The grace is over.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Killed { .. }) {
            self.stage = Stage::New(Leftovers::Kill);
            self.look = now;
        }
    }
}

impl Keeper {
    /// A run's process has ended and is reaped. Tells so, now or when nothing is left of the run.
    pub(crate) fn part_with(&mut self, id: Id, exit: Exited, now: Instant) {
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        if process.leftovers == Leftovers::Stay {
            return self.tell_end(id, exit);
        }
        let rest = Rest::new(process.leftovers, now);
        process.life = Life::Parting { exit, rest };
        self.parting += 1;
    }

    fn tell_end(&mut self, id: Id, exit: Exited) {
        if let Some(process) = self.table.get_mut(id) {
            process.life = Life::Ended {
                exit,
                is_acked: false,
                is_told: false,
            };
        }
        self.tell(Reminder::Exited(id));
    }

    /// Attends to what is left of runs, where it is time to.
    pub(crate) fn attend_rests(&mut self, now: Instant) {
        // Whoever starts a program again waits to be told, and the kernel may take its time with the cgroups.
        for id in self.tell_of_rests(now) {
            self.leave_cgroup_of(id);
        }
    }

    /// Tells of the runs of which nothing is left any more.
    fn tell_of_rests(&mut self, now: Instant) -> Vec<Id> {
        let due: Vec<Id> = self
            .partings()
            .filter(|(_, _, rest)| rest.look <= now)
            .map(|(id, _, _)| id)
            .collect();
        if due.is_empty() {
            return due;
        }
        let kin = self.kin_of(&due);
        let over: Vec<Id> = due
            .into_iter()
            .filter(|id| self.attend_rest(*id, &kin, now))
            .collect();
        self.attend(now);
        over
    }

    /// Goes on with one. Says whether it is over, which is told.
    fn attend_rest(&mut self, id: Id, kin: &Kin, now: Instant) -> bool {
        let Some(process) = self.table.get(id) else {
            return false;
        };
        let Life::Parting { exit, rest } = &process.life else {
            return false;
        };
        let (next, deed) = rest.step(is_left(process, kin), now);
        match deed {
            Deed::Wait => {}
            Deed::Ask => reach(process, kin, libc::SIGTERM),
            Deed::Kill => reach(process, kin, libc::SIGKILL),
            Deed::Over | Deed::GiveUp => {
                if deed == Deed::GiveUp {
                    let key = &process.run.key;
                    say(format_args!("something of `{key}` cannot be ended"));
                }
                let exit = exit.clone();
                self.parting -= 1;
                self.tell_end(id, exit);
                return true;
            }
        }
        if let Some(process) = self.table.get_mut(id)
            && let Life::Parting { rest, .. } = &mut process.life
        {
            *rest = next;
        }
        false
    }

    /// The next run gets a new one, in which nobody has ever been killed. It is asked for later: no request
    /// has been read since the end was told.
    fn leave_cgroup_of(&self, id: Id) {
        let process = self.table.get(id);
        if let Some(cgroup) = process.and_then(|process| process.cgroup.as_ref()) {
            self.cgroups.leave(cgroup);
        }
    }

    /// When something is to be looked at again.
    pub(crate) fn rest_deadline(&self) -> Option<Instant> {
        self.partings().map(|(_, _, rest)| rest.look).min()
    }

    /// Something that was left may have ended.
    pub(crate) fn look_at_rests(&mut self, now: Instant) {
        for id in self.table.ids() {
            if let Some(process) = self.table.get_mut(id)
                && let Life::Parting { rest, .. } = &mut process.life
            {
                rest.look = now;
            }
        }
    }

    /// Nothing that is left has any time any more.
    pub(crate) fn hurry_rests(&mut self, now: Instant) {
        for id in self.table.ids() {
            self.hurry_rest(id, now);
        }
    }

    /// What a run has left has no time any more. Says whether something is being ended.
    pub(crate) fn hurry_rest(&mut self, id: Id, now: Instant) -> bool {
        match self.table.get_mut(id).map(|process| &mut process.life) {
            Some(Life::Parting { rest, .. }) => {
                rest.hurry(now);
                true
            }
            Some(Life::Alive(_) | Life::Ended { .. }) | None => false,
        }
    }

    fn partings(&self) -> impl Iterator<Item = (Id, &Process, &Rest)> {
        self.table
            .iter()
            .filter_map(|(id, process)| match &process.life {
                Life::Parting { rest, .. } => Some((id, process, rest)),
                Life::Alive(_) | Life::Ended { .. } => None,
            })
    }

    /// Looks for what runs without a cgroup have left, once for all of them.
    fn kin_of(&self, ids: &[Id]) -> Kin {
        let runs = ids.iter().filter_map(|id| self.table.get(*id));
        let is_searched = |process: &&Process| process.cgroup.is_none() && !process.leaves_daemons;
        let mut searched = runs.filter(is_searched).peekable();
        if searched.peek().is_none() {
            return Kin::default();
        }
        // What a run leaves becomes ours only if the run was.
        let is_anywhere = searched.any(|process| process.parentage != Parentage::Own);
        Kin::look(&self.door.path, is_anywhere, |pid| {
            self.table.child(pid).is_some()
        })
    }

    /// Ends whatever is left of any run, such as what has survived crashes. The keeper is about to go.
    pub(crate) fn end_all_rests(&mut self) {
        for (signal, patience) in [(libc::SIGTERM, GRACE), (libc::SIGKILL, GRACE)] {
            let give_up = Instant::now() + patience;
            let mut is_first = true;
            loop {
                self.sweep(Instant::now());
                let base = self
                    .cgroups
                    .base()
                    .filter(|base| cgroup::is_populated(base));
                // Who has left a cgroup was let go.
                let kin = match self.cgroups.base() {
                    Some(_) => Kin::default(),
                    None => Kin::look(&self.door.path, false, |_| false),
                };
                if base.is_none() && kin.is_empty() {
                    return;
                }
                if is_first || signal == libc::SIGKILL {
                    if let Some(base) = base {
                        // Whoever is not reached now is reached by the next round.
                        target::tree(base, signal).ok();
                    }
                    kin.signal_all(signal);
                    is_first = false;
                }
                if Instant::now() >= give_up {
                    break;
                }
                thread::sleep(LOOKS.0);
            }
        }
    }
}

/// Whether something of a run is left.
pub(crate) fn is_left(process: &Process, kin: &Kin) -> bool {
    let is_group_left = || os::signal_group_of(process.pidfd.as_fd(), 0).is_ok();
    if process.leaves_daemons {
        return is_group_left();
    }
    match &process.cgroup {
        Some(path) => cgroup::is_populated(Path::new(std::ffi::OsStr::from_bytes(path))),
        None => kin.has(&process.run.key) || is_group_left(),
    }
}

/// Signals what is left. Whoever cannot be reached is found by the next look.
pub(crate) fn reach(process: &Process, kin: &Kin, signal: i32) {
    if process.leaves_daemons {
        os::signal_group_of(process.pidfd.as_fd(), signal).ok();
        return;
    }
    match &process.cgroup {
        Some(path) => {
            target::tree(Path::new(std::ffi::OsStr::from_bytes(path)), signal).ok();
        }
        None => {
            os::signal_group_of(process.pidfd.as_fd(), signal).ok();
            kin.signal(&process.run.key, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Agent, Visitor};
    use crate::cgroup::Cgroups;
    use rsv_keeper::message::{FromKeeper, PROTOCOL, Report, Run};
    use rsv_keeper::packet;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    #[test]
    fn what_is_left_is_asked_and_then_killed_until_it_is_gone() {
        let start = Instant::now();
        let mut rest = Rest::new(Leftovers::Ask, start);
        let late = GRACE + PATIENCE;
        let story = [
            (Duration::ZERO, true, Deed::Ask),
            (GRACE / 2, true, Deed::Wait),
            (GRACE, true, Deed::Kill),
            (GRACE + LOOKS.1, true, Deed::Kill),
            (late, true, Deed::GiveUp),
            (late, false, Deed::Over),
        ];
        for (after, is_left, expected) in story {
            let (next, deed) = rest.step(is_left, start + after);
            assert_eq!(deed, expected, "after {after:?}");
            assert!(next.look <= start + after + LOOKS.1);
            rest = next;
        }
    }

    #[test]
    fn what_has_had_its_time_is_killed_at_once() {
        let now = Instant::now();
        let killed = Rest::new(Leftovers::Kill, now);
        assert_eq!(killed.step(true, now).1, Deed::Kill);
        let (mut asked, _) = Rest::new(Leftovers::Ask, now).step(true, now);
        asked.hurry(now);
        assert_eq!(asked.step(true, now).1, Deed::Kill);
        assert_eq!(killed.step(false, now).1, Deed::Over);
    }

    /// A run whose process has ended and left this cgroup.
    fn parting(run: &Run, cgroup: &Path, now: Instant) -> Process {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        let exit = Exited {
            run: run.clone(),
            ..Exited::default()
        };
        let rest = Rest::new(Leftovers::Ask, now);
        Process {
            run: run.clone(),
            pid: child.id(),
            start_ticks: 0,
            spawned_at_ns: 0,
            pidfd,
            parentage: Parentage::Own,
            life: Life::Parting { exit, rest },
            stdin: None,
            stdout: None,
            stderr: None,
            stop_rule: Default::default(),
            cgroup: Some(cgroup.as_os_str().as_bytes().to_vec()),
            leaves_daemons: false,
            leftovers: Leftovers::Ask,
        }
    }

    #[test]
    fn an_exit_is_told_before_the_cgroup_is_removed() {
        let now = Instant::now();
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("base");
        let cgroup = base.join("app:app");
        std::fs::create_dir_all(&cgroup).unwrap();
        let mut keeper = crate::keeper::tests::keeper(directory.path(), Cgroups::at(base));
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::NONBLOCK);
        let pair = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None);
        let (socket, far) = pair.unwrap();
        let visitor = Visitor { socket, number: 1 };
        keeper.agent = Some(Agent::new(visitor, 1, PROTOCOL));
        let run = Run {
            key: "app:app".into(),
            attempt: 1,
        };
        keeper.table.insert(parting(&run, &cgroup, now));
        keeper.parting = 1;

        let over = keeper.tell_of_rests(now);
        let told = packet::recv::<FromKeeper>(far.as_fd()).unwrap().unwrap();
        let told = told.0.report;
        assert!(matches!(told, Some(Report::Exited(exited)) if exited.run == run));
        assert!(cgroup.exists(), "what takes time comes after that");
        for id in over {
            keeper.leave_cgroup_of(id);
        }
        assert!(!cgroup.exists());
    }
}
