//! What is left out of output and what is set aside: terminal escape sequences, and the text between
//! the two marks of a communication.
//!
//! Pure. Nothing is held back in here: what may be the beginning of a mark or of a sequence and is not
//! all there yet is not covered, so it stays in the pipe until more comes or the output ends. The result is
//! the same however the input is cut into pieces.

/// Begins a communication.
const BEGIN: &[u8] = b"<!--XSUPERVISOR:BEGIN-->";

/// Ends one.
const END: &[u8] = b"<!--XSUPERVISOR:END-->";

/// Begins an escape sequence, when a `[` follows.
const ESCAPE: u8 = 0x1b;

/// The letters that end a sequence, as Supervisor has them.
const SEQUENCE_ENDS: &[u8] = b"HfABCDRsuJKhlpm";

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sieve {
    /// Escape sequences are left out.
    pub strips_ansi: bool,
    /// Communications are set aside.
    pub captures: bool,
}

/// Where in the output the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Within a communication.
    pub is_captured: bool,
    /// Within an escape sequence.
    is_sequence: bool,
}

/// Whether more input may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It may.
    MayCome,
    /// This is the end of it: what could only become a mark is text.
    None,
}

/// What became of a piece of input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// How much of the input this covers.
    pub consumed: usize,
    /// The place after that.
    pub place: Place,
    /// What goes into the log.
    pub text: Vec<u8>,
    /// What goes into communications, one after the other.
    pub captured: Vec<u8>,
    /// Where in `captured` communications end.
    pub ends: Vec<usize>,
    /// The next bytes may be the beginning of something, and more of them is needed to know.
    pub is_undecided: bool,
}

/// The next bytes, which all have one meaning.
enum Part {
    /// So many bytes are given out.
    Given(usize),
    /// So many are left out, and then the place is inside or outside of a sequence.
    LeftOut { length: usize, is_sequence: bool },
    /// So many are a mark.
    Mark(usize),
    /// It cannot be said yet.
    Undecided,
}

impl Sieve {
    /// Sifts a piece, but gives out no more than `limit` bytes for the log: then the rest of the
    /// input is not covered.
    pub fn sift(self, place: Place, input: &[u8], limit: usize, rest: Rest) -> Sifted {
        let mut sifted = Sifted {
            place,
            ..Sifted::default()
        };
        while sifted.consumed < input.len() {
            let next = &input[sifted.consumed..];
            match self.part(sifted.place, next, rest) {
                Part::Given(length) if sifted.place.is_captured => {
                    sifted.captured.extend_from_slice(&next[..length]);
                    sifted.consumed += length;
                }
                Part::Given(length) => {
                    let fits = length.min(limit - sifted.text.len());
                    sifted.text.extend_from_slice(&next[..fits]);
                    sifted.consumed += fits;
                    if fits < length {
                        break;
                    }
                }
                Part::LeftOut {
                    length,
                    is_sequence,
                } => {
                    sifted.place.is_sequence = is_sequence;
                    sifted.consumed += length;
                }
                Part::Mark(length) => sifted.mark(length),
                Part::Undecided => {
                    sifted.is_undecided = true;
                    break;
                }
            }
        }
        sifted
    }

    /// What the next bytes mean; there is at least one.
    fn part(self, place: Place, next: &[u8], rest: Rest) -> Part {
        if self.captures && next[0] == b'<' {
            let mark = if place.is_captured { END } else { BEGIN };
            if next.starts_with(mark) {
                return Part::Mark(mark.len());
            }
            if mark.starts_with(next) && rest == Rest::MayCome {
                return Part::Undecided;
            }
        }
        if place.is_sequence {
            return self.rest_of_sequence(next);
        }
        if self.strips_ansi && next[0] == ESCAPE {
            match next.get(1) {
                Some(b'[') => {
                    return Part::LeftOut {
                        length: 2,
                        is_sequence: true,
                    };
                }
                None if rest == Rest::MayCome => return Part::Undecided,
                Some(_) | None => {}
            }
        }
        Part::Given(1 + self.ordinary(&next[1..]))
    }

    fn rest_of_sequence(self, next: &[u8]) -> Part {
        // The first byte was looked at already, so that a mark that is none is passed over.
        let last = |at: usize, byte: u8| {
            SEQUENCE_ENDS.contains(&byte) || (self.captures && at > 0 && byte == b'<')
        };
        let found = next
            .iter()
            .enumerate()
            .find(|(at, byte)| last(*at, **byte))
            .map(|(at, byte)| (at, *byte));
        match found {
            Some((at, b'<')) if at > 0 => Part::LeftOut {
                length: at,
                is_sequence: true,
            },
            Some((at, _)) => Part::LeftOut {
                length: at + 1,
                is_sequence: false,
            },
            None => Part::LeftOut {
                length: next.len(),
                is_sequence: true,
            },
        }
    }

    /// How many bytes come before the next one that has to be looked at.
    fn ordinary(self, next: &[u8]) -> usize {
        let special =
            |byte: &u8| (self.captures && *byte == b'<') || (self.strips_ansi && *byte == ESCAPE);
        next.iter().position(special).unwrap_or(next.len())
    }
}

impl Sifted {
    fn mark(&mut self, length: usize) {
        self.consumed += length;
        if self.place.is_captured {
            self.ends.push(self.captured.len());
        }
        self.place = Place {
            is_captured: !self.place.is_captured,
            is_sequence: false,
        };
    }
}

#[cfg(test)]
mod tests;
