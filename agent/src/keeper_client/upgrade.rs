//! Whether a keeper that answers is the one that would be started now.
//!
//! A keeper outlives many agents, and so the version of them that started it. An agent that attaches
//! asks it to become the file that belongs to the agent; nothing is let go of for that.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};

use super::{KeeperBinary, KeeperOptions, launch};

/// How much of two files is compared at once.
const PIECE: usize = 64 * 1024;

/// The executable that the keeper at the other end of this connection is to become; `None` when it is
/// what it should be, or when that cannot be known.
pub(super) fn wanted(options: &KeeperOptions, socket: impl AsFd) -> Option<PathBuf> {
    // As this process sees it, which is not what a keeper in a container of its own would say.
    let pid = getsockopt(&socket, sockopt::PeerCredentials).ok()?.pid();
    let running = PathBuf::from(format!("/proc/{pid}/exe"));
    let file = match &options.binary {
        KeeperBinary::Foreign => own_path(&running)?,
        binary => launch::find(binary).ok()?,
    };
    let is_same = is_same(&running, &file).ok()?;
    (!is_same).then_some(file)
}

/// Where a running executable was started from, whatever is there now.
fn own_path(running: &Path) -> Option<PathBuf> {
    let link = std::fs::read_link(running).ok()?;
    let text = link.to_str()?;
    let path = Path::new(text.strip_suffix(" (deleted)").unwrap_or(text));
    Some(path.to_owned())
}

/// Whether two files are one, or have the same content.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (a, b) = (one.metadata()?, other.metadata()?);
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return Ok(true);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let n = one.read(&mut left)?;
        if n == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..n])?;
        if left[..n] != right[..n] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_by_what_is_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let long = vec![7; PIECE + 1];
        let mut other = long.clone();
        other[PIECE] = 8;
        let (a, b, c) = (file("a", &long), file("b", &long), file("c", &other));
        assert!(is_same(&a, &a).unwrap());
        assert!(is_same(&a, &b).unwrap());
        assert!(!is_same(&a, &c).unwrap());
        assert!(!is_same(&a, &file("d", b"7")).unwrap());
        assert!(is_same(&a, &directory.path().join("missing")).is_err());
    }

    #[test]
    fn a_file_that_was_replaced_is_looked_for_under_its_own_name() {
        let own = own_path(Path::new("/proc/self/exe")).unwrap();
        assert_eq!(own, std::env::current_exe().unwrap());
    }
}
