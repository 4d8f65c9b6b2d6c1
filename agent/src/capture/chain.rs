//! The chain of rotated files: `NAME`, `NAME.1`, `NAME.2` and so on, the higher the older.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::ledger::Found;
use crate::logbook::index::{FileKey, numbered};

/// Up to so many files are looked for by name; a longer chain is found by reading the directory once.
const BY_NAME: usize = 64;

/// What is under a name; nothing when there is nothing.
pub(super) fn look(path: &Path) -> io::Result<Option<Found>> {
    match std::fs::metadata(path) {
        Ok(metadata) => {
            let file = FileKey {
                dev: metadata.dev(),
                ino: metadata.ino(),
            };
            Ok(Some(Found {
                file,
                size: metadata.len(),
            }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The whole chain, the current file first. There may be holes in it.
pub(super) fn survey(path: &Path, backups: u32) -> io::Result<Vec<Option<Found>>> {
    let backups = backups as usize;
    let last = if backups <= BY_NAME {
        backups
    } else {
        highest(path)?.min(backups)
    };
    (0..=last)
        .map(|number| look(&numbered(path, number)))
        .collect()
}

/// The highest number in a directory.
fn highest(path: &Path) -> io::Result<usize> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(0);
    };
    let mut highest = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?.file_name();
        let suffix = entry.as_bytes().strip_prefix(name.as_bytes());
        let digits = suffix.and_then(|suffix| suffix.strip_prefix(b"."));
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}

/// What a shift will do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shift {
    /// The lowest number that becomes free is filled by the one below it, and so on downwards.
    top: usize,
    /// The file that leaves the chain at the top.
    pub(super) leaves: Option<FileKey>,
}

/// Looks for the lowest hole of the chain, so that only what is below it moves; without one the
/// oldest file leaves. `backups` is at least 1.
pub(super) fn plan(path: &Path, backups: u32) -> io::Result<Shift> {
    let backups = backups as usize;
    for number in 1..=backups {
        match look(&numbered(path, number))? {
            None => {
                return Ok(Shift {
                    top: number,
                    leaves: None,
                });
            }
            Some(oldest) if number == backups => {
                return Ok(Shift {
                    top: backups,
                    leaves: Some(oldest.file),
                });
            }
            Some(_) => {}
        }
    }
    Ok(Shift {
        top: 1,
        leaves: None,
    })
}

/// Renames from the top down, so that a kill leaves a hole and never two files in the wrong order.
pub(super) fn shift(path: &Path, shift: &Shift) -> io::Result<()> {
    for number in (1..=shift.top).rev() {
        std::fs::rename(numbered(path, number - 1), numbered(path, number))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn chain(contents: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        for (number, content) in contents.iter().enumerate() {
            if !content.is_empty() {
                std::fs::write(numbered(&path, number), content).unwrap();
            }
        }
        (directory, path)
    }

    fn read(path: &Path, numbers: usize) -> Vec<String> {
        (0..numbers)
            .map(|n| std::fs::read_to_string(numbered(path, n)).unwrap_or_default())
            .collect()
    }

    #[test]
    fn a_shift_moves_each_file_up_by_one() {
        let (_directory, path) = chain(&["c", "b", "a"]);
        shift(&path, &plan(&path, 10).unwrap()).unwrap();
        assert_eq!(read(&path, 5), ["", "c", "b", "a", ""]);
    }

    #[test]
    fn the_oldest_file_leaves_a_full_chain() {
        let (_directory, path) = chain(&["c", "b", "a"]);
        let planned = plan(&path, 2).unwrap();
        assert_eq!(
            planned.leaves,
            look(&numbered(&path, 2)).unwrap().map(|f| f.file)
        );
        shift(&path, &planned).unwrap();
        assert_eq!(read(&path, 4), ["", "c", "b", ""]);
    }

    #[test]
    fn a_hole_is_filled_and_nothing_leaves() {
        let (_directory, path) = chain(&["c", "", "b", "a"]);
        let planned = plan(&path, 3).unwrap();
        assert_eq!(planned.leaves, None);
        shift(&path, &planned).unwrap();
        assert_eq!(read(&path, 5), ["", "c", "b", "a", ""]);
    }

    #[test]
    fn a_long_chain_is_surveyed_beyond_its_holes() {
        let (_directory, path) = chain(&["b"]);
        std::fs::write(numbered(&path, 300), "a").unwrap();
        std::fs::write(numbered(&path, 4_000), "beyond the limit").unwrap();
        std::fs::write(path.with_extension("log.x"), "something else").unwrap();
        let found = survey(&path, 1_000).unwrap();
        let there: Vec<usize> = (0..found.len()).filter(|n| found[*n].is_some()).collect();
        assert_eq!(there, [0, 300]);
    }

    #[test]
    fn files_above_the_limit_stay_as_they_are() {
        let (_directory, path) = chain(&["d", "c", "b", "a"]);
        shift(&path, &plan(&path, 1).unwrap()).unwrap();
        assert_eq!(read(&path, 4), ["", "d", "b", "a"]);
    }
}
