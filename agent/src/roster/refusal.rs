//! Why a configuration is refused, in the words of everybody who has to be told.

use std::fmt;

use rsv_config::ConfigError;
use rsv_proto::wire;

/// A configuration that is refused as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigRefusal {
    /// The first problem in Supervisor's words.
    pub text: String,
    /// The file in which it is; empty: not known.
    pub file: String,
    /// The line at which it is; 0: not known.
    pub line: u32,
    /// Every problem for people.
    pub problems: Vec<String>,
    headline: String,
}

impl ConfigRefusal {
    /// For these errors, of which the first counts.
    pub fn of<'a>(errors: impl IntoIterator<Item = &'a ConfigError>) -> Self {
        let mut refusal = Self::default();
        for error in errors {
            if refusal.problems.is_empty() {
                let place = &error.fault().place;
                let file = place.file.as_ref();
                refusal.text = error.supervisor_text().to_owned();
                refusal.file = file.map_or_else(String::new, |file| file.display().to_string());
                refusal.line = place.line.map_or(0, |line| line.try_into().unwrap_or(0));
                refusal.headline = error.to_string();
            }
            refusal.problems.push(error.render());
        }
        refusal
    }
}

impl fmt::Display for ConfigRefusal {
    /// The first problem with its place, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)
    }
}

impl From<ConfigRefusal> for wire::ConfigurationRefusal {
    fn from(refusal: ConfigRefusal) -> Self {
        let ConfigRefusal {
            text,
            file,
            line,
            problems,
            headline: _,
        } = refusal;
        Self {
            text,
            file,
            line,
            problems,
        }
    }
}
