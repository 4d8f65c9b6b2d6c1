//! Files that are not in the dialect at all: our errors, one a line, and Supervisor's single text.

use std::path::Path;

use crate::dialect::{DialectError, LineError};
use crate::error::{ConfigError, Place, repr};

/// One error for each bad line; each carries the whole of Supervisor's text.
pub(super) fn errors(error: &DialectError, file: &Path) -> Vec<ConfigError> {
    let quoted = repr(&file.to_string_lossy());
    let place = |line| Place {
        file: Some(file.to_owned()),
        line: Some(line),
        ..Place::default()
    };
    let one = |text: &str, bad: &LineError| {
        ConfigError::new(text)
            .at(place(bad.line))
            .found(bad.text.trim_end())
    };
    match error {
        DialectError::NotUtf8 { line, .. } => vec![
            ConfigError::new(error.to_string())
                .at(place(*line))
                .accepted("UTF-8 text")
                .supervisor(format!("{error} (file: {quoted})")),
        ],
        DialectError::NoSectionHeader(bad) => vec![
            one("text before the first section header", bad)
                .accepted("a section header such as [supervisord]")
                .supervisor(format!(
                    "File contains no section headers.\nfile: {quoted}, line: {}\n{}",
                    bad.line,
                    repr(&bad.text)
                )),
        ],
        DialectError::BadLines(lines) => {
            let mut supervisor = format!("Source contains parsing errors: {quoted}");
            for bad in lines {
                supervisor.push_str(&format!("\n\t[line {:2}]: {}", bad.line, repr(&bad.text)));
            }
            lines
                .iter()
                .map(|bad| {
                    one("neither a section header nor a key with a value", bad)
                        .accepted("[section], key = value, or an indented continuation")
                        .supervisor(supervisor.clone())
                })
                .collect()
        }
        DialectError::Bridge(_) => vec![ConfigError::new(error.to_string()).at(Place {
            file: Some(file.to_owned()),
            ..Place::default()
        })],
    }
}
