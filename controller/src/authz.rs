//! Who may call what: one table of every method, and the gate in front of all services that keeps it.
//!
//! A certificate signed by this fleet authorises nothing by itself. A method that is not in the table does
//! not exist, whatever services are registered behind the gate.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{Request, Response};
use rsv_proto::identity::{Identity, Role};
use tokio::sync::watch;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{
    fleet::Refused,
    listener::Peer,
    standing::{Bars, Trust},
};

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Everybody, also without a certificate: the method itself decides by other means.
    Anyone,
    /// These roles alone.
    Only(&'static [Role]),
}

const OPERATORS: Callers = Callers::Only(&[Role::Operator]);
const AGENTS: Callers = Callers::Only(&[Role::Agent]);

/// Every method that can be called.
pub const TABLE: [(&str, Callers); 31] = [
    (
        "/rsv.v1.Fleet/GetVersion",
        Callers::Only(&[Role::Operator, Role::Agent, Role::Controller]),
    ),
    ("/rsv.v1.Fleet/ListHosts", OPERATORS),
    ("/rsv.v1.Fleet/GetStatus", OPERATORS),
    ("/rsv.v1.Fleet/Act", OPERATORS),
    ("/rsv.v1.Fleet/ListOperations", OPERATORS),
    ("/rsv.v1.Fleet/GetOperation", OPERATORS),
    ("/rsv.v1.Fleet/WatchOperation", OPERATORS),
    ("/rsv.v1.Fleet/ControlOperation", OPERATORS),
    ("/rsv.v1.Fleet/RetryOperation", OPERATORS),
    ("/rsv.v1.Fleet/SetDesired", OPERATORS),
    ("/rsv.v1.Fleet/Tail", OPERATORS),
    ("/rsv.v1.Fleet/WatchEvents", OPERATORS),
    ("/rsv.v1.Fleet/Look", OPERATORS),
    ("/rsv.v1.Fleet/Shutdown", OPERATORS),
    ("/rsv.v1.Fleet/Reread", OPERATORS),
    ("/rsv.v1.Fleet/Update", OPERATORS),
    ("/rsv.v1.Fleet/AddGroup", OPERATORS),
    ("/rsv.v1.Fleet/RemoveGroup", OPERATORS),
    ("/rsv.v1.Fleet/Reload", OPERATORS),
    ("/rsv.v1.Fleet/ListAvailable", OPERATORS),
    ("/rsv.v1.Fleet/ClearLogs", OPERATORS),
    ("/rsv.v1.Fleet/WriteStdin", OPERATORS),
    ("/rsv.v1.Fleet/TailMainLog", OPERATORS),
    ("/rsv.v1.AgentLink/Attach", AGENTS),
    ("/rsv.v1.AgentLink/ServeLog", AGENTS),
    ("/rsv.v1.AgentLink/Renew", AGENTS),
    // A joining host has no certificate yet; its token is what counts.
    ("/rsv.v1.Enrollment/Join", Callers::Anyone),
    ("/rsv.v1.Admin/CreateToken", OPERATORS),
    ("/rsv.v1.Admin/LabelHosts", OPERATORS),
    ("/rsv.v1.Admin/RevokeHosts", OPERATORS),
    ("/rsv.v1.Admin/RemoveHosts", OPERATORS),
];

/// Decides on one call.
pub fn decide(path: &str, caller: Option<&Identity>) -> Result<(), Status> {
    let known = TABLE.iter().find(|(method, _)| *method == path);
    let Some((_, callers)) = known else {
        return Err(Status::unimplemented("this controller has no such method"));
    };
    let roles = match callers {
        Callers::Anyone => return Ok(()),
        Callers::Only(roles) => roles,
    };
    let Some(caller) = caller else {
        return Err(Status::unauthenticated(format!(
            "{path} needs a client certificate: use a context file, or join first"
        )));
    };
    if roles.contains(&caller.role) {
        return Ok(());
    }
    let allowed: Vec<&str> = roles.iter().map(|r| r.as_str()).collect();
    Err(Status::permission_denied(format!(
        "{caller} may not call {path}: it is for the role {}",
        allowed.join(" or ")
    )))
}

/// Decides whether the certificate of a caller has been revoked.
fn decide_on_certificate(bars: &Bars, peer: &Peer) -> Result<(), Status> {
    let Some(caller) = peer.identity.as_ref().filter(|c| c.role == Role::Agent) else {
        return Ok(());
    };
    let is_good = |trust: &Trust| trust.accepts(&peer.serial);
    match (
        bars.get(&caller.name).is_none_or(is_good),
        caller.name.parse(),
    ) {
        (false, Ok(host)) => Err(Refused::Revoked(host).into()),
        _ => Ok(()),
    }
}

/// Puts the gate in front of a service.
#[derive(Debug, Clone)]
pub struct GateLayer(pub watch::Receiver<Arc<Bars>>);

/// The gate.
#[derive(Debug, Clone)]
pub struct Gate<S> {
    inner: S,
    bars: watch::Receiver<Arc<Bars>>,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            bars: self.0.clone(),
        }
    }
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, Self::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let caller = peer.and_then(|peer| peer.identity.as_deref());
        let decided = decide(request.uri().path(), caller);
        let decided = decided.and_then(|()| match peer {
            Some(peer) => decide_on_certificate(&self.bars.borrow(), peer),
            None => Ok(()),
        });
        match decided {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => {
                let address = peer.map(|peer| peer.address.to_string());
                tracing::info!(
                    peer = address,
                    caller = caller.map(ToString::to_string),
                    reason = status.message(),
                    "refused a call"
                );
                Either::Left(ready(Ok(status.into_http())))
            }
        }
    }
}

/// The serial number of the caller's certificate; empty: it has none.
pub fn serial<T>(request: &tonic::Request<T>) -> String {
    let peer = request.extensions().get::<Peer>();
    peer.map(|peer| peer.serial.to_string()).unwrap_or_default()
}

/// The identity of the caller of a method that has let in nobody without one.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Arc<Identity>, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.and_then(|peer| peer.identity.clone())
        .ok_or_else(|| Status::unauthenticated("a client certificate is needed"))
}
