//! Calls of the `Fleet` service, translated to the hub and back.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt as _};
use rsv_proto::limits::PROTOCOL;
use rsv_proto::telemetry;
use rsv_proto::time::to_wire;
use rsv_proto::wire::{
    self, ActRequest, ActResponse, GetStatusRequest, GetStatusResponse, GetVersionRequest,
    GetVersionResponse, GroupOutcome, HostSelection, HostState, ListHostsRequest,
    ListHostsResponse, ShutdownRequest, ShutdownResponse, TailRequest, TailResponse,
    fleet_server::Fleet,
    update_response::{Event as UpdateEvent, ShuttingDown},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::{Instrument as _, Span, info_span};

use super::{DaemonAsk, Owners};
use super::{act, configuration, events, main_log, stdin};
use crate::hub::{HubGone, Key};
use crate::logbook::LogBook;
use crate::roster::Keep;
use crate::tail::{self, TailError};

/// The service.
#[derive(Debug)]
pub(super) struct LocalFleet {
    owners: Owners,
    logbook: LogBook,
    operations: act::Operations,
}

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl LocalFleet {
    /// Adds what only the one who serves event listeners knows.
    async fn show_listeners(&self, status: &mut wire::HostStatus) {
        let mut view = self.owners.listeners.view().await;
        if view.is_empty() {
            return;
        }
        for program in &mut status.programs {
            program.listener = view.remove(&Key {
                group: program.group.clone(),
                name: program.name.clone(),
            });
        }
    }

    pub(super) fn new(owners: Owners) -> Self {
        Self {
            logbook: owners.capture.logbook(),
            owners,
            operations: act::Operations::default(),
        }
    }

    /// The daemon takes no more asks: it is on its way to its end.
    fn is_ending(&self) -> bool {
        self.owners.daemon.is_closed()
    }

    fn notice(&self) -> String {
        let standing = self.owners.roster.standing().notice.clone();
        if !self.owners.hub.is_without_keeper() {
            return standing;
        }
        let missing = "there is no keeper, and nothing can be started: the main log says why";
        [missing, &standing]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("; ")
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
            notice: self.notice(),
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
            .owners
            .hub
            .status(&request.programs)
            .instrument(span)
            .await
            .map_err(ended)?;
        status.set_state(HostState::Connected);
        status.as_of = Some(to_wire(std::time::SystemTime::now()));
        self.show_listeners(&mut status).await;
        let page = GetStatusResponse {
            hosts: vec![status],
            notice: self.notice(),
            programs: Vec::new(),
        };
        Ok(Response::new(stream::iter([Ok(page)]).boxed()))
    }

    async fn act(&self, request: Request<ActRequest>) -> Result<Response<Self::ActStream>, Status> {
        let span = server_span("rsv.v1.Fleet/Act", request.metadata());
        let request = request.into_inner();
        require_this_host(request.hosts.as_ref())?;
        let events = act::begin(&self.owners.hub, &self.operations, request)
            .instrument(span)
            .await?;
        Ok(Response::new(events.map(Ok).boxed()))
    }

    async fn list_operations(
        &self,
        _: Request<wire::ListOperationsRequest>,
    ) -> Result<Response<wire::ListOperationsResponse>, Status> {
        Err(operations_are_the_controllers())
    }

    async fn get_operation(
        &self,
        _: Request<wire::GetOperationRequest>,
    ) -> Result<Response<wire::GetOperationResponse>, Status> {
        Err(operations_are_the_controllers())
    }

    type WatchOperationStream = Answers<ActResponse>;

    async fn watch_operation(
        &self,
        _: Request<wire::WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        Err(operations_are_the_controllers())
    }

    async fn set_desired(
        &self,
        _: Request<wire::SetDesiredRequest>,
    ) -> Result<Response<wire::SetDesiredResponse>, Status> {
        Err(Status::failed_precondition(
            "what is wanted of hosts is the controller's: name hosts with --host",
        ))
    }

    async fn control_operation(
        &self,
        _: Request<wire::ControlOperationRequest>,
    ) -> Result<Response<wire::ControlOperationResponse>, Status> {
        Err(operations_are_the_controllers())
    }

    type RetryOperationStream = Answers<ActResponse>;

    async fn retry_operation(
        &self,
        _: Request<wire::RetryOperationRequest>,
    ) -> Result<Response<Self::RetryOperationStream>, Status> {
        Err(operations_are_the_controllers())
    }

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let request = request.into_inner();
        require_this_host(request.hosts.as_ref())?;
        let items = tail::open(&self.owners.hub, &self.logbook, &request)
            .await
            .map_err(|error| match error {
                TailError::Request(why) => Status::invalid_argument(why),
                TailError::Gone(gone) => ended(gone),
            })?;
        Ok(Response::new(items.map(Ok).boxed()))
    }

    type WatchEventsStream = Answers<wire::WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<wire::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let request = request.into_inner();
        require_this_host(request.hosts.as_ref())?;
        let answers = events::watch(self.owners.hub.journal(), &request)?;
        Ok(Response::new(answers))
    }

    type LookStream = Answers<wire::LookResponse>;

    async fn look(
        &self,
        _: Request<wire::LookRequest>,
    ) -> Result<Response<Self::LookStream>, Status> {
        Err(only_this_host())
    }

    async fn shutdown(
        &self,
        _: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        // Whatever is asked of the daemon ends what runs: after the first ask there is nothing to add.
        let asked = self.owners.daemon.try_send(DaemonAsk::Shutdown);
        let shutting_down = asked.is_err();
        Ok(Response::new(ShutdownResponse { shutting_down }))
    }

    async fn reread(
        &self,
        request: Request<wire::RereadRequest>,
    ) -> Result<Response<wire::RereadResponse>, Status> {
        if self.is_ending() {
            return Ok(Response::new(wire::RereadResponse {
                shutting_down: true,
                ..Default::default()
            }));
        }
        let span = server_span("rsv.v1.Fleet/Reread", request.metadata());
        let keep = match request.into_inner().look_only {
            true => Keep::No,
            false => Keep::Yes,
        };
        let reread = configuration::reread(&self.owners.roster, keep);
        Ok(Response::new(reread.instrument(span).await))
    }

    type UpdateStream = Answers<wire::UpdateResponse>;

    async fn update(
        &self,
        request: Request<wire::UpdateRequest>,
    ) -> Result<Response<Self::UpdateStream>, Status> {
        let span = server_span("rsv.v1.Fleet/Update", request.metadata());
        let groups = request.into_inner().groups;
        let update = match self.is_ending() {
            true => Err(HubGone),
            false => self.owners.roster.update(groups).instrument(span).await,
        };
        let events = match update {
            Ok(events) => ReceiverStream::new(events).map(Ok).boxed(),
            Err(HubGone) => {
                let event = UpdateEvent::ShuttingDown(ShuttingDown {});
                stream::iter([Ok(wire::UpdateResponse { event: Some(event) })]).boxed()
            }
        };
        Ok(Response::new(events))
    }

    async fn add_group(
        &self,
        request: Request<wire::AddGroupRequest>,
    ) -> Result<Response<wire::AddGroupResponse>, Status> {
        let span = server_span("rsv.v1.Fleet/AddGroup", request.metadata());
        let name = request.into_inner().name;
        let outcome = match self.is_ending() {
            true => Err(HubGone),
            false => self.owners.roster.add(&name).instrument(span).await,
        };
        let outcome = outcome.unwrap_or(GroupOutcome::ShuttingDown).into();
        Ok(Response::new(wire::AddGroupResponse { outcome }))
    }

    async fn remove_group(
        &self,
        request: Request<wire::RemoveGroupRequest>,
    ) -> Result<Response<wire::RemoveGroupResponse>, Status> {
        let span = server_span("rsv.v1.Fleet/RemoveGroup", request.metadata());
        let name = request.into_inner().name;
        let outcome = match self.is_ending() {
            true => Err(HubGone),
            false => self.owners.roster.remove(&name).instrument(span).await,
        };
        let outcome = outcome.unwrap_or(GroupOutcome::ShuttingDown).into();
        Ok(Response::new(wire::RemoveGroupResponse { outcome }))
    }

    async fn reload(
        &self,
        request: Request<wire::ReloadRequest>,
    ) -> Result<Response<wire::ReloadResponse>, Status> {
        let span = server_span("rsv.v1.Fleet/Reload", request.metadata());
        if self.is_ending() {
            return Ok(Response::new(wire::ReloadResponse {
                shutting_down: true,
                ..Default::default()
            }));
        }
        let reload = configuration::reload(&self.owners.roster, &self.owners.daemon);
        Ok(Response::new(reload.instrument(span).await))
    }

    async fn list_available(
        &self,
        _: Request<wire::ListAvailableRequest>,
    ) -> Result<Response<wire::ListAvailableResponse>, Status> {
        let standing = self.owners.roster.standing();
        Ok(Response::new(configuration::available(&standing)))
    }

    async fn clear_logs(
        &self,
        request: Request<wire::ClearLogsRequest>,
    ) -> Result<Response<wire::ClearLogsResponse>, Status> {
        let programs = request.into_inner().programs;
        let cleared = super::clear(&self.owners.hub, &self.owners.capture, &programs);
        Ok(Response::new(cleared.await.map_err(ended)?))
    }

    async fn write_stdin(
        &self,
        request: Request<wire::WriteStdinRequest>,
    ) -> Result<Response<wire::WriteStdinResponse>, Status> {
        let written = stdin::write(&self.owners.hub, request.into_inner()).await;
        written.map(Response::new).map_err(ended)
    }

    type TailMainLogStream = Answers<wire::TailMainLogResponse>;

    async fn tail_main_log(
        &self,
        request: Request<wire::TailMainLogRequest>,
    ) -> Result<Response<Self::TailMainLogStream>, Status> {
        let request = request.into_inner();
        let written = self.owners.log.written();
        let answers = main_log::open(self.owners.main_log.as_deref(), written, &request).await?;
        Ok(Response::new(answers))
    }
}

/// This socket stands for one host, and no selection can name another.
fn require_this_host(hosts: Option<&HostSelection>) -> Result<(), Status> {
    match hosts {
        Some(hosts) if *hosts != HostSelection::default() => Err(only_this_host()),
        _ => Ok(()),
    }
}

fn operations_are_the_controllers() -> Status {
    Status::failed_precondition(
        "operations are kept by a controller: ask it (rsv op, with a context)",
    )
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
