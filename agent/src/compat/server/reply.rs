//! The answers there are, with the headers that belong to each.

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, SERVER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};

use super::Body;

/// An answer.
pub(crate) type Reply = Response<Body>;

/// The name that clients of Supervisor find here.
const NAME: &str = "Medusa/1.12";

/// Nothing but our own files and our own forms; nothing inside the page is a script or a style.
/// What else this server gives is no script either: each type is declared and not guessed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// An answer with a body of that type.
pub(crate) fn reply(status: StatusCode, kind: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    put(&mut reply, SERVER, NAME);
    put(&mut reply, CONTENT_TYPE, kind);
    put(&mut reply, X_CONTENT_TYPE_OPTIONS, "nosniff");
    reply
}

/// A page.
pub(crate) fn html(status: StatusCode, text: String) -> Reply {
    let mut reply = reply(status, "text/html;charset=utf-8", Body::whole(text));
    put(&mut reply, CACHE_CONTROL, "no-cache, no-store");
    put(&mut reply, CONTENT_SECURITY_POLICY, POLICY);
    // Without any referrer a browser would not say either that a form comes from this page.
    put(&mut reply, REFERRER_POLICY, "same-origin");
    put(&mut reply, X_FRAME_OPTIONS, "DENY");
    reply
}

/// A text.
pub(crate) fn plain(kind: &'static str, text: &'static str) -> Reply {
    reply(StatusCode::OK, kind, Body::whole(text))
}

/// Go there and look.
pub(crate) fn see_other(place: &str) -> Reply {
    let mut reply = error(StatusCode::SEE_OTHER);
    if let Ok(place) = HeaderValue::from_str(place) {
        reply.headers_mut().insert(LOCATION, place);
    }
    reply
}

/// A page that says no more than its status.
pub(super) fn error(status: StatusCode) -> Reply {
    let (number, words) = (
        status.as_str(),
        status.canonical_reason().unwrap_or("Error"),
    );
    let text = format!(
        "<!doctype html>\n<title>{number} {words}</title>\n<h1>{words}</h1>\n<p>{number}</p>\n"
    );
    let mut reply = reply(status, "text/html", Body::whole(text));
    put(&mut reply, CONTENT_SECURITY_POLICY, POLICY);
    reply
}

/// Who are you?
pub(super) fn unauthorized() -> Reply {
    let mut reply = error(StatusCode::UNAUTHORIZED);
    put(&mut reply, WWW_AUTHENTICATE, "Basic realm=\"default\"");
    reply
}

/// A browser sends this from somewhere else.
pub(super) fn foreign() -> Reply {
    let mut reply = error(StatusCode::FORBIDDEN);
    let text = "<!doctype html>\n<title>403 Forbidden</title>\n<h1>Forbidden</h1>\n<p>A browser sent \
                this from a page that is not of this server, or by a name that this server does not \
                know for its own. Open the page by an address or by the name of the host.</p>\n";
    *reply.body_mut() = Body::whole(text);
    reply
}

/// Only these methods.
pub(super) fn not_allowed(methods: &'static str) -> Reply {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED);
    put(&mut reply, ALLOW, methods);
    reply
}

/// Sets a header.
pub(crate) fn put(reply: &mut Reply, name: HeaderName, value: &'static str) {
    reply
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
