//! What programs have said, and what of it did not get to where it was meant to beside the log. Counted as it
//! happens, on the capture thread.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use rsv_keeper::message::Channel;
use rsv_proto::telemetry::{is_measured, meter};

use super::names;
use crate::hub::Key;

/// Counters of output. The capture thread is the one that must not do anything for nobody: without an exporter
/// there are none.
#[derive(Clone, Debug)]
pub(crate) struct LogMetrics(Option<Counters>);

#[derive(Clone, Debug)]
struct Counters {
    io: Counter<u64>,
    dropped: Counter<u64>,
}

/// Whose output it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogNames<'a> {
    /// As the keeper calls the program.
    pub(crate) key: &'a str,
    /// Which of its streams.
    pub(crate) channel: Channel,
}

impl LogMetrics {
    /// So many bytes have gone into a log.
    pub(crate) fn moved(&self, log: LogNames<'_>, bytes: u64) {
        if let Some(counters) = self.0.as_ref().filter(|_| bytes > 0) {
            counters.io.add(bytes, &log.attributes());
        }
    }

    /// So many records did not get to where they were meant to, beside the log.
    pub(crate) fn dropped(&self, log: LogNames<'_>, reason: &'static str, records: u64) {
        if let Some(counters) = &self.0 {
            let mut attributes = log.attributes();
            attributes.push(KeyValue::new("rsv.drop.reason", reason));
            counters.dropped.add(records, &attributes);
        }
    }
}

impl Default for LogMetrics {
    fn default() -> Self {
        Self(is_measured().then(Counters::new))
    }
}

impl Counters {
    fn new() -> Self {
        let meter = meter();
        Self {
            io: meter
                .u64_counter("rsv.log.io")
                .with_unit("By")
                .with_description("Output of programs that this agent has taken from their pipes.")
                .build(),
            dropped: meter
                .u64_counter("rsv.log.dropped")
                .with_unit("{record}")
                .with_description(
                    "Communications, events and lines of the system's log that were cut or not passed \
                     on. Never output that belongs into a log.",
                )
                .build(),
        }
    }
}

impl LogNames<'_> {
    fn attributes(self) -> Vec<KeyValue> {
        let mut attributes = match Key::from_run_key(self.key) {
            Some(key) => names(&key.group, &key.name),
            None => names(self.key, self.key),
        };
        let stream = match self.channel {
            Channel::Stderr => "stderr",
            Channel::Stdout | Channel::Stdin => "stdout",
        };
        attributes.push(KeyValue::new("log.iostream", stream));
        attributes
    }
}
