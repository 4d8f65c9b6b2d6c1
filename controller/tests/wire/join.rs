//! How hosts get in, and who does not.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use rcgen::KeyPair;
use rsv_controller::ca::Authority;
use rsv_proto::{
    dial::{DialError, dial},
    identity::Identity,
    tls::{Pin, client_config, pinned_client_config},
    wire::{CreateTokenRequest, RenewRequest, agent_link_client::AgentLinkClient},
};
use tokio::net::TcpStream;
use tonic::Code;

use crate::harness::{Agent, Fleet, csr, hello, join};

#[tokio::test]
async fn a_token_gives_a_host_an_identity_once() {
    let fleet = Fleet::start().await;
    let labels = [("role".to_owned(), "web".to_owned())]
        .into_iter()
        .collect();
    let request = CreateTokenRequest {
        host: "web*".into(),
        labels,
        ..Default::default()
    };
    let token = fleet.token(request).await;
    let credentials = join(&token, "web01").await.unwrap();
    let identity = Identity::from_leaf(&credentials.chain[0]).unwrap();
    assert_eq!(identity.uri(), "rsv://test/agent/web01");
    assert_eq!(Pin::of(&credentials.root), token.pin);
    let host = fleet.host("web01").await;
    assert_eq!(host.labels["role"], "web");
    assert!(host.certificate_expires.is_some());
    let status = join(&token, "web02").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("used already"),
        "{}",
        status.message()
    );
    assert!(
        status.message().contains("rsv token create"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn tokens_that_are_wrong_expired_or_for_others_are_refused() {
    let fleet = Fleet::start().await;
    let token = fleet
        .token(CreateTokenRequest {
            host: "web*".into(),
            ..Default::default()
        })
        .await;
    let mut wrong = token.clone();
    wrong.secret[0] ^= 1;
    let mut unknown = token.clone();
    unknown.id = "nothing".into();
    for token in [wrong, unknown] {
        let status = join(&token, "web01").await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{}", status.message());
        assert!(
            status.message().starts_with("no such token"),
            "{}",
            status.message()
        );
    }
    assert_eq!(
        join(&token, "db01").await.unwrap_err().code(),
        Code::PermissionDenied
    );
    assert_eq!(
        join(&token, "web 01").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let ttl = Some(prost_types::Duration {
        seconds: 0,
        nanos: 1,
    });
    let expired = fleet
        .token(CreateTokenRequest {
            ttl,
            ..Default::default()
        })
        .await;
    let status = join(&expired, "web01").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("expired"), "{}", status.message());
    join(&token, "web01").await.unwrap();
}

#[tokio::test]
async fn only_a_token_of_its_own_name_replaces_an_enrolled_host() {
    let fleet = Fleet::start().await;
    fleet.join("web01").await;
    let any = fleet.token(CreateTokenRequest::default()).await;
    let status = join(&any, "web01").await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(
        status.message().contains("--host web01"),
        "{}",
        status.message()
    );
    fleet.join("web01").await;
}

#[tokio::test]
async fn an_agent_with_another_fleets_pin_sends_nothing() {
    let fleet = Fleet::start().await;
    let other = Pin::of(&vec![1, 2, 3].into());
    let dialled = dial(&fleet.address, pinned_client_config(other).unwrap()).await;
    assert!(matches!(dialled, Err(DialError::Tls { .. })), "{dialled:?}");
}

/// Whether a peer with these credentials can have a session.
async fn is_let_in(fleet: &Fleet, credentials: rsv_proto::tls::Credentials) -> bool {
    // With TLS 1.3 a client learns of its refusal with its first call.
    let Ok(channel) = dial(&fleet.address, client_config(&credentials).unwrap()).await else {
        return false;
    };
    let renewed = AgentLinkClient::new(channel)
        .renew(RenewRequest {
            csr: csr(&KeyPair::generate().unwrap()),
        })
        .await;
    renewed.is_ok()
}

#[tokio::test]
async fn expired_and_foreign_certificates_are_refused_and_others_go_on() {
    let fleet = Fleet::start().await;
    let good = fleet.join("web01").await;
    let host = "web01".parse().unwrap();
    let with = |authority: &Authority, at: SystemTime| {
        let key = KeyPair::generate().unwrap();
        let issued = authority.sign_agent(&host, &csr(&key), at).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        rsv_proto::tls::Credentials {
            chain: issued.chain,
            key,
            root: good.root.clone(),
        }
    };
    let now = SystemTime::now();
    let directory = tempfile::tempdir().unwrap();
    let foreign = Authority::create(directory.path(), "test", now).unwrap();
    assert!(is_let_in(&fleet, with(&fleet.authority(), now)).await);
    assert!(
        !is_let_in(
            &fleet,
            with(&fleet.authority(), now - Duration::from_secs(48 * 3600))
        )
        .await
    );
    assert!(!is_let_in(&fleet, with(&foreign, now)).await);
    assert!(is_let_in(&fleet, good).await);
}

#[tokio::test]
async fn who_only_opens_connections_holds_up_nobody() {
    let fleet = Fleet::start().await;
    let address: SocketAddr = fleet
        .address
        .replace("localhost", "127.0.0.1")
        .parse()
        .unwrap();
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    fleet.join("web01").await;
    drop(idle);
}

#[tokio::test]
async fn a_renewed_certificate_is_for_the_same_host_and_is_shown() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let before = fleet.host("web01").await.certificate_expires.unwrap();
    let key = KeyPair::generate().unwrap();
    // Seconds are what is remembered of an end: the next one must have begun.
    let renewed = loop {
        let renewed = agent
            .client
            .renew(RenewRequest { csr: csr(&key) })
            .await
            .unwrap();
        let after = fleet.host("web01").await.certificate_expires.unwrap();
        if after.seconds > before.seconds {
            break renewed.into_inner();
        }
    };
    let chain: Vec<_> = renewed.chain.into_iter().map(Into::into).collect();
    assert_eq!(
        Identity::from_leaf(&chain[0]).unwrap().to_string(),
        "agent/web01"
    );
    let status = agent
        .client
        .renew(RenewRequest { csr: vec![1] })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let root = agent.credentials.root.clone();
    let credentials = rsv_proto::tls::Credentials { chain, key, root };
    let mut again = Agent::dial(&fleet, credentials, hello(2)).await;
    again.welcome().await;
}
