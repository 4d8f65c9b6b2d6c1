//! What each of our errors is in gRPC's words: the one place that says so.
//!
//! Fix the call: `INVALID_ARGUMENT`; fix the world first: `FAILED_PRECONDITION`; just retry:
//! `UNAVAILABLE`; slow down: `RESOURCE_EXHAUSTED`; ours to fix: `INTERNAL` with an id that stands in the log.

use tonic::Status;
use uuid::Uuid;

use crate::{
    ca::CaError,
    fleet::Refused,
    hub::{HubError, OperationError, SubmitError},
    operands::OperandError,
    store::{ChangeError, DesireError, JoinError, StoreError},
    targets::SelectionError,
    token::TokenRefused,
};

impl From<SelectionError> for Status {
    fn from(error: SelectionError) -> Self {
        let text = short(error.to_string());
        match error {
            SelectionError::Nothing
            | SelectionError::TooMany(_)
            | SelectionError::TooLong(_)
            | SelectionError::Selector(_)
            | SelectionError::Label(_)
            | SelectionError::Limit => Self::invalid_argument(text),
            SelectionError::NoOperation(_) => Self::not_found(format!("{text}; see `rsv op ls`")),
            SelectionError::NoMatch(_) => Self::not_found(format!("{text}; see `rsv host ls`")),
            SelectionError::NoHosts => {
                Self::not_found(format!("{text}; begin with `rsv token create`"))
            }
        }
    }
}

impl From<OperandError> for Status {
    fn from(error: OperandError) -> Self {
        let text = short(error.to_string());
        match error {
            OperandError::Pattern(..) | OperandError::TooMany(_) | OperandError::Open { .. } => {
                Self::invalid_argument(text)
            }
            OperandError::Neither(..) | OperandError::NotSelected(..) => {
                Self::not_found(format!("{text}; see `rsv host ls`"))
            }
        }
    }
}

impl From<SubmitError> for Status {
    fn from(error: SubmitError) -> Self {
        let text = error.to_string();
        match error {
            SubmitError::Selection(error) => error.into(),
            SubmitError::Operand(error) => error.into(),
            SubmitError::Count { .. } => Self::failed_precondition(text),
            SubmitError::KeyReused(_) => Self::already_exists(text),
            SubmitError::Rollout(_) | SubmitError::TooManyTargets(_) => {
                Self::invalid_argument(text)
            }
            SubmitError::TooMany => Self::resource_exhausted(text),
            SubmitError::Operation(error) => error.into(),
            SubmitError::NothingToRetry(_) => Self::failed_precondition(text),
            SubmitError::NotWritten => {
                Self::unavailable(format!("{text}; the controller's log says more"))
            }
        }
    }
}

impl From<OperationError> for Status {
    fn from(error: OperationError) -> Self {
        let text = short(error.to_string());
        match error {
            OperationError::Unknown(_) => Self::not_found(format!("{text}; see `rsv op ls`")),
            OperationError::Ambiguous(..) => {
                Self::invalid_argument(format!("{text}; say more of it, see `rsv op ls`"))
            }
            OperationError::Ended(..)
            | OperationError::UnderWay(_)
            | OperationError::Stopping(_) => Self::failed_precondition(text),
        }
    }
}

impl From<HubError> for Status {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Busy => Self::resource_exhausted(error.to_string()),
            HubError::Stopped => Self::unavailable(error.to_string()),
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::NotEnrolled(_) | Refused::Revoked(_) => {
                Self::permission_denied(format!("{text}; join again with a new token"))
            }
            Refused::Former(_) => Self::aborted(text),
            Refused::Protocol { .. } => {
                Self::failed_precondition(format!("{text}; upgrade the older of the two"))
            }
        }
    }
}

impl From<TokenRefused> for Status {
    fn from(refused: TokenRefused) -> Self {
        let text = refused.to_string();
        let again = "; make a new one with `rsv token create`";
        match refused {
            TokenRefused::Unknown => Self::unauthenticated(format!("{text}{again}")),
            TokenRefused::Used | TokenRefused::Expired | TokenRefused::Older(_) => {
                Self::failed_precondition(format!("{text}{again}"))
            }
            TokenRefused::OtherHost { .. } => Self::permission_denied(text),
            TokenRefused::Taken(host) => Self::already_exists(format!(
                "{text}; to replace it make a token with `rsv token create --host {host}`"
            )),
        }
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        internal(&error)
    }
}

impl From<DesireError> for Status {
    fn from(error: DesireError) -> Self {
        match error {
            DesireError::TooMany(many) => Status::resource_exhausted(many.to_string()),
            DesireError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Status {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Labels(..) => Self::invalid_argument(error.to_string()),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<JoinError> for Status {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Refused(refused) => refused.into(),
            JoinError::Store(error) => error.into(),
        }
    }
}

impl From<CaError> for Status {
    fn from(error: CaError) -> Self {
        match error {
            CaError::Request(_) | CaError::KeyKind | CaError::Name(_) => {
                Self::invalid_argument(error.to_string())
            }
            CaError::File(_)
            | CaError::Damaged { .. }
            | CaError::Sign { .. }
            | CaError::Random(_) => internal(&error),
        }
    }
}

/// A text that repeats what a caller sent, cut to what fits into the trailers of an answer.
fn short(mut text: String) -> String {
    const LONGEST: usize = 1000;
    if let Some((cut, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(cut);
        text.push_str("...");
    }
    text
}

/// Ours to fix: the caller gets an id, the log has the rest.
fn internal(error: &dyn std::error::Error) -> Status {
    let id = Uuid::new_v4().simple().to_string();
    tracing::error!(id, error = chain(error), "a call failed");
    Status::internal(format!(
        "internal error {id}; the controller's log says more"
    ))
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
