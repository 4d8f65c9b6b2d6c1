//! The units in `deploy/systemd` are what systemd understands, and an agent says that it is ready
//! when it is.

use std::{fs, os::unix::net::UnixDatagram, process::Command};

use rsv_tests::{
    binaries::checkout,
    command::{command, run},
    daemon::Daemon,
    eventually::PATIENCE,
    host::Host,
};

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

#[test]
fn an_agent_that_says_it_is_ready_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let programs = "[program:app]\ncommand = /bin/sleep 1000\nstartsecs = 0\n";
    let host = Host::new(directory.path(), "h", "", programs);
    let path = host.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut agent = command("rsv-agent", ["-n", "-c"]);
    agent.arg(host.configuration()).env("NOTIFY_SOCKET", &path);

    let _agent = Daemon::start(&mut agent, &host.path("agent.out"));

    let mut word = [0; 256];
    let length = socket.recv(&mut word).expect("the agent says something");
    assert!(
        word[..length].starts_with(b"READY=1"),
        "{:?}",
        &word[..length]
    );
    host.rsv(["version"]).expect_code(0);
}
