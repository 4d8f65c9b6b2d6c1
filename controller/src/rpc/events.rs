//! The fleet's events, told to one reader at its own pace.

use std::{collections::HashSet, sync::Arc};

use rsv_proto::{
    time::from_wire,
    wire::{
        Event, EventKind, HostSelection, ProcessState, ProcessStatus, WatchEventsRequest,
        WatchEventsResponse, event::What, watch_events_request::Begin,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Shared, view::Wanted};
use crate::hub::{HubError, View};

/// Pages that wait for one reader. When full the events wait where they are kept; a reader that is slower
/// than the fleet falls behind what is kept, and is told.
const PAGES: usize = 4;

/// The most of the latest events that can be asked for.
const MOST_LATEST: u32 = 10_000;

/// How many of the latest events there are when nothing is said.
const LATEST: u32 = 100;

/// Which events a reader wants.
struct Filter {
    /// Absent: of every host, and those that are of none.
    hosts: Option<HashSet<String>>,
    /// Absent: of every program, and those that are of none.
    programs: Option<Wanted>,
    kinds: Vec<EventKind>,
    states: Vec<ProcessState>,
}

/// Begins to read.
pub(super) async fn watch(
    shared: &Shared,
    request: WatchEventsRequest,
) -> Result<ReceiverStream<Result<WatchEventsResponse, Status>>, Status> {
    let filter = Filter::of(shared, &request).await?;
    let (pages, stream) = mpsc::channel(PAGES);
    let shared = shared.clone();
    tokio::spawn(async move {
        let told = shared
            .stopping
            .run_until_cancelled(tell(&shared, &filter, &request, &pages))
            .await;
        let failed = match told {
            Some(Ok(())) => return,
            Some(Err(error)) => error.into(),
            None => Status::unavailable("the controller is shutting down"),
        };
        // A reader that has gone needs no reason.
        drop(pages.send(Err(failed)).await);
    });
    Ok(ReceiverStream::new(stream))
}

/// Tells one reader everything; returns when it has gone or wants no more.
async fn tell(
    shared: &Shared,
    filter: &Filter,
    request: &WatchEventsRequest,
    pages: &mpsc::Sender<Result<WatchEventsResponse, Status>>,
) -> Result<(), HubError> {
    let mut news = shared.hub.event_news();
    news.mark_unchanged();
    let mut from = first(shared, filter, request.begin.as_ref()).await?;
    let mut is_first = true;
    loop {
        let (page, _) = shared.hub.events(Some(from)).await?;
        let is_end = page.events.is_empty();
        from = page.next;
        let events = page.events.iter().filter(|event| filter.wants(event));
        let answer = WatchEventsResponse {
            events: events.map(|event| Event::clone(event)).collect(),
            lost: page.lost,
            next: page.next,
        };
        let is_word = is_first || !answer.events.is_empty() || answer.lost > 0;
        is_first = false;
        if is_word && pages.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
        if !is_end {
            continue;
        }
        if !request.follow {
            return Ok(());
        }
        tokio::select! {
            changed = news.changed() => changed.map_err(|_| HubError::Stopped)?,
            () = pages.closed() => return Ok(()),
        }
    }
}

/// The number to begin with.
async fn first(shared: &Shared, filter: &Filter, begin: Option<&Begin>) -> Result<u64, HubError> {
    let since = match begin {
        Some(Begin::From(seq)) => return Ok(*seq),
        Some(Begin::Since(at)) => from_wire(at),
        Some(Begin::Latest(_)) | None => None,
    };
    let latest = match begin {
        Some(Begin::Latest(n)) => *n.min(&MOST_LATEST) as usize,
        _ => LATEST as usize,
    };
    let (mut page, mut from) = shared.hub.events(None).await?;
    let mut wanted: Vec<u64> = Vec::new();
    while !page.events.is_empty() {
        for event in &page.events {
            if let Some(since) = since {
                let at = event.at.as_ref().and_then(from_wire);
                if at.is_some_and(|at| at >= since) {
                    return Ok(event.seq);
                }
            } else if filter.wants(event) {
                wanted.push(event.seq);
            }
        }
        from = page.next;
        page = shared.hub.events(Some(from)).await?.0;
    }
    let place = wanted.len().saturating_sub(latest);
    Ok(wanted.get(place).copied().unwrap_or(from))
}

impl Filter {
    /// What a request asks for, with the hosts as they are now.
    async fn of(shared: &Shared, request: &WatchEventsRequest) -> Result<Self, Status> {
        let all = HostSelection {
            all: true,
            ..Default::default()
        };
        let selection = request.hosts.clone().unwrap_or_default();
        let is_said = selection != HostSelection::default();
        // Without a host nobody has to be known.
        let is_of_hosts = request.programs.iter().any(|text| text.contains(':'));
        let is_all = !is_said || selection == all;
        let mut view = match is_said || is_of_hosts {
            true if is_all => shared.hub.view(all).await??,
            true => shared.hub.view(selection).await??,
            false => View::default(),
        };
        let hosts: HashSet<String> = view.hosts.iter().map(|h| h.name.to_string()).collect();
        let programs = Wanted::settle(&request.programs, &mut view)?;
        let programs = (!request.programs.is_empty()).then_some(programs);
        Ok(Self::new((!is_all).then_some(hosts), programs, request))
    }

    fn new(
        hosts: Option<HashSet<String>>,
        programs: Option<Wanted>,
        request: &WatchEventsRequest,
    ) -> Self {
        Self {
            hosts,
            programs,
            kinds: request.kinds().collect(),
            states: request.states().collect(),
        }
    }

    fn wants(&self, event: &Arc<Event>) -> bool {
        let (kind, program, state) = match &event.what {
            Some(What::Changed(changed)) => {
                let now = changed.now.as_ref();
                let name = now.map(|now| (now.group.as_str(), now.name.as_str()));
                (EventKind::Process, name, now.map(ProcessStatus::state))
            }
            Some(What::Removed(removed)) => {
                let name = (removed.group.as_str(), removed.name.as_str());
                (EventKind::Process, Some(name), None)
            }
            Some(What::Link(_)) => (EventKind::Host, None, None),
            Some(What::Operation(_)) => (EventKind::Operation, None, None),
            None => return false,
        };
        let of_hosts = |hosts: &HashSet<String>| hosts.contains(&event.host);
        let of_programs = |programs: &Wanted| {
            program.is_some_and(|(group, name)| programs.matches(&event.host, group, name))
        };
        self.hosts.as_ref().is_none_or(of_hosts)
            && self.programs.as_ref().is_none_or(of_programs)
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.states.is_empty() || state.is_some_and(|s| self.states.contains(&s)))
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{
        ProcessStatus,
        event::{HostChanged, ProcessChanged, ProcessRemoved},
    };

    use super::*;

    fn event(host: &str, what: What) -> Arc<Event> {
        Arc::new(Event {
            host: host.into(),
            what: Some(what),
            ..Default::default()
        })
    }

    fn changed(host: &str, name: &str, state: ProcessState) -> Arc<Event> {
        let now = ProcessStatus {
            group: name.into(),
            name: name.into(),
            state: state.into(),
            ..Default::default()
        };
        let what = ProcessChanged {
            now: Some(now),
            ..Default::default()
        };
        event(host, What::Changed(what))
    }

    #[test]
    fn a_reader_gets_what_it_asked_for_alone() {
        let exited = changed("web1", "app", ProcessState::Exited);
        let running = changed("web2", "db", ProcessState::Running);
        let link = event("web1", What::Link(HostChanged::default()));
        let removed = ProcessRemoved {
            group: "app".into(),
            name: "app".into(),
        };
        let removed = event("web1", What::Removed(removed));
        let all = [&exited, &running, &link, &removed];
        let check = |hosts: Option<&str>, request: WatchEventsRequest| {
            let hosts = hosts.map(|host| HashSet::from([host.to_owned()]));
            let wanted = Wanted::settle(&request.programs, &mut View::default()).unwrap();
            let wanted = (!request.programs.is_empty()).then_some(wanted);
            let filter = Filter::new(hosts, wanted, &request);
            all.map(|event| filter.wants(event))
        };
        let request = WatchEventsRequest::default;
        assert_eq!(check(None, request()), [true; 4]);
        assert_eq!(check(Some("web1"), request()), [true, false, true, true]);
        let programs = vec!["app".to_owned()];
        let of_app = WatchEventsRequest {
            programs,
            ..request()
        };
        assert_eq!(check(None, of_app), [true, false, false, true]);
        let kinds = vec![EventKind::Host.into()];
        let links = WatchEventsRequest { kinds, ..request() };
        assert_eq!(check(None, links), [false, false, true, false]);
        let states = vec![ProcessState::Exited.into()];
        let exits = WatchEventsRequest {
            states,
            ..request()
        };
        assert_eq!(check(None, exits), [true, false, false, false]);
    }
}
