//! Which configuration is in force, and how the latest one fared.

use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::metrics::AsyncInstrument;
use rsv_proto::telemetry::meter;

use crate::roster::{Applied, RosterHandle};

/// Begins to measure.
pub(super) fn watch(roster: &RosterHandle) {
    let meter = meter();
    let (generations, moments) = (roster.watch(), roster.watch());
    meter
        .u64_observable_gauge("rsv.config.generation")
        .with_description(
            "1 for the configuration that the agent was started with, and one more for each change of it.",
        )
        .with_callback(move |observer| {
            observer.observe(generations.borrow().applied.generation, &[]);
        })
        .build();
    meter
        .f64_observable_gauge("rsv.config.last_apply.timestamp")
        .with_unit("s")
        .with_description("When a configuration came into force last, and when one was refused.")
        .with_callback(move |observer| observe(&moments.borrow().applied, observer))
        .build();
}

fn observe(applied: &Applied, observer: &dyn AsyncInstrument<f64>) {
    let moments = [("applied", Some(applied.at)), ("refused", applied.refused)];
    for (outcome, at) in moments {
        let since = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(since) = since {
            let outcome = KeyValue::new("rsv.outcome", outcome);
            observer.observe(since.as_secs_f64(), &[outcome]);
        }
    }
}
