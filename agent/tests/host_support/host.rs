//! A real agent with its local socket, in a directory of its own, and its configuration.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rsv_proto::dial::dial_unix;
use rsv_proto::wire::{
    self, ProcessState, ProcessStatus, fleet_client::FleetClient, update_response::Event,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::Channel;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_rsv-agent");

/// The one patience of these tests: far more than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory in which everything is, and the agent that runs there.
pub(crate) struct Host {
    pub(crate) directory: TempDir,
    pub(crate) agent: Option<Child>,
}

impl Host {
    pub(crate) fn new(programs: &str) -> Self {
        let host = Self {
            directory: tempfile::tempdir().unwrap(),
            agent: None,
        };
        host.write(programs);
        host
    }

    /// Writes the configuration anew.
    pub(crate) fn write(&self, programs: &str) {
        let at = self.directory.path().display();
        let text = format!(
            "[agent]\nname = web01\nstate_dir = {at}/state\nsocket = {at}/agent.sock\n\
             keeper_socket = {at}/keeper.sock\n[supervisord]\nlogfile = {at}/agent.log\n\
             pidfile = {at}/agent.pid\nchildlogdir = {at}\n{programs}"
        );
        fs::write(self.path("a.conf"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    pub(crate) async fn start(&mut self) {
        self.agent = Some(self.command().spawn().unwrap());
        self.served().await;
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(AGENT);
        command
            .args(["-n", "-s", "-c", "a.conf"])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Waits until the agent answers.
    pub(crate) async fn served(&self) {
        eventually("the agent", async || {
            let Ok(channel) = dial_unix(&self.path("agent.sock")).await else {
                return false;
            };
            let mut client = FleetClient::new(channel);
            let asked = client.get_version(wire::GetVersionRequest {}).await;
            asked.is_ok()
        })
        .await;
    }

    pub(crate) async fn client(&self) -> FleetClient<Channel> {
        FleetClient::new(dial_unix(&self.path("agent.sock")).await.unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.agent.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub(crate) async fn status(&self) -> (Vec<ProcessStatus>, String) {
        let mut client = self.client().await;
        let request = wire::GetStatusRequest::default();
        let mut pages = client.get_status(request).await.unwrap().into_inner();
        let page = pages.message().await.unwrap().unwrap();
        (page.hosts[0].programs.clone(), page.notice)
    }

    /// `None` also while the agent starts or stops, when it answers nothing.
    pub(crate) async fn shown(&self, name: &str) -> Option<ProcessStatus> {
        let channel = dial_unix(&self.path("agent.sock")).await.ok()?;
        let request = wire::GetStatusRequest::default();
        let pages = FleetClient::new(channel).get_status(request).await.ok()?;
        let page = pages.into_inner().message().await.ok()??;
        let mut programs = page.hosts.into_iter().flat_map(|host| host.programs);
        programs.find(|program| program.name == name)
    }

    /// The process id of a program as soon as it is up.
    pub(crate) async fn up(&self, name: &str) -> u32 {
        let mut pid = None;
        eventually(name, async || {
            let shown = self.shown(name).await;
            let running = shown.filter(|shown| shown.state() == ProcessState::Running);
            pid = running.and_then(|running| running.pid);
            pid.is_some()
        })
        .await;
        pid.unwrap()
    }

    pub(crate) async fn update(&self, groups: &[&str]) -> Vec<Event> {
        let groups = groups.iter().map(ToString::to_string).collect();
        let request = wire::UpdateRequest { groups };
        let mut client = self.client().await;
        let mut stream = client.update(request).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            events.extend(response.event);
        }
        events
    }
}

impl Drop for Host {
    /// Programs and agent must not outlive a test, however it ends.
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let pid = Pid::from_child(agent);
            kill_process(pid, Signal::TERM).ok();
            agent.wait().ok();
        }
    }
}

pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what} did not come to be");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process is there and has not ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
