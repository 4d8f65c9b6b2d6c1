//! The controller's own key and certificate on disk, and when they are due to be replaced.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rsv_proto::tls::Credentials;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use crate::{
    ca::CaError,
    files::{self, FileError},
};

/// One file for key and chain, so that they can never be of two minds.
const FILE: &str = "controller.pem";

/// Writes key and chain into a state directory.
pub fn write(state_dir: &Path, credentials: &Credentials) -> Result<(), FileError> {
    let mut text = pem("PRIVATE KEY", credentials.key.secret_der());
    for certificate in &credentials.chain {
        text.push_str(&pem("CERTIFICATE", certificate));
    }
    files::write(&state_dir.join(FILE), text.as_bytes())
}

/// Reads them back.
pub fn read(state_dir: &Path, root: &CertificateDer<'static>) -> Result<Credentials, CaError> {
    let path = state_dir.join(FILE);
    let text = files::read(&path)?;
    let damaged = |source| CaError::Damaged {
        path: path.clone(),
        source: Box::new(source),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    Ok(Credentials {
        chain: chain.map_err(damaged)?,
        key: PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(damaged)?,
        root: root.clone(),
    })
}

/// When half of a certificate's life is over; absent when it cannot be read, which means now.
pub fn half_life(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let seconds = |at: x509_parser::time::ASN1Time| u64::try_from(at.timestamp()).ok();
    let (begin, end) = (
        seconds(parsed.validity().not_before)?,
        seconds(parsed.validity().not_after)?,
    );
    Some(UNIX_EPOCH + Duration::from_secs(begin / 2 + end / 2))
}

/// Whether a certificate is valid for each of these DNS names and addresses.
pub fn covers(certificate: &CertificateDer<'_>, names: &[String]) -> bool {
    let Ok((_, parsed)) = x509_parser::certificate::X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else {
        return false;
    };
    let alternatives = &alternatives.value.general_names;
    names.iter().all(|name| {
        alternatives
            .iter()
            .any(|alternative| is_name(alternative, name))
    })
}

fn is_name(alternative: &GeneralName<'_>, name: &str) -> bool {
    match (alternative, name.parse::<std::net::IpAddr>()) {
        (GeneralName::DNSName(dns), Err(_)) => dns.eq_ignore_ascii_case(name),
        (GeneralName::IPAddress(bytes), Ok(std::net::IpAddr::V4(ip))) => *bytes == ip.octets(),
        (GeneralName::IPAddress(bytes), Ok(std::net::IpAddr::V6(ip))) => *bytes == ip.octets(),
        _ => false,
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Authority;

    #[test]
    fn credentials_are_read_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let authority = Authority::create(dir.path(), "test", now).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
        let made = authority.make_controller(&names, now).unwrap();
        write(dir.path(), &made).unwrap();
        let read = read(dir.path(), authority.root()).unwrap();
        assert_eq!(read.chain, made.chain);
        assert_eq!(read.key, made.key);
        assert!(covers(&read.chain[0], &names));
        assert!(!covers(&read.chain[0], &["other.example.com".into()]));
        let half = half_life(&read.chain[0]).unwrap();
        assert!(half > now + Duration::from_secs(40 * 86_400));
        assert!(half < now + Duration::from_secs(50 * 86_400));
    }
}
