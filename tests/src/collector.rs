//! An OTLP receiver made of the official stubs, which keeps every span that it is sent, and every point of a metric.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data, number_data_point},
    resource::v1::Resource,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// One span, with what a test wants to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the program that made it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The trace, its own id and its parent's, as bytes.
    pub trace: Vec<u8>,
    /// Its own id.
    pub id: Vec<u8>,
    /// Its parent's id; empty for a root.
    pub parent: Vec<u8>,
    /// OTLP's number of its kind.
    pub kind: i32,
}

/// One point of a metric, with what a test wants to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// `service.name` of the program that made it.
    pub service: String,
    /// `rsv.agent.id` of that program; empty when it has none.
    pub agent: String,
    /// The metric's name.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// What kind it is of: `sum`, `up-down`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its attributes, as texts.
    pub attributes: BTreeMap<String, String>,
    /// The value; of a histogram the sum.
    pub value: f64,
    /// Of a histogram how many values it has.
    pub count: u64,
    /// Of a histogram its bounds.
    pub bounds: Vec<f64>,
    /// Of a histogram how many values are below each of its bounds and above the one before; one more for those
    /// above all.
    pub buckets: Vec<u64>,
}

impl Point {
    /// An attribute; empty when there is none.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

/// A receiver on loopback that ends with this value.
#[derive(Debug)]
pub struct Collector {
    // Dropping the runtime ends the server.
    _runtime: Runtime,
    endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
    points: Arc<Mutex<Vec<Point>>>,
}

impl Collector {
    /// Starts a receiver.
    ///
    /// # Panics
    ///
    /// When no loopback port is to be had.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// Starts a receiver at an address.
    ///
    /// # Panics
    ///
    /// When it is not to be had.
    pub fn start_at(address: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .expect("a port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (spans, points) = (Arc::default(), Arc::default());
        let service = TraceServiceServer::new(Receiver(Arc::clone(&spans)));
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .add_service(MetricsServiceServer::new(Measurer(Arc::clone(&points))))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(async move { server.await.expect("the receiver serves") });
        Self {
            _runtime: runtime,
            endpoint: format!("http://{address}"),
            spans,
            points,
        }
    }

    /// What to set `OTEL_EXPORTER_OTLP_ENDPOINT` to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Every span so far.
    ///
    /// # Panics
    ///
    /// When the receiver panicked.
    pub fn spans(&self) -> Vec<Span> {
        self.spans
            .lock()
            .expect("the receiver did not panic")
            .clone()
    }

    /// Every point so far, in the order of their coming.
    ///
    /// # Panics
    ///
    /// When the receiver panicked.
    pub fn history(&self) -> Vec<Point> {
        let points = self.points.lock().expect("the receiver did not panic");
        points.clone()
    }

    /// The latest point of each series.
    ///
    /// # Panics
    ///
    /// When the receiver panicked.
    pub fn points(&self) -> Vec<Point> {
        let points = self.points.lock().expect("the receiver did not panic");
        let series = points.iter().map(|point| {
            let name = (
                &point.service,
                &point.agent,
                &point.metric,
                &point.attributes,
            );
            (name, point)
        });
        let latest: BTreeMap<_, _> = series.collect();
        latest.into_values().cloned().collect()
    }
}

struct Receiver(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().expect("the receiver did not panic");
        for resource in request.into_inner().resource_spans {
            let (service, _) = source_of(resource.resource);
            let scopes = resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            spans.extend(scopes.map(|span| Span {
                service: service.clone(),
                name: span.name,
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
                kind: span.kind,
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

struct Measurer(Arc<Mutex<Vec<Point>>>);

#[tonic::async_trait]
impl MetricsService for Measurer {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut points = self.0.lock().expect("the receiver did not panic");
        for resource in request.into_inner().resource_metrics {
            let (service, agent) = source_of(resource.resource);
            let scopes = resource.scope_metrics.into_iter();
            for metric in scopes.flat_map(|scope| scope.metrics) {
                points.extend(points_of(&service, &agent, &metric));
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// The program, and the agent if it is one.
fn source_of(resource: Option<Resource>) -> (String, String) {
    let mut attributes = texts(resource.unwrap_or_default().attributes);
    let mut take = |key| attributes.remove(key).unwrap_or_default();
    (take("service.name"), take("rsv.agent.id"))
}

fn points_of(service: &str, agent: &str, metric: &Metric) -> Vec<Point> {
    let point = |kind, attributes, value| Point {
        service: service.to_owned(),
        agent: agent.to_owned(),
        metric: metric.name.clone(),
        unit: metric.unit.clone(),
        kind,
        attributes: texts(attributes),
        value,
        count: 0,
        bounds: Vec::new(),
        buckets: Vec::new(),
    };
    let number = |kind, data: opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
        let value = match data.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => f64::NAN,
        };
        point(kind, data.attributes, value)
    };
    match metric.data.clone() {
        Some(Data::Gauge(gauge)) => {
            let points = gauge.data_points.into_iter();
            points.map(|data| number("gauge", data)).collect()
        }
        Some(Data::Sum(sum)) => {
            let kind = if sum.is_monotonic { "sum" } else { "up-down" };
            let points = sum.data_points.into_iter();
            points.map(|data| number(kind, data)).collect()
        }
        Some(Data::Histogram(histogram)) => {
            let points = histogram.data_points.into_iter();
            let one = |data: opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint| {
                let sum = data.sum.unwrap_or(f64::NAN);
                Point {
                    count: data.count,
                    bounds: data.explicit_bounds,
                    buckets: data.bucket_counts,
                    ..point("histogram", data.attributes, sum)
                }
            };
            points.map(one).collect()
        }
        _ => Vec::new(),
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}
