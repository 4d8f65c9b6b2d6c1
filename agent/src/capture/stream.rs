//! One attached stream: a pipe, and how its bytes get into the log file.
//!
//! A turn moves a bounded number of bytes, so that a flood of one program does not hold up the
//! others. It keeps no bytes of the log: what has to be looked at (`look.rs`) is looked at in the
//! pipe, written, and only then taken out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::LogSpec;
use super::aside::{Lost, Origin, Outlets};
use super::command::LogKey;
use super::file::{LogFile, Room};
use super::line::{self, Cut, WINDOW};
use super::look::Look;
use super::pace::Pace;
use super::plumbing::{self, Plumbing};
use super::port::{self, DrainPort};
use super::shown;

/// The most bytes of one stream in one turn: half a millisecond of a fast disk cache.
pub(super) const BUDGET: u64 = 512 * 1024;

/// The sizes of pipes: of a program that writes much, so that it can be looked at less often, and of
/// one that fills even that. Not all get the largest, because an unprivileged user has 64 MiB for all
/// pipes, and gets very small ones when those are used up.
const WIDE: [u64; 2] = [256 * 1024, 1024 * 1024];

/// The most bytes at once for a target that would make us wait if they did not fit: as much as one
/// that says it has room surely takes.
pub(super) const SPARING: u64 = 4096;

/// Names an open file within the thread.
pub(super) type FileId = u32;

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) origin: Origin,
    pub(super) log: LogKey,
    pub(super) file: FileId,
    /// Shared with whoever gives it to another keeper.
    pub(super) pipe: Arc<OwnedFd>,
    pub(super) pace: Pace,
    pub(super) wait: Wait,
    pub(super) ear: Ear,
    /// The kernel has said that nobody can write any more.
    pub(super) is_over: bool,
    pub(super) capacity: u64,
    /// The generation of the file that the keeper drains into.
    pub(super) told: Option<u64>,
    way: Way,
    has_ended: bool,
}

/// What the stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing: it is being served.
    Turn,
    /// Its pipe to become readable.
    Readable,
    /// A moment.
    Until(Instant),
}

/// What the kernel tells us of the pipe, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ear {
    /// Nothing.
    Deaf,
    /// That nobody can write any more: what a program writes last is in its log when it has ended,
    /// whatever its pause is.
    End,
    /// That there are bytes, or that.
    Bytes,
    /// That bytes have come since it was asked to tell, or that; as often as it happens.
    More,
}

/// How bytes get from the pipe into the file.
#[derive(Debug)]
enum Way {
    /// The kernel moves them.
    Splice,
    /// They are looked at.
    Look(Box<Look>),
}

/// What one turn has done.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) moved: u64,
    pub(super) end: TurnEnd,
    /// What has not got to where it was meant to besides the log.
    pub(super) lost: Lost,
}

/// Why a turn ended.
#[derive(Debug)]
pub(super) enum TurnEnd {
    /// The pipe is empty.
    Empty,
    /// What is in the pipe has to stay there until more comes.
    Undecided,
    /// The budget is spent.
    More,
    /// Nobody can write any more, all is in the file, and the keeper knows.
    Ended,
    /// The target, which is not a file, takes nothing at the moment.
    Busy,
    /// Something did not succeed.
    Trouble(io::Error),
}

/// What a turn works with.
pub(super) struct Tools<'a> {
    pub(super) file: &'a mut LogFile,
    pub(super) plumbing: &'a mut Plumbing,
    pub(super) port: &'a dyn DrainPort,
    pub(super) outlets: &'a mut Outlets,
    pub(super) now: Instant,
}

/// One move.
pub(super) enum Step {
    /// There may be more.
    Moved,
    /// There was less than the file would have taken.
    Emptied,
    /// The rest waits for more.
    Undecided,
    /// Nobody can write any more.
    Ended,
}

impl Stream {
    pub(super) fn new(origin: Origin, file: FileId, pipe: Arc<OwnedFd>) -> Self {
        let log = LogKey::new(&origin.run.key, origin.channel);
        let capacity = plumbing::capacity(pipe.as_fd());
        Self {
            origin,
            log,
            file,
            pipe,
            pace: Pace::default(),
            wait: Wait::Turn,
            ear: Ear::Bytes,
            is_over: false,
            capacity,
            told: None,
            way: Way::Splice,
            has_ended: false,
        }
    }

    /// Brings it in line with a spec. `is_heard`: somebody listens to events. Nothing is looked at
    /// without a reason.
    pub(super) fn set_way(&mut self, spec: &LogSpec, is_heard: bool) {
        let is_seen = spec.strip_ansi
            || spec.capture_maxbytes > 0
            || spec.syslog.is_some()
            || spec.protocol
            || (spec.events && is_heard);
        match (&mut self.way, is_seen) {
            (Way::Look(look), true) => look.set(spec),
            (Way::Splice, true) => {
                let mut look = Box::new(Look::default());
                look.set(spec);
                self.way = Way::Look(look);
            }
            (_, false) => self.way = Way::Splice,
        }
    }

    /// Whether somebody waits for what it says.
    pub(super) fn is_urgent(&self) -> bool {
        match &self.way {
            Way::Look(look) => look.talk.is_some(),
            Way::Splice => false,
        }
    }

    /// So much of what it has said as an event listener is understood.
    pub(super) fn understood(&mut self, bytes: usize) {
        if let Way::Look(look) = &mut self.way {
            look.understood(bytes);
        }
    }

    /// Moves what there is, within the budget.
    pub(super) fn serve(&mut self, tools: &mut Tools<'_>) -> Turn {
        let (mut moved, mut lost) = (0, Lost::default());
        let end = self.turn(tools, &mut moved, &mut lost);
        if matches!(end, TurnEnd::Ended) {
            self.finish(tools.outlets, tools.now, &mut lost);
        }
        Turn { moved, end, lost }
    }

    /// Nothing more is taken from the pipe: what waited for more goes out as it is.
    pub(super) fn finish(&mut self, outlets: &mut Outlets, now: Instant, lost: &mut Lost) {
        if let Way::Look(look) = &mut self.way {
            look.aside.finish(outlets, now, lost);
        }
    }

    fn turn(&mut self, tools: &mut Tools<'_>, moved: &mut u64, lost: &mut Lost) -> TurnEnd {
        while *moved < BUDGET && !self.has_ended {
            match self.step(tools, moved, lost) {
                Ok(Step::Moved) => {}
                // What was the last of it is known by looking once more.
                Ok(Step::Emptied) if self.is_over => {}
                Ok(Step::Emptied) => return TurnEnd::Empty,
                Ok(Step::Undecided) => return TurnEnd::Undecided,
                Ok(Step::Ended) => self.has_ended = true,
                Err(error) => return self.refused(error),
            }
        }
        if self.has_ended {
            self.say_farewell(tools.port)
        } else {
            TurnEnd::More
        }
    }

    /// Tells the keeper into which file it would have to drain. Without a keeper there is nobody who
    /// would, and the next one is told anew.
    pub(super) fn tell(&mut self, file: &LogFile, port: &dyn DrainPort) -> io::Result<()> {
        if self.told == Some(file.generation()) {
            return Ok(());
        }
        match port.drain_to(&self.origin.run, self.origin.channel, file.as_fd()) {
            Ok(()) => self.told = Some(file.generation()),
            Err(error) if port::is_gone(&error) => self.told = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A wider pipe for a program that had written this much since the last look.
    pub(super) fn widen(&mut self, moved: u64) {
        let wide = WIDE.into_iter().find(|wide| *wide > self.capacity);
        let needed = if self.capacity < WIDE[0] {
            self.capacity / 4
        } else {
            self.capacity
        };
        if let Some(wide) = wide.filter(|_| moved > needed / 8 * 7) {
            self.capacity = plumbing::widen(self.pipe.as_fd(), wide);
        }
    }

    fn step(
        &mut self,
        tools: &mut Tools<'_>,
        moved: &mut u64,
        lost: &mut Lost,
    ) -> io::Result<Step> {
        let room = tools.file.room(tools.now)?;
        self.tell(tools.file, tools.port)?;
        match &mut self.way {
            Way::Splice => self.splice(tools, room, moved),
            Way::Look(look) => {
                let pipe = Pipe {
                    fd: self.pipe.as_fd(),
                    origin: &self.origin,
                    is_over: self.is_over,
                };
                look.step(&pipe, tools, room, moved, lost)
            }
        }
    }

    fn splice(&mut self, tools: &mut Tools<'_>, room: Room, moved: &mut u64) -> io::Result<Step> {
        let (bytes, rotates) = match self.portion(tools, room, BUDGET - *moved)? {
            Portion::Bytes(bytes) => (bytes, false),
            Portion::LastBytes(bytes) => (bytes, true),
            Portion::NoneHere => {
                tools.file.rotate(tools.now)?;
                return Ok(Step::Moved);
            }
        };
        let wanted = usize::try_from(bytes).unwrap_or(WINDOW);
        let shown = &mut tools.outlets.shown;
        // What is shown is looked at before it is moved, and no more than that is moved.
        let window = if shown.is_wanted() {
            Some(tools.plumbing.peek(self.pipe.as_fd())?)
        } else {
            None
        };
        let asked = window.map_or(wanted, |window| shown::portion(window, wanted));
        match plumbing::splice(self.pipe.as_fd(), tools.file.as_fd(), room, asked) {
            Ok(0) => Ok(Step::Ended),
            Ok(spliced) => {
                *moved += spliced as u64;
                if let Some(window) = window {
                    shown.show(&self.origin, &window[..spliced]);
                }
                tools.file.advance(spliced as u64, tools.now)?;
                if rotates && spliced == wanted {
                    tools.file.rotate(tools.now)?;
                }
                Ok(if spliced < asked {
                    Step::Emptied
                } else {
                    Step::Moved
                })
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // A file that cannot be spliced into: its bytes are looked at, though for nothing.
                self.way = Way::Look(Box::default());
                Ok(Step::Moved)
            }
            Err(error) => Err(error),
        }
    }

    /// How much goes into this file.
    fn portion(&self, tools: &mut Tools<'_>, room: Room, budget: u64) -> io::Result<Portion> {
        let (offset, left) = match room {
            Room::Anywhere => return Ok(Portion::Bytes(budget)),
            Room::Sparing => return Ok(Portion::Bytes(budget.min(SPARING))),
            Room::At { offset, left } => (offset, left),
        };
        if left > WINDOW as u64 {
            // The look at the last line is for a window of its own.
            return Ok(Portion::Bytes(budget.min(left - WINDOW as u64)));
        }
        if plumbing::available(self.pipe.as_fd()) < left {
            return Ok(Portion::Bytes(left));
        }
        Ok(match self.cut(tools, offset, left)? {
            Cut::Fill => Portion::Bytes(left),
            Cut::TakeThenRotate(take) => Portion::LastBytes(take as u64),
            Cut::RotateFirst => Portion::NoneHere,
        })
    }

    /// Where the file ends, when there are enough bytes to fill it.
    fn cut(&self, tools: &mut Tools<'_>, offset: u64, left: u64) -> io::Result<Cut> {
        if !tools.file.may_rotate(tools.now) {
            return Ok(Cut::Fill);
        }
        let maxbytes = usize::try_from(offset + left).unwrap_or(usize::MAX);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let window = tools.plumbing.peek(self.pipe.as_fd())?;
        let file = &*tools.file;
        Ok(line::cut(window, left, maxbytes, || {
            offset > 0 && file.is_at_line_start()
        }))
    }

    fn refused(&self, error: io::Error) -> TurnEnd {
        if error.kind() != io::ErrorKind::WouldBlock {
            return TurnEnd::Trouble(error);
        }
        // Either end may be the one that would block.
        match plumbing::available(self.pipe.as_fd()) {
            0 => TurnEnd::Empty,
            _ => TurnEnd::Busy,
        }
    }

    fn say_farewell(&self, port: &dyn DrainPort) -> TurnEnd {
        match port.close_stream(&self.origin.run, self.origin.channel) {
            Err(error) if !port::is_gone(&error) => TurnEnd::Trouble(error),
            _ => TurnEnd::Ended,
        }
    }
}

/// What a look works on.
pub(super) struct Pipe<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) origin: &'a Origin,
    /// Nobody can write any more.
    pub(super) is_over: bool,
}

/// How much of what comes goes into the file.
enum Portion {
    /// At most so many.
    Bytes(u64),
    /// Exactly so many, and then the file is rotated.
    LastBytes(u64),
    /// The file is rotated first.
    NoneHere,
}
