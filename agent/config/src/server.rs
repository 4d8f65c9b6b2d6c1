//! `[unix_http_server]` and `[inet_http_server]`, each with any suffix: where Supervisor's own clients
//! connect.

use std::fmt;
use std::path::PathBuf;

use crate::error::{ConfigError, ValueError};
use crate::expand::{Here, Names};
use crate::host::{Host, Owner, absolute, find_owner};
use crate::program::Scope;
use crate::read::Reader;
use crate::tree::Section;
use crate::value::{Mode, boolean, inet_address, octal};
use std::path::Path;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpServer {
    /// The section's name.
    pub section: String,
    /// Where it listens.
    pub address: HttpAddress,
    /// What a client must present; `None`: nothing.
    pub credentials: Option<Credentials>,
    /// `rsv_insecure`: the network may come in without a password.
    pub insecure: bool,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAddress {
    /// A Unix socket.
    Unix {
        /// The absolute path.
        path: PathBuf,
        /// Its permission bits.
        mode: Mode,
        /// Its owner; `None`: the agent's user.
        owner: Option<Owner>,
    },
    /// A TCP port.
    Inet {
        /// The address to bind; `None`: all.
        host: Option<String>,
        /// The port.
        port: u16,
    },
}

/// A name and a password for HTTP basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password in clear, or `{SHA}` with 40 hexadecimal digits behind it.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl HttpServer {
    /// The URL by which a program on this host reaches it.
    pub fn url(&self) -> String {
        match &self.address {
            HttpAddress::Unix { path, .. } => format!("unix://{}", path.display()),
            HttpAddress::Inet { host, port } => {
                format!("http://{}:{port}", host.as_deref().unwrap_or("localhost"))
            }
        }
    }
}

/// All servers, those on TCP first, each kind in the order of the file.
pub(crate) fn servers(scope: &Scope<'_>) -> (Vec<HttpServer>, Vec<ConfigError>) {
    let mut servers = Vec::new();
    let mut errors = Vec::new();
    for prefix in ["inet_http_server", "unix_http_server"] {
        let named = |section: &&Section| section.name.starts_with(prefix);
        for section in scope.tree.sections().filter(named) {
            let mut reader = Reader::new(scope.tree, section);
            servers.extend(server(&mut reader, scope));
            errors.append(&mut reader.errors);
        }
    }
    (servers, errors)
}

/// The server of one section, or `None`; the reader has the errors.
pub(crate) fn server(reader: &mut Reader<'_>, scope: &Scope<'_>) -> Option<HttpServer> {
    let names = Names::new(scope.names_env, Here::Unlisted);
    let address = if reader.section.name.starts_with("unix") {
        unix(reader, scope, &names)
    } else {
        inet(reader, &names)
    };
    let credentials = credentials(reader, &names);
    let insecure = reader.read("rsv_insecure", &names, boolean);
    Some(HttpServer {
        section: reader.section.name.clone(),
        address: address?,
        credentials,
        insecure: insecure.unwrap_or(false),
    })
}

fn inet(reader: &mut Reader<'_>, names: &Names<'_>) -> Option<HttpAddress> {
    require(reader, "port", "port=127.0.0.1:9001");
    let (host, port) = reader.read("port", names, inet_address)?;
    Some(HttpAddress::Inet { host, port })
}

fn unix(reader: &mut Reader<'_>, scope: &Scope<'_>, names: &Names<'_>) -> Option<HttpAddress> {
    require(reader, "file", "file=/run/supervisor.sock");
    let file_names = Names::new(scope.names_env, Here::Listed);
    let path = reader.read("file", &file_names, |text| {
        Ok(socket_path(scope.host, text.trim()))
    });
    let owner = reader.read("chown", names, |text| {
        find_owner(scope.host, text).map_err(|error| {
            ValueError::new(format!("Invalid sockchown value {text}"), error.accepted)
        })
    });
    let mode = reader.read("chmod", names, |text| {
        octal(text)
            .map_err(|error| ValueError::new(format!("Invalid chmod value {text}"), error.accepted))
    });
    Some(HttpAddress::Unix {
        path: path?,
        mode: mode.unwrap_or(Mode(0o700)),
        owner,
    })
}

pub(crate) fn socket_path(host: &dyn Host, text: &str) -> PathBuf {
    absolute(host, Path::new(text))
}

fn require(reader: &mut Reader<'_>, key: &str, example: &str) {
    if reader.raw(key).is_none() {
        let text = format!("section [{}] has no {key} value", reader.section.name);
        reader.fail(text, &format!("add a line such as {example}"));
    }
}

/// Both or neither. Empty ones are none, as with Supervisor: what the environment is to give may be nothing.
fn credentials(reader: &mut Reader<'_>, names: &Names<'_>) -> Option<Credentials> {
    let username = reader.text("username", names);
    let password = reader.text("password", names);
    match (username, password) {
        (Some(username), Some(password)) if username.is_empty() && password.is_empty() => None,
        (Some(username), Some(password)) => Some(Credentials { username, password }),
        (None, None) => None,
        (username, _) => {
            let section = &reader.section.name;
            let text = format!(
                "Section [{section}] contains incomplete authentication: If a username or a password \
                 is specified, both the username and password must be specified"
            );
            let missing = if username.is_some() {
                "password"
            } else {
                "username"
            };
            reader.fail(text, &format!("add {missing}="));
            None
        }
    }
}
