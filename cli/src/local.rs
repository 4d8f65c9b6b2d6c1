//! The daemon of this machine: connecting to it, and saying why that does not work in the words of
//! supervisorctl, which scripts look for.

mod why;

use std::{io, path::Path, time::Duration};

use rsv_proto::dial::{DialError, dial_unix};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use crate::{
    args::Global,
    carrier::Carrier,
    client::Server,
    error::{Exit, Failure},
    location::{self, Location},
    ui::Ui,
    xmlrpc::{Remote, Unreached},
};

/// How long the agent may take to say what it knows, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client of HTTP/2 says first, with empty settings behind it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A connection to the daemon.
pub(crate) struct Agent {
    /// Where verbs are carried out.
    pub(crate) carrier: Carrier,
    /// How people know where it is.
    pub(crate) url: String,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Unconnected {
    /// No socket at the place.
    Missing {
        /// The place.
        url: String,
        /// What a person can do.
        hint: String,
    },
    /// A socket that nobody listens on.
    Refused {
        /// The place.
        url: String,
        /// What a person can do.
        hint: String,
    },
    /// It wants to know who asks.
    Unauthorized(Failure),
    /// Anything else, such as a wrong configuration.
    Other(Failure),
}

/// Connects to the daemon that the flags mean: by the agent's own socket where that can be used,
/// otherwise by XML-RPC, as supervisorctl does.
pub(crate) async fn connect(global: &Global) -> Result<Agent, Unconnected> {
    let location = location::find(global).map_err(Unconnected::Other)?;
    let own = own_service(&location, global.timeout).await;
    let unusable = match own {
        Ok(Some(server)) => {
            return Ok(Agent {
                carrier: server.into(),
                url: location.url,
            });
        }
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let Some(endpoint) = location.server.clone() else {
        return Err(unconnected(&location, unusable.as_ref(), None));
    };
    match Remote::connect(endpoint, global.timeout).await {
        Ok(remote) => Ok(Agent {
            carrier: Carrier::XmlRpc(remote),
            url: location.url,
        }),
        Err(unreached) => Err(unconnected(&location, unusable.as_ref(), Some(unreached))),
    }
}

/// The service of an agent; absent when something else is spoken there.
async fn own_service(
    location: &Location,
    limit: Option<Duration>,
) -> Result<Option<Server>, DialError> {
    let Some(socket) = &location.socket else {
        return Ok(None);
    };
    if location.is_ambiguous() && !speaks_http2(socket).await? {
        return Ok(None);
    }
    let channel = dial_unix(socket).await?;
    let server = Server::new("the agent".to_owned(), channel, limit).at_hand(PATIENCE, socket);
    Ok(Some(server))
}

/// Whether a socket is that of an agent's own service. One that says nothing is taken for one: why it
/// is silent is said by whoever speaks to it.
async fn speaks_http2(socket: &Path) -> Result<bool, DialError> {
    let connected = UnixStream::connect(socket).await;
    let mut stream = connected.map_err(|source| DialError::Unix {
        path: socket.to_owned(),
        source,
    })?;
    let mut first = [0; 4];
    let asked = async {
        stream.write_all(PREFACE).await?;
        stream.read_exact(&mut first).await
    };
    Ok(match timeout(PATIENCE, asked).await {
        Ok(Ok(_)) => first != *b"HTTP",
        // It hung up on words that it does not know.
        Ok(Err(_)) => false,
        Err(_silent) => true,
    })
}

/// Why neither can be spoken to: what is left over outweighs what is not there.
fn unconnected(
    location: &Location,
    own: Option<&DialError>,
    server: Option<Unreached>,
) -> Unconnected {
    let url = location.url.clone();
    let own_is = |kind| match own {
        Some(DialError::Unix { source, .. }) => source.kind() == kind,
        _ => false,
    };
    let missing = |url| Unconnected::Missing {
        url,
        hint: why::missing(location),
    };
    let refused = |url| Unconnected::Refused {
        url,
        hint: why::refused(location),
    };
    match server {
        Some(Unreached::Unauthorized(failure)) => Unconnected::Unauthorized(failure),
        Some(Unreached::Other(failure)) => Unconnected::Other(why::explained(failure, location)),
        Some(Unreached::Refused) => refused(url),
        Some(Unreached::Missing) | None if own_is(io::ErrorKind::ConnectionRefused) => refused(url),
        Some(Unreached::Missing) => missing(url),
        None if own_is(io::ErrorKind::NotFound) => missing(url),
        None => {
            let failure = own.map(Failure::from);
            let failure = failure.unwrap_or_else(|| Failure::usage("no agent is named"));
            let exit = Exit::Failed;
            Unconnected::Other(why::explained(Failure { exit, ..failure }, location))
        }
    }
}

impl From<Unconnected> for Failure {
    /// In our own words, for where supervisorctl has none.
    fn from(unconnected: Unconnected) -> Self {
        let exit = unconnected.exit();
        match (unconnected.line(), unconnected) {
            (_, Unconnected::Other(failure) | Unconnected::Unauthorized(failure)) => failure,
            (line, _) => Self::new(exit, line.unwrap_or_default()),
        }
    }
}

impl Unconnected {
    /// The line that supervisorctl prints, where it has one.
    fn line(&self) -> Option<String> {
        match self {
            Self::Missing { url, .. } => Some(format!("{url} no such file")),
            Self::Refused { url, .. } => Some(format!("{url} refused connection")),
            Self::Unauthorized(_) | Self::Other(_) => None,
        }
    }

    /// What the run exits with; `status` has its own code for every lack of an answer.
    fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } => Exit::NotRunning,
            Self::Refused { .. } => Exit::NoAnswer,
            Self::Unauthorized(failure) | Self::Other(failure) => failure.exit,
        }
    }

    /// Says it as supervisorctl does, and gives what the run ends in.
    pub(crate) fn say(self, ui: &mut Ui) -> Result<Failure, Failure> {
        let exit = self.exit();
        self.say_as(ui, exit, |line| line)
    }

    /// As [`Self::say`], for `status`.
    pub(crate) fn say_for_status(self, ui: &mut Ui) -> Result<Failure, Failure> {
        self.say_as(ui, Exit::NoAnswer, |line| line)
    }

    /// As [`Self::say`], for `shutdown`, to which it is half a success.
    pub(crate) fn say_for_shutdown(self, ui: &mut Ui) -> Result<Failure, Failure> {
        self.say_as(ui, Exit::Failed, |line| {
            format!("ERROR: {line} (already shut down?)")
        })
    }

    fn say_as(
        self,
        ui: &mut Ui,
        exit: Exit,
        words: impl FnOnce(String) -> String,
    ) -> Result<Failure, Failure> {
        let hint = match &self {
            Self::Missing { hint, .. } | Self::Refused { hint, .. } => hint.clone(),
            Self::Unauthorized(_) | Self::Other(_) => return Ok(self.into()),
        };
        let line = words(self.line().unwrap_or_default());
        if !ui.output().is_text() {
            return Ok(Failure::new(exit, line));
        }
        ui.line(&line)?;
        ui.terminal_hint(&hint);
        Ok(Failure::said(exit))
    }
}
