//! Numbered lines: what the victim writes, and what its log must then hold.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The line with this number, with its end.
pub fn line(number: u64) -> String {
    let padding = usize::try_from(number % 97).unwrap_or_default();
    format!("{number:010} {}\n", "x".repeat(padding))
}

/// Everything that a log holds with its rotated files, oldest first. Nothing while it is being rotated: the names
/// move under the reader then.
///
/// # Panics
///
/// When a file cannot be read.
pub fn whole_log(log: &Path) -> Option<Vec<u8>> {
    let files = chain(log)?;
    let mut whole = Vec::new();
    for (_, file) in files.iter().rev() {
        match fs::read(file) {
            Ok(bytes) => whole.extend(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("{}: {error}", file.display()),
        }
    }
    (chain(log)? == files).then_some(whole)
}

/// The log and its rotated files with their inodes, newest first; nothing while one of them has no name.
fn chain(log: &Path) -> Option<Vec<(u64, PathBuf)>> {
    let mut files = rotated(log);
    files.insert(0, log.to_owned());
    let known = files.into_iter().enumerate().map(|(number, file)| {
        let in_place = number == 0 || file == numbered(log, number);
        let inode = fs::metadata(&file).ok()?.ino();
        in_place.then_some((inode, file))
    });
    known.collect()
}

/// The rotated files of a log, newest first. While it is being rotated one number may be missing.
///
/// # Panics
///
/// When its directory cannot be read.
pub fn rotated(log: &Path) -> Vec<PathBuf> {
    let directory = log.parent().expect("a log is in a directory");
    let entries = fs::read_dir(directory).expect("a directory can be read");
    let number = |path: &Path| -> Option<usize> {
        let name = path.to_str()?.strip_prefix(log.to_str()?)?;
        name.strip_prefix('.')?.parse().ok()
    };
    let mut numbers: Vec<usize> = entries
        .filter_map(|entry| number(&entry.expect("an entry").path()))
        .collect();
    numbers.sort_unstable();
    let path = |n| numbered(log, n);
    numbers.into_iter().map(path).collect()
}

fn numbered(log: &Path, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", log.display()))
}

/// Asserts that a log holds exactly the lines 0 to `count`, and says where it differs first.
///
/// # Panics
///
/// When it does not.
#[track_caller]
pub fn assert_exact(log: &[u8], count: u64) {
    let mut rest = log;
    for number in 0..count {
        let expected = line(number);
        let Some(after) = rest.strip_prefix(expected.as_bytes()) else {
            let at = log.len() - rest.len();
            let found = String::from_utf8_lossy(&rest[..rest.len().min(60)]);
            panic!(
                "line {number} of {count} is not at byte {at} of {}: {found:?}",
                log.len()
            );
        };
        rest = after;
    }
    assert!(rest.is_empty(), "{} bytes too many", rest.len());
}
