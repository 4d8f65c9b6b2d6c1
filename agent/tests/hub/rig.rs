//! A hub with everything it needs, for tests: a real keeper or one played by the test.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]
#![expect(dead_code, reason = "each test file uses its own part of it")]

#[path = "../../keeper/tests/keeper/executable.rs"]
pub(crate) mod executable;

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsv_agent::capture::{Capture, LogSpec};
use rsv_agent::hub::{ActOn, Hub, HubHandle, Key, Settings, Shutdown};
use rsv_agent::journal::Item;
use rsv_agent::keeper_client::{self, KeeperBinary, KeeperError, KeeperOptions, KeeperPort};
use rsv_agent::spec::{Ambience, Launch, Program};
use rsv_keeper::message::StopRule;
use rsv_proto::wire::{self, ProcessState, ProcessStatus, TargetResult};
use rsv_supervise::Policy;
use tokio::task::JoinHandle;

/// The one patience of these tests: far more than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory, a socket in it, and perhaps a keeper.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) directory: tempfile::TempDir,
    keeper: Option<Child>,
}

/// One life of an agent: the hub and what belongs to it, as tasks of the test.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) hub: HubHandle,
    pub(crate) task: JoinHandle<Shutdown>,
    pub(crate) capture: Capture,
    client: JoinHandle<()>,
    port: KeeperPort,
}

impl Rig {
    /// Without a keeper.
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            keeper: None,
        }
    }

    /// With a real keeper.
    pub(crate) fn with_keeper() -> Self {
        let mut rig = Self::new();
        rig.start_keeper();
        rig
    }

    pub(crate) fn start_keeper(&mut self) {
        let mut command = Command::new(keeper_binary());
        command.arg("--socket").arg(self.socket());
        let keeper = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.keeper = Some(keeper);
        let deadline = Instant::now() + PATIENCE;
        while rsv_keeper::packet::connect(&self.socket()).is_err() {
            assert!(Instant::now() < deadline, "the keeper does not listen");
            // Nobody tells when it does.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("keeper.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Kills the keeper with SIGKILL.
    pub(crate) fn kill_keeper(&mut self) {
        let mut keeper = self.keeper.take().unwrap();
        keeper.kill().unwrap();
        assert_eq!(keeper.wait().unwrap().signal(), Some(9));
    }

    /// Asks the keeper to end.
    pub(crate) fn terminate_keeper(&self) {
        kill(
            self.keeper.as_ref().unwrap().id(),
            rustix::process::Signal::TERM,
        );
    }

    /// The keeper of this rig was not started by it and has ended.
    pub(crate) fn forget_keeper(&mut self) {
        self.keeper = None;
    }

    /// Waits for the keeper to end by itself.
    pub(crate) async fn keeper_ends(&mut self) {
        let mut keeper = self.keeper.take().unwrap();
        let ended = tokio::task::spawn_blocking(move || keeper.wait());
        assert!(within(ended).await.unwrap().unwrap().success());
    }

    /// The options of an agent that finds its keeper here. Its patience is less than that of the tests, because its end
    /// waits for it when there is no keeper.
    pub(crate) fn options(&self) -> KeeperOptions {
        KeeperOptions {
            binary: KeeperBinary::Foreign,
            patience: PATIENCE / 3,
            ..KeeperOptions::new(self.socket())
        }
    }

    /// An agent for these programs.
    pub(crate) async fn agent(&self, programs: Vec<Program>) -> Agent {
        self.agent_with(programs, self.options(), None)
            .await
            .unwrap()
    }

    pub(crate) async fn agent_with(
        &self,
        programs: Vec<Program>,
        options: KeeperOptions,
        maxprocs: Option<u32>,
    ) -> Result<Agent, KeeperError> {
        let (client, inputs) = keeper_client::connect(options).await?;
        let port = KeeperPort::new();
        let capture = Capture::start(port.clone()).unwrap();
        let settings = Settings {
            listeners: rsv_agent::listeners::Listeners::nobody(),
            host: "test".into(),
            epoch: 1,
            programs,
            maxprocs,
            purge: None,
            desired: Default::default(),
        };
        let (hub, handle) = Hub::new(settings, inputs, port.clone(), capture.clone());
        let (task, client) = (tokio::spawn(hub.run()), tokio::spawn(client.run()));
        Ok(Agent {
            hub: handle,
            task,
            capture,
            client,
            port,
        })
    }

    /// A program run by a shell, its output in `NAME.log`.
    pub(crate) fn program(&self, name: &str, script: &str) -> Program {
        let log = LogSpec::file(self.path(&format!("{name}.log")), 0, 0);
        let mut program = program(name, script);
        program.stdout = log.into();
        program
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

impl Drop for Rig {
    /// Programs and keeper must not outlive a test, however it ends.
    fn drop(&mut self) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        let pid = rustix::process::Pid::from_child(keeper);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        keeper.wait().ok();
    }
}

impl Agent {
    /// The agent is gone from one moment to the next; nothing is said to anybody.
    pub(crate) async fn kill(self) {
        self.task.abort();
        self.client.abort();
        self.task.await.unwrap_err();
        self.client.await.unwrap_err();
        self.port.disconnect();
    }

    /// Every program is stopped, and the hub ends.
    pub(crate) async fn stop(self) {
        within(self.hub.shutdown(Shutdown::StopPrograms))
            .await
            .unwrap();
        assert_eq!(within(self.task).await.unwrap(), Shutdown::StopPrograms);
        within(self.client).await.unwrap();
    }

    /// Waits until a program is as described.
    pub(crate) async fn until(
        &self,
        name: &str,
        is_so: impl Fn(&ProcessStatus) -> bool,
    ) -> ProcessStatus {
        let mut reader = self.hub.subscribe();
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let snapshot = self.hub.snapshot().await.unwrap();
                reader.resume_after(snapshot.seq);
                let shown = snapshot
                    .programs
                    .into_iter()
                    .find(|program| program.name == name);
                if let Some(shown) = shown.filter(&is_so) {
                    return shown;
                }
                loop {
                    match reader.next().await {
                        Item::Delta(wire::Delta {
                            change: Some(wire::delta::Change::Upsert(shown)),
                            ..
                        }) if shown.name == name => {
                            if is_so(&shown) {
                                return shown;
                            }
                            last = Some(shown);
                        }
                        Item::Delta(_) => {}
                        Item::Lagged => break,
                        Item::Ended => panic!("the hub has ended"),
                    }
                }
            }
        });
        match found.await {
            Ok(shown) => shown,
            Err(_) => panic!("{name} never came to be as expected; last seen {last:?}"),
        }
    }

    pub(crate) async fn until_state(&self, name: &str, state: ProcessState) -> ProcessStatus {
        self.until(name, |shown| shown.state() == state).await
    }

    /// The present state of a program.
    pub(crate) async fn shown(&self, name: &str) -> ProcessStatus {
        let status = self.hub.status(&[format!("*:{name}")]).await.unwrap();
        status.programs.into_iter().next().unwrap()
    }

    pub(crate) async fn act(
        &self,
        programs: &[&str],
        verb: wire::action::Verb,
    ) -> Vec<TargetResult> {
        let programs = programs.iter().map(ToString::to_string).collect();
        let action = wire::Action { verb: Some(verb) };
        let request = ActOn {
            programs,
            action,
            ..ActOn::default()
        };
        let mut receiver = self.hub.act(request).await.unwrap();
        within(async {
            let mut results = Vec::new();
            while let Some(result) = receiver.recv().await {
                results.push(result);
            }
            results
        })
        .await
    }

    pub(crate) async fn start(&self, name: &str) -> TargetResult {
        one(self
            .act(&[name], wire::action::Verb::Start(wire::StartAction {}))
            .await)
    }

    pub(crate) async fn halt(&self, name: &str) -> TargetResult {
        one(self
            .act(&[name], wire::action::Verb::Stop(wire::StopAction {}))
            .await)
    }

    pub(crate) async fn restart(&self, name: &str) -> TargetResult {
        one(self
            .act(&[name], wire::action::Verb::Restart(wire::RestartAction {}))
            .await)
    }

    pub(crate) async fn signal(&self, name: &str, signal: i32) -> TargetResult {
        one(self
            .act(
                &[name],
                wire::action::Verb::Signal(wire::SignalAction { signal }),
            )
            .await)
    }
}

/// The only result.
fn one(mut results: Vec<TargetResult>) -> TargetResult {
    assert_eq!(results.len(), 1, "one result expected: {results:?}");
    results.remove(0)
}

/// What a result says, in short.
pub(crate) fn said(result: &TargetResult) -> (wire::Outcome, wire::Refusal, Vec<wire::Step>) {
    (result.outcome(), result.refusal(), result.steps().collect())
}

/// A program run by a shell, its output nowhere. It is up as soon as it exists.
pub(crate) fn program(name: &str, script: &str) -> Program {
    let policy = Policy {
        startsecs: Duration::ZERO,
        ..Policy::default()
    };
    let environment = std::env::vars_os().collect();
    let ambience = Arc::new(Ambience {
        environment,
        directory: "/".into(),
    });
    let launch = Launch {
        ambience,
        command: format!("/bin/sh -c '{script}'"),
        directory: None,
        environment: BTreeMap::new(),
        server_url: None,
        credentials: None,
        umask: None,
        rlimits: Vec::new(),
        redirect_stderr: true,
        leaves_daemons: false,
        stop: StopRule {
            signal: 15,
            grace_ms: 1000,
            scope: 0,
            kill_scope: 1,
        },
    };
    Program {
        key: Key {
            group: name.into(),
            name: name.into(),
        },
        group_priority: 999,
        priority: 999,
        policy,
        launch: Ok(launch),
        stdout: LogSpec::null().into(),
        stderr: None,
        fingerprint: 0,
        socket: None,
    }
}

/// Waits for something that must come.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it did not happen in time")
}

/// Waits until something is so that nobody tells.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} did not come to be"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub(crate) fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).exists()
}

/// The keeper beside this test's own target directory.
pub(crate) fn keeper_binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let directory = own.ancestors().nth(2).unwrap();
    let keeper = directory.join("rsv-keeper");
    assert!(
        keeper.exists(),
        "{} is not there: build it first with `cargo build -p rsv-keeper`",
        keeper.display()
    );
    keeper
}
