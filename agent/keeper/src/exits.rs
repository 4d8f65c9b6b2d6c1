//! How processes end: runs, orphans that became our children, and programs that are not our children.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::keeper::Keeper;
use crate::log::say;
use crate::os::{self, Ended, Remains, Status, Whom};
use crate::process::{self, Parentage};
use crate::table::Id;

/// How many orphans are reaped before everything else gets its turn.
const TURN: usize = 64;

/// How often it is looked whether the parent of a process that has ended has reaped it.
const LOOK: Duration = Duration::from_millis(10);

/// How long its parent may take before the way it ended counts as unknown.
const PATIENCE: Duration = Duration::from_secs(2);

impl Keeper {
    /// A run's process has ended.
    pub(crate) fn process_ended(&mut self, id: Id, now: Instant) {
        let Some(process) = self.table.get(id).filter(|process| process.is_alive()) else {
            return;
        };
        match os::reap(Whom::Pidfd(process.pidfd.as_fd())) {
            Ok(Some(ended)) => self.conclude(id, &ended, now),
            // Not ours, or nothing has happened.
            Ok(None) | Err(_) if process.parentage == Parentage::Own => {}
            Ok(None) | Err(_) => self.look(id, now),
        }
    }

    /// A run that was taken in from elsewhere may have ended before.
    pub(crate) fn process_ended_maybe(&mut self, id: Id, now: Instant) {
        let Some(process) = self.table.get(id) else {
            return;
        };
        if let Err(error) = os::signal_process(process.pidfd.as_fd(), 0)
            && error.raw_os_error() == Some(libc::ESRCH)
        {
            self.process_ended(id, now);
        }
    }

    /// Finds out how a process that is not our child ended. Where we may not see that at once, its parent
    /// has to reap it first.
    fn look(&mut self, id: Id, now: Instant) {
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        let Parentage::Stranger { look } = &mut process.parentage else {
            return;
        };
        let give_up = look.map_or(now + PATIENCE, |(_, give_up)| give_up);
        let remains = os::remains(process.pidfd.as_fd());
        let unreaped = process::unreaped_status(process.pid, process.start_ticks);
        let status = match (remains, unreaped) {
            (Remains::Reaped(status), _)
            | (Remains::NotReaped | Remains::Unknown, Some(status)) => status,
            (Remains::NotReaped, None) if now < give_up => {
                if look.is_none() {
                    self.looking += 1;
                    // The event stays true; from now on the clock says when to look.
                    self.poll.remove(&process.pidfd);
                }
                *look = Some((now + LOOK, give_up));
                return;
            }
            (Remains::NotReaped | Remains::Unknown, None) => Status::Unknown,
        };
        self.looking -= usize::from(look.take().is_some());
        self.conclude(
            id,
            &Ended {
                status,
                ..Ended::default()
            },
            now,
        );
    }

    /// Looks where it is time to.
    pub(crate) fn look_again(&mut self, now: Instant) {
        let is_due = |process: &process::Process| match process.parentage {
            Parentage::Stranger {
                look: Some((at, _)),
            } => at <= now,
            Parentage::Stranger { look: None } | Parentage::Own => false,
        };
        let due: Vec<Id> = self
            .table
            .iter()
            .filter(|(_, process)| is_due(process))
            .map(|(id, _)| id)
            .collect();
        for id in due {
            self.look(id, now);
        }
    }

    /// When to look again.
    pub(crate) fn look_deadline(&self) -> Option<Instant> {
        let looks = self
            .table
            .iter()
            .filter_map(|(_, process)| match process.parentage {
                Parentage::Stranger { look } => look.map(|(at, _)| at),
                Parentage::Own => None,
            });
        looks.min()
    }

    /// Takes the end of a run into account.
    fn conclude(&mut self, id: Id, ended: &Ended, now: Instant) {
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        self.poll.remove(&process.pidfd);
        let exit = process::exited(process.run.clone(), ended, process::monotonic_ns());
        let pid = process.pid;
        self.table.forget_child(pid, id);
        self.part_with(id, exit, now);
    }

    /// Reaps whatever has ended and been left to us, so that nothing stays behind as a zombie.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.has_orphans = false;
        for _ in 0..TURN {
            let pid = match os::peek() {
                Ok(Some(pid)) => pid,
                Ok(None) => return,
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return,
                Err(error) => {
                    say(format_args!("cannot look for ended children: {error}"));
                    return;
                }
            };
            match self.table.child(pid) {
                Some(id) => self.process_ended(id, now),
                // Nobody else can reap it between the look and this.
                None => {
                    drop(os::reap(Whom::Child(pid)));
                    if self.parting > 0 {
                        self.look_at_rests(now);
                    }
                    self.look_at_remainders(now);
                }
            }
        }
        self.has_orphans = true;
    }
}
