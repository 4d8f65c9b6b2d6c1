//! How one process is started, and the keeper's `Spec` of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use rsv_keeper::message::{Credentials, Rlimit, Spec, Stdin, StopRule};

use super::{SpawnError, executable};
use crate::hub::Key;

/// What a program has from the agent that starts it, read once at the agent's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambience {
    /// The agent's own environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// The agent's working directory.
    pub directory: PathBuf,
}

/// How one process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What it has from the agent. Shared by all programs.
    pub ambience: Arc<Ambience>,
    /// The command as it is configured, not split yet.
    pub command: String,
    /// Its working directory, relative to the agent's; absent: the agent's.
    pub directory: Option<PathBuf>,
    /// The configured environment, which wins over everything else.
    pub environment: BTreeMap<String, String>,
    /// What it finds as `SUPERVISOR_SERVER_URL`.
    pub server_url: Option<String>,
    /// The user to become; absent: the agent's.
    pub credentials: Option<Credentials>,
    /// Its file mode creation mask; absent: the keeper's.
    pub umask: Option<u32>,
    /// Its resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Its standard error goes where its standard output goes.
    pub redirect_stderr: bool,
    /// What has left its process group lives on when it is stopped.
    pub leaves_daemons: bool,
    /// How the keeper stops it when there is no agent.
    pub stop: StopRule,
}

impl Ambience {
    /// What this process has now.
    pub fn of_this_process() -> Self {
        Self {
            environment: std::env::vars_os().collect(),
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        }
    }
}

impl Launch {
    /// Everything the process is to be, as the file system is now.
    ///
    /// # Errors
    ///
    /// [`SpawnError`], when its command cannot be executed.
    pub fn resolve(&self, key: &Key) -> Result<Spec, SpawnError> {
        let argv = self.argv()?;
        let environment = self.full_environment(key);
        let directory = self.full_directory();
        let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let executable = executable::find(&argv[0], path, &directory)?;
        Ok(Spec {
            executable: executable.into_os_string().into_vec(),
            argv: argv.into_iter().map(String::into_bytes).collect(),
            env: environment
                .iter()
                .map(|(name, value)| assignment(name, value))
                .collect(),
            directory: Some(directory.into_os_string().into_vec()),
            credentials: self.credentials.clone(),
            umask: self.umask,
            rlimits: self.rlimits.clone(),
            stdin: Stdin::Pipe.into(),
            merge_stderr: self.redirect_stderr,
            stop: self.stop.clone(),
            cgroup: None,
            leaves_daemons: self.leaves_daemons,
        })
    }

    /// Whether the command can be executed now, without putting together all the rest.
    ///
    /// # Errors
    ///
    /// As [`Launch::resolve`].
    pub fn check(&self) -> Result<(), SpawnError> {
        let argv = self.argv()?;
        let own = self.environment.get("PATH").map(OsStr::new);
        let ambient = self.ambience.environment.get(OsStr::new("PATH"));
        let path = own.or(ambient.map(OsString::as_os_str));
        executable::find(&argv[0], path, &self.full_directory()).map(drop)
    }

    /// The words of the command; at least one.
    fn argv(&self) -> Result<Vec<String>, SpawnError> {
        let words =
            rsv_config::split_command(&self.command).map_err(|error| SpawnError::Unparsable {
                command: self.command.clone(),
                why: error.to_string(),
            })?;
        if words.is_empty() {
            Err(SpawnError::Empty)
        } else {
            Ok(words)
        }
    }

    /// What the command names, as it is written there; absent when it names nothing.
    pub(super) fn first_word(&self) -> Option<String> {
        self.argv().ok()?.into_iter().next()
    }

    pub(super) fn full_directory(&self) -> PathBuf {
        let own = &self.ambience.directory;
        self.directory
            .as_ref()
            .map_or_else(|| own.clone(), |directory| own.join(directory))
    }

    fn full_environment(&self, key: &Key) -> BTreeMap<OsString, OsString> {
        let mut environment = self.ambience.environment.clone();
        let mut set = |name: &str, value: &str| environment.insert(name.into(), value.into());
        set("SUPERVISOR_ENABLED", "1");
        set("SUPERVISOR_PROCESS_NAME", &key.name);
        set("SUPERVISOR_GROUP_NAME", &key.group);
        if let Some(url) = &self.server_url {
            set("SUPERVISOR_SERVER_URL", url);
        }
        for (name, value) in &self.environment {
            set(name, value);
        }
        environment
    }
}

fn assignment(name: &OsStr, value: &OsStr) -> Vec<u8> {
    [name.as_bytes(), b"=", value.as_bytes()].concat()
}

#[cfg(test)]
impl Launch {
    /// A command in a directory, and otherwise nothing special.
    pub(super) fn of(command: &str, directory: &str) -> Self {
        let environment = [("PATH", "/bin:/usr/bin"), ("A", "agent"), ("B", "agent")];
        let environment = environment.map(|(n, v)| (n.into(), v.into())).into();
        Self {
            ambience: Arc::new(Ambience {
                environment,
                directory: directory.into(),
            }),
            command: command.into(),
            directory: None,
            environment: BTreeMap::new(),
            server_url: None,
            credentials: None,
            umask: None,
            rlimits: Vec::new(),
            redirect_stderr: true,
            leaves_daemons: false,
            stop: StopRule {
                signal: 15,
                grace_ms: 10_000,
                scope: 0,
                kill_scope: 1,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(command: &str) -> Launch {
        Launch {
            environment: BTreeMap::from([("B".to_owned(), "own".to_owned())]),
            server_url: Some("unix:///s".into()),
            umask: Some(0o22),
            ..Launch::of(command, "/")
        }
    }

    fn key() -> Key {
        Key {
            group: "g".into(),
            name: "p".into(),
        }
    }

    #[test]
    fn a_command_becomes_words_and_a_file() {
        let spec = launch("sh -c 'echo  hi'").resolve(&key()).unwrap();
        assert_eq!(
            spec.argv,
            [b"sh".to_vec(), b"-c".to_vec(), b"echo  hi".to_vec()]
        );
        assert_eq!(spec.executable, b"/bin/sh");
        assert_eq!(spec.directory.as_deref(), Some(&b"/"[..]));
        assert!(spec.merge_stderr);
    }

    #[test]
    fn the_configured_environment_wins_over_the_agents_and_supervisors_own() {
        let mut launch = launch("sh");
        launch
            .environment
            .insert("SUPERVISOR_ENABLED".into(), "0".into());
        let spec = launch.resolve(&key()).unwrap();
        let env: Vec<_> = spec
            .env
            .iter()
            .map(|e| String::from_utf8_lossy(e))
            .collect();
        for expected in [
            "A=agent",
            "B=own",
            "SUPERVISOR_ENABLED=0",
            "SUPERVISOR_PROCESS_NAME=p",
            "SUPERVISOR_GROUP_NAME=g",
            "SUPERVISOR_SERVER_URL=unix:///s",
        ] {
            assert!(
                env.iter().any(|e| e == expected),
                "{expected} is not in {env:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_executed_is_refused_with_its_reason() {
        for (command, text) in [
            ("", "command is empty"),
            (
                "sh 'x",
                "can't parse command \"sh 'x\": No closing quotation",
            ),
            ("/bin", "command at '/bin' is a directory"),
            ("/etc/passwd", "command at '/etc/passwd' is not executable"),
            ("no-such-command", "can't find command 'no-such-command'"),
        ] {
            assert_eq!(
                launch(command).resolve(&key()).unwrap_err().to_string(),
                text
            );
            assert_eq!(launch(command).check().unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn a_relative_directory_is_below_the_agents() {
        let mut launch = launch("sh");
        launch.directory = Some("tmp".into());
        let spec = launch.resolve(&key()).unwrap();
        assert_eq!(spec.directory.as_deref(), Some(&b"/tmp"[..]));
    }
}
