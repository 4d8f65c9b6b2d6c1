//! What the command line needs of a configuration: where the agent is, and `[supervisorctl]`.
//!
//! Programs are not looked at, so that a broken one does not take the command line away, and neither are
//! files that cannot matter: most runs of the command line read this view, and most of a file is programs.
//! `[supervisorctl]` is taken from the main file alone, as supervisorctl does; the agent's whereabouts may also
//! stand in an included file. What is no file, such as a pipe that nobody writes to, is not opened for that.

use std::path::{Path, PathBuf};

use crate::agent::{self, AgentSection};
use crate::error::{ConfigError, ConfigErrors};
use crate::expand::{Here, Names};
use crate::host::{Host, absolute, expand_home, find_user};
use crate::locations::Locations;
use crate::overrides::Overrides;
use crate::plugin::{self, Plugin};
use crate::program::Scope;
use crate::read::Reader;
use crate::server::{self, Credentials, HttpServer, socket_path};
use crate::supervisord::DEFAULT_PIDFILE;
use crate::tree::{Tree, Wanted};

/// A configuration as the command line sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView {
    /// The file, as it was named; `None` for [`ClientView::without_file`].
    pub file: Option<PathBuf>,
    /// The `[agent]` section.
    pub agent: Option<AgentSection>,
    /// Where the agent's sockets are.
    pub locations: Locations,
    /// The pidfile, absolute.
    pub pidfile: PathBuf,
    /// The servers for Supervisor's clients, as far as their sections are sound.
    pub servers: Vec<HttpServer>,
    /// `[supervisorctl]`, if the main file has one.
    pub supervisorctl: Option<Supervisorctl>,
    /// `[ctlplugin:x]`, as far as sound.
    pub plugins: Vec<Plugin>,
}

/// `[supervisorctl]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisorctl {
    /// The URL of the server; `unix://` paths are absolute.
    pub server_url: String,
    /// User name and password; either may be absent, which counts as empty.
    pub credentials: Option<Credentials>,
    /// The prompt, without the `> ` behind it.
    pub prompt: String,
    /// The history file, absolute.
    pub history_file: Option<PathBuf>,
}

impl Default for Supervisorctl {
    fn default() -> Self {
        Self {
            server_url: "http://localhost:9001".to_owned(),
            credentials: None,
            prompt: "supervisor".to_owned(),
            history_file: None,
        }
    }
}

impl ClientView {
    /// The view when there is no configuration file: an agent with an `[agent]` section at its defaults.
    pub fn without_file() -> Self {
        let locations = Locations {
            state_dir: agent::DEFAULT_STATE_DIR.into(),
            socket: agent::DEFAULT_SOCKET.into(),
            keeper_socket: agent::DEFAULT_KEEPER_SOCKET.into(),
            private_dir: None,
        };
        Self {
            file: None,
            agent: None,
            locations,
            pidfile: DEFAULT_PIDFILE.into(),
            servers: Vec::new(),
            supervisorctl: None,
            plugins: Vec::new(),
        }
    }
}

/// Reads the view of `file` and what it includes. Only what cannot be read as INI, `[agent]`, the pidfile and
/// `[supervisorctl]` can be refused.
pub fn client_view(file: &Path, host: &dyn Host) -> Result<ClientView, ConfigErrors> {
    view(file, host, |tree| tree.include(host, &mut Vec::new()))
}

/// As [`client_view`], of `file` alone, which is all that supervisorctl reads.
pub fn main_view(file: &Path, host: &dyn Host) -> Result<ClientView, ConfigErrors> {
    view(file, host, |_| Ok(()))
}

fn view(
    file: &Path,
    host: &dyn Host,
    include: impl FnOnce(&mut Tree) -> Result<(), Vec<ConfigError>>,
) -> Result<ClientView, ConfigErrors> {
    let mut tree = Tree::of_file(host, file, WANTED).map_err(ConfigErrors::all)?;
    let mut errors = Vec::new();
    let supervisorctl = tree
        .section("supervisorctl")
        .map(|section| supervisorctl(Reader::new(&tree, section), host, &mut errors));
    let scope_plugins = with_scope(&tree, host, |scope| {
        plugin::plugins(scope, "ctlplugin", plugin::CTL_KEY).0
    });
    // A broken include is the agent's to report; the main file then has to do.
    if include(&mut tree).is_err() {
        tree = Tree::of_file(host, file, WANTED).map_err(ConfigErrors::all)?;
    }
    let agent = agent::read(&tree, host, &Overrides::default(), &mut errors);
    let pidfile = pidfile(&tree, host, &mut errors);
    let servers = with_scope(&tree, host, |scope| server::servers(scope).0);
    ConfigErrors::of(errors)?;
    Ok(ClientView {
        file: Some(file.to_owned()),
        locations: Locations::find(agent.as_ref(), &pidfile, user(&tree, host), host),
        agent,
        pidfile,
        servers,
        supervisorctl,
        plugins: scope_plugins,
    })
}

const WANTED: Wanted = Wanted {
    path: |host, path| !host.is_special(path),
    file: says_where,
    section: is_of_the_daemon,
};

/// Whether a section is about the daemon or its clients, not about what is supervised.
fn is_of_the_daemon(section: &str) -> bool {
    let kind = section.split_once(':').map(|(kind, _)| kind);
    let supervised = ["program", "group", "fcgi-program", "eventlistener"];
    kind.is_none_or(|kind| !supervised.contains(&kind))
}

/// Whether an included file has a header without which it cannot say where the agent is.
fn says_where(bytes: &[u8]) -> bool {
    let headers: [&[u8]; 5] = [
        b"agent",
        b"supervisord",
        b"unix_http_server",
        b"inet_http_server",
        b"DEFAULT",
    ];
    bytes
        .split(|byte| *byte == b'[')
        .any(|rest| headers.iter().any(|header| rest.starts_with(header)))
}

fn with_scope<T>(tree: &Tree, host: &dyn Host, read: impl FnOnce(&Scope<'_>) -> T) -> T {
    read(&Scope {
        host,
        tree,
        names_env: host.environment(),
        base_env: &Default::default(),
        log_dir: host.current_dir(),
    })
}

fn pidfile(tree: &Tree, host: &dyn Host, errors: &mut Vec<ConfigError>) -> PathBuf {
    let configured = tree.section("supervisord").and_then(|section| {
        let mut reader = Reader::new(tree, section);
        let names = Names::new(host.environment(), Here::Listed);
        let path = reader.read("pidfile", &names, |text| Ok(expand_home(host, text)));
        errors.append(&mut reader.errors);
        path
    });
    absolute(host, &configured.unwrap_or_else(|| DEFAULT_PIDFILE.into()))
}

/// Whom the agent becomes; a wrong one is the agent's to report.
fn user(tree: &Tree, host: &dyn Host) -> Option<u32> {
    let section = tree.section("supervisord")?;
    let names = Names::new(host.environment(), Here::Listed);
    let mut reader = Reader::new(tree, section);
    let user = reader.read("user", &names, |text| find_user(host, text));
    user.map(|user| user.uid)
}

/// Reads `[supervisorctl]`.
pub(crate) fn supervisorctl(
    mut reader: Reader<'_>,
    host: &dyn Host,
    errors: &mut Vec<ConfigError>,
) -> Supervisorctl {
    let here = Names::new(host.environment(), Here::Listed);
    let plain = Names::new(host.environment(), Here::Unlisted);
    let default = Supervisorctl::default();
    let url = reader
        .text("serverurl", &here)
        .map(|url| match url.strip_prefix("unix://") {
            Some(path) => format!("unix://{}", socket_path(host, path).display()),
            None => url,
        });
    let username = reader.text("username", &plain);
    let password = reader.text("password", &plain);
    let is_given = username.is_some() || password.is_some();
    let prompt = reader.text("prompt", &plain);
    let history = reader
        .text("history_file", &here)
        .filter(|path| !path.is_empty());
    errors.append(&mut reader.errors);
    Supervisorctl {
        server_url: url.unwrap_or(default.server_url),
        credentials: is_given.then(|| Credentials {
            username: username.unwrap_or_default(),
            password: password.unwrap_or_default(),
        }),
        prompt: prompt.unwrap_or(default.prompt),
        history_file: history.map(|path| absolute(host, &expand_home(host, &path))),
    }
}
