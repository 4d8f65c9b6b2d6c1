//! Reading a configuration, and keeping what was read so that it can be read again when the files are
//! no longer what they were.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rsv_config::host::{Host, SystemHost, UnixGroup, User};
use rsv_config::{ConfigErrors, Loaded, Overrides, Strictness, load};
use serde::{Deserialize, Serialize};

/// Where a configuration comes from: a file, and the command line that beats it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The main file, as it was named.
    pub file: PathBuf,
    /// The command line.
    pub overrides: Overrides,
}

/// A configuration and what it was read from.
#[derive(Debug)]
pub struct Read {
    /// The configuration.
    pub loaded: Loaded,
    /// What it was read from.
    pub inputs: Inputs,
}

/// All that was read from the file system for one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    #[serde(with = "encoded")]
    files: BTreeMap<PathBuf, Vec<u8>>,
    directories: BTreeMap<PathBuf, Vec<String>>,
}

impl Source {
    /// The same file, whatever the working directory becomes.
    pub fn make_absolute(&mut self) {
        if let Ok(absolute) = std::path::absolute(&self.file) {
            self.file = absolute;
        }
    }

    /// Reads the files as they are now; for a blocking thread.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn read(&self) -> Result<Read, ConfigErrors> {
        let system = SystemHost::new();
        let witness = Witness {
            host: &system,
            files: Files::Recorded(RefCell::default()),
        };
        let loaded = load(&self.file, &self.overrides, Strictness::Lenient, &witness)?;
        let inputs = match witness.files {
            Files::Recorded(inputs) => inputs.into_inner(),
            Files::Replayed(inputs) => inputs.clone(),
        };
        Ok(Read { loaded, inputs })
    }

    /// Reads what was read before, whatever the files are now.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, such as a user who is no longer there.
    pub fn read_again(&self, inputs: &Inputs) -> Result<Loaded, ConfigErrors> {
        let host = Witness {
            host: &SystemHost::new(),
            files: Files::Replayed(inputs),
        };
        load(&self.file, &self.overrides, Strictness::Lenient, &host)
    }
}

/// A host whose files are written down as they are read, or are what they were.
struct Witness<'a> {
    host: &'a dyn Host,
    files: Files<'a>,
}

enum Files<'a> {
    Recorded(RefCell<Inputs>),
    Replayed(&'a Inputs),
}

impl Host for Witness<'_> {
    fn environment(&self) -> &BTreeMap<String, String> {
        self.host.environment()
    }

    fn node_name(&self) -> &str {
        self.host.node_name()
    }

    fn current_dir(&self) -> &Path {
        self.host.current_dir()
    }

    fn effective_uid(&self) -> u32 {
        self.host.effective_uid()
    }

    fn user_by_name(&self, name: &str) -> Option<User> {
        self.host.user_by_name(name)
    }

    fn user_by_uid(&self, uid: u32) -> Option<User> {
        self.host.user_by_uid(uid)
    }

    fn group_by_name(&self, name: &str) -> Option<UnixGroup> {
        self.host.group_by_name(name)
    }

    fn group_by_gid(&self, gid: u32) -> Option<UnixGroup> {
        self.host.group_by_gid(gid)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.host.is_dir(path)
    }

    fn private_owner(&self, path: &Path) -> Option<u32> {
        self.host.private_owner(path)
    }

    fn exists(&self, path: &Path) -> bool {
        match &self.files {
            Files::Recorded(_) => self.host.exists(path),
            Files::Replayed(inputs) => inputs.files.contains_key(path) || self.host.exists(path),
        }
    }

    fn is_special(&self, path: &Path) -> bool {
        self.host.is_special(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match &self.files {
            Files::Recorded(inputs) => {
                let bytes = self.host.read(path)?;
                let mut inputs = inputs.borrow_mut();
                inputs.files.insert(path.to_owned(), bytes.clone());
                Ok(bytes)
            }
            Files::Replayed(inputs) => {
                let kept = inputs.files.get(path);
                kept.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }

    fn names_in(&self, directory: &Path) -> Vec<String> {
        match &self.files {
            Files::Recorded(inputs) => {
                let names = self.host.names_in(directory);
                let mut inputs = inputs.borrow_mut();
                let directories = &mut inputs.directories;
                directories.insert(directory.to_owned(), names.clone());
                names
            }
            Files::Replayed(inputs) => {
                let kept = inputs.directories.get(directory);
                kept.cloned().unwrap_or_default()
            }
        }
    }

    fn temporary_dir(&self) -> PathBuf {
        self.host.temporary_dir()
    }
}

/// Bytes of files as text.
mod encoded {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    type Files = BTreeMap<PathBuf, Vec<u8>>;

    pub(super) fn serialize<S: Serializer>(files: &Files, to: S) -> Result<S::Ok, S::Error> {
        let text = files
            .iter()
            .map(|(path, bytes)| (path, STANDARD.encode(bytes)));
        text.collect::<BTreeMap<_, _>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Files, D::Error> {
        let text = BTreeMap::<PathBuf, String>::deserialize(from)?;
        let files = text.into_iter().map(|(path, text)| {
            let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
            Ok((path, bytes))
        });
        files.collect()
    }
}
