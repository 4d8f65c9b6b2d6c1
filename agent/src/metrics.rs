//! What the agent measures of its programs, by the names that dashboards use.
//!
//! Events count as they happen; where each process stands is asked of the hub when somebody reads, on the
//! reader's own thread. Series are bounded by what is configured: eight states for each process, and one for
//! each exit code that it has had.

mod configuration;
mod events;
mod logs;
mod usage;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Counter, Histogram};
use rsv_proto::telemetry::meter;
use rsv_proto::time::from_wire;
use rsv_proto::wire::{ProcessState, ProcessStatus};
use rsv_supervise::{Change, Entered, Exit, Failure, Reason, State};
use tokio::runtime::Handle;

use crate::hub::{HubHandle, Key};
use crate::listeners::Listeners;
use crate::roster::RosterHandle;
pub(crate) use logs::{LogMetrics, LogNames};
use usage::{Units, Usage};

/// How long the thread that reads metrics waits for the hub.
const PATIENCE: Duration = Duration::from_secs(2);

/// One look serves all that is read in so short a time: every instrument asks for itself.
const FRESH: Duration = Duration::from_millis(100);

/// Bounds for starts and stops, which take from milliseconds to minutes.
const TURNS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

/// Every state, by the name that it has for people and in metrics.
const STATES: [(ProcessState, &str); 8] = [
    (ProcessState::Stopped, "STOPPED"),
    (ProcessState::Starting, "STARTING"),
    (ProcessState::Running, "RUNNING"),
    (ProcessState::Backoff, "BACKOFF"),
    (ProcessState::Stopping, "STOPPING"),
    (ProcessState::Exited, "EXITED"),
    (ProcessState::Fatal, "FATAL"),
    (ProcessState::Unknown, "UNKNOWN"),
];

/// Why processes are started again.
const RESTARTS: [&str; 2] = ["exit", "command"];

/// How most processes end.
const ENDS: [(&str, Option<i64>); 3] = [
    ("expected", Some(0)),
    ("unexpected", Some(1)),
    ("signal", None),
];

/// Counters of what happens.
#[derive(Clone, Debug)]
pub struct Metrics {
    restarts: Counter<u64>,
    exits: Counter<u64>,
    starts: Histogram<f64>,
    stops: Histogram<f64>,
}

impl Metrics {
    /// The instruments. Without an exporter what is counted goes nowhere.
    pub fn new() -> Self {
        let meter = meter();
        Self {
            restarts: meter
                .u64_counter("rsv.process.restarts")
                .with_unit("{restart}")
                .with_description(
                    "Starts of processes that had run before and were not told to start.",
                )
                .build(),
            exits: meter
                .u64_counter("rsv.process.exits")
                .with_unit("{exit}")
                .with_description("Ends of processes.")
                .build(),
            starts: meter
                .f64_histogram("rsv.process.start.duration")
                .with_unit("s")
                .with_description("How long processes were STARTING, and what came of it.")
                .with_boundaries(TURNS.to_vec())
                .build(),
            stops: meter
                .f64_histogram("rsv.process.stop.duration")
                .with_unit("s")
                .with_description("How long processes were STOPPING, and what came of it.")
                .with_boundaries(TURNS.to_vec())
                .build(),
        }
    }

    /// Makes the series of what may happen to a process, at 0: one that began with the first restart would not
    /// show it as a growth.
    fn begin(&self, key: (&str, &str)) {
        for reason in RESTARTS {
            let mut attributes = names(key.0, key.1);
            attributes.push(KeyValue::new("rsv.restart.reason", reason));
            self.restarts.add(0, &attributes);
        }
        for (kind, code) in ENDS {
            self.exits.add(0, &end_attributes(key, kind, code));
        }
    }

    /// A process has changed its state, in which it had been for so long; absent: not known.
    pub(crate) fn note(&self, key: &Key, change: &Change, spent: Option<Duration>) {
        if let Some((spent, (turn, outcome))) = spent.zip(turn(change)) {
            let mut attributes = names(&key.group, &key.name);
            attributes.push(KeyValue::new("rsv.outcome", outcome));
            let durations = match turn {
                Turn::Start => &self.starts,
                Turn::Stop => &self.stops,
            };
            durations.record(spent.as_secs_f64(), &attributes);
        }
        if let Some(reason) = restart(change) {
            let mut attributes = names(&key.group, &key.name);
            attributes.push(KeyValue::new("rsv.restart.reason", reason));
            self.restarts.add(1, &attributes);
        }
        if let Some((kind, code)) = exit(&change.reason) {
            let attributes = end_attributes((&key.group, &key.name), kind, code);
            self.exits.add(1, &attributes);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Where each process stands and what it uses, looked at when somebody reads, on the reading thread, which
/// is none of the runtime's.
#[derive(Debug)]
struct Looks {
    hub: HubHandle,
    runtime: Handle,
    units: Units,
    latest: Mutex<Option<(Instant, Arc<Vec<Seen>>)>>,
}

/// A process, and what it uses while it lives.
type Seen = (ProcessStatus, Option<Usage>);

impl Looks {
    fn now(&self) -> Arc<Vec<Seen>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, seen)) = latest.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Arc::clone(seen);
        }
        let seen = Arc::new(self.look());
        *latest = Some((Instant::now(), Arc::clone(&seen)));
        seen
    }

    fn look(&self) -> Vec<Seen> {
        let asked = async { tokio::time::timeout(PATIENCE, self.hub.snapshot()).await };
        let programs = match self.runtime.block_on(asked) {
            Ok(Ok(snapshot)) => snapshot.programs,
            // At the end of the agent, or when it is too busy: the next reading has it.
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let used = |program: &ProcessStatus| self.units.usage(program.pid?);
        let seen = programs.into_iter().map(|program| {
            let usage = used(&program);
            (program, usage)
        });
        seen.collect()
    }
}

/// Begins to measure where the agent and its processes stand. Inside the runtime, and only when somebody
/// reads.
pub fn watch(hub: &HubHandle, listeners: &Listeners, roster: &RosterHandle) {
    let looks = Arc::new(Looks {
        hub: hub.clone(),
        runtime: Handle::current(),
        units: Units::of_this_kernel(),
        latest: Mutex::new(None),
    });
    watch_states(&looks);
    watch_usage(&looks);
    events::watch(listeners);
    configuration::watch(roster);
}

fn watch_states(looks: &Arc<Looks>) {
    let meter = meter();
    let (states, uptimes) = (Arc::clone(looks), Arc::clone(looks));
    let counters = Metrics::new();
    meter
        .i64_observable_up_down_counter("rsv.process.state")
        .with_unit("{process}")
        .with_description("1 for the state that a process is in, 0 for the others.")
        .with_callback(move |observer| {
            let seen = states.now();
            for (program, _) in seen.iter() {
                counters.begin((&program.group, &program.name));
            }
            observe_states(&seen, observer);
        })
        .build();
    meter
        .f64_observable_gauge("process.uptime")
        .with_unit("s")
        .with_description("How long a process has been up.")
        .with_callback(move |observer| {
            observe_uptimes(&uptimes.now(), SystemTime::now(), observer);
        })
        .build();
}

fn watch_usage(looks: &Arc<Looks>) {
    let meter = meter();
    let times = Arc::clone(looks);
    meter
        .f64_observable_counter("process.cpu.time")
        .with_unit("s")
        .with_description("Processor time of a process itself.")
        .with_callback(move |observer| observe_times(&times.now(), observer))
        .build();
    let disks = Arc::clone(looks);
    meter
        .u64_observable_counter("process.disk.io")
        .with_unit("By")
        .with_description("Bytes that a process itself has read from disks and written to them.")
        .with_callback(move |observer| observe_disks(&disks.now(), observer))
        .build();
    let amounts: [(&'static str, &'static str, &'static str, Amount); 4] = [
        (
            "process.memory.usage",
            "By",
            "Memory that a process has in use.",
            |usage| Some(usage.resident),
        ),
        (
            "process.memory.virtual",
            "By",
            "Address space of a process.",
            |usage| Some(usage.addresses),
        ),
        (
            "process.thread.count",
            "{thread}",
            "Threads of a process.",
            |usage| Some(usage.threads),
        ),
        (
            "process.unix.file_descriptor.count",
            "{file_descriptor}",
            "Open descriptors of a process.",
            |usage| usage.descriptors,
        ),
    ];
    for (name, unit, description, amount) in amounts {
        let looks = Arc::clone(looks);
        meter
            .i64_observable_up_down_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| observe_amounts(&looks.now(), amount, observer))
            .build();
    }
}

/// One of the amounts that a process uses.
type Amount = fn(&Usage) -> Option<i64>;

fn observe_amounts(seen: &[Seen], amount: Amount, observer: &dyn AsyncInstrument<i64>) {
    for (program, usage) in seen {
        if let Some(amount) = usage.as_ref().and_then(amount) {
            observer.observe(amount, &names(&program.group, &program.name));
        }
    }
}

fn observe_times(seen: &[Seen], observer: &dyn AsyncInstrument<f64>) {
    for (program, usage) in seen {
        let Some(usage) = usage else { continue };
        for (mode, time) in [("user", usage.user), ("system", usage.system)] {
            let mut attributes = names(&program.group, &program.name);
            attributes.push(KeyValue::new("cpu.mode", mode));
            observer.observe(time.as_secs_f64(), &attributes);
        }
    }
}

fn observe_disks(seen: &[Seen], observer: &dyn AsyncInstrument<u64>) {
    for (program, usage) in seen {
        let Some(disk) = usage.and_then(|usage| usage.disk) else {
            continue;
        };
        for (direction, bytes) in [("read", disk.read), ("write", disk.written)] {
            let mut attributes = names(&program.group, &program.name);
            attributes.push(KeyValue::new("disk.io.direction", direction));
            observer.observe(bytes, &attributes);
        }
    }
}

fn observe_states(seen: &[Seen], observer: &dyn AsyncInstrument<i64>) {
    for (program, _) in seen {
        for (state, name) in STATES {
            let mut attributes = names(&program.group, &program.name);
            attributes.push(KeyValue::new("rsv.process.state", name));
            observer.observe(i64::from(program.state() == state), &attributes);
        }
    }
}

fn observe_uptimes(seen: &[Seen], now: SystemTime, observer: &dyn AsyncInstrument<f64>) {
    for (program, _) in seen {
        let started = program.started_at.as_ref().and_then(from_wire);
        if let Some(started) = started.filter(|_| program.pid.is_some()) {
            let uptime = now.duration_since(started).unwrap_or_default();
            observer.observe(uptime.as_secs_f64(), &names(&program.group, &program.name));
        }
    }
}

fn names(group: &str, name: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("rsv.group.name", group.to_owned()),
        KeyValue::new("rsv.process.name", name.to_owned()),
    ]
}

fn end_attributes(key: (&str, &str), kind: &'static str, code: Option<i64>) -> Vec<KeyValue> {
    let mut attributes = names(key.0, key.1);
    attributes.push(KeyValue::new("rsv.exit.kind", kind));
    attributes.extend(code.map(|code| KeyValue::new("process.exit.code", code)));
    attributes
}

/// What takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Start,
    Stop,
}

/// The start or the stop that a change ends, and what came of it.
fn turn(change: &Change) -> Option<(Turn, &'static str)> {
    match (change.from, &change.to) {
        (State::Starting, Entered::Running { .. }) => Some((Turn::Start, "running")),
        (State::Starting, Entered::Stopping { .. } | Entered::Stopped { .. }) => {
            Some((Turn::Start, "stopped"))
        }
        (State::Starting, _) => Some((Turn::Start, "failed")),
        (State::Stopping, Entered::Stopped { .. }) => Some((Turn::Stop, "stopped")),
        (State::Stopping, Entered::Starting { .. }) => Some((Turn::Stop, "restarted")),
        (State::Stopping, _) => Some((Turn::Stop, "failed")),
        _ => None,
    }
}

/// Why it is started again, if that is what the change is.
fn restart(change: &Change) -> Option<&'static str> {
    if !matches!(change.to, Entered::Starting { .. }) {
        return None;
    }
    match change.reason {
        Reason::Restarted | Reason::Retried { .. } => Some("exit"),
        Reason::AskedToRestart => Some("command"),
        Reason::Autostart
        | Reason::AskedToStart
        | Reason::AskedToStop
        | Reason::StayedUp { .. }
        | Reason::Ended { .. }
        | Reason::Stopped { .. }
        | Reason::Failed(_)
        | Reason::GaveUp(_)
        | Reason::StopTimedOut { .. }
        | Reason::SignalFailed { .. }
        | Reason::RestartNotWanted
        | Reason::Resumed => None,
    }
}

/// The kind of an end and its exit code, if the reason is one.
fn exit(reason: &Reason) -> Option<(&'static str, Option<i64>)> {
    let (exit, expected) = match reason {
        Reason::Ended { exit, expected } | Reason::Failed(Failure::Ended { exit, expected }) => {
            (exit, *expected)
        }
        Reason::Failed(Failure::ExitedTooQuickly { exit }) => (exit, false),
        Reason::Stopped { exit } => (exit.as_ref()?, true),
        Reason::Failed(Failure::NotSpawned { .. })
        | Reason::Autostart
        | Reason::AskedToStart
        | Reason::AskedToStop
        | Reason::AskedToRestart
        | Reason::StayedUp { .. }
        | Reason::Restarted
        | Reason::Retried { .. }
        | Reason::GaveUp(_)
        | Reason::StopTimedOut { .. }
        | Reason::SignalFailed { .. }
        | Reason::RestartNotWanted
        | Reason::Resumed => return None,
    };
    Some(match (exit, expected) {
        (Exit::Signal { .. }, _) => ("signal", None),
        (Exit::Unknown, _) => ("unknown", None),
        (Exit::Code(code), true) => ("expected", Some(i64::from(*code))),
        (Exit::Code(code), false) => ("unexpected", Some(i64::from(*code))),
    })
}
