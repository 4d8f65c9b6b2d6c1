//! What only operators do: identities, and what is kept of hosts.

use std::{collections::BTreeMap, time::SystemTime};

use rsv_proto::{
    select::HostPattern,
    time::{duration_from_wire, to_wire},
    tls::Pin,
    token::JoinToken,
    wire::{
        CreateTokenRequest, CreateTokenResponse, LabelHostsRequest, LabelHostsResponse,
        RemoveHostsRequest, RemoveHostsResponse, RevokeHostsRequest, RevokeHostsResponse,
        admin_server::Admin,
    },
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Shared, hosts};
use crate::{
    authz,
    operation::milliseconds,
    standing::{MAX_LABELS, is_key, is_value},
    token::{DEFAULT_TTL, MAX_TTL, MAX_USES, Token, digest, seconds},
};

/// The `Admin` service.
#[derive(Debug, Clone)]
pub struct AdminService(pub Shared);

#[tonic::async_trait]
impl Admin for AdminService {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let actor = authz::caller(&request)?.to_string();
        let now = SystemTime::now();
        let mut secret = vec![0; 32];
        getrandom::fill(&mut secret)
            .map_err(|e| Status::internal(format!("the system gives no random numbers: {e}")))?;
        let (token, expires) = token(request.into_inner(), actor, &secret, now)?;
        let id = Uuid::now_v7().simple().to_string();
        tracing::info!(
            actor = token.made_by,
            token = id,
            hosts = token.host,
            uses = token.uses_left,
            "created a token"
        );
        let key = id.clone();
        self.0
            .archive
            .with(move |store| store.add_token(&key, &token, now))
            .await?;
        let text = JoinToken {
            controllers: vec![self.0.address.to_string()],
            pin: Pin::of(self.0.authority.root()),
            id,
            secret,
        };
        let expires = Some(to_wire(expires));
        Ok(Response::new(CreateTokenResponse {
            token: text.to_string(),
            expires,
        }))
    }

    async fn label_hosts(
        &self,
        request: Request<LabelHostsRequest>,
    ) -> Result<Response<LabelHostsResponse>, Status> {
        let actor = authz::caller(&request)?.to_string();
        let labelled = hosts::label(&self.0, &actor, request.into_inner()).await?;
        Ok(Response::new(labelled))
    }

    async fn revoke_hosts(
        &self,
        request: Request<RevokeHostsRequest>,
    ) -> Result<Response<RevokeHostsResponse>, Status> {
        let actor = authz::caller(&request)?.to_string();
        let revoked = hosts::revoke(&self.0, &actor, request.into_inner()).await?;
        Ok(Response::new(revoked))
    }

    async fn remove_hosts(
        &self,
        request: Request<RemoveHostsRequest>,
    ) -> Result<Response<RemoveHostsResponse>, Status> {
        let actor = authz::caller(&request)?.to_string();
        let removed = hosts::remove(&self.0, &actor, request.into_inner()).await?;
        Ok(Response::new(removed))
    }
}

fn token(
    request: CreateTokenRequest,
    made_by: String,
    secret: &[u8],
    now: SystemTime,
) -> Result<(Token, SystemTime), Status> {
    let wrong = |text: String| Status::invalid_argument(text);
    let host = if request.host.is_empty() {
        "*".to_owned()
    } else {
        request.host
    };
    host.parse::<HostPattern>()
        .map_err(|e| wrong(e.to_string()))?;
    let ttl = match request.ttl {
        None => DEFAULT_TTL,
        Some(ttl) => duration_from_wire(&ttl)
            .filter(|ttl| !ttl.is_zero() && *ttl <= MAX_TTL)
            .ok_or_else(|| wrong("the ttl must be more than 0 and at most 7 days".into()))?,
    };
    if request.uses > MAX_USES {
        return Err(wrong(format!(
            "{} uses, at most {MAX_USES} are accepted",
            request.uses
        )));
    }
    let labels: BTreeMap<String, String> = request.labels.into_iter().collect();
    if labels.len() > MAX_LABELS {
        return Err(wrong(format!(
            "{} labels, at most {MAX_LABELS} are accepted",
            labels.len()
        )));
    }
    if let Some((key, value)) = labels.iter().find(|(k, v)| !is_key(k) || !is_value(v)) {
        let label = format!("{key}={value}");
        return Err(wrong(format!(
            "`{}` is not a label such as role=web",
            label.escape_debug()
        )));
    }
    let token = Token {
        digest: digest(secret),
        host,
        expires: seconds(now + ttl),
        uses_left: request.uses.max(1),
        labels,
        made_by,
        made: milliseconds(now),
    };
    Ok((token, now + ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_sensible_defaults_and_limits() {
        let now = SystemTime::now();
        let make = |request| token(request, "operator/admin".into(), b"s", now);
        let (made, expires) = make(CreateTokenRequest::default()).unwrap();
        assert_eq!((made.host.as_str(), made.uses_left), ("*", 1));
        assert_eq!(expires, now + DEFAULT_TTL);
        let week = prost_types::Duration {
            seconds: 8 * 86_400,
            nanos: 0,
        };
        let label = |k: &str, v: &str| [(k.to_owned(), v.to_owned())].into_iter().collect();
        for request in [
            CreateTokenRequest {
                host: "web[1".into(),
                ..Default::default()
            },
            CreateTokenRequest {
                ttl: Some(week),
                ..Default::default()
            },
            CreateTokenRequest {
                uses: MAX_USES + 1,
                ..Default::default()
            },
            CreateTokenRequest {
                labels: label("a b", "c"),
                ..Default::default()
            },
            CreateTokenRequest {
                labels: label("", "c"),
                ..Default::default()
            },
        ] {
            let status = make(request).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
        }
    }
}
