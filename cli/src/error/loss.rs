//! Lost connections and failed handshakes in words of our own. Pure.
//!
//! The libraries below say these things in their terms, and not always as a type that can be told
//! apart: HTTP/2 keeps what went wrong with the socket as a text. None of those texts is passed on.

use std::{error::Error, io};

use rsv_proto::dial::DialError;
use rustls::{AlertDescription, CertificateError};
use tonic::Status;

/// How a connection that was open came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing was heard any more.
    Silence,
    /// The other side closed it.
    Closed,
    /// Anything else.
    Broken,
}

impl Loss {
    /// What happened, as the end of a sentence that begins with the other side.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Silence => "does not answer any more",
            Self::Closed => "closed the connection",
            Self::Broken => "broke off the connection",
        }
    }
}

/// How the connection under a failed call ended.
pub(super) fn loss(status: &Status) -> Loss {
    let mut found = Loss::Broken;
    for cause in causes(status) {
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::TimedOut
        {
            return Loss::Silence;
        }
        let text = cause.to_string().to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["timed out", "keep-alive"]) {
            return Loss::Silence;
        }
        if says(&[
            "closed",
            "broken pipe",
            "reset",
            "close_notify",
            "has ended",
        ]) {
            found = Loss::Closed;
        }
    }
    found
}

/// Whether what answered is no server of ours: the HTTP answer of another one, put in the words of
/// the library that could not read it.
pub(super) fn is_foreign(status: &Status) -> bool {
    let text = status.message();
    ["grpc-status header missing", "invalid compression flag"]
        .iter()
        .any(|words| text.contains(words))
}

/// Why there is no connection.
pub(super) fn cause(error: &DialError) -> Option<String> {
    match error {
        DialError::Connect { source, .. } | DialError::Unix { source, .. } => {
            Some(io_words(source))
        }
        DialError::Tls { source, .. } => Some(tls_words(source)),
        DialError::Address(_)
        | DialError::Timeout { .. }
        | DialError::Silent { .. }
        | DialError::Protocol { .. } => None,
    }
}

/// A failure of the system, without its number.
fn io_words(error: &io::Error) -> String {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "connection reset",
        io::ErrorKind::HostUnreachable => "the host cannot be reached",
        io::ErrorKind::NetworkUnreachable => "the network cannot be reached",
        io::ErrorKind::TimedOut => "no answer",
        io::ErrorKind::NotFound => "no such file",
        io::ErrorKind::PermissionDenied => "permission denied",
        _ => "",
    };
    if !words.is_empty() {
        return words.to_owned();
    }
    let text = error.to_string();
    if text.contains("lookup address") {
        return "no host of this name is known".to_owned();
    }
    match text.split_once(" (os error") {
        Some((words, _number)) => words.to_lowercase(),
        None => "it failed in an unknown way".to_owned(),
    }
}

/// Why TLS was not established.
fn tls_words(error: &io::Error) -> String {
    let found = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let words = match found {
        Some(rustls::Error::InvalidCertificate(error)) => certificate_words(error),
        Some(rustls::Error::AlertReceived(alert)) => alert_words(*alert),
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS",
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            "it speaks another kind of TLS"
        }
        Some(_) => "its handshake is wrong",
        None if error.kind() == io::ErrorKind::TimedOut => "no answer",
        None => "it closed the connection during the handshake",
    };
    words.to_owned()
}

/// What is wrong with the certificate that was shown to us.
fn certificate_words(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "its certificate has ended, or a clock is wrong",
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or a clock is wrong"
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        E::Revoked => "its certificate is revoked",
        E::UnknownIssuer | E::BadSignature => "its certificate comes from another fleet",
        _ => "its certificate cannot be accepted",
    }
}

/// What the other side says against us.
fn alert_words(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "it speaks another kind of TLS"
        }
        AlertDescription::NoApplicationProtocol => "it does not speak the expected protocol",
        _ => "it refused the handshake",
    }
}

/// An error and those behind it, those that an `io::Error` hides from `source` included.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(text: &str) -> Status {
        Status::from_error(Box::new(io::Error::other(text.to_owned())))
    }

    #[test]
    fn what_libraries_say_is_told_apart_and_not_repeated() {
        for (text, expected) in [
            ("keep-alive timed out", Loss::Silence),
            ("connection error: broken pipe", Loss::Closed),
            (
                "peer closed connection without sending TLS close_notify: https://docs.rs/x",
                Loss::Closed,
            ),
            ("h2 protocol error: http2 error", Loss::Broken),
        ] {
            assert_eq!(loss(&lost(text)), expected, "{text}");
        }
    }

    #[test]
    fn handshakes_that_fail_are_explained_in_our_words() {
        let tls = |error: rustls::Error| tls_words(&io::Error::other(error));
        assert_eq!(
            tls(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
            )),
            "its certificate comes from another fleet"
        );
        let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "see https://docs.rs/rustls");
        assert_eq!(
            tls_words(&closed),
            "it closed the connection during the handshake"
        );
    }

    #[test]
    fn failures_of_the_system_have_no_numbers() {
        let error = io::Error::from_raw_os_error(111);
        assert_eq!(io_words(&error), "connection refused");
        let error = io::Error::from_raw_os_error(24);
        assert_eq!(io_words(&error), "too many open files");
    }
}
