//! Hosts that are not there when somebody begins to follow: said, waited for, and joined when they come.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rsv_proto::{
    name::HostName,
    wire::{
        HostSelection, Refusal, TailRequest, TailResponse,
        tail_response::{Away, Back, Event},
    },
};
use tonic::Status;

use super::{Gone, Items, LONGEST_PAUSE, PAUSE, Source, end, plan, say};
use crate::{
    hub::{HubError, HubHandle},
    rpc::{Shared, view::Wanted},
};

/// What a follower wants of hosts that come later.
#[derive(Debug)]
pub(super) struct Later {
    /// So many more programs may be read.
    pub(super) room: AtomicUsize,
    pub(super) request: TailRequest,
    pub(super) wanted: Wanted,
}

impl Later {
    /// Says that a host is not there, waits for it, and begins to read what it has.
    pub(super) async fn join(
        self: Arc<Self>,
        shared: Shared,
        items: Items,
        host: HostName,
        reason: String,
    ) {
        let joined = tokio::select! {
            joined = self.come(&shared.hub, &items, &host, reason) => joined,
            () = items.closed() => return,
            () = shared.stopping.cancelled() => {
                let status = Status::unavailable("the controller is shutting down");
                // The reader may have gone.
                drop(items.send(Err(status)).await);
                return;
            }
        };
        let Ok((sources, ends)) = joined else { return };
        for source in sources {
            tokio::spawn(source.run(shared.clone(), items.clone()));
        }
        for end in ends {
            if items.send(Ok(end)).await.is_err() {
                return;
            }
        }
    }

    async fn come(
        &self,
        hub: &HubHandle,
        items: &Items,
        host: &HostName,
        reason: String,
    ) -> Result<(Vec<Source>, Vec<TailResponse>), Gone> {
        say(items, host, "", Event::Away(Away { reason })).await?;
        let mut pause = PAUSE;
        let (sources, mut ends) = loop {
            // Busy: the next round asks again.
            if hub.when_connected(host.clone()).await == Err(HubError::Stopped) {
                return Err(Gone);
            }
            if let Some(found) = self.look(hub, host).await {
                break found;
            }
            // What it has comes right behind its session.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        say(items, host, "", Event::Back(Back {})).await?;
        let is_one_place = self.request.from.is_some() && sources.len() > 1;
        if is_one_place || !self.take(sources.len()) {
            let reason = match is_one_place {
                true => "a cursor is a place in the output of one program",
                false => "more programs than are read at a time (max-streams)",
            };
            ends.push(end(host.as_str(), "", reason, Refusal::Other));
            return Ok((Vec::new(), ends));
        }
        Ok((sources, ends))
    }

    /// What there is to be read of a host now; absent: nothing yet.
    async fn look(
        &self,
        hub: &HubHandle,
        host: &HostName,
    ) -> Option<(Vec<Source>, Vec<TailResponse>)> {
        let selection = HostSelection {
            include: vec![host.to_string()],
            ..HostSelection::default()
        };
        let view = hub.view(selection).await.ok()?.ok()?;
        let host = view.hosts.first()?;
        plan(host, &self.wanted, &self.request).ok()
    }

    /// Takes room for so many programs, if there is.
    fn take(&self, many: usize) -> bool {
        let left = |room: usize| room.checked_sub(many);
        let taken = self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        taken.is_ok()
    }
}
