//! The units in `deploy/systemd` are what systemd understands.

use std::{fs, process::Command};

use rsv_tests::{binaries::checkout, command::run};

/// A unit names binaries under /usr/bin, which a checkout has not installed: the check is run on
/// copies that name one that is there.
#[test]
fn systemd_finds_nothing_to_complain_about() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut units = Vec::new();
    for entry in fs::read_dir(checkout().join("deploy/systemd")).expect("the units") {
        let path = entry.expect("a readable directory").path();
        if path
            .extension()
            .is_none_or(|e| e != "service" && e != "socket")
        {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a unit");
        let copy = directory
            .path()
            .join(path.file_name().expect("a file has a name"));
        let text = ["rsv-agent", "rsv-keeper", "rsv-controller"]
            .iter()
            .fold(text, |text, name| {
                text.replace(&format!("/usr/bin/{name}"), "/bin/true")
            });
        fs::write(&copy, text).expect("a copy");
        units.push(copy);
    }
    assert!(units.len() >= 3, "keeper, agent and controller: {units:?}");
    let verified = run(Command::new("systemd-analyze").arg("verify").args(&units)).expect_code(0);
    assert_eq!(verified.both().trim(), "");
}
