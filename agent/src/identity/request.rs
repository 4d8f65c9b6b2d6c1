//! A new key and the request for its certificate.
//!
//! Only the public key in the request counts: names are given by the controller.

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::PrivateKeyDer;

/// A key that never leaves this host, and what is sent to have it certified.
#[derive(Debug)]
pub struct KeyRequest {
    /// The new key.
    pub key: PrivateKeyDer<'static>,
    /// PKCS#10 in DER.
    pub csr: Vec<u8>,
}

/// The key cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a key")]
pub struct KeyError(#[from] rcgen::Error);

impl KeyRequest {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn new() -> Result<Self, KeyError> {
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&pair)?.der().to_vec();
        Ok(Self {
            key: pair.into(),
            csr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_a_new_key() {
        let (one, two) = (KeyRequest::new().unwrap(), KeyRequest::new().unwrap());
        assert_ne!(one.key, two.key);
        let der = one.csr.into();
        assert!(rcgen::CertificateSigningRequestParams::from_der(&der).is_ok());
    }
}
