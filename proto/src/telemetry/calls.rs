//! How long calls take: those that a server answers, and those that a client makes.

use std::time::Duration;

use opentelemetry::{KeyValue, metrics::Histogram};
use tonic::Code;

use super::{SECONDS, meter};

/// `rpc.server.call.duration` of one server.
#[derive(Clone, Debug)]
pub struct ServerCalls(Histogram<f64>);

impl ServerCalls {
    /// The instrument. After [`super::Telemetry::start`].
    pub fn new() -> Self {
        let meter = meter();
        let calls = meter
            .f64_histogram("rpc.server.call.duration")
            .with_unit("s")
            .with_description("How long calls take, to their answer or its first part.")
            .with_boundaries(SECONDS.to_vec());
        Self(calls.build())
    }

    /// Notes one call. `method`: `package.Service/Method`, of a closed set.
    pub fn note(&self, method: &'static str, code: Code, elapsed: Duration) {
        let error = is_error(code).then(|| code_name(code));
        record(&self.0, method, code, error, elapsed);
    }
}

impl Default for ServerCalls {
    fn default() -> Self {
        Self::new()
    }
}

/// `rpc.client.call.duration` of one client.
#[derive(Clone, Debug)]
pub struct ClientCalls(Histogram<f64>);

impl ClientCalls {
    /// The instrument. After [`super::Telemetry::start`].
    pub fn new() -> Self {
        let meter = meter();
        let calls = meter
            .f64_histogram("rpc.client.call.duration")
            .with_unit("s")
            .with_description("How long calls of others take, to their answer or its first part.")
            .with_boundaries(SECONDS.to_vec());
        Self(calls.build())
    }

    /// Notes one call; to who called, whatever is not OK is an error.
    pub fn note(&self, method: &'static str, code: Code, elapsed: Duration) {
        let error = (code != Code::Ok).then(|| code_name(code));
        record(&self.0, method, code, error, elapsed);
    }
}

impl Default for ClientCalls {
    fn default() -> Self {
        Self::new()
    }
}

fn record(
    calls: &Histogram<f64>,
    method: &'static str,
    code: Code,
    error: Option<&'static str>,
    elapsed: Duration,
) {
    let mut attributes = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method),
        KeyValue::new("rpc.status_code", code_name(code)),
    ];
    attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
    calls.record(elapsed.as_secs_f64(), &attributes);
}

/// What a server is to blame for.
fn is_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
