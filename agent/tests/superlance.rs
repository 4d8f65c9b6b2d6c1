//! superlance 2.0 and a listener of Supervisor's own library, unmodified, under a real agent.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;
#[path = "compat_support/python.rs"]
mod python;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use agent::{Agent, PATIENCE, eventually};

/// A listener that mails by appending to `{at}/mail`.
fn listener(plugin: &str, arguments: &str, events: &str) -> String {
    let bin = python::environment().join("bin");
    let bin = bin.display();
    format!(
        "[eventlistener:{plugin}]\ncommand={bin}/python {bin}/{plugin} {arguments}\n\
         events={events}\nstderr_logfile={{at}}/{plugin}.err\n"
    )
}

const MAIL: &str = "-m ops@localhost -s 'tee -a {at}/mail'";

fn mail(at: &Path) -> String {
    fs::read_to_string(at.join("mail")).unwrap_or_default()
}

fn restarts(agent: &Agent, name: &str) -> usize {
    let log = fs::read_to_string(agent.directory.path().join("main.log")).unwrap();
    log.matches(&format!("spawned: '{name}' with pid"))
        .count()
        .saturating_sub(1)
}

#[test]
fn crashmail_mails_what_has_crashed() {
    let plugin = listener(
        "crashmail",
        &format!("-p app {MAIL}"),
        "PROCESS_STATE_EXITED",
    );
    let app = "[program:app]\ncommand=/bin/sh -c 'sleep 1.2; exit 3'\nautorestart=false\nautostart=false\n";
    let agent = Agent::start(&format!("{plugin}{app}"));
    eventually("the plugin is up", || agent.is_in("crashmail", "RUNNING"));
    agent.call("startProcess", &["app"]);
    let at = agent.directory.path();
    eventually("the mail is there", || {
        mail(at).contains("exited unexpectedly")
    });
    let mail = mail(at);
    assert!(mail.contains("To: ops@localhost"), "{mail}");
    assert!(mail.contains("app in group app exited"), "{mail}");
}

#[test]
fn memmon_restarts_what_grows_too_large() {
    let plugin = listener("memmon", &format!("-p app=1KB {MAIL}"), "TICK_5");
    let agent = Agent::start(&format!("{plugin}[program:app]\ncommand=/bin/sleep 1000\n"));
    let at = agent.directory.path();
    eventually("the program is restarted", || restarts(&agent, "app") > 0);
    eventually("the mail is there", || mail(at).contains("too much memory"));
}

#[test]
fn httpok_restarts_what_does_not_answer() {
    // Nobody listens on a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let arguments = format!("-p app -t 1 {MAIL} http://127.0.0.1:{port}/");
    let plugin = listener("httpok", &arguments, "TICK_5");
    let agent = Agent::start(&format!("{plugin}[program:app]\ncommand=/bin/sleep 1000\n"));
    let at = agent.directory.path();
    eventually("the program is restarted", || restarts(&agent, "app") > 0);
    eventually("the mail is there", || mail(at).contains("app"));
}

#[test]
fn fatalmailbatch_mails_what_was_given_up() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let (sender, mail) = mpsc::channel();
    thread::spawn(move || sender.send(receive(&server)));
    let arguments =
        format!("-t ops@localhost -f app@localhost -H 127.0.0.1:{port} -e TICK_5 -i 0.01");
    let plugin = listener("fatalmailbatch", &arguments, "PROCESS_STATE_FATAL,TICK_5");
    let app = "[program:app]\ncommand=/bin/false\nstartretries=0\nstartsecs=60\nautostart=false\n";
    let agent = Agent::start(&format!("{plugin}{app}"));
    eventually("the plugin is up", || {
        agent.is_in("fatalmailbatch", "RUNNING")
    });
    agent.call("startProcess", &["app"]);
    let mail = mail.recv_timeout(PATIENCE).unwrap();
    assert!(
        mail.contains("app:app failed to start too many times"),
        "{mail}"
    );
}

/// Notes each event with what it asks the agent about it, and what each payload is made of.
const LISTENER: &str = r#"
import os, sys
from supervisor import childutils
rpc = childutils.getRPCInterface(os.environ)
while True:
    headers, payload = childutils.listener.wait(sys.stdin, sys.stdout)
    name = headers['eventname']
    if name.startswith('PROCESS_COMMUNICATION') or name.startswith('PROCESS_LOG'):
        fields, data = childutils.eventdata(payload)
    else:
        fields, data = childutils.get_headers(payload), ''
    process = fields['processname']
    state = rpc.supervisor.getProcessInfo(process)['statename']
    print(name, process, state, repr(data), headers['ver'], headers['server'], headers['pool'],
          file=sys.stderr, flush=True)
    childutils.listener.ok(sys.stdout)
"#;

#[test]
fn a_listener_of_supervisors_library_understands_every_event_and_asks_back() {
    let python = python::environment().join("bin/python");
    let python = python.display();
    let agent = Agent::start_with(
        &format!(
            "[eventlistener:l]\ncommand={python} {{at}}/l.py\nbuffer_size=100\nstderr_logfile={{at}}/l.err\n\
             events=PROCESS_STATE_RUNNING,PROCESS_STATE_STOPPED,PROCESS_COMMUNICATION,PROCESS_LOG\n\
             [program:p]\ncommand={python} -u {{at}}/p.py\nautostart=false\nstartsecs=0\n\
             stdout_capture_maxbytes=1KB\nstderr_events_enabled=true\n"
        ),
        |at| {
            fs::write(at.join("l.py"), LISTENER).unwrap();
            // In one write, which is one event.
            let program = "import sys, time\n\
                           print('<!--XSUPERVISOR:BEGIN-->said<!--XSUPERVISOR:END-->')\n\
                           sys.stderr.write('oops\\n')\ntime.sleep(1000)\n";
            fs::write(at.join("p.py"), program).unwrap();
        },
    );
    eventually("the listener is up", || agent.is_in("l", "RUNNING"));
    agent.call("startProcess", &["p"]);
    let noted = || fs::read_to_string(agent.directory.path().join("l.err")).unwrap();
    let has = |words: &str| {
        let line = format!("{words} 3.0 test l");
        eventually(&line, || noted().lines().any(|noted| noted == line));
    };
    has("PROCESS_STATE_RUNNING l RUNNING ''");
    has("PROCESS_STATE_RUNNING p RUNNING ''");
    has("PROCESS_COMMUNICATION_STDOUT p RUNNING 'said'");
    has(r"PROCESS_LOG_STDERR p RUNNING 'oops\n'");
    agent.call("stopProcess", &["p"]);
    has("PROCESS_STATE_STOPPED p STOPPED ''");
}

/// A mail server for one mail that says something.
fn receive(server: &TcpListener) -> String {
    loop {
        let (stream, _) = server.accept().unwrap();
        let mut answers = stream.try_clone().unwrap();
        answers.write_all(b"220 test\r\n").unwrap();
        let (mut mail, mut is_data) = (String::new(), false);
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            if is_data && line != "." {
                mail.push_str(&line);
                mail.push('\n');
                continue;
            }
            let answer: &[u8] = match line.to_ascii_lowercase().as_str() {
                "." => b"250 taken\r\n",
                "data" => b"354 go on\r\n",
                "quit" => b"221 bye\r\n",
                _ => b"250 yes\r\n",
            };
            is_data = line.eq_ignore_ascii_case("data");
            answers.write_all(answer).unwrap();
        }
        if mail.contains("failed to start") {
            return mail;
        }
    }
}
