//! Calls of the `Fleet` service, translated to the hub and back.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt as _};
use rsv_proto::limits::PROTOCOL;
use rsv_proto::telemetry;
use rsv_proto::time::to_wire;
use rsv_proto::wire::{
    self, ActRequest, ActResponse, GetStatusRequest, GetStatusResponse, GetVersionRequest,
    GetVersionResponse, HostSelection, HostState, ListHostsRequest, ListHostsResponse,
    ShutdownRequest, ShutdownResponse, TailRequest, TailResponse, fleet_server::Fleet,
};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::{Instrument as _, Span, info_span};

use super::DaemonAsk;
use super::act;
use crate::hub::{HubGone, HubHandle};
use crate::logbook::LogBook;
use crate::tail::{self, TailError};

/// The service.
#[derive(Debug)]
pub(super) struct LocalFleet {
    hub: HubHandle,
    logbook: LogBook,
    daemon: mpsc::Sender<DaemonAsk>,
    operations: act::Operations,
}

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl LocalFleet {
    pub(super) fn new(hub: HubHandle, logbook: LogBook, daemon: mpsc::Sender<DaemonAsk>) -> Self {
        Self {
            hub,
            logbook,
            daemon,
            operations: act::Operations::default(),
        }
    }
}

#[tonic::async_trait]
impl Fleet for LocalFleet {
    type GetStatusStream = Answers<GetStatusResponse>;
    type ActStream = Answers<ActResponse>;
    type TailStream = Answers<TailResponse>;

    async fn get_version(
        &self,
        _: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Status> {
        Ok(Response::new(GetVersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: *PROTOCOL.start(),
            protocol_max: *PROTOCOL.end(),
            pid: std::process::id(),
            notice: String::new(),
        }))
    }

    async fn list_hosts(
        &self,
        _: Request<ListHostsRequest>,
    ) -> Result<Response<ListHostsResponse>, Status> {
        Err(only_this_host())
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<Self::GetStatusStream>, Status> {
        let span = server_span("rsv.v1.Fleet/GetStatus", request.metadata());
        let request = request.into_inner();
        require_this_host(request.hosts.as_ref())?;
        let mut status = self
            .hub
            .status(&request.programs)
            .instrument(span)
            .await
            .map_err(ended)?;
        status.set_state(HostState::Connected);
        status.as_of = Some(to_wire(std::time::SystemTime::now()));
        let page = GetStatusResponse {
            hosts: vec![status],
            notice: String::new(),
        };
        Ok(Response::new(stream::iter([Ok(page)]).boxed()))
    }

    async fn act(&self, request: Request<ActRequest>) -> Result<Response<Self::ActStream>, Status> {
        let span = server_span("rsv.v1.Fleet/Act", request.metadata());
        let request = request.into_inner();
        require_this_host(request.hosts.as_ref())?;
        let events = act::begin(&self.hub, &self.operations, request)
            .instrument(span)
            .await?;
        Ok(Response::new(events.map(Ok).boxed()))
    }

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let request = request.into_inner();
        require_this_host(request.hosts.as_ref())?;
        let items = tail::open(&self.hub, &self.logbook, &request)
            .await
            .map_err(|error| match error {
                TailError::Request(why) => Status::invalid_argument(why),
                TailError::Gone(gone) => ended(gone),
            })?;
        Ok(Response::new(items.map(Ok).boxed()))
    }

    async fn shutdown(
        &self,
        _: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        match self.daemon.try_send(DaemonAsk::Shutdown) {
            // One that is waiting already does the same.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {
                Ok(Response::new(ShutdownResponse {}))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ended(HubGone)),
        }
    }

    async fn reread(
        &self,
        _: Request<wire::RereadRequest>,
    ) -> Result<Response<wire::RereadResponse>, Status> {
        Err(Status::unimplemented("this agent does not do that yet"))
    }

    async fn add_group(
        &self,
        _: Request<wire::AddGroupRequest>,
    ) -> Result<Response<wire::AddGroupResponse>, Status> {
        Err(Status::unimplemented("this agent does not do that yet"))
    }

    async fn remove_group(
        &self,
        _: Request<wire::RemoveGroupRequest>,
    ) -> Result<Response<wire::RemoveGroupResponse>, Status> {
        Err(Status::unimplemented("this agent does not do that yet"))
    }

    async fn reload(
        &self,
        _: Request<wire::ReloadRequest>,
    ) -> Result<Response<wire::ReloadResponse>, Status> {
        Err(Status::unimplemented("this agent does not do that yet"))
    }

    async fn list_available(
        &self,
        _: Request<wire::ListAvailableRequest>,
    ) -> Result<Response<wire::ListAvailableResponse>, Status> {
        Err(Status::unimplemented("this agent does not do that yet"))
    }

    async fn clear_logs(
        &self,
        _: Request<wire::ClearLogsRequest>,
    ) -> Result<Response<wire::ClearLogsResponse>, Status> {
        Err(Status::unimplemented("this agent does not do that yet"))
    }

    type UpdateStream = Answers<wire::UpdateResponse>;

    async fn update(
        &self,
        _: Request<wire::UpdateRequest>,
    ) -> Result<Response<Self::UpdateStream>, Status> {
        Err(Status::unimplemented("this agent does not do that yet"))
    }

    type TailMainLogStream = Answers<wire::TailMainLogResponse>;

    async fn tail_main_log(
        &self,
        _: Request<wire::TailMainLogRequest>,
    ) -> Result<Response<Self::TailMainLogStream>, Status> {
        Err(Status::unimplemented("this agent does not do that yet"))
    }
}

/// This socket stands for one host, and no selection can name another.
fn require_this_host(hosts: Option<&HostSelection>) -> Result<(), Status> {
    match hosts {
        Some(hosts) if *hosts != HostSelection::default() => Err(only_this_host()),
        _ => Ok(()),
    }
}

fn only_this_host() -> Status {
    Status::failed_precondition(
        "this is the socket of one host: ask a controller for others (rsv --controller ADDR, or a \
         context)",
    )
}

pub(super) fn ended(gone: HubGone) -> Status {
    Status::unavailable(gone.to_string())
}

/// The span of a call, as a child of the caller's.
fn server_span(method: &'static str, metadata: &MetadataMap) -> Span {
    let span = info_span!(
        "rpc",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
    );
    telemetry::set_parent(&span, telemetry::extract(metadata.as_ref()));
    span
}
