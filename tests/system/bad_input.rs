//! Each mistake gets one clear line with a hint and the documented exit code, and disturbs nothing.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use rsv_tests::{
    command::{Ended, command, run},
    eventually::eventually,
    fleet::Fleet,
    host::Host,
};

const PROGRAMS: &str = "[program:app]\ncommand = /bin/sleep 1000\nstartsecs = 0\n";

/// Asserts what a mistake has to bring: the code, and all these words on standard error.
#[track_caller]
fn refused(ended: Ended, code: i32, words: &[&str]) {
    let ended = ended.expect_code(code);
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "`{word}` is not in:\n{}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(
        ended.stderr.lines().count() <= 4,
        "not calm:\n{}",
        ended.stderr
    );
}

fn check(configuration: &Path) -> Ended {
    let mut check = command("rsv-agent", ["check", "-c"]);
    run(check.arg(configuration))
}

#[test]
fn a_broken_configuration_is_refused_with_file_line_section_and_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("agent.conf");
    let text = "[agent]\nname = x\nstate_dir = /tmp/x\n[program:app]\ncommand = /bin/true\nstartsecs = soon\n";
    fs::write(&file, text).expect("a file");
    refused(
        check(&file),
        2,
        &["agent.conf:6", "program:app", "startsecs", "soon"],
    );
    fs::write(&file, "[supervisord\n").expect("a file");
    refused(check(&file), 2, &["agent.conf:1"]);
    refused(
        check(&directory.path().join("none.conf")),
        2,
        &["none.conf"],
    );
}

#[test]
fn a_plain_file_is_refused_whole_in_the_words_of_supervisor() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("supervisord.conf");
    fs::write(
        &file,
        "[supervisord]\n[program:x]\ncommand=/bin/true\nautostart=maybe\n",
    )
    .expect("a file");
    let mut start = command("rsv-agent", ["-n", "-c"]);
    let ended = run(start.arg(&file)).expect_code(2);
    let text = "Error: not a valid boolean value: 'maybe' in section 'program:x'";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("supervisord.conf:4"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("For help, use"), "{}", ended.stderr);
}

#[test]
fn an_unknown_program_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut host = Host::new(directory.path(), "h", "", PROGRAMS);
    host.start();
    let start = host.rsv(["start", "nonesuch"]).expect_code(1);
    assert_eq!(start.stdout, "nonesuch: ERROR (no such process)\n");
    let status = host.rsv(["status", "nonesuch"]).expect_code(4);
    assert_eq!(status.stdout, "nonesuch: ERROR (no such process)\n");
}

#[test]
fn without_an_agent_the_socket_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = Host::new(directory.path(), "h", "", PROGRAMS);
    let socket = host.path("sup.sock").display().to_string();
    assert!(host.rsv(["status"]).expect_code(4).both().contains(&socket));
    assert!(
        host.rsv(["start", "app"])
            .expect_code(7)
            .both()
            .contains(&socket)
    );
}

#[test]
fn tokens_that_are_wrong_used_or_for_another_host_do_not_enrol() {
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    let newcomer = Host::new(fleet.path(), "web02", &fleet.settings(), PROGRAMS);
    refused(fleet.join(&newcomer, "nonsense"), 2, &["--token"]);
    let other = fleet.token("db*");
    refused(fleet.join(&newcomer, &other), 1, &["web02"]);
    let token = fleet.token("web*");
    fleet.join(&newcomer, &token).expect_code(0);
    let third = Host::new(fleet.path(), "web03", &fleet.settings(), PROGRAMS);
    refused(fleet.join(&third, &token), 1, &["token"]);
    fleet.rsv(["-H", "web01", "restart", "app"]).expect_code(0);
    assert_eq!(fleet.host("web01").state("app"), "RUNNING");
}

#[test]
fn a_token_of_another_fleet_is_not_followed() {
    let one = Fleet::without_hosts();
    let two = Fleet::without_hosts();
    let newcomer = Host::new(one.path(), "web01", &two.settings(), PROGRAMS);
    let token = one.token("web01");
    let mut join = command("rsv-agent", ["join", "--token", &token]);
    let address = two.address().replace("127.0.0.1", "localhost");
    join.args(["--controller", &address, "-c"])
        .arg(newcomer.configuration());
    let ended = run(&mut join);
    assert_ne!(ended.code, 0, "{ended:?}");
    assert_eq!(
        one.rsv(["-o", "json", "host", "ls"]).json()["hosts"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn a_foreign_certificate_reaches_nothing() {
    let one = Fleet::without_hosts();
    let two = Fleet::without_hosts();
    let text = fs::read_to_string(two.context()).expect("a context");
    let port = |fleet: &Fleet| {
        fleet
            .address()
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let foreign = one.path().join("foreign.context");
    fs::write(&foreign, text.replace(&port(&two), &port(&one))).expect("a file");
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600)).expect("its mode");
    let mut rsv = command("rsv", ["host", "ls"]);
    let ended = run(rsv.env("RSV_CONTEXT", &foreign));
    assert_ne!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stderr.contains("certificate") || ended.stderr.contains("trusted"),
        "{ended:?}"
    );
    one.rsv(["host", "ls"]).expect_code(0);
}

#[test]
fn a_port_in_use_is_named() {
    let fleet = Fleet::without_hosts();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut second = command(
        "rsv-controller",
        ["run", "--listen", &address, "--state-dir"],
    );
    let other = fleet.path().join("other");
    let mut init = command(
        "rsv-controller",
        ["init", "--name", "localhost", "--state-dir"],
    );
    run(init.arg(&other)).expect_code(0);
    refused(run(second.arg(&other)), 1, &[&address]);
}

#[test]
fn an_unwritable_directory_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let obstacle = directory.path().join("file");
    fs::write(&obstacle, "").expect("a file");
    let below = obstacle.join("ctl");
    let mut init = command(
        "rsv-controller",
        ["init", "--name", "localhost", "--state-dir"],
    );
    refused(run(init.arg(&below)), 1, &[&below.display().to_string()]);
    let settings = format!("state_dir = {}/state\n", obstacle.display());
    let host = Host::new(directory.path(), "h", "", PROGRAMS);
    let text = fs::read_to_string(host.configuration()).expect("a configuration");
    let text = text.replacen("[agent]\n", &format!("[agent]\n{settings}"), 1);
    let text = text.replacen(
        &format!("state_dir = {}\n", host.path("state").display()),
        "",
        1,
    );
    fs::write(host.configuration(), text).expect("a configuration");
    let mut start = command("rsv-agent", ["-n", "-c"]);
    let ended = run(start.arg(host.configuration()));
    assert_ne!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stderr.contains(&obstacle.display().to_string()),
        "{ended:?}"
    );
}

#[test]
fn a_second_agent_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut host = Host::new(directory.path(), "h", "", PROGRAMS);
    host.start();
    let mut second = command("rsv-agent", ["-n", "-c"]);
    let ended = run(second.arg(host.configuration()));
    assert_ne!(ended.code, 0, "{ended:?}");
    let pid = host.agent().pid().to_string();
    assert!(ended.stderr.contains(&pid), "{}", ended.stderr);
    eventually("the first one goes on", || host.state("app") == "RUNNING");
}

/// Says what its file has whenever that is there, takes no event, and runs on.
const BABBLER: &str = "[eventlistener:babbler]\nevents = TICK_3600\nstartsecs = 0\n\
     command = /bin/sh -c 'cat {dir}/says; exec sleep 1000'\n";

#[test]
fn whatever_a_listener_says_is_named_and_costs_only_its_own_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut host = Host::new(directory.path(), "h", "", &format!("{PROGRAMS}{BABBLER}"));
    fs::write(host.path("says"), "READY\n").expect("words");
    host.start();
    let stage = |host: &Host| {
        let status = host.rsv(["-o", "json", "status", "babbler"]).json();
        status["programs"][0]["listener"]["stage"].clone()
    };
    eventually("it waits for an event", || stage(&host) == "READY");
    let app = host.pid("app");
    let log = || fs::read_to_string(host.path("log/agent.log")).unwrap_or_default();
    let told = || {
        log()
            .matches("babbler: has entered the UNKNOWN state")
            .count()
    };
    let messages: [&[u8]; 8] = [
        b"hello world\n",
        b"ready\n",
        b"READY\r\n",
        b"READY\nREADY\n",
        b"READY\nRESULT 2\nOK",
        b"RESULT 2\nOK",
        b"\0\xff\xfe\x1b[31m",
        &[b'x'; 300_000],
    ];
    for (before, message) in messages.iter().enumerate() {
        fs::write(host.path("says"), message).expect("words");
        host.rsv(["restart", "babbler"]).expect_code(0);
        // It is started anew at once the first time and later each further time, so one line is certain.
        eventually("it is named", || told() > before);
        eventually("status names it, or it is up again", || {
            stage(&host) == "UNKNOWN" || told() > before + 1
        });
    }
    let status = host.rsv(["status"]);
    let named = "babbler does not keep to the event listener protocol";
    assert!(status.stderr.contains(named), "{}", status.stderr);
    let wide = host.rsv(["-o", "wide", "status"]).stdout;
    assert!(
        wide.contains("EVENTS") && wide.contains("UNKNOWN"),
        "{wide}"
    );
    assert_eq!(host.pid("app"), app);
    fs::write(host.path("says"), "READY\n").expect("words");
    host.rsv(["restart", "babbler"]).expect_code(0);
    eventually("it waits for an event", || stage(&host) == "READY");
    let status = host.rsv(["status"]).expect_code(0);
    assert!(!status.stderr.contains("babbler"), "{}", status.stderr);
    assert!(!log().contains("panicked"));
}
