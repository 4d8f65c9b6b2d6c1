//! A network of hosts on one machine: a namespace for each, and one with the switch between them.
//!
//! Nothing is added outside the namespaces made here, and their names are of this process, so that tests run
//! side by side. They go when the network is dropped; with them go links and rules. Faults are rules of
//! nftables: losses at the switch, where neither end sees them, resets at the host. Making namespaces needs root.

use std::{
    ffi::OsStr,
    process::{Command, id},
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::command::run;

/// The address of the controller's namespace, where operators are too.
pub const CONTROLLER: &str = "10.77.0.1";

/// What is wrong between a host and all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes, and nobody is told.
    Cut,
    /// The host hears nothing.
    Deaf,
    /// Nobody hears the host.
    Mute,
    /// Every connection is reset, and so is every new one.
    Reset,
    /// So many packets of a hundred are lost, each way.
    Lossy(u8),
}

/// The namespaces; removed when dropped.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    made: Vec<String>,
    hosts: usize,
}

impl Network {
    /// Makes the switch and the controller's place at it.
    ///
    /// # Panics
    ///
    /// When the machine does not allow it.
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut network = Self {
            prefix: format!("rsv{}-{number}-", id()),
            made: Vec::new(),
            hosts: 0,
        };
        let switch = network.add("switch");
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        network.nft(
            "switch",
            "add table bridge faults; \
             add chain bridge faults links { type filter hook forward priority 0; }",
        );
        network.attach("controller", "ctl", CONTROLLER);
        network
    }

    /// Makes a host's namespace with a link to the switch.
    ///
    /// # Panics
    ///
    /// When there are too many, or the machine does not allow it.
    pub fn host(&mut self, name: &str) {
        self.hosts += 1;
        assert!(self.hosts <= 200, "the network has no further address");
        let address = format!("10.77.0.{}", 10 + self.hosts);
        self.attach(name, &port(name), &address);
        self.nft(
            "switch",
            &format!(
                "add chain bridge faults {port}; add rule bridge faults links iifname {port} jump {port}; \
                 add rule bridge faults links oifname {port} jump {port}",
                port = port(name)
            ),
        );
        self.nft(
            name,
            "add table inet faults; \
             add chain inet faults in { type filter hook input priority 0; }; \
             add chain inet faults out { type filter hook output priority 0; }",
        );
    }

    /// From now on this is wrong with a host's link, beside what is wrong already.
    ///
    /// # Panics
    ///
    /// When there is no such host.
    pub fn break_link(&self, host: &str, fault: Fault) {
        let port = port(host);
        let lose = |packets: &str| {
            let rule = format!("add rule bridge faults {port} {packets} drop");
            self.nft("switch", &rule);
        };
        match fault {
            Fault::Cut => lose(""),
            Fault::Deaf => lose(&format!("oifname {port}")),
            Fault::Mute => lose(&format!("iifname {port}")),
            // ARP is spared: it asks but once a second, and a lost answer would be a cut.
            Fault::Lossy(percent) => {
                lose(&format!("ether type ip numgen random mod 100 < {percent}"));
            }
            // Both ends are told: the peer by an answer to what it sends, the host by one to what it sends.
            Fault::Reset => self.nft(
                host,
                "add rule inet faults in iifname eth0 meta l4proto tcp reject with tcp reset; \
                 add rule inet faults out oifname eth0 meta l4proto tcp tcp flags & rst == 0 \
                 reject with tcp reset",
            ),
        }
    }

    /// Nothing is wrong with a host's link any more.
    ///
    /// # Panics
    ///
    /// When there is no such host.
    pub fn heal(&self, host: &str) {
        let rules = format!("flush chain bridge faults {}", port(host));
        self.nft("switch", &rules);
        self.nft(
            host,
            "flush chain inet faults in; flush chain inet faults out",
        );
    }

    /// The same command in the namespace of a host, or of the `controller`.
    pub fn inside(&self, place: &str, command: &Command) -> Command {
        inside(&self.namespace(place), command)
    }

    /// The name of a place's namespace.
    pub fn namespace(&self, place: &str) -> String {
        format!("{}{place}", self.prefix)
    }

    fn add(&mut self, place: &str) -> String {
        let name = self.namespace(place);
        ip(&["netns", "add", &name]);
        self.made.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        name
    }

    fn attach(&mut self, place: &str, port: &str, address: &str) {
        let inside = self.add(place);
        let switch = self.namespace("switch");
        ip(&[
            "-n", &switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns",
            &inside,
        ]);
        ip(&["-n", &switch, "link", "set", port, "master", "br0", "up"]);
        let network = format!("{address}/24");
        ip(&["-n", &inside, "addr", "add", &network, "dev", "eth0"]);
        ip(&["-n", &inside, "link", "set", "eth0", "up"]);
    }

    fn nft(&self, place: &str, rules: &str) {
        let mut nft = Command::new("nft");
        nft.arg(rules);
        run(&mut self.inside(place, &nft)).expect_code(0);
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.made.drain(..).rev() {
            // A panic here would hide the one that ended the test.
            let removed = Command::new("ip").args(["netns", "del", &name]).status();
            if !removed.is_ok_and(|status| status.success()) {
                eprintln!("the namespace `{name}` is left");
            }
        }
    }
}

/// The same command in a namespace. The process keeps its id: what enters becomes the command.
pub fn inside(namespace: &str, command: &Command) -> Command {
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net=/run/netns/{namespace}"));
    inside.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside
}

/// The switch's port of a host, and the chain of its faults.
fn port(host: &str) -> String {
    format!("p_{}", host.replace('-', "_"))
}

fn ip<A: AsRef<OsStr>>(arguments: &[A]) {
    run(Command::new("ip").args(arguments)).expect_code(0);
}
