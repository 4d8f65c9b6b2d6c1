//! One event as one line: `YYYY-MM-DD HH:MM:SS,mmm LEVL message`, in local time.

use std::fmt::{self, Write as _};

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

use super::{CRITICAL, SUPERVISOR};

/// Formats an event with its line break. Line breaks and other control characters inside of it are
/// escaped, so that nothing that came from outside can forge a line.
pub(super) fn format(at: &Zoned, event: &Event<'_>) -> String {
    let target = event.metadata().target();
    let mut collected = Collected::default();
    event.record(&mut collected);
    let mut line = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let level = level_word(event.metadata().level(), target);
    push(&mut line, format_args!(",{:03} {level} ", at.millisecond()));
    push_visible(&mut line, &collected.message);
    if !is_verbatim(event.metadata()) {
        push_visible(&mut line, &collected.fields);
    }
    line.push('\n');
    line
}

/// Where the hub words what happens to programs: in Supervisor's words, from INFO on.
const WORDS: [&str; 2] = ["rsv_agent::hub::words", "rsv_agent::hub::stopping"];

fn is_verbatim(metadata: &Metadata<'_>) -> bool {
    match metadata.target() {
        SUPERVISOR | CRITICAL => true,
        target => WORDS.contains(&target) && *metadata.level() <= Level::INFO,
    }
}

fn level_word(level: &Level, target: &str) -> &'static str {
    match *level {
        _ if target == CRITICAL => "CRIT",
        Level::ERROR => "ERRO",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBG",
        Level::TRACE => "TRAC",
    }
}

fn push(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a string succeeds");
}

fn push_visible(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\t' => line.push(c),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
}

/// The message, and the other fields as ` key=value`.
#[derive(Default)]
struct Collected {
    message: String,
    fields: String,
}

impl Collected {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        match field.name() {
            "message" => push(&mut self.message, value),
            // Names with a dot are for the trace exporter.
            name if name.contains('.') => {}
            name => push(&mut self.fields, format_args!(" {name}={value}")),
        }
    }
}

impl Visit for Collected {
    fn record_str(&mut self, field: &Field, value: &str) {
        // A fact that is not there, such as the host's name where there is no fleet.
        if value.is_empty() {
            return;
        }
        if value.contains([' ', '"']) && field.name() != "message" {
            self.add(field, format_args!("{value:?}"));
        } else {
            self.add(field, format_args!("{value}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            push(&mut text, format_args!(": {cause}"));
            source = cause.source();
        }
        self.add(field, format_args!("{text:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() != "message" && text.contains(' ') && !text.starts_with('"') {
            self.add(field, format_args!("{text:?}"));
        } else {
            self.add(field, format_args!("{text}"));
        }
    }
}
