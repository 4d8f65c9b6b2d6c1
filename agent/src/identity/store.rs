//! The host's identity on disk: one private file, replaced whole.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rsv_proto::name::HostName;
use rsv_proto::tls::Credentials;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;

use super::state::{StateDir, StateError, write_atomically};

/// The file's name in the state directory.
pub(super) const FILE: &str = "identity.json";

/// The form of the file that this code writes.
const FORMAT: u32 = 1;

/// What makes this host a member of a fleet.
#[derive(Debug, Clone)]
pub struct HostIdentity {
    /// The name in the certificate.
    pub name: HostName,
    /// What the fleet's names begin with.
    pub trust_domain: String,
    /// `HOST:PORT` of the controllers that were known when the host joined.
    pub controllers: Vec<String>,
    /// Certificate, key and root.
    pub credentials: Credentials,
}

/// The time for which a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Good from here.
    pub not_before: SystemTime,
    /// Good until here.
    pub not_after: SystemTime,
}

/// The form on disk.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    name: String,
    trust_domain: String,
    controllers: Vec<String>,
    /// Base64 of DER, leaf first.
    chain: Vec<String>,
    key: String,
    root: String,
}

#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("written by another version (format {0})")]
    Format(u32),
    #[error("{0} is not a certificate or key")]
    Encoding(&'static str),
}

impl StateDir {
    /// The identity, if this host has joined.
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`] for a file that cannot be understood, otherwise [`StateError::Io`].
    pub fn load_identity(&self) -> Result<Option<HostIdentity>, StateError> {
        let path = self.path().join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::io("read", &path, source)),
        };
        read(&text)
            .map(Some)
            .map_err(|source| StateError::Damaged { path, source })
    }

    /// Stores the identity in place of any other.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`]; the former identity is then still there.
    pub fn store_identity(&self, identity: &HostIdentity) -> Result<(), StateError> {
        let path = self.path().join(FILE);
        let text = serde_json::to_vec_pretty(&written(identity))
            .expect("texts and numbers can always be written as JSON");
        write_atomically(&path, &text).map_err(|source| StateError::io("write", &path, source))
    }
}

impl HostIdentity {
    /// For how long the certificate is good; absent when it cannot be read.
    pub fn validity(&self) -> Option<Validity> {
        validity(self.credentials.chain.first()?)
    }
}

impl Validity {
    /// When to ask for the next certificate: at half of the lifetime, plus up to a tenth of it so
    /// that hosts which joined together do not come together. `jitter` is from 0 to 1.
    pub fn renewal(&self, jitter: f64) -> SystemTime {
        let lifetime = self
            .not_after
            .duration_since(self.not_before)
            .unwrap_or_default();
        self.not_before + lifetime.mul_f64(0.5 + 0.1 * jitter.clamp(0.0, 1.0))
    }
}

fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let moment =
        |seconds: i64| UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?));
    Some(Validity {
        not_before: moment(parsed.validity().not_before.timestamp())?,
        not_after: moment(parsed.validity().not_after.timestamp())?,
    })
}

fn written(identity: &HostIdentity) -> Written {
    let Credentials { chain, key, root } = &identity.credentials;
    Written {
        format: FORMAT,
        name: identity.name.as_str().to_owned(),
        trust_domain: identity.trust_domain.clone(),
        controllers: identity.controllers.clone(),
        chain: chain.iter().map(|c| STANDARD.encode(c)).collect(),
        key: STANDARD.encode(key.secret_der()),
        root: STANDARD.encode(root),
    }
}

fn read(text: &[u8]) -> Result<HostIdentity, Box<dyn std::error::Error + Send + Sync>> {
    let written: Written = serde_json::from_slice(text)?;
    if written.format != FORMAT {
        return Err(Malformed::Format(written.format).into());
    }
    let certificate = |text: &String| -> Result<CertificateDer<'static>, Malformed> {
        let der = STANDARD
            .decode(text)
            .map_err(|_| Malformed::Encoding("a certificate"))?;
        Ok(der.into())
    };
    let key = STANDARD
        .decode(&written.key)
        .map_err(|_| Malformed::Encoding("the key"))?;
    let key = PrivateKeyDer::try_from(key).map_err(|_| Malformed::Encoding("the key"))?;
    Ok(HostIdentity {
        name: written.name.parse()?,
        trust_domain: written.trust_domain,
        controllers: written.controllers,
        credentials: Credentials {
            chain: written
                .chain
                .iter()
                .map(certificate)
                .collect::<Result<_, _>>()?,
            key,
            root: certificate(&written.root)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn identity() -> HostIdentity {
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let der = signed.cert.der().clone();
        HostIdentity {
            name: "web01".parse().unwrap(),
            trust_domain: "example".into(),
            controllers: vec!["ctl:7443".into()],
            credentials: Credentials {
                chain: vec![der.clone()],
                key: signed.signing_key.into(),
                root: der,
            },
        }
    }

    #[test]
    fn an_identity_is_read_back_as_it_was_stored_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        assert!(state.load_identity().unwrap().is_none());
        let stored = identity();
        state.store_identity(&stored).unwrap();
        let loaded = state.load_identity().unwrap().unwrap();
        assert_eq!(loaded.name, stored.name);
        assert_eq!(loaded.controllers, stored.controllers);
        assert_eq!(loaded.credentials.chain, stored.credentials.chain);
        assert_eq!(loaded.credentials.key, stored.credentials.key);
        let mode = fs::metadata(directory.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        for text in ["", "{}", "\u{0}", r#"{"format":9}"#] {
            fs::write(directory.path().join(FILE), text).unwrap();
            let error = state.load_identity().unwrap_err();
            assert!(
                matches!(error, StateError::Damaged { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn renewal_begins_at_half_of_the_lifetime_and_is_spread() {
        let not_before = UNIX_EPOCH + Duration::from_secs(1000);
        let validity = Validity {
            not_before,
            not_after: not_before + Duration::from_secs(1000),
        };
        assert_eq!(validity.renewal(0.0), not_before + Duration::from_secs(500));
        assert_eq!(validity.renewal(1.0), not_before + Duration::from_secs(600));
        assert!(identity().validity().unwrap().not_after > SystemTime::now());
    }
}
