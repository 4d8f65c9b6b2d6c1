//! How a host gets its identity.

use std::time::SystemTime;

use rsv_proto::{
    name::{HostName, HostNameError},
    wire::{JoinRequest, JoinResponse, enrollment_server::Enrollment},
};
use tonic::{Request, Response, Status};

use super::Shared;
use crate::{
    ca::Issued,
    hub::FromAgent,
    listener::Peer,
    store::{CertificateRecord, Claim, HostRecord, Store},
    token::{TokenRefused, seconds},
};

/// The longest id and secret of a token: twice what this controller makes.
const MAX_TOKEN_ID: usize = 64;
const MAX_SECRET: usize = 64;

/// The `Enrollment` service.
#[derive(Debug, Clone)]
pub struct EnrollmentService(pub Shared);

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .map(|p| p.address.to_string());
        let JoinRequest {
            token_id,
            secret,
            host,
            csr,
        } = request.into_inner();
        let host: HostName = host
            .parse()
            .map_err(|e: HostNameError| Status::invalid_argument(e.to_string()))?;
        if token_id.len() > MAX_TOKEN_ID || secret.len() > MAX_SECRET {
            return Err(TokenRefused::Unknown.into());
        }
        let token = token_id.escape_debug().to_string();
        let claim = Claim {
            token: token_id,
            secret,
            host: host.clone(),
        };
        let joined = self.trade(claim, &csr).await;
        let (issued, record) = joined.inspect_err(|status| {
            let reason = status.message();
            tracing::info!(%host, peer, token, reason, "refused to enrol a host");
        })?;
        self.0
            .hub
            .tell(FromAgent::Enrolled(host.clone(), record.enrolment()))
            .await?;
        tracing::info!(%host, peer, token, serial = issued.serial, "enrolled");
        Ok(Response::new(JoinResponse {
            chain: issued.chain.iter().map(|c| c.to_vec()).collect(),
            root: self.0.authority.root().to_vec(),
            trust_domain: self.0.authority.trust_domain().to_owned(),
        }))
    }
}

impl EnrollmentService {
    /// Trades a token for a certificate.
    async fn trade(&self, claim: Claim, csr: &[u8]) -> Result<(Issued, HostRecord), Status> {
        let now = SystemTime::now();
        let asked = claim.clone();
        // Asked before anything is signed, so that strangers cost no signatures.
        self.0
            .archive
            .with(move |store| store.may_join(&asked, now))
            .await?;
        // Signed before the token is used, so that a request that cannot be signed costs no use of it.
        let issued = self.0.authority.sign_agent(&claim.host, csr, now)?;
        let certificate = record(&issued);
        let join = move |store: &dyn Store| store.join(&claim, &certificate, now);
        Ok((issued, self.0.archive.with(join).await?))
    }
}

/// What is remembered of a certificate.
pub(super) fn record(issued: &Issued) -> CertificateRecord {
    CertificateRecord {
        serial: issued.serial.clone(),
        expires: seconds(issued.expires),
    }
}
