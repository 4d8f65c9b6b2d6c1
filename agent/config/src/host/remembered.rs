//! A host that is asked each question once: a thousand programs of one user are one look-up.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};

use super::{Host, UnixGroup, User};

/// Another host's answers, kept for the time of one load.
pub(crate) struct Remembered<'a> {
    host: &'a dyn Host,
    users: Answers<String, Option<User>>,
    groups: Answers<String, Option<UnixGroup>>,
    directories: Answers<PathBuf, bool>,
}

type Answers<K, V> = RefCell<HashMap<K, V>>;

impl<'a> Remembered<'a> {
    pub(crate) fn new(host: &'a dyn Host) -> Self {
        Self {
            host,
            users: RefCell::default(),
            groups: RefCell::default(),
            directories: RefCell::default(),
        }
    }
}

fn remembered<Q, K, V>(answers: &Answers<K, V>, question: &Q, ask: impl FnOnce() -> V) -> V
where
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    K: Hash + Eq + std::borrow::Borrow<Q>,
    V: Clone,
{
    if let Some(answer) = answers.borrow().get(question) {
        return answer.clone();
    }
    let answer = ask();
    let mut answers = answers.borrow_mut();
    answers.insert(question.to_owned(), answer.clone());
    answer
}

impl Host for Remembered<'_> {
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
        remembered(&self.users, name, || self.host.user_by_name(name))
    }

    fn user_by_uid(&self, uid: u32) -> Option<User> {
        self.host.user_by_uid(uid)
    }

    fn group_by_name(&self, name: &str) -> Option<UnixGroup> {
        remembered(&self.groups, name, || self.host.group_by_name(name))
    }

    fn group_by_gid(&self, gid: u32) -> Option<UnixGroup> {
        self.host.group_by_gid(gid)
    }

    fn is_dir(&self, path: &Path) -> bool {
        remembered(&self.directories, path, || self.host.is_dir(path))
    }

    fn private_owner(&self, path: &Path) -> Option<u32> {
        self.host.private_owner(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.host.exists(path)
    }

    fn is_special(&self, path: &Path) -> bool {
        self.host.is_special(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.host.read(path)
    }

    fn names_in(&self, directory: &Path) -> Vec<String> {
        self.host.names_in(directory)
    }

    fn temporary_dir(&self) -> PathBuf {
        self.host.temporary_dir()
    }
}
