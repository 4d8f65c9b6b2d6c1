//! The thread: waits for pipes, moments and commands, and serves streams in turns.
//!
//! Every stream is in exactly one of three states: armed for its next byte, due at a moment, or being
//! served. Each round takes all that are ready and gives each one bounded turn; nothing waits for
//! anything else in between, except for the disk.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::DrainPort;
use super::aside::{Lost, Outlets};
use super::command::{Command, LogKey, Outbox};
use super::events::EventSender;
use super::files::Files;
use super::pace::{self, Look, Seen};
use super::plumbing::Plumbing;
use super::stream::{Ear, FileId, Stream, Tools, Turn, TurnEnd, Wait};
use super::trouble::{Reports, TroubleSink};

/// Events taken from the kernel at once; more come with the next call.
const EVENTS: usize = 256;

/// Names the bell in the epoll set. Streams are counted from 1.
const BELL: u64 = 0;

/// Names, among the moments, the one at which trouble may be over.
const TROUBLE: u64 = 0;

/// How long a report of trouble waits for whoever did not take it.
const REPORT_PAUSE: Duration = Duration::from_millis(100);

/// Each event comes once, and the end of a pipe always.
const LISTEN: EventFlags = EventFlags::ONESHOT;

/// Starts the thread.
pub(super) fn spawn(outbox: Outbox, port: Box<dyn DrainPort>) -> io::Result<()> {
    let mut mover = Mover::new(outbox, port)?;
    std::thread::Builder::new()
        .name("capture".into())
        .spawn(move || mover.run())?;
    Ok(())
}

pub(super) struct Mover {
    epoll: OwnedFd,
    outbox: Outbox,
    pub(super) port: Box<dyn DrainPort>,
    pub(super) files: Files,
    /// Boxed, because a table is half empty.
    pub(super) streams: HashMap<u64, Box<Stream>>,
    pub(super) outlets: Outlets,
    reports: Reports,
    /// When trouble is looked at next.
    trouble_at: Option<Instant>,
    due: BTreeSet<(Instant, u64)>,
    plumbing: Plumbing,
    next_token: u64,
    origin: Instant,
    now: Instant,
}

impl Mover {
    fn new(outbox: Outbox, port: Box<dyn DrainPort>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &outbox.bell,
            EventData::new_u64(BELL),
            EventFlags::IN,
        )?;
        let now = Instant::now();
        Ok(Self {
            epoll,
            outbox,
            port,
            files: Files::default(),
            streams: HashMap::new(),
            outlets: Outlets::default(),
            reports: Reports::default(),
            trouble_at: None,
            due: BTreeSet::new(),
            plumbing: Plumbing::new()?,
            next_token: 1,
            origin: now,
            now,
        })
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            self.outbox.pulse.rest();
            if let Err(error) = self.wait(&mut events) {
                // Cannot happen to a valid set; if it does, a busy loop would be worse than a slow one.
                tracing::error!(%error, "capture cannot wait for its pipes");
                std::thread::sleep(Duration::from_secs(1));
            }
            self.now = Instant::now();
            self.outbox.pulse.work(self.now);
            let mut rings = false;
            for event in &events {
                match event.data.u64() {
                    BELL => rings = true,
                    token => self.hear(token, event.flags),
                }
            }
            self.serve_due();
            if rings && !self.obey() {
                return;
            }
        }
    }

    /// Waits for the next event or moment.
    fn wait(&self, events: &mut Vec<epoll::Event>) -> rustix::io::Result<()> {
        let mut timeout = self
            .due
            .first()
            .map(|(at, _)| at.saturating_duration_since(Instant::now()));
        if let Some(left) =
            timeout.filter(|left| !left.is_zero() && *left < Duration::from_millis(1))
        {
            // The set itself is waited for in whole milliseconds only.
            let mut polled = [PollFd::new(&self.epoll, PollFlags::IN)];
            tolerate(rustix::event::poll(&mut polled, Some(&timespec(left))))?;
            timeout = Some(Duration::ZERO);
        }
        let timeout = timeout.map(timespec);
        let spare = rustix::buffer::spare_capacity(events);
        tolerate(epoll::wait(&self.epoll, spare, timeout.as_ref()))
    }

    /// The kernel has said something of a stream, and says no more until it is asked to.
    fn hear(&mut self, token: u64, flags: EventFlags) {
        if let Some(stream) = self.streams.get_mut(&token) {
            if stream.ear != Ear::More {
                stream.ear = Ear::Deaf;
            }
            stream.is_over = flags.contains(EventFlags::HUP);
            self.serve(token);
        }
    }

    /// One turn for each stream whose moment has come by now. What becomes due meanwhile is for the
    /// next round.
    fn serve_due(&mut self) {
        let later = self.due.split_off(&(self.now, u64::MAX));
        let ready = std::mem::replace(&mut self.due, later);
        for (at, token) in ready {
            if token == TROUBLE {
                self.look_at_trouble();
            } else if self
                .streams
                .get(&token)
                .is_some_and(|stream| stream.wait == Wait::Until(at))
            {
                self.serve(token);
            }
        }
    }

    /// One turn for one stream, and when the next one is.
    pub(super) fn serve(&mut self, token: u64) {
        let Some(stream) = self.streams.get_mut(&token) else {
            return;
        };
        if let Wait::Until(at) = std::mem::replace(&mut stream.wait, Wait::Turn) {
            self.due.remove(&(at, token));
        }
        self.outbox.pulse.work(Instant::now());
        let file = match self.files.ensure_open(&stream.log, stream.file) {
            Ok(file) => file,
            Err(error) => {
                let turn = Turn {
                    moved: 0,
                    end: TurnEnd::Trouble(error),
                    lost: Lost::default(),
                };
                let log = stream.log.clone();
                self.account(&log, &turn);
                return self.schedule(token, &turn, false);
            }
        };
        let generation = file.generation();
        let id = stream.file;
        let mut tools = Tools {
            file,
            plumbing: &mut self.plumbing,
            port: self.port.as_ref(),
            outlets: &mut self.outlets,
            now: self.now,
        };
        let turn = stream.serve(&mut tools);
        if turn.moved > 0 {
            file.note_time(self.now, SystemTime::now());
        }
        let is_followed = file.is_followed();
        let is_new_file = file.generation() != generation;
        self.files
            .account(&stream.log, &turn, self.now, &mut self.reports);
        self.watch_trouble(&turn);
        self.schedule(token, &turn, is_followed);
        if is_new_file {
            self.tell_all(id);
        }
        if self.outlets.take_news() {
            self.set_ways();
        }
    }

    fn account(&mut self, log: &LogKey, turn: &Turn) {
        self.files.account(log, turn, self.now, &mut self.reports);
        self.watch_trouble(turn);
    }

    /// Has trouble looked at after a while.
    fn watch_trouble(&mut self, turn: &Turn) {
        let is_trouble = matches!(turn.end, TurnEnd::Trouble(_)) || turn.lost.why.is_some();
        if is_trouble && self.trouble_at.is_none() {
            self.look_at_trouble();
        }
    }

    /// Tells what there is to be told, and comes back as long as there is trouble.
    fn look_at_trouble(&mut self) {
        if let Some(former) = self.trouble_at.take() {
            self.due.remove(&(former, TROUBLE));
        }
        let next = self.files.settle(self.now, &mut self.reports);
        let at = match (self.reports.send(), next) {
            (true, _) => self.now + REPORT_PAUSE,
            (false, Some(at)) => at,
            (false, None) => return,
        };
        self.trouble_at = Some(at);
        self.due.insert((at, TROUBLE));
    }

    /// Somebody listens to events from now on.
    pub(super) fn listen_to_events(&mut self, sender: EventSender) {
        self.outlets.listen(sender);
        if self.outlets.take_news() {
            self.set_ways();
        }
    }

    /// Trouble is told there from now on.
    pub(super) fn tell_trouble(&mut self, sink: TroubleSink) {
        self.reports.tell(sink);
        self.look_at_trouble();
    }

    /// Only what has a reason is looked at.
    fn set_ways(&mut self) {
        let is_heard = self.outlets.is_heard();
        for stream in self.streams.values_mut() {
            if let Some((_, spec)) = self.files.of(&stream.log) {
                stream.set_way(spec, is_heard);
            }
        }
    }

    fn schedule(&mut self, token: u64, turn: &Turn, is_followed: bool) {
        let Some(stream) = self.streams.get_mut(&token) else {
            return;
        };
        let seen = Seen {
            moved: turn.moved,
            capacity: stream.capacity,
            is_more: matches!(turn.end, TurnEnd::More),
            is_followed,
            is_urgent: stream.is_urgent(),
        };
        let look = match turn.end {
            TurnEnd::Ended => return self.drop_stream(token),
            TurnEnd::Busy | TurnEnd::Trouble(_) => Look::After(stream.pace.after_trouble()),
            TurnEnd::Empty | TurnEnd::Undecided | TurnEnd::More => {
                stream.widen(turn.moved);
                stream.pace.after(seen)
            }
        };
        let is_undecided = matches!(turn.end, TurnEnd::Undecided);
        match look {
            Look::Next => self.wait_until(token, self.now),
            Look::After(pause) => {
                self.wait_until(token, self.end_of(pause));
                self.listen(token, Ear::End);
            }
            // What is left in the pipe is known, so only more of it counts.
            Look::WhenReadable if is_undecided => self.listen(token, Ear::More),
            Look::WhenReadable => self.listen(token, Ear::Bytes),
        }
    }

    fn end_of(&self, pause: Duration) -> Instant {
        self.origin + pace::end_of(pause, self.now - self.origin)
    }

    fn wait_until(&mut self, token: u64, at: Instant) {
        if let Some(stream) = self.streams.get_mut(&token) {
            // When it is armed as well, it is merely looked at once more.
            stream.wait = Wait::Until(at);
            self.due.insert((at, token));
        }
    }

    fn listen(&mut self, token: u64, ear: Ear) {
        let Some(stream) = self.streams.get_mut(&token) else {
            return;
        };
        if matches!(ear, Ear::Bytes | Ear::More) {
            stream.wait = Wait::Readable;
        }
        let is_known = match ear {
            Ear::Bytes => false,
            Ear::More => stream.ear == ear,
            // The end of a pipe that cannot be emptied now would be told without end.
            Ear::End | Ear::Deaf => stream.is_over || stream.ear == ear,
        };
        if is_known {
            return;
        }
        let flags = match ear {
            Ear::Bytes => LISTEN | EventFlags::IN,
            Ear::More => EventFlags::IN | EventFlags::ET,
            Ear::End | Ear::Deaf => LISTEN,
        };
        stream.ear = ear;
        let data = EventData::new_u64(token);
        if let Err(error) = epoll::modify(&self.epoll, &stream.pipe, data, flags) {
            tracing::error!(program = stream.origin.run.key, %error, "cannot wait for output");
            self.wait_until(token, self.now + Duration::from_secs(1));
        }
    }

    /// Takes a stream in and moves what its pipe holds already.
    pub(super) fn add_stream(&mut self, stream: Stream) {
        let token = self.next_token;
        self.next_token += 1;
        let data = EventData::new_u64(token);
        let added = epoll::add(&self.epoll, &stream.pipe, data, LISTEN | EventFlags::IN);
        if let Err(error) = added {
            tracing::error!(program = stream.origin.run.key, %error, "cannot take over output");
            return;
        }
        self.streams.insert(token, Box::new(stream));
        self.serve(token);
    }

    /// Lets go of a pipe. The keeper holds the same one, so closing it would not take it out of the
    /// epoll set.
    pub(super) fn drop_stream(&mut self, token: u64) {
        let Some(mut stream) = self.streams.remove(&token) else {
            return;
        };
        stream.finish(&mut self.outlets, self.now, &mut Lost::default());
        if let Wait::Until(at) = stream.wait {
            self.due.remove(&(at, token));
        }
        if let Err(error) = epoll::delete(&self.epoll, &stream.pipe) {
            tracing::error!(program = stream.origin.run.key, %error, "cannot let go of output");
        }
        let id = stream.file;
        drop(stream);
        if !self.streams.values().any(|other| other.file == id) {
            self.files.unused(id);
        }
    }

    /// Tells the keeper of a file for all streams that go there. Whoever could not be told moves
    /// nothing until it is.
    pub(super) fn tell_all(&mut self, id: FileId) {
        let Some(file) = self.files.open_file(id) else {
            return;
        };
        for stream in self.streams.values_mut().filter(|stream| stream.file == id) {
            if let Err(error) = stream.tell(file, self.port.as_ref()) {
                tracing::warn!(program = stream.origin.run.key, %error, "cannot tell the keeper of a log file");
            }
        }
    }

    /// Does what has been asked. Says whether anybody can still ask.
    fn obey(&mut self) -> bool {
        let mut count = [0; 8];
        // The counter is put back to zero, whatever it was.
        rustix::io::read(&self.outbox.bell, &mut count).ok();
        loop {
            match self.outbox.commands.try_recv() {
                Ok(command) => {
                    self.outbox.pulse.work(Instant::now());
                    self.execute(command);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn execute(&mut self, command: Command) {
        super::execute::execute(self, command);
    }
}

fn tolerate<T>(result: rustix::io::Result<T>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::INTR) => Ok(()),
        other => other.map(|_| ()),
    }
}

fn timespec(duration: Duration) -> Timespec {
    // A moment that far away is looked at again when it is nearer.
    Timespec::try_from(duration).unwrap_or(Timespec {
        tv_sec: 3600,
        tv_nsec: 0,
    })
}
