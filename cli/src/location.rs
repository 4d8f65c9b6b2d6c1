//! Where the daemon of this machine listens: from `--serverurl`, or from its configuration.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rsv_config::{
    ClientView, ConfigErrors, Supervisorctl, client_view,
    host::{Host as _, SystemHost},
    main_view, search_paths,
};

use crate::{
    args::Global,
    error::Failure,
    xmlrpc::{Endpoint, Login},
};

/// How long included files are waited for, far longer than it takes to read them. A disk that hangs keeps them
/// back for ever, and then the main file has to do, which is all that supervisorctl reads.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the agent listens, or a Supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// The socket of an agent; absent: there can be none.
    pub(crate) socket: Option<PathBuf>,
    /// The server of XML-RPC beside it, or in its place.
    pub(crate) server: Option<Endpoint>,
    /// How people know the place: `[supervisorctl] serverurl` when it is configured.
    pub(crate) url: String,
    /// Where the daemon writes its process id.
    pub(crate) pidfile: Option<PathBuf>,
}

impl Location {
    /// Whether only a look can tell what is spoken at the socket: it was named as it is.
    pub(crate) fn is_ambiguous(&self) -> bool {
        let of_server = self.server.as_ref().and_then(Endpoint::socket);
        of_server.is_some() && of_server == self.socket.as_ref()
    }
}

/// Finds the daemon that the flags mean.
pub(crate) fn find(global: &Global) -> Result<Location, Failure> {
    let Some(url) = &global.serverurl else {
        return from_configuration(global);
    };
    // Its login counts for every URL, as with supervisorctl.
    let server = Endpoint::of(url, login(global, section(global).as_ref()))?;
    Ok(Location {
        socket: server.socket().cloned(),
        server: Some(server),
        url: url.clone(),
        pidfile: None,
    })
}

/// Who the caller is: the flags, and for what they leave out the configuration.
fn login(global: &Global, section: Option<&Supervisorctl>) -> Option<Login> {
    let configured = section.and_then(|section| section.credentials.as_ref());
    let username = configured.map(|login| &login.username);
    let password = configured.map(|login| &login.password);
    let username = global.username.as_ref().or(username);
    let password = global.password.as_ref().or(password);
    (username.is_some() || password.is_some()).then(|| Login {
        username: username.cloned().unwrap_or_default(),
        password: password.cloned().unwrap_or_default(),
    })
}

/// An explicit file that is not there, in supervisorctl's words.
fn missing(file: &Path) -> Failure {
    Failure::usage(format!("could not find config file {}", file.display()))
}

fn from_configuration(global: &Global) -> Result<Location, Failure> {
    let host = SystemHost::new();
    let file = match &global.configuration {
        Some(file) if !file.exists() => return Err(missing(file)),
        Some(file) => Some(file.clone()),
        None => searched(&host),
    };
    let (view, pidfile) = match file {
        Some(file) => {
            let view = view(&file, &host).map_err(|errors| wrong(&errors))?;
            let pidfile = view.pidfile.clone();
            (view, Some(pidfile))
        }
        None => (ClientView::without_file(), None),
    };
    let socket = view.locations.socket;
    let section = view.supervisorctl;
    let login = login(global, section.as_ref());
    let url = match &section {
        Some(section) => section.server_url.clone(),
        None => format!("unix://{}", socket.display()),
    };
    // A URL that nobody can use does no harm where the agent answers.
    let server = section.and_then(|section| Endpoint::of(&section.server_url, login).ok());
    Ok(Location {
        socket: Some(socket),
        server,
        url,
        pidfile,
    })
}

/// `[supervisorctl]` of the configuration that the flags mean, if there is one.
pub(crate) fn section(global: &Global) -> Option<Supervisorctl> {
    let host = SystemHost::new();
    let file = match &global.configuration {
        Some(file) => file.clone(),
        None => searched(&host)?,
    };
    main_view(&file, &host).ok()?.supervisorctl
}

fn view(file: &Path, host: &SystemHost) -> Result<ClientView, ConfigErrors> {
    // What comes through a pipe can be read only once.
    if host.is_special(file) {
        return client_view(file, host);
    }
    let named = file.to_owned();
    let view = in_time(PATIENCE, move || client_view(&named, &SystemHost::new()));
    view.unwrap_or_else(|| main_view(file, host))
}

/// What comes of work that may hang; absent when it takes too long: then it is left to itself.
fn in_time<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, awaited) = mpsc::sync_channel(1);
    // Nobody may wait any more.
    let work = move || drop(done.send(work()));
    thread::Builder::new().spawn(work).ok()?;
    awaited.recv_timeout(patience).ok()
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
    use crate::args::Arguments;

    fn find_with(line: &str, file: &str) -> Location {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.conf");
        std::fs::write(&path, file).unwrap();
        let line = line.replace("FILE", &path.display().to_string());
        find(&Arguments::read(line.split(' ')).unwrap().global).unwrap()
    }

    #[test]
    fn a_configuration_has_an_agent_and_a_server() {
        let file = "[supervisord]\n[supervisorctl]\nserverurl = http://h:9001\n";
        let location = find_with("rsv -c FILE status", file);
        assert!(location.socket.is_some() && !location.is_ambiguous());
        assert_eq!(location.url, "http://h:9001");
        assert_eq!(location.server, Endpoint::of("http://h:9001", None).ok());
        assert_eq!(
            find_with("rsv -c FILE status", "[supervisord]\n").server,
            None
        );
    }

    #[test]
    fn work_that_hangs_is_left_to_itself() {
        let (release, hung) = mpsc::channel::<()>();
        let moment = Duration::from_millis(1);
        assert_eq!(in_time(moment, move || hung.recv().is_ok()), None);
        drop(release);
        assert_eq!(in_time(Duration::MAX, || 1), Some(1));
    }

    #[test]
    fn a_url_stands_alone_and_flags_come_before_the_file() {
        let file = "[supervisord]\n[supervisorctl]\nusername = a\npassword = b\n";
        let location = find_with("rsv -c FILE -s http://h:1 -u c status", file);
        let login = Login {
            username: "c".into(),
            password: "b".into(),
        };
        assert_eq!(location.socket, None);
        assert_eq!(
            location.server,
            Endpoint::of("http://h:1", Some(login)).ok()
        );
        let location = find_with("rsv -s unix:///x status", file);
        assert!(location.is_ambiguous());
    }
}
