//! Where a server of XML-RPC listens, as URLs of Supervisor say it, and who the caller is there.

use std::{fmt, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

use crate::error::Failure;

/// A user and a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A server of XML-RPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    url: String,
    pub(super) place: Place,
    login: Option<Login>,
}

/// How it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Unix(PathBuf),
    /// Host, without brackets, and port.
    Tcp(String, u16),
}

impl Endpoint {
    /// Reads a URL. A login in it counts when there is no other.
    pub(crate) fn of(url: &str, login: Option<Login>) -> Result<Self, Failure> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (place, in_url) = match scheme {
            "unix" if rest.starts_with('/') => (Place::Unix(PathBuf::from(rest)), None),
            "http" => tcp(rest).ok_or_else(|| {
                Failure::usage(format!("`{url}` names no host and port"))
                    .hint("write http://HOST:PORT")
            })?,
            "unix" => {
                return Err(
                    Failure::usage(format!("`{url}` is not the path of a socket"))
                        .hint("write unix:///PATH"),
                );
            }
            "https" => {
                return Err(Failure::usage(format!(
                    "`{url}`: Supervisor's servers do not speak TLS, and nor does this"
                ))
                .hint("name hosts of the fleet with --host, which is encrypted, or use a tunnel"));
            }
            _ => {
                return Err(Failure::usage(format!(
                    "invalid value for -s '{url}': value '{url}' is not a URL"
                ))
                .hint("write unix:///PATH or http://HOST:PORT"));
            }
        };
        Ok(Self {
            url: url.to_owned(),
            place,
            login: login.or(in_url),
        })
    }

    /// As it was written, without what nobody else has to know.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> Option<&PathBuf> {
        match &self.place {
            Place::Unix(path) => Some(path),
            Place::Tcp(..) => None,
        }
    }

    /// Whether the caller says who it is.
    pub(super) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The header that says who asks.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let Login { username, password } = self.login.as_ref()?;
        let packed = STANDARD.encode(format!("{username}:{password}"));
        let mut value = HeaderValue::try_from(format!("Basic {packed}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// What stands in the header `Host`.
    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::Unix(_) => "localhost".to_owned(),
            Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp(host, port) => format!("{host}:{port}"),
        }
    }
}

/// `[USER:PASSWORD@]HOST[:PORT][/...]`.
fn tcp(rest: &str) -> Option<(Place, Option<Login>)> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, address) = match authority.rsplit_once('@') {
        Some((login, address)) => {
            let (username, password) = login.split_once(':').unwrap_or((login, ""));
            let login = Login {
                username: username.to_owned(),
                password: password.to_owned(),
            };
            (Some(login), address)
        }
        None => (None, authority),
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            match behind {
                "" => (host, None),
                _ => (host, Some(behind.strip_prefix(':')?)),
            }
        }
        None => match address.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    if host.is_empty() {
        return None;
    }
    let port = match port {
        None | Some("") => 80,
        Some(port) => port.parse().ok()?,
    };
    Some((Place::Tcp(host.to_owned(), port), login))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_at_a_host_and_a_port_or_at_a_path() {
        let tcp = |host: &str, port| Some(Place::Tcp(host.into(), port));
        for (url, place) in [
            ("http://127.0.0.1:9001", tcp("127.0.0.1", 9001)),
            ("http://user:pass@host:9001/RPC2", tcp("host", 9001)),
            ("http://host", tcp("host", 80)),
            ("http://[::1]/", tcp("::1", 80)),
            ("http://[::1]:1", tcp("::1", 1)),
            ("unix:///run/x", Some(Place::Unix("/run/x".into()))),
            ("http://", None),
            ("http://host:port", None),
            ("https://host:1", None),
            ("unix://x", None),
            ("bogus", None),
        ] {
            let endpoint = Endpoint::of(url, None).ok();
            assert_eq!(endpoint.map(|endpoint| endpoint.place), place, "{url}");
        }
    }

    #[test]
    fn a_login_is_sent_and_never_shown() {
        let login = Login {
            username: "u".into(),
            password: "secret".into(),
        };
        let endpoint = Endpoint::of("http://h:1", Some(login)).unwrap();
        let header = endpoint.authorization().unwrap();
        assert_eq!(header.as_bytes(), b"Basic dTpzZWNyZXQ=");
        let shown = format!("{endpoint:?} {header:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("dTpz"),
            "{shown}"
        );
        let in_url = Endpoint::of("http://u:secret@h:1", None).unwrap();
        assert_eq!(
            in_url.authorization().unwrap().as_bytes(),
            b"Basic dTpzZWNyZXQ="
        );
    }
}
