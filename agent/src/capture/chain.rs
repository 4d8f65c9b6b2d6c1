//! The chain of rotated files: `NAME`, `NAME.1`, `NAME.2` and so on, the higher the older.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::ledger::Found;
use crate::logbook::index::{FileKey, numbered};

/// Above this many files a gap in the numbers is taken for the end of the chain when it is read.
const LOOK_BEYOND_GAPS: usize = 64;

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

/// The whole chain, the current file first.
pub(super) fn survey(path: &Path, backups: u32) -> io::Result<Vec<Option<Found>>> {
    let mut found = vec![look(path)?];
    for number in 1..=backups as usize {
        let file = look(&numbered(path, number))?;
        if file.is_none() && number > LOOK_BEYOND_GAPS {
            break;
        }
        found.push(file);
    }
    Ok(found)
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
    fn files_above_the_limit_stay_as_they_are() {
        let (_directory, path) = chain(&["d", "c", "b", "a"]);
        shift(&path, &plan(&path, 1).unwrap()).unwrap();
        assert_eq!(read(&path, 4), ["", "d", "b", "a"]);
    }
}
