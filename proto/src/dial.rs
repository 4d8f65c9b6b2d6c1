//! One connection to a peer: over TCP with mutual TLS, or over a Unix socket of this host.
//!
//! A channel made here does not connect again by itself: who needs that decides when and where.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::limits::{CONNECT_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not `HOST:PORT`.
    #[error("`{0}` is not of the form HOST:PORT")]
    Address(String),
    /// Nothing listens there, or it cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Too slow.
    #[error("{address} does not answer within {} s", .after.as_secs_f64())]
    Timeout {
        /// Where.
        address: String,
        /// The limit.
        after: Duration,
    },
    /// Something takes the connection and says nothing.
    #[error("{address} takes connections and does not answer within {} s", .after.as_secs_f64())]
    Silent {
        /// Where.
        address: String,
        /// The limit.
        after: Duration,
    },
    /// The peer is not who it should be, or does not accept who we are.
    #[error("no trusted connection with {address}")]
    Tls {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The socket's path cannot be connected to.
    #[error("cannot connect to `{}`", .path.display())]
    Unix {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something answers, and does not speak HTTP/2.
    #[error("{address} does not speak the expected protocol")]
    Protocol {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
}

impl DialError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Address(_) => Some("write it as ctl1.example.com:7443"),
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused => Some("is the controller running there?"),
                _ => Some("check the address and the network"),
            },
            Self::Timeout { .. } => Some("a firewall may drop the packets"),
            Self::Silent { .. } => {
                Some("what listens there is stopped or hangs, or is no controller")
            }
            Self::Tls { source, .. } if is_not_tls(source) => Some(IS_CONTROLLER),
            Self::Tls { .. } => Some(
                "check that both belong to the same fleet, their clocks, and that the certificate has not ended",
            ),
            Self::Unix { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("is rsv-agent running with this configuration?"),
                io::ErrorKind::ConnectionRefused => {
                    Some("the socket is left over: rsv-agent is not running")
                }
                io::ErrorKind::PermissionDenied => {
                    Some("only the user who runs rsv-agent, and root, may connect")
                }
                _ => None,
            },
            Self::Protocol { .. } => Some(IS_CONTROLLER),
        }
    }
}

const IS_CONTROLLER: &str = "is this the port of a controller?";

/// Whether what was read is no TLS at all.
fn is_not_tls(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

/// Connects to `HOST:PORT` and shows the configuration's certificate.
pub async fn dial(address: &str, config: Arc<ClientConfig>) -> Result<Channel, DialError> {
    dial_within(address, config, CONNECT_TIMEOUT).await
}

/// As [`dial`], and not longer than this.
pub async fn dial_within(
    address: &str,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> Result<Channel, DialError> {
    let after = limit.min(CONNECT_TIMEOUT);
    let deadline = tokio::time::Instant::now() + after;
    let (host, _port) =
        split_address(address).ok_or_else(|| DialError::Address(address.to_owned()))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| DialError::Address(address.to_owned()))?;
    let tcp = tokio::time::timeout_at(deadline, connect(address))
        .await
        .map_err(|_| DialError::Timeout {
            address: address.to_owned(),
            after,
        })??;
    let stream = tokio::time::timeout_at(deadline, secure(address, name, config, tcp))
        .await
        .map_err(|_| DialError::Silent {
            address: address.to_owned(),
            after,
        })??;
    channel(address, stream).await
}

/// Connects to a socket of this host.
pub async fn dial_unix(path: &Path) -> Result<Channel, DialError> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(|source| DialError::Unix {
            path: path.to_owned(),
            source,
        })?;
    channel(&path.display().to_string(), stream).await
}

async fn connect(address: &str) -> Result<TcpStream, DialError> {
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|source| DialError::Connect {
            address: address.to_owned(),
            source,
        })?;
    tune(&tcp).map_err(|source| DialError::Connect {
        address: address.to_owned(),
        source,
    })?;
    Ok(tcp)
}

async fn secure(
    address: &str,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DialError> {
    tokio_rustls::TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|source| DialError::Tls {
            address: address.to_owned(),
            source,
        })
}

/// Sets what every TCP connection of ours has: no delay of small writes, and an end within the
/// keepalive's patience when the peer acknowledges nothing.
pub fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let patience = KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT;
    let milliseconds = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(tcp, milliseconds)?;
    Ok(())
}

fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let port = port.parse().ok()?;
    (!host.is_empty()).then_some((host, port))
}

/// Speaks HTTP/2 over a stream that is already connected.
async fn channel<S>(address: &str, stream: S) -> Result<Channel, DialError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // The authority is a label here: the stream is connected, and TLS has checked the name.
    let endpoint = Endpoint::from_static("http://rsv.internal")
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let stream = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.lock().ok().and_then(|mut stream| stream.take());
        let ended = || io::Error::new(io::ErrorKind::NotConnected, "the connection has ended");
        std::future::ready(stream.ok_or_else(ended))
    });
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|source| DialError::Protocol {
            address: address.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(split_address("localhost:7443"), Some(("localhost", 7443)));
        assert_eq!(split_address("[::1]:7443"), Some(("::1", 7443)));
        assert_eq!(split_address("localhost"), None);
        assert_eq!(split_address(":7443"), None);
        assert_eq!(split_address("localhost:x"), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_missing_socket_is_named_with_a_hint() {
        let error = dial_unix(Path::new("/nonexistent/agent.sock"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot connect to `/nonexistent/agent.sock`"
        );
        assert_eq!(
            error.hint(),
            Some("is rsv-agent running with this configuration?")
        );
    }
}
