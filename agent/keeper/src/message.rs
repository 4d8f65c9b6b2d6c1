//! What agent and keeper say to each other over a Unix `SOCK_SEQPACKET` socket.
//!
//! One packet is one [`ToKeeper`] or [`FromKeeper`] and the descriptors that belong to it
//! (`SCM_RIGHTS`, in the order that the message's documentation gives). A message above
//! [`INLINE_LIMIT`] travels in a sealed memfd, which is then the packet's first descriptor, and the
//! packet itself is empty. Tags are never reused: an agent talks to a keeper of another version
//! whenever one of them has been upgraded.
//!
//! The agent speaks first ([`Hello`]). The keeper answers with [`Welcome`], one [`Held`] per run it
//! holds and one [`HeldNote`](Report::HeldNote) per key, then [`Ready`]; or with [`Busy`] when another agent is
//! connected, and closes. A *run* is one process: a `key` (one supervised slot, the agent's own
//! spelling) and an `attempt` (that key's number of the spawn). After `Ready` both sides speak
//! whenever they have something to say. The keeper never waits for the agent: it stops reading while too
//! many reports wait to be read, so an agent must not stop reading until it has written.
//!
//! As long as the connection is there only the agent reads the runs' pipes. Two seconds after the agent
//! has closed it (or died) the keeper moves what it finds in them to the ends of the drain files, until
//! the next agent is answered. What the agent has to look at on its way into the log stays in its pipe
//! instead, which is widened for that; only when it has become too much does it go into the file as it
//! is, so that no program waits. When it was the keeper that ended the connection (a malformed packet,
//! [`Reexec`]) it leaves the pipes alone until the agent has closed its end too, or has died.

/// The protocol revision this code speaks.
pub const PROTOCOL: u32 = 1;

/// The largest message that is sent inside a packet.
pub const INLINE_LIMIT: usize = 64 * 1024;

/// The largest message at all: what the kernel accepts as arguments and environment of one program
/// (2 MiB) with room for the rest.
pub const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;

/// The most descriptors in one packet.
pub const MAX_FDS: usize = 8;

/// A message from the agent.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ToKeeper {
    /// Exactly one; a message without one comes from a newer agent and is answered with nothing.
    #[prost(oneof = "Request", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub request: Option<Request>,
}

/// What an agent asks.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Request {
    /// First message of a connection.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// Start a program. Descriptors, each only if the flag in the message says so: the file given
    /// as standard input, the drain file of standard output, the drain file of standard error.
    #[prost(message, tag = "2")]
    Spawn(Spawn),
    /// Send a signal.
    #[prost(message, tag = "3")]
    Signal(Signal),
    /// Replace the note of a key.
    #[prost(message, tag = "4")]
    Note(Note),
    /// The exit of this run has been taken into account; it need not be told again. The keeper closes
    /// the run's standard input, and forgets the run when its output streams are closed too.
    #[prost(message, tag = "5")]
    Ack(Run),
    /// This stream has been read to its end, or is not wanted any more: the keeper closes its copy.
    #[prost(message, tag = "6")]
    CloseStream(Stream),
    /// From now on the stream is drained into the attached file when no agent is there (one
    /// descriptor, open for writing without `O_APPEND`), and so are the streams of this channel of all
    /// other runs of the key: one key has one log for each channel. Takes effect before anything that
    /// the agent does after sending it.
    #[prost(message, tag = "7")]
    DrainTo(Stream),
    /// The agent held this run while a former keeper died. Descriptors: the pidfd, then standard
    /// input, output, error and the two drain files as the flags say.
    #[prost(message, tag = "8")]
    Adopt(Adopt),
    /// Replace yourself by the executable at your own path, keeping everything. Answered by the
    /// end of the connection, whether it could be done or not; the agent connects again, and
    /// `Welcome` tells the version.
    #[prost(message, tag = "9")]
    Reexec(Reexec),
    /// The agent has stopped everything and goes in order: the keeper exits when no run is alive,
    /// unless another agent comes before that.
    #[prost(message, tag = "10")]
    Exit(Exit),
    /// The agent has begun to stop everything, and says `Exit` when it is through. If it goes before
    /// that, the keeper stops the programs by itself and exits, whoever comes meanwhile. No program is
    /// started from then on.
    #[prost(message, tag = "11")]
    StopsAll(StopsAll),
    /// From now on this is how the keeper stands in for the agent where a run is concerned.
    #[prost(message, tag = "12")]
    Rules(Rules),
}

/// A message from the keeper.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromKeeper {
    /// Exactly one; a message without one comes from a newer keeper and is skipped.
    #[prost(oneof = "Report", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub report: Option<Report>,
}

/// What a keeper reports.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Report {
    /// The agent is accepted; what is held follows.
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    /// A run that is held. Descriptors as its flags say, in this order: pidfd, standard input
    /// (write end), standard output, standard error (read ends).
    #[prost(message, tag = "2")]
    Held(Held),
    /// A note that is held.
    #[prost(message, tag = "3")]
    HeldNote(Note),
    /// Everything held has been told.
    #[prost(message, tag = "4")]
    Ready(Ready),
    /// Another agent is connected.
    #[prost(message, tag = "5")]
    Busy(Busy),
    /// A program runs. Descriptors as in `Held`.
    #[prost(message, tag = "6")]
    Spawned(Held),
    /// A program could not be started; there is no run.
    #[prost(message, tag = "7")]
    Refused(Refused),
    /// A run's process has ended and is reaped, and if it was to end (`Signal::ends_run`) what it has
    /// started has ended too. Told again to each new agent until acknowledged.
    #[prost(message, tag = "8")]
    Exited(Exited),
    /// The answer to a `Signal`.
    #[prost(message, tag = "9")]
    Signalled(Signalled),
    /// The keeper is to end, because it was told to (SIGTERM) or because a former agent had begun to
    /// stop everything: the agent is to stop every program in order, then send `Exit`.
    #[prost(message, tag = "10")]
    Terminating(Terminating),
}

/// Opens a connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// The highest protocol revision the agent speaks.
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    /// The agent's process id, for `Busy`.
    #[prost(uint32, tag = "2")]
    pub agent_pid: u32,
}

/// One process.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Run {
    /// The supervised slot, as the agent spells it.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The number of the spawn within the key.
    #[prost(uint64, tag = "2")]
    pub attempt: u64,
}

/// One of a run's output streams.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Stream {
    /// The run.
    #[prost(message, required, tag = "1")]
    pub run: Run,
    /// Which of its streams.
    #[prost(enumeration = "Channel", tag = "2")]
    pub channel: i32,
}

/// The standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Channel {
    /// Standard input.
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// A request to start a program.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Spawn {
    /// The run to make.
    #[prost(message, required, tag = "1")]
    pub run: Run,
    /// Everything the process is to be.
    #[prost(message, required, tag = "2")]
    pub spec: Spec,
    /// The key's note from now on, so that it is never older than the process. Also when the program
    /// is refused, unless that is at `Stage::Request`. Empty: the key has none.
    #[prost(bytes = "vec", tag = "3")]
    pub note: Vec<u8>,
    /// A drain file for standard output is attached.
    #[prost(bool, tag = "4")]
    pub has_stdout_drain: bool,
    /// A drain file for standard error is attached.
    #[prost(bool, tag = "5")]
    pub has_stderr_drain: bool,
    /// The agent has to look at standard output: it is kept for the next one, as far as that goes.
    #[prost(bool, tag = "6")]
    pub keeps_stdout: bool,
    /// The same of standard error.
    #[prost(bool, tag = "7")]
    pub keeps_stderr: bool,
}

/// A fully resolved program: the keeper looks nothing up.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Spec {
    /// The file to execute: with a slash, relative to `directory` if it is relative.
    #[prost(bytes = "vec", tag = "1")]
    pub executable: Vec<u8>,
    /// The arguments, `argv[0]` included.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub argv: Vec<Vec<u8>>,
    /// The whole environment, `NAME=value` each.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub env: Vec<Vec<u8>>,
    /// The working directory; absent: the keeper's.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub directory: Option<Vec<u8>>,
    /// The user to become; absent: unchanged.
    #[prost(message, optional, tag = "5")]
    pub credentials: Option<Credentials>,
    /// The file mode creation mask; absent: unchanged.
    #[prost(uint32, optional, tag = "6")]
    pub umask: Option<u32>,
    /// Resource limits to set before the user changes.
    #[prost(message, repeated, tag = "7")]
    pub rlimits: Vec<Rlimit>,
    /// What standard input is.
    #[prost(enumeration = "Stdin", tag = "8")]
    pub stdin: i32,
    /// Standard error goes where standard output goes.
    #[prost(bool, tag = "9")]
    pub merge_stderr: bool,
    /// How the keeper stops it when it has to do so without an agent.
    #[prost(message, required, tag = "10")]
    pub stop: StopRule,
    /// The cgroup directory to put the process in; absent: one of the key's own below the keeper's, where
    /// the system lets the keeper have one. Where it does not, the process finds `RSV_RUN` and
    /// `RSV_KEEPER` in its environment beside what is asked for.
    #[prost(bytes = "vec", optional, tag = "11")]
    pub cgroup: Option<Vec<u8>>,
    /// Only what is in its process group ends with it: what has left the group lives on, also when the
    /// keeper ends. It gets no cgroup of its own then, and finds `RSV_STAYS` in its environment.
    #[prost(bool, tag = "12")]
    pub leaves_daemons: bool,
}

/// The user and groups of a process.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Credentials {
    /// User id.
    #[prost(uint32, tag = "1")]
    pub uid: u32,
    /// Primary group id.
    #[prost(uint32, tag = "2")]
    pub gid: u32,
    /// All supplementary groups.
    #[prost(uint32, repeated, tag = "3")]
    pub groups: Vec<u32>,
}

/// One resource limit. The largest value means unlimited.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Rlimit {
    /// `RLIMIT_*` as the kernel numbers it.
    #[prost(uint32, tag = "1")]
    pub resource: u32,
    /// The soft limit.
    #[prost(uint64, tag = "2")]
    pub soft: u64,
    /// The hard limit.
    #[prost(uint64, tag = "3")]
    pub hard: u64,
}

/// Where a program reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Stdin {
    /// A pipe whose write end the agent and the keeper hold.
    Pipe = 0,
    /// The descriptor attached to the request, such as a listening socket. The keeper holds a copy of it, and
    /// shows it to the next agent as it shows the write end of a pipe.
    Given = 1,
    /// `/dev/null`.
    Null = 2,
}

/// How a program is told to end.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StopRule {
    /// The signal that asks.
    #[prost(int32, tag = "1")]
    pub signal: i32,
    /// How long to wait before SIGKILL, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub grace_ms: u64,
    /// Who gets the asking signal.
    #[prost(enumeration = "Scope", tag = "3")]
    pub scope: i32,
    /// Who gets SIGKILL.
    #[prost(enumeration = "Scope", tag = "4")]
    pub kill_scope: i32,
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Scope {
    /// The process itself, through its pidfd.
    Process = 0,
    /// Its process group; what is left of it after the run's process has been reaped only where the
    /// kernel can still name it safely (Linux 6.9), otherwise nobody.
    Group = 1,
    /// Everything in its cgroup, or the group where there is none. The run's process may have ended,
    /// unless another run that is alive has the same cgroup.
    Tree = 2,
}

/// A request to send a signal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Signal {
    /// The run.
    #[prost(message, required, tag = "1")]
    pub run: Run,
    /// The signal's number.
    #[prost(int32, tag = "2")]
    pub signal: i32,
    /// Who gets it.
    #[prost(enumeration = "Scope", tag = "3")]
    pub scope: i32,
    /// Given back in the answer.
    #[prost(uint64, tag = "4")]
    pub request: u64,
    /// It is to end the run: when its process has ended, what it has started and left is asked to end
    /// too, and killed after half a second, or at once when this is SIGKILL. `Exited` is told after that.
    /// Of a run that leaves daemons, that is what is left in its process group.
    #[prost(bool, tag = "5")]
    pub ends_run: bool,
    /// Nothing of the key is supposed to run: what its runs have left that are over is ended, as after a
    /// stop. Answered when that is done; `ESRCH`: nothing was left. If a run of the key is present after
    /// all, this means nothing.
    #[prost(bool, tag = "6")]
    pub ends_remainder: bool,
}

/// The answer to a request to send a signal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Signalled {
    /// From the request.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// The system's error number; 0: sent. `ESRCH` when nobody is there to get it.
    #[prost(int32, tag = "2")]
    pub errno: i32,
}

/// What the agent wants to find again after its own death.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Note {
    /// The slot.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Opaque to the keeper; empty: forget the note.
    #[prost(bytes = "vec", tag = "2")]
    pub note: Vec<u8>,
}

/// A run that a former keeper's death left with the agent.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Adopt {
    /// The run; `held.exit` is absent.
    #[prost(message, required, tag = "1")]
    pub held: Held,
    /// How to stop it.
    #[prost(message, required, tag = "2")]
    pub stop: StopRule,
    /// The key's note.
    #[prost(bytes = "vec", tag = "3")]
    pub note: Vec<u8>,
    /// A drain file for standard output is attached.
    #[prost(bool, tag = "4")]
    pub has_stdout_drain: bool,
    /// A drain file for standard error is attached.
    #[prost(bool, tag = "5")]
    pub has_stderr_drain: bool,
    /// Its cgroup, where `held` does not say; absent in both: none of its own.
    #[prost(bytes = "vec", optional, tag = "6")]
    pub cgroup: Option<Vec<u8>>,
    /// As in `Spawn`.
    #[prost(bool, tag = "7")]
    pub keeps_stdout: bool,
    /// As in `Spawn`.
    #[prost(bool, tag = "8")]
    pub keeps_stderr: bool,
}

/// Asks the keeper to replace itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Reexec {
    /// The executable to become; empty: the file it was started from.
    #[prost(bytes = "vec", tag = "1")]
    pub executable: Vec<u8>,
}

/// The agent goes in order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Exit {}

/// The agent has begun to stop everything.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StopsAll {}

/// Other rules for a run that is there, all of them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Rules {
    /// The run.
    #[prost(message, required, tag = "1")]
    pub run: Run,
    /// How it is stopped.
    #[prost(message, required, tag = "2")]
    pub stop: StopRule,
    /// As in `Spawn`.
    #[prost(bool, tag = "3")]
    pub keeps_stdout: bool,
    /// As in `Spawn`.
    #[prost(bool, tag = "4")]
    pub keeps_stderr: bool,
}

/// Accepts an agent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Welcome {
    /// The revision both will speak.
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    /// The keeper's process id.
    #[prost(uint32, tag = "2")]
    pub keeper_pid: u32,
    /// The keeper's version.
    #[prost(string, tag = "3")]
    pub version: String,
}

/// A process that the keeper holds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Held {
    /// The run.
    #[prost(message, required, tag = "1")]
    pub run: Run,
    /// Its process id. With `start_ticks` it names one process for ever.
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: its start, in clock ticks since boot.
    #[prost(uint64, tag = "3")]
    pub start_ticks: u64,
    /// `CLOCK_MONOTONIC` just after the spawn, in nanoseconds.
    #[prost(uint64, tag = "4")]
    pub spawned_at_ns: u64,
    /// The pidfd is attached.
    #[prost(bool, tag = "5")]
    pub has_pidfd: bool,
    /// The write end of standard input is attached.
    #[prost(bool, tag = "6")]
    pub has_stdin: bool,
    /// The read end of standard output is attached.
    #[prost(bool, tag = "7")]
    pub has_stdout: bool,
    /// The read end of standard error is attached.
    #[prost(bool, tag = "8")]
    pub has_stderr: bool,
    /// It has ended, and no agent has acknowledged that.
    #[prost(message, optional, tag = "9")]
    pub exit: Option<Exited>,
    /// The directory of its cgroup, for `Adopt`; absent: it has none of its own.
    #[prost(bytes = "vec", optional, tag = "10")]
    pub cgroup: Option<Vec<u8>>,
    /// As in `Spec`.
    #[prost(bool, tag = "11")]
    pub leaves_daemons: bool,
}

/// Everything held has been told.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Ready {}

/// Another agent is connected.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Busy {
    /// That agent's process id.
    #[prost(uint32, tag = "1")]
    pub agent_pid: u32,
}

/// A program that could not be started.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    /// The run that was asked for.
    #[prost(message, required, tag = "1")]
    pub run: Run,
    /// What was being done.
    #[prost(enumeration = "Stage", tag = "2")]
    pub stage: i32,
    /// The system's error number.
    #[prost(int32, tag = "3")]
    pub errno: i32,
}

/// A step of starting a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Stage {
    /// The request itself was not acceptable: `EINVAL` (a NUL byte, no arguments), `EEXIST` (the run
    /// exists), `EBUSY` (another run of the key is alive), `ESHUTDOWN` (the keeper is ending), `EMFILE` (an attached descriptor could not be
    /// received).
    Request = 0,
    /// Making the pipes.
    Pipes = 1,
    /// Making the process.
    Fork = 2,
    /// Joining the cgroup. `EBUSY`: a run that a dead keeper has left is in it and has been told to end, or
    /// what is left of former runs is being ended.
    Cgroup = 3,
    /// Making the process group.
    ProcessGroup = 4,
    /// Placing the standard streams.
    Streams = 5,
    /// Setting a resource limit.
    Rlimit = 6,
    /// Setting the supplementary groups.
    Groups = 7,
    /// Setting the primary group.
    Gid = 8,
    /// Setting the user.
    Uid = 9,
    /// Entering the working directory.
    Directory = 10,
    /// Executing the file.
    Exec = 11,
}

/// How a run's process ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exited {
    /// The run.
    #[prost(message, required, tag = "1")]
    pub run: Run,
    /// The exit code; absent when a signal ended it or nobody knows.
    #[prost(int32, optional, tag = "2")]
    pub code: Option<i32>,
    /// The signal that ended it; absent when it exited or nobody knows.
    #[prost(int32, optional, tag = "3")]
    pub signal: Option<i32>,
    /// It left a core file.
    #[prost(bool, tag = "4")]
    pub core_dumped: bool,
    /// `CLOCK_MONOTONIC` when it was reaped, in nanoseconds.
    #[prost(uint64, tag = "5")]
    pub at_ns: u64,
    /// Processor time it used, in microseconds.
    #[prost(uint64, tag = "6")]
    pub user_us: u64,
    /// Processor time the system used for it, in microseconds.
    #[prost(uint64, tag = "7")]
    pub system_us: u64,
    /// The largest resident set, in KiB.
    #[prost(uint64, tag = "8")]
    pub max_rss_kib: u64,
}

/// The keeper was told to end.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Terminating {}
