//! The capture thread is killed at random moments, in the middle of moving bytes and of renaming
//! files, and a keeper that is the test itself sometimes drains in between. What was written is in
//! the files, byte for byte, and its numbering is unbroken.
//!
//! `RSV_TEST_SEED` and `RSV_TEST_ROUNDS` choose another history.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[expect(dead_code, reason = "each test file uses its part of the rig")]
#[path = "capture_support/rig.rs"]
mod rig;

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures_util::StreamExt;
use rig::{Rig, assert_same, chain, contents, lines, run};
use rsv_agent::capture::{Capture, DrainPort, LogSpec};
use rsv_agent::logbook::{Cursor, Follow, TailEnd, TailItem, TailStart};
use rsv_keeper::message::{Channel, Request, Run, Stream, ToKeeper};
use rsv_keeper::packet;
use uuid::Uuid;

/// Small, so that many kills fall into a rotation.
const MAXBYTES: u64 = 128 * 1024;

/// Lines of one write of the program.
const BLOCK: u64 = 200;

/// Tells the test, re-executed, that it is to be the victim.
const VICTIM: &str = "RSV_TEST_CAPTURE_VICTIM";

/// Tells it that it is to show what it moves.
const SHOWN: &str = "RSV_TEST_CAPTURE_SHOWN";

#[test]
fn a_kill_at_any_moment_loses_repeats_and_reorders_nothing() {
    let seed = number_from("RSV_TEST_SEED").unwrap_or_else(any_seed);
    let rounds = number_from("RSV_TEST_ROUNDS").unwrap_or(100);
    println!("RSV_TEST_SEED={seed}");
    let mut random = Random(seed | 1);
    let rig = Rig::new();
    let (held, writer) = io::pipe().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let program = start_program(writer, Arc::clone(&stop));
    let log_id = tell_numbers(&rig.capture, rig.directory.path());
    let mut drained = 0;
    for _ in 0..rounds {
        let victim = Victim::start(rig.directory.path(), &held, random.below(2) == 0);
        std::thread::sleep(Duration::from_micros(random.below(15_000)));
        let drain = victim.kill();
        if random.below(3) == 0 {
            drained += play_keeper(&held, &drain, random.below(200_000));
        }
    }
    stop.store(true, Ordering::Relaxed);
    // The last agent takes over what is left.
    rig.capture
        .open("app", Channel::Stdout, spec(rig.directory.path()))
        .unwrap();
    rig.capture
        .attach(run("app", 1), Channel::Stdout, OwnedFd::from(held));
    let expected = lines(0, program.join().unwrap());
    rig.wait_closed("app", 1);
    println!(
        "{} bytes in {} files, {drained} by the keeper",
        expected.len(),
        chain(&rig.path()).len()
    );
    assert_same(&contents(&rig.path()), &expected);
    let (numbered, last_id) = numbered(&rig.capture);
    assert_same(&numbered, &expected);
    assert_eq!(last_id, Some(log_id), "one numbering over all the kills");
}

/// Not a test by itself: the process that the test above kills.
#[test]
fn victim_of_the_kills() {
    let Some(directory) = std::env::var_os(VICTIM) else {
        return;
    };
    let socket = io::stderr().as_fd().try_clone_to_owned().unwrap();
    let capture = Capture::start(Socket(socket)).unwrap();
    if std::env::var_os(SHOWN).is_some() {
        capture.show_output(Box::new(|_, _, text| assert!(!text.is_empty())));
    }
    capture
        .open("app", Channel::Stdout, spec(Path::new(&directory)))
        .unwrap();
    let pipe = io::stdin().as_fd().try_clone_to_owned().unwrap();
    capture.attach(run("app", 1), Channel::Stdout, pipe);
    loop {
        std::thread::park();
    }
}

fn spec(directory: &Path) -> LogSpec {
    LogSpec::file(directory.join("app.log"), MAXBYTES, 5_000).numbered_in(directory.join("state"))
}

/// Writes numbered lines until it is told to stop, and says how many.
fn start_program(mut pipe: PipeWriter, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut next = 0;
        while !stop.load(Ordering::Relaxed) {
            pipe.write_all(&lines(next, BLOCK)).unwrap();
            next += BLOCK;
            // So that the files do not become too many.
            std::thread::sleep(Duration::from_micros(50));
        }
        next
    })
}

/// Reads the log while it is empty, so that its numbering is known and has to be kept.
fn tell_numbers(capture: &Capture, directory: &Path) -> Uuid {
    std::fs::write(directory.join("app.log"), "").unwrap();
    capture.know("app", Channel::Stdout, spec(directory));
    let anew = Cursor {
        log_id: Uuid::nil(),
        offset: 0,
    };
    let items = items(capture, TailStart::From(anew));
    let TailItem::Gap { at, .. } = &items[0] else {
        panic!("{items:?}")
    };
    at.log_id
}

/// The bytes of the log as its readers get them, which have to be numbered without a break from 0.
fn numbered(capture: &Capture) -> (Vec<u8>, Option<Uuid>) {
    let (mut bytes, mut log_id) = (Vec::new(), None);
    for item in items(capture, TailStart::All) {
        match item {
            TailItem::Chunk { at, data, .. } => {
                assert_eq!(at.offset, bytes.len() as u64);
                assert_eq!(*log_id.get_or_insert(at.log_id), at.log_id);
                bytes.extend(data);
            }
            TailItem::Gap { at, bytes, reason } => panic!("{bytes:?} lost at {at:?}: {reason}"),
            TailItem::End(end) => assert_eq!(end, TailEnd::Complete),
            TailItem::Begin { .. } => panic!("no moment was asked for"),
        }
    }
    (bytes, log_id)
}

fn items(capture: &Capture, start: TailStart) -> Vec<TailItem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tail = capture
        .logbook()
        .tail("app", Channel::Stdout, start, Follow::No);
    runtime.block_on(tail.collect())
}

/// A capture thread in a process of its own.
struct Victim {
    process: Child,
    listener: std::thread::JoinHandle<Option<OwnedFd>>,
}

impl Victim {
    /// Returns when it has taken over the pipe.
    fn start(directory: &Path, pipe: &PipeReader, is_shown: bool) -> Self {
        let (ours, theirs) = packet_pair();
        let process = Command::new(std::env::current_exe().unwrap())
            .envs(is_shown.then_some((SHOWN, "1")))
            .args(["--exact", "victim_of_the_kills", "--nocapture", "--quiet"])
            .env(VICTIM, directory)
            .stdin(Stdio::from(OwnedFd::from(pipe.try_clone().unwrap())))
            .stdout(Stdio::null())
            .stderr(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let (ready, is_ready) = mpsc::channel();
        let listener = std::thread::spawn(move || listen(&ours, &ready));
        is_ready
            .recv_timeout(rig::PATIENCE)
            .expect("the victim takes over the pipe");
        Self { process, listener }
    }

    /// Kills it, and gives the file that a keeper would drain into.
    fn kill(mut self) -> OwnedFd {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.listener.join().unwrap().unwrap()
    }
}

/// Plays the keeper's side of the socket until the victim is gone: remembers the last drain file.
fn listen(socket: &OwnedFd, ready: &mpsc::Sender<()>) -> Option<OwnedFd> {
    let mut receiver = packet::Receiver::default();
    let mut drain = None;
    loop {
        match receiver.recv::<ToKeeper>(socket.as_fd()) {
            Ok(Some((message, mut fds))) => {
                assert!(
                    matches!(message.request, Some(Request::DrainTo(_))),
                    "{message:?}"
                );
                drain = fds.pop();
                ready.send(()).ok();
            }
            Ok(None) => return drain,
            Err(error) => panic!("the victim says something else: {error:?}"),
        }
    }
}

/// Moves at most so many bytes into the drain file, as a keeper does when no agent is there.
fn play_keeper(pipe: &PipeReader, drain: &OwnedFd, most: u64) -> u64 {
    let mut moved = 0;
    while moved < most {
        let mut offset = u64::try_from(rustix::fs::fstat(drain).unwrap().st_size).unwrap();
        let wanted = usize::try_from(most - moved).unwrap();
        let flags = rustix::pipe::SpliceFlags::NONBLOCK;
        match rustix::pipe::splice(pipe, None, drain, Some(&mut offset), wanted, flags) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
            other => moved += other.unwrap() as u64,
        }
    }
    moved
}

/// Tells a keeper at the other end of a socket.
struct Socket(OwnedFd);

impl Socket {
    fn send(&self, request: Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        packet::send(
            self.0.as_fd(),
            &ToKeeper {
                request: Some(request),
            },
            fds,
        )
    }
}

impl DrainPort for Socket {
    fn drain_to(&self, run: &Run, channel: Channel, file: BorrowedFd<'_>) -> io::Result<()> {
        let stream = Stream {
            run: run.clone(),
            channel: channel.into(),
        };
        self.send(Request::DrainTo(stream), &[file])
    }

    fn close_stream(&self, run: &Run, channel: Channel) -> io::Result<()> {
        let stream = Stream {
            run: run.clone(),
            channel: channel.into(),
        };
        self.send(Request::CloseStream(stream), &[])
    }
}

fn packet_pair() -> (OwnedFd, OwnedFd) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn any_seed() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::from(now.subsec_nanos()) << 32 | now.as_secs()
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Xorshift: good enough for moments.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
