//! The program itself: what it prints, and with which code it ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsv-controller"));
    command
        .args(words)
        .env_remove("RUST_LOG")
        .env_remove("NOTIFY_SOCKET");
    command
}

fn output(words: &[&str]) -> Output {
    command(words).output().unwrap()
}

/// Ends with this code and says this, in a line and a hint at most.
fn check(words: &[&str], code: i32, said: &str) {
    let output = output(words);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    assert!(text.contains(said), "{words:?}: {text}");
    let lines: Vec<&str> = text.lines().filter(|l| !l.contains(" INFO ")).collect();
    assert!(code == 2 || lines.len() <= 2, "{words:?}: {text}");
}

fn init(directory: &Path) -> String {
    let state = directory.join("ctl").display().to_string();
    let made = output(&[
        "init",
        "--state-dir",
        &state,
        "--name",
        "localhost",
        "--listen",
        "127.0.0.1:0",
    ]);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let text = String::from_utf8(made.stdout).unwrap();
    assert_eq!(
        text.lines().last().unwrap(),
        format!("{state}/admin.context")
    );
    state
}

/// Starts a controller and waits until it says that it serves.
fn serving(words: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = command(words).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended");
    }
    (child, lines)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn init_prints_the_path_of_the_context_last_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let state = init(dir.path());
    let again = ["init", "--state-dir", &state, "--name", "localhost"];
    check(&again, 1, "exists and is not empty\nhint: ");
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let state = init(dir.path());
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    check(
        &["run", "--state-dir", &state, "--listen", &address],
        1,
        "cannot listen on",
    );
    check(
        &["run", "--state-dir", "/nonexistent"],
        1,
        "hint: make it with `rsv-controller init",
    );
    check(
        &["run", "-c", "/nonexistent"],
        2,
        "cannot read `/nonexistent`",
    );
    check(&["run"], 2, "--state-dir");
    let conf = dir.path().join("c.conf");
    std::fs::write(&conf, "[controller]\nlisten = everywhere\n").unwrap();
    check(
        &["run", "-c", &conf.display().to_string()],
        2,
        "c.conf:2: [controller] listen = `everywhere`",
    );
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    if nix::unistd::geteuid().is_root() {
        // Nothing is unwritable for root but what does not exist.
        check(
            &["init", "--state-dir", "/proc/none/ctl", "--name", "a"],
            1,
            "/proc/none",
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let state = dir.path().join("ctl").display().to_string();
    check(
        &["init", "--state-dir", &state, "--name", "a"],
        1,
        "cannot make directory",
    );
}

#[test]
fn a_second_controller_on_the_same_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = init(dir.path());
    let (mut child, _lines) = serving(&["run", "--state-dir", &state]);
    check(
        &["run", "--state-dir", &state],
        1,
        "in use by another controller\nhint: ",
    );
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_configuration_file_is_used_and_term_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let state = init(dir.path());
    let conf = dir.path().join("c.conf");
    let text = format!(
        "[controller]\nname = localhost, other.example.com\nstate_dir = {state}\n\
         heartbeat_interval = 500ms\nlissten = 1\n"
    );
    std::fs::write(&conf, text).unwrap();
    for (flag, format) in [("--log-format=json", true), ("--log-format=text", false)] {
        let conf = conf.display().to_string();
        let (mut child, mut lines) = serving(&["run", "-c", &conf, flag]);
        signal(&child, Signal::SIGINT);
        assert!(child.wait().unwrap().success());
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("stopped"), "{rest}");
        assert_eq!(rest.starts_with('{'), format, "{rest}");
    }
}

#[test]
fn version_and_help_are_there() {
    let version = output(&["--version"]);
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("rsv-controller "));
    for words in [&["--help"][..], &["init", "--help"], &["run", "--help"]] {
        let help = output(words);
        assert!(help.status.success());
        assert!(help.stdout.len() > 300, "{words:?}");
    }
}
