//! What hosts would do, or could: asked of each of them now, many at a time, and nothing is changed.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use rsv_proto::{
    name::HostName,
    wire::{
        HostState, Look, LookRequest, LookResponse, OpenLog,
        look_response::{NotEnrolled, Seen},
    },
};
use tonic::Status;

use super::{Shared, selection, tail};
use crate::{
    host::{HostView, is_connected},
    hub::{Arrival, HubHandle},
};

/// Hosts that are asked at one time: the answers of so many may wait for a slow caller.
const AT_ONCE: usize = 64;

/// How long a host may take to read its configuration.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks every host that is selected; answers come as hosts give them.
pub(super) async fn look(
    shared: &Shared,
    request: LookRequest,
) -> Result<impl Stream<Item = Result<LookResponse, Status>> + Send + use<>, Status> {
    let look = request.look();
    if look == Look::Unspecified {
        return Err(Status::invalid_argument("it is not said what to look at"));
    }
    let found = shared.hub.view(selection(request.hosts)).await??;
    let missing = found.missing.into_iter().map(|name| LookResponse {
        host: name,
        seen: Some(Seen::NotEnrolled(NotEnrolled {})),
    });
    let hub = shared.hub.clone();
    let asked = stream::iter(found.hosts).map(move |host| of_host(hub.clone(), host, look));
    let answers = stream::iter(missing).chain(asked.buffer_unordered(AT_ONCE));
    let stopping = shared.stopping.clone().cancelled_owned();
    Ok(answers.map(Ok).take_until(stopping))
}

async fn of_host(hub: HubHandle, host: HostView, look: Look) -> LookResponse {
    let reason = match host.state {
        state if is_connected(state) => None,
        HostState::Never => Some("not seen since it was enrolled".to_owned()),
        _ => Some(host.reason),
    };
    let seen = match reason {
        Some(reason) => Seen::Unreachable(reason),
        None => asked(&hub, &host.name, look)
            .await
            .unwrap_or_else(Seen::Unreachable),
    };
    LookResponse {
        host: host.name.to_string(),
        seen: Some(seen),
    }
}

/// One answer of a host; an error says why there is none.
async fn asked(hub: &HubHandle, host: &HostName, look: Look) -> Result<Seen, String> {
    let open = OpenLog {
        look: look.into(),
        ..OpenLog::default()
    };
    let answer = async {
        let Arrival { mut items, reader } = tail::open(hub, host, open).await?;
        let message = items.message().await;
        drop(reader);
        let seen = message.ok().flatten().and_then(|message| message.seen);
        // An agent that does not know the question opens a log instead.
        seen.and_then(|seen| seen.seen)
            .ok_or_else(|| "the host did not answer, or its agent is too old".to_owned())
    };
    let late = || format!("no answer within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| Err(late()))
}
