//! A script with Python's own `xmlrpc.client`, unmodified, at a real agent over TCP with a password.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::net::TcpListener;
use std::process::Command;

use agent::{Agent, eventually};

#[test]
fn a_script_of_pythons_own_client_finds_what_it_expects() {
    // Nobody listens on a port that was free a moment ago.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let mut agent = Agent::start(&format!(
        "[inet_http_server]\nport=127.0.0.1:{port}\nusername=user\npassword=pass word\n\
         [program:web]\ncommand=/bin/sleep 1000\nstartsecs=0\nautostart=false\n\
         [program:worker]\ncommand=/bin/sleep 1000\nnumprocs=2\nprocess_name=worker_%(process_num)d\n\
         startsecs=0\nautostart=false\n\
         [program:cat]\ncommand=/bin/cat\nstartsecs=0\nautostart=false\n\
         [program:short]\ncommand=/bin/sh -c 'exit 3'\nstartretries=0\nstartsecs=60\nautorestart=false\n\
         autostart=false\n\
         [program:missing]\ncommand=/nonexistent\nautostart=false\n"
    ));
    assert!(agent.is_in("web", "STOPPED"));
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/compat_support/client.py"
    );
    let output = Command::new("python3")
        .arg(script)
        .arg(format!("http://user:pass%20word@127.0.0.1:{port}/RPC2"))
        .arg(agent.directory.path().join("s.conf"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    eventually("the agent has ended", || agent.ended());
}
