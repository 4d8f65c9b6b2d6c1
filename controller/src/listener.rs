//! Accepts connections, completes TLS, and says who is at the other end.
//!
//! Handshakes are bounded in number and in time, so that somebody who only opens connections holds up
//! nobody for long. A peer whose certificate names nobody of this fleet gets no connection.

use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rsv_proto::{dial::tune, identity::Identity};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// How long a peer may take to complete TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most handshakes at one time; the kernel's backlog holds the others. A storm of reconnecting
/// agents is worked off at some thousands a second.
const HANDSHAKES: usize = 256;

/// The most connections without a certificate, and how long each may last: enough to join, and a bound
/// for what strangers can make the controller hold.
const STRANGERS: usize = 256;
const STRANGERS_TIME: Duration = Duration::from_secs(30);

/// Connections that have completed TLS and wait to be served; when full, handshakes wait.
const READY: usize = 64;

/// How long to wait when the system gives no more sockets.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Who it is; absent: it showed no certificate.
    pub identity: Option<Arc<Identity>>,
    /// The serial number of its certificate, in hexadecimal; empty: it showed none.
    pub serial: Arc<str>,
}

/// A connection that has completed TLS.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    stranger: Option<Stranger>,
}

/// What a connection without a certificate holds.
#[derive(Debug)]
struct Stranger {
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

/// Why a peer gets no connection.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("not within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Slow,
    #[error("{0}")]
    Tls(io::Error),
    #[error("{0}")]
    Identity(rsv_proto::identity::IdentityError),
    #[error("{0} is of another fleet")]
    Foreign(String),
    #[error("{STRANGERS} connections without a certificate are open")]
    Crowded,
}

/// Connections as they become ready, until `stop`; then the socket is closed. Each handshake uses the
/// configuration of its moment, so that a renewed certificate is shown from then on.
pub fn connections(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    trust_domain: String,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(READY);
    let acceptor = Acceptor {
        config,
        trust_domain: trust_domain.into(),
        strangers: Arc::new(Semaphore::new(STRANGERS)),
        ready,
    };
    tokio::spawn(async move {
        stop.run_until_cancelled(acceptor.accept_all(listener))
            .await;
    });
    ReceiverStream::new(connections)
}

struct Acceptor {
    config: watch::Receiver<Arc<ServerConfig>>,
    trust_domain: Arc<str>,
    strangers: Arc<Semaphore>,
    ready: mpsc::Sender<io::Result<Connection>>,
}

impl Acceptor {
    async fn accept_all(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    continue;
                }
            };
            let config = Arc::clone(&self.config.borrow());
            let (ready, domain) = (self.ready.clone(), Arc::clone(&self.trust_domain));
            let strangers = Arc::clone(&self.strangers);
            tokio::spawn(async move {
                match handshake(tcp, address, config, &domain, strangers).await {
                    // Nobody serves any more: the controller is stopping.
                    Ok(connection) => drop(ready.send(Ok(connection)).await),
                    Err(reason) => {
                        tracing::info!(peer = %address, %reason, "refused a connection");
                    }
                }
                drop(place);
            });
        }
    }
}

async fn handshake(
    tcp: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    trust_domain: &str,
    strangers: Arc<Semaphore>,
) -> Result<Connection, Refused> {
    tune(&tcp).map_err(Refused::Tls)?;
    let accepting = TlsAcceptor::from(config).accept(tcp);
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await;
    let stream = accepted.map_err(|_| Refused::Slow)?.map_err(Refused::Tls)?;
    let shown = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let identity = shown
        .map(Identity::from_leaf)
        .transpose()
        .map_err(Refused::Identity)?;
    if let Some(identity) = identity.as_ref().filter(|i| i.trust_domain != trust_domain) {
        return Err(Refused::Foreign(identity.uri()));
    }
    let serial = shown.and_then(serial_of).unwrap_or_default().into();
    let stranger = match identity {
        Some(_) => None,
        None => Some(Stranger {
            _place: strangers
                .try_acquire_owned()
                .map_err(|_| Refused::Crowded)?,
            end: Box::pin(tokio::time::sleep(STRANGERS_TIME)),
        }),
    };
    let identity = identity.map(Arc::new);
    Ok(Connection {
        stream,
        peer: Peer {
            address,
            identity,
            serial,
        },
        stranger,
    })
}

/// As [`crate::ca::Issued`] has it.
fn serial_of(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let bytes = leaf.raw_serial().iter();
    Some(bytes.map(|byte| format!("{byte:02x}")).collect())
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(stranger) = &mut self.stranger
            && stranger.end.as_mut().poll(context).is_ready()
        {
            let reason = "a connection without a certificate lasts only for a join";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
