//! Joins the pieces of one followed output so that nothing is repeated and every loss is said. Pure.
//!
//! An agent that comes back is asked to go on where the reader stands. What it then sends is not taken on
//! trust: bytes that were delivered are cut off, bytes that are missing become a gap.

use rsv_proto::wire::{
    Cursor,
    tail_response::{Chunk, Event, Gap},
};

/// Where one reader stands in one output.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seam {
    next: Option<Cursor>,
}

impl Seam {
    /// Where the reader goes on; absent: nothing has been delivered yet.
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }

    /// What is to be delivered of an event that has arrived.
    pub(super) fn join(&mut self, event: Event) -> Vec<Event> {
        match event {
            Event::Chunk(chunk) => self.chunk(chunk),
            Event::Begin(begin) => {
                if begin.at.is_some() {
                    self.next.clone_from(&begin.at);
                }
                vec![Event::Begin(begin)]
            }
            Event::Gap(gap) => {
                if gap.at.is_some() {
                    self.next.clone_from(&gap.at);
                }
                vec![Event::Gap(gap)]
            }
            Event::End(end) => vec![Event::End(end)],
            // That is the controller's to say.
            Event::Away(_) | Event::Back(_) => Vec::new(),
        }
    }

    fn chunk(&mut self, mut chunk: Chunk) -> Vec<Event> {
        let Some(at) = chunk.at.clone() else {
            return vec![Event::Chunk(chunk)];
        };
        let length = chunk.data.len() as u64;
        let end = at.offset.saturating_add(length);
        let mut events = Vec::new();
        match self.next.take() {
            Some(next) if next.log_id != at.log_id => {
                events.push(gap(&at, None, "the log began anew"));
            }
            Some(next) if at.offset > next.offset => {
                events.push(gap(
                    &at,
                    Some(at.offset - next.offset),
                    "not sent by the host",
                ));
            }
            Some(next) if end <= next.offset => {
                self.next = Some(next);
                return Vec::new();
            }
            Some(next) if at.offset < next.offset => {
                let known = usize::try_from(next.offset - at.offset).unwrap_or(usize::MAX);
                chunk.data.drain(..known.min(chunk.data.len()));
                chunk.at = Some(Cursor {
                    log_id: at.log_id.clone(),
                    offset: next.offset,
                });
            }
            Some(_) | None => {}
        }
        self.next = Some(Cursor {
            log_id: at.log_id,
            offset: end,
        });
        events.push(Event::Chunk(chunk));
        events
    }
}

fn gap(at: &Cursor, bytes: Option<u64>, reason: &str) -> Event {
    Event::Gap(Gap {
        at: Some(at.clone()),
        bytes,
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(log: &str, offset: u64, data: &[u8]) -> Event {
        let at = Some(Cursor {
            log_id: log.into(),
            offset,
        });
        Event::Chunk(Chunk {
            at,
            data: data.to_vec(),
            live: false,
        })
    }

    fn words(events: &[Event]) -> Vec<String> {
        let word = |event: &Event| match event {
            Event::Chunk(c) => String::from_utf8_lossy(&c.data).into_owned(),
            Event::Gap(g) => format!("<{:?} {}>", g.bytes, g.reason),
            Event::End(_) => "end".into(),
            Event::Away(_) | Event::Back(_) | Event::Begin(_) => "link".into(),
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn repeated_bytes_are_cut_off_and_missing_ones_said() {
        let mut seam = Seam::default();
        let mut said = Vec::new();
        for event in [
            chunk("a", 10, b"0123"),
            chunk("a", 10, b"0123"),
            chunk("a", 12, b"2345"),
            chunk("a", 20, b"x"),
            chunk("b", 0, b"y"),
        ] {
            said.extend(seam.join(event));
        }
        assert_eq!(
            words(&said),
            [
                "0123",
                "45",
                "<Some(4) not sent by the host>",
                "x",
                "<None the log began anew>",
                "y"
            ]
        );
        assert_eq!(
            seam.cursor().map(|c| (c.log_id.as_str(), c.offset)),
            Some(("b", 1))
        );
    }

    #[test]
    fn a_gap_that_the_host_says_is_not_said_twice() {
        let mut seam = Seam::default();
        seam.join(chunk("a", 0, b"01"));
        let at = Some(Cursor {
            log_id: "a".into(),
            offset: 50,
        });
        let gap = Gap {
            at,
            bytes: Some(48),
            reason: "rotated away".into(),
        };
        let mut said = seam.join(Event::Gap(gap));
        said.extend(seam.join(chunk("a", 50, b"z")));
        assert_eq!(words(&said), ["<Some(48) rotated away>", "z"]);
    }

    proptest! {
        /// Whatever pieces come in whatever order, what is delivered ascends, and gaps account for the rest.
        #[test]
        fn what_is_delivered_ascends_and_gaps_account_for_the_rest(
            pieces in prop::collection::vec((0..60u64, 0..10usize), 1..30),
        ) {
            let text: Vec<u8> = (0..80).collect();
            let mut seam = Seam::default();
            let mut position = None;
            for (offset, length) in pieces {
                let data = &text[offset as usize..offset as usize + length];
                for event in seam.join(chunk("a", offset, data)) {
                    match event {
                        Event::Chunk(c) => {
                            let at = c.at.unwrap().offset;
                            let expected = position.unwrap_or(at);
                            prop_assert_eq!(at, expected);
                            prop_assert_eq!(&c.data[..], &text[at as usize..at as usize + c.data.len()]);
                            position = Some(at + c.data.len() as u64);
                        }
                        Event::Gap(g) => {
                            let at = g.at.unwrap().offset;
                            prop_assert_eq!(position.unwrap() + g.bytes.unwrap(), at);
                            position = Some(at);
                        }
                        Event::End(_) | Event::Away(_) | Event::Back(_) | Event::Begin(_) => {
                            prop_assert!(false);
                        }
                    }
                }
            }
        }
    }
}
