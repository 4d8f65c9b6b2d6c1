//! What a listener says on its standard output, and what it means.
//!
//! Pure, and the same however the bytes are cut into pieces. Nothing that a listener can write makes
//! this hold more than `LINE` and `RESULT` allow.

/// `READY` and its line end: it takes an event.
const READY: &[u8] = b"READY\n";

/// What stands before the length in a result line.
const PREFIX: &[u8] = b"RESULT ";

/// The longest result line.
const LINE: usize = 1024;

/// The longest result.
const RESULT: usize = 1024 * 1024;

/// Where a listener stands in the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It has started, or has answered, and has not asked for the next event.
    #[default]
    Acknowledged,
    /// It waits for an event.
    Ready,
    /// A former agent has noted that it waits for an event, and may have given it one since: the first
    /// answer that nobody has asked for is to that.
    Adopted,
    /// It has an event.
    Busy,
    /// It may have an event of a former agent: everything up to the next `READY` belongs to that.
    Resuming,
    /// It does not keep to the protocol and gets no events any more.
    Unknown,
}

/// Something that a listener has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It takes the next event.
    Ready,
    /// The result of the event that it has.
    Result(Vec<u8>),
    /// Nothing that the protocol knows.
    Nonsense(Nonsense),
}

/// How a listener breaks the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nonsense {
    /// Something other than `READY` where only that can be.
    NotReady,
    /// It speaks without having been asked.
    Unasked,
    /// Its result has no length, or one out of bounds; the line as it is.
    ResultLine(Vec<u8>),
}

/// Reads what one listener says.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    stage: Stage,
    /// A former agent may have given it an event that is not known of.
    may_owe: bool,
    buffer: Vec<u8>,
    /// The length of the result that is being read.
    length: Option<usize>,
}

impl Parser {
    /// A parser for a listener that stands there.
    pub fn at(stage: Stage) -> Self {
        Self {
            stage,
            may_owe: stage == Stage::Adopted,
            ..Self::default()
        }
    }

    /// Where the listener stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The listener has been given an event.
    pub fn give(&mut self) {
        self.stage = Stage::Busy;
    }

    /// Gives it up: it gets no events any more.
    pub fn give_up(&mut self) {
        *self = Self::at(Stage::Unknown);
    }

    /// The next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        while !bytes.is_empty() {
            let (taken, one) = self.step(bytes);
            bytes = &bytes[taken..];
            if matches!(one, Some(Said::Nonsense(_))) {
                self.give_up();
            }
            said.extend(one);
            if self.stage == Stage::Unknown {
                break;
            }
        }
        said
    }

    /// Takes some of the bytes, at least one; says what they complete.
    fn step(&mut self, bytes: &[u8]) -> (usize, Option<Said>) {
        match self.stage {
            Stage::Acknowledged => self.greeting(bytes),
            Stage::Ready | Stage::Adopted if self.may_owe => {
                self.may_owe = false;
                self.stage = Stage::Resuming;
                self.resume(bytes)
            }
            Stage::Ready | Stage::Adopted => (bytes.len(), Some(Said::Nonsense(Nonsense::Unasked))),
            Stage::Busy => match self.length {
                None => self.result_line(bytes),
                Some(length) => self.result(bytes, length),
            },
            Stage::Resuming => self.resume(bytes),
            Stage::Unknown => (bytes.len(), None),
        }
    }

    fn greeting(&mut self, bytes: &[u8]) -> (usize, Option<Said>) {
        let taken = self.fill(bytes, READY.len());
        if self.buffer.len() < READY.len() {
            return (taken, None);
        }
        let is_ready = self.buffer == READY;
        self.buffer.clear();
        if is_ready {
            self.stage = Stage::Ready;
            (taken, Some(Said::Ready))
        } else {
            (taken, Some(Said::Nonsense(Nonsense::NotReady)))
        }
    }

    fn result_line(&mut self, bytes: &[u8]) -> (usize, Option<Said>) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let taken = self.fill(part, LINE);
        let line = || Said::Nonsense(Nonsense::ResultLine(self.buffer.clone()));
        if taken < part.len() {
            return (taken, Some(line()));
        }
        if end.is_none() {
            return (taken, None);
        }
        let length = length(&self.buffer);
        let complete = match length {
            None => Some(line()),
            Some(0) => Some(self.finish()),
            Some(_) => None,
        };
        self.buffer.clear();
        if complete.is_none() {
            self.length = length;
        }
        (taken + 1, complete)
    }

    fn result(&mut self, bytes: &[u8], length: usize) -> (usize, Option<Said>) {
        let taken = self.fill(bytes, length);
        let is_whole = self.buffer.len() == length;
        (taken, is_whole.then(|| self.finish()))
    }

    fn finish(&mut self) -> Said {
        let whole = self.length.take().is_some();
        self.stage = Stage::Acknowledged;
        let bytes = std::mem::take(&mut self.buffer);
        Said::Result(if whole { bytes } else { Vec::new() })
    }

    /// Forgets everything but what may be the beginning of `READY`.
    fn resume(&mut self, bytes: &[u8]) -> (usize, Option<Said>) {
        self.buffer.push(bytes[0]);
        if self.buffer.len() > READY.len() {
            self.buffer.remove(0);
        }
        if self.buffer != READY {
            return (1, None);
        }
        self.buffer.clear();
        self.stage = Stage::Ready;
        (1, Some(Said::Ready))
    }

    /// Adds to the buffer until it is so long; says how much was taken.
    fn fill(&mut self, bytes: &[u8], length: usize) -> usize {
        let room = length - self.buffer.len().min(length);
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        taken
    }
}

/// The length in a result line, which may have blanks around it.
fn length(line: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(line.strip_prefix(PREFIX)?).ok()?.trim();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let length = text.parse().ok().filter(|_| is_number)?;
    (length <= RESULT).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Said {
        Said::Result(text.as_bytes().to_vec())
    }

    fn nonsense(text: &str) -> Said {
        Said::Nonsense(Nonsense::ResultLine(text.as_bytes().to_vec()))
    }

    #[test]
    fn what_a_listener_says_where_it_stands() {
        use Stage::{Acknowledged, Adopted, Busy, Ready, Resuming, Unknown};
        let (unasked, not_ready) = (
            Said::Nonsense(Nonsense::Unasked),
            Said::Nonsense(Nonsense::NotReady),
        );
        for (stage, bytes, said, then) in [
            (Acknowledged, "READY\n", vec![Said::Ready], Ready),
            (Acknowledged, "READ", vec![], Acknowledged),
            (Acknowledged, "ready\n", vec![not_ready.clone()], Unknown),
            (Acknowledged, "READY\r\n", vec![not_ready], Unknown),
            (
                Acknowledged,
                "READY\nx",
                vec![Said::Ready, unasked.clone()],
                Unknown,
            ),
            (Ready, "READY\n", vec![unasked], Unknown),
            (Busy, "RESULT 2\nOK", vec![result("OK")], Acknowledged),
            (
                Busy,
                "RESULT 2\nOKREADY\n",
                vec![result("OK"), Said::Ready],
                Ready,
            ),
            (Busy, "RESULT  2 \nOK", vec![result("OK")], Acknowledged),
            (Busy, "XXXXXXX2\n", vec![nonsense("XXXXXXX2")], Unknown),
            (Busy, "RESULT +2\n", vec![nonsense("RESULT +2")], Unknown),
            (Adopted, "RESULT 2\nOKREADY\n", vec![Said::Ready], Ready),
            (Busy, "RESULT 0\n", vec![result("")], Acknowledged),
            (
                Busy,
                "RESULT 4\nOK\n\n",
                vec![result("OK\n\n")],
                Acknowledged,
            ),
            (Busy, "RESULT 3\nOK", vec![], Busy),
            (Busy, "WAT\n", vec![nonsense("WAT")], Unknown),
            (Busy, "RESULT x\n", vec![nonsense("RESULT x")], Unknown),
            (Busy, "RESULT -1\n", vec![nonsense("RESULT -1")], Unknown),
            (
                Busy,
                "RESULT 9999999\n",
                vec![nonsense("RESULT 9999999")],
                Unknown,
            ),
            (Resuming, "RESULT 2\nOKREADY\n", vec![Said::Ready], Ready),
            (Resuming, "KREADREADY\n", vec![Said::Ready], Ready),
            (Resuming, "RESULT 2\nOK", vec![], Resuming),
            (Unknown, "READY\n", vec![], Unknown),
        ] {
            let mut parser = Parser::at(stage);
            assert_eq!(parser.feed(bytes.as_bytes()), said, "{stage:?} {bytes:?}");
            assert_eq!(parser.stage(), then, "{stage:?} {bytes:?}");
        }
    }

    #[test]
    fn one_answer_to_an_event_of_a_former_agent_is_let_pass() {
        let mut parser = Parser::at(Stage::Adopted);
        parser.give();
        // It had one that nobody knows of, and takes ours after it.
        let said = [result("OK"), Said::Ready, Said::Ready];
        assert_eq!(parser.feed(b"RESULT 2\nOKREADY\nRESULT 2\nOKREADY\n"), said);
        assert_eq!(parser.feed(b"READY\n"), [Said::Nonsense(Nonsense::Unasked)]);
    }

    #[test]
    fn a_line_without_end_is_not_collected() {
        let mut parser = Parser::at(Stage::Busy);
        let said = parser.feed(&[b'x'; 10 * LINE]);
        assert_eq!(said, [nonsense(&"x".repeat(LINE))]);
        assert!(parser.buffer.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn it_means_the_same_however_it_is_cut(
            parts in proptest::collection::vec("(READY\n|RESULT 2\nOK|RESULT [0-9]\n|[A-Z\n]{1,3})", 0..12),
            cuts in proptest::collection::vec(1_usize..9, 1..40),
            at in 0_usize..4,
        ) {
            let stage = [Stage::Acknowledged, Stage::Ready, Stage::Busy, Stage::Resuming][at];
            let bytes = parts.concat().into_bytes();
            let mut whole = Parser::at(stage);
            let expected = whole.feed(&bytes);
            let mut pieces = Parser::at(stage);
            let mut said = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                said.extend(pieces.feed(now));
                rest = later;
            }
            proptest::prop_assert_eq!(said, expected);
            proptest::prop_assert_eq!(pieces.stage(), whole.stage());
        }
    }
}
