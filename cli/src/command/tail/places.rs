//! Where the reader stands in each source, and what to ask for so that each goes on there. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rsv_proto::{
    process::display_name,
    select::{Settled, exactly},
    wire::{Cursor, HostSelection, HostStatus, TailRequest, TailResponse, tail_response::Event},
};

use crate::command::status::is_away;

/// A source that has said nothing for so long has nothing to say of the time before.
const QUIET: Duration = Duration::from_secs(1);

/// A host, empty on this machine, and a program.
pub(super) type Source = (String, String);

/// What the server knows of what is read.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// With the programs that are meant, as far as they are known.
    pub(super) hosts: Vec<HostStatus>,
    /// What is meant.
    pub(super) patterns: Vec<Settled>,
}

/// How a source, or what a host will have, is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    /// Of one source.
    One(TailRequest),
    /// Of a host of which nothing is known: what it has when it comes.
    Host(TailRequest),
}

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

    /// Where an earlier run stood, as far as that is read again.
    pub(super) fn restore(&mut self, places: &BTreeMap<Source, Cursor>, known: &Known) {
        let is_meant = |source: &Source| known.means(source);
        let own = places.iter().filter(|(source, _)| is_meant(source));
        let own = own.map(|(source, place)| (source.clone(), place.clone()));
        self.places.extend(own);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Those that have a place.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.places.keys()
    }

    /// Where a source goes on.
    pub(super) fn of(&self, source: &Source) -> Option<&Cursor> {
        self.places.get(source)
    }

    /// The sources broke off after so long.
    pub(super) fn broke_off(&mut self, after: Duration) {
        self.are_quiet_new |= after >= QUIET;
    }

    /// The request that goes on with the only source there can be.
    pub(super) fn resume_single(&self, request: &TailRequest) -> TailRequest {
        self.placed(request, self.places.values().next())
    }

    /// A call for each source that goes on: those with a place, and those that the server knows and that
    /// have shown nothing yet; and one for each host that is not there and of which nothing is known.
    pub(super) fn resume(&self, request: &TailRequest, known: &Known) -> Vec<Call> {
        let mut sources: BTreeSet<Source> = self.places.keys().cloned().collect();
        for host in &known.hosts {
            let names = host.programs.iter();
            sources.extend(names.map(|p| (host.host.clone(), display_name(&p.group, &p.name))));
        }
        let silent: Vec<&HostStatus> = known
            .hosts
            .iter()
            .filter(|host| {
                let mut hosts = sources.iter().map(|(host, _)| host);
                is_away(host) && !hosts.any(|name| *name == host.host)
            })
            .collect();
        let has_ended =
            |host: &str, program: &str| self.ended.contains(&(host.to_owned(), program.to_owned()));
        let is_over = |(host, program): &Source| has_ended(host, program) || has_ended(host, "");
        sources.retain(|source| !is_over(source));
        let of_source = |source: &Source| {
            let (host, program) = source;
            let program = match host.is_empty() {
                true => program.clone(),
                false => exactly(program),
            };
            let one = of_host(request, host, vec![program]);
            Call::One(self.placed(&one, self.places.get(source)))
        };
        let of_silent = |host: &&HostStatus| {
            let patterns = known.patterns.iter();
            let own = patterns.filter(|pattern| pattern.on_host(&host.host).is_some());
            let own = own.map(|pattern| exactly(pattern.program()));
            Call::Host(of_host(request, &host.host, own.collect()))
        };
        let silent = silent.iter().filter(|host| !has_ended(&host.host, ""));
        sources
            .iter()
            .map(of_source)
            .chain(silent.map(of_silent))
            .collect()
    }

    fn placed(&self, request: &TailRequest, place: Option<&Cursor>) -> TailRequest {
        let mut request = request.clone();
        match place {
            Some(place) => {
                request.from = Some(place.clone());
                (request.bytes, request.lines, request.since) = (None, None, None);
            }
            None if self.are_quiet_new && request.lines != Some(0) => {
                (request.bytes, request.lines, request.since) = (Some(u64::MAX), None, None);
            }
            None => {}
        }
        request
    }
}

impl Known {
    fn means(&self, (host, program): &Source) -> bool {
        let (group, name) = program.split_once(':').unwrap_or((program, program));
        let is_read = self.hosts.iter().any(|known| known.host == *host);
        let means = |pattern: &Settled| {
            let pattern = pattern.on_host(host);
            pattern.is_some_and(|pattern| pattern.matches(group, name))
        };
        is_read && self.patterns.iter().any(means)
    }
}

/// The same of these programs of a host; empty: of this machine.
fn of_host(request: &TailRequest, host: &str, programs: Vec<String>) -> TailRequest {
    TailRequest {
        hosts: (!host.is_empty()).then(|| HostSelection {
            include: vec![host.to_owned()],
            ..Default::default()
        }),
        programs,
        ..request.clone()
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
        Event::Begin(begin) => begin.at.clone(),
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
            live: false,
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
        let known = Known {
            hosts: vec![
                host("web01", &["app", "side", "silent"]),
                host("web02", &[]),
                host("web03", &[]),
                host("web04", &["app"]),
            ],
            patterns: vec![Settled::read("*"), Settled::read("web01::x")],
        };
        let request = TailRequest {
            programs: vec!["*".into()],
            follow: true,
            ..Default::default()
        };
        let words = |call: Call| {
            let (kind, request) = match call {
                Call::One(request) => ("", request),
                Call::Host(request) => ("host ", request),
            };
            let host = request.hosts.unwrap_or_default().include.concat();
            let place = request.from.map(|from| from.offset);
            let program = request.programs.concat();
            format!("{kind}{host} {program} {place:?} {:?}", request.bytes)
        };
        let asked = places.resume(&request, &known).into_iter().map(words);
        assert_eq!(
            asked.collect::<Vec<_>>(),
            [
                "web01 app Some(13) None".to_owned(),
                format!("web01 silent None Some({})", u64::MAX),
                "web02 app Some(6) None".to_owned(),
                "host web03 * None None".to_owned(),
            ]
        );
    }

    #[test]
    fn only_what_is_read_again_is_taken_from_an_earlier_run() {
        let source = |host: &str, program: &str| (host.to_owned(), program.to_owned());
        let place = |offset| Cursor {
            log_id: "l".into(),
            offset,
        };
        let earlier = BTreeMap::from([
            (source("web01", "app"), place(1)),
            (source("web01", "g:a"), place(2)),
            (source("web02", "app"), place(3)),
            (source("db1", "app"), place(4)),
        ]);
        let known = Known {
            hosts: vec![host("web01", &[]), host("web02", &["app"])],
            patterns: vec![Settled::read("web01::g:*"), Settled::read("app")],
        };
        let mut places = Places::default();
        places.restore(&earlier, &known);
        let offset = |host, program| places.of(&source(host, program)).map(|place| place.offset);
        assert_eq!(offset("web01", "app"), Some(1));
        assert_eq!(offset("web01", "g:a"), Some(2));
        assert_eq!(offset("web02", "app"), Some(3));
        assert_eq!(offset("db1", "app"), None);
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
