//! The same configuration and the same commands to Supervisor 4.3 with its own client, to Supervisor with
//! `rsv`, to `rsv-agent` with Supervisor's client, and to `rsv-agent` with `rsv`: what is printed and how it
//! exits is the same, but for what is listed here. So is what calls of the interface bring ([`calls`]), and what a
//! listener is told ([`events`]).

#[path = "differential/calls.rs"]
mod calls;
#[path = "differential/events.rs"]
mod events;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rsv_tests::binaries::binary;
use rsv_tests::command::run;
use rsv_tests::eventually::eventually;
use rsv_tests::python;
use rsv_tests::site::Site;

const BEFORE: &str = "[program:web]\ncommand=/bin/sh -c 'echo hello; exec sleep 1000'\nstartsecs=0\nautostart=false\n\
                      stdout_logfile=HERE/web.log\n\
                      [program:worker]\ncommand=/bin/sleep 1000\nnumprocs=2\nprocess_name=worker_%(process_num)d\n\
                      startsecs=0\nautostart=false\n\
                      [program:bad]\ncommand=/nonexistent/program\nautostart=false\n\
                      [program:once]\ncommand=/bin/sh -c 'exit 3'\nautostart=false\nautorestart=false\nstartretries=0\nstartsecs=5\n\
                      [group:both]\nprograms=inner\npriority=5\n\
                      [program:inner]\ncommand=/bin/sleep 1000\nstartsecs=0\nautostart=false\n";

/// One program is gone, one has changed, one is new.
const AFTER: &str = "[program:web]\ncommand=/bin/sh -c 'echo hello; exec sleep 2000'\nstartsecs=0\nautostart=false\n\
                     stdout_logfile=HERE/web.log\n\
                     [program:bad]\ncommand=/nonexistent/program\nautostart=false\n\
                     [program:once]\ncommand=/bin/sh -c 'exit 3'\nautostart=false\nautorestart=false\nstartretries=0\nstartsecs=5\n\
                     [group:both]\nprograms=inner\npriority=5\n\
                     [program:inner]\ncommand=/bin/sleep 1000\nstartsecs=0\nautostart=false\n\
                     [program:new]\ncommand=/bin/sleep 1000\nstartsecs=0\nautostart=false\n";

/// What is typed, one run each; `AFTER` and `BROKEN` exchange the configuration.
const SCRIPT: &str = "status\nstart web\nstart web\nstatus web\npid web\npid nope\nstatus nope\nstatus nope:*\n\
                      tail both:inner\ntail both:inner stderr\nclear both:inner\ntail web\n\
                      start worker:*\nstart worker:*\nstatus worker:*\nstart nope\nstart nope:*\nstart bad\nstart once\n\
                      start\nstop\nrestart\nsignal\nsignal HUP\nsignal NOPE web\nsignal CONT web\nsignal CONT nope\n\
                      signal NOPE nope\nsignal NOPE bad\nsignal NOPE worker:*\nsignal NOPE nope:*\nsignal NOPE all\n\
                      signal CONT worker:*\nstart both:*\nsignal CONT all\nstop both:*\ntail web\ntail -3 web\ntail nope\ntail\ntail web nonsense\nclear web\nclear nope\n\
                      restart web\nrestart worker:*\nstop worker:worker_0\nstop worker:worker_0\nstop worker:*\nstop nope\n\
                      stop web\navail\nadd web\nadd nope\nremove web\nremove nope\nreread\nupdate\nAFTER\nreread\navail\nupdate nope\n\
                      update\nupdate\nstatus\nstart new\nstart both:*\nstop all\nremove new\nadd new\nstart all\nstatus\n\
                      BROKEN\nreread\nfrobnicate\nquit\nexit now\nhelp quit\nhelp exit\nhelp nope\n\
                      open ftp://x\nopen unix:///nope\nversion extra\nshutdown extra\nreload extra\nshutdown";

const SERVER: &str =
    "[unix_http_server]\nfile=HERE/s.sock\n[supervisorctl]\nserverurl=unix://HERE/s.sock\n";

/// A daemon and the client that speaks to it.
struct Side {
    name: &'static str,
    site: Site,
    client: PathBuf,
}

impl Side {
    fn start(name: &'static str, daemon: &Path, client: &Path) -> Self {
        let site = Site::start(daemon, &format!("{SERVER}{BEFORE}"));
        let socket = site.path("s.sock");
        eventually(name, || UnixStream::connect(&socket).is_ok());
        Self {
            name,
            site,
            client: client.to_owned(),
        }
    }

    /// What is printed for one line, and how it exits.
    fn run(&self, line: &str) -> (String, i32) {
        let write = |programs: &str| self.site.write(&format!("{SERVER}{programs}"));
        match line {
            "AFTER" => write(AFTER),
            "BROKEN" => write("[program:x]\ncommand=/bin/true\nnumprocs=many\n"),
            _ => {
                let mut client = Command::new(&self.client);
                client
                    .args(["-c", "s.conf"])
                    .args(line.split(' '))
                    .current_dir(self.site.path(""))
                    .env_remove("RSV_CONTEXT");
                let ended = run(&mut client);
                return (settled(&self.site.placeless(&ended.stdout)), ended.code);
            }
        }
        (String::new(), 0)
    }
}

/// A text without what cannot be the same: process ids, durations, moments.
fn settled(text: &str) -> String {
    let line = |line: &str| {
        if !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()) && line != "0" {
            return "NUMBER".to_owned();
        }
        match line.split_once("RUNNING   pid ") {
            Some((before, _)) => format!("{before}RUNNING   pid N, uptime T"),
            None => match line.split_once("STOPPED   ") {
                Some((before, "Not started")) => format!("{before}STOPPED   Not started"),
                Some((before, _)) => format!("{before}STOPPED   MOMENT"),
                None => line.to_owned(),
            },
        }
    };
    let lines: Vec<String> = text.lines().map(line).collect();
    lines.join("\n")
}

/// Supervisor tells of many at once in the order in which they happen to be ready.
fn in_order<'a>(line: &str, text: &'a str) -> Vec<&'a str> {
    let mut lines: Vec<&str> = text.lines().collect();
    let is_of_many = line.ends_with(" all") || line.ends_with(":*");
    if is_of_many && !line.starts_with("signal") {
        lines.sort_unstable();
    }
    lines
}

/// Where we differ on purpose: the text is not compared, the exit code is. Each stands in
/// agent/COMPATIBILITY.md or belongs to the help of a client.
fn is_own(line: &str) -> bool {
    // Help texts are our own, the line before them is not.
    let helps = [
        "start",
        "stop",
        "restart",
        "signal",
        "signal HUP",
        "tail",
        "tail web nonsense",
    ];
    let refuses = ["version extra", "shutdown extra", "reload extra"];
    helps.contains(&line) || refuses.contains(&line)
}

#[test]
fn four_pairs_of_daemon_and_client_print_and_exit_alike() {
    let python = python::environment().join("bin");
    let (supervisord, supervisorctl) = (python.join("supervisord"), python.join("supervisorctl"));
    let (agent, rsv) = (binary("rsv-agent"), binary("rsv"));
    let reference = Side::start("supervisord and its client", &supervisord, &supervisorctl);
    let sides = [
        Side::start("supervisord and rsv", &supervisord, &rsv),
        Side::start("rsv-agent and supervisorctl", &agent, &supervisorctl),
        Side::start("rsv-agent and rsv", &agent, &rsv),
    ];
    let mut differences = Vec::new();
    for line in SCRIPT.split('\n') {
        let ((text, code), answers) = thread::scope(|scope| {
            let others = sides.each_ref().map(|side| scope.spawn(|| side.run(line)));
            let expected = reference.run(line);
            (
                expected,
                others.map(|other| other.join().expect("a client ends")),
            )
        });
        for (side, (ours, our_code)) in sides.iter().zip(answers) {
            let is_same = code == our_code
                && (is_own(line) || in_order(line, &text) == in_order(line, &ours));
            if !is_same {
                differences.push(format!(
                    "{}: {line}\n--- expected, {code}\n{text}\n--- got, {our_code}\n{ours}\n",
                    side.name
                ));
            }
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}
