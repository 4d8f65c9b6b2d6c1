//! Operations as a whole: the list of them, and who pauses, resumes or cancels one.

use prost::Message as _;
use rsv_proto::{
    identity::Identity,
    limits::MESSAGE_BYTES,
    wire::{
        ControlOperationRequest, ListOperationsRequest, Operation,
        control_operation_request::Control as Wanted,
    },
};
use tonic::Status;

use super::{Shared, act};
use crate::hub::Control;

/// How many operations are listed when the caller does not say, and at most: at some 300 bytes each, a
/// small part of a message.
const LISTED: u32 = 100;
const MOST_LISTED: u32 = 1000;

/// The latest operations, the newest first; fewer where they have very many patterns.
pub(super) async fn list(
    shared: &Shared,
    request: &ListOperationsRequest,
) -> Result<Vec<Operation>, Status> {
    let limit = match request.limit {
        0 => LISTED,
        limit => limit.min(MOST_LISTED),
    };
    let mut operations = shared
        .hub
        .operations(request.active, limit as usize)
        .await?;
    let mut size = 0;
    operations.retain(|operation| {
        size += operation.encoded_len();
        size <= MESSAGE_BYTES / 2
    });
    Ok(operations)
}

/// Pauses, resumes or cancels.
pub(super) async fn control(
    shared: &Shared,
    actor: &Identity,
    request: ControlOperationRequest,
) -> Result<Operation, Status> {
    let control = match request.control() {
        Wanted::Pause => Control::Pause,
        Wanted::Resume => Control::Resume,
        Wanted::Cancel => Control::Cancel,
        Wanted::Unspecified => {
            return Err(Status::invalid_argument(
                "an operation is paused, resumed or cancelled",
            ));
        }
    };
    let operation = act::named(request.operation)?;
    Ok(shared
        .hub
        .control(operation, control, actor.to_string())
        .await??)
}
