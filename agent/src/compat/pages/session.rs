//! Sessions of browsers, and the token that shows that a form came from our page.
//!
//! A session is a random number in a cookie. Its token is derived from it with a secret of this
//! run, so that nothing is kept here, and a page of another origin, which can read neither, cannot
//! make a form that counts.

use std::fmt;
use std::fmt::Write as _;

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const COOKIE_NAME: &str = "rsv_session";

/// Hexadecimal digits of a session's number.
const DIGITS: usize = 32;

/// The sessions of this run.
pub(super) struct Sessions {
    secret: [u8; 32],
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    id: String,
    /// Whether the browser does not have it yet.
    is_new: bool,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { secret: random() }
    }

    /// The session of a request, or a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> Session {
        let id = existing(headers);
        let is_new = id.is_none();
        let id = id.unwrap_or_else(|| hex(&random::<{ DIGITS / 2 }>()));
        Session { id, is_new }
    }

    /// The token for the forms of a session.
    pub(super) fn token(&self, session: &Session) -> String {
        let digest = Sha256::new()
            .chain_update(self.secret)
            .chain_update(&session.id)
            .finalize();
        hex(&digest)
    }

    /// Whether a form with this token came from a page of the request's session.
    pub(super) fn admits(&self, headers: &HeaderMap, token: &str) -> bool {
        let Some(id) = existing(headers) else {
            return false;
        };
        let wanted = self.token(&Session { id, is_new: false });
        wanted.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

impl Session {
    /// What the browser is to keep, if it does not have it.
    pub(super) fn cookie(&self) -> Option<HeaderValue> {
        let text = format!(
            "{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict",
            self.id
        );
        HeaderValue::from_str(&text).ok().filter(|_| self.is_new)
    }
}

fn existing(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).into_iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    let id = cookies
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)?
        .1;
    let is_ours = id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| id.to_owned())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's random numbers are always there");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_of_the_own_session_and_run_counts() {
        let sessions = Sessions::new();
        let session = sessions.of(&HeaderMap::new());
        let cookie = session.cookie().unwrap();
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("other=1; {cookie}").parse().unwrap());
        let again = sessions.of(&headers);
        assert_eq!((again.id.as_str(), again.cookie()), (&session.id[..], None));
        let token = sessions.token(&session);
        assert!(sessions.admits(&headers, &token));
        assert!(!sessions.admits(&headers, ""));
        assert!(!sessions.admits(&HeaderMap::new(), &token));
        assert!(!Sessions::new().admits(&headers, &token));
        let other = sessions.token(&sessions.of(&HeaderMap::new()));
        assert!(!sessions.admits(&headers, &other));
    }
}
