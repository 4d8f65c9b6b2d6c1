//! The units in `deploy/systemd` are what systemd understands, and an agent says that it is ready
//! when it is.

use std::{fs, os::unix::net::UnixDatagram, path::Path, process::Command};

use nix::sys::signal::Signal;
use rsv_tests::{
    binaries::checkout,
    command::{command, run},
    daemon::Daemon,
    eventually::{PATIENCE, eventually},
    host::Host,
};

const PROGRAM: &str = "[program:app]\ncommand = /bin/sleep 1000\nstartsecs = 0\n";

/// What a unit starts, with this checkout's binary, and `paths` in the place of the installed ones.
fn unit(name: &str, paths: &[(&str, &Path)]) -> Command {
    let file = checkout().join(format!("deploy/systemd/{name}.service"));
    let text = fs::read_to_string(file).expect("a unit");
    let start = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let mut words = start.expect("a line of start").split_whitespace();
    let binary = words.next().expect("a binary");
    let words = words.map(|word| {
        let place = paths.iter().find(|(installed, _)| *installed == word);
        place.map_or(Path::new(word), |(_, path)| path)
    });
    command(binary.strip_prefix("/usr/bin/").expect("its path"), words)
}

/// Starts what a unit starts, and waits until it says that it is ready.
fn started(name: &str, paths: &[(&str, &Path)], directory: &Path) -> Daemon {
    let path = directory.join(format!("{name}.notify"));
    fs::remove_file(&path).ok();
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut command = unit(name, paths);
    let output = directory.join(format!("{name}.out"));
    let daemon = Daemon::start(command.env("NOTIFY_SOCKET", &path), &output);
    let mut word = [0; 256];
    let length = socket.recv(&mut word).unwrap_or_else(|error| {
        let output = fs::read_to_string(&output).unwrap_or_default();
        panic!("{name} is not ready: {error}: {output}")
    });
    let said = String::from_utf8_lossy(&word[..length]);
    assert!(said.starts_with("READY=1"), "{name}: {said:?}");
    daemon
}

/// The same for a host's keeper.
fn started_keeper(host: &Host) -> Daemon {
    let socket = host.path("keeper.sock");
    let paths = [("/run/rsv/keeper.sock", socket.as_path())];
    started("rsv-keeper", &paths, &host.path(""))
}

/// The same for its agent.
fn started_agent(host: &Host) -> Daemon {
    let configuration = host.configuration();
    let paths = [("/etc/rsv/agent.conf", configuration.as_path())];
    started("rsv-agent", &paths, &host.path(""))
}

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
    let host = Host::new(directory.path(), "h", "", PROGRAM);
    let _keeper = started_keeper(&host);
    let _agent = started_agent(&host);
    host.rsv(["version"]).expect_code(0);
}

#[test]
fn a_controller_is_ready_with_the_file_that_its_unit_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let mut init = command("rsv-controller", ["init", "--name", "localhost"]);
    run(init.arg("--state-dir").arg(&state)).expect_code(0);
    let file = directory.path().join("controller.conf");
    let text = format!(
        "[controller]\nstate_dir = {}\nlisten = 127.0.0.1:0\n",
        state.display()
    );
    fs::write(&file, text).expect("a configuration");
    let paths = [("/etc/rsv/controller.conf", file.as_path())];
    started("rsv-controller", &paths, directory.path());
}

/// The keeper's unit starts it again, so the agent's must leave that to it: two keepers on one socket, and the
/// unit never comes up again.
#[test]
fn a_killed_keeper_is_started_by_its_unit_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = Host::new(directory.path(), "h", "", PROGRAM);
    let mut keeper = started_keeper(&host);
    let mut agent = started_agent(&host);
    eventually("the program runs", || host.state("app") == "RUNNING");
    let pid = host.pid("app");
    let said = || fs::read_to_string(host.path("log/agent.log")).unwrap_or_default();

    keeper.signal(Signal::SIGKILL);
    eventually("the agent knows", || said().contains("the keeper has gone"));
    assert!(!said().contains("started a keeper"), "{}", said());
    let _next = started_keeper(&host);
    eventually("the agent has the next one", || {
        said().contains("attached to a keeper")
    });

    assert!(!said().contains("started a keeper"), "{}", said());
    assert_eq!(host.pid("app"), pid);
    host.rsv(["stop", "app"]).expect_code(0);
    agent.terminate();
}
