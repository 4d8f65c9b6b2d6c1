//! A controller in this process, on loopback with real mutual TLS: what it hears goes to the test,
//! and it says what the test tells it to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use rsv_proto::tls::{self, Credentials};
use rsv_proto::wire::agent_link_server::{AgentLink, AgentLinkServer};
use rsv_proto::wire::{
    self, AgentMessage, ControllerMessage, RenewRequest, RenewResponse, ServeLogRequest,
    ServeLogResponse, agent_message::Message as Heard, controller_message::Message as Said,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use crate::identity::HostIdentity;

/// The most calls at one time on one connection, as a controller has it.
pub(super) const CALLS: u32 = 200;

/// A fleet's root, which signs everything itself.
pub(super) struct Authority {
    certificate: rustls_pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    pub(super) fn credentials(&self) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Credentials {
            chain: vec![leaf.der().clone()],
            key: key.into(),
            root: self.certificate.clone(),
        }
    }

    pub(super) fn identity(&self, controllers: &[String]) -> HostIdentity {
        HostIdentity {
            name: "web01".parse().unwrap(),
            trust_domain: "test".into(),
            controllers: controllers.to_vec(),
            credentials: self.credentials(),
        }
    }

    /// An identity whose certificate is past the half of its life.
    pub(super) fn aged_identity(&self, controllers: &[String]) -> HostIdentity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let mut identity = self.identity(controllers);
        identity.credentials.chain = vec![leaf.der().clone()];
        identity.credentials.key = key.into();
        identity
    }

    fn sign(&self, csr: Vec<u8>) -> Vec<u8> {
        let request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        request.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// One session, seen from the controller.
pub(super) struct Session {
    pub(super) heard: Streaming<AgentMessage>,
    say: mpsc::Sender<Result<ControllerMessage, Status>>,
    /// The certificate that the agent showed.
    pub(super) leaf: Vec<u8>,
}

impl Session {
    pub(super) async fn say(&self, message: Said) {
        let message = ControllerMessage {
            message: Some(message),
        };
        self.say.send(Ok(message)).await.unwrap();
    }

    /// The next word that is no heartbeat.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        loop {
            match self.heard.message().await.ok()??.message? {
                Heard::Heartbeat(_) => {}
                other => return Some(other),
            }
        }
    }

    /// Hears the hello and welcomes; gives the hello.
    pub(super) async fn welcome(&mut self, heartbeat_interval_ms: u32) -> wire::Hello {
        let Some(Heard::Hello(hello)) = self.hear().await else {
            panic!("no hello")
        };
        self.say(Said::Welcome(wire::Welcome {
            protocol: 1,
            heartbeat_interval_ms,
            sent_at: Some(rsv_proto::time::to_wire(std::time::SystemTime::now())),
            hello_sent_at: hello.sent_at,
            ..Default::default()
        }))
        .await;
        hello
    }

    /// Hears a whole snapshot.
    pub(super) async fn snapshot(&mut self) -> wire::SnapshotChunk {
        let Some(Heard::Snapshot(chunk)) = self.hear().await else {
            panic!("no snapshot")
        };
        assert!(chunk.last);
        chunk
    }
}

/// The running controller.
pub(super) struct Controller {
    pub(super) address: String,
    pub(super) sessions: mpsc::Receiver<Session>,
    pub(super) logs: mpsc::Receiver<Streaming<ServeLogRequest>>,
    task: JoinHandle<()>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Controller {
    pub(super) async fn start(authority: &Arc<Authority>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, authority)
    }

    pub(super) fn on(listener: TcpListener, authority: &Arc<Authority>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let config = tls::server_config(&authority.credentials()).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        let (incoming, connections) = mpsc::channel::<io::Result<Tls>>(8);
        let (sessions_in, sessions) = mpsc::channel(8);
        let (logs_in, logs) = mpsc::channel(8);
        let service = Service {
            authority: Arc::clone(authority),
            sessions: sessions_in,
            logs: logs_in,
        };
        let task = tokio::spawn(async move {
            let accept = async {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        incoming.send(Ok(Tls(stream))).await.ok();
                    }
                }
            };
            let serve = tonic::transport::Server::builder()
                .max_concurrent_streams(CALLS)
                .add_service(AgentLinkServer::new(service))
                .serve_with_incoming(ReceiverStream::new(connections));
            tokio::select! {
                () = accept => {}
                served = serve => served.unwrap(),
            }
        });
        Self {
            address: format!("localhost:{port}"),
            sessions,
            logs,
            task,
        }
    }
}

struct Service {
    authority: Arc<Authority>,
    sessions: mpsc::Sender<Session>,
    logs: mpsc::Sender<Streaming<ServeLogRequest>>,
}

#[tonic::async_trait]
impl AgentLink for Service {
    type AttachStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let leaf = request.extensions().get::<Leaf>().unwrap().0.clone();
        let (say, said) = mpsc::channel(64);
        let heard = request.into_inner();
        self.sessions.send(Session { heard, say, leaf }).await.ok();
        Ok(Response::new(ReceiverStream::new(said)))
    }

    async fn serve_log(
        &self,
        request: Request<Streaming<ServeLogRequest>>,
    ) -> Result<Response<ServeLogResponse>, Status> {
        self.logs.send(request.into_inner()).await.ok();
        std::future::pending().await
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let chain = vec![self.authority.sign(request.into_inner().csr)];
        Ok(Response::new(RenewResponse { chain }))
    }
}

/// The client's certificate.
#[derive(Clone)]
struct Leaf(Vec<u8>);

/// A TLS stream that tells who is on its other side.
struct Tls(TlsStream<TcpStream>);

impl Connected for Tls {
    type ConnectInfo = Leaf;

    fn connect_info(&self) -> Leaf {
        let shown = self.0.get_ref().1.peer_certificates().unwrap_or_default();
        Leaf(shown.first().map(|leaf| leaf.to_vec()).unwrap_or_default())
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
