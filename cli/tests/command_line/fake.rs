//! A fleet service that answers from fixed data and remembers what it was asked.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use rsv_proto::wire::{
    self, ActRequest, ActResponse, AddGroupRequest, AddGroupResponse, ClearLogsRequest,
    ClearLogsResponse, ControlOperationRequest, ControlOperationResponse, CreateTokenRequest,
    CreateTokenResponse, GetOperationRequest, GetOperationResponse, GetStatusRequest,
    GetStatusResponse, GetVersionRequest, GetVersionResponse, GroupOutcome, Host, HostStatus,
    LabelHostsRequest, LabelHostsResponse, ListAvailableRequest, ListAvailableResponse,
    ListHostsRequest, ListHostsResponse, ListOperationsRequest, ListOperationsResponse, Operation,
    ReloadRequest, ReloadResponse, RemoveGroupRequest, RemoveGroupResponse, RemoveHostsRequest,
    RemoveHostsResponse, RereadRequest, RereadResponse, RetryOperationRequest, RevokeHostsRequest,
    RevokeHostsResponse, SetDesiredRequest, SetDesiredResponse, ShutdownRequest, ShutdownResponse,
    TailMainLogRequest, TailMainLogResponse, TailRequest, TailResponse, TargetResult,
    UpdateRequest, UpdateResponse, WatchEventsRequest, WatchEventsResponse, WatchOperationRequest,
    WriteStdinRequest, WriteStdinResponse,
    act_response::{Accepted, Event, Finished},
    admin_server::Admin,
    fleet_server::Fleet,
    look_response::Seen,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

/// The answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Of GetStatus, one page a host.
    pub(crate) status: Vec<HostStatus>,
    /// Of ListHosts.
    pub(crate) hosts: Vec<Host>,
    /// The names of ListHosts that no enrolled host has.
    pub(crate) missing: Vec<String>,
    /// The hosts that an action reaches.
    pub(crate) reached: Vec<String>,
    /// The results of an action, by the pattern that has to be among its programs.
    pub(crate) results: Vec<(&'static str, TargetResult)>,
    /// What else is said of an action that is accepted.
    pub(crate) accepted: Accepted,
    /// Events of an action after its results.
    pub(crate) story: Vec<Event>,
    /// Of an action.
    pub(crate) finished: Finished,
    /// Of ListOperations.
    pub(crate) operations: Vec<Operation>,
    /// Whether streams of actions and of output stay open after the last item.
    pub(crate) holds: bool,
    /// Whether an action's stream ends without its end.
    pub(crate) breaks_off: bool,
    /// Of Tail.
    pub(crate) tail: Vec<TailResponse>,
    /// Of Tail from a certain place.
    pub(crate) tail_from: Vec<TailResponse>,
    /// What every call is refused with.
    pub(crate) refusal: Option<Status>,
    /// What an agent has to say to all who use it.
    pub(crate) notice: String,
    /// Of Reread.
    pub(crate) reread: RereadResponse,
    /// Of Update.
    pub(crate) update: Vec<UpdateResponse>,
    /// Of AddGroup and RemoveGroup, by the name; any other is done.
    pub(crate) groups: Vec<(&'static str, GroupOutcome)>,
    /// Of Shutdown.
    pub(crate) shutdown: ShutdownResponse,
    /// Of Reload.
    pub(crate) reload: ReloadResponse,
    /// Of ListAvailable.
    pub(crate) available: ListAvailableResponse,
    /// Of ClearLogs, by the pattern.
    pub(crate) cleared: Vec<(&'static str, TargetResult)>,
    /// Of WatchEvents.
    pub(crate) events: Vec<WatchEventsResponse>,
    /// Of TailMainLog.
    pub(crate) main_log: Vec<TailMainLogResponse>,
}

/// The service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake {
    answers: Arc<Answers>,
    acts: Arc<Mutex<Vec<ActRequest>>>,
    tails: Arc<Mutex<Vec<TailRequest>>>,
    watches: Arc<Mutex<Vec<WatchEventsRequest>>>,
    tokens: Arc<Mutex<Vec<CreateTokenRequest>>>,
    revocations: Arc<Mutex<Vec<RevokeHostsRequest>>>,
    updates: Arc<Mutex<Vec<UpdateRequest>>>,
    controls: Arc<Mutex<Vec<ControlOperationRequest>>>,
    retries: Arc<Mutex<Vec<RetryOperationRequest>>>,
    typed: Arc<Mutex<Vec<WriteStdinRequest>>>,
}

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn items<T: Send + 'static>(items: Vec<T>, holds: bool) -> Response<Items<T>> {
    let items = tokio_stream::iter(items.into_iter().map(Ok));
    Response::new(match holds {
        true => Box::pin(items.chain(tokio_stream::pending())),
        false => Box::pin(items),
    })
}

impl Fake {
    /// With these answers.
    pub(crate) fn new(answers: Answers) -> Self {
        Self {
            answers: Arc::new(answers),
            ..Self::default()
        }
    }

    /// The actions that were asked for.
    pub(crate) fn acts(&self) -> Vec<ActRequest> {
        self.acts.lock().unwrap().clone()
    }

    /// What was to be written to programs.
    pub(crate) fn typed(&self) -> Vec<WriteStdinRequest> {
        self.typed.lock().unwrap().clone()
    }

    /// The output that was asked for.
    pub(crate) fn tails(&self) -> Vec<TailRequest> {
        self.tails.lock().unwrap().clone()
    }

    /// The events that were asked for.
    pub(crate) fn watches(&self) -> Vec<WatchEventsRequest> {
        self.watches.lock().unwrap().clone()
    }

    /// The revocations that were asked for.
    pub(crate) fn revocations(&self) -> Vec<RevokeHostsRequest> {
        self.revocations.lock().unwrap().clone()
    }

    /// A result for each host that is reached.
    fn whole_hosts(&self) -> Vec<TargetResult> {
        let result = |host: &String| TargetResult {
            host: host.clone(),
            outcome: wire::Outcome::Done.into(),
            ..Default::default()
        };
        self.answers.reached.iter().map(result).collect()
    }

    /// The tokens that were asked for.
    pub(crate) fn tokens(&self) -> Vec<CreateTokenRequest> {
        self.tokens.lock().unwrap().clone()
    }

    /// What was to be done to operations.
    pub(crate) fn controls(&self) -> Vec<ControlOperationRequest> {
        self.controls.lock().unwrap().clone()
    }

    /// What was to be tried again.
    pub(crate) fn retries(&self) -> Vec<RetryOperationRequest> {
        self.retries.lock().unwrap().clone()
    }

    /// The story of the one operation that there is.
    fn story(&self, detached: bool) -> Vec<ActResponse> {
        let mut events = vec![Event::Accepted(Accepted {
            operation: "01JDG7M2".into(),
            hosts: self.answers.reached.clone(),
            joined: true,
            ..self.answers.accepted.clone()
        })];
        if !detached {
            let results = self.answers.results.iter();
            events.extend(results.map(|(_, result)| Event::Result(result.clone())));
            events.extend(self.answers.story.clone());
            if !self.answers.holds {
                events.push(Event::Finished(self.answers.finished.clone()));
            }
        }
        let response = |event| ActResponse { event: Some(event) };
        events.into_iter().map(response).collect()
    }

    fn operation(&self, id: &str) -> Result<Operation, Status> {
        let mut known = self.answers.operations.iter();
        let found = known
            .find(|operation| operation.id.starts_with(id))
            .cloned();
        found.ok_or_else(|| Status::not_found(format!("no operation `{id}` is known")))
    }

    /// The updates that were asked for.
    pub(crate) fn updates(&self) -> Vec<UpdateRequest> {
        self.updates.lock().unwrap().clone()
    }

    fn outcome(&self, name: &str) -> i32 {
        let mut known = self.answers.groups.iter();
        let outcome = known.find(|(known, _)| *known == name);
        outcome
            .map_or(GroupOutcome::Done, |(_, outcome)| *outcome)
            .into()
    }

    fn allowed(&self) -> Result<(), Status> {
        self.answers.refusal.clone().map_or(Ok(()), Err)
    }
}

#[tonic::async_trait]
impl Fleet for Fake {
    type GetStatusStream = Items<GetStatusResponse>;
    type ActStream = Items<ActResponse>;
    type TailStream = Items<TailResponse>;

    async fn get_version(
        &self,
        _request: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Status> {
        self.allowed()?;
        Ok(Response::new(GetVersionResponse {
            version: "9.8.7".into(),
            protocol_min: 1,
            protocol_max: 1,
            pid: 4321,
            notice: self.answers.notice.clone(),
        }))
    }

    async fn list_hosts(
        &self,
        _request: Request<ListHostsRequest>,
    ) -> Result<Response<ListHostsResponse>, Status> {
        self.allowed()?;
        let hosts = self.answers.hosts.clone();
        let missing = self.answers.missing.clone();
        Ok(Response::new(ListHostsResponse { hosts, missing }))
    }

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<Self::GetStatusStream>, Status> {
        self.allowed()?;
        let page = |host: &HostStatus| GetStatusResponse {
            hosts: vec![host.clone()],
            notice: self.answers.notice.clone(),
            programs: Vec::new(),
        };
        Ok(items(self.answers.status.iter().map(page).collect(), false))
    }

    async fn act(&self, request: Request<ActRequest>) -> Result<Response<Self::ActStream>, Status> {
        self.allowed()?;
        let request = request.into_inner();
        let joined = {
            let mut acts = self.acts.lock().unwrap();
            let key = &request.idempotency_key;
            let joined = !key.is_empty() && acts.iter().any(|act| act.idempotency_key == *key);
            acts.push(request.clone());
            joined
        };
        let reached = self.answers.reached.len();
        if request.expect_hosts.is_some_and(|n| n as usize != reached) {
            let text = format!("the selection is {reached} hosts");
            return Err(Status::failed_precondition(text));
        }
        let mut events = vec![Event::Accepted(Accepted {
            operation: "01JDG7M2".into(),
            hosts: self.answers.reached.clone(),
            joined,
            ..self.answers.accepted.clone()
        })];
        if !request.dry_run {
            let asked = |pattern: &str| request.programs.iter().any(|p| p == pattern);
            let results = self.answers.results.iter().filter(|(p, _)| asked(p));
            events.extend(results.map(|(_, result)| Event::Result(result.clone())));
            events.extend(self.answers.story.clone());
        }
        if request.detach {
            events.truncate(1);
        } else if !self.answers.breaks_off && !self.answers.holds {
            events.push(Event::Finished(self.answers.finished.clone()));
        }
        let response = |event| ActResponse { event: Some(event) };
        Ok(items(
            events.into_iter().map(response).collect(),
            self.answers.holds,
        ))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        self.allowed()?;
        let mut operations = self.answers.operations.clone();
        operations.retain(|o| !request.get_ref().active || o.elapsed.is_none());
        Ok(Response::new(ListOperationsResponse { operations }))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        self.allowed()?;
        let operation = Some(self.operation(&request.into_inner().operation)?);
        Ok(Response::new(GetOperationResponse { operation }))
    }

    type WatchOperationStream = Items<ActResponse>;

    async fn watch_operation(
        &self,
        request: Request<WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        self.allowed()?;
        self.operation(&request.into_inner().operation)?;
        Ok(items(self.story(false), self.answers.holds))
    }

    async fn set_desired(
        &self,
        _: Request<SetDesiredRequest>,
    ) -> Result<Response<SetDesiredResponse>, Status> {
        self.allowed()?;
        Ok(Response::new(SetDesiredResponse {
            results: self.whole_hosts(),
            ..Default::default()
        }))
    }

    async fn control_operation(
        &self,
        request: Request<ControlOperationRequest>,
    ) -> Result<Response<ControlOperationResponse>, Status> {
        self.allowed()?;
        let request = request.into_inner();
        let operation = Some(self.operation(&request.operation)?);
        self.controls.lock().unwrap().push(request);
        Ok(Response::new(ControlOperationResponse { operation }))
    }

    type RetryOperationStream = Items<ActResponse>;

    async fn retry_operation(
        &self,
        request: Request<RetryOperationRequest>,
    ) -> Result<Response<Self::RetryOperationStream>, Status> {
        self.allowed()?;
        let request = request.into_inner();
        self.operation(&request.operation)?;
        let story = self.story(request.detach);
        self.retries.lock().unwrap().push(request);
        Ok(items(story, self.answers.holds))
    }

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        self.allowed()?;
        let request = request.into_inner();
        let output = match request.from {
            Some(_) => {
                let hosts = request.hosts.clone().unwrap_or_default().include;
                let of_them =
                    |said: &&TailResponse| said.host.is_empty() || hosts.contains(&said.host);
                let answers = self.answers.tail_from.iter();
                answers.filter(of_them).cloned().collect()
            }
            None => self.answers.tail.clone(),
        };
        self.tails.lock().unwrap().push(request);
        Ok(items(output, self.answers.holds))
    }

    type WatchEventsStream = Items<WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.allowed()?;
        let request = request.into_inner();
        let holds = request.follow;
        self.watches.lock().unwrap().push(request);
        Ok(items(self.answers.events.clone(), holds))
    }

    async fn shutdown(
        &self,
        _request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        self.allowed()?;
        Ok(Response::new(self.answers.shutdown))
    }

    async fn reread(
        &self,
        _request: Request<RereadRequest>,
    ) -> Result<Response<RereadResponse>, Status> {
        self.allowed()?;
        Ok(Response::new(self.answers.reread.clone()))
    }

    type UpdateStream = Items<UpdateResponse>;

    async fn update(
        &self,
        request: Request<UpdateRequest>,
    ) -> Result<Response<Self::UpdateStream>, Status> {
        self.allowed()?;
        self.updates.lock().unwrap().push(request.into_inner());
        Ok(items(self.answers.update.clone(), false))
    }

    async fn add_group(
        &self,
        request: Request<AddGroupRequest>,
    ) -> Result<Response<AddGroupResponse>, Status> {
        self.allowed()?;
        let outcome = self.outcome(&request.into_inner().name);
        Ok(Response::new(AddGroupResponse { outcome }))
    }

    async fn remove_group(
        &self,
        request: Request<RemoveGroupRequest>,
    ) -> Result<Response<RemoveGroupResponse>, Status> {
        self.allowed()?;
        let outcome = self.outcome(&request.into_inner().name);
        Ok(Response::new(RemoveGroupResponse { outcome }))
    }

    async fn reload(
        &self,
        _request: Request<ReloadRequest>,
    ) -> Result<Response<ReloadResponse>, Status> {
        self.allowed()?;
        Ok(Response::new(self.answers.reload.clone()))
    }

    async fn list_available(
        &self,
        _request: Request<ListAvailableRequest>,
    ) -> Result<Response<ListAvailableResponse>, Status> {
        self.allowed()?;
        Ok(Response::new(self.answers.available.clone()))
    }

    async fn clear_logs(
        &self,
        request: Request<ClearLogsRequest>,
    ) -> Result<Response<ClearLogsResponse>, Status> {
        self.allowed()?;
        let asked = request.into_inner().programs;
        let known = self.answers.cleared.iter();
        let results = known
            .filter(|(pattern, _)| asked.iter().any(|asked| asked == pattern))
            .map(|(_, result)| result.clone())
            .collect();
        Ok(Response::new(ClearLogsResponse { results }))
    }

    type LookStream = Items<wire::LookResponse>;

    async fn look(
        &self,
        request: Request<wire::LookRequest>,
    ) -> Result<Response<Self::LookStream>, Status> {
        self.allowed()?;
        let seen = match request.into_inner().look() {
            wire::Look::Available => Seen::Available(self.answers.available.clone()),
            wire::Look::Plan | wire::Look::Unspecified => Seen::Plan(RereadResponse::default()),
        };
        let hosts = self.answers.reached.iter();
        let said = hosts.map(|host| wire::LookResponse {
            host: host.clone(),
            seen: Some(seen.clone()),
        });
        Ok(items(said.collect(), self.answers.holds))
    }

    async fn write_stdin(
        &self,
        request: Request<WriteStdinRequest>,
    ) -> Result<Response<WriteStdinResponse>, Status> {
        self.allowed()?;
        self.typed.lock().unwrap().push(request.into_inner());
        Ok(Response::new(WriteStdinResponse::default()))
    }

    type TailMainLogStream = Items<TailMainLogResponse>;

    async fn tail_main_log(
        &self,
        _request: Request<TailMainLogRequest>,
    ) -> Result<Response<Self::TailMainLogStream>, Status> {
        self.allowed()?;
        match self.answers.main_log.is_empty() {
            true => Err(Status::not_found("there is no main log")),
            false => Ok(items(self.answers.main_log.clone(), self.answers.holds)),
        }
    }
}

#[tonic::async_trait]
impl Admin for Fake {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        self.allowed()?;
        self.tokens.lock().unwrap().push(request.into_inner());
        Ok(Response::new(CreateTokenResponse {
            token: "rsv1.token".into(),
            expires: None,
        }))
    }

    async fn label_hosts(
        &self,
        _: Request<LabelHostsRequest>,
    ) -> Result<Response<LabelHostsResponse>, Status> {
        self.allowed()?;
        Ok(Response::new(LabelHostsResponse {
            results: self.whole_hosts(),
            missing: Vec::new(),
        }))
    }

    async fn revoke_hosts(
        &self,
        request: Request<RevokeHostsRequest>,
    ) -> Result<Response<RevokeHostsResponse>, Status> {
        self.allowed()?;
        self.revocations.lock().unwrap().push(request.into_inner());
        Ok(Response::new(RevokeHostsResponse {
            results: self.whole_hosts(),
            missing: Vec::new(),
        }))
    }

    async fn remove_hosts(
        &self,
        _: Request<RemoveHostsRequest>,
    ) -> Result<Response<RemoveHostsResponse>, Status> {
        self.allowed()?;
        Ok(Response::new(RemoveHostsResponse {
            results: self.whole_hosts(),
            missing: Vec::new(),
        }))
    }
}
