//! Writing to the standard input of a program, for who sits at a terminal.

use rsv_proto::select::ProgramPattern;
use rsv_proto::wire::{Refusal, WriteStdinRequest, WriteStdinResponse};

use crate::compat::live::write_all;
use crate::compat::supervision::Denied;
use crate::hub::{HubGone, HubHandle, Key, NoStdin};

/// The most that is written at once.
const LARGEST: usize = 64 << 10;

/// Writes it, and says what stood in the way.
pub(super) async fn write(
    hub: &HubHandle,
    request: WriteStdinRequest,
) -> Result<WriteStdinResponse, HubGone> {
    let ProgramPattern::Exact { group, name } = ProgramPattern::parse(&request.program) else {
        return Ok(refused(Refusal::NoSuchProcess, ""));
    };
    if request.data.len() > LARGEST {
        return Ok(refused(Refusal::Other, "more than 64 KiB at once"));
    }
    let stdin = match hub.stdin_of(&Key { group, name }).await? {
        Ok(stdin) => stdin,
        Err(NoStdin::NoSuchProcess) => return Ok(refused(Refusal::NoSuchProcess, "")),
        Err(NoStdin::NotRunning) => return Ok(refused(Refusal::NotRunning, "")),
        Err(none @ NoStdin::NoPipe) => return Ok(refused(Refusal::NoFile, &none.to_string())),
    };
    Ok(match write_all(stdin, &request.data).await {
        Ok(()) => WriteStdinResponse::default(),
        Err(Denied::NoFile) => refused(Refusal::NoFile, "it has closed its standard input"),
        Err(Denied::Failed(why)) => refused(Refusal::Other, &why),
        Err(_) => refused(Refusal::Other, ""),
    })
}

fn refused(refusal: Refusal, detail: &str) -> WriteStdinResponse {
    WriteStdinResponse {
        refusal: refusal.into(),
        detail: detail.to_owned(),
    }
}
