//! What the agent measures of its programs, by the names that dashboards use.
//!
//! Events count as they happen; where each process stands is asked of the hub when somebody reads, on the
//! reader's own thread. Series are bounded by what is configured: eight states for each process, and one for
//! each exit code that it has had.

use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Counter};
use rsv_proto::telemetry::meter;
use rsv_proto::time::from_wire;
use rsv_proto::wire::{ProcessState, ProcessStatus};
use rsv_supervise::{Change, Entered, Exit, Failure, Reason};
use tokio::runtime::Handle;

use crate::hub::{HubHandle, Key};

/// How long the thread that reads metrics waits for the hub.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Counters of what happens.
#[derive(Clone, Debug)]
pub struct Metrics {
    restarts: Counter<u64>,
    exits: Counter<u64>,
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
        }
    }

    /// A process has changed its state.
    pub(crate) fn note(&self, key: &Key, change: &Change) {
        if let Some(reason) = restart(change) {
            let mut attributes = names(&key.group, &key.name);
            attributes.push(KeyValue::new("rsv.restart.reason", reason));
            self.restarts.add(1, &attributes);
        }
        if let Some((kind, code)) = exit(&change.reason) {
            let mut attributes = names(&key.group, &key.name);
            attributes.push(KeyValue::new("rsv.exit.kind", kind));
            attributes.extend(code.map(|code| KeyValue::new("process.exit.code", code)));
            self.exits.add(1, &attributes);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Begins to measure where the processes stand. Inside the runtime, and only when somebody reads.
pub fn watch(hub: &HubHandle) {
    let meter = meter();
    let (states, uptimes) = (hub.clone(), hub.clone());
    let runtime = Handle::current();
    let (for_states, for_uptimes) = (runtime.clone(), runtime);
    meter
        .i64_observable_up_down_counter("rsv.process.state")
        .with_unit("{process}")
        .with_description("1 for the state that a process is in, 0 for the others.")
        .with_callback(move |observer| observe_states(&programs(&states, &for_states), observer))
        .build();
    meter
        .f64_observable_gauge("process.uptime")
        .with_unit("s")
        .with_description("How long a process has been up.")
        .with_callback(move |observer| {
            observe_uptimes(
                &programs(&uptimes, &for_uptimes),
                SystemTime::now(),
                observer,
            );
        })
        .build();
}

/// Every process, as it is now. On the reading thread, which is none of the runtime's.
fn programs(hub: &HubHandle, runtime: &Handle) -> Vec<ProcessStatus> {
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, hub.snapshot()).await });
    match asked {
        Ok(Ok(snapshot)) => snapshot.programs,
        // At the end of the agent, or when it is too busy: the next reading has it.
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

fn observe_states(programs: &[ProcessStatus], observer: &dyn AsyncInstrument<i64>) {
    for program in programs {
        for (state, name) in STATES {
            let mut attributes = names(&program.group, &program.name);
            attributes.push(KeyValue::new("rsv.process.state", name));
            observer.observe(i64::from(program.state() == state), &attributes);
        }
    }
}

fn observe_uptimes(
    programs: &[ProcessStatus],
    now: SystemTime,
    observer: &dyn AsyncInstrument<f64>,
) {
    for program in programs {
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
