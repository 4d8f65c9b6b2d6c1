//! Each method of Supervisor's interface, with good and bad arguments, asked of Supervisor 4.3 and of an
//! agent by Python's `xmlrpc.client`: the answers have the same types, members, values and faults, and XML
//! is the same to the byte. Where they differ is listed here, and in agent/COMPATIBILITY.md with the reason.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use rsv_tests::binaries::{binary, checkout};
use rsv_tests::command::run;
use rsv_tests::eventually::eventually;
use rsv_tests::python;
use rsv_tests::site::Site;

const PROGRAMS: &str = include_str!("programs.conf");

/// A call, what Supervisor answers, and what an agent answers, as the script prints them.
struct Allowed {
    call: &'static str,
    theirs: &'static str,
    ours: &'static str,
}

/// What differs, and why.
const ALLOWED: [Allowed; 10] = [
    // The status of a process that has ended too early, which Supervisor forgets.
    Allowed {
        call: "supervisor.getProcessInfo('once')",
        theirs: "{name: 'once', group: 'once', start: NUMBER, stop: NUMBER, now: NUMBER, state: 200, statename: 'FATAL', spawnerr: 'Exited too quickly (process log may have details)', exitstatus: 0, logfile: 'AUTO', stdout_logfile: 'AUTO', stderr_logfile: 'AUTO', pid: 0, description: 'Exited too quickly (process log may have details)'}",
        ours: "{name: 'once', group: 'once', start: NUMBER, stop: NUMBER, now: NUMBER, state: 200, statename: 'FATAL', spawnerr: 'Exited too quickly (process log may have details)', exitstatus: 3, logfile: 'AUTO', stdout_logfile: 'AUTO', stderr_logfile: 'AUTO', pid: 0, description: 'Exited too quickly (process log may have details)'}",
    },
    // Arguments of a wrong type are said to be that; what Supervisor does with them is an accident.
    Allowed {
        call: "supervisor.readLog('x', 'y')",
        theirs: "HTTP 500 Internal Server Error",
        ours: "FAULT 2 INCORRECT_PARAMETERS",
    },
    Allowed {
        call: "supervisor.readMainLog('x', 'y')",
        theirs: "HTTP 500 Internal Server Error",
        ours: "FAULT 2 INCORRECT_PARAMETERS",
    },
    Allowed {
        call: "system.multicall([{'methodName': 'system.listMethods', 'params': [1...)",
        theirs: r#"[{faultCode: 2, faultString: 'INCORRECT_PARAMETERS'}, {faultCode: 30, faultString: "FAILED: <class 'AttributeError'>:'int' object has no attribute 'split'"}]"#,
        ours: "[{faultCode: 2, faultString: 'INCORRECT_PARAMETERS'}, {faultCode: 2, faultString: 'INCORRECT_PARAMETERS: No methodName'}]",
    },
    Allowed {
        call: "system.multicall([{'methodName': 'supervisor.getState', 'params': {}}])",
        theirs: "[{statecode: 1, statename: 'RUNNING'}]",
        ours: "[{faultCode: 2, faultString: 'INCORRECT_PARAMETERS'}]",
    },
    Allowed {
        call: "system.multicall([5])",
        theirs: "HTTP 500 Internal Server Error",
        ours: "[{faultCode: 2, faultString: 'INCORRECT_PARAMETERS: No methodName'}]",
    },
    Allowed {
        call: "system.multicall(['x'])",
        theirs: "HTTP 500 Internal Server Error",
        ours: "[{faultCode: 2, faultString: 'INCORRECT_PARAMETERS: No methodName'}]",
    },
    Allowed {
        call: "system.multicall('x')",
        theirs: "HTTP 500 Internal Server Error",
        ours: "FAULT 2 INCORRECT_PARAMETERS",
    },
    Allowed {
        call: "system.multicall([[]])",
        theirs: "HTTP 500 Internal Server Error",
        ours: "[{faultCode: 2, faultString: 'INCORRECT_PARAMETERS: No methodName'}]",
    },
    Allowed {
        call: "supervisor.sendRemoteCommEvent(1, 2)",
        theirs: "True",
        ours: "FAULT 2 INCORRECT_PARAMETERS",
    },
];

/// All calls by one daemon, which listens on `port`, a line each.
fn answers(daemon: &Path, port: u16) -> Vec<String> {
    let server =
        format!("[inet_http_server]\nport=127.0.0.1:{port}\nusername=user\npassword=pass\n");
    let site = Site::start_with(daemon, &format!("{server}{PROGRAMS}"), |at| {
        fs::write(at.join("plain"), "").expect("a file");
    });
    eventually("the daemon answers", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let mut script = Command::new("python3");
    script
        .arg(checkout().join("tests/system/differential/calls.py"))
        .arg(format!("http://user:pass@127.0.0.1:{port}/RPC2"))
        .arg(site.path("s.conf"))
        .env("PYTHONUTF8", "1");
    let ended = run(&mut script);
    let log = || fs::read_to_string(site.path("s.log")).unwrap_or_default();
    assert_eq!(ended.code, 0, "{ended:?}\n{}", log());
    site.placeless(&ended.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Two ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|listener| listener.local_addr().expect("its address").port())
}

#[test]
fn every_call_is_answered_alike() {
    let supervisord = python::environment().join("bin/supervisord");
    let [at_theirs, at_ours] = free_ports();
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| answers(&supervisord, at_theirs));
        let ours = answers(&binary("rsv-agent"), at_ours);
        (theirs.join().expect("Supervisor answers"), ours)
    });
    assert_eq!(theirs.len(), ours.len());
    let mut differences: Vec<_> = theirs
        .iter()
        .zip(&ours)
        .filter(|(theirs, ours)| theirs != ours)
        .collect();
    for allowed in &ALLOWED {
        let theirs = format!("{} -> {}", allowed.call, allowed.theirs);
        let ours = format!("{} -> {}", allowed.call, allowed.ours);
        let before = differences.len();
        differences.retain(|found| *found != (&theirs, &ours));
        assert!(differences.len() < before, "is no difference: {theirs}");
    }
    assert!(differences.is_empty(), "{differences:#?}");
}
