//! Options of the command line that beat the file.

use crate::error::{ConfigError, ValueError};

/// What the command line says, one field for each option of supervisord that has a counterpart in
/// `[supervisord]`. Values are text, and are judged by the same rules as the file's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `-n`, `--nodaemon`.
    pub nodaemon: Option<Flag>,
    /// `-s`, `--silent`.
    pub silent: Option<Flag>,
    /// `-k`, `--nocleanup`.
    pub nocleanup: Option<Flag>,
    /// `-t`, `--strip_ansi`.
    pub strip_ansi: Option<Flag>,
    /// `-u`, `--user`.
    pub user: Option<String>,
    /// `-m`, `--umask`.
    pub umask: Option<String>,
    /// `-d`, `--directory`.
    pub directory: Option<String>,
    /// `-l`, `--logfile`.
    pub logfile: Option<String>,
    /// `-y`, `--logfile_maxbytes`.
    pub logfile_maxbytes: Option<String>,
    /// `-z`, `--logfile_backups`.
    pub logfile_backups: Option<String>,
    /// `-e`, `--loglevel`.
    pub loglevel: Option<String>,
    /// `-j`, `--pidfile`.
    pub pidfile: Option<String>,
    /// `-i`, `--identifier`.
    pub identifier: Option<String>,
    /// `-q`, `--childlogdir`.
    pub childlogdir: Option<String>,
    /// `-a`, `--minfds`.
    pub minfds: Option<String>,
    /// `--minprocs`.
    pub minprocs: Option<String>,
    /// `--host-name`, which beats `[agent] name`.
    pub host_name: Option<String>,
}

/// An option without a value that was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flag;

/// Parses an option's value, if it was given; a refusal names the option.
pub(crate) fn parse<T>(
    option: &str,
    value: Option<&String>,
    errors: &mut Vec<ConfigError>,
    convert: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Option<T> {
    accept(value, errors, convert, |text, error| {
        refusal(option, text, &error)
    })
}

/// The same for an option that Supervisor looks at no sooner than at the file's: its own refusal does
/// not name it.
pub(crate) fn parse_late<T>(
    option: &str,
    value: Option<&String>,
    errors: &mut Vec<ConfigError>,
    convert: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Option<T> {
    accept(value, errors, convert, |text, error| {
        refusal(option, text, &error).supervisor(error.text)
    })
}

fn accept<T>(
    value: Option<&String>,
    errors: &mut Vec<ConfigError>,
    convert: impl FnOnce(&str) -> Result<T, ValueError>,
    refuse: impl FnOnce(&str, ValueError) -> ConfigError,
) -> Option<T> {
    let text = value?;
    convert(text)
        .map_err(|error| errors.push(refuse(text, error)))
        .ok()
}

fn refusal(option: &str, text: &str, error: &ValueError) -> ConfigError {
    let quoted = crate::error::repr(text);
    ConfigError::new(format!(
        "invalid value for {option} {quoted}: {}",
        error.text
    ))
    .found(text)
    .accepted(error.accepted)
}
