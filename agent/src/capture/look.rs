//! Output that has to be looked at on its way into the log.
//!
//! Looks, writes, takes, passes on, in this order. Nothing is held: what cannot be understood yet stays in
//! the pipe, where neither a kill of ours nor the end of the program loses it. (A kill between writing
//! and taking repeats what was just written, which is why everything that need not be looked at is
//! spliced.)

use std::io;

use super::LogSpec;
use super::aside::{Aside, Lost};
use super::file::{LogFile, Room};
use super::line::{self, Cut};
use super::plumbing;
use super::sieve::{Place, Rest, Sieve};
use super::stream::{Pipe, SPARING, Step, Tools};
use super::talk::Talk;

/// What one stream is looked at for, and how far that has come. By default for nothing.
#[derive(Debug, Default)]
pub(super) struct Look {
    sieve: Sieve,
    place: Place,
    pub(super) aside: Aside,
    /// Of an event listener: how far what it says has come.
    pub(super) talk: Option<Talk>,
}

/// How much goes into this file.
enum Part {
    /// At most so many bytes.
    Bytes(usize),
    /// At most so many, and when they are in it is rotated.
    LastBytes(usize),
    /// It is rotated first.
    NoneHere,
}

impl Look {
    pub(super) fn set(&mut self, spec: &LogSpec) {
        self.sieve = Sieve {
            strips_ansi: spec.strip_ansi,
            captures: spec.capture_maxbytes > 0,
        };
        if !self.sieve.captures {
            self.place.is_captured = false;
        }
        self.aside.set(spec);
        self.talk = spec.protocol.then(|| self.talk.take().unwrap_or_default());
    }

    /// So much of what an event listener has said is understood.
    pub(super) fn understood(&mut self, bytes: usize) {
        if let Some(talk) = &mut self.talk {
            talk.understood(bytes);
        }
    }

    pub(super) fn step(
        &mut self,
        pipe: &Pipe<'_>,
        tools: &mut Tools<'_>,
        room: Room,
        moved: &mut u64,
        lost: &mut Lost,
    ) -> io::Result<Step> {
        let there = plumbing::available(pipe.fd);
        let window = tools.plumbing.peek(pipe.fd)?;
        if window.is_empty() {
            return Ok(Step::Ended);
        }
        let window = match &mut self.talk {
            Some(talk) => match talk.open(pipe.origin, window, tools.outlets) {
                0 => return Ok(Step::Undecided),
                open => &window[..open],
            },
            None => window,
        };
        let is_whole = window.len() as u64 >= there;
        let mut rest = if is_whole && pipe.is_over {
            Rest::None
        } else {
            Rest::MayCome
        };
        let mut sifted = self.sieve.sift(self.place, window, usize::MAX, rest);
        if sifted.consumed == 0 && !is_whole {
            // The kernel shows no more of the pipe, so more would never be seen.
            rest = Rest::None;
            sifted = self.sieve.sift(self.place, window, usize::MAX, rest);
        }
        if sifted.consumed == 0 {
            return Ok(Step::Undecided);
        }
        let part = part(tools.file, tools.now, room, &sifted.text);
        let (limit, rotates) = match part {
            Part::Bytes(limit) => (limit, false),
            Part::LastBytes(limit) => (limit, true),
            Part::NoneHere => {
                tools.file.rotate(tools.now)?;
                return Ok(Step::Moved);
            }
        };
        let wanted = &sifted.text[..sifted.text.len().min(limit)];
        let written = write(tools.file, wanted, room)?;
        if written < sifted.text.len() {
            // Only what the written part came from is taken.
            sifted = self.sieve.sift(self.place, window, written, rest);
        }
        tools.plumbing.discard(pipe.fd, sifted.consumed)?;
        if let Some(talk) = &mut self.talk {
            talk.taken(pipe.origin, sifted.consumed, tools.outlets);
        }
        self.place = sifted.place;
        *moved += sifted.consumed as u64;
        let is_undecided = sifted.is_undecided && is_whole;
        self.aside
            .take(pipe.origin, sifted, tools.outlets, tools.now, lost);
        tools.file.advance(written as u64, tools.now)?;
        if rotates && written == limit {
            tools.file.rotate(tools.now)?;
        }
        Ok(if is_undecided {
            Step::Undecided
        } else {
            Step::Moved
        })
    }
}

fn write(file: &LogFile, text: &[u8], room: Room) -> io::Result<usize> {
    if text.is_empty() {
        return Ok(0);
    }
    match file.write(text, room)? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

/// Where the file ends: as for what is spliced.
fn part(file: &LogFile, now: std::time::Instant, room: Room, text: &[u8]) -> Part {
    let (offset, left) = match room {
        Room::Anywhere => return Part::Bytes(usize::MAX),
        Room::Sparing => return Part::Bytes(SPARING as usize),
        Room::At { offset, left } => (offset, usize::try_from(left).unwrap_or(usize::MAX)),
    };
    if text.len() <= left || !file.may_rotate(now) {
        return Part::Bytes(left);
    }
    let maxbytes = usize::try_from(offset).map_or(usize::MAX, |at| at.saturating_add(left));
    let is_at_line_start = || offset > 0 && file.is_at_line_start();
    match line::cut(text, left, maxbytes, is_at_line_start) {
        Cut::Fill => Part::Bytes(left),
        Cut::TakeThenRotate(take) => Part::LastBytes(take),
        Cut::RotateFirst => Part::NoneHere,
    }
}
