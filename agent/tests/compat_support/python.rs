//! Python with Supervisor's own packages.

use std::path::PathBuf;
use std::process::Command;

/// Where the environment is; made when it is not there.
pub(crate) fn environment() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python.sh");
    let made = Command::new(script).output().unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "tests/python.sh: {said}");
    PathBuf::from(String::from_utf8(made.stdout).unwrap().trim())
}
