//! Opening log files without waiting for a disk.
//!
//! The hub asks, a blocking thread opens, and the answers come back as inputs. A log is opened when
//! its program is to run and stays open over restarts, which therefore wait for no disk; it is closed
//! when the program comes to rest.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rsv_keeper::message::Channel;
use tokio::sync::mpsc;

use super::handle::Key;
use crate::capture::{Capture, LogSpec, LogTrouble};
use crate::keeper_client::KeeperPort;
use crate::spec::AutoLogs;

/// Opened logs that wait for the hub. The blocking thread waits when it is full.
const OPENED: usize = 64;

/// A log to be opened.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: Key,
    pub(super) channel: Channel,
    pub(super) spec: Arc<LogSpec>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum LogInput {
    /// One log, with the file that the keeper drains into.
    Opened {
        key: Key,
        channel: Channel,
        /// As it was asked for.
        spec: Arc<LogSpec>,
        result: io::Result<OwnedFd>,
    },
    /// The thread has done all that it was given.
    Idle,
    /// How the log of a program is by now.
    Trouble(LogTrouble),
}

/// The way to the blocking thread.
#[derive(Debug)]
pub(super) struct Logs {
    capture: Capture,
    wanted: VecDeque<Wanted>,
    is_busy: bool,
    answers: mpsc::Sender<LogInput>,
    /// What is opened is made known here, for the spawns that come.
    port: KeeperPort,
    /// Old files, to be removed before the first log is opened.
    purge: Option<AutoLogs>,
    auto: Option<AutoLogs>,
}

impl Logs {
    pub(super) fn new(
        capture: Capture,
        port: KeeperPort,
        purge: Option<AutoLogs>,
    ) -> (Self, mpsc::Receiver<LogInput>) {
        let (answers, received) = mpsc::channel(OPENED);
        let troubles = answers.clone();
        // What does not fit is told again later by the capture, as it is then.
        capture.tell_trouble(Box::new(move |trouble| match troubles.try_reserve() {
            Ok(place) => {
                place.send(LogInput::Trouble(trouble));
                Ok(())
            }
            Err(_) => Err(trouble),
        }));
        let wanted = VecDeque::new();
        (
            Self {
                capture,
                wanted,
                is_busy: false,
                answers,
                port,
                auto: purge.clone(),
                purge,
            },
            received,
        )
    }

    pub(super) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Programs are taken over: their files are no old ones.
    pub(super) fn keep_old(&mut self) {
        self.purge = None;
    }

    /// The files that the next start removes.
    pub(super) fn auto(&self) -> Option<AutoLogs> {
        self.auto.clone()
    }

    /// Asks for a log, after all that were asked for before. Done with the next [`Logs::go`].
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.wanted.push_back(wanted);
    }

    /// The thread has said that it is idle.
    pub(super) fn idle(&mut self) {
        self.is_busy = false;
    }

    /// Puts the thread to work on all that is wanted, unless it works already.
    pub(super) fn go(&mut self) {
        if self.is_busy || self.wanted.is_empty() {
            return;
        }
        self.is_busy = true;
        let wanted = std::mem::take(&mut self.wanted);
        let purge = self.purge.take();
        let (capture, answers) = (self.capture.clone(), self.answers.clone());
        let port = self.port.clone();
        tokio::task::spawn_blocking(move || {
            if let Some(purge) = purge {
                purge.purge();
            }
            open_all(&capture, &port, wanted, &answers);
        });
    }
}

/// Logs that may be under way at once: enough for the threads not to wait for each other.
const UNDER_WAY: usize = 16;

fn open_all(
    capture: &Capture,
    port: &KeeperPort,
    wanted: VecDeque<Wanted>,
    answers: &mpsc::Sender<LogInput>,
) {
    let mut wanted = wanted.into_iter();
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    loop {
        let room = UNDER_WAY - under_way.len();
        under_way.extend(wanted.by_ref().take(room).map(|log| {
            let (run_key, since) = (log.key.as_run_key(), port.moment());
            let opening = capture.start_open(&run_key, log.channel, log.spec.clone());
            (log, run_key, since, opening)
        }));
        let Some((log, run_key, since, opening)) = under_way.pop_front() else {
            break;
        };
        let Wanted { key, channel, spec } = log;
        let result = opening.wait().and_then(|file| {
            port.offer_drain(&run_key, channel, file.as_fd(), since)?;
            Ok(file)
        });
        if answers
            .blocking_send(LogInput::Opened {
                key,
                channel,
                spec,
                result,
            })
            .is_err()
        {
            return;
        }
    }
    // Nobody is there to be told when this does not arrive.
    answers.blocking_send(LogInput::Idle).ok();
}
