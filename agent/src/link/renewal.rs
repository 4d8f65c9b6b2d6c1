//! The next certificate, before the present one ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rsv_proto::dial::{DialError, dial};
use rsv_proto::limits::MESSAGE_BYTES;
use rsv_proto::telemetry::ClientCalls;
use rsv_proto::tls::{self, Credentials, TlsError};
use rsv_proto::wire::{self, agent_link_client::AgentLinkClient};
use tonic::transport::Channel;
use tracing::{info, warn};

use super::connection::timed;
use super::jitter;
use crate::identity::request::{KeyError, KeyRequest};
use crate::identity::{HostIdentity, StateDir, StateError};

/// The wall clock is looked at this often, because it may jump.
const LOOK: Duration = Duration::from_secs(600);

/// A renewal is tried again after a twentieth of the certificate's life, within these bounds.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(900);

/// A new identity that is stored, and a connection that was made with it.
#[derive(Debug)]
pub(super) struct Renewed {
    pub(super) identity: HostIdentity,
    pub(super) channel: Channel,
}

#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the controller does not renew the certificate: {}", .0.message())]
    Refused(Box<tonic::Status>),
    #[error("the controller's new certificate is of no use")]
    Useless,
    #[error(transparent)]
    Store(#[from] StateError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Waits until the certificate has lived half of its life, then has it renewed over this
/// connection, stores the new one and connects with it. Tries until it works.
pub(super) async fn renewed(
    channel: Channel,
    address: String,
    identity: HostIdentity,
    state: StateDir,
    calls: ClientCalls,
) -> Renewed {
    let Some(validity) = identity.validity() else {
        warn!("the certificate cannot be read: it will not be renewed");
        return std::future::pending().await;
    };
    let due = validity.renewal(jitter());
    while let Ok(left) = due.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(LOOK)).await;
    }
    let lifetime = validity
        .not_after
        .duration_since(validity.not_before)
        .unwrap_or_default();
    loop {
        match renew(channel.clone(), &address, &identity, &state, &calls).await {
            Ok(renewed) => {
                info!("certificate renewed");
                return renewed;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    error,
                    "cannot renew the certificate; the present one stays in use"
                );
            }
        }
        let pause = (lifetime / 20).clamp(*RETRY.start(), *RETRY.end());
        tokio::time::sleep(pause.mul_f64(1.0 - 0.5 * jitter())).await;
    }
}

async fn renew(
    channel: Channel,
    address: &str,
    identity: &HostIdentity,
    state: &StateDir,
    calls: &ClientCalls,
) -> Result<Renewed, RenewError> {
    let KeyRequest { key, csr } = KeyRequest::new()?;
    let mut client = AgentLinkClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
    let call = client.renew(wire::RenewRequest { csr });
    let answer = timed(calls, "rsv.v1.AgentLink/Renew", call).await;
    let chain = answer
        .map_err(|status| RenewError::Refused(Box::new(status)))?
        .into_inner()
        .chain;
    if chain.is_empty() {
        return Err(RenewError::Useless);
    }
    let credentials = Credentials {
        chain: chain.into_iter().map(Into::into).collect(),
        key,
        root: identity.credentials.root.clone(),
    };
    // Tried before it is stored: a certificate that does not work must not replace one that does.
    let config = tls::client_config(&credentials)?;
    let channel = dial(address, Arc::clone(&config)).await?;
    let identity = HostIdentity {
        credentials,
        ..identity.clone()
    };
    let (stored, state) = (identity.clone(), state.clone());
    tokio::task::spawn_blocking(move || state.store_identity(&stored))
        .await
        .map_err(|_| RenewError::Useless)??;
    Ok(Renewed { identity, channel })
}
