//! Why a program cannot be started, in Supervisor's words.

use std::path::PathBuf;

use nix::errno::Errno;
use rsv_config::repr;
use rsv_keeper::message::{Refused, Stage};
use rsv_proto::wire;

use super::Launch;
use super::configured::limit_key;

/// What is wrong with a program before the keeper is asked. The texts are the ones that clients of
/// Supervisor see as `spawnerr`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// The configuration of the program is refused.
    #[error("{0}")]
    Configuration(String),
    /// The command's quoting is not closed.
    #[error("can't parse command {}: {why}", repr(command))]
    Unparsable {
        /// The command as it is configured.
        command: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no word in the command.
    #[error("command is empty")]
    Empty,
    /// There is no such file.
    #[error("can't find command {}", repr(.0))]
    NotFound(String),
    /// It is a directory.
    #[error("command at {} is a directory", repr(&.0.to_string_lossy()))]
    Directory(PathBuf),
    /// Nobody may execute it.
    #[error("command at {} is not executable", repr(&.0.to_string_lossy()))]
    NotExecutable(PathBuf),
    /// We may not execute it.
    #[error("no permission to run command {}", repr(&.0.to_string_lossy()))]
    NoPermission(PathBuf),
    /// A log file cannot be opened.
    #[error("{}", log_text(name, code))]
    Log {
        /// The process's name.
        name: String,
        /// The system's name of the error, such as `EACCES`.
        code: String,
    },
    /// The socket that it is to have cannot be made.
    #[error("Could not create FastCGI socket {url}: {why}")]
    Socket {
        /// The socket, as it is configured.
        url: String,
        /// What the system says.
        why: String,
        /// Somebody else has the address.
        is_taken: bool,
    },
    /// The fleet wants it to be down.
    #[error("{0}")]
    Held(String),
    /// As many programs run as may.
    #[error("too many programs running to spawn '{name}' (maxprocs is {limit})")]
    TooMany {
        /// The process's name.
        name: String,
        /// The configured bound.
        limit: u32,
    },
    /// The command and its environment are larger than any system takes.
    #[error("command and environment of '{0}' are too large")]
    TooLarge(String),
}

impl SpawnError {
    /// What a client that asked for the start is told.
    pub fn refusal(&self) -> wire::Refusal {
        match self {
            Self::NotFound(_) => wire::Refusal::NoFile,
            Self::Unparsable { .. }
            | Self::Empty
            | Self::Directory(_)
            | Self::NotExecutable(_)
            | Self::NoPermission(_) => wire::Refusal::NotExecutable,
            Self::Held(_) => wire::Refusal::Disabled,
            Self::TooMany { .. } => wire::Refusal::TooManyProcesses,
            Self::Configuration(_) | Self::Log { .. } | Self::Socket { .. } | Self::TooLarge(_) => {
                wire::Refusal::SpawnError
            }
        }
    }
}

impl SpawnError {
    /// Whether somebody else has the address of the program's socket.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Socket { is_taken: true, .. })
    }
}

/// Supervisor makes the pipes before the logs, so that with too few descriptors it comes no further than that.
fn log_text(name: &str, code: &str) -> String {
    match code {
        "EMFILE" | "ENFILE" => too_many_files(name),
        _ => format!("unknown error making dispatchers for '{name}': {code}"),
    }
}

fn too_many_files(name: &str) -> String {
    format!("too many open files to spawn '{name}'")
}

/// The keeper's refusal in Supervisor's words, for a process of this name that was to be started like
/// this. Where Supervisor's child writes them to its standard error and exits with 127, they are the
/// reason that is shown instead.
pub fn refused_text(refused: &Refused, name: &str, launch: Option<&Launch>) -> String {
    let errno = Errno::from_raw(refused.errno);
    let code = code_name(refused.errno);
    let setuid = |why: &str| {
        let credentials = launch.and_then(|launch| launch.credentials.as_ref());
        let uid = credentials.map_or_else(String::new, |who| format!(" to {}", who.uid));
        format!("couldn't setuid{uid}: {why}")
    };
    match Stage::try_from(refused.stage) {
        Ok(Stage::Pipes | Stage::Request) if matches!(errno, Errno::EMFILE | Errno::ENFILE) => {
            too_many_files(name)
        }
        Ok(Stage::Pipes) => format!("unknown error making dispatchers for '{name}': {code}"),
        Ok(Stage::Fork) if errno == Errno::EAGAIN => {
            format!("Too many processes in process table to spawn '{name}'")
        }
        Ok(Stage::Fork) => format!("unknown error during fork for '{name}': {code}"),
        Ok(Stage::Uid) if errno == Errno::EPERM => setuid("Can't drop privilege as nonroot user"),
        Ok(Stage::Groups) if errno == Errno::EPERM => match other_group(launch) {
            Some(gid) => format!("couldn't setgid to {gid}: Can't change group as nonroot user"),
            None => setuid("Can't drop privilege as nonroot user"),
        },
        Ok(Stage::Groups) => setuid("Could not set groups of effective user"),
        Ok(Stage::Gid) => setuid("Could not set group id of effective user"),
        Ok(Stage::Uid) => setuid(&code),
        Ok(Stage::Directory) => {
            let directory = launch.map(|launch| launch.full_directory().display().to_string());
            format!(
                "couldn't chdir to {}: {code}",
                directory.unwrap_or_default()
            )
        }
        Ok(Stage::Exec) => {
            let command = launch.and_then(Launch::first_word);
            format!("couldn't exec {}: {code}", command.unwrap_or_default())
        }
        Ok(Stage::Cgroup) if errno == Errno::EBUSY => {
            format!("waiting for the end of a former run of '{name}'")
        }
        Ok(Stage::Request) => format!("the keeper does not accept '{name}': {code}"),
        Ok(Stage::Cgroup) => format!("couldn't join the cgroup: {code}"),
        Ok(Stage::ProcessGroup) => format!("couldn't make a process group: {code}"),
        Ok(Stage::Streams) => format!("couldn't place the standard streams: {code}"),
        Ok(Stage::Rlimit) => format!("couldn't set {}: {code}", limits(launch)),
        Err(_) => format!("unknown error during spawn of '{name}': {code}"),
    }
}

/// The group of a process that is to have the agent's own user and another group.
fn other_group(launch: Option<&Launch>) -> Option<u32> {
    let credentials = launch?.credentials.as_ref()?;
    let is_own = credentials.uid == nix::unistd::getuid().as_raw();
    is_own.then_some(credentials.gid)
}

/// Which limits it was; the keeper does not say which of several.
fn limits(launch: Option<&Launch>) -> String {
    let limits = launch.map_or(&[][..], |launch| &launch.rlimits);
    let keys: Vec<&str> = limits.iter().filter_map(limit_key).collect();
    match keys[..] {
        [] => "a resource limit".to_owned(),
        [key] => key.to_owned(),
        _ => format!("one of {}", keys.join(", ")),
    }
}

/// The system's name of an error, such as `ENOENT`.
pub(crate) fn code_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

/// The system's name of an error, or its text where it has none.
pub(crate) fn io_code(error: &std::io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| error.to_string(), code_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsv_keeper::message::{Credentials, Rlimit, Run};

    #[test]
    fn refusals_before_the_spawn_have_supervisors_texts() {
        let command = "it's".to_owned();
        let cases = [
            (
                SpawnError::Unparsable {
                    command,
                    why: "No closing quotation".into(),
                },
                "can't parse command \"it's\": No closing quotation",
            ),
            (SpawnError::Empty, "command is empty"),
            (
                SpawnError::NotFound("nope".into()),
                "can't find command 'nope'",
            ),
            (
                SpawnError::Directory("/x".into()),
                "command at '/x' is a directory",
            ),
            (
                SpawnError::NotExecutable("/x".into()),
                "command at '/x' is not executable",
            ),
            (
                SpawnError::NoPermission("/x".into()),
                "no permission to run command '/x'",
            ),
            (
                SpawnError::Log {
                    name: "x".into(),
                    code: "EACCES".into(),
                },
                "unknown error making dispatchers for 'x': EACCES",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn the_keepers_refusals_have_supervisors_texts() {
        let credentials = Credentials {
            uid: 33,
            gid: 33,
            groups: vec![33],
        };
        let launch = Launch {
            directory: Some("app".into()),
            credentials: Some(credentials),
            ..Launch::of("./run.sh -v", "/srv")
        };
        let cases = [
            (
                Stage::Pipes,
                Errno::EMFILE,
                "too many open files to spawn 'x'",
            ),
            (
                Stage::Pipes,
                Errno::EACCES,
                "unknown error making dispatchers for 'x': EACCES",
            ),
            (
                Stage::Fork,
                Errno::EAGAIN,
                "Too many processes in process table to spawn 'x'",
            ),
            (
                Stage::Fork,
                Errno::ENOMEM,
                "unknown error during fork for 'x': ENOMEM",
            ),
            (
                Stage::Directory,
                Errno::ENOENT,
                "couldn't chdir to /srv/app: ENOENT",
            ),
            (Stage::Exec, Errno::EACCES, "couldn't exec ./run.sh: EACCES"),
            (
                Stage::Cgroup,
                Errno::EBUSY,
                "waiting for the end of a former run of 'x'",
            ),
            (
                Stage::Request,
                Errno::EMFILE,
                "too many open files to spawn 'x'",
            ),
            (
                Stage::Uid,
                Errno::EPERM,
                "couldn't setuid to 33: Can't drop privilege as nonroot user",
            ),
        ];
        for (stage, errno, text) in cases {
            assert_eq!(text_of(stage, errno, &launch), text);
        }
    }

    fn text_of(stage: Stage, errno: Errno, launch: &Launch) -> String {
        let run = Run {
            key: "x:x".into(),
            attempt: 1,
        };
        let refused = Refused {
            run,
            stage: stage.into(),
            errno: errno as i32,
        };
        refused_text(&refused, "x", Some(launch))
    }

    #[test]
    fn a_limit_or_a_group_that_cannot_be_had_is_named() {
        let rlimit = |resource| Rlimit {
            resource,
            soft: 1,
            hard: 1,
        };
        let own = Credentials {
            uid: nix::unistd::getuid().as_raw(),
            gid: 33,
            groups: vec![33],
        };
        let mut launch = Launch {
            credentials: Some(own),
            rlimits: vec![rlimit(libc::RLIMIT_NOFILE)],
            ..Launch::of("./run.sh", "/srv")
        };
        assert_eq!(
            text_of(Stage::Rlimit, Errno::EPERM, &launch),
            "couldn't set rlimit_nofile: EPERM"
        );
        launch.rlimits.push(rlimit(libc::RLIMIT_CORE));
        assert_eq!(
            text_of(Stage::Rlimit, Errno::EPERM, &launch),
            "couldn't set one of rlimit_nofile, rlimit_core: EPERM"
        );
        assert_eq!(
            text_of(Stage::Groups, Errno::EPERM, &launch),
            "couldn't setgid to 33: Can't change group as nonroot user"
        );
    }
}
