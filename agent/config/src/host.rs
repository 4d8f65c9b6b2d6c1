//! What a configuration asks the machine: users, groups, directories, environment and files.
//!
//! Everything else in this crate is pure; tests use [`FixedHost`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

mod fixed;
mod paths;
mod remembered;
mod system;
mod users;

pub use fixed::FixedHost;
pub use system::SystemHost;
pub use users::{Owner, UnixGroup, User};

pub(crate) use paths::{absolute, expand_home, matching_files};
pub(crate) use remembered::Remembered;
pub(crate) use users::{find_group, find_owner, find_user};

/// The facts about a machine that a configuration depends on.
pub trait Host {
    /// The environment, for `%(ENV_X)s`.
    fn environment(&self) -> &BTreeMap<String, String>;
    /// The node name of `uname`.
    fn node_name(&self) -> &str;
    /// The current directory, absolute.
    fn current_dir(&self) -> &Path;
    /// The user of this process.
    fn effective_uid(&self) -> u32;
    /// The user of that name.
    fn user_by_name(&self, name: &str) -> Option<User>;
    /// The user of that number.
    fn user_by_uid(&self, uid: u32) -> Option<User>;
    /// The group of that name.
    fn group_by_name(&self, name: &str) -> Option<UnixGroup>;
    /// The group of that number.
    fn group_by_gid(&self, gid: u32) -> Option<UnixGroup>;
    /// Whether the path is a directory.
    fn is_dir(&self, path: &Path) -> bool;
    /// The user whose directory this is, when it is no link and nobody else may use it.
    fn private_owner(&self, path: &Path) -> Option<u32>;
    /// Whether the path exists.
    fn exists(&self, path: &Path) -> bool;
    /// The file's bytes.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a directory, in any order; none when it cannot be read.
    fn names_in(&self, directory: &Path) -> Vec<String>;
    /// Whether something other than a file is there, such as a terminal, a pipe or `/dev/null`.
    fn is_special(&self, path: &Path) -> bool;
    /// The directory for temporary files.
    fn temporary_dir(&self) -> PathBuf;
}
