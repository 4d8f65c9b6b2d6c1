//! Finding the file that a command names.
//!
//! A name with a slash is the file itself, relative to the program's directory. Any other is looked
//! for in `PATH`; what is there and cannot be executed is passed over, and named only if nothing
//! better is found.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::SpawnError;

/// Where programs are looked for when nobody says.
const DEFAULT_PATH: &str = "/bin:/usr/bin:/usr/local/bin";

/// The file to execute: with a slash in it, and relative to `directory` unless absolute.
pub(super) fn find(
    name: &str,
    path: Option<&OsStr>,
    directory: &Path,
) -> Result<PathBuf, SpawnError> {
    if name.contains('/') {
        let file = PathBuf::from(name);
        return check(&directory.join(&file), &file).map(|()| file);
    }
    let mut first = None;
    for entry in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        // An empty entry is the directory itself, and the result must have a slash.
        let entry = if entry.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            entry
        };
        let file = entry.join(name);
        match check(&directory.join(&file), &file) {
            Ok(()) => return Ok(file),
            Err(SpawnError::NotFound(_)) => {}
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| SpawnError::NotFound(name.to_owned())))
}

fn check(file: &Path, shown: &Path) -> Result<(), SpawnError> {
    let Ok(metadata) = std::fs::metadata(file) else {
        return Err(SpawnError::NotFound(shown.to_string_lossy().into_owned()));
    };
    if metadata.is_dir() {
        return Err(SpawnError::Directory(shown.to_owned()));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(SpawnError::NotExecutable(shown.to_owned()));
    }
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK)
        .map_err(|_| SpawnError::NoPermission(shown.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, mode: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_name_with_a_slash_is_relative_to_the_programs_directory() {
        let dir = tempfile::tempdir().unwrap();
        file(&dir.path().join("run.sh"), 0o755);
        let found = find("./run.sh", None, dir.path()).unwrap();
        assert_eq!(found, Path::new("./run.sh"));
        let missing = find("./stop.sh", None, dir.path()).unwrap_err();
        assert_eq!(missing, SpawnError::NotFound("./stop.sh".into()));
    }

    #[test]
    fn the_search_goes_on_past_what_cannot_be_executed() {
        let dir = tempfile::tempdir().unwrap();
        file(&dir.path().join("a/tool"), 0o644);
        std::fs::create_dir_all(dir.path().join("b/tool")).unwrap();
        let path = OsStr::new("a:b:c");
        let refused = find("tool", Some(path), dir.path()).unwrap_err();
        assert_eq!(refused, SpawnError::NotExecutable("a/tool".into()));
        file(&dir.path().join("c/tool"), 0o755);
        let found = find("tool", Some(path), dir.path()).unwrap();
        assert_eq!(found, Path::new("c/tool"));
    }

    #[test]
    fn a_directory_and_a_name_that_is_nowhere_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let shown = dir.path().join("d");
        let error = find(shown.to_str().unwrap(), None, dir.path()).unwrap_err();
        assert_eq!(error, SpawnError::Directory(shown));
        let error = find("surely-no-such-tool", None, dir.path()).unwrap_err();
        assert_eq!(error, SpawnError::NotFound("surely-no-such-tool".into()));
    }
}
