//! The agent of this machine: connecting to it, and saying why that does not work in the words of
//! supervisorctl, which scripts look for.

use std::{io, time::Duration};

use rsv_proto::dial::{DialError, dial_unix};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    args::Global,
    client::Server,
    error::{Exit, Failure},
    location::{self, Location},
    ui::Ui,
};

/// How long the agent may take to say what it knows, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the agent.
pub(crate) struct Agent {
    /// Calls of it.
    pub(crate) server: Server,
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
        hint: Option<&'static str>,
    },
    /// A socket that nobody listens on.
    Refused {
        /// The place.
        url: String,
        /// What a person can do.
        hint: Option<&'static str>,
    },
    /// Anything else, such as a wrong configuration.
    Other(Failure),
}

/// Connects to the agent that the flags mean.
pub(crate) async fn connect(global: &Global) -> Result<Agent, Unconnected> {
    if let Some(url) = &global.serverurl {
        refuse_unreachable(url).await?;
    }
    let Location { socket, url } = location::find(global).map_err(Unconnected::Other)?;
    let error = match dial_unix(&socket).await {
        Ok(channel) => {
            let server = Server::new("the agent".to_owned(), channel, global.timeout)
                .at_hand(PATIENCE, &socket);
            return Ok(Agent { server, url });
        }
        Err(error) => error,
    };
    let hint = error.hint();
    Err(match &error {
        DialError::Unix { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Unconnected::Missing { url, hint }
        }
        DialError::Unix { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            Unconnected::Refused { url, hint }
        }
        _ => Unconnected::Other(Failure {
            exit: Exit::Failed,
            ..Failure::from(&error)
        }),
    })
}

/// Says of a server of XML-RPC that is not there what supervisorctl says. One that is there cannot
/// be spoken to, which is said by whoever looks for the socket.
async fn refuse_unreachable(url: &str) -> Result<(), Unconnected> {
    let Some(address) = location::server_address(url) else {
        return Ok(());
    };
    let connecting = timeout(PATIENCE, TcpStream::connect(address)).await;
    let refused = || Unconnected::Refused {
        url: url.to_owned(),
        hint: Some("nothing answers there"),
    };
    match connecting {
        Ok(Ok(_there)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(refused()),
    }
}

impl From<Unconnected> for Failure {
    /// In our own words, for where supervisorctl has none.
    fn from(unconnected: Unconnected) -> Self {
        let exit = unconnected.exit();
        match (unconnected.line(), unconnected) {
            (_, Unconnected::Other(failure)) => failure,
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
            Self::Other(_) => None,
        }
    }

    /// What the run exits with; `status` has its own code for every lack of an answer.
    fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } => Exit::NotRunning,
            Self::Refused { .. } => Exit::NoAnswer,
            Self::Other(failure) => failure.exit,
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
            Self::Missing { hint, .. } | Self::Refused { hint, .. } => *hint,
            Self::Other(_) => return Ok(self.into()),
        };
        let line = words(self.line().unwrap_or_default());
        if !ui.output().is_text() {
            return Ok(Failure::new(exit, line));
        }
        ui.line(&line)?;
        if let Some(hint) = hint {
            ui.terminal_hint(hint);
        }
        Ok(Failure::said(exit))
    }
}
