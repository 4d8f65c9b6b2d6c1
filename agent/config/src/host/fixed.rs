//! A machine made of given facts, for tests and examples.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::{Host, UnixGroup, User};

/// A host whose facts are fixed. The default has the users `root` and `nobody`, a current directory
/// `/srv`, every directory except those below `/nonexistent`, and devices below `/dev`.
#[derive(Debug, Clone)]
pub struct FixedHost {
    environment: BTreeMap<String, String>,
    users: Vec<User>,
    groups: Vec<UnixGroup>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    missing: BTreeSet<PathBuf>,
    private: BTreeMap<PathBuf, u32>,
}

impl Default for FixedHost {
    fn default() -> Self {
        let user = |name: &str, id, home: &str| User {
            name: name.into(),
            uid: id,
            gid: id,
            home: home.into(),
        };
        let group = |name: &str, gid| UnixGroup {
            name: name.into(),
            gid,
        };
        Self {
            environment: BTreeMap::from([("HOME".into(), "/root".into())]),
            users: vec![
                user("root", 0, "/root"),
                user("nobody", 65534, "/nonexistent"),
            ],
            groups: vec![group("root", 0), group("nogroup", 65534)],
            files: BTreeMap::new(),
            missing: BTreeSet::from([PathBuf::from("/nonexistent")]),
            private: BTreeMap::new(),
        }
    }
}

impl FixedHost {
    /// Sets an environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Adds a file; its directories then can be listed.
    pub fn file(mut self, path: &str, text: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), text.as_ref().to_vec());
        self
    }

    /// Adds a directory that only this user may use.
    pub fn private(mut self, path: impl Into<PathBuf>, uid: u32) -> Self {
        self.private.insert(path.into(), uid);
        self
    }

    /// Adds a group.
    pub fn group(mut self, name: &str, gid: u32) -> Self {
        self.groups.push(UnixGroup {
            name: name.into(),
            gid,
        });
        self
    }

    fn resolved(&self, path: &Path) -> PathBuf {
        let joined = self.current_dir().join(path);
        joined.components().collect()
    }
}

impl Host for FixedHost {
    fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    fn node_name(&self) -> &str {
        "node1"
    }

    fn current_dir(&self) -> &Path {
        Path::new("/srv")
    }

    fn effective_uid(&self) -> u32 {
        0
    }

    fn user_by_name(&self, name: &str) -> Option<User> {
        self.users.iter().find(|user| user.name == name).cloned()
    }

    fn user_by_uid(&self, uid: u32) -> Option<User> {
        self.users.iter().find(|user| user.uid == uid).cloned()
    }

    fn group_by_name(&self, name: &str) -> Option<UnixGroup> {
        self.groups.iter().find(|group| group.name == name).cloned()
    }

    fn group_by_gid(&self, gid: u32) -> Option<UnixGroup> {
        self.groups.iter().find(|group| group.gid == gid).cloned()
    }

    fn is_dir(&self, path: &Path) -> bool {
        let path = self.resolved(path);
        !self.files.contains_key(&path) && !self.missing.iter().any(|gone| path.starts_with(gone))
    }

    fn private_owner(&self, path: &Path) -> Option<u32> {
        self.private.get(path).copied()
    }

    fn exists(&self, path: &Path) -> bool {
        let path = self.resolved(path);
        self.files.keys().any(|file| file.starts_with(&path))
    }

    fn is_special(&self, path: &Path) -> bool {
        path.starts_with("/dev")
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files
            .get(&self.resolved(path))
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names_in(&self, directory: &Path) -> Vec<String> {
        let directory = self.resolved(directory);
        let names: BTreeSet<String> = self
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(&directory).ok()?.components().next())
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.into_iter().collect()
    }

    fn temporary_dir(&self) -> PathBuf {
        PathBuf::from("/tmp")
    }
}
