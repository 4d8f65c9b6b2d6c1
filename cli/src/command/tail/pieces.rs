//! Output as scripts read it: one object for each piece. Characters are kept whole, and what is not
//! followed is put together again: one object for each source, or for each mebibyte of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use rsv_proto::wire::{
    Cursor,
    tail_response::{Chunk, Gap},
};
use serde::Serialize;

use crate::json;

/// The most bytes of one object.
const MOST: usize = 1024 * 1024;

/// The most bytes that are held back of all sources together; with more, they are told as they come.
const ALL: usize = 8 * MOST;

/// A piece of output for scripts.
#[derive(Debug, Serialize)]
pub(super) struct Piece {
    schema: &'static str,
    host: Option<String>,
    program: String,
    log_id: String,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// When it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Lost>,
}

/// Bytes that are lost to this reader.
#[derive(Debug, Serialize)]
struct Lost {
    bytes: Option<u64>,
    reason: String,
}

/// Host and program.
type Source = (String, String);

/// What of each source is not told yet.
#[derive(Debug)]
pub(super) struct Pieces {
    schema: &'static str,
    /// Whether pieces of a source are put together.
    joins: bool,
    pending: BTreeMap<Source, Chunk>,
    /// Bytes of all of them.
    held: usize,
    /// Sources of which something was told.
    told: BTreeSet<Source>,
}

impl Pieces {
    /// Told as they come, or put together.
    pub(super) fn new(schema: &'static str, joins: bool) -> Self {
        Self {
            schema,
            joins,
            pending: BTreeMap::new(),
            held: 0,
            told: BTreeSet::new(),
        }
    }

    /// Takes bytes of a source, and gives what can be told.
    pub(super) fn pass(&mut self, host: &str, program: &str, chunk: &Chunk) -> Option<Piece> {
        let source = (host.to_owned(), program.to_owned());
        let pending = self.pending.entry(source.clone()).or_default();
        if pending.data.is_empty() {
            pending.at.clone_from(&chunk.at);
        }
        pending.data.extend_from_slice(&chunk.data);
        self.held += chunk.data.len();
        if self.joins && pending.data.len() < MOST && self.held < ALL {
            return None;
        }
        let whole = pending.data.len() - begun(&pending.data);
        if whole == 0 {
            return None;
        }
        self.held -= whole;
        let at = pending.at.clone();
        let data: Vec<u8> = pending.data.drain(..whole).collect();
        pending.at = at.as_ref().map(|at| Cursor {
            log_id: at.log_id.clone(),
            offset: at.offset.saturating_add(whole as u64),
        });
        Some(self.piece(source, at.as_ref(), &data))
    }

    /// How many bytes of a source are not told yet.
    pub(super) fn kept(&self, host: &str, program: &str) -> usize {
        let source = (host.to_owned(), program.to_owned());
        self.pending.get(&source).map_or(0, |kept| kept.data.len())
    }

    /// What is left of a source before a gap in it, or at its end.
    pub(super) fn rest(&mut self, host: &str, program: &str) -> Option<Piece> {
        let source = (host.to_owned(), program.to_owned());
        let chunk = self.pending.remove(&source)?;
        self.held -= chunk.data.len();
        let piece = || self.piece(source, chunk.at.as_ref(), &chunk.data);
        (!chunk.data.is_empty()).then(piece)
    }

    /// What is left of a source that was read to its end: something is told of it, if only that
    /// there is nothing.
    pub(super) fn end(&mut self, host: &str, program: &str) -> Option<Piece> {
        let source = (host.to_owned(), program.to_owned());
        let rest = self.rest(host, program);
        if rest.is_some() || !self.joins || self.told.contains(&source) {
            return rest;
        }
        Some(self.piece(source, None, b""))
    }

    /// What is left of every source.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let sources: Vec<Source> = self.pending.keys().cloned().collect();
        let rests = sources.iter();
        rests
            .filter_map(|(host, program)| self.rest(host, program))
            .collect()
    }

    /// Bytes of a source that are lost.
    pub(super) fn gap(&mut self, host: &str, program: &str, gap: &Gap) -> Piece {
        let source = (host.to_owned(), program.to_owned());
        let lost = Lost {
            bytes: gap.bytes,
            reason: gap.reason.clone(),
        };
        Piece {
            text: None,
            gap: Some(lost),
            ..self.piece(source, gap.at.as_ref(), b"")
        }
    }

    fn piece(&mut self, source: Source, at: Option<&Cursor>, data: &[u8]) -> Piece {
        let (host, program) = source.clone();
        self.told.insert(source);
        Piece {
            schema: self.schema,
            host: json::text(&host),
            program,
            log_id: at.map_or_else(String::new, |at| at.log_id.clone()),
            offset: at.map_or(0, |at| at.offset),
            text: Some(String::from_utf8_lossy(data).into_owned()),
            time: None,
            gap: None,
        }
    }
}

impl Piece {
    /// The same, with the time at which it came.
    pub(super) fn at(self, time: Option<String>) -> Self {
        Self { time, ..self }
    }
}

/// How many bytes at the end are the beginning of a character.
fn begun(data: &[u8]) -> usize {
    let last = data.utf8_chunks().last();
    let rest = last.map_or(&[][..], |chunk| chunk.invalid());
    // A character may lack bytes; what can be none any more is told as it is.
    match std::str::from_utf8(rest) {
        Err(error) if error.error_len().is_none() => rest.len(),
        _ => 0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::command::tail) fn chunk(offset: u64, data: &[u8]) -> Chunk {
        Chunk {
            at: Some(Cursor {
                log_id: "l".into(),
                offset,
            }),
            data: data.to_vec(),
            live: false,
        }
    }

    fn told(piece: Option<Piece>) -> Option<(u64, String)> {
        piece.map(|piece| (piece.offset, piece.text.unwrap_or_default()))
    }

    #[test]
    fn a_character_in_two_chunks_is_told_whole() {
        let mut pieces = Pieces::new("s", false);
        let first = pieces.pass("", "app", &chunk(10, "aé".as_bytes().split_at(2).0));
        assert_eq!(told(first), Some((10, "a".into())));
        assert_eq!(
            told(pieces.pass("", "app", &chunk(12, b"\xa9!"))),
            Some((11, "é!".into()))
        );
        assert_eq!(
            told(pieces.pass("", "app", &chunk(14, b"\xff"))),
            Some((14, "\u{fffd}".into()))
        );
        assert_eq!(told(pieces.pass("", "app", &chunk(15, b"\xf0\x9f"))), None);
        assert_eq!(told(pieces.end("", "app")), Some((15, "\u{fffd}".into())));
    }

    #[test]
    fn what_is_not_followed_is_one_object_for_each_source() {
        let mut pieces = Pieces::new("s", true);
        assert_eq!(told(pieces.pass("", "a", &chunk(0, b"one\n"))), None);
        assert_eq!(told(pieces.pass("", "b", &chunk(7, b"x"))), None);
        assert_eq!(told(pieces.pass("", "a", &chunk(4, b"two\n"))), None);
        assert_eq!(told(pieces.end("", "a")), Some((0, "one\ntwo\n".into())));
        assert_eq!(told(pieces.end("", "a")), None);
        assert_eq!(told(pieces.end("", "silent")), Some((0, String::new())));
        let rest: Vec<_> = pieces.finish().into_iter().map(|p| told(Some(p))).collect();
        assert_eq!(rest, [Some((7, "x".into()))]);
    }

    #[test]
    fn a_large_source_is_told_in_parts() {
        let mut pieces = Pieces::new("s", true);
        let part = vec![b'x'; MOST - 1];
        assert_eq!(told(pieces.pass("", "a", &chunk(0, &part))), None);
        let (offset, text) = told(pieces.pass("", "a", &chunk(MOST as u64 - 1, b"yz"))).unwrap();
        assert_eq!((offset, text.len()), (0, MOST + 1));
        assert_eq!(told(pieces.end("", "a")), None);
    }
}
