//! One supervised process as the hub holds it: its program, its machine, and what belongs to them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rsv_keeper::message::{Channel, Held, Rules, Run, Scope as WireScope, StopRule};
use rsv_proto::wire;
use rsv_supervise::{Attempt, Failure, Phase, Policy, Scope, Tick};
use tokio::sync::mpsc;

use super::health::Health;
use super::record::{Note, Record};
use super::remains::Remains;
use super::verdicts::Waiters;
use crate::capture::LogSpec;
use crate::listeners::Noted;
use crate::spec::{Program, is_file};

/// One supervised process.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) program: Program,
    /// Why the fleet wants it to be down; absent: it does not.
    pub(super) hold: Option<wire::Hold>,
    /// Whether the configuration names it. If not it goes when it comes to rest.
    pub(super) is_configured: bool,
    pub(super) phase: Phase,
    pub(super) record: Record,
    pub(super) spawn: SpawnStage,
    pub(super) process: Option<Process>,
    pub(super) waiters: Waiters<mpsc::Sender<wire::TargetResult>>,
    /// The attempt for which former runs were ended that may have had its socket.
    pub(super) cleared_for: Option<Attempt>,
    /// What it has left is being ended; absent: nobody has asked for that.
    pub(super) remains: Option<Remains>,
    pub(super) logs: Vec<SlotLog>,
    pub(super) health: Health,
    /// The digest of what the latest process was started with; absent: not known.
    pub(super) started_as: Option<u64>,
    /// Where it stands as an event listener, for the next agent.
    pub(super) listening: Option<Noted>,
    /// The moment under which the slot stands in the hub's deadlines.
    pub(super) timer: Option<Tick>,
    /// When its state last changed; absent: before this agent was there.
    pub(super) entered: Option<Tick>,
    /// When logs that could not be opened, and have pipes waiting for them, are tried again.
    pub(super) reopen_at: Option<Tick>,
}

/// How far the spawn is that the machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpawnStage {
    /// None is wanted, or there is no keeper to ask.
    Idle,
    /// What former runs have left is being ended.
    AwaitingRemains,
    /// The log files are being opened.
    AwaitingLogs,
    /// The keeper has been asked.
    Asked,
}

impl SpawnStage {
    /// For the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "not begun",
            Self::AwaitingRemains => "what former runs have left is being ended",
            Self::AwaitingLogs => "its logs are being opened",
            Self::Asked => "the keeper has been asked",
        }
    }
}

/// The live process and our copies of its descriptors.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) held: Held,
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) stdin: Option<OwnedFd>,
    /// What the capture reads from, so that another keeper can be given it without asking a thread that may be
    /// waiting for a disk.
    pub(super) stdout: Option<Arc<OwnedFd>>,
    pub(super) stderr: Option<Arc<OwnedFd>>,
}

/// The log of one stream.
#[derive(Debug)]
pub(super) struct SlotLog {
    pub(super) channel: Channel,
    pub(super) spec: Arc<LogSpec>,
    pub(super) state: LogState,
    /// Pipes that wait for the log to be open, with the processes that write.
    pub(super) parked: Vec<(Run, u32, Arc<OwnedFd>)>,
}

/// Whether a log is open.
#[derive(Debug)]
pub(super) enum LogState {
    /// No, and nobody needs it: the program does not run.
    Closed,
    /// Not yet; it has been asked for.
    Wanted,
    /// It is; the keeper's port has the file that the keeper drains into.
    Open,
    /// It could not be opened; the system's name of the error.
    Failed(String),
}

/// How ready the logs are as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    Pending,
    Failed(String),
}

impl Slot {
    pub(super) fn new(program: Program) -> Self {
        let (phase, record) = match &program.launch {
            Ok(_) => (Phase::default(), Record::new()),
            Err(why) => {
                let cause = Failure::NotSpawned { why: why.clone() };
                (
                    Phase::Fatal {
                        attempt: Attempt::NONE,
                        cause,
                    },
                    Record::refused(why),
                )
            }
        };
        let logs = logs_of(&program);
        Self {
            program,
            hold: None,
            is_configured: true,
            phase,
            record,
            spawn: SpawnStage::Idle,
            process: None,
            waiters: Waiters::default(),
            cleared_for: None,
            remains: None,
            logs,
            health: Health::default(),
            started_as: None,
            listening: None,
            timer: None,
            entered: None,
            reopen_at: None,
        }
    }

    /// Another description of the same program, before anything of it is open.
    pub(super) fn replace_program(&mut self, program: Program) {
        self.logs = logs_of(&program);
        self.program = program;
    }

    /// What is shown of it.
    pub(super) fn status(&self) -> wire::ProcessStatus {
        let mut status = self.record.status(&self.program.key);
        status.has_stdout_log = is_file(&self.program.stdout);
        status.has_stderr_log = self.program.stderr.as_deref().is_some_and(is_file);
        self.health.show(&mut status);
        status.outdated = self.is_outdated();
        status.hold.clone_from(&self.hold);
        status
    }

    /// What the keeper is to keep of it.
    pub(super) fn note(&self) -> Vec<u8> {
        Note::of(self).encode()
    }

    /// Whether the process runs as an earlier configuration had it.
    fn is_outdated(&self) -> bool {
        let is_up = self.phase.pid().is_some() && self.phase.state().is_running();
        let is_other = || {
            self.started_as
                .is_some_and(|as_| as_ != self.program.fingerprint)
        };
        is_up && (!self.is_configured || (self.program.launch.is_ok() && is_other()))
    }

    /// The run of the latest attempt.
    pub(super) fn run(&self) -> Run {
        Run {
            key: self.program.key.as_run_key(),
            attempt: self.phase.attempt().get(),
        }
    }

    /// There is a process, or one is about to be: it counts against the bound of running programs.
    pub(super) fn is_live(&self) -> bool {
        self.phase.pid().is_some() || self.spawn != SpawnStage::Idle
    }

    pub(super) fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::Ready;
        for log in &self.logs {
            match &log.state {
                LogState::Open => {}
                LogState::Failed(code) => return Readiness::Failed(code.clone()),
                LogState::Closed | LogState::Wanted => readiness = Readiness::Pending,
            }
        }
        readiness
    }

    /// Whether the log of a stream is open.
    pub(super) fn has_log(&self, channel: Channel) -> bool {
        let of_channel = |log: &&SlotLog| log.channel == channel;
        let log = self.logs.iter().find(of_channel);
        log.is_some_and(|log| matches!(log.state, LogState::Open))
    }

    /// The log of a stream. A run from before a change of the configuration may have a standard
    /// error of its own where there is none now: it goes where standard output goes.
    pub(super) fn log_for(&mut self, channel: Channel) -> &mut SlotLog {
        let known = self.logs.iter().position(|log| log.channel == channel);
        let index = known.unwrap_or_else(|| {
            self.logs
                .push(SlotLog::new(channel, self.program.stdout.clone()));
            self.logs.len() - 1
        });
        &mut self.logs[index]
    }

    pub(super) fn log_mut(&mut self, channel: Channel) -> Option<&mut SlotLog> {
        self.logs.iter_mut().find(|log| log.channel == channel)
    }
}

pub(super) fn logs_of(program: &Program) -> Vec<SlotLog> {
    let stdout = SlotLog::new(Channel::Stdout, program.stdout.clone());
    let stderr = program
        .stderr
        .clone()
        .map(|spec| SlotLog::new(Channel::Stderr, spec));
    std::iter::once(stdout).chain(stderr).collect()
}

impl SlotLog {
    fn new(channel: Channel, spec: Arc<LogSpec>) -> Self {
        Self {
            channel,
            spec,
            state: LogState::Closed,
            parked: Vec::new(),
        }
    }
}

/// How the keeper stops a process when there is no agent.
pub(crate) fn stop_rule(policy: &Policy) -> StopRule {
    StopRule {
        signal: policy.stopsignal,
        grace_ms: u64::try_from(policy.stopwaitsecs.as_millis()).unwrap_or(u64::MAX),
        scope: wire_scope(policy.stop_scope).into(),
        kill_scope: wire_scope(policy.kill_scope).into(),
    }
}

/// How the keeper stands in for us where a run of a program is concerned.
pub(super) fn rules(run: Run, program: &Program) -> Rules {
    Rules {
        run,
        stop: stop_rule(&program.policy),
        keeps_stdout: program.stdout.is_looked_at(),
        keeps_stderr: keeps_stderr(program),
    }
}

/// Whether standard error, where it has a pipe of its own, has to be looked at.
pub(super) fn keeps_stderr(program: &Program) -> bool {
    let spec = program.stderr.as_ref().unwrap_or(&program.stdout);
    spec.is_looked_at()
}

pub(super) fn wire_scope(scope: Scope) -> WireScope {
    match scope {
        Scope::Process => WireScope::Process,
        Scope::Group => WireScope::Tree,
    }
}
