//! How output is shown: the bytes of one source as they are, several sources by whole lines, each
//! behind the name of its source; or a file for each source.

use std::{collections::BTreeMap, path::PathBuf};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use rsv_proto::{
    time::local_zone,
    wire::tail_response::{Chunk, Gap},
};

use super::{
    files::Files,
    filter::Filter,
    neutral::Neutral,
    pieces::{Piece, Pieces},
    source_name,
};
use crate::{
    args::{Output, Prefix},
    error::Failure,
    json,
    ui::{FAINT, Ui, printable},
};

/// The longest line that is kept together: a program that never ends a line must not fill the
/// memory. A longer one is shown in pieces.
pub(super) const LONGEST_LINE: usize = 64 * 1024;

/// The characters of a time.
const TIME_WIDTH: usize = "2026-01-01T00:00:00.000+00:00".len();

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
    shape: Shape,
    filter: Filter,
}

/// How it is to be shown.
#[derive(Debug, Default)]
pub(in crate::command) struct How {
    /// Whether there can only be one source.
    pub(in crate::command) single: bool,
    /// Whether control characters stay as they are on a terminal, too.
    pub(in crate::command) raw: bool,
    /// Whether it goes on as it is written.
    pub(in crate::command) follow: bool,
    /// What scripts know it by.
    pub(in crate::command) schema: &'static str,
    /// What stands before each line; absent: whatever tells several sources apart.
    pub(in crate::command) prefix: Option<Prefix>,
    /// Whether each line begins with the time at which it came.
    pub(in crate::command) timestamps: bool,
    /// Where the output goes instead of being shown.
    pub(in crate::command) directory: Option<PathBuf>,
}

/// How a line looks.
#[derive(Debug, Clone)]
struct Shape {
    prefix: Prefix,
    timestamps: bool,
    is_neutral: bool,
    zone: TimeZone,
}

#[derive(Debug)]
enum Form {
    /// One source, as it is.
    Raw(Neutral),
    /// Whole lines of several sources, with what of each is not yet a line.
    Lines(BTreeMap<(String, String), Vec<u8>>),
    /// Objects for scripts.
    Json(Pieces),
    /// A file for each source.
    Files(Files),
}

impl Display {
    /// On a terminal control characters are spelled out unless they are wanted as they are.
    pub(in crate::command) fn new(ui: &Ui, how: How, filter: Filter) -> Self {
        let is_plain = how.single && !how.timestamps && how.prefix.is_none_or(Prefix::is_none);
        let form = match (how.directory, ui.output()) {
            (Some(directory), _) => Form::Files(Files::new(directory)),
            (None, Output::Json) => Form::Json(Pieces::new(how.schema, !how.follow)),
            (None, Output::Jsonl) => Form::Json(Pieces::new(how.schema, false)),
            (None, Output::Table) if is_plain => Form::Raw(Neutral::default()),
            (None, Output::Table) => Form::Lines(BTreeMap::new()),
        };
        let unless_said = match how.single {
            true => Prefix::None,
            false => Prefix::Full,
        };
        let shape = Shape {
            prefix: how.prefix.unwrap_or(unless_said),
            timestamps: how.timestamps,
            is_neutral: ui.out_is_terminal() && !how.raw,
            zone: local_zone(),
        };
        Self {
            form,
            shape,
            filter,
        }
    }

    /// How many bytes of a source have come and are not shown yet.
    pub(super) fn kept(&self, host: &str, program: &str) -> usize {
        let pending = match &self.form {
            Form::Raw(_) | Form::Files(_) => 0,
            Form::Lines(pending) => {
                let source = (host.to_owned(), program.to_owned());
                pending.get(&source).map_or(0, Vec::len)
            }
            Form::Json(pieces) => pieces.kept(host, program),
        };
        self.filter.kept(host, program) + pending
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
        let shape = &self.shape;
        match &mut self.form {
            Form::Raw(_) if !shape.is_neutral => ui.bytes(&chunk.data),
            Form::Raw(neutral) => {
                let mut shown = Vec::with_capacity(chunk.data.len());
                neutral.pass(&chunk.data, &mut shown);
                ui.bytes(&shown)
            }
            Form::Lines(pending) => {
                let source = (host.to_owned(), program.to_owned());
                let rest = pending.entry(source).or_default();
                rest.extend_from_slice(&chunk.data);
                let whole = match rest.iter().rposition(|byte| *byte == b'\n') {
                    Some(last) => last + 1,
                    None if rest.len() > LONGEST_LINE => rest.len(),
                    None => 0,
                };
                let lines: Vec<u8> = rest.drain(..whole).collect();
                let prefix = shape.prefix_of(ui, host, program) + &shape.time(chunk.live);
                show_lines(ui, &prefix, &lines, shape.is_neutral)
            }
            Form::Files(files) => {
                let time = shape.time(chunk.live);
                files.write(host, program, &chunk.data, &time)
            }
            Form::Json(pieces) => {
                let piece = pieces.pass(host, program, chunk);
                let time = shape.json_time(chunk.live);
                print_piece(ui, piece.map(|piece| piece.at(time)))
            }
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
            Form::Files(_) => {
                let source = source_name(host, program);
                ui.say(&format!("{}: {}", printable(&source), gap_words(gap)));
                Ok(())
            }
            Form::Lines(_) => {
                self.end(ui, host, program)?;
                let prefix = self.shape.prefix_of(ui, host, program);
                ui.line(&(prefix + &ui.paint(FAINT, &gap_words(gap))))
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
            Form::Raw(_) | Form::Files(_) => Ok(()),
            Form::Lines(pending) => {
                let source = (host.to_owned(), program.to_owned());
                match pending.remove(&source) {
                    Some(rest) => self.shape.show_rest(ui, &source, &rest),
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
            Form::Raw(_) | Form::Lines(_) | Form::Files(_) => Ok(()),
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
            Form::Raw(_) | Form::Files(_) => Ok(()),
            Form::Lines(pending) => std::mem::take(pending)
                .into_iter()
                .try_for_each(|(source, rest)| self.shape.show_rest(ui, &source, &rest)),
            Form::Json(pieces) => json::print_lines(ui, &pieces.finish()),
        }
    }
}

impl Shape {
    /// What stands in front of a line, in the colour of its source.
    fn prefix_of(&self, ui: &Ui, host: &str, program: &str) -> String {
        let source = match self.prefix {
            Prefix::None => return String::new(),
            Prefix::Host => host.to_owned(),
            Prefix::Full => source_name(host, program),
        };
        let source = printable(&source);
        match source.is_empty() {
            true => String::new(),
            false => format!("{} | ", ui.paint(color_of(&source), &source)),
        }
    }

    /// The time at which something comes; what was there before is of an unknown one.
    fn time(&self, is_live: bool) -> String {
        match (self.timestamps, is_live) {
            (false, _) => String::new(),
            (true, true) => format!("{} ", self.now()),
            (true, false) => format!("{:TIME_WIDTH$} ", "-"),
        }
    }

    fn json_time(&self, is_live: bool) -> Option<String> {
        (self.timestamps && is_live).then(|| self.now())
    }

    fn now(&self) -> String {
        let now = Timestamp::now().to_zoned(self.zone.clone());
        now.strftime("%FT%T%.3f%:z").to_string()
    }

    /// What is left of a source, which is no whole line.
    fn show_rest(
        &self,
        ui: &mut Ui,
        source: &(String, String),
        rest: &[u8],
    ) -> Result<(), Failure> {
        let prefix = self.prefix_of(ui, &source.0, &source.1) + &self.time(false);
        show_lines(ui, &prefix, rest, self.is_neutral)
    }
}

fn print_piece(ui: &mut Ui, piece: Option<Piece>) -> Result<(), Failure> {
    piece.map_or(Ok(()), |piece| json::print(ui, &piece))
}

fn show_lines(ui: &mut Ui, prefix: &str, text: &[u8], is_neutral: bool) -> Result<(), Failure> {
    if text.is_empty() {
        return Ok(());
    }
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
