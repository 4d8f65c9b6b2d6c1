//! Which lines are shown: those that match, by regular expressions over their bytes. Pure.
//!
//! A line is judged when it is whole, so that what is shown may come a line later than it would without.

use std::collections::BTreeMap;

use regex::bytes::Regex;
use rsv_proto::wire::{Cursor, tail_response::Chunk};

use super::display::LONGEST_LINE;
use crate::error::Failure;

/// Lines that are wanted and those that are not, and what of each source is not yet a line.
#[derive(Debug, Default)]
pub(in crate::command) struct Filter {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    pending: BTreeMap<(String, String), Chunk>,
}

impl Filter {
    /// Reads the expressions.
    pub(super) fn new(include: &[String], exclude: &[String]) -> Result<Self, Failure> {
        Ok(Self {
            include: compiled("--include", include)?,
            exclude: compiled("--exclude", exclude)?,
            pending: BTreeMap::new(),
        })
    }

    /// Whether every line is shown.
    pub(super) fn is_open(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Takes bytes of a source, and gives the whole lines of it that are wanted, at their places.
    pub(super) fn pass(&mut self, host: &str, program: &str, chunk: &Chunk) -> Vec<Chunk> {
        let source = (host.to_owned(), program.to_owned());
        let pending = self.pending.entry(source).or_default();
        if pending.data.is_empty() {
            pending.at.clone_from(&chunk.at);
        }
        pending.live = chunk.live;
        pending.data.extend_from_slice(&chunk.data);
        let whole = match pending.data.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if pending.data.len() > LONGEST_LINE => pending.data.len(),
            None => return Vec::new(),
        };
        let lines = Chunk {
            at: pending.at.clone(),
            data: pending.data.drain(..whole).collect(),
            live: chunk.live,
        };
        pending.at = moved(lines.at.as_ref(), whole);
        self.wanted(&lines)
    }

    /// How many bytes of a source are not yet a line.
    pub(super) fn kept(&self, host: &str, program: &str) -> usize {
        let source = (host.to_owned(), program.to_owned());
        self.pending.get(&source).map_or(0, |kept| kept.data.len())
    }

    /// What is left of a source, of which nothing more comes here.
    pub(super) fn end(&mut self, host: &str, program: &str) -> Vec<Chunk> {
        let source = (host.to_owned(), program.to_owned());
        let rest = self.pending.remove(&source);
        rest.map(|rest| self.wanted(&rest)).unwrap_or_default()
    }

    /// What is left of every source.
    pub(super) fn finish(&mut self) -> Vec<(String, String, Chunk)> {
        let rests = std::mem::take(&mut self.pending).into_iter();
        let wanted = rests.flat_map(|((host, program), rest)| {
            let chunks = self.wanted(&rest).into_iter();
            chunks.map(move |chunk| (host.clone(), program.clone(), chunk))
        });
        wanted.collect()
    }

    fn wanted(&self, lines: &Chunk) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut offset = 0;
        for line in lines.data.split_inclusive(|byte| *byte == b'\n') {
            if self.is_wanted(line.strip_suffix(b"\n").unwrap_or(line)) {
                chunks.push(Chunk {
                    at: moved(lines.at.as_ref(), offset),
                    data: line.to_vec(),
                    live: lines.live,
                });
            }
            offset += line.len();
        }
        chunks
    }

    fn is_wanted(&self, line: &[u8]) -> bool {
        let is_included =
            self.include.is_empty() || self.include.iter().any(|re| re.is_match(line));
        is_included && !self.exclude.iter().any(|re| re.is_match(line))
    }
}

fn compiled(flag: &str, expressions: &[String]) -> Result<Vec<Regex>, Failure> {
    let compiled = expressions.iter().map(|text| {
        Regex::new(text).map_err(|error| {
            // The last line says what is wrong, those before it point to the place.
            let error = error.to_string();
            let what = error.lines().last().unwrap_or_default();
            let what = what.strip_prefix("error: ").unwrap_or(what);
            Failure::usage(format!("`{flag} {text}` is no regular expression: {what}"))
                .hint("a `\\` before it takes a character as it is: '\\[error\\]'")
        })
    });
    compiled.collect()
}

fn moved(at: Option<&Cursor>, by: usize) -> Option<Cursor> {
    at.map(|at| Cursor {
        log_id: at.log_id.clone(),
        offset: at.offset.saturating_add(by as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tail::pieces::tests::chunk;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude)).expect("expressions")
    }

    fn shown(chunks: &[Chunk]) -> Vec<(u64, String)> {
        let place = |chunk: &Chunk| chunk.at.as_ref().map_or(0, |at| at.offset);
        let text = |chunk: &Chunk| String::from_utf8_lossy(&chunk.data).into_owned();
        chunks
            .iter()
            .map(|chunk| (place(chunk), text(chunk)))
            .collect()
    }

    #[test]
    fn lines_are_judged_whole_wherever_they_are_cut() {
        let text = b"ok 1\nbad 2\nok 3\nbad but wanted\n";
        let expected = [(0, "ok 1\n".to_owned()), (11, "ok 3\n".to_owned())];
        for cut in 0..text.len() {
            let mut filter = filter(&["^ok", "wanted$"], &["^bad"]);
            let mut all = filter.pass("h", "p", &chunk(0, &text[..cut]));
            all.extend(filter.pass("h", "p", &chunk(cut as u64, &text[cut..])));
            assert_eq!(shown(&all), expected, "cut at {cut}");
        }
    }

    #[test]
    fn sources_do_not_mix_and_ends_are_judged_too() {
        let mut filter = filter(&["x"], &[]);
        assert!(filter.pass("a", "p", &chunk(0, b"x1")).is_empty());
        assert!(filter.pass("b", "p", &chunk(9, b"y")).is_empty());
        assert_eq!(shown(&filter.end("a", "p")), [(0, "x1".to_owned())]);
        assert!(filter.finish().is_empty());
    }

    #[test]
    fn a_line_without_end_is_judged_in_pieces() {
        let mut filter = filter(&["x"], &[]);
        let long = vec![b'x'; LONGEST_LINE + 1];
        assert_eq!(filter.pass("a", "p", &chunk(0, &long)).len(), 1);
        assert_eq!(
            shown(&filter.pass("a", "p", &chunk(LONGEST_LINE as u64 + 1, b"x\n"))).len(),
            1
        );
    }

    #[test]
    fn bytes_that_are_no_text_can_be_matched() {
        let mut filter = filter(&["b$"], &[]);
        assert_eq!(filter.pass("a", "p", &chunk(0, b"\xff\xfeb\n")).len(), 1);
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_flag() {
        let error = Filter::new(&["a(".to_owned()], &[]).expect_err("it is none");
        assert_eq!(
            error.to_string(),
            "`--include a(` is no regular expression: unclosed group"
        );
    }
}
