//! Where an agent without `[agent]` section keeps its sockets and its state: beside its pidfile, or where
//! the command line finds them, too; never in what somebody else has put there. Who somebody else is needs
//! root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agent::{Agent, command, configured, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rsv_config::Locations;
use rsv_config::host::SystemHost;
use tempfile::TempDir;

const REST: &str = "[unix_http_server]\nfile={at}/s.sock\n\
                    [program:a]\ncommand=/bin/sleep 600\nstartsecs=0\n";

/// Somebody who is neither root nor `nobody`.
const SOMEBODY: u32 = 4_000_000;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A configuration with this pidfile, or the usual one.
fn with_pidfile(pidfile: Option<&Path>) -> TempDir {
    let line = pidfile.map(|pidfile| format!("[supervisord]\npidfile={}\n", pidfile.display()));
    configured(&format!("{}{REST}", line.unwrap_or_default()))
}

fn started(directory: TempDir) -> Agent {
    let mut command = command(directory.path());
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let agent = Agent { child, directory };
    eventually("it runs", || {
        UnixStream::connect(agent.socket()).is_ok() && agent.is_in("a", "RUNNING")
    });
    agent
}

/// Where the command line looks.
fn found(at: &Path) -> Locations {
    let view = rsv_config::client_view(&at.join("s.conf"), &SystemHost::new());
    view.unwrap().locations
}

fn process_of(agent: &Agent) -> String {
    let info = agent.call("getProcessInfo", &["a"]);
    let rest = info.split_once("<name>pid</name>").unwrap().1.to_owned();
    rest.split_once("</int>").unwrap().0.to_owned()
}

fn ended(mut agent: Agent) -> TempDir {
    let pid = Pid::from_raw(agent.child.id().cast_signed());
    kill(pid, Signal::SIGTERM).unwrap();
    agent.child.wait().unwrap();
    std::mem::replace(&mut agent.directory, tempfile::tempdir().unwrap())
}

/// The agent runs elsewhere, is found there, and so is the next one. Comes back when both are gone.
fn check_elsewhere(directory: TempDir) -> TempDir {
    let at = directory.path().to_owned();
    let mut agent = started(directory);
    let found = found(&at);
    let private = found.private_dir.unwrap();
    let made = fs::symlink_metadata(&private).unwrap();
    assert_eq!(made.mode() & 0o777, 0o700);
    assert_eq!(made.uid(), nix::unistd::geteuid().as_raw());
    assert!(!private.starts_with(&at), "{}", private.display());
    UnixStream::connect(&found.socket).unwrap();
    let pid = process_of(&agent);
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    let directory = std::mem::replace(&mut agent.directory, tempfile::tempdir().unwrap());
    let next = started(directory);
    assert_eq!(process_of(&next), pid);
    let said = format!("state is kept in `{}/state`", private.display());
    eventually(&said, || {
        fs::read_to_string(at.join("main.log")).is_ok_and(|log| log.contains(&said))
    });
    let directory = ended(next);
    fs::remove_dir_all(private).unwrap();
    directory
}

#[test]
fn the_usual_place_is_beside_the_pidfile_and_private() {
    let agent = Agent::start("");
    let at = agent.directory.path();
    let private = found(at).private_dir.unwrap();
    assert_eq!(private, at.join("s.rsv"));
    assert_eq!(fs::metadata(private).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn an_agent_that_can_make_nothing_beside_its_pidfile_is_found_elsewhere() {
    let pidfile = PathBuf::from(format!("/proc/rsv-test-{}.pid", std::process::id()));
    let directory = with_pidfile(Some(&pidfile));
    assert!(found(directory.path()).socket.starts_with("/proc"));
    check_elsewhere(directory);
}

#[test]
fn an_agent_whose_sockets_would_have_too_long_names_is_found_elsewhere() {
    let deep = tempfile::tempdir().unwrap();
    let deep = deep.path().join("x".repeat(100));
    fs::create_dir(&deep).unwrap();
    check_elsewhere(with_pidfile(Some(&deep.join("s.pid"))));
    assert!(!deep.join("s.rsv").exists());
}

#[test]
fn what_another_user_has_put_beside_the_pidfile_is_neither_used_nor_changed() {
    if !is_root() {
        return println!("not as root: nobody else's directory can be made");
    }
    let directory = with_pidfile(None);
    let trap = directory.path().join("s.rsv");
    fs::create_dir(&trap).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::chown(&trap, Some(SOMEBODY), None).unwrap();
    let _directory = check_elsewhere(directory);
    let left = fs::metadata(&trap).unwrap();
    assert_eq!((left.mode() & 0o777, left.uid()), (0o777, SOMEBODY));
    assert_eq!(fs::read_dir(&trap).unwrap().count(), 0);
}

#[test]
fn a_link_beside_the_pidfile_is_not_followed() {
    let agent = Agent::start_with("", |at| {
        let victim = at.join("victim");
        fs::DirBuilder::new().mode(0o755).create(&victim).unwrap();
        symlink(&victim, at.join("s.rsv")).unwrap();
    });
    let at = agent.directory.path().to_owned();
    let private = found(&at).private_dir.unwrap();
    assert!(!private.starts_with(&at));
    let victim = at.join("victim");
    assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    ended(agent);
    fs::remove_dir_all(private).unwrap();
}

#[test]
fn an_agent_that_finds_every_place_taken_says_by_whom() {
    if !is_root() {
        return println!("not as root: nobody else's directory can be made");
    }
    let directory = with_pidfile(None);
    let at = directory.path();
    let places = Locations::elsewhere(&at.join("s.pid"), 0).map(|place| place.private_dir.unwrap());
    let taken: Vec<PathBuf> = [at.join("s.rsv")].into_iter().chain(places).collect();
    for place in &taken {
        fs::create_dir(place).unwrap();
        std::os::unix::fs::chown(place, Some(SOMEBODY), None).unwrap();
    }
    let output = command(at).output().unwrap();
    for place in &taken {
        fs::remove_dir(place).unwrap();
    }
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    for place in &taken {
        let line = format!(
            "`{}`: it belongs to the user with uid {SOMEBODY}",
            place.display()
        );
        assert!(said.contains(&line), "{said}");
    }
    assert!(
        said.contains("hint: have removed what is in the way"),
        "{said}"
    );
}
