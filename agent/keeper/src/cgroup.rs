//! A cgroup of its own for each program, below the keeper's, where the system lets us have one.
//!
//! Whatever a program starts stays in its cgroup, so that a stop can end all of it. No controller is
//! enabled: the keeper may stay where it is, and nothing is limited. The cgroup belongs to the key and
//! not to the run, because what survives a crash is still to be ended by the next stop. Names depend on
//! the key and the keeper's socket alone: the next keeper finds what a dead one left.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::log::say;
use crate::target;

/// The longest name of a key's cgroup; a longer one is cut and told from others by its digest.
const NAME: usize = 200;

/// How long what a dead keeper has left may take to end before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// How deep cgroups that programs have made themselves are removed.
const DEPTH: u32 = 8;

/// The cgroups of all programs.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// Where they are; absent: the system does not let us have any.
    base: Option<PathBuf>,
    /// What a dead keeper has left and nobody has claimed: since when it has been asked to end.
    strays: BTreeMap<PathBuf, Option<Instant>>,
    is_trouble_known: bool,
}

/// What stands in the way of a new run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing.
    Free,
    /// Processes of a run that a dead keeper has left; they were told to end.
    Occupied,
}

impl Cgroups {
    /// None at all.
    pub(crate) fn none() -> Self {
        Self {
            base: None,
            strays: BTreeMap::new(),
            is_trouble_known: false,
        }
    }

    /// Those in a directory.
    #[cfg(test)]
    pub(crate) fn at(base: PathBuf) -> Self {
        Self {
            base: Some(base),
            ..Self::none()
        }
    }

    /// Those of the keeper at a socket.
    pub(crate) fn of(socket: &Path) -> Self {
        let base = own_directory().map(|own| own.join(format!("rsv-{:016x}", digest(socket))));
        let base = base.filter(|base| make(base).is_ok());
        Self {
            base,
            ..Self::none()
        }
    }

    /// The same, for a keeper that has just been started: what is in them is nobody's until an agent
    /// gives it to us.
    pub(crate) fn found(socket: &Path) -> Self {
        let mut cgroups = Self::of(socket);
        let entries = cgroups.base.as_ref().map(std::fs::read_dir);
        for entry in entries.into_iter().flatten().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                match is_populated(&path) {
                    true => drop(cgroups.strays.insert(path, None)),
                    false => remove(&path, DEPTH),
                }
            }
        }
        cgroups
    }

    /// The cgroup of a key, which is made if need be; `None` when it cannot be had.
    pub(crate) fn enter(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.base.as_ref()?.join(name(key));
        match make(&path) {
            Ok(()) => Some(path),
            Err(error) => {
                if !std::mem::replace(&mut self.is_trouble_known, true) {
                    let path = path.display();
                    say(format_args!("no cgroup `{path}`: {error}"));
                }
                None
            }
        }
    }

    /// Where the cgroup of a key is, if it has one.
    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.base.as_ref()?.join(name(key)))
    }

    /// What was left in a cgroup has been ended.
    pub(crate) fn emptied(&mut self, path: &Path) {
        self.strays.remove(path);
        self.leave(path.as_os_str().as_bytes());
    }

    /// Whether a new run may enter a cgroup. What a dead keeper has left there is told to end by this
    /// signal, and killed when it has had its time.
    pub(crate) fn clear(&mut self, path: &Path, signal: i32, now: Instant) -> Way {
        let Some(asked) = self.strays.get_mut(path) else {
            return Way::Free;
        };
        if is_populated(path) {
            let is_late = asked.is_some_and(|at| now >= at + GRACE);
            let signal = if is_late { libc::SIGKILL } else { signal };
            asked.get_or_insert(now);
            // Whoever cannot be reached is found again the next time.
            target::tree(path, signal).ok();
            return Way::Occupied;
        }
        self.strays.remove(path);
        // A new one, in which nobody has ever been killed.
        remove(path, DEPTH);
        match make(path) {
            Ok(()) => Way::Free,
            // Whoever is in the way there is found by the next attempt.
            Err(_) => Way::Occupied,
        }
    }

    /// An agent has given us the run in this cgroup.
    pub(crate) fn claim(&mut self, path: &[u8]) {
        self.strays
            .retain(|stray, _| stray.as_os_str().as_bytes() != path);
    }

    /// Removes the cgroup of a key that has no runs any more, unless something is left in it.
    pub(crate) fn leave(&self, path: &[u8]) {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        if self.base.is_some() && path.parent() == self.base.as_deref() {
            remove(path, DEPTH);
        }
    }

    /// All of them, for the keeper's own end.
    pub(crate) fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// Removes all that are empty. The keeper is about to go.
    pub(crate) fn remove_all(&self) {
        if let Some(base) = &self.base {
            remove(base, DEPTH + 1);
        }
    }
}

/// Whether a process is in a cgroup or below.
pub(crate) fn is_populated(path: &Path) -> bool {
    std::fs::read_to_string(path.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

fn make(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes a cgroup and those below, as far as they are empty.
fn remove(path: &Path, depth: u32) {
    if depth == 0 || std::fs::remove_dir(path).is_ok() {
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path(), depth - 1);
        }
    }
    // It stays while somebody is in it.
    std::fs::remove_dir(path).ok();
}

/// This process's own cgroup in the second hierarchy, as a directory.
fn own_directory() -> Option<PathBuf> {
    let memberships = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = memberships.lines().find_map(|l| l.strip_prefix("0::"))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts
        .lines()
        .filter_map(|line| directory(line, own))
        .find(|directory| directory.join("cgroup.procs").exists())
}

/// Where a mount of the second hierarchy has a cgroup; `None` for other mounts, and for one that does
/// not reach it.
fn directory(mount: &str, cgroup: &str) -> Option<PathBuf> {
    let (place, kind) = mount.split_once(" - ")?;
    if kind.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = place.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let below = Path::new(cgroup).strip_prefix(root).ok()?;
    // Such a path with a blank in it is written otherwise, and then the directory is not found.
    Some(Path::new(point).join(below))
}

/// The name of a key's cgroup. Files of the system in a cgroup have no `:` in their names, and keys
/// have one; `.` at the start is kept from hiding.
fn name(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for byte in key.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
        if is_plain || (byte == b'.' && !name.is_empty()) {
            name.push(char::from(byte));
        } else {
            // Writing to a string always succeeds.
            write!(name, "%{byte:02X}").ok();
        }
    }
    if name.len() > NAME {
        name.truncate(NAME);
        write!(name, "%{:016x}", digest(key)).ok();
    }
    name
}

/// FNV-1a: tells names apart, and is the same in every version of the keeper.
fn digest(of: impl AsRef<std::ffi::OsStr>) -> u64 {
    let bytes = of.as_ref().as_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_becomes_a_name_that_no_other_key_has() {
        assert_eq!(name("web:web"), "web:web");
        assert_eq!(name("a/b:c d"), "a%2Fb:c%20d");
        assert_eq!(name(".hidden:x.1"), "%2Ehidden:x.1");
        assert_eq!(name("%2E:x"), "%252E:x");
        assert_eq!(name("\u{e4}:x"), "%C3%A4:x");
        let (one, other) = (format!("{}:a", "x".repeat(300)), "x".repeat(300));
        assert_ne!(name(&one), name(&other));
        assert!(name(&one).len() < 255);
    }

    #[test]
    fn the_own_cgroup_is_found_in_pure_and_hybrid_layouts_and_containers() {
        let pure = "24 1 0:21 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw";
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let part = "41 31 0:38 /pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let first = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        let unit = "/system.slice/rsv-keeper.service";
        let below = |root: &str| Some(PathBuf::from(format!("{root}{unit}")));
        assert_eq!(directory(pure, unit), below("/sys/fs/cgroup"));
        assert_eq!(directory(hybrid, unit), below("/sys/fs/cgroup/unified"));
        assert_eq!(directory(part, "/pod/a"), Some("/sys/fs/cgroup/a".into()));
        assert_eq!(directory(part, "/elsewhere"), None);
        assert_eq!(directory(first, unit), None);
        assert_eq!(directory("", unit), None);
    }
}
