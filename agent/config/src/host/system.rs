//! The machine this process runs on.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{self, Gid, Uid};

use super::{Host, UnixGroup, User};

/// The real host. Environment, node name and current directory are taken once, when it is made.
#[derive(Debug, Clone)]
pub struct SystemHost {
    environment: BTreeMap<String, String>,
    node_name: String,
    current_dir: PathBuf,
}

impl SystemHost {
    /// Takes the facts of this moment. Variables that are not UTF-8 have no `ENV_` name.
    pub fn new() -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let node_name = nix::sys::utsname::uname()
            .map(|names| names.nodename().to_string_lossy().into_owned())
            .unwrap_or_default();
        Self {
            environment,
            node_name,
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        }
    }
}

impl Default for SystemHost {
    fn default() -> Self {
        Self::new()
    }
}

fn user(entry: unistd::User) -> User {
    User {
        name: entry.name,
        uid: entry.uid.as_raw(),
        gid: entry.gid.as_raw(),
        home: entry.dir.to_string_lossy().into_owned(),
    }
}

fn group(entry: unistd::Group) -> UnixGroup {
    UnixGroup {
        name: entry.name,
        gid: entry.gid.as_raw(),
    }
}

/// A name that the C library cannot be asked for is nobody's name.
fn can_be_asked(name: &str) -> bool {
    !name.contains('\0')
}

impl Host for SystemHost {
    fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    fn node_name(&self) -> &str {
        &self.node_name
    }

    fn current_dir(&self) -> &Path {
        &self.current_dir
    }

    fn effective_uid(&self) -> u32 {
        unistd::geteuid().as_raw()
    }

    fn user_by_name(&self, name: &str) -> Option<User> {
        let asked = can_be_asked(name).then(|| unistd::User::from_name(name));
        asked?.ok().flatten().map(user)
    }

    fn user_by_uid(&self, uid: u32) -> Option<User> {
        let entry = unistd::User::from_uid(Uid::from_raw(uid));
        entry.ok().flatten().map(user)
    }

    fn group_by_name(&self, name: &str) -> Option<UnixGroup> {
        let asked = can_be_asked(name).then(|| unistd::Group::from_name(name));
        asked?.ok().flatten().map(group)
    }

    fn group_by_gid(&self, gid: u32) -> Option<UnixGroup> {
        let entry = unistd::Group::from_gid(Gid::from_raw(gid));
        entry.ok().flatten().map(group)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn private_owner(&self, path: &Path) -> Option<u32> {
        let found = std::fs::symlink_metadata(path).ok()?;
        let is_private = found.is_dir() && found.mode() & 0o077 == 0;
        is_private.then(|| found.uid())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_special(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|found| !found.is_file())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn names_in(&self, directory: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect()
    }

    fn temporary_dir(&self) -> PathBuf {
        std::env::temp_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_special_and_a_file_and_nothing_are_not() {
        let host = SystemHost::new();
        for (path, is_special) in [
            ("/dev/null", true),
            ("/proc/self/status", false),
            ("/nonexistent", false),
        ] {
            assert_eq!(host.is_special(Path::new(path)), is_special, "{path}");
        }
    }
}
