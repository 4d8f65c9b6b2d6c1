//! What waits for event listeners, and what they will never hear of. Asked when somebody reads, on the
//! reader's own thread.

use opentelemetry::KeyValue;
use opentelemetry::metrics::AsyncInstrument;
use rsv_proto::telemetry::meter;
use tokio::runtime::Handle;

use crate::listeners::{Listeners, Tally};

/// Begins to measure. Inside the runtime.
pub(super) fn watch(listeners: &Listeners) {
    let meter = meter();
    let (runtime, listeners) = (Handle::current(), listeners.clone());
    let look = move || runtime.block_on(listeners.tally());
    let waiting = look.clone();
    meter
        .i64_observable_up_down_counter("rsv.event.listener.buffer.usage")
        .with_unit("{event}")
        .with_description("Events that wait for a listener of a pool.")
        .with_callback(move |observer| observe_waiting(&waiting(), observer))
        .build();
    meter
        .u64_observable_counter("rsv.event.dropped")
        .with_unit("{event}")
        .with_description("Events that were dropped before a listener could have them.")
        .with_callback(move |observer| observe_dropped(&look(), observer))
        .build();
}

fn observe_waiting(tally: &Tally, observer: &dyn AsyncInstrument<i64>) {
    for pool in &tally.pools {
        let waiting = i64::try_from(pool.waiting).unwrap_or(i64::MAX);
        observer.observe(waiting, &[name(&pool.name)]);
    }
}

fn observe_dropped(tally: &Tally, observer: &dyn AsyncInstrument<u64>) {
    for pool in &tally.pools {
        let reason = KeyValue::new("rsv.drop.reason", "buffer_full");
        observer.observe(pool.dropped, &[name(&pool.name), reason]);
    }
    // Of no pool yet: they were too many at once.
    if !tally.pools.is_empty() {
        let reason = KeyValue::new("rsv.drop.reason", "queue_full");
        observer.observe(tally.missed, &[reason]);
    }
}

fn name(pool: &str) -> KeyValue {
    KeyValue::new("rsv.pool.name", pool.to_owned())
}
