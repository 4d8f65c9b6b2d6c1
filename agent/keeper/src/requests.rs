//! What the keeper does for the agent.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rsv_keeper::message::{
    Adopt, Channel, Refused, Report, Request, Run, Scope, Signal, Signalled, Spawn, Stage, Stdin,
    Stream, ToKeeper,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags};

use crate::agent::Reminder;
use crate::ending::Event;
use crate::keeper::Keeper;
use crate::log::say;
use crate::poll::Token;
use crate::process::{self, Life, Output, Parentage, Process, Stop};
use crate::program::{Program, UNACCEPTABLE};
use crate::spawn::Refusal;
use crate::table::Id;
use crate::target;

/// The descriptors of a message, taken in order.
struct Attached(std::vec::IntoIter<OwnedFd>);

impl Attached {
    /// The next one, if the message says that there is one.
    ///
    /// # Errors
    ///
    /// It says so and there is none: the kernel could not give it to us.
    fn take(&mut self, is_attached: bool) -> Result<Option<OwnedFd>, Refusal> {
        if !is_attached {
            return Ok(None);
        }
        let missing = Refusal {
            stage: Stage::Request,
            errno: libc::EMFILE,
        };
        self.0.next().map(Some).ok_or(missing)
    }
}

/// The program's ends of its standard streams, and ours.
struct Pipes {
    theirs: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

impl Keeper {
    /// Does what a message asks for.
    pub(crate) fn heed(&mut self, message: ToKeeper, fds: Vec<OwnedFd>, now: Instant) {
        let mut attached = Attached(fds.into_iter());
        match message.request {
            Some(Request::Spawn(request)) => self.spawn(request, &mut attached),
            Some(Request::Signal(request)) => self.signal(&request),
            Some(Request::Note(note)) => self.table.note(note.key, note.note),
            Some(Request::Ack(run)) => self.ack(&run),
            Some(Request::CloseStream(stream)) => self.close_stream(&stream),
            Some(Request::DrainTo(stream)) => self.drain_to(&stream, &mut attached),
            Some(Request::Adopt(request)) => self.adopt(request, &mut attached, now),
            Some(Request::Reexec(request)) => self.reexec(&request, now),
            Some(Request::Exit(_)) => self.end_by(Event::AgentDone, now),
            // A second greeting says nothing new; what is unknown comes from a newer agent.
            Some(Request::Hello(_)) | None => {}
        }
    }

    fn spawn(&mut self, request: Spawn, attached: &mut Attached) {
        let run = request.run.clone();
        match self.try_spawn(request, attached) {
            Ok(id) => self.tell(Reminder::Spawned(id)),
            Err(Refusal { stage, errno }) => {
                let refused = Refused {
                    run,
                    stage: stage.into(),
                    errno,
                };
                self.tell(Reminder::Answer(Box::new(Report::Refused(refused))));
            }
        }
    }

    fn try_spawn(&mut self, request: Spawn, attached: &mut Attached) -> Result<Id, Refusal> {
        let Spawn {
            run,
            spec,
            note,
            has_stdout_drain,
            has_stderr_drain,
        } = request;
        let refused = |errno| {
            Err(Refusal {
                stage: Stage::Request,
                errno,
            })
        };
        let stdin = Stdin::try_from(spec.stdin).map_err(|_| UNACCEPTABLE)?;
        let given = attached.take(stdin == Stdin::Given)?;
        let stdout_file = attached.take(has_stdout_drain)?;
        let stderr_file = attached.take(has_stderr_drain)?;
        if !self.ending.accepts_programs() {
            return refused(libc::ESHUTDOWN);
        }
        if self.table.find(&run).is_some() {
            return refused(libc::EEXIST);
        }
        if self.table.is_alive(&run.key) {
            return refused(libc::EBUSY);
        }
        let (merges, stop_rule, cgroup) =
            (spec.merge_stderr, spec.stop.clone(), spec.cgroup.clone());
        let program = Program::new(spec)?;
        self.table.note(run.key.clone(), note);
        let pipes = self.pipes(stdin, given, merges);
        let pipes = pipes.map_err(|error| Refusal::new(Stage::Pipes, &error))?;
        let child = self
            .spawner
            .spawn(&program, pipes.theirs.each_ref().map(AsFd::as_fd))?;
        let spawned_at_ns = process::monotonic_ns();
        Ok(self.hold(Process {
            run,
            pid: child.pid,
            // It is our child and not reaped, so the number is still its own.
            start_ticks: process::read_start_ticks(child.pid).unwrap_or(0),
            spawned_at_ns,
            pidfd: child.pidfd,
            parentage: Parentage::Own,
            life: Life::Alive(Stop::No),
            stdin: pipes.stdin,
            stdout: Some(Output::new(pipes.stdout, stdout_file)),
            stderr: pipes.stderr.map(|pipe| Output::new(pipe, stderr_file)),
            stop_rule,
            cgroup,
        }))
    }

    fn pipes(&self, kind: Stdin, given: Option<OwnedFd>, merges: bool) -> io::Result<Pipes> {
        let (their_stdin, stdin) = match (kind, given) {
            (Stdin::Pipe, _) => {
                let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
                set_nonblocking(&ours)?;
                (theirs, Some(ours))
            }
            (Stdin::Given, Some(given)) => (given, None),
            (Stdin::Given | Stdin::Null, _) => (self.spawner.null().try_clone_to_owned()?, None),
        };
        let (stdout, their_stdout) = output_pipe()?;
        let (stderr, their_stderr) = if merges {
            (None, their_stdout.try_clone()?)
        } else {
            let (ours, theirs) = output_pipe()?;
            (Some(ours), theirs)
        };
        Ok(Pipes {
            theirs: [their_stdin, their_stdout, their_stderr],
            stdin,
            stdout,
            stderr,
        })
    }

    /// Takes in a run and watches its process.
    pub(crate) fn hold(&mut self, process: Process) -> Id {
        let id = self.table.insert(process);
        if let Some(process) = self.table.get(id)
            && process.is_alive()
            && let Err(error) = self.poll.add(&process.pidfd, Token::Process(id))
        {
            // A child is found by its signal then.
            say(format_args!(
                "cannot watch process {}: {error}",
                process.pid
            ));
        }
        id
    }

    fn signal(&mut self, request: &Signal) {
        let answer = self.try_signal(request);
        let errno = answer
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        let signalled = Signalled {
            request: request.request,
            errno,
        };
        self.tell(Reminder::Answer(Box::new(Report::Signalled(signalled))));
    }

    fn try_signal(&mut self, request: &Signal) -> io::Result<()> {
        let scope = Scope::try_from(request.scope);
        let scope = scope.map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let id = self.table.find(&request.run);
        let id = id.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        self.signal_run(id, request.signal, scope)
    }

    /// Sends a signal to a run.
    pub(crate) fn signal_run(&self, id: Id, signal: i32, scope: Scope) -> io::Result<()> {
        let process = self.table.get(id);
        let process = process.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        let is_shared = process.cgroup.is_some()
            && self.table.iter().any(|(other, candidate)| {
                other != id && candidate.is_alive() && candidate.cgroup == process.cgroup
            });
        target::signal(process, signal, scope, is_shared)
    }

    fn ack(&mut self, run: &Run) {
        if let Some(id) = self.table.find(run)
            && let Some(process) = self.table.get_mut(id)
        {
            process.ack();
            self.forget_if_over(id);
        }
    }

    fn close_stream(&mut self, stream: &Stream) {
        let Some(id) = self.table.find(&stream.run) else {
            return;
        };
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        match stream.channel() {
            Channel::Stdin => process.stdin = None,
            Channel::Stdout => process.stdout = None,
            Channel::Stderr => process.stderr = None,
        }
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: Id) {
        if self.table.get(id).is_some_and(Process::is_over) {
            self.table.remove(id);
        }
    }

    fn drain_to(&mut self, stream: &Stream, attached: &mut Attached) {
        let Ok(Some(file)) = attached.take(true) else {
            say(format_args!(
                "no descriptor left for a drain file of `{}`",
                stream.run.key
            ));
            return;
        };
        if let Some(id) = self.table.find(&stream.run)
            && let Some(process) = self.table.get_mut(id)
            && let Some(output) = process.output_mut(stream.channel())
        {
            output.file = Some(file);
        }
    }

    fn adopt(&mut self, request: Adopt, attached: &mut Attached, now: Instant) {
        let key = request.held.run.key.clone();
        match self.try_adopt(request, attached) {
            // It may have ended before it was watched, and then the watch says so; or there was no
            // watch to be had.
            Ok(id) => self.process_ended_maybe(id, now),
            Err(refusal) => {
                say(format_args!(
                    "cannot adopt `{key}`: {}",
                    io::Error::from_raw_os_error(refusal.errno)
                ));
            }
        }
    }

    fn try_adopt(&mut self, request: Adopt, attached: &mut Attached) -> Result<Id, Refusal> {
        let Adopt {
            held,
            stop,
            note,
            has_stdout_drain,
            has_stderr_drain,
            cgroup,
        } = request;
        let pidfd = attached.take(held.has_pidfd)?;
        let stdin = attached.take(held.has_stdin)?;
        let stdout = attached.take(held.has_stdout)?;
        let stderr = attached.take(held.has_stderr)?;
        let stdout_file = attached.take(has_stdout_drain)?;
        let stderr_file = attached.take(has_stderr_drain)?;
        if self.table.find(&held.run).is_some() {
            return Err(Refusal {
                stage: Stage::Request,
                errno: libc::EEXIST,
            });
        }
        let pidfd = match pidfd {
            Some(pidfd) => pidfd,
            None => find(held.pid, held.start_ticks)?,
        };
        self.table.note(held.run.key.clone(), note);
        Ok(self.hold(Process {
            run: held.run,
            pid: held.pid,
            start_ticks: held.start_ticks,
            spawned_at_ns: held.spawned_at_ns,
            pidfd,
            parentage: Parentage::Stranger { look: None },
            life: Life::Alive(Stop::No),
            stdin,
            stdout: stdout.map(|pipe| Output::new(pipe, stdout_file)),
            stderr: stderr.map(|pipe| Output::new(pipe, stderr_file)),
            stop_rule: stop,
            cgroup,
        }))
    }
}

/// Finds a process by number and start. Both are looked up after the pidfd is there: what the pidfd
/// names is then the process with that start, or one that has ended.
fn find(pid: u32, start_ticks: u64) -> Result<OwnedFd, Refusal> {
    let gone = Refusal {
        stage: Stage::Request,
        errno: libc::ESRCH,
    };
    let raw = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(gone)?;
    let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty()).map_err(|_| gone)?;
    let is_it = process::read_start_ticks(pid) == Some(start_ticks);
    if is_it { Ok(pidfd) } else { Err(gone) }
}

/// A pipe that is read without waiting here and written as usual there.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    set_nonblocking(&ours)?;
    Ok((ours, theirs))
}

/// The two ends of a pipe do not share this flag.
fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)? | rustix::fs::OFlags::NONBLOCK;
    Ok(rustix::fs::fcntl_setfl(fd, flags)?)
}
