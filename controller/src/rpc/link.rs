//! The agents' side: their sessions, their logs, their certificates.

use std::{
    pin::Pin,
    time::{Duration, SystemTime},
};

use rsv_proto::{
    name::HostName,
    wire::{
        AgentMessage, ControllerMessage, Hello, RenewRequest, RenewResponse, ServeLogRequest,
        ServeLogResponse, agent_link_server::AgentLink, agent_message::Message,
    },
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{Shared, enrollment::record};
use crate::{
    authz,
    fleet::Refused,
    host::SessionId,
    hub::{Arrival, Attach, FromAgent, HubHandle, ORDERS, Orders},
};

/// How long an agent may take to greet, or to say which log it serves.
const GREETING: Duration = Duration::from_secs(10);

/// The `AgentLink` service.
#[derive(Debug, Clone)]
pub struct LinkService(pub Shared);

#[tonic::async_trait]
impl AgentLink for LinkService {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ControllerMessage, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let host = host(&request)?;
        let serial = authz::serial(&request);
        let (orders, stream) = mpsc::channel(ORDERS);
        let words = request.into_inner();
        tokio::spawn(session(self.0.clone(), (host, serial), words, orders));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn serve_log(
        &self,
        request: Request<Streaming<ServeLogRequest>>,
    ) -> Result<Response<ServeLogResponse>, Status> {
        let host = host(&request)?;
        let mut items = request.into_inner();
        let first = tokio::time::timeout(GREETING, items.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no log was named"))??;
        let stream = first.unwrap_or_default().stream;
        let (reader, gone) = oneshot::channel();
        let arrival = Arrival { items, reader };
        self.0
            .hub
            .tell(FromAgent::Log(host, stream, arrival))
            .await?;
        // An error is the usual end: the reader has dropped its side.
        let _gone = gone.await;
        Ok(Response::new(ServeLogResponse {}))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let host = host(&request)?;
        let serial = authz::serial(&request);
        let csr = request.into_inner().csr;
        let issued = self
            .0
            .authority
            .sign_agent(&host, &csr, SystemTime::now())?;
        let certificate = record(&issued);
        let (name, new) = (host.clone(), certificate.clone());
        let renewed = self
            .0
            .archive
            .with(move |store| store.renew(&name, &serial, &new))
            .await?;
        if !renewed {
            return Err(Refused::NotEnrolled(host).into());
        }
        self.0
            .hub
            .tell(FromAgent::Renewed(host.clone(), certificate))
            .await?;
        tracing::info!(%host, serial = issued.serial, "renewed a certificate");
        let chain = issued.chain.iter().map(|c| c.to_vec()).collect();
        Ok(Response::new(RenewResponse { chain }))
    }
}

/// The host that a certificate names; no field of a message can say otherwise.
fn host<T>(request: &Request<T>) -> Result<HostName, Status> {
    let caller = authz::caller(request)?;
    let wrong = |e| Status::permission_denied(format!("the certificate names no host: {e}"));
    caller.name.parse().map_err(wrong)
}

/// Reads a session's words until either side ends it.
async fn session(
    shared: Shared,
    (host, serial): (HostName, String),
    mut words: Streaming<AgentMessage>,
    orders: Orders,
) {
    let session = SessionId(Uuid::now_v7());
    let admitted = async {
        let hello = greeting(&mut words).await?;
        let greeter = Greeter {
            shared: &shared,
            host: &host,
            serial: &serial,
            session,
            orders: &orders,
        };
        greeter.admitted(hello).await
    };
    let over = match admitted.await {
        Ok(over) => over,
        Err(status) => {
            tracing::info!(%host, reason = status.message(), "refused a session");
            // The agent may have gone meanwhile.
            drop(orders.send(Err(status)).await);
            return;
        }
    };
    drop(orders);
    let hub = shared.hub;
    let reason = over
        .run_until_cancelled(read(&hub, &host, session, &mut words))
        .await;
    if let Some(reason) = reason {
        // The hub is only ever gone when the controller stops.
        let _stopped = hub.tell(FromAgent::Ended(host, session, reason)).await;
    }
}

/// Asks the hub for a session.
struct Greeter<'a> {
    shared: &'a Shared,
    host: &'a HostName,
    serial: &'a str,
    session: SessionId,
    orders: &'a Orders,
}

impl Greeter<'_> {
    /// What tells that the session is over. A host that was removed and whose certificate is good is
    /// enrolled anew first.
    async fn admitted(&self, hello: Hello) -> Result<CancellationToken, Status> {
        match self.attach(hello.clone()).await? {
            Err(Refused::Former(_)) => {}
            admitted => return Ok(admitted?),
        }
        let (name, serial) = (self.host.clone(), self.serial.to_owned());
        let enrolled = self
            .shared
            .archive
            .with(move |store| store.readmit(&name, &serial, SystemTime::now()))
            .await?;
        if let Some(record) = enrolled {
            let host = self.host.clone();
            tracing::info!(%host, "a host that was removed is back, and is enrolled anew");
            let enrolled = FromAgent::Enrolled(host, record.enrolment());
            self.shared.hub.tell(enrolled).await?;
        }
        Ok(self.attach(hello).await??)
    }

    async fn attach(&self, hello: Hello) -> Result<Result<CancellationToken, Refused>, Status> {
        let over = CancellationToken::new();
        let (answer, admitted) = oneshot::channel();
        let attach = Attach {
            host: self.host.clone(),
            serial: self.serial.to_owned(),
            session: self.session,
            hello,
            orders: self.orders.clone(),
            over: over.clone().drop_guard(),
            answer,
        };
        self.shared.hub.tell(FromAgent::Attach(attach)).await?;
        let admitted = admitted
            .await
            .map_err(|_| Status::unavailable("the controller is shutting down"))?;
        Ok(admitted.map(|()| over))
    }
}

async fn greeting(words: &mut Streaming<AgentMessage>) -> Result<Hello, Status> {
    let first = tokio::time::timeout(GREETING, words.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no greeting came"))??;
    match first.and_then(|m| m.message) {
        Some(Message::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("a session begins with a greeting")),
    }
}

/// Hands over word by word; returns why there are no more.
async fn read(
    hub: &HubHandle,
    host: &HostName,
    session: SessionId,
    words: &mut Streaming<AgentMessage>,
) -> String {
    loop {
        let word = match words.message().await {
            Ok(Some(word)) => word,
            Ok(None) => return "the agent closed the session".into(),
            Err(status) => {
                tracing::debug!(%host, error = status.message(), "a session broke");
                return "connection lost".into();
            }
        };
        // A message of a kind that this version does not know says nothing.
        let Some(message) = word.message else {
            continue;
        };
        if hub
            .tell(FromAgent::Said(host.clone(), session, message))
            .await
            .is_err()
        {
            return "the controller is shutting down".into();
        }
    }
}
