//! What the keeper does for the agent.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

use rsv_keeper::message::{
    Adopt, Channel, Refused, Report, Request, Rules, Run, Scope, Signal, Signalled, Spawn, Stage,
    Stdin, Stream, ToKeeper,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags};

use crate::agent::Reminder;
use crate::cgroup::Way;
use crate::ending::Event;
use crate::keeper::Keeper;
use crate::kin;
use crate::log::say;
use crate::poll::Token;
use crate::process::{self, Life, Output, Parentage, Process, Stop};
use crate::program::{Program, UNACCEPTABLE};
use crate::rest::Leftovers;
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
            Some(Request::Spawn(request)) => self.spawn(request, &mut attached, now),
            Some(Request::Signal(request)) => self.signal(&request, now),
            Some(Request::Note(note)) => self.table.note(note.key, note.note),
            Some(Request::Ack(run)) => self.ack(&run),
            Some(Request::CloseStream(stream)) => self.close_stream(&stream),
            Some(Request::DrainTo(stream)) => self.drain_to(&stream, &mut attached),
            Some(Request::Adopt(request)) => self.adopt(request, &mut attached, now),
            Some(Request::Reexec(request)) => self.reexec(&request, now),
            Some(Request::Rules(rules)) => self.take_rules(rules),
            Some(Request::StopsAll(_)) => self.end_by(Event::AgentStops, now),
            Some(Request::Exit(_)) => self.end_by(Event::AgentDone, now),
            // A second greeting says nothing new; what is unknown comes from a newer agent.
            Some(Request::Hello(_)) | None => {}
        }
    }

    fn spawn(&mut self, request: Spawn, attached: &mut Attached, now: Instant) {
        let run = request.run.clone();
        match self.try_spawn(request, attached, now) {
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

    fn try_spawn(
        &mut self,
        request: Spawn,
        attached: &mut Attached,
        now: Instant,
    ) -> Result<Id, Refusal> {
        let Spawn {
            run,
            spec,
            note,
            has_stdout_drain,
            has_stderr_drain,
            keeps_stdout,
            keeps_stderr,
        } = request;
        let stdin = Stdin::try_from(spec.stdin).map_err(|_| UNACCEPTABLE)?;
        let given = attached.take(stdin == Stdin::Given)?;
        let stdout_file = attached.take(has_stdout_drain)?;
        let stderr_file = attached.take(has_stderr_drain)?;
        self.admit(&run)?;
        let (merges, stop_rule) = (spec.merge_stderr, spec.stop.clone());
        let leaves_daemons = spec.leaves_daemons;
        let mut program = Program::new(spec)?;
        self.table.note(run.key.clone(), note);
        let is_placed = program.cgroup.is_none() && !leaves_daemons;
        if leaves_daemons {
            program.mark(kin::staying_marks(&run.key, run.attempt, &self.door.path))?;
        } else if is_placed {
            self.place(&run, &mut program, stop_rule.signal, now)?;
        }
        let pipes = self.pipes(stdin, given, merges);
        let pipes = pipes.map_err(|error| Refusal::new(Stage::Pipes, &error))?;
        let streams = pipes.theirs.each_ref().map(AsFd::as_fd);
        let mut child = self.spawner.spawn(&program, streams);
        if is_placed && matches!(&child, Err(refusal) if refusal.stage == Stage::Cgroup) {
            // Rather without a cgroup than not at all.
            program.cgroup = None;
            program.mark(kin::marks(&run.key, run.attempt, &self.door.path))?;
            child = self.spawner.spawn(&program, streams);
        }
        let child = child?;
        let cgroup = program.cgroup.map(CString::into_bytes);
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
            stdout: Some(Output::new(pipes.stdout, stdout_file, keeps_stdout)),
            stderr: pipes
                .stderr
                .map(|pipe| Output::new(pipe, stderr_file, keeps_stderr)),
            stop_rule,
            cgroup,
            leaves_daemons,
            leftovers: Leftovers::Stay,
        }))
    }

    /// Whether a run may begin now.
    fn admit(&self, run: &Run) -> Result<(), Refusal> {
        let refused = |stage, errno| Err(Refusal { stage, errno });
        if !self.ending.accepts_programs() {
            return refused(Stage::Request, libc::ESHUTDOWN);
        }
        if self.table.find(run).is_some() {
            return refused(Stage::Request, libc::EEXIST);
        }
        if self.table.is_present(&run.key) {
            return refused(Stage::Request, libc::EBUSY);
        }
        if self.is_ending_remainder(&run.key) {
            return refused(Stage::Cgroup, libc::EBUSY);
        }
        Ok(())
    }

    /// Gives a program the cgroup of its key, or marks it where there is none.
    fn place(
        &mut self,
        run: &Run,
        program: &mut Program,
        signal: i32,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(path) = self.cgroups.enter(&run.key) else {
            return program.mark(kin::marks(&run.key, run.attempt, &self.door.path));
        };
        if self.cgroups.clear(&path, signal, now) == Way::Occupied {
            return Err(Refusal {
                stage: Stage::Cgroup,
                errno: libc::EBUSY,
            });
        }
        program.cgroup = CString::new(path.into_os_string().into_vec()).ok();
        Ok(())
    }

    fn pipes(&self, kind: Stdin, given: Option<OwnedFd>, merges: bool) -> io::Result<Pipes> {
        let (their_stdin, stdin) = match (kind, given) {
            (Stdin::Pipe, _) => {
                let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
                set_nonblocking(&ours)?;
                (theirs, Some(ours))
            }
            // Kept for the next agent, whose programs are to share it.
            (Stdin::Given, Some(given)) => {
                let kept = given.try_clone()?;
                (given, Some(kept))
            }
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

    fn signal(&mut self, request: &Signal, now: Instant) {
        let key = &request.run.key;
        if request.ends_remainder && !self.table.is_present(key) {
            return self.end_remainder(key, request.request, now);
        }
        let answer = self.try_signal(request, now);
        let errno = answer
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        let signalled = Signalled {
            request: request.request,
            errno,
        };
        self.tell(Reminder::Answer(Box::new(Report::Signalled(signalled))));
    }

    fn try_signal(&mut self, request: &Signal, now: Instant) -> io::Result<()> {
        let scope = Scope::try_from(request.scope);
        let scope = scope.map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let id = self.table.find(&request.run);
        let id = id.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        if request.ends_run {
            let is_last = request.signal == libc::SIGKILL;
            if is_last && self.hurry_rest(id, now) {
                return Ok(());
            }
            if let Some(process) = self.table.get_mut(id) {
                let leftovers = if is_last {
                    Leftovers::Kill
                } else {
                    Leftovers::Ask
                };
                process.leftovers = process.leftovers.max(leftovers);
            }
        }
        self.signal_run(id, request.signal, scope)
    }

    /// Sends a signal to a run.
    pub(crate) fn signal_run(&self, id: Id, signal: i32, scope: Scope) -> io::Result<()> {
        let process = self.table.get(id);
        let process = process.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        let is_shared = process.cgroup.is_some()
            && !process.is_alive()
            && self.table.iter().any(|(other, candidate)| {
                other != id && candidate.is_alive() && candidate.cgroup == process.cgroup
            });
        target::signal(process, signal, scope, is_shared)
    }

    fn take_rules(&mut self, rules: Rules) {
        let id = self.table.find(&rules.run);
        let Some(process) = id.and_then(|id| self.table.get_mut(id)) else {
            return;
        };
        process.stop_rule = rules.stop;
        let kept = [
            (&mut process.stdout, rules.keeps_stdout),
            (&mut process.stderr, rules.keeps_stderr),
        ];
        for (output, keeps) in kept {
            if let Some(output) = output {
                output.keeps = keeps;
            }
        }
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
        let over = self.table.get(id).filter(|process| process.is_over());
        let Some(process) = over else { return };
        let (key, cgroup) = (process.run.key.clone(), process.cgroup.clone());
        self.table.remove(id);
        if let Some(cgroup) = cgroup
            && self.table.of_key(&key).next().is_none()
        {
            self.cgroups.leave(&cgroup);
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
        let channel = stream.channel();
        let runs = self.table.of_key(&stream.run.key);
        let others: Vec<Id> = runs
            .filter(|(_, process)| process.run != stream.run && process.output(channel).is_some())
            .map(|(id, _)| id)
            .collect();
        for id in others {
            match file.try_clone() {
                Ok(copy) => self.set_drain(id, channel, copy),
                Err(error) => say(format_args!("no drain file for another run: {error}")),
            }
        }
        if let Some(id) = self.table.find(&stream.run) {
            self.set_drain(id, channel, file);
        }
    }

    fn set_drain(&mut self, id: Id, channel: Channel, file: OwnedFd) {
        if let Some(process) = self.table.get_mut(id)
            && let Some(output) = process.output_mut(channel)
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
            keeps_stdout,
            keeps_stderr,
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
        let cgroup = held.cgroup.or(cgroup);
        if let Some(cgroup) = &cgroup {
            self.cgroups.claim(cgroup);
        }
        self.has_adopted = true;
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
            stdout: stdout.map(|pipe| Output::new(pipe, stdout_file, keeps_stdout)),
            stderr: stderr.map(|pipe| Output::new(pipe, stderr_file, keeps_stderr)),
            stop_rule: stop,
            cgroup,
            leaves_daemons: held.leaves_daemons,
            leftovers: Leftovers::Stay,
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
