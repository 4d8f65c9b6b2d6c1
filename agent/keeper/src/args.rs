//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
The small parent of every supervised program

Usage: rsv-keeper [--no-cgroups] --socket PATH

Options:
      --no-cgroups   Give programs no cgroups of their own, even where the system lets it
      --socket PATH  Where the agent finds it
  -h, --help         Print help
  -V, --version      Print version

It starts, holds and reaps programs for rsv-agent and outlives it. SIGTERM stops every program, then
the keeper itself.
";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Keep programs for the agent that comes to this socket.
    Keep {
        /// Where the socket is.
        socket: PathBuf,
        /// Whether programs get cgroups of their own, where that is possible.
        has_cgroups: bool,
    },
    /// Go on where the former image stopped, with the state in this descriptor. Not for people.
    Restore(i32),
    /// Say by the exit code whether the state on standard input can be restored. Not for people.
    Probe,
}

/// Reads the arguments behind the program's name.
///
/// # Errors
///
/// One line that says what is wrong.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter().peekable();
    let has_cgroups = arguments.next_if(|next| next == "--no-cgroups").is_none();
    let keep = |socket: PathBuf| Command::Keep {
        socket,
        has_cgroups,
    };
    let Some(first) = arguments.next() else {
        return Err("`--socket PATH` is missing".to_owned());
    };
    let text = first.to_string_lossy().into_owned();
    let mut value = || arguments.next().filter(|value| !value.is_empty());
    let command = match text.as_str() {
        "-h" | "--help" => return Ok(Command::Help),
        "-V" | "--version" => return Ok(Command::Version),
        "--socket" => keep(value().ok_or("`--socket` needs a path")?.into()),
        "--probe" => Command::Probe,
        "--restore" => {
            let number = value().and_then(|value| value.to_str()?.parse().ok());
            Command::Restore(number.ok_or("`--restore` needs a descriptor")?)
        }
        other => match other.strip_prefix("--socket=") {
            Some(path) if !path.is_empty() => keep(path.into()),
            Some(_) | None => return Err(format!("unexpected argument `{other}`")),
        },
    };
    match arguments.next() {
        Some(extra) => Err(format!("unexpected argument `{}`", extra.to_string_lossy())),
        None => Ok(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split_ascii_whitespace().map(OsString::from))
    }

    #[test]
    fn arguments_are_read_or_refused_with_the_reason() {
        assert_eq!(read("--help"), Ok(Command::Help));
        assert_eq!(read("-V"), Ok(Command::Version));
        let keep = |has_cgroups| {
            Ok(Command::Keep {
                socket: "/run/k".into(),
                has_cgroups,
            })
        };
        assert_eq!(read("--socket /run/k"), keep(true));
        assert_eq!(read("--socket=/run/k"), keep(true));
        assert_eq!(read("--no-cgroups --socket=/run/k"), keep(false));
        assert_eq!(read("--restore 7"), Ok(Command::Restore(7)));
        assert_eq!(read("--probe"), Ok(Command::Probe));
        let wrong = [
            "",
            "--socket",
            "--socket=",
            "--restore",
            "--restore x",
            "--socket a b",
            "-x",
            "--no-cgroups",
        ];
        for line in wrong {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
