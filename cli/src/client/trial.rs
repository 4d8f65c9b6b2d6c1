//! A second look at a connection that a controller ended.
//!
//! With TLS 1.3 a server judges the client's certificate after the handshake has ended for the
//! client. Its verdict is often lost behind a broken pipe, because the client is already sending; a
//! connection on which nothing is sent shows it.

use std::{sync::Arc, time::Duration};

use rustls::{AlertDescription, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::TlsConnector;

use crate::error::alert_of;

/// The longest that a person waits for a better explanation.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is needed to look again.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    address: String,
    config: Arc<ClientConfig>,
}

impl Trial {
    /// Of the controller at an address.
    pub(crate) fn new(address: &str, config: Arc<ClientConfig>) -> Self {
        Self {
            address: address.to_owned(),
            config,
        }
    }

    /// The controller's address, taken apart.
    pub(crate) fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host, port.parse().ok()?))
    }

    /// What the controller says about our certificate; none when it says nothing against it.
    pub(crate) async fn alert(&self) -> Option<AlertDescription> {
        tokio::time::timeout(PATIENCE, self.connect())
            .await
            .ok()
            .flatten()
    }

    async fn connect(&self) -> Option<AlertDescription> {
        let (host, _port) = self.host_and_port()?;
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let tcp = TcpStream::connect(&self.address).await.ok()?;
        let connector = TlsConnector::from(self.config.clone());
        let mut tls = match connector.connect(name, tcp).await {
            Ok(tls) => tls,
            Err(error) => return alert_of(&error),
        };
        tls.read_u8().await.err().and_then(|error| alert_of(&error))
    }
}
