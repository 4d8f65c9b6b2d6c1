//! Asks about the configuration, in the words of the wire and back.

use std::sync::Arc;

use rsv_config::Process;
use rsv_proto::wire::{
    AvailableProcess, ConfigurationRefusal, ListAvailableResponse, ReloadResponse, RereadResponse,
};
use tokio::sync::mpsc;

use super::DaemonAsk;
use crate::roster::{
    ConfigRefusal, Keep, ReadError, RosterHandle, Standing, planned, refused_section,
};

/// What an update would do.
pub(crate) async fn reread(roster: &RosterHandle, keep: Keep) -> RereadResponse {
    match roster.reread(keep).await {
        Ok(reread) => RereadResponse {
            groups: planned(&reread.plan),
            refused: reread.refused.iter().map(refused_section).collect(),
            ..Default::default()
        },
        Err(ReadError::Refused(refusal)) => RereadResponse {
            refusal: Some(wire(refusal)),
            ..Default::default()
        },
        Err(ReadError::Gone(_)) => RereadResponse {
            shutting_down: true,
            ..Default::default()
        },
    }
}

/// Begins a restart of everything, unless the configuration would be refused.
pub(crate) async fn reload(
    roster: &RosterHandle,
    daemon: &mpsc::Sender<DaemonAsk>,
) -> ReloadResponse {
    let shutting_down = ReloadResponse {
        shutting_down: true,
        ..Default::default()
    };
    match roster.check().await {
        Ok(()) => {}
        Err(ReadError::Gone(_)) => return shutting_down,
        Err(ReadError::Refused(refusal)) => {
            return ReloadResponse {
                refusal: Some(wire(refusal)),
                ..Default::default()
            };
        }
    }
    match daemon.try_send(DaemonAsk::Restart) {
        Ok(()) => ReloadResponse::default(),
        // Whatever waits there ends this agent.
        Err(_) => shutting_down,
    }
}

/// Every process of the configuration that was read last, ordered by name as Supervisor does.
pub(crate) fn available(standing: &Arc<Standing>) -> ListAvailableResponse {
    let mut processes = Vec::new();
    for group in &standing.config.groups {
        let in_use = standing.is_active(&group.name);
        let available = |process: &Process| AvailableProcess {
            group: group.name.clone(),
            name: process.id.name.clone(),
            in_use,
            autostart: process.autostart,
            group_priority: group.priority,
            priority: process.priority,
        };
        processes.extend(group.processes.iter().map(available));
    }
    processes.sort_by(|a, b| a.name.cmp(&b.name));
    ListAvailableResponse { processes }
}

fn wire(refusal: ConfigRefusal) -> ConfigurationRefusal {
    refusal.into()
}
