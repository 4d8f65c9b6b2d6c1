//! Where the reader stands in each source, and what to ask for so that each goes on there. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rsv_proto::{
    process::display_name,
    select::exactly,
    wire::{Cursor, HostSelection, HostStatus, TailRequest, TailResponse, tail_response::Event},
};

use crate::command::status::is_reachable;

/// A source that has said nothing for so long has nothing to say of the time before.
const QUIET: Duration = Duration::from_secs(1);

/// A host, empty on this machine, and a program.
type Source = (String, String);

/// What is known of each source.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: BTreeMap<Source, Cursor>,
    ended: BTreeSet<Source>,
    /// Whether a source that has shown nothing had nothing when it was opened, so that everything
    /// in it is new.
    are_quiet_new: bool,
}

impl Places {
    /// Takes note of what is shown.
    pub(super) fn note(&mut self, response: &TailResponse) {
        let source = || (response.host.clone(), response.program.clone());
        match &response.event {
            Some(Event::End(_)) => {
                self.ended.insert(source());
            }
            Some(event) => {
                if let Some(place) = place_behind(event) {
                    self.places.insert(source(), place);
                }
            }
            None => {}
        }
    }

    /// The sources broke off after so long.
    pub(super) fn broke_off(&mut self, after: Duration) {
        self.are_quiet_new |= after >= QUIET;
    }

    /// The request that goes on with the only source there can be.
    pub(super) fn resume_single(&self, request: &TailRequest) -> TailRequest {
        self.placed(request, self.places.values().next())
    }

    /// A request for each source that goes on: those with a place, and those that the server knows
    /// and that have shown nothing yet.
    pub(super) fn resume(&self, request: &TailRequest, hosts: &[HostStatus]) -> Vec<TailRequest> {
        let mut sources: BTreeSet<Source> = self.places.keys().cloned().collect();
        for host in hosts {
            let names = host.programs.iter();
            sources.extend(names.map(|p| (host.host.clone(), display_name(&p.group, &p.name))));
        }
        // A host that was not followed from the beginning is not followed from the middle.
        let is_over = |(host, program): &Source| {
            self.ended.contains(&(host.clone(), program.clone()))
                || self.ended.contains(&(host.clone(), String::new()))
        };
        sources.retain(|source| !is_over(source));
        sources
            .iter()
            .map(|source| {
                let (host, program) = source;
                let one = TailRequest {
                    hosts: (!host.is_empty()).then(|| HostSelection {
                        include: vec![host.clone()],
                        ..Default::default()
                    }),
                    programs: vec![match host.is_empty() {
                        true => program.clone(),
                        false => exactly(program),
                    }],
                    ..request.clone()
                };
                self.placed(&one, self.places.get(source))
            })
            .collect()
    }

    /// Hosts that are not there, and of which nothing is known that could be waited for.
    pub(super) fn out_of_reach<'a>(&self, hosts: &'a [HostStatus]) -> Vec<&'a str> {
        let has_place = |name: &str| self.places.keys().any(|(host, _)| host == name);
        let silent = hosts.iter().filter(|host| {
            !is_reachable(host.state()) && host.programs.is_empty() && !has_place(&host.host)
        });
        silent.map(|host| host.host.as_str()).collect()
    }

    fn placed(&self, request: &TailRequest, place: Option<&Cursor>) -> TailRequest {
        let mut request = request.clone();
        match place {
            Some(place) => {
                request.from = Some(place.clone());
                (request.bytes, request.lines) = (None, None);
            }
            None if self.are_quiet_new && request.lines != Some(0) => {
                (request.bytes, request.lines) = (Some(u64::MAX), None);
            }
            None => {}
        }
        request
    }
}

/// Where a source goes on after what it has said.
pub(super) fn place_behind(event: &Event) -> Option<Cursor> {
    match event {
        Event::Chunk(chunk) => chunk.at.as_ref().map(|at| Cursor {
            log_id: at.log_id.clone(),
            offset: at.offset.saturating_add(chunk.data.len() as u64),
        }),
        Event::Gap(gap) => gap.at.clone(),
        Event::End(_) | Event::Away(_) | Event::Back(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{
        HostState, ProcessStatus,
        tail_response::{Chunk, End},
    };

    use super::*;

    fn said(host: &str, program: &str, event: Event) -> TailResponse {
        TailResponse {
            host: host.into(),
            program: program.into(),
            event: Some(event),
        }
    }

    fn chunk(offset: u64, data: &str) -> Event {
        Event::Chunk(Chunk {
            at: Some(Cursor {
                log_id: "l".into(),
                offset,
            }),
            data: data.as_bytes().to_vec(),
        })
    }

    fn host(name: &str, programs: &[&str]) -> HostStatus {
        let process = |name: &&str| ProcessStatus {
            group: (*name).into(),
            name: (*name).into(),
            ..Default::default()
        };
        HostStatus {
            host: name.into(),
            state: match programs.is_empty() {
                true => HostState::Unreachable,
                false => HostState::Connected,
            }
            .into(),
            programs: programs.iter().map(process).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn each_source_goes_on_at_its_place_and_silent_ones_from_their_beginning() {
        let mut places = Places::default();
        places.note(&said("web01", "app", chunk(10, "abc")));
        places.note(&said("web02", "app", chunk(5, "x")));
        places.note(&said("web04", "", Event::End(End::default())));
        places.note(&said("web01", "side", Event::End(End::default())));
        places.broke_off(Duration::from_secs(2));
        let hosts = [
            host("web01", &["app", "side", "silent"]),
            host("web02", &[]),
            host("web03", &[]),
            host("web04", &["app"]),
        ];
        let request = TailRequest {
            programs: vec!["*".into()],
            follow: true,
            ..Default::default()
        };
        let asked: Vec<_> = places
            .resume(&request, &hosts)
            .into_iter()
            .map(|r| {
                let host = r.hosts.unwrap_or_default().include.concat();
                let place = r.from.map(|from| from.offset);
                (host, r.programs.concat(), place, r.bytes)
            })
            .collect();
        assert_eq!(
            asked,
            [
                ("web01".into(), "app".into(), Some(13), None),
                ("web01".into(), "silent".into(), None, Some(u64::MAX)),
                ("web02".into(), "app".into(), Some(6), None),
            ]
        );
        assert_eq!(places.out_of_reach(&hosts), ["web03"]);
    }

    #[test]
    fn a_source_that_had_no_time_to_speak_is_asked_as_before() {
        let mut places = Places::default();
        places.broke_off(Duration::ZERO);
        let request = TailRequest {
            bytes: Some(5),
            ..Default::default()
        };
        assert_eq!(places.resume_single(&request), request);
    }
}
