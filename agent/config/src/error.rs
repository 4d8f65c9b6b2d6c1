//! What is wrong in a configuration, where, and how it is said.
//!
//! One fact, two renderings: Supervisor's own text, which scripts match on, and ours, which names
//! file, line, section and key, what was found and what is accepted.

mod quote;

use std::fmt;
use std::path::PathBuf;

pub use quote::repr;
use quote::visible;

/// A value that its type does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ValueError {
    /// Supervisor's text.
    pub text: String,
    /// What the type accepts, for people.
    pub accepted: &'static str,
}

impl ValueError {
    pub(crate) fn new(text: impl Into<String>, accepted: &'static str) -> Self {
        Self {
            text: text.into(),
            accepted,
        }
    }
}

/// Where in the files something stands. Absent parts are not known or do not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Option<PathBuf>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The section without its brackets.
    pub section: Option<String>,
    /// The key, in lower case.
    pub key: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            separator = ": ";
        }
        if let Some(section) = &self.section {
            write!(f, "{separator}[{section}]")?;
            separator = " ";
        }
        if let Some(key) = &self.key {
            write!(f, "{separator}{key}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong in a configuration. Boxed inside, so that results stay small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Box<Fault>);

/// The parts of a [`ConfigError`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, without the place.
    pub text: String,
    /// The text as Supervisor words it, where that differs.
    pub supervisor_text: Option<String>,
    /// The value as it was written.
    pub found: Option<String>,
    /// What would be accepted.
    pub accepted: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ConfigError {
    /// An error without a place.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Box::new(Fault {
            text: text.into(),
            ..Fault::default()
        }))
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.0.place = place;
        self
    }

    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        self.0.found = Some(found.into());
        self
    }

    pub(crate) fn accepted(mut self, accepted: impl Into<String>) -> Self {
        self.0.accepted = Some(accepted.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What Supervisor appends to the text, such as ` in section 'program:x' (file: 'a.conf')`.
    pub(crate) fn suffix(mut self, suffix: &str) -> Self {
        self.0.supervisor_text = Some(format!("{}{suffix}", self.0.text));
        self
    }

    pub(crate) fn supervisor(mut self, text: impl Into<String>) -> Self {
        self.0.supervisor_text = Some(text.into());
        self
    }

    /// Its parts.
    pub fn fault(&self) -> &Fault {
        &self.0
    }

    /// The text as Supervisor words it.
    pub fn supervisor_text(&self) -> &str {
        self.0.supervisor_text.as_deref().unwrap_or(&self.0.text)
    }

    /// What Supervisor writes to stderr: `Error: TEXT`, then where help is. No newline at the end.
    pub fn render_supervisor(&self, argv0: &str) -> String {
        format!(
            "Error: {}\nFor help, use {argv0} -h",
            self.supervisor_text()
        )
    }

    /// Our rendering: the place and the text, then found, accepted and hint on lines of their own.
    pub fn render(&self) -> String {
        let mut out = self.headline();
        let details = [
            ("found", &self.0.found),
            ("accepted", &self.0.accepted),
            ("hint", &self.0.hint),
        ];
        for (label, detail) in details {
            if let Some(detail) = detail {
                out.push_str(&format!("\n  {label}: {}", visible(detail)));
            }
        }
        out
    }

    fn headline(&self) -> String {
        let place = self.0.place.to_string();
        if place.is_empty() {
            visible(&self.0.text)
        } else {
            visible(&format!("{place}: {}", self.0.text))
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong in a configuration, in the order in which Supervisor would meet it; never
/// empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// All errors of a list, if there are any.
    pub(crate) fn of(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Self(errors))
        }
    }

    /// A list that is known to hold one at least.
    pub(crate) fn all(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }

    /// The one that Supervisor reports.
    pub fn first(&self) -> &ConfigError {
        &self.0[0]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// Supervisor's rendering of the first one.
    pub fn render_supervisor(&self, argv0: &str) -> String {
        self.first().render_supervisor(argv0)
    }

    /// Our rendering of all of them, one after the other.
    pub fn render(&self) -> String {
        let all: Vec<String> = self.0.iter().map(ConfigError::render).collect();
        all.join("\n")
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that is accepted and yet worth a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// What is odd.
    pub text: String,
    /// What was probably meant.
    pub hint: Option<String>,
    /// Whether it is a misspelling that a strict check refuses.
    pub kind: WarningKind,
}

/// Why a [`Warning`] is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningKind {
    /// A key or section that nothing reads: refused by a strict check.
    Unknown,
    /// Anything else: never refused.
    Advice,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.place.to_string();
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&self.text);
        if let Some(hint) = &self.hint {
            text.push_str(&format!(" ({hint})"));
        }
        f.write_str(&visible(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_rendering_names_place_found_accepted_and_hint() {
        let error = ConfigError::new("not a valid boolean value: 'maybe'")
            .at(Place {
                file: Some("a.conf".into()),
                line: Some(3),
                section: Some("program:x".into()),
                key: Some("autostart".into()),
            })
            .suffix(" in section 'program:x' (file: 'a.conf')")
            .found("may\nbe")
            .accepted("true or false")
            .hint("write true");
        assert_eq!(
            error.render(),
            "a.conf:3: [program:x] autostart: not a valid boolean value: 'maybe'\n  \
             found: may\\nbe\n  accepted: true or false\n  hint: write true"
        );
        assert_eq!(
            error.render_supervisor("rsv-agent"),
            "Error: not a valid boolean value: 'maybe' in section 'program:x' (file: 'a.conf')\n\
             For help, use rsv-agent -h"
        );
    }
}
