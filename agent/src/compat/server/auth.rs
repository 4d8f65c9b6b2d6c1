//! Basic authentication: who may come in.
//!
//! Name and password are compared as digests of equal length, both always, so that the time it
//! takes tells nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use rsv_config::Credentials;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// In front of the hexadecimal SHA-1 of a password.
const HASHED: &str = "{SHA}";

/// What a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// What is needed.
    Granted,
    /// Nothing, or the wrong thing.
    Refused,
    /// Something that cannot be read.
    Malformed,
}

/// What must be shown.
pub(super) struct Lock {
    name: [u8; 32],
    password: Password,
}

enum Password {
    /// The SHA-256 of a password in clear.
    Clear([u8; 32]),
    /// The hexadecimal SHA-1 as configured, in lower case.
    Hashed(String),
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

impl Lock {
    pub(super) fn new(credentials: &Credentials) -> Self {
        let password = match credentials.password.strip_prefix(HASHED) {
            Some(hex) => Password::Hashed(hex.trim().to_ascii_lowercase()),
            None => Password::Clear(digest(&credentials.password)),
        };
        Self {
            name: digest(&credentials.username),
            password,
        }
    }

    pub(super) fn admission(&self, headers: &HeaderMap) -> Admission {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Admission::Refused;
        };
        let Some(value) = value.to_str().ok().and_then(of_basic) else {
            return Admission::Refused;
        };
        let Some((name, password)) = basic(value) else {
            return Admission::Malformed;
        };
        if bool::from(self.opens(&name, &password)) {
            Admission::Granted
        } else {
            Admission::Refused
        }
    }

    fn opens(&self, name: &str, password: &str) -> Choice {
        let is_name = digest(name).ct_eq(&self.name);
        let is_password = match &self.password {
            Password::Clear(wanted) => digest(password).ct_eq(wanted),
            Password::Hashed(wanted) => {
                let hex: String = Sha1::digest(password)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                hex.as_bytes().ct_eq(wanted.as_bytes())
            }
        };
        is_name & is_password
    }
}

/// What a header shows, when it is of the one scheme that counts here. A scheme alone shows nothing.
fn of_basic(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then_some(rest)
}

/// Name and password.
fn basic(encoded: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(password: &str, header: Option<&str>) -> Admission {
        let lock = Lock::new(&Credentials {
            username: "user".into(),
            password: password.into(),
        });
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        lock.admission(&headers)
    }

    fn with(name_and_password: &str) -> String {
        format!("Basic {}", STANDARD.encode(name_and_password))
    }

    #[test]
    fn only_the_right_name_and_password_come_in() {
        for (name, admission) in [
            ("user:pass:word", Admission::Granted),
            ("user:pass", Admission::Refused),
            ("User:pass:word", Admission::Refused),
            (":", Admission::Refused),
        ] {
            assert_eq!(shown("pass:word", Some(&with(name))), admission, "{name}");
        }
        assert_eq!(shown("x", None), Admission::Refused);
    }

    #[test]
    fn a_hashed_password_is_compared_by_its_digest() {
        // Known to every implementation: the SHA-1 of `abc`.
        for hex in [
            "a9993e364706816aba3e25717850c26c9cd0d89d",
            "A9993E364706816ABA3E25717850C26C9CD0D89D",
        ] {
            let hashed = format!("{{SHA}}{hex}");
            assert_eq!(shown(&hashed, Some(&with("user:abc"))), Admission::Granted);
            let itself = with(&format!("user:{hashed}"));
            assert_eq!(shown(&hashed, Some(&itself)), Admission::Refused);
        }
        assert_eq!(shown("{SHA}", Some(&with("user:"))), Admission::Refused);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for header in ["Basic !", "Basic dXNlcg=="] {
            assert_eq!(shown("x", Some(header)), Admission::Malformed, "{header}");
        }
        for header in ["Basic", "Bearer abc", "Digest", "Bearer dXNlcjp4"] {
            assert_eq!(shown("x", Some(header)), Admission::Refused, "{header}");
        }
    }
}
