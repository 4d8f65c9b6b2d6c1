//! What the command line and scripts call.

use std::pin::Pin;

use rsv_proto::{
    limits::PROTOCOL,
    wire::{
        ActRequest, ActResponse, AddGroupRequest, AddGroupResponse, ClearLogsRequest,
        ClearLogsResponse, ControlOperationRequest, ControlOperationResponse, GetOperationRequest,
        GetOperationResponse, GetStatusRequest, GetStatusResponse, GetVersionRequest,
        GetVersionResponse, ListAvailableRequest, ListAvailableResponse, ListHostsRequest,
        ListHostsResponse, ListOperationsRequest, ListOperationsResponse, LookRequest,
        LookResponse, ReloadRequest, ReloadResponse, RemoveGroupRequest, RemoveGroupResponse,
        RereadRequest, RereadResponse, RetryOperationRequest, SetDesiredRequest,
        SetDesiredResponse, ShutdownRequest, ShutdownResponse, TailMainLogRequest,
        TailMainLogResponse, TailRequest, TailResponse, UpdateRequest, UpdateResponse,
        WatchEventsRequest, WatchEventsResponse, WatchOperationRequest, WriteStdinRequest,
        WriteStdinResponse, fleet_server::Fleet,
    },
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{Shared, act, desired, events, look, operations, selection, tail, view};
use crate::{authz, hub::View, targets::SelectionError};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The `Fleet` service of a controller.
#[derive(Debug, Clone)]
pub struct FleetService(pub Shared);

#[tonic::async_trait]
impl Fleet for FleetService {
    async fn get_version(
        &self,
        _request: Request<GetVersionRequest>,
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
        request: Request<ListHostsRequest>,
    ) -> Result<Response<ListHostsResponse>, Status> {
        let mut selection = request.into_inner().hosts.unwrap_or_default();
        // A list of hosts is of all of them unless said otherwise.
        selection.all |= selection.include.is_empty();
        let is_all = selection.all && selection.exclude.is_empty();
        let found = match self.0.hub.view(selection).await? {
            Ok(found) => found,
            // A new fleet has no hosts, and that is an answer.
            Err(SelectionError::NoHosts) if is_all => View::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(ListHostsResponse {
            hosts: found.hosts.into_iter().map(view::host).collect(),
            missing: found.missing,
        }))
    }

    type GetStatusStream = Answers<GetStatusResponse>;

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<Self::GetStatusStream>, Status> {
        let GetStatusRequest { hosts, programs } = request.into_inner();
        let found = self.0.hub.view(selection(hosts)).await??;
        let pages = view::StatusPages::new(found, &programs)?;
        Ok(Response::new(Box::pin(tokio_stream::iter(pages.map(Ok)))))
    }

    type ActStream = Answers<ActResponse>;

    async fn act(&self, request: Request<ActRequest>) -> Result<Response<Self::ActStream>, Status> {
        let actor = authz::caller(&request)?;
        let trace = act::callers_trace(request.metadata());
        let events = act::act(&self.0, &actor, trace, request.into_inner()).await?;
        Ok(Response::new(Box::pin(events)))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let request = request.into_inner();
        let operations = operations::list(&self.0, &request).await?;
        Ok(Response::new(ListOperationsResponse { operations }))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        let operation = act::named(request.into_inner().operation)?;
        let operation = Some(self.0.hub.operation(operation).await??);
        Ok(Response::new(GetOperationResponse { operation }))
    }

    type WatchOperationStream = Answers<ActResponse>;

    async fn watch_operation(
        &self,
        request: Request<WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        let events = act::watch(&self.0, request.into_inner()).await?;
        Ok(Response::new(Box::pin(events)))
    }

    async fn control_operation(
        &self,
        request: Request<ControlOperationRequest>,
    ) -> Result<Response<ControlOperationResponse>, Status> {
        let actor = authz::caller(&request)?;
        let operation = operations::control(&self.0, &actor, request.into_inner()).await?;
        let operation = Some(operation);
        Ok(Response::new(ControlOperationResponse { operation }))
    }

    type RetryOperationStream = Answers<ActResponse>;

    async fn retry_operation(
        &self,
        request: Request<RetryOperationRequest>,
    ) -> Result<Response<Self::RetryOperationStream>, Status> {
        let actor = authz::caller(&request)?;
        let trace = act::callers_trace(request.metadata());
        let events = act::retry(&self.0, &actor, trace, request.into_inner()).await?;
        Ok(Response::new(Box::pin(events)))
    }

    async fn set_desired(
        &self,
        request: Request<SetDesiredRequest>,
    ) -> Result<Response<SetDesiredResponse>, Status> {
        let actor = authz::caller(&request)?.to_string();
        let answer = desired::set(&self.0, &actor, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    type TailStream = Answers<TailResponse>;

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let items = tail::tail(&self.0, request.into_inner()).await?;
        Ok(Response::new(Box::pin(items)))
    }

    type WatchEventsStream = Answers<WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let pages = events::watch(&self.0, request.into_inner()).await?;
        Ok(Response::new(Box::pin(pages)))
    }

    type LookStream = Answers<LookResponse>;

    async fn look(
        &self,
        request: Request<LookRequest>,
    ) -> Result<Response<Self::LookStream>, Status> {
        let answers = look::look(&self.0, request.into_inner()).await?;
        Ok(Response::new(Box::pin(answers)))
    }

    async fn shutdown(
        &self,
        _request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        Err(Status::failed_precondition(
            "an agent is shut down on its own host only: run `rsv shutdown` there",
        ))
    }

    async fn reread(
        &self,
        _request: Request<RereadRequest>,
    ) -> Result<Response<RereadResponse>, Status> {
        Err(asked_otherwise("reread", "Act"))
    }

    type UpdateStream = Answers<UpdateResponse>;

    async fn update(
        &self,
        _request: Request<UpdateRequest>,
    ) -> Result<Response<Self::UpdateStream>, Status> {
        Err(asked_otherwise("update", "Act"))
    }

    async fn add_group(
        &self,
        _request: Request<AddGroupRequest>,
    ) -> Result<Response<AddGroupResponse>, Status> {
        Err(asked_otherwise("add", "Act"))
    }

    async fn remove_group(
        &self,
        _request: Request<RemoveGroupRequest>,
    ) -> Result<Response<RemoveGroupResponse>, Status> {
        Err(asked_otherwise("remove", "Act"))
    }

    async fn reload(
        &self,
        _request: Request<ReloadRequest>,
    ) -> Result<Response<ReloadResponse>, Status> {
        Err(on_the_host_itself("reload"))
    }

    async fn list_available(
        &self,
        _request: Request<ListAvailableRequest>,
    ) -> Result<Response<ListAvailableResponse>, Status> {
        Err(asked_otherwise("avail", "Look"))
    }

    async fn clear_logs(
        &self,
        _request: Request<ClearLogsRequest>,
    ) -> Result<Response<ClearLogsResponse>, Status> {
        Err(asked_otherwise("clear", "Act"))
    }

    async fn write_stdin(
        &self,
        _request: Request<WriteStdinRequest>,
    ) -> Result<Response<WriteStdinResponse>, Status> {
        Err(on_the_host_itself("fg"))
    }

    type TailMainLogStream = Answers<TailMainLogResponse>;

    async fn tail_main_log(
        &self,
        _request: Request<TailMainLogRequest>,
    ) -> Result<Response<Self::TailMainLogStream>, Status> {
        Err(asked_otherwise("maintail", "Tail"))
    }
}

/// What concerns the configuration of a host is done there.
/// These calls are of one host; a fleet has its own.
fn asked_otherwise(verb: &str, call: &str) -> Status {
    Status::failed_precondition(format!(
        "this call of `{verb}` is for one host: a controller is asked by `{call}`"
    ))
}

fn on_the_host_itself(verb: &str) -> Status {
    Status::failed_precondition(format!(
        "`{verb}` is done on the host itself: run `rsv {verb}` there"
    ))
}
