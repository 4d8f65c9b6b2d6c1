//! How output is shown: the bytes of one source as they are, several sources by whole lines, each
//! behind the name of its source.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};
use rsv_proto::wire::tail_response::{Chunk, Gap};

use super::{
    filter::Filter,
    neutral::Neutral,
    pieces::{Piece, Pieces},
    source_name,
};
use crate::{
    args::Output,
    error::Failure,
    json,
    ui::{FAINT, Ui, printable},
};

/// The longest line that is kept together: a program that never ends a line must not fill the
/// memory. A longer one is shown in pieces.
pub(super) const LONGEST_LINE: usize = 64 * 1024;

/// Colours of sources; a source has the same one in every run.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Magenta,
    AnsiColor::BrightCyan,
];

/// Shows output.
#[derive(Debug)]
pub(in crate::command) struct Display {
    form: Form,
    is_neutral: bool,
    filter: Filter,
}

/// How it is to be shown.
#[derive(Debug, Clone, Copy)]
pub(in crate::command) struct How {
    /// Whether there can only be one source.
    pub(in crate::command) single: bool,
    /// Whether control characters stay as they are on a terminal, too.
    pub(in crate::command) raw: bool,
    /// Whether it goes on as it is written.
    pub(in crate::command) follow: bool,
    /// What scripts know it by.
    pub(in crate::command) schema: &'static str,
}

#[derive(Debug)]
enum Form {
    /// One source, as it is.
    Raw(Neutral),
    /// Several sources by name: what of each is not yet a line.
    Lines(BTreeMap<String, Vec<u8>>),
    /// Objects for scripts.
    Json(Pieces),
}

impl Display {
    /// On a terminal control characters are spelled out unless they are wanted as they are.
    pub(in crate::command) fn new(ui: &Ui, how: How, filter: Filter) -> Self {
        let form = match (ui.output(), how.single) {
            (Output::Json, _) => Form::Json(Pieces::new(how.schema, !how.follow)),
            (Output::Jsonl, _) => Form::Json(Pieces::new(how.schema, false)),
            (Output::Table, true) => Form::Raw(Neutral::default()),
            (Output::Table, false) => Form::Lines(BTreeMap::new()),
        };
        Self {
            form,
            is_neutral: ui.out_is_terminal() && !how.raw,
            filter,
        }
    }

    /// Bytes of a source.
    pub(in crate::command) fn chunk(
        &mut self,
        ui: &mut Ui,
        host: &str,
        program: &str,
        chunk: &Chunk,
    ) -> Result<(), Failure> {
        if self.filter.is_open() {
            return self.show(ui, host, program, chunk);
        }
        for line in self.filter.pass(host, program, chunk) {
            self.show(ui, host, program, &line)?;
        }
        Ok(())
    }

    /// Bytes that are wanted.
    fn show(
        &mut self,
        ui: &mut Ui,
        host: &str,
        program: &str,
        chunk: &Chunk,
    ) -> Result<(), Failure> {
        match &mut self.form {
            Form::Raw(_) if !self.is_neutral => ui.bytes(&chunk.data),
            Form::Raw(neutral) => {
                let mut shown = Vec::with_capacity(chunk.data.len());
                neutral.pass(&chunk.data, &mut shown);
                ui.bytes(&shown)
            }
            Form::Lines(pending) => {
                let source = source_name(host, program);
                let rest = pending.entry(source.clone()).or_default();
                rest.extend_from_slice(&chunk.data);
                let whole = match rest.iter().rposition(|byte| *byte == b'\n') {
                    Some(last) => last + 1,
                    None if rest.len() > LONGEST_LINE => rest.len(),
                    None => 0,
                };
                let lines: Vec<u8> = rest.drain(..whole).collect();
                show_lines(ui, &source, &lines, self.is_neutral)
            }
            Form::Json(pieces) => print_piece(ui, pieces.pass(host, program, chunk)),
        }
    }

    /// Bytes of a source that are lost.
    pub(in crate::command) fn gap(
        &mut self,
        ui: &mut Ui,
        host: &str,
        program: &str,
        gap: &Gap,
    ) -> Result<(), Failure> {
        self.rest(ui, host, program)?;
        match &mut self.form {
            Form::Raw(_) => {
                ui.say(&gap_words(gap));
                Ok(())
            }
            Form::Lines(_) => {
                self.end(ui, host, program)?;
                let source = source_name(host, program);
                let line = prefix(ui, &source) + &ui.paint(FAINT, &gap_words(gap));
                ui.line(&line)
            }
            Form::Json(pieces) => {
                print_piece(ui, pieces.rest(host, program))?;
                json::print(ui, &pieces.gap(host, program, gap))
            }
        }
    }

    /// Nothing more comes from a source, or not at this place: what there is of a line is shown.
    pub(super) fn end(&mut self, ui: &mut Ui, host: &str, program: &str) -> Result<(), Failure> {
        self.rest(ui, host, program)?;
        match &mut self.form {
            Form::Raw(_) => Ok(()),
            Form::Lines(pending) => {
                let source = source_name(host, program);
                match pending.remove(&source) {
                    Some(rest) => show_lines(ui, &source, &rest, self.is_neutral),
                    None => Ok(()),
                }
            }
            Form::Json(pieces) => print_piece(ui, pieces.rest(host, program)),
        }
    }

    /// A source was read to its end; scripts hear of one that has nothing, too.
    pub(in crate::command) fn read_all(
        &mut self,
        ui: &mut Ui,
        host: &str,
        program: &str,
    ) -> Result<(), Failure> {
        match &mut self.form {
            Form::Raw(_) | Form::Lines(_) => Ok(()),
            Form::Json(pieces) => print_piece(ui, pieces.end(host, program)),
        }
    }

    /// What the filter has kept of a source.
    fn rest(&mut self, ui: &mut Ui, host: &str, program: &str) -> Result<(), Failure> {
        for rest in self.filter.end(host, program) {
            self.show(ui, host, program, &rest)?;
        }
        Ok(())
    }

    /// Nothing more comes at all.
    pub(super) fn finish(&mut self, ui: &mut Ui) -> Result<(), Failure> {
        for (host, program, rest) in self.filter.finish() {
            self.show(ui, &host, &program, &rest)?;
        }
        match &mut self.form {
            Form::Raw(_) => Ok(()),
            Form::Lines(pending) => std::mem::take(pending)
                .into_iter()
                .try_for_each(|(source, rest)| show_lines(ui, &source, &rest, self.is_neutral)),
            Form::Json(pieces) => json::print_lines(ui, &pieces.finish()),
        }
    }
}

fn print_piece(ui: &mut Ui, piece: Option<Piece>) -> Result<(), Failure> {
    piece.map_or(Ok(()), |piece| json::print(ui, &piece))
}

fn show_lines(ui: &mut Ui, source: &str, text: &[u8], is_neutral: bool) -> Result<(), Failure> {
    if text.is_empty() {
        return Ok(());
    }
    let prefix = prefix(ui, source);
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut shown = Vec::with_capacity(text.len() + prefix.len() + 1);
    for line in text.split(|byte| *byte == b'\n') {
        shown.extend_from_slice(prefix.as_bytes());
        match is_neutral {
            true => Neutral::default().pass(line, &mut shown),
            false => shown.extend_from_slice(line),
        }
        shown.push(b'\n');
    }
    ui.bytes(&shown)
}

fn prefix(ui: &Ui, source: &str) -> String {
    let source = printable(source);
    format!("{} | ", ui.paint(color_of(&source), &source))
}

/// A colour by the name alone (FNV-1a), so that it is the same in every run.
fn color_of(source: &str) -> Style {
    let hash = source
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    let index = usize::try_from(hash % COLORS.len() as u64).unwrap_or(0);
    COLORS[index].on_default()
}

fn gap_words(gap: &Gap) -> String {
    let bytes = match gap.bytes {
        Some(bytes) => format!("{bytes} bytes"),
        None => "of unknown size".to_owned(),
    };
    match gap.reason.as_str() {
        "" => format!("-- gap {bytes} --"),
        reason => format!("-- gap {bytes} ({}) --", printable(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_its_size_and_cause() {
        let gap = |bytes, reason: &str| Gap {
            at: None,
            bytes,
            reason: reason.into(),
        };
        assert_eq!(
            gap_words(&gap(Some(4096), "rotated away")),
            "-- gap 4096 bytes (rotated away) --"
        );
        assert_eq!(gap_words(&gap(None, "")), "-- gap of unknown size --");
    }

    #[test]
    fn a_source_keeps_its_colour() {
        assert_eq!(color_of("web01 app"), color_of("web01 app"));
    }
}
