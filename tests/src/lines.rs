//! Numbered lines: what the victim writes, and what its log must then hold.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The line with this number, with its end.
pub fn line(number: u64) -> String {
    let padding = usize::try_from(number % 97).unwrap_or_default();
    format!("{number:010} {}\n", "x".repeat(padding))
}

/// Everything that a log holds with its rotated files, oldest first.
///
/// # Panics
///
/// When a file cannot be read.
pub fn whole_log(log: &Path) -> Vec<u8> {
    let mut files = rotated(log);
    files.reverse();
    files.push(log.to_owned());
    files
        .iter()
        .flat_map(|file| fs::read(file).expect("a log file can be read"))
        .collect()
}

/// The rotated files of a log, newest first.
pub fn rotated(log: &Path) -> Vec<PathBuf> {
    (1..)
        .map(|n| PathBuf::from(format!("{}.{n}", log.display())))
        .take_while(|f| f.exists())
        .collect()
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
