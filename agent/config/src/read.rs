//! Reading one section's keys into types while collecting everything that is wrong with it.

use crate::error::{ConfigError, Place, ValueError, Warning, WarningKind};
use crate::expand::{Names, expand};
use crate::tree::{RawValue, Section, Tree, refused, value_place};

/// A cursor over one section. Errors are kept in the order in which the keys are asked for, which is
/// the order in which Supervisor would meet them.
pub(crate) struct Reader<'a> {
    tree: &'a Tree,
    pub(crate) section: &'a Section,
    /// What Supervisor appends to an error's text.
    suffix: String,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tree: &'a Tree, section: &'a Section) -> Self {
        Self {
            tree,
            section,
            suffix: String::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// From here on errors carry Supervisor's ` in section 'S' (file: 'F')`, or no longer do.
    pub(crate) fn set_suffix(&mut self, suffix: String) {
        self.suffix = suffix;
    }

    pub(crate) fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.tree.value(self.section, key)
    }

    /// The value with its names put in, or `None` when it is absent or was refused.
    pub(crate) fn text(&mut self, key: &str, names: &Names<'_>) -> Option<String> {
        self.read(key, names, |text| Ok(text.to_owned()))
    }

    /// The typed value, or `None` when it is absent or was refused.
    pub(crate) fn read<T>(
        &mut self,
        key: &str,
        names: &Names<'_>,
        parse: impl FnOnce(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        self.raw(key)?;
        let option = format!("{}.{key}", self.section.name);
        self.read_as(key, &option, names, parse)
    }

    /// As [`Self::read`], with another name of the option in errors of expansion.
    pub(crate) fn read_as<T>(
        &mut self,
        key: &str,
        option: &str,
        names: &Names<'_>,
        parse: impl FnOnce(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        let raw = self.raw(key)?;
        let result =
            expand(&raw.text, names, option, &raw.source.here).and_then(|text| parse(&text));
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(key, &error);
                None
            }
        }
    }

    /// Records that a key's value is not accepted; once for each key and text.
    pub(crate) fn refuse(&mut self, key: &str, error: &ValueError) {
        let error = match self.raw(key) {
            // A password is not repeated on a screen.
            Some(raw) if key == "password" => {
                refused(error, "(hidden)").at(value_place(self.section, key, raw))
            }
            Some(raw) => refused(error, &raw.text).at(value_place(self.section, key, raw)),
            None => ConfigError::new(error.text.clone())
                .at(self.section.place())
                .accepted(error.accepted),
        };
        self.push(error);
    }

    /// Records an error of the section as a whole.
    pub(crate) fn fail(&mut self, text: impl Into<String>, hint: &str) {
        let error = ConfigError::new(text).at(self.section.place()).hint(hint);
        self.push(error);
    }

    fn push(&mut self, error: ConfigError) {
        let error = if self.suffix.is_empty() {
            error
        } else {
            error.suffix(&self.suffix)
        };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Gives advice about a key.
    pub(crate) fn advise(&mut self, key: &str, text: impl Into<String>) {
        let place = match self.raw(key) {
            Some(raw) => value_place(self.section, key, raw),
            None => Place {
                key: Some(key.to_owned()),
                ..self.section.place()
            },
        };
        let warning = Warning {
            place,
            text: text.into(),
            hint: None,
            kind: WarningKind::Advice,
        };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}
