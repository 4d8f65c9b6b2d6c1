//! The fleet's own certificate authority: a root, an intermediate for each role, and the leaves they
//! sign.
//!
//! Of a request only the public key is used; every name in a certificate is chosen here. The root's key
//! is needed when the authority is made and never afterwards: it may be taken away from the machine.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use rsv_proto::{
    identity::{Identity, ROOT_COMMON_NAME, Role},
    name::HostName,
    tls::Credentials,
};
use rustls_pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer, pem::PemObject as _,
};

use crate::files::{self, FileError};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Long enough to outlive the fleet: a root that ends takes every host with it.
const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const CONTROLLER_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
const OPERATOR_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
const AGENT_LIFE: Duration = DAY;

/// Certificates are valid from a little before now: a peer's clock may be behind.
const BACKDATE: Duration = Duration::from_secs(10 * 60);

/// Signs for all roles of one fleet.
#[derive(Debug)]
pub struct Authority {
    trust_domain: String,
    root: CertificateDer<'static>,
    controllers: Signer,
    agents: Signer,
    operators: Signer,
}

/// A signed certificate for a key that somebody else holds.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Leaf first, then its intermediate.
    pub chain: Vec<CertificateDer<'static>>,
    /// In hexadecimal.
    pub serial: String,
    /// When it ends.
    pub expires: SystemTime,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of the authority.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that is not what it should be.
    #[error("`{}` is not a usable certificate or key", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request cannot be read, or its signature is wrong.
    #[error("the signing request cannot be used")]
    Request(#[source] rcgen::Error),
    /// A kind of key that is not accepted.
    #[error("the signing request has a key of a kind that is not accepted")]
    KeyKind,
    /// Not a DNS name or an address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// The certificate could not be made.
    #[error("cannot sign a certificate for `{name}`")]
    Sign {
        /// Whose.
        name: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The system gives no random numbers.
    #[error("cannot get random numbers")]
    Random(#[source] getrandom::Error),
}

/// One intermediate and its key.
struct Signer {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority in an existing directory.
    pub fn create(directory: &Path, trust_domain: &str, now: SystemTime) -> Result<Self, CaError> {
        let key = new_key(ROOT_COMMON_NAME)?;
        let params = ca_params(ROOT_COMMON_NAME, trust_domain, 1, now, ROOT_LIFE)?;
        let root = params
            .self_signed(&key)
            .map_err(|e| sign_error(ROOT_COMMON_NAME, e))?;
        files::write(&directory.join("root.crt"), root.pem().as_bytes())?;
        files::write(&directory.join("root.key"), key.serialize_pem().as_bytes())?;
        let issuer = Issuer::new(params, key);
        for role in Role::ALL {
            let name = role.issuer_common_name();
            let key = new_key(&name)?;
            let mut params = ca_params(&name, trust_domain, 0, now, INTERMEDIATE_LIFE)?;
            params.extended_key_usages = usages(role);
            let certificate = params
                .signed_by(&key, &issuer)
                .map_err(|e| sign_error(&name, e))?;
            let path = |ending: &str| directory.join(format!("{role}.{ending}"));
            files::write(&path("crt"), certificate.pem().as_bytes())?;
            files::write(&path("key"), key.serialize_pem().as_bytes())?;
        }
        Self::load(directory, trust_domain)
    }

    /// Reads an authority that was made before. The root's key is not needed.
    pub fn load(directory: &Path, trust_domain: &str) -> Result<Self, CaError> {
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            root: read_certificate(&directory.join("root.crt"))?,
            controllers: Signer::load(directory, Role::Controller)?,
            agents: Signer::load(directory, Role::Agent)?,
            operators: Signer::load(directory, Role::Operator)?,
        })
    }

    /// What every trust in this fleet begins with.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// What every name in this fleet begins with.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Signs for a host the key in its request (PKCS#10, DER).
    pub fn sign_agent(
        &self,
        host: &HostName,
        request: &[u8],
        now: SystemTime,
    ) -> Result<Issued, CaError> {
        let request = CertificateSigningRequestDer::from(request);
        let request =
            CertificateSigningRequestParams::from_der(&request).map_err(CaError::Request)?;
        let accepted = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ];
        if !accepted.contains(&request.public_key.algorithm()) {
            return Err(CaError::KeyKind);
        }
        let leaf = Leaf {
            role: Role::Agent,
            name: host.as_str(),
            also: &[],
            life: AGENT_LIFE,
        };
        self.sign(&leaf, &request.public_key, now)
    }

    /// Makes a controller's key and certificate, valid for these DNS names and addresses.
    pub fn make_controller(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<Credentials, CaError> {
        let name = names.first().map_or("controller", String::as_str);
        // An IPv6 address has colons, which a name of ours has not.
        let plain = name.replace(':', "-");
        let leaf = Leaf {
            role: Role::Controller,
            name: &plain,
            also: names,
            life: CONTROLLER_LIFE,
        };
        self.make(&leaf, now)
    }

    /// Makes an operator's key and certificate.
    pub fn make_operator(&self, name: &str, now: SystemTime) -> Result<Credentials, CaError> {
        let leaf = Leaf {
            role: Role::Operator,
            name,
            also: &[],
            life: OPERATOR_LIFE,
        };
        self.make(&leaf, now)
    }

    fn make(&self, leaf: &Leaf<'_>, now: SystemTime) -> Result<Credentials, CaError> {
        let key = new_key(leaf.name)?;
        let issued = self.sign(leaf, &key, now)?;
        Ok(Credentials {
            chain: issued.chain,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            root: self.root.clone(),
        })
    }

    fn sign(
        &self,
        leaf: &Leaf<'_>,
        key: &impl PublicKeyData,
        now: SystemTime,
    ) -> Result<Issued, CaError> {
        let serial = serial()?;
        let hex = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        let identity = Identity {
            trust_domain: self.trust_domain.clone(),
            role: leaf.role,
            name: leaf.name.to_owned(),
        };
        let failed = |source| sign_error(leaf.name, source);
        let mut names = vec![SanType::URI(identity.uri().try_into().map_err(failed)?)];
        for name in leaf.also {
            names.push(alternative_name(name)?);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(leaf.name);
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages(leaf.role);
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        limit(&mut params, now, leaf.life);
        let signer = self.signer(leaf.role);
        let certificate = params.signed_by(key, &signer.issuer).map_err(failed)?;
        Ok(Issued {
            chain: vec![certificate.der().clone(), signer.certificate.clone()],
            serial: hex,
            expires: now + leaf.life,
        })
    }

    fn signer(&self, role: Role) -> &Signer {
        match role {
            Role::Controller => &self.controllers,
            Role::Agent => &self.agents,
            Role::Operator => &self.operators,
        }
    }
}

/// What a leaf is to say.
struct Leaf<'a> {
    role: Role,
    name: &'a str,
    also: &'a [String],
    life: Duration,
}

impl Signer {
    fn load(directory: &Path, role: Role) -> Result<Self, CaError> {
        let certificate = read_certificate(&directory.join(format!("{role}.crt")))?;
        let path = directory.join(format!("{role}.key"));
        let damaged = |source: rcgen::Error| damaged(&path, source);
        let key = KeyPair::from_pem(&files::read(&path)?).map_err(damaged)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(damaged)?;
        Ok(Self {
            certificate,
            issuer,
        })
    }
}

fn usages(role: Role) -> Vec<Usage> {
    match role {
        Role::Controller => vec![Usage::ServerAuth, Usage::ClientAuth],
        Role::Agent | Role::Operator => vec![Usage::ClientAuth],
    }
}

fn ca_params(
    name: &str,
    trust_domain: &str,
    below: u8,
    now: SystemTime,
    life: Duration,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, trust_domain);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    limit(&mut params, now, life);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    // X.509 bounds a common name; the alternative name is the one that counts.
    names.push(
        DnType::CommonName,
        name.chars().take(64).collect::<String>(),
    );
    names
}

fn alternative_name(name: &str) -> Result<SanType, CaError> {
    let wrong = || CaError::Name(name.escape_debug().to_string());
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let name: HostName = name.parse().map_err(|_| wrong())?;
    Ok(SanType::DnsName(
        name.as_str().try_into().map_err(|_| wrong())?,
    ))
}

fn new_key(name: &str) -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|e| sign_error(name, e))
}

fn sign_error(name: &str, source: rcgen::Error) -> CaError {
    CaError::Sign {
        name: name.to_owned(),
        source,
    }
}

/// 16 random bytes that read as a positive number.
fn serial() -> Result<[u8; 16], CaError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(CaError::Random)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}

/// Makes a certificate valid from a little before now.
fn limit(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since(now - BACKDATE);
    params.not_after = epoch + since(now + life);
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, CaError> {
    let pem = files::read(path)?;
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| damaged(path, e))
}

fn damaged(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> CaError {
    CaError::Damaged {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests;
