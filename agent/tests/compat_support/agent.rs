//! A real agent with a socket for Supervisor's clients, and calls over it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_rsv-agent");

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running agent, ended with the test.
pub(crate) struct Agent {
    pub(crate) child: Child,
    pub(crate) directory: TempDir,
}

/// A directory with a configuration; every `{at}` in it stands for the directory.
pub(crate) fn configured(more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    let text = "[supervisord]\nlogfile={at}/main.log\npidfile={at}/s.pid\nchildlogdir={at}\n\
                identifier=test\n\
                [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = \
                supervisor.rpcinterface:make_main_rpcinterface\n";
    let text = format!("{text}{more}").replace("{at}", &at);
    fs::write(directory.path().join("s.conf"), text).unwrap();
    directory
}

pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(AGENT);
    command.args(["-n", "-c", "s.conf"]).current_dir(directory);
    command
}

impl Agent {
    pub(crate) fn start(more: &str) -> Self {
        Self::start_with(more, |_| ())
    }

    /// The same, with files that have to be there before.
    pub(crate) fn start_with(more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let directory = configured(&format!(
            "[unix_http_server]\nfile={{at}}/s.sock\nchmod=0770\n{more}"
        ));
        prepare(directory.path());
        let child = command(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { child, directory };
        eventually("the agent answers", || {
            UnixStream::connect(agent.socket()).is_ok()
        });
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("s.sock")
    }

    /// The text of the answer to a call.
    pub(crate) fn call(&self, method: &str, params: &[&str]) -> String {
        self.try_call(method, params).unwrap()
    }

    /// As [`Agent::call`]; `None`: there is no answer.
    pub(crate) fn try_call(&self, method: &str, params: &[&str]) -> Option<String> {
        let param = |value| format!("<param><value>{value}</value></param>");
        let params: String = params.iter().map(param).collect();
        let body = format!(
            "<methodCall><methodName>supervisor.{method}</methodName><params>{params}</params>\
             </methodCall>"
        );
        let length = body.len();
        let request = format!("POST /RPC2 HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let is_answered = answer.starts_with("HTTP/1.0 200 OK\r\n");
        is_answered.then_some(answer)
    }

    pub(crate) fn is_in(&self, name: &str, state: &str) -> bool {
        let info = self.call("getProcessInfo", &[name]);
        info.contains(&format!("<string>{state}</string>"))
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.ended() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
            // The keeper ends with an orderly stop of the agent.
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).ok();
            self.child.wait().ok();
        }
    }
}

pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
