//! One keeper and one agent with a configuration of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    command::{Ended, command, run},
    daemon::Daemon,
    eventually::{PATIENCE, eventually},
    network::inside,
};

/// A host: a directory, a configuration, and the two processes.
#[derive(Debug)]
pub struct Host {
    name: String,
    directory: PathBuf,
    /// The network namespace it is in; absent: the machine's.
    namespace: Option<String>,
    // The agent goes first: it stops the programs in order.
    agent: Option<Daemon>,
    keeper: Option<Daemon>,
}

impl Host {
    /// Writes the configuration of a host below `parent`: the `[agent]` section with `settings`
    /// (lines), and `programs` (sections). `{dir}` in both stands for the host's directory.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn new(parent: &Path, name: &str, settings: &str, programs: &str) -> Self {
        let directory = parent.join(name);
        fs::create_dir_all(directory.join("log")).expect("a directory for the host");
        let host = Self {
            name: name.to_owned(),
            directory,
            namespace: None,
            agent: None,
            keeper: None,
        };
        host.configure(settings, programs);
        host
    }

    /// The same host in a network namespace, before it is started.
    #[must_use]
    pub fn in_namespace(mut self, namespace: String) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// A command as it runs on this host.
    pub fn here(&self, command: Command) -> Command {
        match &self.namespace {
            Some(namespace) => inside(namespace, &command),
            None => command,
        }
    }

    /// Replaces the configuration.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn configure(&self, settings: &str, programs: &str) {
        let text = format!(
            "[agent]\nname = {name}\nstate_dir = {{dir}}/state\nsocket = {{dir}}/agent.sock\n\
             keeper_socket = {{dir}}/keeper.sock\n{settings}\n[supervisord]\n\
             logfile = {{dir}}/log/agent.log\npidfile = {{dir}}/agent.pid\n\
             childlogdir = {{dir}}/log\n[supervisorctl]\nserverurl = unix://{{dir}}/sup.sock\n\
             {programs}\n",
            name = self.name,
        );
        let text = text.replace("{dir}", &self.directory.display().to_string());
        fs::write(self.configuration(), text).expect("a configuration");
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path inside the host's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The configuration's path.
    pub fn configuration(&self) -> PathBuf {
        self.path("agent.conf")
    }

    /// Starts the keeper, if it does not run, and the agent, and waits until the agent answers.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// As [`Host::start`], with variables of the agent's environment.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        if self.keeper.is_none() {
            let mut keeper = command("rsv-keeper", ["--socket"]);
            keeper.arg(self.path("keeper.sock"));
            self.keeper = Some(Daemon::start(
                &mut self.here(keeper),
                &self.path("keeper.out"),
            ));
        }
        self.start_agent_with(environment);
        eventually("the agent answers", || self.rsv(["version"]).code == 0);
    }

    /// Starts the agent and does not wait.
    pub fn start_agent(&mut self) {
        self.start_agent_with(&[]);
    }

    /// Ends the agent in order, and with it the keeper: nothing is left but what is on the disk, as after a
    /// restart of the machine.
    ///
    /// # Panics
    ///
    /// When one of them does not end.
    pub fn shut_down(&mut self) {
        self.agent().terminate();
        let ended = self.keeper().wait(PATIENCE);
        ended.expect("the keeper ends after its agent");
        (self.agent, self.keeper) = (None, None);
    }

    fn start_agent_with(&mut self, environment: &[(&str, &str)]) {
        let mut agent = command("rsv-agent", ["-n", "-c"]);
        agent
            .arg(self.configuration())
            .envs(environment.iter().copied());
        self.agent = Some(Daemon::start(
            &mut self.here(agent),
            &self.path("agent.out"),
        ));
    }

    /// The agent's process.
    ///
    /// # Panics
    ///
    /// When it has not been started.
    pub fn agent(&mut self) -> &mut Daemon {
        self.agent.as_mut().expect("the agent has been started")
    }

    /// The keeper's process.
    ///
    /// # Panics
    ///
    /// When it has not been started.
    pub fn keeper(&mut self) -> &mut Daemon {
        self.keeper.as_mut().expect("the keeper has been started")
    }

    /// Runs the command line against this host's own socket.
    pub fn rsv<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ended {
        let mut rsv = command("rsv", ["-c"]);
        run(rsv.arg(self.configuration()).args(arguments))
    }

    /// The state's word in `status` of a program; empty when there is none.
    pub fn state(&self, program: &str) -> String {
        let status = self.rsv(["status", program]).stdout;
        status
            .split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    }

    /// The process id of a program; 0 when it does not run.
    pub fn pid(&self, program: &str) -> i32 {
        self.rsv(["pid", program])
            .stdout
            .trim()
            .parse()
            .unwrap_or_default()
    }

    /// Sends a signal to a program as soon as it runs, and says which process that was.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn signal(&self, program: &str, signal: Signal) -> i32 {
        let mut pid = 0;
        eventually("the program gets a signal", || {
            pid = self.pid(program);
            // It may be about to end.
            pid > 0 && kill(Pid::from_raw(pid), signal).is_ok()
        });
        pid
    }

    /// For how many seconds a program has been up; 0 when it does not run.
    pub fn uptime(&self, program: &str) -> u64 {
        let status = self.rsv(["-o", "json", "status", program]).json();
        status["programs"][0]["uptime_seconds"]
            .as_f64()
            .unwrap_or_default() as u64
    }

    /// How many lines a file of the host has; 0 when there is no file.
    pub fn lines(&self, name: &str) -> usize {
        fs::read_to_string(self.path(name))
            .unwrap_or_default()
            .lines()
            .count()
    }
}
