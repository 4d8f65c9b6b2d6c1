//! Where a verb is carried out: at the fleet service of an agent or a controller, or at a server of
//! XML-RPC. The verbs ask in the same words and get the same answers.

use rsv_proto::select::Settled;
use rsv_proto::wire::{
    ActRequest, ActResponse, AvailableProcess, GetStatusRequest, GetStatusResponse,
    GetVersionResponse, GroupOutcome, HostStatus, ReloadResponse, RereadResponse, ShutdownResponse,
    TailMainLogRequest, TailMainLogResponse, TailRequest, TailResponse, TargetResult,
    UpdateResponse, WatchEventsRequest, WatchEventsResponse, WriteStdinRequest, WriteStdinResponse,
};

use crate::{
    client::{Events, Server},
    error::Failure,
    xmlrpc::Remote,
};

/// Where a verb is carried out.
#[derive(Debug, Clone)]
pub(crate) enum Carrier {
    /// The fleet service.
    Service(Server),
    /// Supervisor's interface.
    XmlRpc(Remote),
}

impl From<Server> for Carrier {
    fn from(server: Server) -> Self {
        Self::Service(server)
    }
}

impl Carrier {
    /// Whether an action goes on to its end when whoever asked for it is gone.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self, Self::Service(_))
    }

    /// The fleet service, for what only it can do; absent: it is another interface.
    pub(crate) fn service(&self) -> Option<&Server> {
        match self {
            Self::Service(server) => Some(server),
            Self::XmlRpc(_) => None,
        }
    }

    /// Who answers.
    pub(crate) async fn version(&self) -> Result<GetVersionResponse, Failure> {
        match self {
            Self::Service(server) => server.version().await,
            Self::XmlRpc(remote) => remote.version().await,
        }
    }

    /// The state of programs.
    pub(crate) async fn status(
        &self,
        request: GetStatusRequest,
    ) -> Result<Vec<HostStatus>, Failure> {
        Ok(self.whole_status(request).await?.hosts)
    }

    /// As [`Carrier::status`], with what else the other side has to say.
    pub(crate) async fn whole_status(
        &self,
        request: GetStatusRequest,
    ) -> Result<GetStatusResponse, Failure> {
        match self {
            Self::Service(server) => server.whole_status(request).await,
            Self::XmlRpc(remote) => Ok(GetStatusResponse {
                hosts: remote.status(&request.programs).await?,
                ..GetStatusResponse::default()
            }),
        }
    }

    /// As [`Carrier::status`], with the patterns of the request as the other side understands them.
    pub(crate) async fn understood(
        &self,
        request: GetStatusRequest,
    ) -> Result<(Vec<HostStatus>, Vec<Settled>), Failure> {
        let typed = request.programs.clone();
        let GetStatusResponse {
            hosts, programs, ..
        } = self.whole_status(request).await?;
        // Who knows of one host alone does not say it.
        let patterns = match programs.is_empty() {
            true => typed.iter().map(|text| Settled::everywhere(text)).collect(),
            false => programs.iter().map(|text| Settled::read(text)).collect(),
        };
        Ok((hosts, patterns))
    }

    /// Begins an action.
    pub(crate) async fn act(&self, request: ActRequest) -> Result<Events<ActResponse>, Failure> {
        match self {
            Self::Service(server) => server.act(request).await,
            Self::XmlRpc(remote) => remote.act(request.action, request.programs),
        }
    }

    /// Refuses output that the server cannot give, before anything is shown.
    pub(crate) fn check_tail(&self, request: &TailRequest) -> Result<(), Failure> {
        match self {
            Self::Service(_) => Ok(()),
            Self::XmlRpc(_) => Remote::check_tail(request),
        }
    }

    /// As `check_tail`, of the daemon's own log.
    pub(crate) fn check_main_log(&self, request: &TailMainLogRequest) -> Result<(), Failure> {
        match self {
            Self::Service(_) => Ok(()),
            Self::XmlRpc(_) => Remote::check_main_log(request),
        }
    }

    /// Begins to read output.
    pub(crate) async fn tail(&self, request: TailRequest) -> Result<Events<TailResponse>, Failure> {
        match self {
            Self::Service(server) => server.tail(request).await,
            Self::XmlRpc(remote) => remote.tail(request).await,
        }
    }

    /// Begins to hear of events; over XML-RPC only that something may have happened.
    pub(crate) async fn watch_events(
        &self,
        request: WatchEventsRequest,
    ) -> Result<Events<WatchEventsResponse>, Failure> {
        match self {
            Self::Service(server) => server.watch_events(request).await,
            Self::XmlRpc(remote) => Ok(remote.looks()),
        }
    }

    /// Ends the daemon and its programs.
    pub(crate) async fn shutdown(&self) -> Result<ShutdownResponse, Failure> {
        match self {
            Self::Service(server) => server.shutdown().await,
            Self::XmlRpc(remote) => remote.shutdown().await,
        }
    }

    /// Has the configuration read again, and perhaps only looked at; Supervisor cannot only look, and
    /// nothing comes of it before an update.
    pub(crate) async fn reread(&self, look_only: bool) -> Result<RereadResponse, Failure> {
        match self {
            Self::Service(server) => server.reread(look_only).await,
            Self::XmlRpc(remote) => remote.reread().await,
        }
    }

    /// Begins an update of these groups, or of all.
    pub(crate) async fn update(
        &self,
        groups: Vec<String>,
    ) -> Result<Events<UpdateResponse>, Failure> {
        match self {
            Self::Service(server) => server.update(groups).await,
            Self::XmlRpc(remote) => Ok(remote.update(groups)),
        }
    }

    /// Adds a group.
    pub(crate) async fn add_group(&self, name: String) -> Result<GroupOutcome, Failure> {
        match self {
            Self::Service(server) => server.add_group(name).await,
            Self::XmlRpc(remote) => remote.add_group(name).await,
        }
    }

    /// Removes a group.
    pub(crate) async fn remove_group(&self, name: String) -> Result<GroupOutcome, Failure> {
        match self {
            Self::Service(server) => server.remove_group(name).await,
            Self::XmlRpc(remote) => remote.remove_group(name).await,
        }
    }

    /// Has the daemon start anew.
    pub(crate) async fn reload(&self) -> Result<ReloadResponse, Failure> {
        match self {
            Self::Service(server) => server.reload().await,
            Self::XmlRpc(remote) => remote.reload().await,
        }
    }

    /// Every configured process.
    pub(crate) async fn available(&self) -> Result<Vec<AvailableProcess>, Failure> {
        match self {
            Self::Service(server) => server.available().await,
            Self::XmlRpc(remote) => remote.available().await,
        }
    }

    /// Empties logs.
    pub(crate) async fn clear(&self, programs: Vec<String>) -> Result<Vec<TargetResult>, Failure> {
        match self {
            Self::Service(server) => server.clear(programs).await,
            Self::XmlRpc(remote) => remote.clear(&programs).await,
        }
    }

    /// Writes to the standard input of a program.
    pub(crate) async fn write_stdin(
        &self,
        request: WriteStdinRequest,
    ) -> Result<WriteStdinResponse, Failure> {
        match self {
            Self::Service(server) => server.write_stdin(request).await,
            Self::XmlRpc(remote) => remote.write_stdin(request).await,
        }
    }

    /// Begins to read the daemon's own log; none when it has none.
    pub(crate) async fn main_log(
        &self,
        request: TailMainLogRequest,
    ) -> Result<Option<Events<TailMainLogResponse>>, Failure> {
        match self {
            Self::Service(server) => server.main_log(request).await,
            Self::XmlRpc(remote) => remote.main_log(request).await,
        }
    }
}
