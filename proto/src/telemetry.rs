//! Traces over OTLP, and the trace context in gRPC metadata.
//!
//! Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `..._TRACES_...` form) is set; the exporter then
//! takes every other standard variable too. Spans are queued with a bound and sent in the
//! background: a slow or absent collector costs spans, never time.

use std::{env, fmt};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TracerProvider as _,
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, Tracer},
};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing::{Metadata, Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::{Layer, filter::FilterFn, filter::Filtered, registry::LookupSpan};
use uuid::Uuid;

/// Where the machine's identity is read from.
const MACHINE_ID: &str = "/etc/machine-id";

/// The exporter of one program.
pub struct Telemetry {
    service: &'static str,
    provider: SdkTracerProvider,
}

/// Why spans will not be exported.
#[derive(Debug, thiserror::Error)]
#[error("cannot export traces")]
pub struct TelemetryError(#[from] opentelemetry_otlp::ExporterBuildError);

/// The layer that turns our own spans into exported ones.
pub type TraceLayer<S> = Filtered<OpenTelemetryLayer<S, Tracer>, FilterFn, S>;

impl Telemetry {
    /// Starts exporting, if the environment asks for it. Must be called inside a tokio runtime.
    pub fn start(service: &'static str) -> Result<Option<Self>, TelemetryError> {
        if !is_wanted(|name| env::var(name).ok()) {
            return Ok(None);
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(service))
            .build();
        Ok(Some(Self { service, provider }))
    }

    /// The layer to add to the program's subscriber.
    pub fn layer<S>(&self) -> TraceLayer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let ours: fn(&Metadata<'_>) -> bool = |metadata| {
            metadata.target().starts_with("rsv") && *metadata.level() <= LevelFilter::INFO
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(self.service))
            .with_filter(FilterFn::new(ours))
    }

    /// Sends what is queued and stops. Blocks: call it off the runtime's own threads.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "traces were not all exported");
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

/// Whether the standard variables ask for an export.
fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).is_some_and(|value| !value.trim().is_empty());
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let none = variable("OTEL_TRACES_EXPORTER").is_some_and(|v| v == "none");
    let endpoint = set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    endpoint && !disabled && !none
}

fn resource(service: &'static str) -> Resource {
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
    fn nothing_is_exported_unless_an_endpoint_is_named() {
        let endpoint = |name: &str| {
            (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://127.0.0.1:4317".to_owned())
        };
        let disabled = |name: &str| match name {
            "OTEL_SDK_DISABLED" => Some("true".to_owned()),
            other => endpoint(other),
        };
        assert!(!is_wanted(|_| None));
        assert!(is_wanted(endpoint));
        assert!(!is_wanted(disabled));
    }

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
