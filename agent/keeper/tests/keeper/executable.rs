//! Files that are made to be executed. Another process writes them: one that another test forks meanwhile would
//! hold them open for writing, and nothing could execute them.

use std::path::Path;
use std::process::Command;

/// Makes a script that can be executed.
pub(crate) fn write_executable(path: &Path, content: &str) {
    let written = Command::new("sh")
        .args(["-c", "printf %s \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .arg(content)
        .status();
    assert!(written.unwrap().success());
}
