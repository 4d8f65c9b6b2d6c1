//! While there is no keeper, and none comes: what is asked of programs that we hold is done by ourselves.
//!
//! The next keeper would do it better: it knows what else belongs to a program, and how a process has
//! ended on any kernel. So it is waited for, for a while. Then a stop signals by the descriptor that names the
//! process, and the end of any process is seen by that, lest a dead one be shown as running for as long as no
//! keeper comes; what a program has started outside its process group is not reached.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rsv_keeper::message::{Scope, Signal, Signalled};
use rsv_supervise::{Event, Exit, Observation, Phase, Tick};

use super::adoption::has_ended;
use super::slot::SpawnStage;
use super::{Core, Key, clock};
use crate::os::pidfd;

/// How long a keeper is waited for. One that was killed is replaced within a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked whether something is to be done, or has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Whether the hub is without a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// It is not.
    No,
    /// Another one is waited for until then.
    Waiting { until: Tick },
    /// The hub stands in for it, and looks again at that moment.
    StandingIn { look: Tick },
}

impl Alone {
    /// The keeper was lost.
    pub(super) fn lost(self, now: Tick) -> Self {
        match self {
            Self::No => Self::Waiting {
                until: now + PATIENCE,
            },
            Self::Waiting { .. } | Self::StandingIn { .. } => self,
        }
    }

    /// When something is to be done.
    pub(super) fn deadline(self) -> Option<Tick> {
        match self {
            Self::No => None,
            Self::Waiting { until: at } | Self::StandingIn { look: at } => Some(at),
        }
    }
}

impl Core {
    /// Does what the keeper would do, if none has come for too long.
    pub(super) fn stand_in(&mut self) {
        let now = clock::now();
        if self.alone.deadline().is_none_or(|at| at > now) {
            return;
        }
        if matches!(self.alone, Alone::Waiting { .. }) {
            tracing::error!(
                host = self.gear.host,
                "there is no keeper: nothing can be started, and a stop does not reach what has left \
                 its process group"
            );
        }
        self.without_keeper.store(true, Ordering::Relaxed);
        self.alone = Alone::StandingIn { look: now + LOOK };
        for (request, key, signal) in self.gear.unanswered() {
            let errno = self.deliver(&key, &signal);
            self.signalled(&Signalled { request, errno });
        }
        for key in self.order.clone() {
            self.see_end(&key, now);
        }
    }

    /// Sends a signal that no keeper has answered; the system's error number.
    fn deliver(&self, key: &Key, signal: &Signal) -> i32 {
        let process = self.slots.get(key).and_then(|slot| slot.process.as_ref());
        let process = process.filter(|process| process.held.run == signal.run);
        let pidfd = process.and_then(|process| process.pidfd.as_ref());
        let Some(pidfd) = pidfd.filter(|_| !signal.ends_remainder) else {
            return libc::ESRCH;
        };
        let is_group = signal.scope() != Scope::Process;
        let sent = pidfd::signal(pidfd.as_fd(), signal.signal, is_group);
        sent.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0)
    }

    /// Sees whether a process has ended, or a start that was given up is over.
    fn see_end(&mut self, key: &Key, now: Tick) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        match slot.phase {
            // Nobody has started it, and nobody will.
            Phase::Aborting { attempt, .. } if slot.spawn != SpawnStage::AwaitingLogs => {
                let why = "stopped before it was spawned".to_owned();
                self.spawn_refused(key, attempt.get(), why);
            }
            _ => {
                let process = slot.process.as_ref();
                let process = process.filter(|process| process.held.run == slot.run());
                let pidfd = process.and_then(|process| process.pidfd.as_ref());
                if let Some(pidfd) = pidfd.filter(|pidfd| has_ended(pidfd.as_fd())) {
                    let (attempt, exit) = (slot.phase.attempt(), exit_of(pidfd.as_fd()));
                    let exited = Observation::Exited {
                        attempt,
                        exit,
                        at: now,
                    };
                    self.feed(key, Event::Observed(exited));
                }
            }
        }
    }
}

/// How the process of a descriptor has ended, where the kernel tells that to others than its parent.
fn exit_of(pidfd: BorrowedFd<'_>) -> Exit {
    let Some(status) = pidfd::wait_status(pidfd) else {
        return Exit::Unknown;
    };
    match status & 0x7f {
        0 => u8::try_from((status >> 8) & 0xff).map_or(Exit::Unknown, Exit::Code),
        signal => Exit::Signal {
            signal,
            core: status & 0x80 != 0,
        },
    }
}
