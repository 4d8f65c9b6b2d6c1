//! The assembly: which task owns what is wired here and nowhere else, and taken apart in order.
//!
//! | task | owns | ends when |
//! |---|---|---|
//! | hub | fleet, operations, sessions' sending ends | nobody can ask it any more |
//! | session (one each) | the reading end of a session | the stream ends, or the hub drops the session |
//! | writer | the batch of steps of operations that is being written | the hub has ended |
//! | recorder | epochs that are to be remembered | the hub has ended |
//! | events (a thread) | the files of events | the hub has ended |
//! | keeper of notes | the batch of what is known of hosts that is being written | the hub has ended |
//! | renewal | the controller's own certificate | the controller stops |
//! | acceptor, handshake | the socket; a connection until TLS is complete | the controller stops |
//! | source (one each) | a reader's place in an output | the source ends, or its reader goes |
//!
//! Stopping: no new connections, sessions are dismissed, lasting calls end, the
//! rest is waited for, a while; then the store is closed.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rsv_proto::{
    limits::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_BYTES},
    name::HostName,
    tls::{Credentials, TlsError, server_config},
    wire::{
        Event, admin_server::AdminServer, agent_link_server::AgentLinkServer,
        enrollment_server::EnrollmentServer, fleet_server::FleetServer,
    },
};
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};

use crate::{
    authz::GateLayer,
    ca::{Authority, CaError},
    calls::CallsLayer,
    clock::Clock,
    credentials,
    desired::HostDesired,
    events::{Journal, Pen},
    files::FileError,
    fleet::Fleet,
    host::LastKnown,
    hub::{Hub, HubHandle, Memory, Noted},
    init::AUTHORITY,
    listener::connections,
    metrics::Watched,
    operation::{Fact, Record},
    rpc::{AdminService, EnrollmentService, FleetService, LinkService, Shared},
    settings::Settings,
    standing::Former,
    store::{Archive, Embedded, OperationStep, Store as _, StoreError},
    trace::TraceLayer,
};

/// The store's file in the state directory.
const STORE: &str = "store.redb";

/// How much a peer may send of one call before it is read: what a stuck reader of a log costs.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all calls of a connection: more than [`CALLS`] full windows, so that stuck readers on an
/// agent's connection never hold up the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * (CALLS + 1);

/// The most calls at one time on one connection.
const CALLS: u32 = 200;

/// Epochs that wait for the disk; beyond, they are not remembered.
const EPOCHS: usize = 4096;

/// The most epochs written at once.
const EPOCH_BATCH: usize = 1000;

/// How long to wait before epochs that could not be written are tried again.
const EPOCH_RETRY: Duration = Duration::from_secs(5);

/// How long calls may take to end when the controller stops.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the store may take to be closed after that.
const CLOSE: Duration = Duration::from_secs(1);

/// How long to wait before a certificate that could not be renewed is tried again.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

/// The longest sleep until a renewal: a machine that was suspended notices within an hour.
const RENEWAL_LOOK: Duration = Duration::from_secs(3600);

/// Why a controller cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The authority, or the controller's own certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A file of the state directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket.
    #[error("cannot use the listening socket")]
    Socket(#[source] io::Error),
    /// The thread that writes events down.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The server broke.
    #[error("cannot serve")]
    Server(#[source] tonic::transport::Error),
}

/// A controller that is ready to serve.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    authority: Arc<Authority>,
    archive: Archive,
    hosts: Vec<(HostName, crate::host::Enrolment)>,
    desired: Vec<(HostName, HostDesired)>,
    known: Vec<(HostName, LastKnown)>,
    former: Vec<(HostName, Former)>,
    term: u64,
    operations: Vec<(Record, Vec<Fact>)>,
    journal: Journal,
    told: Vec<Event>,
    credentials: Credentials,
}

impl Controller {
    /// Reads everything that a controller starts from. Blocks on the disk.
    pub fn load(settings: Settings, now: SystemTime) -> Result<Self, ServeError> {
        let state = &settings.state_dir;
        let authority = Authority::load(&state.join(AUTHORITY), &settings.trust_domain)?;
        let credentials = current(&settings, &authority, now)?;
        let store = Embedded::open(&state.join(STORE))?;
        let records = store.hosts()?;
        let term = store.next_term(now)?;
        let operations = store.operations()?;
        let desired = store.desired()?;
        let known = store.known()?;
        let former = store.former()?;
        // After the store, which nobody else has then.
        let (journal, told) = Journal::open(state)?;
        let hosts = records
            .into_iter()
            .map(|(name, record)| (name, record.enrolment()));
        Ok(Self {
            hosts: hosts.collect(),
            desired,
            known,
            former,
            term,
            operations,
            journal,
            told,
            authority: Arc::new(authority),
            archive: Archive::new(store),
            credentials,
            settings,
        })
    }

    /// Serves on a socket until `stop`; `ready` is called when callers are answered.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        stop: CancellationToken,
        ready: impl FnOnce(std::net::SocketAddr),
    ) -> Result<(), ServeError> {
        let address = listener.local_addr().map_err(ServeError::Socket)?;
        // Port 0 lets the system choose: others are told its choice.
        self.settings.port = address.port();
        let config = watch::Sender::new(server_config(&self.credentials)?);
        let shown = config.subscribe();
        let (epochs, to_record) = mpsc::channel(EPOCHS);
        let archive = self.archive.clone();
        let note_epochs = move |batch: Epochs| {
            let archive = archive.clone();
            async move { archive.with(move |store| store.note_epochs(&batch)).await }
        };
        let recorder = tokio::spawn(record(note_epochs, to_record, EPOCH_RETRY));
        let fleet = self.fleet();
        let (pen, lines) = Pen::new();
        let chronicling = self.journal.start(lines).map_err(ServeError::Thread)?;
        // One batch is under way at a time, and another one only at the end.
        let (known, to_note) = mpsc::channel(1);
        let noting = tokio::spawn(note(self.archive.clone(), to_note));
        // One batch is written at a time, so neither is ever full.
        let (steps, to_write) = mpsc::channel(1);
        let (wrote, written) = mpsc::channel(1);
        let writer = tokio::spawn(write(self.archive.clone(), to_write, wrote));
        let memory = Memory {
            term: self.term,
            operations: self.operations,
            told: self.told,
            pen,
            epochs,
            known,
            steps,
        };
        let hub = Hub::start(Clock::start(), fleet, memory, written);
        let settings = self.settings;
        let watched = Watched::start(hub.clone(), settings.heartbeat);
        let shared = Shared {
            hub: hub.clone(),
            archive: self.archive,
            authority: Arc::clone(&self.authority),
            address: settings.address().into(),
            stopping: CancellationToken::new(),
        };
        let domain = settings.trust_domain.clone();
        let renewal = Renewal {
            settings,
            authority: self.authority,
            config,
        };
        let renewing = renewal.run(self.credentials);
        tokio::spawn(stop.clone().run_until_cancelled_owned(renewing));
        let incoming = connections(listener, shown, domain, stop.clone());
        let serving = server(&shared).serve_with_incoming_shutdown(incoming, stop.cancelled());
        ready(address);
        let served = tokio::select! {
            served = serving => served.map_err(ServeError::Server),
            () = drained(&stop, &hub, &shared.stopping) => {
                tracing::info!("some calls did not end in time");
                Ok(())
            }
        };
        // All end when nobody holds the hub any more: then all is written, and the store closed.
        drop((hub, shared, watched));
        let writing = async { tokio::join!(recorder, writer, noting, chronicling) };
        let _late = tokio::time::timeout(CLOSE, writing).await;
        served
    }

    /// The fleet, with all that is known of it from earlier.
    fn fleet(&mut self) -> Fleet {
        let hosts = std::mem::take(&mut self.hosts);
        let mut fleet = Fleet::new(self.settings.address(), self.settings.heartbeat, hosts);
        fleet.restore(std::mem::take(&mut self.desired));
        fleet.restore_former(std::mem::take(&mut self.former));
        fleet.recall(std::mem::take(&mut self.known));
        fleet.recall_events(&self.told);
        fleet
    }
}

/// Ends when, after `stop`, sessions and calls have had their time to end.
async fn drained(stop: &CancellationToken, hub: &HubHandle, stopping: &CancellationToken) {
    stop.cancelled().await;
    // The hub outlives this: the caller holds it.
    let _stopped = hub.close("the controller is shutting down").await;
    stopping.cancel();
    tokio::time::sleep(DRAIN).await;
}

type Layers = Stack<TraceLayer, Stack<GateLayer, Stack<CallsLayer, Identity>>>;

/// Every service behind the gate.
fn server(shared: &Shared) -> tonic::transport::server::Router<Layers> {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CALLS)
        .layer(CallsLayer::default())
        .layer(GateLayer(shared.hub.bars()))
        .layer(TraceLayer)
        .add_service(
            FleetServer::new(FleetService(shared.clone())).max_decoding_message_size(MESSAGE_BYTES),
        )
        .add_service(
            AgentLinkServer::new(LinkService(shared.clone()))
                .max_decoding_message_size(MESSAGE_BYTES),
        )
        .add_service(
            EnrollmentServer::new(EnrollmentService(shared.clone()))
                .max_decoding_message_size(MESSAGE_BYTES),
        )
        .add_service(
            AdminServer::new(AdminService(shared.clone())).max_decoding_message_size(MESSAGE_BYTES),
        )
}

/// The controller's own certificate, made anew when it is due or does not cover all of its names.
fn current(
    settings: &Settings,
    authority: &Authority,
    now: SystemTime,
) -> Result<Credentials, ServeError> {
    let kept = credentials::read(&settings.state_dir, authority.root())?;
    let is_good = kept.chain.first().is_some_and(|leaf| {
        credentials::covers(leaf, &settings.names)
            && credentials::half_life(leaf).is_some_and(|due| now < due)
    });
    if is_good {
        return Ok(kept);
    }
    renew(settings, authority, now)
}

fn renew(
    settings: &Settings,
    authority: &Authority,
    now: SystemTime,
) -> Result<Credentials, ServeError> {
    let made = authority.make_controller(&settings.names, now)?;
    credentials::write(&settings.state_dir, &made)?;
    tracing::info!(
        names = settings.names.join(" "),
        "renewed the controller's own certificate"
    );
    Ok(made)
}

/// Keeps the controller's certificate young while it serves.
struct Renewal {
    settings: Settings,
    authority: Arc<Authority>,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Renewal {
    async fn run(self, mut credentials: Credentials) {
        loop {
            let due = credentials
                .chain
                .first()
                .and_then(|leaf| credentials::half_life(leaf));
            let left = due.and_then(|due| due.duration_since(SystemTime::now()).ok());
            if let Some(left) = left.filter(|left| !left.is_zero()) {
                tokio::time::sleep(left.min(RENEWAL_LOOK)).await;
                continue;
            }
            match self.renew().await {
                Ok(renewed) => credentials = renewed,
                Err(error) => {
                    let error = crate::status::chain(&error);
                    tracing::error!(error, "cannot renew the controller's own certificate");
                    tokio::time::sleep(RENEWAL_RETRY).await;
                }
            }
        }
    }

    async fn renew(&self) -> Result<Credentials, ServeError> {
        let (settings, authority) = (self.settings.clone(), Arc::clone(&self.authority));
        let work = move || renew(&settings, &authority, SystemTime::now());
        let done = tokio::task::spawn_blocking(work).await;
        let made = done.map_err(|e| ServeError::Socket(io::Error::other(e)))??;
        self.config.send_replace(server_config(&made)?);
        Ok(made)
    }
}

/// Epochs that are written at once.
type Epochs = Arc<Vec<(HostName, u64)>>;

/// Writes epochs down, as many at once as have come meanwhile, each until it is written;
/// between two attempts there is a pause.
async fn record<W>(
    write: impl Fn(Epochs) -> W,
    mut epochs: mpsc::Receiver<(HostName, u64)>,
    pause: Duration,
) where
    W: Future<Output = Result<(), StoreError>>,
{
    let mut batch = Vec::new();
    while epochs.recv_many(&mut batch, EPOCH_BATCH).await > 0 {
        let owed = Arc::new(std::mem::take(&mut batch));
        while let Err(error) = write(Arc::clone(&owed)).await {
            let error = crate::status::chain(&error);
            tracing::error!(
                error,
                "cannot remember the epochs of hosts; it is tried again"
            );
            tokio::time::sleep(pause).await;
        }
    }
}

/// Writes down what is known of hosts, and says of each batch whether it is durable.
async fn note(archive: Archive, mut batches: mpsc::Receiver<Noted>) {
    while let Some(Noted { hosts, still, done }) = batches.recv().await {
        let noted = archive
            .with(move |store| store.note_known(&hosts, still))
            .await;
        if let Err(error) = &noted {
            let error = crate::status::chain(error);
            tracing::error!(
                error,
                "cannot note what is known of hosts; it is tried again"
            );
        }
        // The last batch of a run has nobody who waits for it.
        let _answered = done.send(noted.is_ok());
    }
}

/// Writes steps of operations down, and says of each batch whether it is durable.
async fn write(
    archive: Archive,
    mut batches: mpsc::Receiver<Vec<OperationStep>>,
    wrote: mpsc::Sender<bool>,
) {
    while let Some(steps) = batches.recv().await {
        let noted = archive
            .with(move |store| store.note_operations(&steps))
            .await;
        if let Err(error) = &noted {
            let error = crate::status::chain(error);
            tracing::error!(error, "cannot write operations down; they wait");
        }
        if wrote.send(noted.is_ok()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::InitArguments, init::init};

    fn settings(directory: &std::path::Path, names: &[&str]) -> Settings {
        Settings {
            state_dir: directory.join("ctl"),
            names: names.iter().map(ToString::to_string).collect(),
            listen: "127.0.0.1:0".parse().unwrap(),
            port: 0,
            heartbeat: Duration::from_secs(5),
            trust_domain: "test".into(),
        }
    }

    /// A fleet that was made so long ago.
    fn made(directory: &std::path::Path, ago: Duration) -> Authority {
        let arguments = InitArguments {
            state_dir: directory.join("ctl"),
            names: vec!["localhost".into()],
            listen: "127.0.0.1:0".parse().unwrap(),
            admin: "admin".into(),
            trust_domain: Some("test".into()),
        };
        init(&arguments, SystemTime::now() - ago).unwrap();
        Authority::load(&directory.join("ctl").join(AUTHORITY), "test").unwrap()
    }

    #[tokio::test]
    async fn epochs_that_cannot_be_written_are_tried_again() {
        let (send, epochs) = mpsc::channel(4);
        let host = |name: &str| name.parse::<HostName>().unwrap();
        for (name, epoch) in [("web1", 3), ("web2", 5)] {
            send.send((host(name), epoch)).await.unwrap();
        }
        drop(send);
        let tries = std::sync::Mutex::new(Vec::new());
        let write = |batch: Epochs| {
            let mut tries = tries.lock().unwrap();
            tries.push(batch.to_vec());
            let is_full = tries.len() < 3;
            async move {
                match is_full {
                    true => Err(StoreError::Damaged("full".into())),
                    false => Ok(()),
                }
            }
        };
        record(write, epochs, Duration::ZERO).await;
        let both = vec![(host("web1"), 3), (host("web2"), 5)];
        assert_eq!(tries.into_inner().unwrap(), vec![both; 3]);
    }

    #[test]
    fn the_controllers_certificate_is_made_anew_when_it_is_old_or_lacks_a_name() {
        let day = Duration::from_secs(24 * 3600);
        for (ago, names, is_renewed) in [
            (Duration::ZERO, &["localhost"][..], false),
            (day * 10, &["localhost"], false),
            (day * 50, &["localhost"], true),
            (day * 100, &["localhost"], true),
            (Duration::ZERO, &["localhost", "10.0.0.1"], true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let authority = made(dir.path(), ago);
            let settings = settings(dir.path(), names);
            let before = credentials::read(&settings.state_dir, authority.root()).unwrap();
            let used = current(&settings, &authority, SystemTime::now()).unwrap();
            assert_eq!(used.chain != before.chain, is_renewed, "{ago:?} {names:?}");
            assert!(credentials::covers(&used.chain[0], &settings.names));
            let kept = credentials::read(&settings.state_dir, authority.root()).unwrap();
            assert_eq!(kept.chain, used.chain);
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_shown_without_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Arc::new(made(dir.path(), Duration::ZERO));
        let settings = settings(dir.path(), &["localhost"]);
        let first = credentials::read(&settings.state_dir, authority.root()).unwrap();
        let config = watch::Sender::new(server_config(&first).unwrap());
        let shown = config.subscribe();
        let renewal = Renewal {
            settings,
            authority,
            config,
        };
        let second = renewal.renew().await.unwrap();
        assert!(shown.has_changed().unwrap());
        assert_ne!(first.chain, second.chain);
    }
}
