//! Traces and metrics over OTLP, and the trace context in gRPC metadata.
//!
//! Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `..._TRACES_...` or `..._METRICS_...` form) is set;
//! the exporters then take every other standard variable too. Spans are queued with a bound and sent in the
//! background, metrics are read now and then by a thread of their own: a slow or absent collector costs
//! spans and points, never time. That it is absent is said once, and that it is there again.

mod calls;
mod signal;
mod told;

use std::{
    env, fmt,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use opentelemetry::{
    Context, KeyValue,
    metrics::Meter,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TracerProvider as _,
};
use opentelemetry_sdk::{
    Resource,
    metrics::{Instrument, SdkMeterProvider, Stream},
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, Tracer},
};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing::{Metadata, Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::{Layer, filter::FilterFn, filter::Filtered, registry::LookupSpan};
use uuid::Uuid;

pub use calls::{ClientCalls, ServerCalls};
use signal::{Signal, is_wanted};
use told::Told;

/// Where the machine's identity is read from.
const MACHINE_ID: &str = "/etc/machine-id";

/// The most series of one metric; what is more comes together under `otel.metric.overflow`. A host of two
/// thousand programs has eight for each of their states.
const SERIES: usize = 16 * 1024;

/// How long a daemon that ends may go on sending what is queued.
pub const FLUSH: Duration = Duration::from_secs(1);

/// Bounds for durations in seconds: the SDK's own are meant for milliseconds.
pub const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Beside the global meter, which does not say whether anybody reads.
static MEASURED: AtomicBool = AtomicBool::new(false);

/// The exporters of one program.
pub struct Telemetry {
    service: &'static str,
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Why nothing will be exported.
#[derive(Debug, thiserror::Error)]
#[error("cannot export traces or metrics")]
pub struct TelemetryError(#[from] opentelemetry_otlp::ExporterBuildError);

/// The layer that turns our own spans into exported ones.
pub type TraceLayer<S> = Filtered<OpenTelemetryLayer<S, Tracer>, FilterFn, S>;

impl Telemetry {
    /// Starts exporting what the environment asks for; absent: nothing. `agent`: the name of this host in its
    /// fleet. Must be called inside a tokio runtime, and before anything asks for the [`meter`].
    pub fn start(
        service: &'static str,
        agent: Option<&str>,
    ) -> Result<Option<Self>, TelemetryError> {
        let wanted = |signal| is_wanted(signal, |name| env::var(name).ok());
        let traces = match wanted(Signal::Traces) {
            true => Some(traces(resource(service, agent))?),
            false => None,
        };
        let metrics = match wanted(Signal::Metrics) {
            true => Some(metrics(resource(service, agent))?),
            false => None,
        };
        if let Some(metrics) = &metrics {
            opentelemetry::global::set_meter_provider(metrics.clone());
            MEASURED.store(true, Ordering::Relaxed);
        }
        let is_any = traces.is_some() || metrics.is_some();
        Ok(is_any.then_some(Self {
            service,
            traces,
            metrics,
        }))
    }

    /// Starts with traces alone: for a program that ends before a metric would be read.
    pub fn start_traces(service: &'static str) -> Result<Option<Self>, TelemetryError> {
        if !is_wanted(Signal::Traces, |name| env::var(name).ok()) {
            return Ok(None);
        }
        Ok(Some(Self {
            service,
            traces: Some(traces(resource(service, None))?),
            metrics: None,
        }))
    }

    /// Whether metrics are read at all.
    pub fn has_metrics(&self) -> bool {
        self.metrics.is_some()
    }

    /// The layer to add to the program's subscriber; absent when no traces are wanted.
    pub fn layer<S>(&self) -> Option<TraceLayer<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let ours: fn(&Metadata<'_>) -> bool = |metadata| {
            metadata.target().starts_with("rsv") && *metadata.level() <= LevelFilter::INFO
        };
        let tracer = self.traces.as_ref()?.tracer(self.service);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        Some(layer.with_filter(FilterFn::new(ours)))
    }

    /// Sends what is queued and stops; a collector that does not answer within this time gets no more of
    /// it. Blocks: call it off the runtime's own threads.
    pub fn shutdown(self, limit: Duration) {
        let (done, finished) = mpsc::channel();
        let flush = move || {
            if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown()) {
                tracing::debug!(%error, "traces were not all exported");
            }
            if let Some(Err(error)) = self.metrics.map(|metrics| metrics.shutdown()) {
                tracing::debug!(%error, "metrics were not all exported");
            }
            // Nobody waits any more when the answer comes late.
            done.send(()).ok();
        };
        // Without a thread nothing is sent. One that is still at it ends with the program.
        let started = thread::Builder::new().name("flush".into()).spawn(flush);
        if started.is_ok() && finished.recv_timeout(limit).is_err() {
            tracing::warn!("the collector does not answer: traces or metrics are lost");
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

fn traces(resource: Resource) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(Told::new(exporter, "traces"))
        .with_resource(resource)
        .build())
}

fn metrics(resource: Resource) -> Result<SdkMeterProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::MetricExporter::builder()
        .with_tonic()
        .build()?;
    let many = |_: &Instrument| {
        Stream::builder()
            .with_cardinality_limit(SERIES)
            .build()
            .ok()
    };
    Ok(SdkMeterProvider::builder()
        .with_periodic_exporter(Told::new(exporter, "metrics"))
        .with_resource(resource)
        .with_view(many)
        .build())
}

/// Whether metrics are read at all. What takes time to be put together need not be, when nobody reads it.
pub fn is_measured() -> bool {
    MEASURED.load(Ordering::Relaxed)
}

/// Where this program's metrics are made. Before [`Telemetry::start`], and when no metrics are wanted,
/// what is made costs nothing and goes nowhere.
pub fn meter() -> Meter {
    opentelemetry::global::meter("rsv")
}

fn resource(service: &'static str, agent: Option<&str>) -> Resource {
    let machine = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
    let instance = Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("{}/{service}", machine.trim()).as_bytes(),
    );
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.namespace", "rsv"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_string()),
            KeyValue::new("host.name", host),
            KeyValue::new("host.id", machine.trim().to_owned()),
            KeyValue::new("host.arch", env::consts::ARCH),
            KeyValue::new("os.type", env::consts::OS),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .with_attributes(agent.map(|agent| KeyValue::new("rsv.agent.id", agent.to_owned())))
        .build()
}

/// Puts the current span's context into the metadata of a call.
pub fn inject(metadata: &mut MetadataMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Writer(metadata));
}

/// The context that the headers of a call carry; an empty one when they carry none.
pub fn extract(headers: &http::HeaderMap) -> Context {
    TraceContextPropagator::new().extract(&Headers(headers))
}

/// Makes a span a child of a context that came from elsewhere. To be called before the span is
/// entered.
pub fn set_parent(span: &Span, parent: Context) {
    // Refused only when no layer records the span, and then there is nothing to connect.
    let _recorded = span.set_parent(parent);
}

/// The current span's context as the two W3C headers; empty texts when there is none.
pub fn traceparent() -> (String, String) {
    let mut pair = Pair::default();
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut pair);
    (pair.traceparent, pair.tracestate)
}

/// The context that two W3C headers carry; an empty one when they carry none.
pub fn context_from(traceparent: &str, tracestate: &str) -> Context {
    let pair = Pair {
        traceparent: traceparent.to_owned(),
        tracestate: tracestate.to_owned(),
    };
    TraceContextPropagator::new().extract(&pair)
}

struct Writer<'a>(&'a mut MetadataMap);

impl Injector for Writer<'_> {
    fn set(&mut self, key: &str, value: String) {
        let key = MetadataKey::from_bytes(key.as_bytes());
        if let (Ok(key), Ok(value)) = (key, MetadataValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The two headers of a W3C trace context.
#[derive(Default)]
struct Pair {
    traceparent: String,
    tracestate: String,
}

impl Injector for Pair {
    fn set(&mut self, key: &str, value: String) {
        match key {
            "traceparent" => self.traceparent = value,
            "tracestate" => self.tracestate = value,
            _ => {}
        }
    }
}

impl Extractor for Pair {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(&self.traceparent),
            "tracestate" => Some(&self.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt as _;

    use super::*;

    #[test]
    fn a_trace_context_passes_through_two_texts() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = context_from(traceparent, "");
        let span = context.span().span_context().clone();
        assert_eq!(
            span.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert!(span.is_remote());
        assert!(
            !context_from("nonsense", "")
                .span()
                .span_context()
                .is_valid()
        );
    }
}
