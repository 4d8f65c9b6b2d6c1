//! The front for Supervisor's clients over the real agent: calls over its socket act on real
//! processes, and what cannot be served is said before anything starts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Output;

use agent::{AGENT, Agent, PATIENCE, command, configured, eventually};
use tempfile::TempDir;

fn refused(directory: &TempDir) -> Output {
    command(directory.path()).output().unwrap()
}

#[test]
fn calls_start_and_stop_real_processes_and_read_their_logs() {
    let mut agent = Agent::start(
        "[program:a]\ncommand=/bin/sh -c \"echo hello; exec sleep 600\"\nstartsecs=0\n\
         stdout_logfile={at}/a.log\n[program:b]\ncommand=/nonexistent\nautostart=false\n",
    );
    let mode = fs::metadata(agent.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o770);
    eventually("a is up", || agent.is_in("a", "RUNNING"));
    let log = ["a", "0", "0"];
    eventually("a has written", || {
        agent
            .call("readProcessStdoutLog", &log)
            .contains("<string>hello\n</string>")
    });
    let fault = agent.call("startProcess", &["a"]);
    assert!(fault.contains("ALREADY_STARTED: a"), "{fault}");
    let fault = agent.call("startProcess", &["b"]);
    assert!(
        fault.contains("NO_FILE: can't find command '/nonexistent'"),
        "{fault}"
    );
    let done = agent.call("stopProcess", &["a"]);
    assert!(done.contains("<boolean>1</boolean>"), "{done}");
    assert!(agent.is_in("a", "STOPPED"));
    assert!(
        agent
            .call("clearProcessLogs", &["a"])
            .contains("<boolean>1</boolean>")
    );
    let done = agent.call("startAllProcesses", &[]);
    assert!(
        done.contains("<int>80</int>") && done.contains("<int>20</int>"),
        "{done}"
    );
    let done = agent.call("shutdown", &[]);
    assert!(done.contains("<boolean>1</boolean>"), "{done}");
    eventually("the agent has ended", || agent.ended());
    assert!(!agent.socket().exists());
}

#[test]
fn groups_come_and_go_and_input_reaches_a_process() {
    let mut agent = Agent::start("[program:cat]\ncommand=/bin/cat\nstdout_logfile={at}/cat.log\n");
    eventually("cat is up", || agent.is_in("cat", "RUNNING"));
    let done = agent.call("sendProcessStdin", &["cat", "over the pipe"]);
    assert!(done.contains("<boolean>1</boolean>"), "{done}");
    let log = ["cat", "0", "0"];
    eventually("cat has answered", || {
        let read = agent.call("readProcessStdoutLog", &log);
        read.contains("<string>over the pipe</string>")
    });
    let file = agent.directory.path().join("s.conf");
    let text = fs::read_to_string(&file).unwrap();
    let more = "[program:new]\ncommand=/bin/sleep 600\nautostart=false\n";
    fs::write(&file, format!("{text}{more}")).unwrap();
    let reread = agent.call("reloadConfig", &[]);
    assert!(reread.contains("<string>new</string>"), "{reread}");
    let all = agent.call("getAllConfigInfo", &[]);
    assert!(
        all.contains("<name>inuse</name>\n<value><boolean>0</boolean>"),
        "{all}"
    );
    let fault = agent.call("getProcessInfo", &["new"]);
    assert!(fault.contains("BAD_NAME: new"), "{fault}");
    agent.call("addProcessGroup", &["new"]);
    assert!(agent.is_in("new", "STOPPED"));
    let fault = agent.call("sendProcessStdin", &["new", "x"]);
    assert!(fault.contains("NOT_RUNNING: new"), "{fault}");
    let done = agent.call("removeProcessGroup", &["new"]);
    assert!(done.contains("<boolean>1</boolean>"), "{done}");
    let fault = agent.call("removeProcessGroup", &["cat"]);
    assert!(fault.contains("STILL_RUNNING: cat"), "{fault}");
    fs::write(&file, format!("{text}[program:broken]\n")).unwrap();
    let fault = agent.call("reloadConfig", &[]);
    assert!(
        fault.contains("CANT_REREAD: program section program:broken"),
        "{fault}"
    );
    let fault = agent.call("restart", &[]);
    assert!(fault.contains("CANT_REREAD"), "{fault}");
    assert!(agent.is_in("cat", "RUNNING"));
    fs::write(&file, text).unwrap();
    let info = agent.call("getProcessInfo", &["cat"]);
    let done = agent.call("restart", &[]);
    assert!(done.contains("<boolean>1</boolean>"), "{done}");
    eventually("cat is another one", || {
        !agent.ended()
            && agent
                .try_call("getProcessInfo", &["cat"])
                .is_some_and(|now| {
                    now.contains("<string>RUNNING</string>") && pid(&now) != pid(&info)
                })
    });
}

#[test]
fn the_main_log_is_followed_as_it_is_written() {
    let agent = Agent::start("[program:a]\ncommand=/bin/sleep 600\nautostart=false\n");
    let mut follower = UnixStream::connect(agent.socket()).unwrap();
    follower.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = b"GET /mainlogtail HTTP/1.0\r\n\r\n";
    follower.write_all(request).unwrap();
    let mut seen = String::new();
    for name in [
        "started with pid",
        "spawned: 'a' with pid",
        "entered RUNNING state",
    ] {
        while !seen.contains(name) {
            let mut bytes = [0; 4096];
            let n = follower.read(&mut bytes).unwrap();
            assert_ne!(n, 0, "{seen}");
            seen.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
        if name == "started with pid" {
            agent.call("startProcess", &["a"]);
        }
    }
}

/// The process's id in the answer of `getProcessInfo`.
fn pid(info: &str) -> &str {
    let (_, rest) = info.split_once("<name>pid</name>\n<value><int>").unwrap();
    rest.split('<').next().unwrap()
}

#[test]
fn a_port_in_use_is_said_in_supervisors_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = configured(&format!("[inet_http_server]\nport=127.0.0.1:{port}\n"));
    let output = refused(&directory);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(
        said,
        format!(
            "Error: Another program is already listening on a port that one of our HTTP servers is \
             configured to use.  Shut this program down first before starting supervisord.\n\
             For help, use {AGENT} -h\n"
        )
    );
}

#[test]
fn a_server_for_the_network_without_a_password_is_refused() {
    let directory = configured("[inet_http_server]\nport=*:1\n");
    let output = refused(&directory);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.starts_with("rsv-agent: [inet_http_server] would let anybody"),
        "{said}"
    );
    assert!(said.contains("\nhint: set username and password"), "{said}");
}
