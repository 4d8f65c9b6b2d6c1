//! Python with Supervisor's own packages.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the environment is; made when it is not there.
///
/// # Panics
///
/// When it cannot be made.
pub fn environment() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python.sh");
    let made = Command::new(script).output().expect("tests/python.sh runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "tests/python.sh: {said}");
    let path = String::from_utf8(made.stdout).expect("a path is text");
    PathBuf::from(path.trim())
}
