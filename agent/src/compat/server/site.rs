//! From a request to its answer: the gate of one server, and the site behind all of them.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use rsv_proto::xmlrpc;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::logtail;
use super::super::pages::{self, Pages};
use super::super::rpc::Rpc;
use super::super::supervision::Supervision;
use super::auth::{Admission, Lock};
use super::bind::Bound;
use super::body::{Body, Refused, collect, discard};
use super::connection::Busy;
use super::reply::{self, Reply};
use super::route::Route;

/// The body of a call. The largest real ones write to the standard input of a program.
const CALL: usize = 4 << 20;

/// A call up to this size is read at once. Nearly all are smaller than a hundredth of it.
const SMALL_CALL: usize = 64 << 10;

/// Larger calls that are held at once, of all servers; more wait.
pub(super) const LARGE_CALLS: usize = 16;

/// The body of a form: some fields.
const FORM: usize = 64 << 10;

/// From the head of a request to the end of its body.
const ARRIVAL: Duration = Duration::from_secs(60);

/// What all servers show.
#[derive(Debug)]
pub struct Site {
    pub(super) supervision: Arc<dyn Supervision>,
    pub(super) rpc: Rpc,
    pub(super) pages: Arc<Pages>,
    /// The places for large calls.
    pub(super) large: Semaphore,
}

/// The way into the site through one server.
#[derive(Debug)]
pub(super) struct Gate {
    site: Arc<Site>,
    lock: Option<Lock>,
    /// The names that can only be meant for this server.
    names: Vec<String>,
}

impl Site {
    /// A site over an agent, with its interface under these names.
    pub fn new(supervision: Arc<dyn Supervision>, namespaces: Vec<String>) -> Self {
        let rpc = Rpc::new(Arc::clone(&supervision), namespaces);
        let pages = Arc::new(Pages::new(Arc::clone(&supervision), rpc.clone()));
        Self {
            supervision,
            rpc,
            pages,
            large: Semaphore::new(LARGE_CALLS),
        }
    }
}

impl Gate {
    pub(super) fn new(site: Arc<Site>, bound: &Bound) -> Self {
        Self {
            site,
            lock: bound.credentials.as_ref().map(Lock::new),
            names: names(bound.host.clone(), machine()),
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>, busy: &Busy) -> Reply {
        let is_post = *request.method() == Method::POST;
        let route = Route::of(request.uri().path());
        match (self.refusal(request.headers()), route) {
            (None, Route::Rpc) if is_post => self.call(request, busy).await,
            (None, Route::Status) if is_post => self.form(request, busy).await,
            (refusal, route) => {
                let (head, body) = request.into_parts();
                // Who is still sending a body when the connection ends may never see the answer. Who
                // asks before sending one needs no more than that.
                if !head.headers.contains_key(EXPECT) {
                    timeout(ARRIVAL, discard(body, SMALL_CALL)).await.ok();
                }
                busy.arrived();
                match refusal {
                    Some(reply) => reply,
                    None => self.read(route, &head).await,
                }
            }
        }
    }

    /// Why somebody may not come in.
    fn refusal(&self, headers: &HeaderMap) -> Option<Reply> {
        match self.lock.as_ref().map(|lock| lock.admission(headers)) {
            None | Some(Admission::Granted) if self.is_from_here(headers) => None,
            None | Some(Admission::Granted) => Some(reply::foreign()),
            Some(Admission::Refused) => Some(reply::unauthorized()),
            Some(Admission::Malformed) => Some(reply::error(StatusCode::BAD_REQUEST)),
        }
    }

    /// Everything but what comes with a body.
    async fn read(&self, route: Route, request: &Parts) -> Reply {
        let (site, path) = (&self.site, request.uri.path());
        let is_reading = matches!(request.method, Method::GET | Method::HEAD);
        match route {
            Route::Rpc => reply::error(StatusCode::BAD_REQUEST),
            Route::LogTail | Route::MainLogTail if !is_reading => {
                reply::error(StatusCode::BAD_REQUEST)
            }
            Route::LogTail => logtail::of_process(&*site.supervision, path)
                .await
                .unwrap_or_else(reply::error),
            Route::MainLogTail => logtail::of_main(&site.supervision)
                .await
                .unwrap_or_else(reply::error),
            Route::Status if is_reading => {
                let (query, headers) = (request.uri.query(), &request.headers);
                site.pages.status(query.unwrap_or_default(), headers).await
            }
            Route::Tail if is_reading => {
                let query = request.uri.query().unwrap_or_default();
                site.pages.tail(query).await
            }
            Route::Ok if is_reading || request.method == Method::POST => {
                reply::plain("text/plain", "OK")
            }
            Route::Live if request.method == Method::GET => site.pages.live(&request.headers),
            Route::Style if is_reading => reply::plain("text/css;charset=utf-8", pages::STYLE),
            Route::Script if is_reading => {
                reply::plain("text/javascript;charset=utf-8", pages::SCRIPT)
            }
            Route::Icon if is_reading => reply::plain("image/svg+xml", pages::ICON),
            Route::Status | Route::Ok => reply::not_allowed("GET, HEAD, POST"),
            Route::Live => reply::not_allowed("GET"),
            Route::Tail | Route::Style | Route::Script | Route::Icon => {
                reply::not_allowed("GET, HEAD")
            }
            Route::NotFound if is_reading => reply::error(StatusCode::NOT_FOUND),
            Route::NotFound => reply::error(StatusCode::BAD_REQUEST),
        }
    }

    async fn call(&self, request: Request<Incoming>, busy: &Busy) -> Reply {
        let Some(length) = request.headers().get(CONTENT_LENGTH) else {
            return reply::error(StatusCode::LENGTH_REQUIRED);
        };
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        let is_small = length.is_some_and(|length: usize| length <= SMALL_CALL);
        let (limit, _place) = match is_small {
            true => (SMALL_CALL, None),
            false => match timeout(ARRIVAL, self.site.large.acquire()).await {
                Ok(place) => (CALL, place.ok()),
                Err(_) => return reply::error(StatusCode::SERVICE_UNAVAILABLE),
            },
        };
        let body = match arrived(request, limit).await {
            Ok((_, body)) => body,
            Err(status) => return reply::error(status),
        };
        busy.arrived();
        let call = match xmlrpc::decode(&body) {
            Ok(call) => call,
            Err(error) => {
                tracing::error!(%error, "a call of a client cannot be read");
                return reply::error(StatusCode::BAD_REQUEST);
            }
        };
        let text = match self.site.rpc.call(call).await {
            Ok(value) => xmlrpc::response(&value),
            Err(fault) => xmlrpc::fault(fault.code.number(), &fault.text()),
        };
        reply::reply(StatusCode::OK, "text/xml", Body::whole(text))
    }

    async fn form(&self, request: Request<Incoming>, busy: &Busy) -> Reply {
        match arrived(request, FORM).await {
            Ok((headers, body)) => {
                busy.arrived();
                self.site.pages.act(&headers, &body).await
            }
            Err(status) => reply::error(status),
        }
    }

    /// Whether a browser, if it is one, sends this from a page of ours. A page of another origin
    /// may not act through the browser of somebody who may; nor may one whose name was made to
    /// lead here, which only matters where no password protects.
    fn is_from_here(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else {
            return true;
        };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let origin = origin.to_str().ok();
        let origin = origin.and_then(|origin| origin.split_once("://"));
        let (Some(host), Some((_, authority))) = (host, origin) else {
            return false;
        };
        if self.lock.is_none() {
            return authority.eq_ignore_ascii_case(host) && self.is_ours(host);
        }
        // Behind a proxy the names differ, and the browser itself says what it knows.
        let by_browser = headers.get("sec-fetch-site");
        authority.eq_ignore_ascii_case(host) || by_browser.is_some_and(|site| site == "same-origin")
    }

    /// Whether a name can only be meant for this host: an address, `localhost`, the configured one,
    /// the machine's own.
    fn is_ours(&self, authority: &str) -> bool {
        let without_port = authority
            .rsplit_once(':')
            .filter(|(_, port)| !port.contains(']'));
        let name = without_port.map_or(authority, |(name, _)| name);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<std::net::IpAddr>().is_ok()
            || bare.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|own| own.eq_ignore_ascii_case(bare))
    }
}

/// The machine's name.
fn machine() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// The configured name of a server and the machine's, in full and without its domain.
fn names(configured: Option<String>, machine: Option<String>) -> Vec<String> {
    let short = machine.as_deref().and_then(|name| name.split('.').next());
    let short = short.map(str::to_owned);
    configured.into_iter().chain(short).chain(machine).collect()
}

/// The head's fields and the body of a request.
async fn arrived(
    request: Request<Incoming>,
    limit: usize,
) -> Result<(HeaderMap, Vec<u8>), StatusCode> {
    let (head, body) = request.into_parts();
    match timeout(ARRIVAL, collect(body, limit)).await {
        Ok(Ok(body)) => Ok((head.headers, body)),
        Ok(Err(Refused::TooLarge)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(Refused::Broken)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
