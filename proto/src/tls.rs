//! Mutual TLS 1.3 from certificates and keys in memory. No other version is spoken and nothing is
//! ever sent in the clear.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    server::{ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

/// A certificate chain, its key, and the root to trust.
pub struct Credentials {
    /// Leaf first, then its intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// The root of the fleet.
    pub root: CertificateDer<'static>,
}

/// Why certificates and keys do not make a TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The root is not a usable certificate.
    #[error("cannot use the root certificate")]
    Root(#[source] rustls::Error),
    /// The verifier of peers cannot be made.
    #[error("cannot verify peers with the root certificate")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// The key does not fit the certificate, or one of them is malformed.
    #[error("cannot use the certificate and its key")]
    Key(#[source] rustls::Error),
    /// The provider of cryptography lacks TLS 1.3.
    #[error("cannot speak TLS 1.3")]
    Version(#[source] rustls::Error),
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            root: self.root.clone(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// The provider of cryptography that everything here uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client that shows its certificate and trusts the root.
pub fn client_config(credentials: &Credentials) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Version)?
        .with_root_certificates(roots(&credentials.root)?)
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(TlsError::Key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// A server that verifies a client's certificate when one is shown; whether a caller without one
/// may do anything is decided per method.
pub fn server_config(credentials: &Credentials) -> Result<Arc<ServerConfig>, TlsError> {
    let key = certified_key(credentials)?;
    server_config_with(&credentials.root, Arc::new(Always(Arc::new(key))))
}

/// As [`server_config`], with a certificate that can change while the server runs.
pub fn server_config_with(
    root: &CertificateDer<'static>,
    certificate: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(root)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Version)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A ticket would let a client resume with a certificate that has ended since.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a server shows: its chain with the root at the end, so that a joining agent, which knows
/// nothing but the root's digest, can verify it.
pub fn certified_key(credentials: &Credentials) -> Result<CertifiedKey, TlsError> {
    let mut chain = credentials.chain.clone();
    chain.push(credentials.root.clone());
    CertifiedKey::from_der(chain, credentials.key.clone_key(), &provider()).map_err(TlsError::Key)
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn roots(root: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    store.add(root.clone()).map_err(TlsError::Root)?;
    Ok(Arc::new(store))
}

/// The digest of a root certificate: all that a host without an identity knows of its fleet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pin is 64 hexadecimal digits")]
pub struct PinError;

impl Pin {
    /// The pin of a root.
    pub fn of(root: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(root.as_ref()).into())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(PinError);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| PinError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| PinError)?;
        }
        Ok(Self(bytes))
    }
}

/// A client without an identity that trusts the one root with this pin, which the server must
/// show. Nothing is sent before the server has been verified.
pub fn pinned_client_config(pin: Pin) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Version)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned {
            pin,
            provider: provider(),
        }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Finds the pinned root in what the server shows, then verifies as usual with that root alone.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let root = intermediates
            .iter()
            .find(|c| Pin::of(c) == self.pin)
            .ok_or_else(|| {
                rustls::Error::General(
                    "the server does not belong to the fleet of the token".into(),
                )
            })?;
        let mut store = RootCertStore::empty();
        store.add(root.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&self.provider))
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?
            .verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_back_as_it_was_written() {
        let pin = Pin::of(&CertificateDer::from(vec![1, 2, 3]));
        assert_eq!(pin.to_string().parse::<Pin>().unwrap(), pin);
        assert_eq!("xy".parse::<Pin>(), Err(PinError));
        assert_eq!("é".repeat(32).parse::<Pin>(), Err(PinError));
    }
}
