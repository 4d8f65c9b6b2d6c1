//! What a controller runs with: `controller.conf`, what `init` recorded, and the command line.
//!
//! The command line beats the file, the file beats what `init` recorded. Nothing here listens or
//! changes anything.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ini::{Ini, ParseOption, Properties};
use rsv_proto::limits::HEARTBEAT;

use crate::{
    args::{RunArguments, parse_interval, parse_name},
    files::{self, FileError},
};

/// What `init` records, in the state directory.
pub const RECORDED: &str = "recorded.conf";

/// What the keys of `[controller]` in a configuration file are.
const KEYS: [&str; 4] = ["name", "listen", "state_dir", "heartbeat_interval"];

/// What a controller runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where its keys and its store are.
    pub state_dir: PathBuf,
    /// By which DNS names and addresses it is reached; the first one is told to others.
    pub names: Vec<String>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The port that others are told.
    pub port: u16,
    /// How often both sides of a session say that they live.
    pub heartbeat: Duration,
    /// What every certificate name of the fleet begins with.
    pub trust_domain: String,
}

/// What `init` decides for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// By which names the controller is reached.
    pub names: Vec<String>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// What every certificate name of the fleet begins with.
    pub trust_domain: String,
}

/// A configuration file, and what is odd about it.
#[derive(Debug, Default)]
struct File {
    name: Option<Vec<String>>,
    listen: Option<SocketAddr>,
    state_dir: Option<PathBuf>,
    heartbeat: Option<Duration>,
    warnings: Vec<String>,
}

/// Why a controller cannot run with what it was given.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not INI.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// Which file.
        file: String,
        /// Which line.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value that is not accepted.
    #[error("{file}:{line}: [{section}] {key} = `{found}`: {accepted}")]
    Value {
        /// Which file.
        file: String,
        /// Which line; 0 when it is not known.
        line: usize,
        /// In which section.
        section: &'static str,
        /// Of which key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What could stand there.
        accepted: String,
    },
    /// No such section, or a key of it that must be there.
    #[error("{file}: {missing} is missing")]
    Missing {
        /// Which file.
        file: String,
        /// What.
        missing: String,
    },
    /// The state directory was not made by `init`.
    #[error("`{}` is not a controller's state directory", .0.display())]
    NotInitialised(PathBuf),
    /// The state directory cannot be looked into.
    #[error("cannot look for `{}`", .path.display())]
    Unreachable {
        /// What was looked for.
        path: PathBuf,
        /// Why that is not possible.
        #[source]
        source: io::Error,
    },
}

impl SettingsError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotInitialised(path) => Some(format!(
                "make it with `rsv-controller init --state-dir {} --name NAME`",
                path.display()
            )),
            Self::Missing { .. } => Some(
                "the file needs a [controller] section with `state_dir`, or use --state-dir".into(),
            ),
            Self::Unreachable { .. } => Some(
                "only the user who ran `rsv-controller init`, and root, may use the directory"
                    .into(),
            ),
            Self::File(_) | Self::Syntax { .. } | Self::Value { .. } => None,
        }
    }

    /// Whether the input of the user is at fault, and not the state of the machine.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::NotInitialised(_) | Self::Unreachable { .. })
    }
}

impl Settings {
    /// Puts together what a controller runs with; beside it, warnings for people.
    pub fn gather(arguments: &RunArguments) -> Result<(Self, Vec<String>), SettingsError> {
        let file = match &arguments.configuration {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let state_dir = arguments.state_dir.clone().or(file.state_dir);
        let state_dir = state_dir.ok_or_else(|| SettingsError::Missing {
            file: shown(arguments.configuration.as_deref().unwrap_or(Path::new("-"))),
            missing: "[controller] state_dir".into(),
        })?;
        let recorded = Recorded::read(&state_dir)?;
        let listen = arguments.listen.or(file.listen).unwrap_or(recorded.listen);
        let settings = Self {
            names: file.name.unwrap_or(recorded.names),
            listen,
            port: listen.port(),
            heartbeat: arguments
                .heartbeat_interval
                .or(file.heartbeat)
                .unwrap_or(HEARTBEAT),
            trust_domain: recorded.trust_domain,
            state_dir,
        };
        Ok((settings, file.warnings))
    }

    /// `HOST:PORT` as others are to reach it.
    pub fn address(&self) -> String {
        address(&self.names, self.port)
    }
}

/// `HOST:PORT` of the first name.
pub fn address(names: &[String], port: u16) -> String {
    let name = names.first().map_or("localhost", String::as_str);
    if name.contains(':') {
        format!("[{name}]:{port}")
    } else {
        format!("{name}:{port}")
    }
}

impl Recorded {
    /// The text to be kept.
    pub fn render(&self) -> String {
        let Self {
            names,
            listen,
            trust_domain,
        } = self;
        format!(
            "; Written by `rsv-controller init`. A configuration file overrides name and listen.\n\
             [controller]\nname = {}\nlisten = {listen}\ntrust_domain = {trust_domain}\n",
            names.join(", ")
        )
    }

    fn read(state_dir: &Path) -> Result<Self, SettingsError> {
        let path = state_dir.join(RECORDED);
        // Whether it is missing, or out of this user's reach, are two different things to do.
        let is_there = path
            .try_exists()
            .map_err(|source| SettingsError::Unreachable {
                path: path.clone(),
                source,
            })?;
        if !is_there {
            return Err(SettingsError::NotInitialised(state_dir.to_owned()));
        }
        let text = files::read(&path)?;
        let source = Source {
            file: shown(&path),
            text: &text,
        };
        let ini = source.parse()?;
        let section = source.controller(&ini)?;
        let missing = |key: &str| SettingsError::Missing {
            file: shown(&path),
            missing: format!("[controller] {key}"),
        };
        Ok(Self {
            names: source.names(section)?.ok_or_else(|| missing("name"))?,
            listen: source.listen(section)?.ok_or_else(|| missing("listen"))?,
            trust_domain: section
                .get("trust_domain")
                .ok_or_else(|| missing("trust_domain"))?
                .into(),
        })
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::parse(&shown(path), &files::read(path)?)
    }

    fn parse(file: &str, text: &str) -> Result<Self, SettingsError> {
        let source = Source {
            file: file.to_owned(),
            text,
        };
        let ini = source.parse()?;
        let section = source.controller(&ini)?;
        Ok(Self {
            name: source.names(section)?,
            listen: source.listen(section)?,
            state_dir: section.get("state_dir").map(PathBuf::from),
            heartbeat: source.value(section, "heartbeat_interval", parse_interval)?,
            warnings: source.unknown(&ini),
        })
    }
}

/// One file's text, for errors that say where.
struct Source<'a> {
    file: String,
    text: &'a str,
}

impl Source<'_> {
    fn parse(&self) -> Result<Ini, SettingsError> {
        let options = ParseOption {
            enabled_escape: false,
            ..ParseOption::default()
        };
        Ini::load_from_str_opt(self.text, options).map_err(|e| SettingsError::Syntax {
            file: self.file.clone(),
            line: e.line,
            message: e.msg.to_string(),
        })
    }

    fn controller<'i>(&self, ini: &'i Ini) -> Result<&'i Properties, SettingsError> {
        ini.section(Some("controller"))
            .ok_or_else(|| SettingsError::Missing {
                file: self.file.clone(),
                missing: "section [controller]".into(),
            })
    }

    fn names(&self, section: &Properties) -> Result<Option<Vec<String>>, SettingsError> {
        self.value(section, "name", |text| {
            text.split(',').map(|n| parse_name(n.trim())).collect()
        })
    }

    fn listen(&self, section: &Properties) -> Result<Option<SocketAddr>, SettingsError> {
        self.value(section, "listen", |text| {
            text.parse()
                .map_err(|_| "accepted: ADDRESS:PORT such as 0.0.0.0:7443".to_owned())
        })
    }

    fn value<T>(
        &self,
        section: &Properties,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        let Some(found) = section.get(key).map(str::trim) else {
            return Ok(None);
        };
        parse(found)
            .map(Some)
            .map_err(|accepted| SettingsError::Value {
                file: self.file.clone(),
                line: self.line_of(key),
                section: "controller",
                key,
                found: found.escape_debug().to_string(),
                accepted,
            })
    }

    /// The first line that sets a key; 0 when there is none.
    fn line_of(&self, key: &str) -> usize {
        let sets = |line: &str| {
            line.split(['=', ':'])
                .next()
                .is_some_and(|left| left.trim() == key)
        };
        self.text.lines().position(sets).map_or(0, |i| i + 1)
    }

    /// Keys and sections that mean nothing here.
    fn unknown(&self, ini: &Ini) -> Vec<String> {
        let mut warnings = Vec::new();
        for (section, properties) in ini {
            match section {
                Some("controller") => {
                    for (key, _) in properties.iter().filter(|(key, _)| !KEYS.contains(key)) {
                        let line = self.line_of(key);
                        let keys = KEYS.join(", ");
                        warnings.push(format!(
                            "{}:{line}: [controller] `{key}` is not a known key; known: {keys}",
                            self.file
                        ));
                    }
                }
                Some(section) => warnings.push(format!(
                    "{}: section [{section}] is not used by this version",
                    self.file
                )),
                None if properties.is_empty() => {}
                None => warnings.push(format!("{}: keys before the first section", self.file)),
            }
        }
        warnings
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_accepted_is_named_with_its_place() {
        let text = "; comment\n[controller]\nname = ctl\nlisten = everywhere\n";
        let error = File::parse("c.conf", text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "c.conf:4: [controller] listen = `everywhere`: accepted: ADDRESS:PORT such as 0.0.0.0:7443"
        );
        let error = File::parse("c.conf", "[controller]\nheartbeat_interval = x").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("c.conf:2: [controller] heartbeat_interval = `x`: ")
        );
    }

    #[test]
    fn unknown_keys_and_sections_are_warned_about() {
        let text = "[controller]\nname = ctl, 10.0.0.1\nlissten = 1\n[web]\nlisten = x\n";
        let file = File::parse("c.conf", text).unwrap();
        assert_eq!(file.name.unwrap(), ["ctl", "10.0.0.1"]);
        assert_eq!(file.warnings.len(), 2, "{:?}", file.warnings);
        assert!(file.warnings[0].starts_with("c.conf:3: [controller] `lissten`"));
    }

    #[test]
    fn what_init_recorded_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let recorded = Recorded {
            names: vec!["localhost".into(), "::1".into()],
            listen: "127.0.0.1:7443".parse().unwrap(),
            trust_domain: "d1".into(),
        };
        std::fs::write(dir.path().join(RECORDED), recorded.render()).unwrap();
        assert_eq!(Recorded::read(dir.path()).unwrap(), recorded);
        let error = Recorded::read(Path::new("/nonexistent")).unwrap_err();
        assert!(error.hint().unwrap().contains("init"));
    }
}
