//! What scripts read: the versioned forms of `-o json` and `-o jsonl`. A key here is a promise.
//!
//! Hosts and programs are never folded, and every target is there with its outcome. Times are in
//! RFC 3339; what is not known is null.

mod about;

use std::{collections::BTreeMap, time::SystemTime};

use rsv_proto::{time::from_wire, wire};
use serde::Serialize;

use crate::{error::Failure, ui::Ui};

pub(crate) use about::{Help, HelpVerb, Man};

/// `status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    schema: &'static str,
    /// Each host asked about; empty on this machine.
    pub(crate) hosts: Vec<StatusHost>,
    /// Each program, of unreachable hosts too.
    pub(crate) programs: Vec<StatusProgram>,
    /// Each pattern that names nothing.
    pub(crate) unmatched: Vec<String>,
}

/// A host in `status`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusHost {
    pub(crate) host: String,
    pub(crate) state: &'static str,
    pub(crate) as_of: Option<String>,
    pub(crate) reason: Option<String>,
    /// Why its identity seems to be used twice.
    pub(crate) conflict: Option<String>,
    /// The number of what is wanted of it, and of what it has said it keeps to; null: not known.
    pub(crate) desired_generation: u64,
    pub(crate) obeyed_generation: Option<u64>,
}

/// A program in `status`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusProgram {
    /// Null on this machine.
    pub(crate) host: Option<String>,
    /// As it is shown and typed: `name` or `group:name`.
    pub(crate) program: String,
    pub(crate) group: String,
    pub(crate) state: &'static str,
    pub(crate) description: String,
    pub(crate) pid: Option<u32>,
    pub(crate) uptime_seconds: Option<u64>,
    /// The latest exit code; -1 when a signal ended it, as Supervisor has it.
    pub(crate) exit_status: Option<i32>,
    /// That signal, such as `SIGTERM`.
    pub(crate) exit_signal: Option<String>,
    /// What keeps its output from its log; null when nothing does.
    pub(crate) log_trouble: Option<String>,
    pub(crate) log_trouble_since: Option<String>,
    /// Bytes of its output that did not get to every place they were meant for.
    pub(crate) log_dropped_bytes: u64,
    /// It runs as an earlier configuration had it; `update` brings it along.
    pub(crate) outdated: bool,
    /// Who wants it to be down, and why; null when nobody does.
    pub(crate) hold: Option<Hold>,
    /// How it fares as an event listener; null when it is none, and of other hosts.
    pub(crate) listener: Option<Listener>,
    /// When all this was true.
    pub(crate) as_of: Option<String>,
    pub(crate) reachable: bool,
}

/// An event listener. The numbers are those of its pool since the agent was started.
#[derive(Debug, Serialize)]
pub(crate) struct Listener {
    /// As Supervisor has it: `ACKNOWLEDGED`, `READY`, `BUSY` or `UNKNOWN`.
    pub(crate) stage: &'static str,
    pub(crate) waiting: u64,
    pub(crate) delivered: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
}

/// `start`, `stop`, `restart`, `signal`.
#[derive(Debug, Serialize)]
pub(crate) struct Action {
    pub(crate) schema: String,
    /// Null on this machine, and for what was not begun.
    pub(crate) operation: Option<String>,
    pub(crate) outcome: &'static str,
    pub(crate) targets: Vec<Target>,
}

/// The fate of one target.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    /// Null on this machine.
    pub(crate) host: Option<String>,
    /// Null when the whole host has one fate.
    pub(crate) program: Option<String>,
    pub(crate) outcome: &'static str,
    pub(crate) detail: String,
}

/// `--dry-run` of an action.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) schema: String,
    pub(crate) dry_run: bool,
    pub(crate) hosts: Vec<String>,
    pub(crate) programs: Vec<String>,
    /// Of the fleet: every program of every host that is meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<PlannedTarget>,
    /// What is named and is not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) impossible: Vec<Target>,
}

/// A program that an action would reach.
#[derive(Debug, Serialize)]
pub(crate) struct PlannedTarget {
    pub(crate) host: String,
    /// None: the host finds out by itself.
    pub(crate) program: Option<String>,
}

/// `host ls`, `host show`.
#[derive(Debug, Serialize)]
pub(crate) struct Hosts<'a> {
    schema: &'static str,
    pub(crate) hosts: Vec<Host>,
    /// Each name that no enrolled host has.
    pub(crate) missing: &'a [String],
}

/// A host in either of them.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) last_seen: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) version: Option<String>,
    pub(crate) programs_up: Option<u32>,
    pub(crate) programs_total: Option<u32>,
    pub(crate) certificate_expires: Option<String>,
    pub(crate) round_trip_seconds: Option<f64>,
    pub(crate) reason: Option<String>,
    /// Why its identity seems to be used twice.
    pub(crate) conflict: Option<String>,
    /// Who wants all of it to be down, and why; null when nobody does.
    pub(crate) drained: Option<Hold>,
    /// The number of what is wanted of it, and of what it has said it keeps to; null: not known.
    pub(crate) desired_generation: u64,
    pub(crate) obeyed_generation: Option<u64>,
    /// Who refuses its certificates, and why; null when nobody does.
    pub(crate) revoked: Option<Revocation>,
    /// The configuration in force on it: how many have been since the agent's start, and what is the same
    /// where the same is supervised; null: not known.
    pub(crate) config_generation: Option<u64>,
    pub(crate) config_digest: Option<String>,
}

/// Why a host is refused.
#[derive(Debug, Serialize)]
pub(crate) struct Revocation {
    pub(crate) reason: Option<String>,
    pub(crate) by: String,
    pub(crate) since: Option<String>,
}

impl Revocation {
    /// From the wire.
    pub(crate) fn of(revoked: &wire::Revocation) -> Self {
        Self {
            reason: text(&revoked.reason),
            by: revoked.actor.clone(),
            since: time(revoked.since.as_ref()),
        }
    }
}

/// Why something is wanted to be down.
#[derive(Debug, Serialize)]
pub(crate) struct Hold {
    pub(crate) reason: Option<String>,
    pub(crate) by: String,
    pub(crate) since: Option<String>,
    /// The whole host is drained, not this program alone.
    pub(crate) whole_host: bool,
}

impl Hold {
    /// From the wire.
    pub(crate) fn of(hold: &wire::Hold) -> Self {
        Self {
            reason: text(&hold.reason),
            by: hold.actor.clone(),
            since: time(hold.since.as_ref()),
            whole_host: hold.whole_host,
        }
    }
}

/// `import`.
#[derive(Debug, Serialize)]
pub(crate) struct ImportReport {
    pub(crate) schema: &'static str,
    pub(crate) file: String,
    pub(crate) included: Vec<String>,
    /// Null when the file is refused as it is.
    pub(crate) processes: Option<usize>,
    pub(crate) groups: Option<usize>,
    /// Something has to be changed before the agent takes the file.
    pub(crate) refused: bool,
    pub(crate) findings: Vec<ImportFinding>,
    /// How many differences there are besides, which do not depend on the file.
    pub(crate) more_differences: usize,
    /// What is to be added to the file; null when it has it.
    pub(crate) agent_section: Option<String>,
    /// The way from Supervisor to rsv, for a shell of root.
    pub(crate) commands: Vec<String>,
}

/// A finding of `import`.
#[derive(Debug, Serialize)]
pub(crate) struct ImportFinding {
    /// `refused`: has to be changed first; `differs`: does something else.
    pub(crate) severity: &'static str,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<usize>,
    pub(crate) section: Option<String>,
    pub(crate) key: Option<String>,
    /// Null where the difference says it all.
    pub(crate) text: Option<String>,
    /// The row of COMPATIBILITY.md: what it is about, what Supervisor does, what is done here, and why.
    pub(crate) topic: Option<String>,
    pub(crate) supervisor: Option<String>,
    pub(crate) here: Option<String>,
    pub(crate) why: Option<String>,
    pub(crate) hint: Option<String>,
}

/// An event of `events`, one object a line.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) schema: &'static str,
    /// Grows with each event; `events --from` begins with it.
    pub(crate) seq: u64,
    pub(crate) at: Option<String>,
    /// Null on this machine, and for what is about the whole fleet.
    pub(crate) host: Option<String>,
    /// `process`, `process-removed`, `host` or `operation`.
    pub(crate) kind: &'static str,
    pub(crate) program: Option<String>,
    pub(crate) group: Option<String>,
    /// The state before; null when it is not known.
    pub(crate) from: Option<String>,
    /// The state from now on: of the process, the link to the host, or the operation.
    pub(crate) state: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) exit_status: Option<i32>,
    pub(crate) exit_signal: Option<String>,
    pub(crate) operation: Option<String>,
    pub(crate) detail: String,
}

/// `op ls`.
#[derive(Debug, Serialize)]
pub(crate) struct Operations {
    schema: &'static str,
    pub(crate) operations: Vec<Operation>,
}

impl Operations {
    /// Of these operations.
    pub(crate) fn new(operations: Vec<Operation>) -> Self {
        Self {
            schema: "rsv/op-ls/v1",
            operations,
        }
    }
}

/// `op show`, and the verbs that control one.
#[derive(Debug, Serialize)]
pub(crate) struct OneOperation {
    schema: String,
    #[serde(flatten)]
    operation: Operation,
}

impl OneOperation {
    /// As this verb shows it.
    pub(crate) fn new(verb: &str, operation: Operation) -> Self {
        Self {
            schema: format!("rsv/{verb}/v1"),
            operation,
        }
    }
}

/// One operation.
#[derive(Debug, Serialize)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) state: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) hosts: u32,
    pub(crate) pending: u32,
    pub(crate) done: u32,
    pub(crate) failed: u32,
    pub(crate) unreachable: u32,
    pub(crate) expired: u32,
    pub(crate) denied: u32,
    pub(crate) not_attempted: u32,
    pub(crate) batch: u32,
    pub(crate) batches: u32,
    pub(crate) submitted: Option<String>,
    /// Null: it has not ended.
    pub(crate) elapsed_seconds: Option<f64>,
    pub(crate) retry_of: Option<String>,
    pub(crate) rollback_of: Option<String>,
    pub(crate) rolled_back_by: Option<String>,
    pub(crate) key: Option<String>,
}

/// `wait`.
#[derive(Debug, Serialize)]
pub(crate) struct Wait {
    pub(crate) schema: &'static str,
    pub(crate) reached: bool,
    pub(crate) waited_for: &'static str,
    /// Those that are not there, with what they are.
    pub(crate) missing: Vec<String>,
}

/// `token create`.
#[derive(Debug, Serialize)]
pub(crate) struct Token {
    schema: &'static str,
    pub(crate) token: String,
    pub(crate) host: String,
    pub(crate) expires: Option<String>,
    pub(crate) uses: u32,
}

/// `pid`.
#[derive(Debug, Serialize)]
pub(crate) struct Pids<'a> {
    schema: &'static str,
    /// The agent's own, when no program was named.
    pub(crate) agent: Option<u32>,
    pub(crate) programs: &'a [Pid],
    /// Each name that names nothing.
    pub(crate) unmatched: &'a [String],
}

/// A program in `pid`.
#[derive(Debug, Serialize)]
pub(crate) struct Pid {
    pub(crate) host: Option<String>,
    pub(crate) program: String,
    /// Null when it does not run.
    pub(crate) pid: Option<u32>,
}

/// `version`.
#[derive(Debug, Serialize)]
pub(crate) struct Versions {
    schema: &'static str,
    pub(crate) agents: Vec<Version>,
}

/// An agent in `version`.
#[derive(Debug, Serialize)]
pub(crate) struct Version {
    pub(crate) host: Option<String>,
    /// Null when it is not known.
    pub(crate) version: Option<String>,
    /// What all who use the agent should know, such as that it is away; null when there is nothing.
    pub(crate) notice: Option<String>,
}

/// `reread`, and `update --dry-run`.
#[derive(Debug, Serialize)]
pub(crate) struct Reread {
    pub(crate) schema: &'static str,
    pub(crate) shutting_down: bool,
    pub(crate) groups: Vec<PlannedGroup>,
    pub(crate) refused: Vec<RefusedSection>,
    /// Null unless the configuration is refused.
    pub(crate) error: Option<ConfigurationError>,
}

/// `update --dry-run` on the fleet.
#[derive(Debug, Serialize)]
pub(crate) struct FleetPlan {
    pub(crate) schema: &'static str,
    pub(crate) hosts: Vec<HostPlan>,
}

/// What an update would do on one host.
#[derive(Debug, Serialize)]
pub(crate) struct HostPlan {
    pub(crate) host: String,
    /// `done`: the rest says what it would do; `failed`, `unreachable` or `not_attempted`.
    pub(crate) outcome: &'static str,
    /// Why nothing is known.
    pub(crate) detail: String,
    pub(crate) groups: Vec<PlannedGroup>,
    pub(crate) refused: Vec<RefusedSection>,
    /// Null unless the configuration is refused.
    pub(crate) error: Option<ConfigurationError>,
}

/// What is to become of a group.
#[derive(Debug, Serialize)]
pub(crate) struct PlannedGroup {
    pub(crate) group: String,
    /// `added`, `changed` or `removed`.
    pub(crate) change: &'static str,
    pub(crate) keys: Vec<String>,
    pub(crate) processes: Vec<PlannedProcess>,
}

/// What is to become of a process.
#[derive(Debug, Serialize)]
pub(crate) struct PlannedProcess {
    pub(crate) program: String,
    /// `added`, `removed`, `restarted` or `live`.
    pub(crate) change: &'static str,
    pub(crate) keys: Vec<String>,
}

/// A section that is refused alone.
#[derive(Debug, Serialize)]
pub(crate) struct RefusedSection {
    pub(crate) program: String,
    pub(crate) reason: String,
}

/// Why a configuration is refused.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigurationError {
    pub(crate) text: String,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) problems: Vec<String>,
}

/// `update`.
#[derive(Debug, Serialize)]
pub(crate) struct Update<'a> {
    pub(crate) schema: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) shutting_down: bool,
    pub(crate) groups: &'a [UpdatedGroup],
    pub(crate) refused: &'a [RefusedSection],
    pub(crate) error: Option<&'a ConfigurationError>,
}

/// A group in `update`.
#[derive(Debug, Serialize)]
pub(crate) struct UpdatedGroup {
    pub(crate) group: String,
    /// `added`, `updated`, `removed`, `not_stopped` or `no_such_group`.
    pub(crate) outcome: &'static str,
    pub(crate) keys: Vec<String>,
    pub(crate) processes: Vec<PlannedProcess>,
}

/// `add` and `remove`.
#[derive(Debug, Serialize)]
pub(crate) struct GroupOutcomes {
    pub(crate) schema: String,
    pub(crate) groups: Vec<GroupOutcome>,
}

/// A group in `add` and `remove`.
#[derive(Debug, Serialize)]
pub(crate) struct GroupOutcome {
    pub(crate) group: String,
    pub(crate) outcome: &'static str,
}

/// `reload`.
#[derive(Debug, Serialize)]
pub(crate) struct Reload {
    pub(crate) schema: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) error: Option<ConfigurationError>,
}

/// `avail`.
#[derive(Debug, Serialize)]
pub(crate) struct Available {
    pub(crate) schema: &'static str,
    pub(crate) programs: Vec<AvailableProgram>,
}

/// A process in `avail`.
#[derive(Debug, Serialize)]
pub(crate) struct AvailableProgram {
    /// Absent on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    pub(crate) program: String,
    pub(crate) group: String,
    pub(crate) in_use: bool,
    pub(crate) autostart: bool,
    pub(crate) group_priority: i64,
    pub(crate) priority: i64,
}

/// `ctx ls`.
#[derive(Debug, Serialize)]
pub(crate) struct Contexts {
    schema: &'static str,
    pub(crate) contexts: Vec<Context>,
}

/// `ctx import`.
#[derive(Debug, Serialize)]
pub(crate) struct Imported {
    pub(crate) schema: &'static str,
    /// The file of installed contexts.
    pub(crate) file: String,
    pub(crate) contexts: Vec<Installed>,
}

/// A context in `ctx import`.
#[derive(Debug, Serialize)]
pub(crate) struct Installed {
    pub(crate) name: String,
    pub(crate) current: bool,
}

/// `ctx use`.
#[derive(Debug, Serialize)]
pub(crate) struct Chosen<'a> {
    pub(crate) schema: &'static str,
    pub(crate) name: &'a str,
}

/// `shutdown`.
#[derive(Debug, Serialize)]
pub(crate) struct Shutdown {
    pub(crate) schema: &'static str,
    /// Whether it has begun now, or had before.
    pub(crate) outcome: &'static str,
}

/// An installed context.
#[derive(Debug, Serialize)]
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) current: bool,
    pub(crate) controllers: Vec<String>,
    pub(crate) identity: Option<String>,
    pub(crate) error: Option<String>,
}

impl Status {
    pub(crate) fn new(hosts: Vec<StatusHost>, programs: Vec<StatusProgram>) -> Self {
        Self {
            schema: "rsv/status/v1",
            hosts,
            programs,
            unmatched: Vec::new(),
        }
    }
}

impl<'a> Hosts<'a> {
    pub(crate) fn new(schema: &'static str, hosts: Vec<Host>, missing: &'a [String]) -> Self {
        Self {
            schema,
            hosts,
            missing,
        }
    }
}

impl Token {
    pub(crate) fn new(token: String, host: String, expires: Option<String>, uses: u32) -> Self {
        Self {
            schema: "rsv/token-create/v1",
            token,
            host,
            expires,
            uses,
        }
    }
}

impl<'a> Pids<'a> {
    pub(crate) fn new(agent: Option<u32>, programs: &'a [Pid], unmatched: &'a [String]) -> Self {
        Self {
            schema: "rsv/pid/v1",
            agent,
            programs,
            unmatched,
        }
    }
}

impl Versions {
    pub(crate) fn new(agents: Vec<Version>) -> Self {
        Self {
            schema: "rsv/version/v1",
            agents,
        }
    }
}

impl Contexts {
    pub(crate) fn new(contexts: Vec<Context>) -> Self {
        Self {
            schema: "rsv/ctx-ls/v1",
            contexts,
        }
    }
}

/// Prints one object on one line.
pub(crate) fn print(ui: &mut Ui, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(std::io::Error::other)?;
    ui.line(&text)
}

/// Prints one object a line.
pub(crate) fn print_lines<T: Serialize>(ui: &mut Ui, values: &[T]) -> Result<(), Failure> {
    values.iter().try_for_each(|value| print(ui, value))
}

/// A moment of the wire in RFC 3339, to the millisecond; null when it is not one.
pub(crate) fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    at.and_then(from_wire).and_then(moment)
}

/// A moment in RFC 3339, to the millisecond.
pub(crate) fn moment(at: SystemTime) -> Option<String> {
    let at = jiff::Timestamp::try_from(at).ok()?;
    Some(format!("{at:.3}"))
}

/// A text, or null when it is empty.
pub(crate) fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
