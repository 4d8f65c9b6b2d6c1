//! `[agent]`: what makes a host part of a fleet, and `[processcontrol]`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::error::{ConfigError, ValueError, repr};
use crate::expand::{Here, Names};
use crate::host::{Host, absolute, expand_home};
use crate::locations::LONGEST_SOCKET_PATH;
use crate::overrides::{self, Overrides};
use crate::read::Reader;
use crate::tree::Tree;
use crate::value::{list, port};

/// The `[agent]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSection {
    /// The host's name in the fleet; by default its node name.
    pub name: String,
    /// Where controllers listen; empty: the agent does not dial.
    pub controllers: Vec<ControllerAddress>,
    /// Free labels for selecting hosts.
    pub labels: BTreeMap<String, String>,
    /// Identity and journal; absolute.
    pub state_dir: PathBuf,
    /// The local service's socket; absolute.
    pub socket: PathBuf,
    /// The keeper's socket; absolute.
    pub keeper_socket: PathBuf,
}

/// One controller's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControllerAddress {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The port; 7443 unless written.
    pub port: u16,
}

impl fmt::Display for ControllerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

const DEFAULT_PORT: u16 = 7443;
pub(crate) const DEFAULT_STATE_DIR: &str = "/var/lib/rsv";
pub(crate) const DEFAULT_SOCKET: &str = "/run/rsv/agent.sock";
pub(crate) const DEFAULT_KEEPER_SOCKET: &str = "/run/rsv/keeper.sock";

/// The section, or `None` when the file has none; errors and advice are added to the lists.
pub(crate) fn read(
    tree: &Tree,
    host: &dyn Host,
    overrides: &Overrides,
    errors: &mut Vec<ConfigError>,
) -> Option<AgentSection> {
    let section = tree.section("agent")?;
    let mut reader = Reader::new(tree, section);
    let names =
        Names::new(host.environment(), Here::Listed).with_text("host_node_name", host.node_name());
    let path = |reader: &mut Reader<'_>, key: &str, read: ReadPath, default: &str| {
        let path = reader.read(key, &names, |text| read(host, text));
        path.unwrap_or_else(|| PathBuf::from(default))
    };
    let name = reader.read("name", &names, host_name);
    let controllers = reader.read("controller", &names, controllers);
    let labels = reader.read("labels", &names, labels);
    let state_dir = path(&mut reader, "state_dir", any_path, DEFAULT_STATE_DIR);
    let socket = path(&mut reader, "socket", socket_path, DEFAULT_SOCKET);
    let keeper_socket = path(
        &mut reader,
        "keeper_socket",
        socket_path,
        DEFAULT_KEEPER_SOCKET,
    );
    errors.append(&mut reader.errors);
    let given = overrides::parse(
        "--host-name",
        overrides.host_name.as_ref(),
        errors,
        host_name,
    );
    Some(AgentSection {
        name: given
            .or(name)
            .unwrap_or_else(|| host.node_name().to_owned()),
        controllers: controllers.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        state_dir,
        socket,
        keeper_socket,
    })
}

/// `[processcontrol] maxprocs`: how many programs may run at once; `None`: no bound.
pub(crate) fn max_processes(
    tree: &Tree,
    host: &dyn Host,
    errors: &mut Vec<ConfigError>,
) -> Option<u32> {
    let section = tree.section("processcontrol")?;
    let mut reader = Reader::new(tree, section);
    let names = Names::new(host.environment(), Here::Listed);
    let bound = reader.read("maxprocs", &names, |text| {
        let number = crate::value::integer(text)?;
        u32::try_from(number)
            .ok()
            .filter(|bound| *bound > 0)
            .ok_or_else(|| {
                ValueError::new(
                    format!("not a valid number of programs: {}", repr(text)),
                    "a whole number from 1",
                )
            })
    });
    errors.append(&mut reader.errors);
    bound
}

/// How the text of a path is read.
type ReadPath = fn(&dyn Host, &str) -> Result<PathBuf, ValueError>;

fn any_path(host: &dyn Host, text: &str) -> Result<PathBuf, ValueError> {
    if text.is_empty() {
        return Err(ValueError::new("the path is empty", "a path"));
    }
    Ok(absolute(host, &expand_home(host, text)))
}

fn socket_path(host: &dyn Host, text: &str) -> Result<PathBuf, ValueError> {
    let path = any_path(host, text)?;
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        return Err(ValueError::new(
            format!("the path of a socket is too long: {}", repr(text)),
            "a path of at most 107 bytes",
        ));
    }
    Ok(path)
}

fn host_name(text: &str) -> Result<String, ValueError> {
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_name = text.len() <= 253
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && is_edge(text.chars().next())
        && is_edge(text.chars().next_back());
    if is_name {
        return Ok(text.to_owned());
    }
    Err(ValueError::new(
        format!("not a valid host name: {}", repr(text)),
        "letters, digits, `.`, `_` and `-`, at most 253, with a letter or digit at both ends",
    ))
}

fn controllers(text: &str) -> Result<Vec<ControllerAddress>, ValueError> {
    list(text).iter().map(|item| controller(item)).collect()
}

fn controller(text: &str) -> Result<ControllerAddress, ValueError> {
    let refused = || {
        ValueError::new(
            format!("not a valid controller address: {}", repr(text)),
            "HOST or HOST:PORT, with commas between several",
        )
    };
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').ok_or_else(refused)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(number) => port(number).map_err(|_| refused())?,
        None if rest.is_empty() => DEFAULT_PORT,
        None => return Err(refused()),
    };
    let is_host = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-:%".contains(c));
    if !is_host {
        return Err(refused());
    }
    Ok(ControllerAddress {
        host: host.to_owned(),
        port,
    })
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, ValueError> {
    list(text).iter().map(|item| label(item)).collect()
}

/// One label, such as `role=web`.
pub fn label(text: &str) -> Result<(String, String), ValueError> {
    let pair = text.split_once('=');
    let pair = pair.map(|(key, value)| (key.trim(), value.trim()));
    let is_good = |(key, value): &(&str, &str)| label_key(key) && is_label_word(value);
    match pair.filter(is_good) {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(ValueError::new(
            format!("not a valid label: {}", repr(text)),
            "KEY=VALUE of letters, digits, `.`, `_`, `-`, `/`, with commas between several",
        )),
    }
}

/// Whether a text may be the key of a label.
pub fn label_key(text: &str) -> bool {
    !text.is_empty() && is_label_word(text)
}

fn is_label_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    text.chars().all(is_plain)
}
