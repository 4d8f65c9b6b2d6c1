//! `events`: what has happened, and with `-f` what happens from then on.
//!
//! Each event has a number; a reader that loses the connection goes on after the last one it has seen,
//! and is told what cannot be had any more.

use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};
use rsv_proto::{
    process::{display_name, exit_words, state_word},
    time::{from_wire, local_zone, to_wire},
    wire::{
        Event, EventKind, GetStatusRequest, HostState, ProcessState, ProcessStatus,
        WatchEventsRequest, WatchEventsResponse,
        event::{HostChanged, OperationChanged, ProcessChanged, ProcessRemoved, What},
        watch_events_request::Begin,
    },
};
use tokio::time::{Instant, sleep};

use super::{
    host::state_name,
    status::{exit_of, named_nowhere, not_enrolled, tell_of_not_enrolled},
};
use crate::{
    args::{EventType, EventsArgs},
    client::Server,
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
    ui::{BAD, FAINT, GOOD, MOVING, paint, printable},
};

/// How long a follower waits for a server that has gone: longer than a machine takes to start anew.
const PATIENCE: Duration = Duration::from_secs(600);

/// The pauses between attempts to reach it again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Shows events.
pub(super) async fn run(invocation: &mut Invocation, args: EventsArgs) -> Result<Exit, Failure> {
    let scope = invocation.scope()?;
    let mut request = request(&args, &Zoned::now().with_time_zone(local_zone()));
    if let Scope::Fleet(hosts) = &scope {
        request.hosts = Some(hosts.clone());
    }
    let mut server = connect(invocation, &scope).await?;
    let names = names(invocation, &server, &request).await?;
    loop {
        let lost = match show(invocation, &server, &mut request).await {
            Ok(0) => return Ok(names),
            Ok(_) => return Ok(Exit::Done),
            Err(lost) if lost.exit == Exit::NoAnswer && args.follow => lost,
            Err(failure) => return Err(failure),
        };
        invocation.ui.flush()?;
        server = again(invocation, &scope, lost).await?;
    }
}

/// Says which names of hosts and programs mean nothing now, and how a run ends that has nothing to show
/// for them. What was of a program that is gone is shown all the same.
async fn names(
    invocation: &mut Invocation,
    server: &Server,
    request: &WatchEventsRequest,
) -> Result<Exit, Failure> {
    let Some(hosts) = &request.hosts else {
        return Ok(Exit::Done);
    };
    if request.programs.is_empty() && hosts.include.is_empty() {
        return Ok(Exit::Done);
    }
    let asked = GetStatusRequest {
        hosts: Some(hosts.clone()),
        programs: request.programs.clone(),
    };
    let hosts = server.status(asked).await?;
    let known = hosts.iter().filter(|host| host.as_of.is_some());
    let nowhere = named_nowhere(&known.collect::<Vec<_>>());
    for pattern in &nowhere {
        let text = format!("no host has a program `{pattern}`");
        invocation.ui.warning(&text);
    }
    let exit = tell_of_not_enrolled(&mut invocation.ui, &not_enrolled(&hosts));
    Ok(match nowhere.is_empty() {
        true => exit,
        false => Exit::NoTarget,
    })
}

/// Shows what comes until it ends, and moves the request on with it. Gives how many events there were.
async fn show(
    invocation: &mut Invocation,
    server: &Server,
    request: &mut WatchEventsRequest,
) -> Result<usize, Failure> {
    let mut answers = server.watch_events(request.clone()).await?;
    let mut shown = 0;
    let zone = local_zone();
    while let Some(answer) = answers.next().await? {
        let WatchEventsResponse { events, lost, next } = answer;
        request.begin = Some(Begin::From(next));
        shown += events.len();
        if lost > 0 {
            let words = "-- earlier events are not kept any more: some may be missing here --";
            invocation.ui.note(words);
        }
        for event in &events {
            match invocation.ui.output().is_text() {
                true => {
                    let line = line(event, &zone, invocation.ui.color());
                    invocation.ui.line(&line)?;
                }
                false => json::print(&mut invocation.ui, &report(event))?,
            }
        }
        invocation.ui.flush()?;
    }
    if request.follow {
        // The other side never ends a stream that is followed, unless it ends itself.
        return Err(Failure::new(
            Exit::NoAnswer,
            "the stream of events broke off",
        ));
    }
    Ok(shown)
}

fn no_events(url: &str) -> Failure {
    Failure::new(
        Exit::Incompatible,
        format!("{url} is spoken to over XML-RPC, which tells no events"),
    )
    .hint("`rsv status -w` watches; events come from an agent's own socket, for its user and root")
}

async fn connect(invocation: &mut Invocation, scope: &Scope) -> Result<Server, Failure> {
    match scope {
        Scope::Fleet(_) => invocation.controller().await,
        Scope::Local => match invocation.agent().await {
            Ok(agent) => match agent.carrier.service() {
                Some(server) => Ok(server.clone()),
                None => Err(no_events(&agent.url)),
            },
            Err(unconnected) => Err(unconnected.say(&mut invocation.ui)?),
        },
    }
}

/// Reaches the server again, or gives up with what was lost first.
async fn again(
    invocation: &mut Invocation,
    scope: &Scope,
    lost: Failure,
) -> Result<Server, Failure> {
    invocation.ui.note(&format!("-- {lost}; waiting for it --"));
    let since = Instant::now();
    let mut pause = PAUSE;
    while since.elapsed() < PATIENCE {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let server = match scope {
            Scope::Fleet(_) => invocation.controller().await.ok(),
            Scope::Local => {
                let agent = invocation.agent().await.ok();
                agent.and_then(|agent| agent.carrier.service().cloned())
            }
        };
        if let Some(server) = server
            && server.version().await.is_ok()
        {
            invocation.ui.note("-- it is back --");
            return Ok(server);
        }
    }
    Err(lost)
}

fn request(args: &EventsArgs, now: &Zoned) -> WatchEventsRequest {
    let mut kinds: Vec<i32> = Vec::new();
    let mut states: Vec<i32> = Vec::new();
    for wanted in &args.types {
        match wanted {
            EventType::Kind(kind) => kinds.push((*kind).into()),
            EventType::State(state) => states.push((*state).into()),
        }
    }
    let begin = match (args.from, args.since, args.lines) {
        (Some(seq), ..) => Some(Begin::From(seq)),
        (None, Some(since), _) => Some(Begin::Since(to_wire(since.before(now)))),
        (None, None, Some(n)) => Some(Begin::Latest(n)),
        (None, None, None) if args.follow => Some(Begin::Latest(0)),
        (None, None, None) => None,
    };
    WatchEventsRequest {
        hosts: None,
        programs: args.programs.clone(),
        kinds,
        states,
        follow: args.follow,
        begin,
    }
}

/// One event for people: number, time, where, what.
fn line(event: &Event, zone: &TimeZone, color: bool) -> String {
    let at = event.at.as_ref().and_then(from_wire);
    let at = at.and_then(|at| Timestamp::try_from(at).ok());
    let at = at.map_or_else(
        || "-".to_owned(),
        |at| at.to_zoned(zone.clone()).strftime("%F %T%.3f").to_string(),
    );
    let seq = event.seq.to_string();
    let mut parts = vec![paint(color, FAINT, &seq).into_owned(), at];
    if !event.host.is_empty() {
        parts.push(shown(&event.host));
    }
    match &event.what {
        Some(What::Changed(changed)) => parts.extend(changed_words(changed, color)),
        Some(What::Removed(removed)) => {
            parts.push(shown(&display_name(&removed.group, &removed.name)));
            parts.push("is no longer configured".to_owned());
        }
        Some(What::Link(link)) => {
            let style = match link.state() {
                HostState::Connected => GOOD,
                HostState::Draining => MOVING,
                _ => BAD,
            };
            parts.push(paint(color, style, state_name(link.state())).into_owned());
            parts.push(shown(&link.reason));
        }
        Some(What::Operation(operation)) => {
            parts.push(format!("op {}", printable(&operation.operation)));
            parts.push(shown(&operation.phase));
            parts.push(shown(&operation.detail));
            parts.push(shown(&operation.actor));
        }
        // Of a newer kind than this program knows.
        None => parts.push("something happened that this rsv does not know".to_owned()),
    }
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

/// A text of the other side, without anything that moves a cursor.
fn shown(text: &str) -> String {
    printable(text).into_owned()
}

fn changed_words(changed: &ProcessChanged, color: bool) -> Vec<String> {
    let Some(now) = &changed.now else {
        return Vec::new();
    };
    let style = match now.state() {
        ProcessState::Running => GOOD,
        ProcessState::Fatal | ProcessState::Exited | ProcessState::Backoff => BAD,
        ProcessState::Unknown | ProcessState::Unspecified => BAD,
        ProcessState::Starting | ProcessState::Stopping => MOVING,
        ProcessState::Stopped => FAINT,
    };
    let to = paint(color, style, state_word(now.state()));
    let step = match changed.from() {
        ProcessState::Unspecified => to.into_owned(),
        from if from == now.state() => to.into_owned(),
        from => format!("{} -> {to}", state_word(from)),
    };
    vec![
        shown(&display_name(&now.group, &now.name)),
        step,
        shown(&detail(now)),
    ]
}

/// What people ask next of a state.
fn detail(now: &ProcessStatus) -> String {
    let mut parts = Vec::new();
    match now.state() {
        ProcessState::Starting | ProcessState::Running => {
            parts.extend(now.pid.map(|pid| format!("pid {pid}")));
        }
        ProcessState::Exited | ProcessState::Backoff | ProcessState::Fatal => {
            if now.spawn_error.is_empty() {
                parts.extend(now.exit.as_ref().map(exit_words));
            } else {
                parts.push(now.spawn_error.clone());
            }
        }
        _ => {}
    }
    if !now.reason.is_empty() {
        parts.push(now.reason.clone());
    }
    if !now.log_trouble.is_empty() {
        parts.push(format!("its log: {}", now.log_trouble));
    }
    parts.join(", ")
}

/// One event for scripts.
fn report(event: &Event) -> json::Event {
    let mut report = json::Event {
        schema: "rsv/events/v1",
        seq: event.seq,
        at: json::time(event.at.as_ref()),
        host: json::text(&event.host),
        kind: kind(event),
        program: None,
        group: None,
        from: None,
        state: None,
        pid: None,
        exit_status: None,
        exit_signal: None,
        operation: None,
        detail: String::new(),
    };
    match &event.what {
        Some(What::Changed(ProcessChanged { now: Some(now), .. })) => {
            let from = event_from(event);
            report.program = Some(display_name(&now.group, &now.name));
            report.group = Some(now.group.clone());
            report.from = from.map(|state| state_word(state).to_owned());
            report.state = Some(state_word(now.state()).to_owned());
            report.pid = now.pid;
            (report.exit_status, report.exit_signal) = exit_of(now);
            report.detail = detail(now);
        }
        Some(What::Removed(ProcessRemoved { group, name })) => {
            report.program = Some(display_name(group, name));
            report.group = Some(group.clone());
        }
        Some(What::Link(HostChanged { reason, .. })) => {
            report.state = link_state(event).map(ToOwned::to_owned);
            report.detail = reason.clone();
        }
        Some(What::Operation(OperationChanged {
            operation,
            phase,
            detail,
            ..
        })) => {
            report.operation = Some(operation.clone());
            report.state = Some(phase.clone());
            report.detail = detail.clone();
        }
        Some(What::Changed(_)) | None => {}
    }
    report
}

fn event_from(event: &Event) -> Option<ProcessState> {
    match &event.what {
        Some(What::Changed(changed)) => {
            Some(changed.from()).filter(|from| *from != ProcessState::Unspecified)
        }
        _ => None,
    }
}

fn link_state(event: &Event) -> Option<&'static str> {
    match &event.what {
        Some(What::Link(link)) => Some(state_name(link.state())),
        _ => None,
    }
}

/// The word for what an event is about.
fn kind(event: &Event) -> &'static str {
    let kind = match &event.what {
        Some(What::Changed(_)) => EventKind::Process,
        Some(What::Removed(_)) => return "process-removed",
        Some(What::Link(_)) => EventKind::Host,
        Some(What::Operation(_)) => EventKind::Operation,
        None => EventKind::Unspecified,
    };
    EventType::word(kind)
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{ExitStatus, exit_status::Kind};

    use super::*;
    use crate::args::{Arguments, Verb};

    fn event(host: &str, what: What) -> Event {
        Event {
            seq: 17,
            at: Some(prost_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 250_000_000,
            }),
            host: host.into(),
            what: Some(what),
        }
    }

    fn changed(from: ProcessState, now: ProcessStatus) -> What {
        What::Changed(ProcessChanged {
            from: from.into(),
            now: Some(ProcessStatus {
                group: "app".into(),
                name: "app".into(),
                ..now
            }),
        })
    }

    fn some() -> Vec<Event> {
        vec![
            event(
                "web01",
                changed(
                    ProcessState::Running,
                    ProcessStatus {
                        state: ProcessState::Exited.into(),
                        exit: Some(ExitStatus {
                            kind: Some(Kind::Code(1)),
                            core_dumped: false,
                        }),
                        ..Default::default()
                    },
                ),
            ),
            event(
                "web01",
                changed(
                    ProcessState::Exited,
                    ProcessStatus {
                        state: ProcessState::Starting.into(),
                        pid: Some(7),
                        reason: "restarted".into(),
                        ..Default::default()
                    },
                ),
            ),
            event(
                "web02",
                What::Link(HostChanged {
                    state: HostState::Unreachable.into(),
                    reason: "silent for 15s".into(),
                }),
            ),
            event(
                "",
                What::Removed(ProcessRemoved {
                    group: "g".into(),
                    name: "old\u{1b}".into(),
                }),
            ),
            event(
                "",
                What::Operation(OperationChanged {
                    operation: "01JDG7M2".into(),
                    phase: "begun".into(),
                    detail: "restart app on 20 hosts".into(),
                    actor: "operator/admin".into(),
                }),
            ),
        ]
    }

    #[test]
    fn an_event_is_a_line() {
        let lines: Vec<String> = some()
            .iter()
            .map(|e| line(e, &TimeZone::UTC, false))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        17  2027-01-15 08:00:00.250  web01  app  RUNNING -> EXITED  exit status 1
        17  2027-01-15 08:00:00.250  web01  app  EXITED -> STARTING  pid 7, restarted
        17  2027-01-15 08:00:00.250  web02  unreachable  silent for 15s
        17  2027-01-15 08:00:00.250  g:old\x1b  is no longer configured
        17  2027-01-15 08:00:00.250  op 01JDG7M2  begun  restart app on 20 hosts  operator/admin
        ");
    }

    #[test]
    fn an_event_is_an_object() {
        let lines: Vec<String> = some()
            .iter()
            .map(|e| serde_json::to_string(&report(e)).unwrap())
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"schema":"rsv/events/v1","seq":17,"at":"2027-01-15T08:00:00.250Z","host":"web01","kind":"process","program":"app","group":"app","from":"RUNNING","state":"EXITED","pid":null,"exit_status":1,"exit_signal":null,"operation":null,"detail":"exit status 1"}
        {"schema":"rsv/events/v1","seq":17,"at":"2027-01-15T08:00:00.250Z","host":"web01","kind":"process","program":"app","group":"app","from":"EXITED","state":"STARTING","pid":7,"exit_status":null,"exit_signal":null,"operation":null,"detail":"pid 7, restarted"}
        {"schema":"rsv/events/v1","seq":17,"at":"2027-01-15T08:00:00.250Z","host":"web02","kind":"host","program":null,"group":null,"from":null,"state":"unreachable","pid":null,"exit_status":null,"exit_signal":null,"operation":null,"detail":"silent for 15s"}
        {"schema":"rsv/events/v1","seq":17,"at":"2027-01-15T08:00:00.250Z","host":null,"kind":"process-removed","program":"g:old\u001b","group":"g","from":null,"state":null,"pid":null,"exit_status":null,"exit_signal":null,"operation":null,"detail":""}
        {"schema":"rsv/events/v1","seq":17,"at":"2027-01-15T08:00:00.250Z","host":null,"kind":"operation","program":null,"group":null,"from":null,"state":"begun","pid":null,"exit_status":null,"exit_signal":null,"operation":"01JDG7M2","detail":"restart app on 20 hosts"}
        "#);
    }

    #[test]
    fn what_is_asked_is_what_the_flags_say() {
        let now = Timestamp::from_second(1000)
            .unwrap()
            .to_zoned(TimeZone::UTC);
        let asked = |line: &str| {
            let arguments = Arguments::read(line.split(' ')).unwrap();
            let Some(Verb::Events(args)) = arguments.verb else {
                panic!("another verb");
            };
            request(&args, &now)
        };
        assert_eq!(asked("rsv events").begin, None);
        assert_eq!(asked("rsv events -f").begin, Some(Begin::Latest(0)));
        assert_eq!(
            asked("rsv events -f --from 17").begin,
            Some(Begin::From(17))
        );
        assert_eq!(asked("rsv events --lines 3").begin, Some(Begin::Latest(3)));
        let since = to_wire(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(940));
        assert_eq!(
            asked("rsv events --since 1m").begin,
            Some(Begin::Since(since))
        );
        let typed = asked("rsv events --type host,fatal --type EXITED app");
        assert_eq!(typed.kinds, [i32::from(EventKind::Host)]);
        let states = [ProcessState::Fatal, ProcessState::Exited];
        assert_eq!(typed.states, states.map(i32::from));
        assert_eq!(typed.programs, ["app"]);
    }
}
