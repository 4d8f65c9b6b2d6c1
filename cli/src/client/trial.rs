//! A second look at a connection that a controller ended.
//!
//! With TLS 1.3 a server judges the client's certificate after the handshake has ended for the
//! client. Its verdict is often lost behind a broken pipe, because the client is already sending; a
//! connection on which nothing is sent shows it.

use std::{sync::Arc, time::Duration};

use rsv_proto::identity::{Identity, Role};
use rustls::{AlertDescription, ClientConfig};
use rustls_pki_types::{CertificateDer, ServerName};
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
    ours: Option<CertificateDer<'static>>,
}

/// What a controller has against us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It says so.
    Alert(AlertDescription),
    /// It closes the connection as soon as it has seen our certificate; with what is known of that.
    Closed(String),
}

impl Trial {
    /// Of the controller at an address, with the certificate that is shown to it.
    pub(crate) fn new(
        address: &str,
        config: Arc<ClientConfig>,
        ours: Option<CertificateDer<'static>>,
    ) -> Self {
        Self {
            address: address.to_owned(),
            config,
            ours,
        }
    }

    /// The controller's address, taken apart.
    pub(crate) fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host, port.parse().ok()?))
    }

    /// What the controller has against our certificate; none when it has nothing, or cannot be
    /// reached.
    pub(crate) async fn verdict(&self) -> Option<Verdict> {
        tokio::time::timeout(PATIENCE, self.connect())
            .await
            .ok()
            .flatten()
    }

    async fn connect(&self) -> Option<Verdict> {
        let (host, _port) = self.host_and_port()?;
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let tcp = TcpStream::connect(&self.address).await.ok()?;
        let connector = TlsConnector::from(self.config.clone());
        let mut tls = match connector.connect(name, tcp).await {
            Ok(tls) => tls,
            Err(error) => return alert_of(&error).map(Verdict::Alert),
        };
        // A controller that accepts us speaks first.
        let error = tls.read_u8().await.err()?;
        Some(match alert_of(&error) {
            Some(alert) => Verdict::Alert(alert),
            None => Verdict::Closed(shortcoming(self.ours.as_ref())),
        })
    }
}

/// What can be seen in our own certificate of why it is not accepted.
fn shortcoming(ours: Option<&CertificateDer<'_>>) -> String {
    match ours.map(Identity::from_leaf) {
        None => "none was shown".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(identity)) if identity.role != Role::Operator => {
            format!("`{}` is no operator", identity.uri())
        }
        Some(Ok(identity)) => format!("`{}` is nobody of this fleet", identity.uri()),
    }
}
