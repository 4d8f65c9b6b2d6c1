//! A keeper process and an agent's end of its socket, for tests.
//!
//! Everything waits for a fact, with a deadline; nothing waits for a while.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rsv_keeper::message::{
    Adopt, Channel, Exited, FromKeeper, Held, Hello, Note, PROTOCOL, Refused, Report, Request, Run,
    Scope, Signal, Spawn, Spec, Stdin, StopRule, Stream, ToKeeper, Welcome,
};
use rsv_keeper::packet;
use tempfile::TempDir;

/// The keeper's file.
const EXECUTABLE: &str = env!("CARGO_BIN_EXE_rsv-keeper");

/// The one patience of all tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is there.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < give_up, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A running keeper. When it is dropped it is told to end, and its programs end with it.
pub(crate) struct Rig {
    pub(crate) directory: TempDir,
    pub(crate) socket: PathBuf,
    keeper: Child,
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::start_from(Path::new(EXECUTABLE))
    }

    pub(crate) fn start_from(executable: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("keeper.sock");
        let keeper = launch(&mut Command::new(executable), &socket);
        Self {
            directory,
            socket,
            keeper,
        }
    }

    /// With a command line that starts a keeper when `--socket PATH` is put behind it.
    pub(crate) fn start_by(command: &mut Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("keeper.sock");
        let keeper = launch(command, &socket);
        Self {
            directory,
            socket,
            keeper,
        }
    }

    /// With a keeper that gives programs no cgroups.
    pub(crate) fn without_cgroups() -> Self {
        Self::start_by(Command::new(EXECUTABLE).arg("--no-cgroups"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.keeper.id()
    }

    pub(crate) fn connect(&self) -> (Agent, Told) {
        Agent::connect(&self.socket)
    }

    /// An agent that is told nothing, because nothing is held.
    pub(crate) fn agent(&self) -> Agent {
        let (agent, told) = self.connect();
        assert!(told.held.is_empty());
        agent
    }

    /// What the next agent is told when this one goes.
    pub(crate) fn connect_again(&self, agent: Agent) -> Told {
        drop(agent);
        self.connect().1
    }

    pub(crate) fn signal(&self, signal: i32) {
        send_signal(self.pid(), signal);
    }

    /// Waits for the keeper's end.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        eventually("the keeper ends", || self.keeper.try_wait().unwrap())
    }

    /// Kills the keeper and starts another.
    pub(crate) fn replace(&mut self) {
        self.keeper.kill().unwrap();
        self.keeper.wait().unwrap();
        self.keeper = launch(&mut Command::new(EXECUTABLE), &self.socket);
    }

    /// How many descriptors the keeper has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// The processes whose parent is the keeper, with their states.
    pub(crate) fn children(&self) -> Vec<(u32, char)> {
        children_of(self.pid())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.keeper.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        self.signal(libc::SIGTERM);
        let give_up = Instant::now() + PATIENCE;
        while self.keeper.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > give_up {
                self.keeper.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn launch(command: &mut Command, socket: &Path) -> Child {
    let keeper = command
        .arg("--socket")
        .arg(socket)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the keeper listens", || packet::connect(socket).ok());
    keeper
}

pub(crate) fn send_signal(pid: u32, signal: i32) {
    // Zero would be the group of the test itself.
    assert_ne!(pid, 0);
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// The fields of a process's `stat` behind its name: state, parent, and so on.
pub(crate) fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Whether a process exists and is not a zombie.
pub(crate) fn is_running(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

pub(crate) fn children_of(parent: u32) -> Vec<(u32, char)> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if let Some(fields) = stat_fields(pid)
            && fields[1] == parent.to_string()
        {
            children.push((pid, fields[0].chars().next().unwrap()));
        }
    }
    children
}

/// What a new agent is told.
pub(crate) struct Told {
    pub(crate) welcome: Welcome,
    pub(crate) held: Vec<Running>,
    pub(crate) notes: Vec<Note>,
}

/// A run and the agent's descriptors of it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) held: Held,
    pub(crate) pidfd: OwnedFd,
    pub(crate) stdin: Option<File>,
    pub(crate) stdout: Option<File>,
    pub(crate) stderr: Option<File>,
}

impl Running {
    fn new(held: Held, fds: Vec<OwnedFd>) -> Self {
        let flags = [
            held.has_pidfd,
            held.has_stdin,
            held.has_stdout,
            held.has_stderr,
        ];
        assert_eq!(fds.len(), flags.iter().filter(|flag| **flag).count());
        let mut fds = fds.into_iter();
        let mut next = |flag: bool| flag.then(|| fds.next().unwrap());
        Self {
            pidfd: next(held.has_pidfd).unwrap(),
            stdin: next(held.has_stdin).map(File::from),
            stdout: next(held.has_stdout).map(File::from),
            stderr: next(held.has_stderr).map(File::from),
            held,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.held.pid
    }

    pub(crate) fn run(&self) -> Run {
        self.held.run.clone()
    }

    /// Everything that the program still writes to its standard output.
    pub(crate) fn output(&mut self) -> String {
        String::from_utf8(read_to_end(self.stdout.as_mut().unwrap())).unwrap()
    }
}

/// Reads a non-blocking pipe to its end.
pub(crate) fn read_to_end(pipe: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    eventually("the pipe ends", || match pipe.read_to_end(&mut bytes) {
        Ok(_) => Some(()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    });
    bytes
}

/// Reads a non-blocking pipe until it has given this many bytes.
pub(crate) fn read_exactly(pipe: &mut File, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let mut done = 0;
    eventually("the pipe gives enough", || {
        match pipe.read(&mut bytes[done..]) {
            Ok(0) => panic!("the pipe ended after {done} bytes"),
            Ok(n) => done += n,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        (done == size).then_some(())
    });
    bytes
}

/// An agent's end of the connection.
pub(crate) struct Agent {
    pub(crate) socket: OwnedFd,
    /// Reports that came while another was waited for.
    early: Vec<Report>,
}

impl Agent {
    pub(crate) fn dial(socket: &Path) -> Self {
        let socket = eventually("the door has room", || packet::connect(socket).ok());
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(PATIENCE),
        )
        .unwrap();
        Self {
            socket,
            early: Vec::new(),
        }
    }

    pub(crate) fn connect(socket: &Path) -> (Self, Told) {
        let mut agent = Self::dial(socket);
        agent.send(
            Request::Hello(Hello {
                protocol: PROTOCOL,
                agent_pid: std::process::id(),
            }),
            &[],
        );
        let (Report::Welcome(welcome), _) = agent.receive().unwrap() else {
            panic!("no welcome")
        };
        let mut told = Told {
            welcome,
            held: Vec::new(),
            notes: Vec::new(),
        };
        loop {
            match agent.receive().unwrap() {
                (Report::Held(held), fds) => told.held.push(Running::new(held, fds)),
                (Report::HeldNote(note), _) => told.notes.push(note),
                (Report::Ready(_), _) => return (agent, told),
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn send(&self, request: Request, fds: &[BorrowedFd<'_>]) {
        let message = ToKeeper {
            request: Some(request),
        };
        packet::send(self.socket.as_fd(), &message, fds).unwrap();
    }

    /// The next report; `None` when the keeper has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<(Report, Vec<OwnedFd>)> {
        match packet::recv::<FromKeeper>(self.socket.as_fd()) {
            Ok(received) => received.map(|(message, fds)| (message.report.unwrap(), fds)),
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next report that is wanted; others are kept for later.
    pub(crate) fn await_report<T>(&mut self, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        if let Some((at, found)) = self
            .early
            .iter()
            .enumerate()
            .find_map(|(at, report)| Some((at, wanted(report)?)))
        {
            self.early.remove(at);
            return found;
        }
        loop {
            let (report, fds) = self.receive().expect("the connection stays");
            if let Some(found) = wanted(&report) {
                return found;
            }
            assert!(fds.is_empty(), "descriptors lost: {report:?}");
            self.early.push(report);
        }
    }

    /// Asks for a program, and says how that went.
    pub(crate) fn try_spawn(&mut self, program: &Program) -> Result<Running, Refused> {
        let fds: Vec<_> = program.fds.iter().map(AsFd::as_fd).collect();
        self.send(Request::Spawn(program.spawn.clone()), &fds);
        loop {
            match self.receive().expect("an answer") {
                (Report::Spawned(held), fds) => return Ok(Running::new(held, fds)),
                (Report::Refused(refused), _) => return Err(refused),
                (other, _) => self.early.push(other),
            }
        }
    }

    pub(crate) fn spawn(&mut self, program: &Program) -> Running {
        self.try_spawn(program).unwrap()
    }

    /// Waits for the end of a run, and acknowledges it.
    pub(crate) fn exit_of(&mut self, run: &Run) -> Exited {
        let exited = self.unacknowledged_exit_of(run);
        self.send(Request::Ack(run.clone()), &[]);
        exited
    }

    pub(crate) fn unacknowledged_exit_of(&mut self, run: &Run) -> Exited {
        self.await_report(|report| match report {
            Report::Exited(exited) if exited.run == *run => Some(exited.clone()),
            _ => None,
        })
    }

    pub(crate) fn close_stream(&self, run: &Run, channel: Channel) {
        self.send(
            Request::CloseStream(Stream {
                run: run.clone(),
                channel: channel.into(),
            }),
            &[],
        );
    }

    /// Takes the exit into account and closes all streams.
    pub(crate) fn finish(&mut self, run: &Run) -> Exited {
        let exited = self.exit_of(run);
        for channel in [Channel::Stdin, Channel::Stdout, Channel::Stderr] {
            self.close_stream(run, channel);
        }
        exited
    }

    pub(crate) fn drain_to(&self, run: &Run, channel: Channel, file: &File) {
        let stream = Stream {
            run: run.clone(),
            channel: channel.into(),
        };
        self.send(Request::DrainTo(stream), &[file.as_fd()]);
    }

    /// Sends a signal; the errno.
    pub(crate) fn signal(&mut self, run: &Run, signal: i32, scope: Scope) -> i32 {
        self.signal_with(run, signal, scope, false)
    }

    /// Sends the process of a run a signal that is to end the run; the errno.
    pub(crate) fn stop(&mut self, run: &Run, signal: i32) -> i32 {
        self.signal_with(run, signal, Scope::Process, true)
    }

    /// Ends what runs of a key have left that are over; the errno.
    pub(crate) fn end_remainder(&mut self, run: &Run) -> i32 {
        self.send_signal(Signal {
            run: run.clone(),
            signal: libc::SIGTERM,
            scope: Scope::Tree.into(),
            request: 999,
            ends_run: true,
            ends_remainder: true,
        })
    }

    fn signal_with(&mut self, run: &Run, signal: i32, scope: Scope, ends_run: bool) -> i32 {
        self.send_signal(Signal {
            run: run.clone(),
            signal,
            scope: scope.into(),
            request: u64::from(signal.unsigned_abs()) + 1000,
            ends_run,
            ends_remainder: false,
        })
    }

    fn send_signal(&mut self, signal: Signal) -> i32 {
        let request = signal.request;
        self.send(Request::Signal(signal), &[]);
        self.await_report(|report| match report {
            Report::Signalled(answer) if answer.request == request => Some(answer.errno),
            _ => None,
        })
    }

    /// Waits until the keeper has heeded everything sent so far.
    pub(crate) fn settle(&mut self) {
        assert_eq!(
            self.signal(&run("nobody", 0), 0, Scope::Process),
            libc::ESRCH
        );
    }

    pub(crate) fn adopt(&self, running: &Running, drain: Option<&File>) {
        let adopt = Adopt {
            held: Held {
                exit: None,
                ..running.held.clone()
            },
            stop: stop_rule(),
            note: b"adopted".into(),
            has_stdout_drain: drain.is_some(),
            has_stderr_drain: false,
            cgroup: None,
            keeps_stdout: false,
            keeps_stderr: false,
        };
        let streams = [&running.stdin, &running.stdout, &running.stderr];
        let mut fds = vec![running.pidfd.as_fd()];
        fds.extend(streams.into_iter().flatten().map(AsFd::as_fd));
        fds.extend(drain.map(AsFd::as_fd));
        self.send(Request::Adopt(adopt), &fds);
    }
}

pub(crate) fn run(key: &str, attempt: u64) -> Run {
    Run {
        key: key.to_owned(),
        attempt,
    }
}

/// A program to be asked for.
pub(crate) struct Program {
    pub(crate) spawn: Spawn,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Program {
    /// A shell script.
    pub(crate) fn shell(key: &str, script: &str) -> Self {
        let argv = [b"sh".to_vec(), b"-c".to_vec(), script.into()].into();
        let spec = Spec {
            executable: b"/bin/sh".into(),
            argv,
            env: vec![b"PATH=/usr/local/bin:/usr/bin:/bin".into()],
            stdin: Stdin::Pipe.into(),
            stop: stop_rule(),
            ..Spec::default()
        };
        let spawn = Spawn {
            run: run(key, 1),
            spec,
            ..Spawn::default()
        };
        Self {
            spawn,
            fds: Vec::new(),
        }
    }

    pub(crate) fn spec(mut self, change: impl FnOnce(&mut Spec)) -> Self {
        change(&mut self.spawn.spec);
        self
    }

    pub(crate) fn attempt(mut self, attempt: u64) -> Self {
        self.spawn.run.attempt = attempt;
        self
    }

    pub(crate) fn note(mut self, note: &[u8]) -> Self {
        self.spawn.note = note.into();
        self
    }

    /// With a file to drain standard output to.
    pub(crate) fn drained_to(mut self, path: &Path) -> Self {
        self.spawn.has_stdout_drain = true;
        self.fds.push(log_file(path).into());
        self
    }
}

/// Copies the keeper's file to be executed, as scripts for that are written: by another process.
pub(crate) fn copy_keeper(to: &Path) {
    let copied = Command::new("cp").arg(EXECUTABLE).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Opens a file as an agent opens a log.
pub(crate) fn log_file(path: &Path) -> File {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap()
}

pub(crate) fn stop_rule() -> StopRule {
    StopRule {
        signal: libc::SIGTERM,
        grace_ms: 300,
        scope: Scope::Process.into(),
        kill_scope: Scope::Group.into(),
    }
}

/// Writes a line to a program.
pub(crate) fn write_line(stdin: &mut Option<File>, line: &str) {
    stdin
        .as_mut()
        .unwrap()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}
