use rsv_proto::{
    identity::{Identity, Role},
    tls,
};
use rustls::{RootCertStore, server::WebPkiClientVerifier};

use super::*;

fn authority(directory: &Path) -> Authority {
    Authority::create(directory, "test", SystemTime::now()).unwrap()
}

fn request(key: &KeyPair, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|&n| n.into()).collect();
    CertificateParams::new(names)
        .unwrap()
        .serialize_request(key)
        .unwrap()
        .der()
        .to_vec()
}

fn is_client(authority: &Authority, chain: &[CertificateDer<'static>], at: SystemTime) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(authority.root().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), tls::provider())
        .build()
        .unwrap();
    let at = rustls_pki_types::UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap());
    verifier
        .verify_client_cert(&chain[0], &chain[1..], at)
        .is_ok()
}

#[test]
fn an_agents_certificate_names_the_host_whatever_its_request_says() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let key = KeyPair::generate().unwrap();
    let request = request(&key, &["evil.example.com"]);
    let now = SystemTime::now();
    let issued = authority
        .sign_agent(&"web01".parse().unwrap(), &request, now)
        .unwrap();
    let identity = Identity::from_leaf(&issued.chain[0]).unwrap();
    assert_eq!(identity.uri(), "rsv://test/agent/web01");
    assert!(!issued.chain[0].windows(4).any(|w| w == b"evil"));
    assert!(is_client(&authority, &issued.chain, now));
    assert!(
        is_client(&authority, &issued.chain, now - BACKDATE / 2),
        "a clock that is behind"
    );
    assert!(
        !is_client(&authority, &issued.chain, now + AGENT_LIFE * 2),
        "ended"
    );
}

#[test]
fn a_request_that_is_damaged_or_has_a_wrong_signature_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let mut request = request(&KeyPair::generate().unwrap(), &[]);
    let last = request.len() - 1;
    request[last] ^= 1;
    let host = "web01".parse().unwrap();
    for bytes in [&request[..], &request[..20], b""] {
        let error = authority
            .sign_agent(&host, bytes, SystemTime::now())
            .unwrap_err();
        assert!(matches!(error, CaError::Request(_)), "{error}");
    }
}

#[test]
fn controllers_and_operators_get_what_tls_needs() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let names = [
        "ctl.example.com".to_owned(),
        "::1".into(),
        "127.0.0.1".into(),
    ];
    let now = SystemTime::now();
    let controller = authority.make_controller(&names, now).unwrap();
    let identity = Identity::from_leaf(&controller.chain[0]).unwrap();
    assert_eq!(
        (identity.role, identity.name.as_str()),
        (Role::Controller, "ctl.example.com")
    );
    tls::server_config(&controller).unwrap();
    let operator = authority.make_operator("admin", now).unwrap();
    assert_eq!(
        Identity::from_leaf(&operator.chain[0]).unwrap().role,
        Role::Operator
    );
    assert!(is_client(&authority, &operator.chain, now));
    tls::client_config(&operator).unwrap();
    assert!(authority.make_controller(&["a b".into()], now).is_err());
}

#[test]
fn the_authority_works_on_without_the_roots_key() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path());
    std::fs::remove_file(dir.path().join("root.key")).unwrap();
    let authority = Authority::load(dir.path(), "test").unwrap();
    let operator = authority.make_operator("admin", SystemTime::now()).unwrap();
    assert!(is_client(&authority, &operator.chain, SystemTime::now()));
}

#[test]
fn a_leaf_signed_by_another_roles_intermediate_is_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let mut params = CertificateParams::default();
    let uri = "rsv://test/operator/admin".try_into().unwrap();
    params.subject_alt_names = vec![SanType::URI(uri)];
    let key = KeyPair::generate().unwrap();
    let forged = params.signed_by(&key, &authority.agents.issuer).unwrap();
    assert!(Identity::from_leaf(forged.der()).is_err());
}
