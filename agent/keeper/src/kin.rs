//! What runs have left behind, found without cgroups.
//!
//! Whatever a program starts and leaves becomes a child of the keeper, and it still has the program's
//! mark in the environment it was started with; what it has started itself belongs to it. Where the run
//! was not our child (its keeper has died) what it leaves becomes somebody else's, and everything has to
//! be looked through for the mark. What a program has left that leaves daemons has another mark, and is
//! passed over with all that it has started.
//!
//! A number found here may be another's by the time it is used. So it is signalled through a pidfd, and
//! only if the process that the pidfd names began when the one that was found did.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags};

use crate::{os, process};

/// The variable that names the run.
const RUN: &[u8] = b"RSV_RUN=";

/// The variable that names the keeper, by its socket.
const KEEPER: &[u8] = b"RSV_KEEPER=";

/// The variable that says, by the same socket, that what has left its program is to stay.
const STAYS: &[u8] = b"RSV_STAYS=";

/// How many generations below an orphan are followed.
const DEPTH: u32 = 64;

/// Processes that runs have left, by key. Under the empty key: whose they are is not known.
#[derive(Debug, Default)]
pub(crate) struct Kin {
    members: BTreeMap<String, Vec<Member>>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    pid: u32,
    start_ticks: u64,
}

/// A process that exists.
#[derive(Clone, Copy, Debug)]
struct Known {
    parent: u32,
    member: Member,
}

/// What an environment says of its process.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// It belongs to this key.
    Key(String),
    /// It is left alone.
    Stays,
    /// Nothing.
    None,
}

/// What a program finds in its environment, so that what it leaves can be told from everything else.
pub(crate) fn marks(key: &str, attempt: u64, socket: &Path) -> [Vec<u8>; 2] {
    let run = format!("{key}#{attempt}");
    [
        [RUN, run.as_bytes()].concat(),
        [KEEPER, socket.as_os_str().as_bytes()].concat(),
    ]
}

/// The same for a program that leaves daemons: they are nobody's.
pub(crate) fn staying_marks(key: &str, attempt: u64, socket: &Path) -> [Vec<u8>; 2] {
    let [run, _] = marks(key, attempt, socket);
    [run, [STAYS, socket.as_os_str().as_bytes()].concat()]
}

/// Whether it is one of the variables above, with whatever value.
pub(crate) fn is_mark(assignment: &[u8]) -> bool {
    [RUN, KEEPER, STAYS]
        .iter()
        .any(|name| assignment.starts_with(name))
}

impl Kin {
    /// Looks among our children and what they have started; `is_anywhere`: among all processes.
    /// `is_run` tells the processes of runs, which have been left by nobody.
    pub(crate) fn look(socket: &Path, is_anywhere: bool, is_run: impl Fn(u32) -> bool) -> Self {
        let orphans = children().map(|mut children| {
            children.retain(|pid| !is_run(*pid));
            children
        });
        // The usual case, which costs one small read.
        if !is_anywhere && orphans.as_ref().is_some_and(Vec::is_empty) {
            return Self::default();
        }
        let known = everything();
        let own = std::process::id();
        let mut kin = Self::default();
        for (pid, process) in &known {
            if process.parent == own && !is_run(*pid) {
                let key = match mark_of(*pid, socket) {
                    Mark::Key(key) => key,
                    Mark::None => String::new(),
                    Mark::Stays => continue,
                };
                kin.take(&known, *pid, &key, socket, DEPTH);
            } else if is_anywhere
                && !is_run(*pid)
                && *pid != own
                && let Mark::Key(key) = mark_of(*pid, socket)
                && is_here(*pid)
            {
                kin.add(key, process.member);
            }
        }
        kin
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether something of a key was found.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// Signals what was found of a key.
    pub(crate) fn signal(&self, key: &str, signal: i32) {
        for member in self.members.get(key).into_iter().flatten() {
            member.signal(signal);
        }
    }

    /// Signals all that was found.
    pub(crate) fn signal_all(&self, signal: i32) {
        for member in self.members.values().flatten() {
            member.signal(signal);
        }
    }

    fn take(
        &mut self,
        known: &BTreeMap<u32, Known>,
        pid: u32,
        key: &str,
        socket: &Path,
        depth: u32,
    ) {
        let Some(process) = known.get(&pid) else {
            return;
        };
        self.add(key.to_owned(), process.member);
        if depth == 0 {
            return;
        }
        for (child, _) in known.iter().filter(|(_, other)| other.parent == pid) {
            match mark_of(*child, socket) {
                Mark::Key(own) => self.take(known, *child, &own, socket, depth - 1),
                Mark::None => self.take(known, *child, key, socket, depth - 1),
                Mark::Stays => {}
            }
        }
    }

    fn add(&mut self, key: String, member: Member) {
        self.members.entry(key).or_default().push(member);
    }
}

impl Member {
    fn signal(self, signal: i32) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(pidfd) = pidfd
            && process::read_start_ticks(self.pid) == Some(self.start_ticks)
        {
            // It may have ended since.
            os::signal_process(pidfd.as_fd(), signal).ok();
        }
    }
}

/// Our children; `None` where the kernel does not list them.
fn children() -> Option<Vec<u32>> {
    let own = std::process::id();
    let listed = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).ok()?;
    let numbers = listed.split_ascii_whitespace();
    Some(numbers.filter_map(|text| text.parse().ok()).collect())
}

/// Every process that has not ended.
fn everything() -> BTreeMap<u32, Known> {
    let mut known = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && let Ok(stat) = std::fs::read(entry.path().join("stat"))
            && let Some(process) = read(pid, &String::from_utf8_lossy(&stat))
        {
            known.insert(pid, process);
        }
    }
    known
}

fn read(pid: u32, stat: &str) -> Option<Known> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?);
    if matches!(state, "Z" | "X") {
        return None;
    }
    let start_ticks = process::start_ticks(stat)?;
    Some(Known {
        parent: parent.parse().ok()?,
        member: Member { pid, start_ticks },
    })
}

/// This keeper's mark in a process's environment. It is what the process was started with; one that has
/// overwritten it has no mark.
fn mark_of(pid: u32, socket: &Path) -> Mark {
    let environment = std::fs::read(format!("/proc/{pid}/environ"));
    environment.map_or(Mark::None, |environment| mark_in(&environment, socket))
}

fn mark_in(environment: &[u8], socket: &Path) -> Mark {
    let value = |name: &[u8]| {
        let mut entries = environment.split(|byte| *byte == 0);
        entries.find_map(|entry| entry.strip_prefix(name))
    };
    let socket = Some(socket.as_os_str().as_bytes());
    if value(STAYS) == socket {
        return Mark::Stays;
    }
    let run = value(RUN).filter(|_| value(KEEPER) == socket);
    let run = run.and_then(|run| std::str::from_utf8(run).ok()?.rsplit_once('#'));
    run.map_or(Mark::None, |(key, _)| Mark::Key(key.to_owned()))
}

/// Whether a process is not inside a container of its own, where another keeper may have our path.
fn is_here(pid: u32) -> bool {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace("self");
    own.is_some() && namespace(&pid.to_string()) == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_this_keepers_and_names_the_key() {
        let socket = Path::new("/run/k.sock");
        let environment = |key, path| {
            let mut entries = vec![b"A=1".to_vec()];
            entries.extend(marks(key, 7, Path::new(path)));
            entries.join(&0)
        };
        let own = environment("g:a#b", "/run/k.sock");
        assert_eq!(mark_in(&own, socket), Mark::Key("g:a#b".into()));
        let other = environment("g:a", "/run/other");
        assert_eq!(mark_in(&other, socket), Mark::None);
        assert_eq!(mark_in(b"RSV_RUN=g:a#1", socket), Mark::None);
        assert_eq!(mark_in(b"", socket), Mark::None);
        let staying = staying_marks("g:a", 1, socket);
        assert_eq!(mark_in(&staying.join(&0), socket), Mark::Stays);
        let elsewhere = Path::new("/run/other");
        assert_eq!(mark_in(&staying.join(&0), elsewhere), Mark::None);
        let all = marks("g:a", 1, socket).into_iter().chain(staying);
        assert!(all.into_iter().all(|mark| is_mark(&mark)));
    }

    #[test]
    fn only_what_has_not_ended_is_known() {
        let stat =
            |state| format!("9 (a) b) {state} 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 99");
        let known = read(9, &stat('S')).unwrap();
        assert_eq!((known.parent, known.member.start_ticks), (4, 99));
        assert!(read(9, &stat('Z')).is_none());
        assert!(read(9, "").is_none());
        assert!(everything().contains_key(&std::process::id()));
    }
}
