//! Where the agent of this machine listens: from `--serverurl`, or from its configuration.

use std::path::{Path, PathBuf};

use rsv_config::{
    ClientView, ConfigErrors, Supervisorctl, client_view, host::SystemHost, search_paths,
};

use crate::{args::Global, error::Failure};

/// Where the agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// Its own socket.
    pub(crate) socket: PathBuf,
    /// How people know the place: `[supervisorctl] serverurl` when it is configured.
    pub(crate) url: String,
}

/// Finds the agent that the flags mean.
pub(crate) fn find(global: &Global) -> Result<Location, Failure> {
    match &global.serverurl {
        Some(url) => from_url(url),
        None => from_configuration(global.configuration.as_deref()),
    }
}

/// The host and the port of a server's URL; none when it is not that of one.
pub(crate) fn server_address(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    let has_port = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match (address.is_empty(), has_port) {
        (true, _) => None,
        (false, true) => Some(address.to_owned()),
        (false, false) => Some(format!("{}:{port}", address.trim_end_matches(':'))),
    }
}

fn from_url(url: &str) -> Result<Location, Failure> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Location {
            socket: PathBuf::from(rest),
            url: url.to_owned(),
        }),
        "http" | "https" => Err(Failure::usage(format!(
            "`--serverurl {url}` is a server of XML-RPC, which this version does not speak yet"
        ))
        .hint("write unix:///PATH of an agent's socket, or name hosts of the fleet with --host")),
        "unix" => Err(Failure::usage(format!(
            "`--serverurl {url}` is not the socket of an agent on this machine"
        ))
        .hint("write unix:///PATH, or name hosts of the fleet with --host")),
        _ => Err(Failure::usage(format!(
            "invalid value for -s '{url}': value '{url}' is not a URL"
        ))
        .hint("write unix:///PATH")),
    }
}

/// An explicit file that is not there, in supervisorctl's words.
fn missing(file: &Path) -> Failure {
    Failure::usage(format!("could not find config file {}", file.display()))
}

fn from_configuration(file: Option<&Path>) -> Result<Location, Failure> {
    let host = SystemHost::new();
    let file = match file {
        Some(file) if !file.exists() => return Err(missing(file)),
        Some(file) => Some(file.to_owned()),
        None => searched(&host),
    };
    let view = match file {
        Some(file) => client_view(&file, &host).map_err(|errors| wrong(&errors))?,
        None => ClientView::without_file(),
    };
    let socket = view.locations.socket;
    // A URL of another server, such as http://, is where supervisorctl goes; we go to the agent.
    let url = view
        .supervisorctl
        .map(|section| section.server_url)
        .filter(|url| url.starts_with("unix://"))
        .unwrap_or_else(|| format!("unix://{}", socket.display()));
    Ok(Location { socket, url })
}

/// `[supervisorctl]` of the configuration that the flags mean, if there is one.
pub(crate) fn section(global: &Global) -> Option<Supervisorctl> {
    let host = SystemHost::new();
    let file = match &global.configuration {
        Some(file) => file.clone(),
        None => searched(&host)?,
    };
    client_view(&file, &host).ok()?.supervisorctl
}

fn wrong(errors: &ConfigErrors) -> Failure {
    Failure::usage(errors.render().trim_end().to_owned())
}

/// The first configuration at the usual places.
fn searched(host: &SystemHost) -> Option<PathBuf> {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    search_paths(Path::new(&argv0), host)
        .into_iter()
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_at_a_host_and_a_port() {
        for (url, address) in [
            ("http://127.0.0.1:9001", Some("127.0.0.1:9001")),
            ("http://user:pass@host:9001/RPC2", Some("host:9001")),
            ("http://host", Some("host:80")),
            ("https://[::1]/", Some("[::1]:443")),
            ("https://[::1]:1", Some("[::1]:1")),
            ("http://", None),
            ("unix:///run/x", None),
            ("bogus", None),
        ] {
            assert_eq!(server_address(url).as_deref(), address, "{url}");
        }
    }
}
