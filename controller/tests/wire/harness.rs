//! A controller in this process, and peers that speak the wire by hand.

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair};
use rsv_controller::{
    args::InitArguments,
    ca::Authority,
    init::{AUTHORITY, init},
    serve::Controller,
    settings::Settings,
};
use rsv_proto::{
    context::Context,
    dial::dial,
    tls::{Credentials, client_config, pinned_client_config},
    token::JoinToken,
    wire::{
        AgentHeartbeat, AgentMessage, Command, CommandResult, ControllerMessage,
        CreateTokenRequest, Hello, Host, HostSelection, JoinRequest, ListHostsRequest, OpenLog,
        Outcome, ProcessState, ProcessStatus, SnapshotChunk, Step, TargetResult, Welcome,
        admin_client::AdminClient, agent_link_client::AgentLinkClient, agent_message,
        controller_message, enrollment_client::EnrollmentClient, fleet_client::FleetClient,
    },
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that has to happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// A controller and the directory it lives in.
pub(crate) struct Fleet {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) address: String,
    pub(crate) admin: Credentials,
    socket: SocketAddr,
    heartbeat: Duration,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Fleet {
    /// With heartbeats that no test waits for.
    pub(crate) async fn start() -> Self {
        Self::start_with(Duration::from_secs(60)).await
    }

    pub(crate) async fn start_with(heartbeat: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments = InitArguments {
            state_dir: directory.path().join("ctl"),
            names: vec!["localhost".into()],
            listen: "127.0.0.1:0".parse().unwrap(),
            admin: "admin".into(),
            trust_domain: Some("test".into()),
        };
        let path = init(&arguments, SystemTime::now()).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let context = Context::parse(&text, directory.path())
            .unwrap()
            .remove(0)
            .1
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = listener.local_addr().unwrap();
        let mut fleet = Self {
            directory,
            address: format!("localhost:{}", socket.port()),
            admin: context.credentials,
            socket,
            heartbeat,
            stop: CancellationToken::new(),
            served: tokio::spawn(async {}),
        };
        fleet.serve(listener);
        fleet
    }

    fn serve(&mut self, listener: TcpListener) {
        let settings = Settings {
            state_dir: self.directory.path().join("ctl"),
            names: vec!["localhost".into()],
            listen: self.socket,
            port: self.socket.port(),
            heartbeat: self.heartbeat,
            trust_domain: "test".into(),
        };
        let controller = Controller::load(settings, SystemTime::now()).unwrap();
        self.stop = CancellationToken::new();
        let stop = self.stop.clone();
        self.served = tokio::spawn(async move {
            controller.serve(listener, stop, |_| ()).await.unwrap();
        });
    }

    /// Stops the controller in order.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        soon("the controller stops", &mut self.served)
            .await
            .unwrap();
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let listener = soon("the port is free again", async {
            loop {
                match TcpListener::bind(self.socket).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let listener = listener.await;
        self.serve(listener);
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::load(&self.directory.path().join("ctl").join(AUTHORITY), "test").unwrap()
    }

    pub(crate) async fn channel(&self, credentials: &Credentials) -> Channel {
        dial(&self.address, client_config(credentials).unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn operator(&self) -> FleetClient<Channel> {
        FleetClient::new(self.channel(&self.admin).await)
    }

    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel(&self.admin).await)
    }

    pub(crate) async fn token(&self, request: CreateTokenRequest) -> JoinToken {
        let mut admin = self.admin().await;
        let made = admin.create_token(request).await.unwrap().into_inner();
        made.token.parse().unwrap()
    }

    /// Gives a host its identity, the way an agent does it.
    pub(crate) async fn join(&self, host: &str) -> Credentials {
        let token = self
            .token(CreateTokenRequest {
                host: host.into(),
                ..Default::default()
            })
            .await;
        join(&token, host).await.unwrap()
    }

    /// Joins and attaches.
    pub(crate) async fn agent(&self, host: &str) -> Agent {
        let credentials = self.join(host).await;
        let mut agent = Agent::dial(self, credentials, hello(1)).await;
        agent.welcome().await;
        agent
    }

    /// One host as the operator sees it.
    pub(crate) async fn host(&self, name: &str) -> Host {
        look(&mut self.operator().await, name).await
    }

    /// Waits until a host is as it should be.
    pub(crate) async fn eventually(&self, name: &str, is: impl Fn(&Host) -> bool) -> Host {
        let mut operator = self.operator().await;
        let waiting = async {
            loop {
                let host = look(&mut operator, name).await;
                if is(&host) {
                    return host;
                }
            }
        };
        soon(name, waiting).await
    }
}

async fn look(operator: &mut FleetClient<Channel>, name: &str) -> Host {
    let request = ListHostsRequest {
        hosts: Some(hosts(&[name])),
    };
    let listed = operator.list_hosts(request).await.unwrap().into_inner();
    listed.hosts.into_iter().next().unwrap()
}

/// Trades a token for an identity.
pub(crate) async fn join(token: &JoinToken, host: &str) -> Result<Credentials, Status> {
    let key = KeyPair::generate().unwrap();
    let channel = dial(
        &token.controllers[0],
        pinned_client_config(token.pin).unwrap(),
    )
    .await
    .unwrap();
    let request = JoinRequest {
        token_id: token.id.clone(),
        secret: token.secret.clone(),
        host: host.into(),
        csr: csr(&key),
    };
    let joined = EnrollmentClient::new(channel)
        .join(request)
        .await?
        .into_inner();
    Ok(Credentials {
        chain: joined.chain.into_iter().map(Into::into).collect(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        root: joined.root.into(),
    })
}

pub(crate) fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default()
        .serialize_request(key)
        .unwrap()
        .der()
        .to_vec()
}

pub(crate) fn hosts(patterns: &[&str]) -> HostSelection {
    HostSelection {
        include: patterns.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

pub(crate) fn hello(epoch: u64) -> Hello {
    Hello {
        epoch,
        protocol_min: 1,
        protocol_max: 1,
        version: "9.9".into(),
        instance: format!("i{epoch}"),
        ..Default::default()
    }
}

pub(crate) fn program(name: &str, state: ProcessState) -> ProcessStatus {
    ProcessStatus {
        group: name.into(),
        name: name.into(),
        state: state.into(),
        ..Default::default()
    }
}

pub(crate) fn restarted(program: &str) -> TargetResult {
    TargetResult {
        program: program.into(),
        outcome: Outcome::Done.into(),
        steps: vec![Step::Stopped.into(), Step::Started.into()],
        ..Default::default()
    }
}

/// An agent that does what its test says.
pub(crate) struct Agent {
    pub(crate) credentials: Credentials,
    pub(crate) client: AgentLinkClient<Channel>,
    words: mpsc::Sender<AgentMessage>,
    orders: Streaming<ControllerMessage>,
}

impl Agent {
    /// Dials and greets.
    pub(crate) async fn dial(fleet: &Fleet, credentials: Credentials, hello: Hello) -> Self {
        Self::try_dial(fleet, credentials, hello).await.unwrap()
    }

    /// The same; an error when the call is refused.
    pub(crate) async fn try_dial(
        fleet: &Fleet,
        credentials: Credentials,
        hello: Hello,
    ) -> Result<Self, Status> {
        let mut client = AgentLinkClient::new(fleet.channel(&credentials).await);
        let (words, stream) = mpsc::channel(100);
        words
            .send(message(agent_message::Message::Hello(hello)))
            .await
            .unwrap();
        let orders = client
            .attach(ReceiverStream::new(stream))
            .await?
            .into_inner();
        Ok(Self {
            credentials,
            client,
            words,
            orders,
        })
    }

    pub(crate) async fn say(&self, word: agent_message::Message) {
        self.words.send(message(word)).await.unwrap();
    }

    /// Waits for the controller's next heartbeat.
    pub(crate) async fn controllers_heartbeat(&mut self) {
        let order = soon("a heartbeat", self.orders.message()).await.unwrap();
        let order = order.unwrap().message.unwrap();
        assert!(
            matches!(order, controller_message::Message::Heartbeat(_)),
            "{order:?}"
        );
    }

    /// The next order that is not a heartbeat; an error when there is none any more.
    pub(crate) async fn try_next(&mut self) -> Result<controller_message::Message, Option<Status>> {
        let next = async {
            loop {
                let order = self.orders.message().await.map_err(Some)?.ok_or(None)?;
                match order.message.unwrap() {
                    controller_message::Message::Heartbeat(_) => {}
                    order => return Ok(order),
                }
            }
        };
        soon("an order", next).await
    }

    pub(crate) async fn next(&mut self) -> controller_message::Message {
        self.try_next().await.unwrap()
    }

    pub(crate) async fn welcome(&mut self) -> Welcome {
        match self.next().await {
            controller_message::Message::Welcome(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn command(&mut self) -> Command {
        match self.next().await {
            controller_message::Message::Command(command) => command,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn open_log(&mut self) -> OpenLog {
        match self.next().await {
            controller_message::Message::OpenLog(open) => open,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn snapshot(&self, epoch: u64, seq: u64, programs: Vec<ProcessStatus>) {
        let chunk = SnapshotChunk {
            epoch,
            seq,
            programs,
            last: true,
            digest: None,
        };
        self.say(agent_message::Message::Snapshot(chunk)).await;
    }

    pub(crate) async fn heartbeat(&self, seq: u64) {
        let beat = AgentHeartbeat {
            seq,
            ..Default::default()
        };
        self.say(agent_message::Message::Heartbeat(beat)).await;
    }

    /// Answers a command, and waits until the answer is acknowledged.
    pub(crate) async fn answer(&mut self, command: &Command, results: Vec<TargetResult>) {
        let result = CommandResult {
            id: command.id.clone(),
            results,
        };
        self.say(agent_message::Message::Result(result)).await;
        match self.next().await {
            controller_message::Message::ResultAck(ack) => {
                assert_eq!(ack.ids, [command.id.as_str()]);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Breaks off without a word.
    pub(crate) fn vanish(self) -> Credentials {
        self.credentials
    }
}

fn message(word: agent_message::Message) -> AgentMessage {
    AgentMessage {
        message: Some(word),
    }
}
