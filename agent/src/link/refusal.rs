//! Finds out whether a peer has refused who we are, or is not who it should be: something that a
//! person has to set right, while anything else heals by itself.

use std::error::Error;

use tonic::{Code, Status};

/// What a person has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The controller does not accept our certificate.
    Ours,
    /// We do not accept the controller's certificate.
    Theirs,
}

impl Refusal {
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Ours => {
                "the controller refuses this host's certificate (expired, revoked, or of another \
                 fleet): make a token with `rsv token create` and run `rsv-agent join --force`"
            }
            Self::Theirs => {
                "the controller's certificate does not fit: check the address, both clocks, and \
                 that this host joined this fleet"
            }
        }
    }
}

/// Why the session's call was refused, if it was our certificate.
pub(super) fn of_status(status: &Status) -> Option<Refusal> {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => Some(Refusal::Ours),
        _ => status.source().and_then(of_error),
    }
}

/// Why a connection failed, if it was a certificate.
pub(super) fn of_error(error: &(dyn Error + 'static)) -> Option<Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        // An I/O error names its inner error's source as its own, and so hides the inner error.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn of_tls(error: &rustls::Error) -> Option<Refusal> {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(_) => Some(Refusal::Theirs),
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
            | Alert::DecryptError,
        ) => Some(Refusal::Ours),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_refused_certificate_is_found_behind_other_errors() {
        let expired = rustls::AlertDescription::CertificateExpired;
        let tls = rustls::Error::AlertReceived(expired);
        let hidden = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert_eq!(of_error(&hidden), Some(Refusal::Ours));
        let theirs = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let hidden = io::Error::new(io::ErrorKind::InvalidData, theirs);
        assert_eq!(of_error(&hidden), Some(Refusal::Theirs));
    }

    #[test]
    fn a_peer_that_went_away_has_refused_nothing() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(of_error(&reset), None);
        assert_eq!(of_status(&Status::unavailable("gone")), None);
        assert_eq!(
            of_status(&Status::permission_denied("no")),
            Some(Refusal::Ours)
        );
    }
}
