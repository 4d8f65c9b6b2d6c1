//! How a certificate names a role and a host.
//!
//! A leaf certificate has exactly one URI among its alternative names:
//! `rsv://TRUST-DOMAIN/ROLE/NAME`. Each role has an intermediate of its own, whose common name is
//! fixed; since a path is only valid when each issuer's name is the next subject's, a leaf that
//! claims a role and names another role's intermediate as its issuer is refused here. So the key
//! that signs agents cannot make an operator.

use std::{fmt, str::FromStr};

use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

/// The common name of the root.
pub const ROOT_COMMON_NAME: &str = "rsv root CA";

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Aggregates hosts.
    Controller,
    /// Supervises one host.
    Agent,
    /// Is a person or a script that gives orders.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Controller, Self::Agent, Self::Operator];

    /// The word in a certificate's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Agent => "agent",
            Self::Operator => "operator",
        }
    }

    /// The common name of the intermediate that issues for this role.
    pub fn issuer_common_name(self) -> String {
        format!("rsv {} CA", self.as_str())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who a certificate says its holder is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The fleet.
    pub trust_domain: String,
    /// What the holder is.
    pub role: Role,
    /// The host's, operator's or controller's name.
    pub name: String,
}

/// Why a certificate names nobody.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate.
    #[error("cannot read the certificate")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No URI, or several.
    #[error("the certificate has {0} names of the form `rsv://DOMAIN/ROLE/NAME`, not one")]
    NameCount(usize),
    /// A URI of another form.
    #[error("`{0}` is not of the form `rsv://DOMAIN/ROLE/NAME`")]
    Uri(String),
    /// Signed by the intermediate of another role.
    #[error("`{uri}` is issued by `{issuer}`, not by `{expected}`")]
    Issuer {
        /// The name claimed.
        uri: String,
        /// The common name of the issuer.
        issuer: String,
        /// The common name that the role's issuer has.
        expected: String,
    },
}

impl Identity {
    /// The name as it stands in a certificate.
    pub fn uri(&self) -> String {
        format!("rsv://{}/{}/{}", self.trust_domain, self.role, self.name)
    }

    /// Reads the identity of a leaf. The certificate's signature must have been verified already.
    pub fn from_leaf(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let malformed = |e: Box<dyn std::error::Error + Send + Sync>| IdentityError::Malformed(e);
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|e| malformed(Box::new(e)))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|e| malformed(Box::new(e)))?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| names.value.general_names.iter())
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris[..] else {
            return Err(IdentityError::NameCount(uris.len()));
        };
        let identity: Self = uri.parse()?;
        let issuer = common_name(&parsed);
        let expected = identity.role.issuer_common_name();
        if issuer != expected {
            return Err(IdentityError::Issuer {
                uri: uri.to_owned(),
                issuer,
                expected,
            });
        }
        Ok(identity)
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> String {
    let mut names = certificate.issuer().iter_common_name();
    names
        .next()
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        let wrong = || IdentityError::Uri(uri.escape_debug().to_string());
        let rest = uri.strip_prefix("rsv://").ok_or_else(wrong)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [trust_domain, role, name] = parts[..] else {
            return Err(wrong());
        };
        let role = Role::ALL
            .into_iter()
            .find(|r| r.as_str() == role)
            .ok_or_else(wrong)?;
        if !is_plain(trust_domain) || !is_plain(name) {
            return Err(wrong());
        }
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            role,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role, self.name)
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    !text.is_empty() && text.len() <= 253 && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was_written() {
        let identity = Identity {
            trust_domain: "example.org".into(),
            role: Role::Agent,
            name: "web01".into(),
        };
        assert_eq!(identity.uri(), "rsv://example.org/agent/web01");
        assert_eq!(identity.uri().parse::<Identity>().unwrap(), identity);
        assert_eq!(identity.to_string(), "agent/web01");
    }

    #[test]
    fn names_of_another_form_are_refused() {
        for uri in [
            "https://example.org/agent/web01",
            "rsv://example.org/agent",
            "rsv://example.org/agent/web01/x",
            "rsv://example.org/root/web01",
            "rsv:///agent/web01",
            "rsv://example.org/agent/web\n01",
        ] {
            assert!(uri.parse::<Identity>().is_err(), "{uri:?}");
        }
    }
}
