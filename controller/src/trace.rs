//! One span for each short call, a child of the caller's own.
//!
//! Calls that last as long as their reader wants (sessions, logs) get none: a span is for work that ends.

use std::task::{Context, Poll};

use futures_util::future::Either;
use http::Request;
use rsv_proto::telemetry;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Instrument as _, instrument::Instrumented};

/// Methods whose calls last as long as their caller wants.
const LASTING: [&str; 3] = [
    "/rsv.v1.AgentLink/Attach",
    "/rsv.v1.AgentLink/ServeLog",
    "/rsv.v1.Fleet/Tail",
];

/// Puts each short call into a span.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer;

/// A service whose short calls have a span.
#[derive(Debug, Clone)]
pub struct Traced<S> {
    inner: S,
}

impl<S> Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Traced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Instrumented<S::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if LASTING.contains(&path) {
            return Either::Left(self.inner.call(request));
        }
        let method = path.trim_start_matches('/');
        let span = tracing::info_span!(
            "rpc",
            otel.name = method,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = method,
        );
        telemetry::set_parent(&span, telemetry::extract(request.headers()));
        let entered = span.enter();
        let call = self.inner.call(request);
        drop(entered);
        Either::Right(call.instrument(span))
    }
}
