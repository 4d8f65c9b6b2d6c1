//! The socket that the processes of an `[fcgi-program:x]` share.

use std::path::PathBuf;

use crate::error::ValueError;
use crate::expand::{Here, Names};
use crate::host::{Host, Owner, User, absolute, find_owner, find_user};
use crate::program::Scope;
use crate::read::Reader;
use crate::value::{Mode, integer, octal};
use std::path::Path;

/// A listening socket, made before the first process and passed to each as descriptor 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FcgiSocket {
    /// Where it listens.
    pub address: FcgiAddress,
    /// `socket_backlog`; `None`: the system's `SOMAXCONN`.
    pub backlog: Option<u32>,
}

/// Where a FastCGI socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FcgiAddress {
    /// `unix:///path`.
    Unix {
        /// The absolute path.
        path: PathBuf,
        /// Its owner; `None`: the agent's user.
        owner: Option<Owner>,
        /// Its permission bits.
        mode: Mode,
    },
    /// `tcp://host:port`.
    Tcp {
        /// The host to bind.
        host: String,
        /// The port.
        port: u16,
    },
}

impl FcgiSocket {
    /// The URL as Supervisor's log shows it.
    pub fn url(&self) -> String {
        match &self.address {
            FcgiAddress::Unix { path, .. } => format!("unix://{}", path.display()),
            FcgiAddress::Tcp { host, port } => format!("tcp://{host}:{port}"),
        }
    }
}

/// The group's priority and its socket; `None` when something was refused.
pub(super) fn read(
    reader: &mut Reader<'_>,
    scope: &Scope<'_>,
    program: &str,
) -> (i64, Option<FcgiSocket>) {
    let names = Names::new(scope.names_env, Here::Listed).with_text("program_name", program);
    let host = scope.host;
    let priority = reader.read("priority", &names, integer).unwrap_or(999);
    let user = reader.read("user", &names, |text| find_user(host, text));
    let backlog = reader.read("socket_backlog", &names, backlog);
    let owner = reader.read("socket_owner", &names, |text| {
        find_owner(host, text).map_err(|error| {
            ValueError::new(format!("Invalid socket_owner value {text}"), error.accepted)
        })
    });
    let mode = reader.read("socket_mode", &names, |text| {
        octal(text).map_err(|error| {
            ValueError::new(format!("Invalid socket_mode value {text}"), error.accepted)
        })
    });
    let section = reader.section.name.clone();
    let wants = Wants {
        owner,
        mode,
        user: user.as_ref(),
    };
    let address = reader.read("socket", &names, |text| {
        address(host, text, &wants).map_err(|error| {
            // An absent socket has a text of its own, which names the section already.
            let text = if text.is_empty() {
                requires_socket(&section)
            } else {
                format!("{} in [{section}] socket", error.text)
            };
            ValueError::new(text, error.accepted)
        })
    });
    if reader.raw("socket").is_none() {
        reader.fail(
            requires_socket(&section),
            "add a line such as socket=unix:///run/app.sock",
        );
    }
    (
        priority,
        address.map(|address| FcgiSocket { address, backlog }),
    )
}

fn requires_socket(section: &str) -> String {
    format!("[{section}] section requires a \"socket\" line")
}

/// What the section says about a Unix socket's file.
struct Wants<'a> {
    owner: Option<Owner>,
    mode: Option<Mode>,
    user: Option<&'a User>,
}

const ACCEPTED: &str = "unix:///absolute/path or tcp://host:port";

fn address(host: &dyn Host, text: &str, wants: &Wants<'_>) -> Result<FcgiAddress, ValueError> {
    if let Some(path) = text.strip_prefix("unix://") {
        if !path.starts_with('/') {
            return Err(ValueError::new(
                format!("Unix socket path {path} is not an absolute path"),
                ACCEPTED,
            ));
        }
        let other_user = wants.user.filter(|user| user.uid != host.effective_uid());
        let users = other_user.map(|user| Owner {
            uid: user.uid,
            gid: Some(user.gid),
        });
        return Ok(FcgiAddress::Unix {
            path: absolute(host, Path::new(path)),
            owner: wants.owner.or(users),
            mode: wants.mode.unwrap_or(Mode(0o700)),
        });
    }
    if wants.owner.is_some() || wants.mode.is_some() {
        return Err(ValueError::new(
            "socket_owner and socket_mode params should only be used with a Unix domain socket",
            "no socket_owner and socket_mode beside a tcp:// socket",
        ));
    }
    tcp(text).ok_or_else(|| ValueError::new(format!("Bad socket format {text}"), ACCEPTED))
}

fn tcp(text: &str) -> Option<FcgiAddress> {
    let (host, port) = text.strip_prefix("tcp://")?.split_once(':')?;
    let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
    let is_number = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    let port = port.parse().ok()?;
    (is_host && is_number).then(|| FcgiAddress::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn backlog(text: &str) -> Result<u32, ValueError> {
    match integer(text)? {
        number @ 1..=65535 => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        number => Err(ValueError::new(
            format!("Invalid socket_backlog value {number}"),
            "a number from 1 to 65535",
        )),
    }
}
