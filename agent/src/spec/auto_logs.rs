//! The names of the log files that the agent names by itself (`AUTO`).
//!
//! Supervisor's scheme, with characters that nobody can know before: they come from a secret in the
//! state directory, so that a new agent goes on with the files of the former one. After an orderly end
//! the secret is another one, as there is nothing to go on with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rsv_config::{Config, Process};
use sha2::{Digest, Sha256};

use crate::identity::state::write_atomically;

/// Bytes of randomness behind all names.
const SECRET: usize = 16;

/// The characters of a name are these, as in Supervisor's.
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// So many say whose file it is.
const OWN: usize = 3;

/// Those after them, which nobody can guess. Together they are eight, as scripts expect of Supervisor's.
const RANDOM: usize = 5;

/// Where the agent names log files by itself: in this directory, by a scheme that tells its own from
/// those of every other agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoLogs {
    /// `childlogdir`.
    pub directory: PathBuf,
    /// `identifier`.
    identifier: String,
    /// Characters that are this agent's.
    own: String,
    /// What the others are made from, until the next orderly end.
    secret: String,
    /// Where that is kept.
    secret_file: PathBuf,
}

impl AutoLogs {
    /// The scheme of an agent. Reads a small file, or makes it: once, for a blocking thread.
    pub fn of(config: &Config) -> Self {
        let secret_file = config.locations.state_dir.join("auto-logs");
        let state_dir = config.locations.state_dir.as_os_str().as_encoded_bytes();
        Self {
            directory: config.supervisord.childlogdir.clone(),
            identifier: config.supervisord.identifier.clone(),
            own: characters(OWN, state_dir),
            secret: kept(&secret_file).unwrap_or_else(|| make(&secret_file)),
            secret_file,
        }
    }

    /// All programs have ended: the next ones get files of other names, so that whoever still has
    /// one of the former names finds the former file or none. For a blocking thread.
    pub fn renew(&self) {
        make(&self.secret_file);
    }

    /// The file of one stream (`stdout` or `stderr`) of a process.
    pub fn path(&self, process: &Process, channel: &str) -> PathBuf {
        let Self {
            directory,
            identifier,
            own,
            secret,
            ..
        } = self;
        let (name, group) = (&process.id.name, &process.id.group);
        let random = characters(
            RANDOM,
            format!("{secret}:{group}:{name}:{channel}").as_bytes(),
        );
        directory.join(format!("{name}-{channel}---{identifier}-{own}{random}.log"))
    }

    /// Removes this agent's files and their rotated ones, as a fresh start does; for a blocking
    /// thread. A file that cannot be removed is left.
    pub fn purge(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| self.is_own(name))
                && let Err(error) = std::fs::remove_file(entry.path())
            {
                let (path, error) = (entry.path(), &error as &dyn std::error::Error);
                tracing::warn!(path = %path.display(), error, "an old log file stays");
            }
        }
    }

    fn is_own(&self, name: &str) -> bool {
        let mark = format!("---{}-{}", self.identifier, self.own);
        let Some((random, number)) = name
            .rsplit_once(mark.as_str())
            .and_then(|(_, rest)| rest.split_once(".log"))
        else {
            return false;
        };
        let number = number.strip_prefix('.').unwrap_or(number);
        random.len() == RANDOM
            && random.bytes().all(|c| ALPHABET.contains(&c))
            && number.bytes().all(|c| c.is_ascii_digit())
    }
}

fn characters(count: usize, of: &[u8]) -> String {
    let digest = Sha256::digest(of);
    let characters = digest.iter().take(count);
    characters
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what it is given");
        text
    })
}

/// The secret of the former agent, if it is one.
fn kept(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let is_secret = text.len() == 2 * SECRET && text.bytes().all(|c| c.is_ascii_hexdigit());
    is_secret.then_some(text)
}

/// Another secret. One that cannot be kept is good for this agent alone.
fn make(file: &Path) -> String {
    let mut bytes = [0; SECRET];
    getrandom::fill(&mut bytes).expect("the system's random numbers are always there");
    let secret = hexadecimal(&bytes);
    if let Err(error) = write_atomically(file, secret.as_bytes()) {
        let (path, error) = (file.display(), &error as &dyn std::error::Error);
        tracing::warn!(%path, error, "the names of automatic logs are not kept");
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    use rsv_config::host::FixedHost;
    use rsv_config::{Overrides, Strictness, load_str};

    /// A configuration with one program, and its state in this directory.
    fn config(state: &Path) -> Config {
        let text = format!(
            "[agent]\nname=a\nstate_dir={}\n[supervisord]\nchildlogdir=/tmp\nidentifier=me\n\
             [program:app]\ncommand=/bin/app\n",
            state.display()
        );
        let (file, host) = (Path::new("/etc/a.conf"), FixedHost::default());
        let given = Overrides::default();
        let loaded = load_str(&text, file, &given, Strictness::Lenient, &host);
        loaded.unwrap().config
    }

    fn name(auto: &AutoLogs, config: &Config, channel: &str) -> String {
        let path = auto.path(config.processes().next().unwrap(), channel);
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn an_automatic_log_has_supervisors_name_and_the_next_agent_finds_it() {
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let (former, next) = (AutoLogs::of(&config), AutoLogs::of(&config));
        assert_eq!(former, next);
        let (out, err) = (
            name(&next, &config, "stdout"),
            name(&next, &config, "stderr"),
        );
        assert!(out.starts_with("app-stdout---me-"), "{out}");
        assert_eq!(out.len(), "app-stdout---me-.log".len() + OWN + RANDOM);
        assert_ne!(out.replace("stdout", "stderr"), err);
    }

    #[test]
    fn nobody_can_know_the_name_of_an_automatic_log() {
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let first = name(&AutoLogs::of(&config), &config, "stdout");
        let file = state.path().join("auto-logs");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_file(&file).unwrap();
        let second = name(&AutoLogs::of(&config), &config, "stdout");
        assert_ne!(first, second);
        std::fs::write(&file, "half a sec").unwrap();
        assert_ne!(second, name(&AutoLogs::of(&config), &config, "stdout"));
    }

    #[test]
    fn automatic_logs_have_other_names_after_an_orderly_end() {
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let former = AutoLogs::of(&config);
        former.renew();
        let next = AutoLogs::of(&config);
        let old = name(&former, &config, "stdout");
        assert_ne!(old, name(&next, &config, "stdout"));
        assert!(next.is_own(&old), "{old} is purged");
    }

    #[test]
    fn only_this_agents_automatic_logs_are_purged() {
        let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut auto = AutoLogs::of(&config(state.path()));
        auto.directory = dir.path().to_owned();
        let own = &auto.own;
        let stays = [
            "app-stdout---me-___01234.log".to_owned(),
            "x.log".to_owned(),
            "app---me-.log".to_owned(),
            format!("app-stdout---me-{own}01xyz.log.gz"),
            format!("app-stdout---you-{own}01xyz.log"),
        ];
        let goes = [
            format!("app-stdout---me-{own}01xyz.log"),
            format!("app-stderr---me-{own}01xyz.log.3"),
        ];
        for name in stays.iter().chain(&goes) {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        auto.purge();
        for name in stays {
            assert!(dir.path().join(&name).exists(), "{name}");
        }
        for name in goes {
            assert!(!dir.path().join(&name).exists(), "{name}");
        }
    }
}
