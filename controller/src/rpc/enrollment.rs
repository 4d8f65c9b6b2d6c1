//! How a host gets its identity.

use std::time::SystemTime;

use rsv_proto::{
    name::HostName,
    wire::{JoinRequest, JoinResponse, enrollment_server::Enrollment},
};
use tonic::{Request, Response, Status};

use super::Shared;
use crate::{
    ca::Issued,
    hub::FromAgent,
    listener::Peer,
    store::{Candidate, CertificateRecord},
    token::seconds,
};

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
            .map_err(|e| Status::invalid_argument(format!("`{}`: {e}", host.escape_debug())))?;
        let now = SystemTime::now();
        // Signed first and handed out last: a request that cannot be signed costs no use of the token.
        let issued = self.0.authority.sign_agent(&host, &csr, now)?;
        let certificate = record(&issued);
        let candidate = Candidate {
            token: token_id,
            secret,
            host: host.clone(),
            certificate,
        };
        let token = candidate.token.escape_debug().to_string();
        let joined = self
            .0
            .archive
            .with(move |store| store.join(&candidate, now))
            .await;
        let joined = joined.inspect_err(|error| {
            tracing::info!(%host, peer, token, reason = %error, "refused to enrol a host");
        })?;
        self.0
            .hub
            .tell(FromAgent::Enrolled(host.clone(), joined.enrolment()))
            .await?;
        tracing::info!(%host, peer, token, serial = issued.serial, "enrolled");
        Ok(Response::new(JoinResponse {
            chain: issued.chain.iter().map(|c| c.to_vec()).collect(),
            root: self.0.authority.root().to_vec(),
            trust_domain: self.0.authority.trust_domain().to_owned(),
        }))
    }
}

/// What is remembered of a certificate.
pub(super) fn record(issued: &Issued) -> CertificateRecord {
    CertificateRecord {
        serial: issued.serial.clone(),
        expires: seconds(issued.expires),
    }
}
