//! What `rsv-agent` says and how it exits when it cannot start: one clear line, a hint, nothing
//! left behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const AGENT: &str = env!("CARGO_BIN_EXE_rsv-agent");

/// A directory with a configuration in which everything is inside of that directory.
fn fleet_member(more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let text = format!(
        "[agent]\nname = web01\nstate_dir = {at}/state\nsocket = {at}/agent.sock\n\
         keeper_socket = {at}/keeper.sock\n[supervisord]\nlogfile = {at}/agent.log\n\
         pidfile = {at}/agent.pid\nchildlogdir = {at}\n{more}"
    );
    fs::write(directory.path().join("a.conf"), text).unwrap();
    directory
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(AGENT)
        .args(arguments)
        .current_dir(directory)
        .env_remove("RSV_TOKEN")
        .output()
        .unwrap()
}

/// Starts with `a.conf` in the foreground and expects a refusal; gives stderr.
fn refused(directory: &TempDir) -> String {
    let output = run(directory.path(), &["-n", "-c", "a.conf"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

#[test]
fn the_version_is_printed_alone() {
    let output = run(Path::new("/"), &["-v"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("{}\n", env!("CARGO_PKG_VERSION")));
    assert!(output.status.success());
}

#[test]
fn a_plain_configuration_is_refused_in_supervisors_words() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[supervisord]\n[program:x]\nautostart=maybe\ncommand=/bin/cat\n";
    fs::write(directory.path().join("a.conf"), text).unwrap();
    let said = refused(&directory);
    let expected = format!(
        "Error: not a valid boolean value: 'maybe' in section 'program:x' (file: 'a.conf')\n\
         For help, use {AGENT} -h\n"
    );
    assert!(said.ends_with(&expected), "{said}");
    assert!(said.starts_with("a.conf:3: "), "{said}");
}

#[test]
fn an_agents_configuration_is_refused_with_file_line_and_what_is_accepted() {
    let directory = fleet_member("minfds = many\n");
    let said = refused(&directory);
    assert!(said.contains("a.conf:10: [supervisord] minfds:"), "{said}");
    assert!(said.contains("accepted:"), "{said}");
}

#[test]
fn a_missing_configuration_is_named() {
    let output = run(Path::new("/"), &["-n", "-c", "/nonexistent/a.conf"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "Error: could not find config file /nonexistent/a.conf\n";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn a_socket_that_is_served_is_left_alone_and_named() {
    let directory = fleet_member("");
    let path = directory.path().join("agent.sock");
    let _served = UnixListener::bind(&path).unwrap();
    let said = refused(&directory);
    let expected = format!(
        "rsv-agent: another program already serves the socket `{}`\nhint: ",
        path.display()
    );
    assert!(said.starts_with(&expected), "{said}");
    assert!(path.exists());
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let directory = fleet_member("");
    fs::write(directory.path().join("state"), "a file").unwrap();
    let said = refused(&directory);
    assert!(said.contains("/state`"), "{said}");
    assert!(said.contains("\nhint: "), "{said}");
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named_also_from_the_background() {
    let directory = fleet_member("");
    fs::create_dir(directory.path().join("agent.log")).unwrap();
    let said = refused(&directory);
    assert!(said.contains("cannot open the log file `"), "{said}");
    let background = run(directory.path(), &["-c", "a.conf"]);
    assert_eq!(background.status.code(), Some(2));
}

#[test]
fn a_missing_keeper_is_told_by_the_background_process_to_its_parent() {
    let directory = fleet_member("");
    // Under this name it stands beside no keeper, and PATH has none either. A link, because a copy
    // that was just written may still be open in another test's child and then cannot be executed.
    let elsewhere = tempfile::tempdir_in(Path::new(AGENT).parent().unwrap()).unwrap();
    let alone = elsewhere.path().join("rsv-agent");
    fs::hard_link(AGENT, &alone).unwrap();
    for arguments in [&["-c", "a.conf"][..], &["-n", "-c", "a.conf"]] {
        let output = Command::new(&alone)
            .args(arguments)
            .current_dir(directory.path())
            .env("PATH", "/nonexistent")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(said.contains("cannot find `rsv-keeper`"), "{said}");
        assert!(
            said.contains("hint: install rsv-keeper beside rsv-agent"),
            "{said}"
        );
        assert!(!directory.path().join("agent.pid").exists());
        assert!(!directory.path().join("agent.sock").exists());
    }
}

#[test]
fn check_judges_and_changes_nothing() {
    let directory = fleet_member("[program:a]\ncommand = /bin/cat\nautostrat = true\n");
    let before = fs::read_dir(directory.path()).unwrap().count();
    let lenient = run(directory.path(), &["check", "-c", "a.conf"]);
    assert_eq!(lenient.status.code(), Some(0));
    let said = String::from_utf8(lenient.stderr).unwrap();
    assert!(said.contains("a.conf:12:"), "{said}");
    assert!(said.contains("autostart"), "{said}");
    let strict = run(directory.path(), &["check", "--strict", "-c", "a.conf"]);
    assert_eq!(strict.status.code(), Some(2));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before);
}

#[test]
fn check_reports_a_broken_program() {
    let directory = fleet_member("[program:a]\ncommand = /bin/cat\nautostart = maybe\n");
    let output = run(directory.path(), &["check", "-c", "a.conf"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("a.conf:12: [program:a] autostart:"), "{said}");
}

#[test]
fn check_refuses_a_server_that_a_start_refuses() {
    for (server, said) in [
        ("port = *:9001", "would let anybody on the network"),
        ("port = 0.0.0.0:9001", "would let anybody on the network"),
        ("port = nosuch.invalid:9001", "has no address"),
        ("port = *:9001\nrsv_insecure = true", ""),
        ("port = 127.0.0.1:9001", ""),
    ] {
        let directory = fleet_member(&format!("[inet_http_server]\n{server}\n"));
        let output = run(directory.path(), &["check", "-c", "a.conf"]);
        let is_refused = !said.is_empty();
        let code = if is_refused { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{server}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(said), "{server}: {stderr}");
        assert_eq!(stderr.contains("hint: "), is_refused, "{server}: {stderr}");
    }
}

#[test]
fn joining_with_a_bad_token_or_no_controller_is_one_line_and_a_hint() {
    let directory = fleet_member("");
    let join = |token: &str| {
        run(
            directory.path(),
            &["join", "--token", token, "-c", "a.conf"],
        )
    };
    let nonsense = join("nonsense");
    assert_eq!(nonsense.status.code(), Some(2));
    let said = String::from_utf8(nonsense.stderr).unwrap();
    assert!(
        said.starts_with("rsv-agent: --token: a token begins with `rsv1.`\nhint: "),
        "{said}"
    );
    let token = rsv_proto::token::JoinToken {
        controllers: vec!["localhost:1".into()],
        pin: "00".repeat(32).parse().unwrap(),
        id: "1".into(),
        secret: vec![1],
    };
    let unreachable = join(&token.to_string());
    assert_eq!(unreachable.status.code(), Some(1));
    let said = String::from_utf8(unreachable.stderr).unwrap();
    assert!(
        said.starts_with("rsv-agent: cannot connect to localhost:1: "),
        "{said}"
    );
    assert!(!directory.path().join("state/identity.json").exists());
    let usage = run(directory.path(), &["join", "-c", "a.conf"]);
    assert_eq!(usage.status.code(), Some(2));
}
