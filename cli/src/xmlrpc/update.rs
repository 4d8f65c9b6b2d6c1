//! An update: which groups are stopped, removed and added, and in which order, is supervisorctl's.

use rsv_proto::{
    wire::{
        PlannedGroup, PlannedProcess, TargetResult, UpdateResponse,
        planned_group::Kind,
        planned_process,
        update_response::{Event, ShuttingDown, Updated},
    },
    xmlrpc::Value,
};
use tokio::sync::mpsc;

use super::{Answer, Changes, Remote, WAITING, answers, narrowed, of_kind};
use crate::{client::Events, error::Failure};

type Told = mpsc::Sender<Result<UpdateResponse, Failure>>;

impl Remote {
    /// Begins an update of these groups, or of all.
    pub(crate) fn update(&self, groups: Vec<String>) -> Events<UpdateResponse> {
        let (sender, events) = mpsc::channel(WAITING);
        let remote = self.clone();
        tokio::spawn(async move {
            if let Err(unanswered) = remote.carry_out(&groups, &sender).await {
                // Nobody may be there any more.
                drop(sender.send(Err(unanswered.into())).await);
            }
        });
        Events::queued(events)
    }

    async fn carry_out(&self, names: &[String], told: &Told) -> Answer<()> {
        let groups = match self.changes().await.map_err(super::Unanswered::Failure)? {
            Changes::ShuttingDown => {
                tell(told, Event::ShuttingDown(ShuttingDown {})).await;
                return Ok(());
            }
            Changes::Refused(refusal) => {
                tell(told, Event::Refused(refusal)).await;
                return Ok(());
            }
            Changes::Groups(groups) => groups,
        };
        let infos = self.call("getAllProcessInfo", Vec::new()).await?;
        let processes = answers::processes(&infos, std::time::SystemTime::now());
        let wanted = narrowed(names);
        for name in &wanted {
            let is_new = of_kind(&groups, Kind::Added).any(|group| group.name == *name);
            if !is_new && processes.iter().all(|process| process.group != *name) {
                tell(told, Event::NoSuchGroup((*name).to_owned())).await;
            }
        }
        let is_meant =
            |group: &&PlannedGroup| wanted.is_empty() || wanted.contains(group.name.as_str());
        for group in of_kind(&groups, Kind::Removed).filter(is_meant) {
            self.remove(&group.name, told).await?;
        }
        for group in of_kind(&groups, Kind::Changed).filter(is_meant) {
            let name = &group.name;
            self.stop(name, told).await?;
            self.call("removeProcessGroup", named(name)).await?;
            self.call("addProcessGroup", named(name)).await?;
            let of_group = processes.iter().filter(|process| process.group == *name);
            let restarted = of_group.map(|process| PlannedProcess {
                name: process.name.clone(),
                kind: planned_process::Kind::Restarted.into(),
                keys: Vec::new(),
            });
            let group = PlannedGroup {
                processes: restarted.collect(),
                ..group.clone()
            };
            let updated = Updated {
                group: Some(group),
                unchanged: 0,
            };
            tell(told, Event::Updated(updated)).await;
        }
        for group in of_kind(&groups, Kind::Added).filter(is_meant) {
            self.call("addProcessGroup", named(&group.name)).await?;
            tell(told, Event::Added(group.name.clone())).await;
        }
        Ok(())
    }

    async fn remove(&self, name: &str, told: &Told) -> Answer<()> {
        let results = self.stop(name, told).await?;
        let failed = |result: &TargetResult| result.refusal() == rsv_proto::wire::Refusal::Other;
        if results.iter().any(failed) {
            tell(told, Event::Problems(name.to_owned())).await;
            return Ok(());
        }
        self.call("removeProcessGroup", named(name)).await?;
        tell(told, Event::Removed(name.to_owned())).await;
        Ok(())
    }

    async fn stop(&self, name: &str, told: &Told) -> Answer<Vec<TargetResult>> {
        let results = self.call("stopProcessGroup", named(name)).await?;
        tell(told, Event::Stopped(name.to_owned())).await;
        Ok(answers::results(&results))
    }
}

fn named(name: &str) -> Vec<Value> {
    vec![name.into()]
}

/// An update that has begun goes on to its end, whoever listens.
async fn tell(told: &Told, event: Event) {
    let event = Some(event);
    drop(told.send(Ok(UpdateResponse { event })).await);
}
