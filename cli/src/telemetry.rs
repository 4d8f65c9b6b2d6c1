//! One trace for one run, if the environment asks for traces.

use std::time::Duration;

use rsv_proto::telemetry::Telemetry;
use tracing::{Span, field::Empty, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{error::Exit, ui::Ui};

/// The longest that the end of a run waits for its spans to be sent: a person waits too.
const FLUSH: Duration = Duration::from_secs(1);

/// Starts the export. A collector that cannot be used costs a warning, never the run.
pub(crate) fn start(ui: &mut Ui) -> Option<Telemetry> {
    let telemetry = match Telemetry::start_traces("rsv-cli") {
        Ok(telemetry) => telemetry?,
        Err(error) => {
            ui.warning(&format!("{error}"));
            return None;
        }
    };
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    match tracing::subscriber::set_global_default(subscriber) {
        Ok(()) => Some(telemetry),
        Err(error) => {
            ui.warning(&format!("{error}"));
            None
        }
    }
}

/// The span of the whole run.
pub(crate) fn root(verb: &str) -> Span {
    info_span!(
        "run",
        otel.name = format!("rsv {verb}"),
        otel.kind = "internal",
        otel.status_code = Empty,
        process.executable.name = "rsv",
        process.pid = std::process::id(),
        process.exit.code = Empty,
    )
}

/// Says in the root span how the run ended.
pub(crate) fn record(span: &Span, exit: Exit) {
    span.record("process.exit.code", exit as u8);
    if exit != Exit::Done {
        span.record("otel.status_code", "ERROR");
    }
}

/// Sends what there is, within [`FLUSH`].
pub(crate) async fn finish(telemetry: Option<Telemetry>) {
    if let Some(telemetry) = telemetry {
        let flushed = tokio::task::spawn_blocking(|| telemetry.shutdown(FLUSH));
        // What is not sent by then is given up.
        let _flushed = flushed.await;
    }
}
