//! What the controller measures of its fleet, by the names that dashboards use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Histogram};
use rsv_proto::{
    telemetry::meter,
    wire::{HostSelection, HostState},
};
use tokio::runtime::Handle;

use crate::{
    host::HostView,
    hub::HubHandle,
    operation::{Counts, Deed},
};

/// How long the thread that reads metrics waits for the hub.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bounds for operations, which take from moments to hours.
const OPERATIONS: [f64; 14] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
];

/// Where the reading thread finds the hub, as long as there is one.
type Shared = Arc<Mutex<Option<(HubHandle, Handle)>>>;

/// Metrics of the fleet, read as long as this is kept: it holds the hub.
#[derive(Debug)]
pub struct Watched(Shared);

/// `rsv.command.duration`: how long operations take, and how they end.
#[derive(Debug, Clone)]
pub struct Durations(Histogram<f64>);

impl Durations {
    /// The instrument.
    pub fn new() -> Self {
        let meter = meter();
        let durations = meter
            .f64_histogram("rsv.command.duration")
            .with_unit("s")
            .with_description("How long operations take, from submission to their last outcome.")
            .with_boundaries(OPERATIONS.to_vec());
        Self(durations.build())
    }

    /// Notes an operation that has ended.
    pub fn note(&self, deed: Deed, counts: Counts, elapsed: Duration) {
        let attributes = [
            KeyValue::new("rsv.command.kind", deed.word()),
            KeyValue::new("rsv.command.outcome", outcome(counts)),
        ];
        self.0.record(elapsed.as_secs_f64(), &attributes);
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self::new()
    }
}

/// One word for all targets.
fn outcome(counts: Counts) -> &'static str {
    let Counts {
        done,
        failed,
        unreachable,
        expired,
        denied,
        not_attempted,
    } = counts;
    match (
        done,
        failed + unreachable + expired + denied + not_attempted,
    ) {
        (_, 0) => "done",
        (0, _) => "failed",
        (_, _) => "partial",
    }
}

impl Watched {
    /// Begins to measure. Inside the runtime. A host that has missed a heartbeat, told to come this often, is
    /// stale.
    pub fn start(hub: HubHandle, heartbeat: Duration) -> Self {
        let shared: Shared = Arc::new(Mutex::new(Some((hub, Handle::current()))));
        let meter = meter();
        let hosts = Arc::clone(&shared);
        meter
            .i64_observable_up_down_counter("rsv.controller.agents")
            .with_unit("{agent}")
            .with_description("Enrolled agents, by what is known of the link to them.")
            .with_callback(move |observer| {
                let stale = heartbeat + heartbeat / 2;
                agents(&view(&hosts), SystemTime::now(), stale, observer);
            })
            .build();
        let hosts = Arc::clone(&shared);
        meter
            .f64_observable_gauge("rsv.agent.heartbeat.age")
            .with_unit("s")
            .with_description("Time since anything was heard from an agent.")
            .with_callback(move |observer| ages(&view(&hosts), SystemTime::now(), observer))
            .build();
        let hosts = Arc::clone(&shared);
        meter
            .f64_observable_gauge("rsv.tls.certificate.expiry.timestamp")
            .with_unit("s")
            .with_description("When an agent's certificate ends, in seconds since the epoch.")
            .with_callback(move |observer| expiries(&view(&hosts), observer))
            .build();
        Self(shared)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Every host, as it is now. On the reading thread, which is none of the runtime's.
fn view(shared: &Shared) -> Vec<HostView> {
    let hub = shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let Some((hub, runtime)) = hub else {
        return Vec::new();
    };
    let all = HostSelection {
        all: true,
        ..HostSelection::default()
    };
    let view = runtime.block_on(async { tokio::time::timeout(PATIENCE, hub.view(all)).await });
    match view {
        Ok(Ok(Ok(view))) => view.hosts,
        // A hub that is too busy is asked the next time.
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => Vec::new(),
    }
}

fn agents(
    hosts: &[HostView],
    now: SystemTime,
    stale: Duration,
    observer: &dyn AsyncInstrument<i64>,
) {
    for status in ["connected", "stale", "lost", "never", "revoked"] {
        let hosts = hosts.iter().filter(|host| link(host, now, stale) == status);
        let count = i64::try_from(hosts.count()).unwrap_or(i64::MAX);
        observer.observe(count, &[KeyValue::new("rsv.agent.status", status)]);
    }
}

/// What is known of the link to a host; one of which a heartbeat is missing is stale before it is lost.
fn link(host: &HostView, now: SystemTime, stale: Duration) -> &'static str {
    let silence = host
        .last_seen
        .and_then(|seen| now.duration_since(seen).ok());
    match host.state {
        HostState::Connected | HostState::Draining if silence > Some(stale) => "stale",
        HostState::Connected | HostState::Draining => "connected",
        HostState::Unreachable => "lost",
        HostState::Revoked => "revoked",
        HostState::Never | HostState::Unspecified => "never",
    }
}

fn ages(hosts: &[HostView], now: SystemTime, observer: &dyn AsyncInstrument<f64>) {
    for host in hosts {
        if let Some(seen) = host.last_seen {
            let age = now.duration_since(seen).unwrap_or_default();
            observer.observe(age.as_secs_f64(), &[agent(host)]);
        }
    }
}

fn expiries(hosts: &[HostView], observer: &dyn AsyncInstrument<f64>) {
    for host in hosts {
        let expiry = host.certificate_expires;
        let expiry = expiry.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(expiry) = expiry {
            let role = KeyValue::new("rsv.cert.role", "agent");
            observer.observe(expiry.as_secs_f64(), &[agent(host), role]);
        }
    }
}

fn agent(host: &HostView) -> KeyValue {
    KeyValue::new("rsv.agent.id", host.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_one_outcome() {
        let counts = |done, failed, not_attempted| Counts {
            done,
            failed,
            not_attempted,
            ..Counts::default()
        };
        assert_eq!(outcome(counts(3, 0, 0)), "done");
        assert_eq!(outcome(counts(0, 0, 0)), "done");
        assert_eq!(outcome(counts(3, 1, 0)), "partial");
        assert_eq!(outcome(counts(0, 1, 2)), "failed");
    }
}
