//! An OTLP receiver made of the official stubs, which keeps every span that it is sent.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
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

/// A receiver on loopback that ends with this value.
#[derive(Debug)]
pub struct Collector {
    // Dropping the runtime ends the server.
    _runtime: Runtime,
    endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Starts a receiver.
    ///
    /// # Panics
    ///
    /// When no loopback port is to be had.
    pub fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let spans = Arc::default();
        let service = TraceServiceServer::new(Receiver(Arc::clone(&spans)));
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(async move { server.await.expect("the receiver serves") });
        Self {
            _runtime: runtime,
            endpoint: format!("http://{address}"),
            spans,
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
            let attributes = resource.resource.unwrap_or_default().attributes;
            let service = attributes.into_iter().find(|a| a.key == "service.name");
            let service = match service.and_then(|s| s.value).and_then(|v| v.value) {
                Some(Value::StringValue(name)) => name,
                _ => String::new(),
            };
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
