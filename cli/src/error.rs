//! How a run can end: exit codes, failures with their cause and hint, and the one place that maps
//! what a server answers to them.
//!
//! It says nothing about a program's outcome: that is a result, decided by the commands.

mod loss;

use std::{error::Error, fmt, io};

use rsv_proto::dial::DialError;
use rustls::AlertDescription;
use tonic::{Code, Status};

use loss::Loss;

/// The exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked was done.
    Done = 0,
    /// It failed as a whole.
    Failed = 1,
    /// The command line or a file it names is wrong; nothing was done.
    Usage = 2,
    /// `status`: something shown is STOPPED, EXITED, FATAL or UNKNOWN.
    NotAllUp = 3,
    /// `status`: unknown name, or nothing answered. Elsewhere: nothing answered.
    NoAnswer = 4,
    /// The other side speaks another version.
    Incompatible = 5,
    /// Not running, a spawn error, or no socket of an agent.
    NotRunning = 7,
    /// Some targets failed.
    SomeFailed = 10,
    /// All that answered succeeded; some hosts are unreachable, or got it too late.
    SomeUnreachable = 11,
    /// The operation was stopped before it reached every target.
    Aborted = 12,
    /// Gave up waiting; the operation goes on.
    GaveUpWaiting = 13,
    /// Not allowed.
    Denied = 14,
    /// The selection names nothing.
    NoTarget = 15,
    /// A precondition such as `--expect` does not hold; nothing was done.
    Precondition = 16,
    /// Not confirmed; nothing was done.
    Declined = 17,
    /// `update --dry-run`: the plan has changes.
    PlanHasChanges = 18,
    /// Interrupted from the keyboard.
    Interrupted = 130,
    /// Nobody reads the output any more.
    BrokenPipe = 141,
}

/// Why a run ends without a result.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the process exits with.
    pub(crate) exit: Exit,
    /// The operation and its object; absent when everything has been said already.
    pub(crate) message: Option<String>,
    /// Each cause in turn, outermost first.
    pub(crate) causes: Vec<String>,
    /// What a person can do about it.
    pub(crate) hint: Option<String>,
    /// What supervisorctl prints instead, on standard output, where scripts look for it.
    pub(crate) said_as: Option<String>,
}

impl Failure {
    /// A failure to be shown.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: Some(message.into()),
            causes: Vec::new(),
            hint: None,
            said_as: None,
        }
    }

    /// A wrong command line or file.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// An end of which everything has been said.
    pub(crate) fn said(exit: Exit) -> Self {
        Self {
            exit,
            message: None,
            causes: Vec::new(),
            hint: None,
            said_as: None,
        }
    }

    /// Adds an error and the errors behind it.
    pub(crate) fn because(mut self, cause: &(dyn Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(cause) = next {
            self.add_cause(&cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Adds the errors behind an error whose own text is the message.
    pub(crate) fn behind(self, error: &(dyn Error + 'static)) -> Self {
        match error.source() {
            Some(source) => self.because(source),
            None => self,
        }
    }

    /// Adds what a person can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Gives it the words of supervisorctl.
    pub(crate) fn said_as(mut self, line: impl Into<String>) -> Self {
        self.said_as = Some(line.into());
        self
    }

    /// Some libraries repeat the text of the cause in the error: each is said once.
    fn add_cause(&mut self, text: &str) {
        let text = text.trim();
        let known = self
            .causes
            .last()
            .or(self.message.as_ref())
            .is_some_and(|last| last.ends_with(text));
        if !known && !text.is_empty() {
            self.causes.push(text.to_owned());
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.message.iter().chain(&self.causes);
        for (i, part) in parts.enumerate() {
            if i > 0 {
                f.write_str(": ")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

impl From<io::Error> for Failure {
    /// Output that cannot be written.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::said(Exit::BrokenPipe),
            _ => Self::new(Exit::Failed, "cannot write the output").because(&error),
        }
    }
}

impl From<&DialError> for Failure {
    fn from(error: &DialError) -> Self {
        let exit = match error {
            DialError::Address(_) => Exit::Usage,
            DialError::Unix { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Exit::NotRunning
            }
            _ => Exit::NoAnswer,
        };
        let mut failure = Self::new(exit, error.to_string());
        failure.causes.extend(loss::cause(error));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// What an answer of a server with this code ends in.
pub(crate) fn exit_of(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Done,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::Unavailable => Exit::NoAnswer,
        Code::Unimplemented => Exit::Incompatible,
        Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
        Code::NotFound => Exit::NoTarget,
        Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => Exit::Precondition,
        Code::DeadlineExceeded => Exit::GaveUpWaiting,
        Code::Cancelled
        | Code::Unknown
        | Code::ResourceExhausted
        | Code::Internal
        | Code::DataLoss => Exit::Failed,
    }
}

/// What can be done about an answer with this code, where the code alone tells.
fn hint_of(code: Code) -> Option<&'static str> {
    match code {
        Code::PermissionDenied => Some("`rsv ctx ls` shows who you are there"),
        Code::Unauthenticated => Some("ask an administrator for a new context"),
        Code::Unimplemented => Some("the other side is another version: compare `rsv version`"),
        Code::ResourceExhausted => Some("it is busy: try again in a moment"),
        Code::Internal | Code::DataLoss => Some("this is a defect: its log says more"),
        _ => None,
    }
}

/// A failed call of `server`, which is named as people know it.
pub(crate) fn refused(server: &str, status: &Status) -> Failure {
    if let Some(alert) = alert_of(status) {
        return lost_trust(server, alert);
    }
    if status.source().is_some() {
        return broken(server, loss::loss(status));
    }
    if loss::is_foreign(status) {
        return Failure::new(
            Exit::NoAnswer,
            format!("{server} does not speak the expected protocol"),
        );
    }
    let failure = match status.message().trim() {
        "" => Failure::new(
            exit_of(status.code()),
            status.code().description().to_lowercase(),
        ),
        message => Failure::new(exit_of(status.code()), message),
    };
    match hint_of(status.code()) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A connection that came to its end before the answer.
fn broken(server: &str, loss: Loss) -> Failure {
    let failure = Failure::new(Exit::NoAnswer, format!("{server} {}", loss.words()));
    match loss {
        Loss::Silence => failure.hint("it may be stopped or overloaded, or the network broken"),
        Loss::Closed | Loss::Broken => failure,
    }
}

/// Whether it is the connection that failed, and not the other side that answered.
pub(crate) fn is_lost(status: &Status) -> bool {
    status.source().is_some() || status.code() == Code::Unavailable
}

/// The failure of an operator whose certificate is not accepted.
pub(crate) fn lost_trust(server: &str, alert: AlertDescription) -> Failure {
    not_accepted(server, why_not(alert))
}

/// The failure of an operator whose certificate is not accepted, with the reason.
pub(crate) fn not_accepted(server: &str, why: &str) -> Failure {
    let words = format!("{server} does not accept your certificate: {why}");
    Failure::new(Exit::Denied, words)
        .hint("`rsv ctx ls` shows your contexts; ask an administrator for a new one")
}

fn why_not(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => "it has ended, or a clock is wrong",
        AlertDescription::CertificateRevoked => "it has been revoked",
        AlertDescription::UnknownCA => "it comes from another fleet",
        AlertDescription::CertificateRequired => "none was shown",
        _ => "it is not one of this fleet",
    }
}

/// The TLS alert about a certificate that is among an error's causes.
pub(crate) fn alert_of(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    let alert = loss::causes(error).find_map(|cause| match cause.downcast_ref() {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    });
    alert.filter(|alert| is_about_certificates(*alert))
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateUnknown
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_code_ends_in_a_documented_exit_code() {
        for (code, exit) in [
            (Code::Ok, 0),
            (Code::Cancelled, 1),
            (Code::Unknown, 1),
            (Code::InvalidArgument, 2),
            (Code::DeadlineExceeded, 13),
            (Code::NotFound, 15),
            (Code::AlreadyExists, 16),
            (Code::PermissionDenied, 14),
            (Code::ResourceExhausted, 1),
            (Code::FailedPrecondition, 16),
            (Code::Aborted, 16),
            (Code::OutOfRange, 2),
            (Code::Unimplemented, 5),
            (Code::Internal, 1),
            (Code::Unavailable, 4),
            (Code::DataLoss, 1),
            (Code::Unauthenticated, 14),
        ] {
            assert_eq!(exit_of(code) as u8, exit, "{code:?}");
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let inner = io::Error::other("connection refused");
        let outer = io::Error::other(inner);
        let failure = Failure::new(Exit::NoAnswer, "cannot connect to `x`").because(&outer);
        assert_eq!(
            failure.to_string(),
            "cannot connect to `x`: connection refused"
        );
    }

    #[test]
    fn a_refused_certificate_is_said_to_be_one() {
        let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let status = Status::from_error(Box::new(io::Error::other(alert)));
        let failure = refused("controller `a:1`", &status);
        assert_eq!(failure.exit, Exit::Denied);
        let text = failure.to_string();
        assert!(text.contains("does not accept your certificate"), "{text}");
        assert!(text.contains("another fleet"), "{text}");
    }

    #[test]
    fn a_closed_pipe_ends_the_run_without_words() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.message), (Exit::BrokenPipe, None));
    }
}
