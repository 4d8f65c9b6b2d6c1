//! Calls of a server: one method each, with a span and the trace context of the caller, bounded
//! in time, and with failures in words.

mod trial;

use std::{future::Future, path::Path, time::Duration};

use rsv_proto::{
    limits::MESSAGE_BYTES,
    telemetry,
    wire::{
        ActRequest, ActResponse, AddGroupRequest, AvailableProcess, ClearLogsRequest,
        ControlOperationRequest, CreateTokenRequest, CreateTokenResponse, GetOperationRequest,
        GetStatusRequest, GetStatusResponse, GetVersionRequest, GetVersionResponse, GroupOutcome,
        HostSelection, HostStatus, LabelHostsRequest, LabelHostsResponse, ListAvailableRequest,
        ListHostsRequest, ListHostsResponse, ListOperationsRequest, LookRequest, LookResponse,
        Operation, ReloadRequest, ReloadResponse, RemoveGroupRequest, RemoveHostsRequest,
        RemoveHostsResponse, RereadRequest, RereadResponse, RetryOperationRequest,
        RevokeHostsRequest, RevokeHostsResponse, SetDesiredRequest, SetDesiredResponse,
        ShutdownRequest, ShutdownResponse, TailMainLogRequest, TailMainLogResponse, TailRequest,
        TailResponse, TargetResult, UpdateRequest, UpdateResponse, WatchEventsRequest,
        WatchEventsResponse, WatchOperationRequest, WriteStdinRequest, WriteStdinResponse,
        admin_client::AdminClient, control_operation_request::Control, fleet_client::FleetClient,
    },
};
use tokio::sync::mpsc;
use tonic::{
    Code, Request, Response, Status, Streaming,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::error::{Exit, Failure, is_lost, lost_trust, not_accepted, refused};

use trial::Verdict;

pub(crate) use trial::Trial;

type Traced = InterceptedService<Channel, Inject>;

/// Puts the caller's trace context into each call.
#[derive(Debug, Clone, Copy)]
struct Inject;

impl Interceptor for Inject {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        telemetry::inject(request.metadata_mut());
        Ok(request)
    }
}

/// A server of the fleet service: the agent of this machine, or a controller.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    name: String,
    channel: Channel,
    timeout: Option<Duration>,
    /// How long a question may take that is answered from memory; unbounded when absent.
    patience: Option<Duration>,
    /// What is said behind its name when it is silent, such as where its socket is.
    place: String,
    trial: Option<Trial>,
}

impl Server {
    /// Over a connection. `name` is how people know it; `timeout` bounds each call but `act` and
    /// `tail`, which have their own.
    pub(crate) fn new(name: String, channel: Channel, timeout: Option<Duration>) -> Self {
        Self {
            name,
            channel,
            timeout,
            patience: timeout,
            place: String::new(),
            trial: None,
        }
    }

    /// The agent of this machine, which has its answers to questions at hand: one that does not
    /// give them within `patience` is stopped or overloaded. `timeout` is the caller's own bound.
    pub(crate) fn at_hand(self, patience: Duration, socket: &Path) -> Self {
        Self {
            patience: Some(self.timeout.unwrap_or(patience)),
            place: format!(" (socket {})", socket.display()),
            ..self
        }
    }

    /// A controller, of which it can be found out why it ended a connection.
    pub(crate) fn with_trial(self, trial: Trial) -> Self {
        Self {
            trial: Some(trial),
            ..self
        }
    }

    /// Who answers.
    pub(crate) async fn version(&self) -> Result<GetVersionResponse, Failure> {
        let mut client = self.fleet();
        let call = client.get_version(GetVersionRequest {});
        Ok(self.call("rsv.v1.Fleet/GetVersion", call).await?.0)
    }

    /// The enrolled hosts that are selected.
    pub(crate) async fn hosts(&self, hosts: HostSelection) -> Result<ListHostsResponse, Failure> {
        let mut client = self.fleet();
        let call = client.list_hosts(ListHostsRequest { hosts: Some(hosts) });
        Ok(self.call("rsv.v1.Fleet/ListHosts", call).await?.0)
    }

    /// The state of programs, of all hosts that are selected.
    pub(crate) async fn status(
        &self,
        request: GetStatusRequest,
    ) -> Result<Vec<HostStatus>, Failure> {
        Ok(self.whole_status(request).await?.hosts)
    }

    /// As [`Server::status`], with what else the server has to say.
    pub(crate) async fn whole_status(
        &self,
        request: GetStatusRequest,
    ) -> Result<GetStatusResponse, Failure> {
        let mut client = self.fleet();
        let pages = async {
            let mut pages = client.get_status(request).await?.into_inner();
            let mut whole = GetStatusResponse::default();
            while let Some(page) = pages.message().await? {
                whole.hosts.extend(page.hosts);
                whole.programs.extend(page.programs);
                whole.notice = page.notice;
            }
            Ok(Response::new(whole))
        };
        Ok(self.call("rsv.v1.Fleet/GetStatus", pages).await?.0)
    }

    /// Begins an action.
    pub(crate) async fn act(&self, request: ActRequest) -> Result<Events<ActResponse>, Failure> {
        let mut client = self.fleet();
        let (events, span) = self.call("rsv.v1.Fleet/Act", client.act(request)).await?;
        Ok(self.events(events, span))
    }

    /// Operations, the newest first.
    pub(crate) async fn operations(
        &self,
        request: ListOperationsRequest,
    ) -> Result<Vec<Operation>, Failure> {
        let mut client = self.fleet();
        let call = client.list_operations(request);
        let answer = self.call("rsv.v1.Fleet/ListOperations", call).await?.0;
        Ok(answer.operations)
    }

    /// One operation.
    pub(crate) async fn operation(&self, operation: String) -> Result<Operation, Failure> {
        let mut client = self.fleet();
        let call = client.get_operation(GetOperationRequest { operation });
        let answer = self.call("rsv.v1.Fleet/GetOperation", call).await?.0;
        Ok(answer.operation.unwrap_or_default())
    }

    /// Begins to read what an operation does.
    pub(crate) async fn watch_operation(
        &self,
        request: WatchOperationRequest,
    ) -> Result<Events<ActResponse>, Failure> {
        let mut client = self.fleet();
        let call = client.watch_operation(request);
        let (events, span) = self.call("rsv.v1.Fleet/WatchOperation", call).await?;
        Ok(self.events(events, span))
    }

    /// Pauses, resumes or cancels an operation.
    pub(crate) async fn control_operation(
        &self,
        operation: String,
        control: Control,
    ) -> Result<Operation, Failure> {
        let mut client = self.fleet();
        let call = client.control_operation(ControlOperationRequest {
            operation,
            control: control.into(),
        });
        let answer = self.call("rsv.v1.Fleet/ControlOperation", call).await?.0;
        Ok(answer.operation.unwrap_or_default())
    }

    /// Says what is wanted of programs or hosts from now on.
    pub(crate) async fn set_desired(
        &self,
        request: SetDesiredRequest,
    ) -> Result<SetDesiredResponse, Failure> {
        let mut client = self.fleet();
        let call = client.set_desired(request);
        Ok(self.call("rsv.v1.Fleet/SetDesired", call).await?.0)
    }

    /// Begins an operation on what did not end well in another one.
    pub(crate) async fn retry_operation(
        &self,
        request: RetryOperationRequest,
    ) -> Result<Events<ActResponse>, Failure> {
        let mut client = self.fleet();
        let call = client.retry_operation(request);
        let (events, span) = self.call("rsv.v1.Fleet/RetryOperation", call).await?;
        Ok(self.events(events, span))
    }

    /// Begins to read output.
    pub(crate) async fn tail(&self, request: TailRequest) -> Result<Events<TailResponse>, Failure> {
        let mut client = self.fleet();
        let (events, span) = self.call("rsv.v1.Fleet/Tail", client.tail(request)).await?;
        Ok(self.events(events, span))
    }

    /// Asks hosts what they would do, or could.
    pub(crate) async fn look(&self, request: LookRequest) -> Result<Events<LookResponse>, Failure> {
        let mut client = self.fleet();
        let (answers, span) = self.call("rsv.v1.Fleet/Look", client.look(request)).await?;
        Ok(self.events(answers, span))
    }

    /// Begins to read events.
    pub(crate) async fn watch_events(
        &self,
        request: WatchEventsRequest,
    ) -> Result<Events<WatchEventsResponse>, Failure> {
        let mut client = self.fleet();
        let call = client.watch_events(request);
        let (events, span) = self.call("rsv.v1.Fleet/WatchEvents", call).await?;
        Ok(self.events(events, span))
    }

    /// Ends the agent and its programs.
    pub(crate) async fn shutdown(&self) -> Result<ShutdownResponse, Failure> {
        let mut client = self.fleet();
        let call = client.shutdown(ShutdownRequest {});
        Ok(self.call("rsv.v1.Fleet/Shutdown", call).await?.0)
    }

    /// Has the configuration read again, and perhaps only looked at.
    pub(crate) async fn reread(&self, look_only: bool) -> Result<RereadResponse, Failure> {
        let mut client = self.fleet();
        let call = client.reread(RereadRequest { look_only });
        Ok(self.call("rsv.v1.Fleet/Reread", call).await?.0)
    }

    /// Begins an update of these groups, or of all.
    pub(crate) async fn update(
        &self,
        groups: Vec<String>,
    ) -> Result<Events<UpdateResponse>, Failure> {
        let mut client = self.fleet();
        let call = client.update(UpdateRequest { groups });
        let (events, span) = self.call("rsv.v1.Fleet/Update", call).await?;
        Ok(self.events(events, span))
    }

    /// Adds a group.
    pub(crate) async fn add_group(&self, name: String) -> Result<GroupOutcome, Failure> {
        let mut client = self.fleet();
        let call = client.add_group(AddGroupRequest { name });
        let answer = self.call("rsv.v1.Fleet/AddGroup", call).await?.0;
        Ok(answer.outcome())
    }

    /// Removes a group.
    pub(crate) async fn remove_group(&self, name: String) -> Result<GroupOutcome, Failure> {
        let mut client = self.fleet();
        let call = client.remove_group(RemoveGroupRequest { name });
        let answer = self.call("rsv.v1.Fleet/RemoveGroup", call).await?.0;
        Ok(answer.outcome())
    }

    /// Has the agent start anew.
    pub(crate) async fn reload(&self) -> Result<ReloadResponse, Failure> {
        let mut client = self.fleet();
        let call = client.reload(ReloadRequest {});
        Ok(self.call("rsv.v1.Fleet/Reload", call).await?.0)
    }

    /// Every configured process.
    pub(crate) async fn available(&self) -> Result<Vec<AvailableProcess>, Failure> {
        let mut client = self.fleet();
        let call = client.list_available(ListAvailableRequest {});
        let answer = self.call("rsv.v1.Fleet/ListAvailable", call).await?.0;
        Ok(answer.processes)
    }

    /// Empties logs.
    pub(crate) async fn clear(&self, programs: Vec<String>) -> Result<Vec<TargetResult>, Failure> {
        let mut client = self.fleet();
        let call = client.clear_logs(ClearLogsRequest { programs });
        let answer = self.call("rsv.v1.Fleet/ClearLogs", call).await?.0;
        Ok(answer.results)
    }

    /// Writes to the standard input of a program.
    pub(crate) async fn write_stdin(
        &self,
        request: WriteStdinRequest,
    ) -> Result<WriteStdinResponse, Failure> {
        let mut client = self.fleet();
        let call = client.write_stdin(request);
        Ok(self.call("rsv.v1.Fleet/WriteStdin", call).await?.0)
    }

    /// Begins to read the agent's own log; none when it has none.
    pub(crate) async fn main_log(
        &self,
        request: TailMainLogRequest,
    ) -> Result<Option<Events<TailMainLogResponse>>, Failure> {
        let mut client = self.fleet();
        let call = async {
            match client.tail_main_log(request).await {
                Ok(response) => Ok(Response::new(Some(response.into_inner()))),
                Err(status) if status.code() == Code::NotFound => Ok(Response::new(None)),
                Err(status) => Err(status),
            }
        };
        let (pieces, span) = self.call("rsv.v1.Fleet/TailMainLog", call).await?;
        Ok(pieces.map(|pieces| self.events(pieces, span)))
    }

    /// Makes a token.
    pub(crate) async fn create_token(
        &self,
        request: CreateTokenRequest,
    ) -> Result<CreateTokenResponse, Failure> {
        let mut client = self.admin();
        let call = client.create_token(request);
        Ok(self.call("rsv.v1.Admin/CreateToken", call).await?.0)
    }

    /// Sets labels of hosts and takes them away.
    pub(crate) async fn label_hosts(
        &self,
        request: LabelHostsRequest,
    ) -> Result<LabelHostsResponse, Failure> {
        let mut client = self.admin();
        let call = client.label_hosts(request);
        Ok(self.call("rsv.v1.Admin/LabelHosts", call).await?.0)
    }

    /// Refuses hosts from now on.
    pub(crate) async fn revoke_hosts(
        &self,
        request: RevokeHostsRequest,
    ) -> Result<RevokeHostsResponse, Failure> {
        let mut client = self.admin();
        let call = client.revoke_hosts(request);
        Ok(self.call("rsv.v1.Admin/RevokeHosts", call).await?.0)
    }

    /// Forgets hosts.
    pub(crate) async fn remove_hosts(
        &self,
        request: RemoveHostsRequest,
    ) -> Result<RemoveHostsResponse, Failure> {
        let mut client = self.admin();
        let call = client.remove_hosts(request);
        Ok(self.call("rsv.v1.Admin/RemoveHosts", call).await?.0)
    }

    fn admin(&self) -> AdminClient<Traced> {
        AdminClient::with_interceptor(self.channel.clone(), Inject)
            .max_decoding_message_size(MESSAGE_BYTES)
    }

    fn fleet(&self) -> FleetClient<Traced> {
        FleetClient::with_interceptor(self.channel.clone(), Inject)
            .max_decoding_message_size(MESSAGE_BYTES)
    }

    fn events<T>(&self, stream: Streaming<T>, span: Span) -> Events<T> {
        Events(Source::Stream {
            stream: Box::new(stream),
            server: self.name.clone(),
            span,
        })
    }

    /// One call in a span of its own. The span is given back so that a stream can stay in it.
    async fn call<R>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<(R, Span), Failure> {
        let span = info_span!(
            "call",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = Empty,
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.status_code = Empty,
            server.address = Empty,
            server.port = Empty,
        );
        if let Some((host, port)) = self.trial.as_ref().and_then(Trial::host_and_port) {
            span.record("server.address", host);
            span.record("server.port", port);
        }
        let limit = match is_question(method) {
            true => self.patience,
            false => self.timeout,
        };
        let answer = match limit {
            Some(limit) => tokio::time::timeout(limit, call.instrument(span.clone())).await,
            None => Ok(call.instrument(span.clone()).await),
        };
        match answer {
            Ok(Ok(response)) => {
                span.record("rpc.status_code", "OK");
                Ok((response.into_inner(), span))
            }
            Ok(Err(status)) => {
                record_failure(&span, status.code());
                Err(self.explained(&status).await)
            }
            Err(_late) => {
                record_failure(&span, Code::DeadlineExceeded);
                Err(self.silent(limit.unwrap_or_default()))
            }
        }
    }

    fn silent(&self, limit: Duration) -> Failure {
        let words = format!("{} does not answer{}", self.name, self.place);
        Failure::new(Exit::NoAnswer, words).hint(format!(
            "nothing came within {limit:?}: it may be stopped or overloaded; --timeout 1m waits for \
             longer"
        ))
    }

    /// Why a call failed. A connection that broke may have been ended over our certificate, which
    /// only another look tells.
    async fn explained(&self, status: &Status) -> Failure {
        let failure = refused(&self.name, status);
        match (&self.trial, status.code()) {
            (Some(trial), _) if is_lost(status) => match trial.verdict().await {
                Some(Verdict::Alert(alert)) => lost_trust(&self.name, alert),
                Some(Verdict::Closed(why)) => not_accepted(&self.name, &why),
                None => failure,
            },
            (None, Code::PermissionDenied) => failure.hint("only the agent's user and root may"),
            _ => failure,
        }
    }
}

/// What a server sends as it happens.
pub(crate) struct Events<T>(Source<T>);

enum Source<T> {
    Stream {
        stream: Box<Streaming<T>>,
        server: String,
        span: Span,
    },
    /// Made of the answers to several calls.
    Queue(mpsc::Receiver<Result<T, Failure>>),
}

impl<T> Events<T> {
    /// Those that somebody puts into a queue.
    pub(crate) fn queued(queue: mpsc::Receiver<Result<T, Failure>>) -> Self {
        Self(Source::Queue(queue))
    }

    /// The next one; none after the last. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Failure> {
        match &mut self.0 {
            Source::Queue(queue) => queue.recv().await.transpose(),
            Source::Stream {
                stream,
                server,
                span,
            } => stream.message().await.map_err(|status| {
                record_failure(span, status.code());
                refused(server, &status)
            }),
        }
    }
}

/// Whether a call asks for what the other side knows, and does nothing.
fn is_question(method: &str) -> bool {
    matches!(
        method,
        "rsv.v1.Fleet/GetVersion" | "rsv.v1.Fleet/GetStatus" | "rsv.v1.Fleet/ListHosts"
    )
}

fn record_failure(span: &Span, code: Code) {
    span.record("otel.status_code", "ERROR");
    span.record("rpc.status_code", format!("{code:?}"));
}
