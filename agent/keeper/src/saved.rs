//! What a keeper leaves to its next image: its state as a message, descriptors as numbers.
//!
//! Tags are never reused: the next image is another version, newer or older. This file only translates;
//! keeping the descriptors open is the business of `reexec`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use rsv_keeper::message::{Exited, Held, Note, StopRule};

use crate::os;
use crate::process::{Life, Output, Parentage, Process, Stop};
use crate::rest::{Leftovers, Rest};

/// The form of the state. It changes when an older image would lose something it has to know.
pub(crate) const FORM: u32 = 1;

/// The state of a keeper.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Saved {
    /// [`FORM`] of the keeper that wrote it.
    #[prost(uint32, tag = "1")]
    pub(crate) form: u32,
    /// The listening socket.
    #[prost(int32, tag = "2")]
    pub(crate) door: i32,
    /// Its path.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) path: Vec<u8>,
    /// The device of the file at its path.
    #[prost(uint64, tag = "4")]
    pub(crate) device: u64,
    /// The inode of the file at its path.
    #[prost(uint64, tag = "5")]
    pub(crate) inode: u64,
    /// What programs get back as their soft limit of descriptors.
    #[prost(uint64, optional, tag = "6")]
    pub(crate) nofile_soft: Option<u64>,
    /// What programs get back as their adjustment of the out-of-memory score.
    #[prost(sint32, optional, tag = "7")]
    pub(crate) oom_score_adj: Option<i32>,
    /// The pidfd of the agent that was connected.
    #[prost(int32, optional, tag = "8")]
    pub(crate) estranged: Option<i32>,
    /// All runs.
    #[prost(message, repeated, tag = "9")]
    pub(crate) runs: Vec<SavedRun>,
    /// All notes.
    #[prost(message, repeated, tag = "10")]
    pub(crate) notes: Vec<Note>,
    /// Programs get no cgroups of their own.
    #[prost(bool, tag = "11")]
    pub(crate) has_no_cgroups: bool,
}

/// A run.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SavedRun {
    /// Who it is. The exit is a field of its own.
    #[prost(message, required, tag = "1")]
    pub(crate) held: Held,
    /// How to stop it.
    #[prost(message, required, tag = "2")]
    pub(crate) stop: StopRule,
    /// The directory of its cgroup.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) cgroup: Option<Vec<u8>>,
    /// It is not a child of the keeper.
    #[prost(bool, tag = "4")]
    pub(crate) is_stranger: bool,
    /// How it ended, if it has.
    #[prost(message, optional, tag = "5")]
    pub(crate) exit: Option<Exited>,
    /// That has been acknowledged.
    #[prost(bool, tag = "6")]
    pub(crate) is_acked: bool,
    /// Its pidfd.
    #[prost(int32, tag = "7")]
    pub(crate) pidfd: i32,
    /// The write end of its standard input.
    #[prost(int32, optional, tag = "8")]
    pub(crate) stdin: Option<i32>,
    /// The read end of its standard output.
    #[prost(int32, optional, tag = "9")]
    pub(crate) stdout: Option<i32>,
    /// The drain file of its standard output.
    #[prost(int32, optional, tag = "10")]
    pub(crate) stdout_file: Option<i32>,
    /// The read end of its standard error.
    #[prost(int32, optional, tag = "11")]
    pub(crate) stderr: Option<i32>,
    /// The drain file of its standard error.
    #[prost(int32, optional, tag = "12")]
    pub(crate) stderr_file: Option<i32>,
    /// What it leaves is to be ended: 1 it is asked to, 2 it has had its time.
    #[prost(uint32, tag = "13")]
    pub(crate) leftovers: u32,
    /// The exit has not been told, because what is left is being ended.
    #[prost(bool, tag = "14")]
    pub(crate) is_parting: bool,
    /// Its standard output is kept for the next agent.
    #[prost(bool, tag = "15")]
    pub(crate) keeps_stdout: bool,
    /// Its standard error is.
    #[prost(bool, tag = "16")]
    pub(crate) keeps_stderr: bool,
}

impl SavedRun {
    /// Writes a run down.
    pub(crate) fn new(process: &Process) -> Self {
        let number = |fd: &Option<OwnedFd>| fd.as_ref().map(AsRawFd::as_raw_fd);
        let pipe = |output: &Option<Output>| output.as_ref().map(|output| output.pipe.as_raw_fd());
        let file = |output: &Option<Output>| output.as_ref().and_then(|it| number(&it.file));
        let keeps = |output: &Option<Output>| output.as_ref().is_some_and(|output| output.keeps);
        let (exit, is_acked) = match &process.life {
            Life::Alive(_) => (None, false),
            Life::Parting { exit, .. } => (Some(exit.clone()), false),
            Life::Ended { exit, is_acked, .. } => (Some(exit.clone()), *is_acked),
        };
        Self {
            held: Held {
                exit: None,
                ..process.describe().0
            },
            stop: process.stop_rule.clone(),
            cgroup: process.cgroup.clone(),
            is_stranger: process.parentage != Parentage::Own,
            exit,
            is_acked,
            pidfd: process.pidfd.as_raw_fd(),
            stdin: number(&process.stdin),
            stdout: pipe(&process.stdout),
            stdout_file: file(&process.stdout),
            stderr: pipe(&process.stderr),
            stderr_file: file(&process.stderr),
            leftovers: process.leftovers as u32,
            is_parting: matches!(process.life, Life::Parting { .. }),
            keeps_stdout: keeps(&process.stdout),
            keeps_stderr: keeps(&process.stderr),
        }
    }

    /// Takes a run up again; `None` when its pidfd has been lost, which leaves nothing to hold on to.
    pub(crate) fn restore(self) -> Option<Process> {
        let fd = |number: Option<i32>| number.and_then(os::inherited);
        let output = |pipe, file, keeps| fd(pipe).map(|pipe| Output::new(pipe, fd(file), keeps));
        let leftovers = match self.leftovers {
            0 => Leftovers::Stay,
            1 => Leftovers::Ask,
            _ => Leftovers::Kill,
        };
        let life = match self.exit {
            None => Life::Alive(Stop::No),
            Some(exit) if self.is_parting => Life::Parting {
                exit,
                rest: Rest::new(leftovers, Instant::now()),
            },
            Some(exit) => Life::Ended {
                exit,
                is_acked: self.is_acked,
                is_told: false,
            },
        };
        let stranger = Parentage::Stranger { look: None };
        let (stdin, pidfd) = (fd(self.stdin), fd(Some(self.pidfd)));
        let stdout = output(self.stdout, self.stdout_file, self.keeps_stdout);
        let stderr = output(self.stderr, self.stderr_file, self.keeps_stderr);
        Some(Process {
            run: self.held.run,
            pid: self.held.pid,
            start_ticks: self.held.start_ticks,
            spawned_at_ns: self.held.spawned_at_ns,
            pidfd: pidfd?,
            parentage: if self.is_stranger {
                stranger
            } else {
                Parentage::Own
            },
            life,
            stdin,
            stdout,
            stderr,
            stop_rule: self.stop,
            cgroup: self.cgroup,
            leaves_daemons: self.held.leaves_daemons,
            leftovers,
        })
    }
}
