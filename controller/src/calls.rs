//! How long each call takes, and what it is answered.
//!
//! Outside of the gate, so that refusals count as well. An error that comes after the first part of a lasting
//! answer is not seen here.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{Request, Response};
use rsv_proto::telemetry::ServerCalls;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::authz::TABLE;

/// What a method is called that is none of ours.
const OTHER: &str = "_OTHER";

/// Times each call.
#[derive(Debug, Clone, Default)]
pub struct CallsLayer(ServerCalls);

/// A service whose calls are timed.
#[derive(Debug, Clone)]
pub struct Timed<S> {
    inner: S,
    calls: ServerCalls,
}

/// A call under way.
#[derive(Debug)]
pub struct Call<F> {
    inner: Pin<Box<F>>,
    calls: ServerCalls,
    method: &'static str,
    started: Instant,
}

impl<S> Layer<S> for CallsLayer {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed {
            inner,
            calls: self.0.clone(),
        }
    }
}

impl<S> Service<Request<Body>> for Timed<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Call<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = method(request.uri().path());
        Call {
            inner: Box::pin(self.inner.call(request)),
            calls: self.calls.clone(),
            method,
            started: Instant::now(),
        }
    }
}

impl<F, E> Future for Call<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(self.inner.as_mut().poll(context));
        let code = match &answered {
            Ok(response) => {
                let status = Status::from_header_map(response.headers());
                status.map_or(Code::Ok, |status| status.code())
            }
            Err(_) => Code::Unknown,
        };
        self.calls.note(self.method, code, self.started.elapsed());
        Poll::Ready(answered)
    }
}

/// The method as it is named in metrics: a closed set, whatever is called.
fn method(path: &str) -> &'static str {
    let known = TABLE.iter().find(|(known, _)| *known == path);
    known.map_or(OTHER, |(known, _)| known.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_called_there_are_only_so_many_names() {
        assert_eq!(method("/rsv.v1.Fleet/Act"), "rsv.v1.Fleet/Act");
        assert_eq!(method("/rsv.v1.Fleet/Nothing"), OTHER);
        assert_eq!(method(""), OTHER);
    }
}
