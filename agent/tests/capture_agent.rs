//! Logs under the real agent: what people do to them, and what disks do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "capture_support/disk.rs"]
mod disk;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use disk::Disk;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const AGENT: &str = env!("CARGO_BIN_EXE_rsv-agent");

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an answer may take while disks and programs misbehave.
const PROMPT: Duration = Duration::from_secs(PATIENCE.as_secs() / 3);

/// A running agent in a directory of its own, ended with the test.
struct Agent {
    child: Child,
    directory: TempDir,
}

impl Agent {
    /// Starts with a configuration in which `{at}` stands for the directory.
    fn start(programs: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "", programs)
    }

    fn start_in(directory: TempDir, daemon: &str, programs: &str) -> Self {
        let at = directory.path().display().to_string();
        let text = format!(
            "[supervisord]\nlogfile={{at}}/main.log\npidfile={{at}}/s.pid\nchildlogdir={{at}}\n\
             identifier=test\n{daemon}[unix_http_server]\nfile={{at}}/s.sock\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = \
             supervisor.rpcinterface:make_main_rpcinterface\n{programs}"
        );
        fs::write(directory.path().join("s.conf"), text.replace("{at}", &at)).unwrap();
        let child = Command::new(AGENT)
            .args(["-n", "-c", "s.conf"])
            .current_dir(directory.path())
            .env("RSV_SYSLOG_SOCKET", directory.path().join("dev-log"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { child, directory };
        eventually("the agent answers", || {
            UnixStream::connect(agent.path("s.sock")).is_ok()
        });
        agent
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn call(&self, method: &str, params: &[&str]) -> String {
        let param = |value| format!("<param><value>{value}</value></param>");
        let params: String = params.iter().map(param).collect();
        let body = format!(
            "<methodCall><methodName>supervisor.{method}</methodName><params>{params}</params>\
             </methodCall>"
        );
        let length = body.len();
        let request = format!("POST /RPC2 HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut stream = UnixStream::connect(self.path("s.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn is_in(&self, name: &str, state: &str) -> bool {
        let info = self.call("getProcessInfo", &[name]);
        info.contains(&format!("<string>{state}</string>"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Stops everything in order, and gives the directory back.
    fn stop(mut self) -> TempDir {
        self.end();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            // The keeper ends with an orderly stop of the agent.
            self.signal(Signal::SIGTERM);
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

const TICKING: &str = "[program:a]\ncommand=/bin/sh -c \"i=0; while :; do i=$((i+1)); echo line-$i; \
                       sleep 0.02; done\"\nstartsecs=0\nstdout_logfile={at}/a.log\n";

#[test]
fn a_log_that_was_moved_is_made_anew_on_usr2() {
    let agent = Agent::start(TICKING);
    eventually("it writes", || agent.read("a.log").contains("line-3"));
    fs::rename(agent.path("a.log"), agent.path("moved")).unwrap();
    agent.signal(Signal::SIGUSR2);
    eventually("a new file has lines", || {
        agent.read("a.log").contains('\n')
    });
    agent.call("stopProcess", &["a"]);
    let all = agent.read("moved") + &agent.read("a.log");
    let expected: String = (1..=all.lines().count())
        .map(|n| format!("line-{n}\n"))
        .collect();
    assert_eq!(all, expected, "nothing is lost between the two");
}

#[test]
fn a_cleared_log_begins_anew_while_its_program_writes_and_when_it_does_not() {
    let agent = Agent::start(TICKING);
    eventually("it writes", || agent.read("a.log").contains("line-3"));
    let held = fs::File::open(agent.path("a.log")).unwrap();
    agent.call("clearProcessLogs", &["a"]);
    eventually("it goes on", || agent.read("a.log").contains('\n'));
    assert!(!agent.read("a.log").contains("line-1\n"));
    assert!(
        held.metadata().unwrap().len() > 0,
        "holders keep the old one"
    );
    agent.call("stopProcess", &["a"]);
    agent.call("clearProcessLogs", &["a"]);
    assert_eq!(agent.read("a.log"), "");
}

#[test]
fn the_room_of_a_cleared_log_is_free_while_its_program_runs() {
    let agent = Agent::start(TICKING);
    eventually("it writes", || agent.read("a.log").contains("line-3"));
    agent.call("clearProcessLogs", &["a"]);
    let files = format!("/proc/{}/fd", agent.child.id());
    eventually("the agent holds no removed file", || {
        let links = fs::read_dir(&files).unwrap().flatten();
        let mut links = links.filter_map(|link| fs::read_link(link.path()).ok());
        !links.any(|to| to.to_string_lossy().ends_with("a.log (deleted)"))
    });
    assert!(agent.is_in("a", "RUNNING"));
}

#[test]
fn automatic_logs_outlive_the_agent_and_go_with_its_next_start() {
    let program = "[program:a]\ncommand=/bin/sh -c \"echo hello; exec sleep 600\"\nstartsecs=0\n";
    let paths = |agent: &Agent| -> Vec<PathBuf> {
        let names = fs::read_dir(agent.directory.path()).unwrap();
        let names = names.map(|name| name.unwrap().path());
        let logs = names.filter(|path| path.to_str().unwrap().contains("/a-stdout---test-"));
        logs.collect()
    };
    let logs = |agent: &Agent| -> Vec<String> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        paths(agent).into_iter().map(read).collect()
    };
    let agent = Agent::start(program);
    eventually("it has written", || logs(&agent) == ["hello\n"]);
    let first = paths(&agent);
    let mode = fs::metadata(&first[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let agent = Agent::start_in(agent.stop(), "nocleanup=true\n", program);
    eventually("it has written again", || {
        logs(&agent).concat() == "hello\nhello\n"
    });
    assert!(first[0].exists());
    let agent = Agent::start_in(agent.stop(), "", program);
    eventually("it has written once more", || logs(&agent) == ["hello\n"]);
    assert!(!first[0].exists());
}

#[test]
fn a_log_that_cannot_be_opened_is_a_spawn_error_in_supervisors_words() {
    let agent = Agent::start(
        "[program:a]\ncommand=/bin/sleep 600\nstartretries=0\nstdout_logfile={at}/dir\n\
         autostart=false\n",
    );
    fs::create_dir(agent.path("dir")).unwrap();
    let fault = agent.call("startProcess", &["a"]);
    assert!(fault.contains("SPAWN_ERROR: a"), "{fault}");
    let info = agent.call("getProcessInfo", &["a"]);
    let text = "unknown error making dispatchers for &apos;a&apos;: EISDIR";
    let is_told = info.replace('\'', "&apos;").contains(text);
    assert!(is_told, "{info}");
}

/// The system's log of an agent that is started in this directory.
fn system_log(directory: &TempDir) -> UnixDatagram {
    let socket = UnixDatagram::bind(directory.path().join("dev-log")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next line there, without its time.
fn system_line(socket: &UnixDatagram) -> String {
    let mut packet = [0; 1000];
    let length = socket.recv(&mut packet).unwrap();
    let text = String::from_utf8_lossy(&packet[..length]);
    assert!(text.starts_with("<14>"), "{text}");
    text[20..].to_owned()
}

#[test]
fn lines_go_to_the_systems_log_without_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let socket = system_log(&directory);
    let program = "[program:a]\ncommand=/bin/sh -c \"echo hello; exec sleep 600\"\n\
                   stdout_logfile=syslog\n";
    let agent = Agent::start_in(directory, "", program);
    let pid = agent.child.id();
    assert_eq!(system_line(&socket), format!("rsv-agent[{pid}]: a hello"));
}

#[test]
fn the_lines_of_both_streams_go_to_the_systems_log_beside_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let socket = system_log(&directory);
    let agent = Agent::start_in(
        directory,
        "",
        "[program:a]\ncommand=/bin/sh -c \"echo out; read x; echo err >&2; read x; echo no\"\n\
         startsecs=0\nstdout_syslog=true\nstderr_syslog=true\nstdout_logfile={at}/out\nstderr_logfile={at}/err\n\
         [program:b]\ncommand=/bin/sh -c \"echo out; echo err >&2; exec sleep 600\"\n\
         startsecs=0\nstdout_logfile={at}/b.out\nstderr_logfile={at}/b.err\nautostart=false\n",
    );
    let head = format!("rsv-agent[{}]: ", agent.child.id());
    assert_eq!(system_line(&socket), format!("{head}a out"));
    agent.call("sendProcessStdin", &["a", "go\n"]);
    assert_eq!(system_line(&socket), format!("{head}a err"));
    eventually("both files have them", || {
        (agent.read("out"), agent.read("err")) == ("out\n".into(), "err\n".into())
    });
    // A program that does not ask for it stays out.
    agent.call("startProcess", &["b"]);
    eventually("it writes", || agent.read("b.err") == "err\n");
    agent.call("sendProcessStdin", &["a", "go\n"]);
    assert_eq!(system_line(&socket), format!("{head}a no"));
    assert_eq!(agent.read("b.out"), "out\n");
}

#[test]
fn a_hung_disk_keeps_nobody_from_asking_and_the_programs_go_on_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(directory.path()) else {
        return;
    };
    let agent = Agent::start_in(
        directory,
        "",
        "[program:a]\ncommand=/bin/sh -c \"while :; do echo line; sleep 0.01; done\"\nstartsecs=0\n\
         stdout_logfile={at}/disk/a.log\n\
         [program:b]\ncommand=/bin/sleep 600\nstartsecs=0\nautostart=false\nstartretries=100\n\
         stdout_logfile={at}/b.log\n",
    );
    eventually("it writes", || agent.read("disk/a.log").contains("line"));
    disk.freeze();
    agent.call("startProcess", &["b", "<boolean>0</boolean>"]);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert!(agent.is_in("a", "RUNNING"));
        let took = asked.elapsed();
        assert!(took < PROMPT, "answered only after {took:?}");
    }
    let asked = Instant::now();
    agent.call("stopProcess", &["a"]);
    assert!(asked.elapsed() < PATIENCE, "a stop needs no disk");
    disk.thaw();
    eventually("the other runs at last", || agent.is_in("b", "RUNNING"));
    drop(agent.stop());
}

#[test]
fn a_flood_of_a_hundred_writers_keeps_nobody_from_asking() {
    let agent = Agent::start(
        "[program:flood]\ncommand=/usr/bin/yes\nstartsecs=0\nnumprocs=100\n\
         process_name=%(process_num)02d\nstdout_logfile={at}/flood-%(process_num)02d.log\n\
         stdout_logfile_maxbytes=100KB\nstdout_logfile_backups=1\n",
    );
    eventually("the last one writes", || {
        fs::metadata(agent.path("flood-99.log.1")).is_ok()
    });
    for _ in 0..20 {
        let asked = Instant::now();
        assert!(agent.is_in("flood:50", "RUNNING"));
        let took = asked.elapsed();
        assert!(took < PROMPT, "answered only after {took:?}");
    }
}
