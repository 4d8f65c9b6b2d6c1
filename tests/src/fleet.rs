//! A controller and hosts that have joined it, with real certificates, on loopback or in namespaces.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    command::{Ended, command, run},
    daemon::Daemon,
    eventually::{eventually, within},
    host::Host,
    network::{CONTROLLER, Network},
};

/// How often sessions beat: seldom enough that nobody on a busy machine is taken for silent.
const CALM: &str = "5s";

/// The same where a silence is waited for: three missed ones take less than two seconds.
const ATTENTIVE: &str = "500ms";

/// Where a controller with a network namespace of its own listens.
const PORT: u16 = 7443;

/// A running fleet in one temporary directory.
#[derive(Debug)]
pub struct Fleet {
    // Fields are dropped in this order: hosts leave before their controller goes.
    hosts: Vec<Host>,
    controller: Option<Daemon>,
    network: Option<Network>,
    name: String,
    address: String,
    heartbeat: &'static str,
    directory: TempDir,
}

impl Fleet {
    /// Makes a certificate authority, starts a controller, and lets each of `names` join and start
    /// with these programs (see [`Host::new`]).
    ///
    /// # Panics
    ///
    /// When any of it does not work.
    pub fn start(names: &[&str], programs: &str) -> Self {
        Self::without_hosts().with(names, programs)
    }

    /// As [`Fleet::start`], and a silent host is noticed within two seconds. So is one that a busy machine
    /// keeps silent.
    ///
    /// # Panics
    ///
    /// When any of it does not work.
    pub fn attentive(names: &[&str], programs: &str) -> Self {
        Self::on_loopback(ATTENTIVE).with(names, programs)
    }

    /// Makes a certificate authority and starts a controller.
    ///
    /// # Panics
    ///
    /// When any of it does not work.
    pub fn without_hosts() -> Self {
        Self::on_loopback(CALM)
    }

    fn on_loopback(heartbeat: &'static str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        Self::at("localhost", address, heartbeat, None)
    }

    /// As [`Fleet::attentive`], but the controller and each host have a network namespace of their own.
    ///
    /// # Panics
    ///
    /// When any of it does not work, such as without root.
    pub fn apart(names: &[&str], programs: &str) -> Self {
        let address = format!("{CONTROLLER}:{PORT}");
        Self::at(CONTROLLER, address, ATTENTIVE, Some(Network::new())).with(names, programs)
    }

    fn with(mut self, names: &[&str], programs: &str) -> Self {
        for name in names {
            self.add(name, programs);
        }
        self.wait_connected(names.len());
        self
    }

    fn at(name: &str, address: String, heartbeat: &'static str, network: Option<Network>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("rsv")
            .tempdir()
            .expect("a directory");
        let mut init = command("rsv-controller", ["init", "--name", name, "--state-dir"]);
        init.arg(directory.path().join("ctl"))
            .args(["--listen", &address, "--admin", "admin"]);
        run(&mut init).expect_code(0);
        let mut fleet = Self {
            hosts: Vec::new(),
            controller: None,
            network,
            name: name.to_owned(),
            address,
            heartbeat,
            directory,
        };
        fleet.start_controller();
        fleet
    }

    /// Starts the controller and waits until it answers.
    pub fn start_controller(&mut self) {
        self.start_controller_with(&[]);
    }

    /// As [`Fleet::start_controller`], with variables of the environment.
    pub fn start_controller_with(&mut self, environment: &[(&str, &str)]) {
        let mut controller = command("rsv-controller", ["run", "--listen", &self.address]);
        controller.args(["--heartbeat-interval", self.heartbeat, "--state-dir"]);
        controller
            .arg(self.path().join("ctl"))
            .envs(environment.iter().copied());
        let mut controller = self.here(controller);
        let log = self.path().join("ctl.out");
        self.controller = Some(Daemon::start(&mut controller, &log));
        eventually("the controller answers", || {
            self.rsv(["host", "ls"]).code == 0
        });
    }

    /// The controller's process.
    ///
    /// # Panics
    ///
    /// When it has not been started.
    pub fn controller(&mut self) -> &mut Daemon {
        self.controller
            .as_mut()
            .expect("the controller has been started")
    }

    /// Lets a host join and starts it.
    ///
    /// # Panics
    ///
    /// When any of it does not work.
    pub fn add(&mut self, name: &str, programs: &str) {
        let mut host = Host::new(self.path(), name, &self.settings(), programs);
        if let Some(network) = &mut self.network {
            network.host(name);
            host = host.in_namespace(network.namespace(name));
        }
        self.join(&host, &self.token(name)).expect_code(0);
        host.start();
        self.hosts.push(host);
    }

    /// The `[agent]` settings of a host of this fleet.
    pub fn settings(&self) -> String {
        format!(
            "controller = {}:{}\n",
            self.name,
            self.address.rsplit(':').next().unwrap_or_default()
        )
    }

    /// A token for hosts of this name.
    ///
    /// # Panics
    ///
    /// When the controller gives none.
    pub fn token(&self, host: &str) -> String {
        let made = self
            .rsv(["token", "create", "--host", host, "--ttl", "10m"])
            .expect_code(0);
        made.stdout
            .split_whitespace()
            .last()
            .expect("a token")
            .to_owned()
    }

    /// Lets a host join with a token.
    pub fn join(&self, host: &Host, token: &str) -> Ended {
        let mut join = command("rsv-agent", ["join", "-c"]);
        join.arg(host.configuration()).args(["--token", token]);
        run(&mut host.here(join))
    }

    /// A host by name.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn host(&mut self, name: &str) -> &mut Host {
        self.hosts
            .iter_mut()
            .find(|host| host.name() == name)
            .expect("a host of the fleet")
    }

    /// The command line as the first admin.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut rsv = command("rsv", arguments);
        rsv.env("RSV_CONTEXT", self.context());
        self.here(rsv)
    }

    /// The network between the hosts.
    ///
    /// # Panics
    ///
    /// When the fleet is on loopback.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a fleet in namespaces")
    }

    /// A command as it runs where the controller does.
    fn here(&self, command: Command) -> Command {
        match &self.network {
            Some(network) => network.inside("controller", &command),
            None => command,
        }
    }

    /// Runs the command line as the first admin.
    pub fn rsv<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ended {
        run(&mut self.command(arguments))
    }

    /// The first admin's context.
    pub fn context(&self) -> PathBuf {
        self.path().join("ctl/admin.context")
    }

    /// The directory of everything.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The controller's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many hosts are connected, as `host ls` says.
    pub fn connected(&self) -> usize {
        let hosts = self.rsv(["-A", "-o", "json", "host", "ls"]);
        if hosts.code != 0 {
            return 0;
        }
        let hosts = hosts.json()["hosts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        hosts
            .iter()
            .filter(|host| host["state"] == "connected")
            .count()
    }

    /// Waits until so many hosts are connected.
    pub fn wait_connected(&self, count: usize) {
        eventually("all hosts are connected", || self.connected() == count);
    }

    /// As [`Fleet::wait_connected`], with a promise of its own.
    pub fn connected_within(&self, limit: Duration, count: usize) {
        within(limit, "all hosts are connected", || {
            self.connected() == count
        });
    }
}

/// A port that was free a moment ago.
///
/// # Panics
///
/// When the machine has no loopback.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}
