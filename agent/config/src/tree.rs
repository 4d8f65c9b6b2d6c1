//! The files of one configuration, merged: the main file, what it includes, and `[DEFAULT]`.
//!
//! Later files override keys of earlier ones and keep the others. Each value remembers its file and
//! line. Includes are read once: an included file's own `[include]` is not followed.

mod unreadable;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dialect::{self, DEFAULT_SECTION, Document};
use crate::error::{ConfigError, Place, Warning, WarningKind};
use crate::expand::{Here, Names, expand};
use crate::host::{Host, absolute, matching_files};

/// A file that values come from.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it was named.
    pub(crate) file: PathBuf,
    /// Its absolute directory, which is `%(here)s`.
    pub(crate) here: PathBuf,
}

impl Source {
    pub(crate) fn new(host: &dyn Host, file: &Path) -> Arc<Self> {
        let mut here = absolute(host, file);
        here.pop();
        Arc::new(Self {
            file: file.to_owned(),
            here,
        })
    }
}

/// A value before expansion.
#[derive(Debug, Clone)]
pub(crate) struct RawValue {
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) source: Arc<Source>,
}

/// One section, merged over all files.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// Where it first appeared.
    pub(crate) source: Arc<Source>,
    pub(crate) line: usize,
    keys: Vec<(String, RawValue)>,
    index: HashMap<String, usize>,
}

impl Section {
    /// Its own value of a key, without `[DEFAULT]`.
    pub(crate) fn get(&self, key: &str) -> Option<&RawValue> {
        self.index.get(key).map(|index| &self.keys[*index].1)
    }

    /// Its own keys in order of first appearance.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.keys.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The part after the colon of `kind:name`.
    pub(crate) fn suffix(&self) -> &str {
        self.name.split_once(':').map_or("", |(_, name)| name)
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            file: Some(self.source.file.clone()),
            line: Some(self.line),
            section: Some(self.name.clone()),
            key: None,
        }
    }

    fn set(&mut self, key: String, value: RawValue) {
        match self.index.get(&key) {
            Some(index) => self.keys[*index].1 = value,
            None => {
                self.index.insert(key.clone(), self.keys.len());
                self.keys.push((key, value));
            }
        }
    }
}

/// All sections of all files, in order of first appearance.
#[derive(Debug)]
pub(crate) struct Tree {
    sections: Vec<Section>,
    index: HashMap<String, usize>,
    defaults: BTreeMap<String, RawValue>,
    /// The files that were included, in the order read.
    pub(crate) included: Vec<PathBuf>,
    wanted: Wanted,
}

/// What of a configuration is worth reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// An included file, before it is opened.
    pub(crate) path: fn(&dyn Host, &Path) -> bool,
    /// An included file, by its bytes.
    pub(crate) file: fn(&[u8]) -> bool,
    /// A section, by its name.
    pub(crate) section: fn(&str) -> bool,
}

impl Wanted {
    /// Everything.
    pub(crate) const ALL: Self = Self {
        path: |_, _| true,
        file: |_| true,
        section: |_| true,
    };
}

impl Tree {
    /// Reads `file` alone.
    pub(crate) fn of_file(
        host: &dyn Host,
        file: &Path,
        wanted: Wanted,
    ) -> Result<Self, Vec<ConfigError>> {
        let bytes = host.read(file).map_err(|error| {
            let verb = if error.kind() == std::io::ErrorKind::NotFound {
                "find"
            } else {
                "read"
            };
            let text = format!("could not {verb} config file {}", file.display());
            vec![ConfigError::new(text).hint(error.to_string())]
        })?;
        Self::of_bytes(host, file, &bytes, wanted)
    }

    /// Reads bytes as if they stood in `file`.
    pub(crate) fn of_bytes(
        host: &dyn Host,
        file: &Path,
        bytes: &[u8],
        wanted: Wanted,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut tree = Self {
            sections: Vec::new(),
            index: HashMap::new(),
            defaults: BTreeMap::new(),
            included: Vec::new(),
            wanted,
        };
        tree.merge(&Source::new(host, file), bytes)?;
        Ok(tree)
    }

    /// Reads the files that `[include]` names, as far as they are wanted.
    pub(crate) fn include(
        &mut self,
        host: &dyn Host,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), Vec<ConfigError>> {
        let Some(section) = self.section("include") else {
            return Ok(());
        };
        let Some(value) = self.value(section, "files") else {
            let text = ".ini file has [include] section, but no files setting";
            return Err(vec![ConfigError::new(text).at(section.place())]);
        };
        let place = value_place(section, "files", value);
        let names = Names::new(host.environment(), Here::Listed)
            .with_text("host_node_name", host.node_name());
        let here = &value.source.here;
        let patterns = expand(&value.text, &names, "include.files", here)
            .map_err(|error| vec![refused(&error, &value.text).at(place.clone())])?;
        let base = here.clone();
        for pattern in patterns.split_whitespace() {
            let pattern = base.join(pattern).to_string_lossy().into_owned();
            self.include_glob(host, &pattern, &place, warnings)?;
        }
        Ok(())
    }

    fn include_glob(
        &mut self,
        host: &dyn Host,
        pattern: &str,
        place: &Place,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), Vec<ConfigError>> {
        let mut advise = |text: String| {
            warnings.push(Warning {
                place: place.clone(),
                text,
                hint: None,
                kind: WarningKind::Advice,
            });
        };
        let files = matching_files(host, pattern);
        if files.is_empty() {
            advise(format!("No file matches via include \"{pattern}\""));
        }
        for file in files {
            if !(self.wanted.path)(host, &file) {
                continue;
            }
            match host.read(&file) {
                Ok(bytes) if (self.wanted.file)(&bytes) => {
                    self.merge(&Source::new(host, &file), &bytes)?;
                    self.included.push(file);
                }
                Ok(_) => {}
                Err(error) => advise(format!(
                    "included file \"{}\" is skipped: {error}",
                    file.display()
                )),
            }
        }
        Ok(())
    }

    fn merge(&mut self, source: &Arc<Source>, bytes: &[u8]) -> Result<(), Vec<ConfigError>> {
        let document = dialect::parse_sections(bytes, self.wanted.section)
            .map_err(|error| unreadable::errors(&error, &source.file))?;
        self.merge_document(source, document);
        Ok(())
    }

    fn merge_document(&mut self, source: &Arc<Source>, document: Document) {
        for part in document.sections {
            let values = part.entries.into_iter().map(|entry| {
                let value = RawValue {
                    text: entry.value,
                    line: entry.line,
                    source: Arc::clone(source),
                };
                (entry.key, value)
            });
            if part.name == DEFAULT_SECTION {
                self.defaults.extend(values);
                continue;
            }
            let index = *self.index.entry(part.name).or_insert_with_key(|name| {
                self.sections.push(Section {
                    name: name.clone(),
                    source: Arc::clone(source),
                    line: part.line,
                    keys: Vec::new(),
                    index: HashMap::new(),
                });
                self.sections.len() - 1
            });
            for (key, value) in values {
                self.sections[index].set(key, value);
            }
        }
    }

    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.index.get(name).map(|index| &self.sections[*index])
    }

    /// All sections in order of first appearance.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }

    /// The sections named `kind:NAME`.
    pub(crate) fn sections_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Section> {
        let is_kind = move |section: &&Section| {
            let rest = section.name.strip_prefix(kind);
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        self.sections.iter().filter(is_kind)
    }

    /// A section's value of a key, or the one that `[DEFAULT]` gives every section.
    pub(crate) fn value<'a>(&'a self, section: &'a Section, key: &str) -> Option<&'a RawValue> {
        section.get(key).or_else(|| self.defaults.get(key))
    }
}

/// The place of one value.
pub(crate) fn value_place(section: &Section, key: &str, value: &RawValue) -> Place {
    Place {
        file: Some(value.source.file.clone()),
        line: Some(value.line),
        section: Some(section.name.clone()),
        key: Some(key.to_owned()),
    }
}

/// A refused value as an error, still without its place.
pub(crate) fn refused(error: &crate::error::ValueError, found: &str) -> ConfigError {
    ConfigError::new(error.text.clone())
        .found(found)
        .accepted(error.accepted)
}
