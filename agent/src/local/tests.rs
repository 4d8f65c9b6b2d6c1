//! The local service, called over its socket.

use std::time::Duration;

use rsv_proto::dial::dial_unix;
use rsv_proto::wire::{
    self, ActRequest, Action, HostSelection, Outcome, StopAction, act_response::Event,
    action::Verb, fleet_client::FleetClient, tail_response,
};
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::capture::Capture;
use crate::hub::fake::{self, FakeHub};
use crate::keeper_client::KeeperPort;
use crate::roster::{self, RosterOptions, Source};

struct Served {
    client: FleetClient<Channel>,
    hub: FakeHub,
    asks: mpsc::Receiver<DaemonAsk>,
    handle: LocalHandle,
    directory: tempfile::TempDir,
}

async fn served() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let listener = bind(&path).unwrap();
    let hub = fake::start(1, &["app", "stuck"]);
    let (asking, asks) = mpsc::channel(1);
    let file = directory.path().join("a.conf");
    std::fs::write(&file, "[supervisord]\n").unwrap();
    let source = Source {
        file,
        overrides: rsv_config::Overrides::default(),
    };
    let config = source.read().unwrap().loaded.config;
    let roster = roster::start(RosterOptions {
        hub: hub.handle.clone(),
        listeners: Listeners::nobody(),
        source,
        last_good: None,
        auto: crate::spec::AutoLogs::of(&config),
        config: config.into(),
        inputs: None,
        notice: "an older configuration".to_owned(),
    });
    let owners = Owners {
        hub: hub.handle.clone(),
        capture: Capture::start(KeeperPort::new()).unwrap(),
        roster,
        listeners: Listeners::nobody(),
        main_log: Some(directory.path().join("main.log")),
        log: MainLog::default(),
        daemon: asking,
    };
    let handle = serve(listener, Reserve::new(1).unwrap(), owners).unwrap();
    let client = FleetClient::new(dial_unix(&path).await.unwrap());
    Served {
        client,
        hub,
        asks,
        handle,
        directory,
    }
}

fn stop(programs: &[&str]) -> ActRequest {
    ActRequest {
        programs: programs.iter().map(|name| (*name).to_owned()).collect(),
        action: Some(Action {
            verb: Some(Verb::Stop(StopAction {})),
        }),
        ..Default::default()
    }
}

async fn events(client: &mut FleetClient<Channel>, request: ActRequest) -> Vec<Event> {
    let mut stream = client.act(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        events.extend(response.event);
    }
    events
}

#[tokio::test]
async fn an_action_is_accepted_answered_per_program_and_finished() {
    let mut served = served().await;
    let events = events(&mut served.client, stop(&["app"])).await;
    let [
        Event::Accepted(accepted),
        Event::Result(result),
        Event::Finished(_),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert!(!accepted.operation.is_empty());
    assert_eq!(
        (result.program.as_str(), result.outcome()),
        ("app", Outcome::Done)
    );
}

#[tokio::test]
async fn a_program_without_an_answer_in_time_still_has_a_result() {
    let mut served = served().await;
    let timeout = Some(rsv_proto::time::duration_to_wire(Duration::from_millis(50)));
    let request = ActRequest {
        timeout,
        ..stop(&["all"])
    };
    let events = events(&mut served.client, request).await;
    let outcome = |event: &Event| match event {
        Event::Result(result) => Some((result.program.clone(), result.outcome())),
        _ => None,
    };
    let outcomes: Vec<_> = events.iter().filter_map(outcome).collect();
    let expected = [
        ("app".to_owned(), Outcome::Done),
        ("stuck".to_owned(), Outcome::Unreachable),
    ];
    assert_eq!(outcomes, expected);
    assert!(matches!(events.last(), Some(Event::Finished(_))));
}

#[tokio::test]
async fn a_dry_run_and_a_repeated_key_do_nothing_more() {
    let mut served = served().await;
    let keyed = ActRequest {
        idempotency_key: "k".into(),
        ..stop(&["app"])
    };
    let dry = ActRequest {
        dry_run: true,
        ..keyed.clone()
    };
    assert_eq!(events(&mut served.client, dry).await.len(), 2);
    assert!(served.hub.acts.try_recv().is_err());
    let mut first = events(&mut served.client, keyed.clone()).await;
    let mut again = events(&mut served.client, keyed).await;
    let joined = |events: &mut Vec<Event>| match &mut events[0] {
        Event::Accepted(accepted) => std::mem::take(&mut accepted.joined),
        other => panic!("{other:?}"),
    };
    assert!(!joined(&mut first), "a dry run takes no key: {first:?}");
    assert!(joined(&mut again), "{again:?}");
    assert_eq!(again, first, "but for this the same is said");
    assert!(served.hub.acts.try_recv().is_ok());
    assert!(served.hub.acts.try_recv().is_err());
}

#[tokio::test]
async fn other_hosts_and_senseless_requests_are_refused_with_a_reason() {
    let mut served = served().await;
    let hosts = Some(HostSelection {
        include: vec!["web*".into()],
        ..Default::default()
    });
    let client = &mut served.client;
    for (request, code) in [
        (
            ActRequest {
                hosts: hosts.clone(),
                ..stop(&["app"])
            },
            Code::FailedPrecondition,
        ),
        (
            ActRequest {
                expect_hosts: Some(3),
                ..stop(&["app"])
            },
            Code::FailedPrecondition,
        ),
        (stop(&[]), Code::InvalidArgument),
        (
            ActRequest {
                action: None,
                ..stop(&["app"])
            },
            Code::InvalidArgument,
        ),
    ] {
        assert_eq!(client.act(request).await.unwrap_err().code(), code);
    }
    let status = client
        .get_status(wire::GetStatusRequest {
            hosts,
            ..Default::default()
        })
        .await;
    assert_eq!(status.unwrap_err().code(), Code::FailedPrecondition);
    let listed = client.list_hosts(wire::ListHostsRequest::default()).await;
    let refused = listed.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("controller"));
    let from = Some(wire::Cursor {
        log_id: "?".into(),
        offset: 0,
    });
    let tail = client
        .tail(wire::TailRequest {
            from,
            ..Default::default()
        })
        .await;
    assert_eq!(tail.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn status_is_one_page_of_this_host_with_what_was_not_found() {
    let mut served = served().await;
    let request = wire::GetStatusRequest {
        programs: vec!["app".into(), "nobody".into()],
        ..Default::default()
    };
    let mut pages = served
        .client
        .get_status(request)
        .await
        .unwrap()
        .into_inner();
    let page = pages.message().await.unwrap().unwrap();
    assert_eq!(pages.message().await.unwrap(), None);
    let [host] = &page.hosts[..] else {
        panic!("{page:?}")
    };
    assert!(host.host.is_empty() && host.as_of.is_some());
    assert_eq!(host.programs.len(), 1);
    assert_eq!(host.unmatched[0].pattern, "nobody");
    let version = served
        .client
        .get_version(wire::GetVersionRequest {})
        .await
        .unwrap();
    assert_eq!(version.into_inner().pid, std::process::id());
}

#[tokio::test]
async fn the_tail_of_a_program_without_a_log_ends_with_the_reason() {
    let mut served = served().await;
    let request = wire::TailRequest {
        programs: vec!["app".into()],
        ..Default::default()
    };
    let mut pieces = served.client.tail(request).await.unwrap().into_inner();
    let piece = pieces.message().await.unwrap().unwrap();
    let Some(tail_response::Event::End(end)) = piece.event else {
        panic!("{piece:?}")
    };
    assert_eq!(end.refusal(), wire::Refusal::NoFile);
    assert_eq!(pieces.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_shutdown_is_answered_and_told_to_the_daemon() {
    let mut served = served().await;
    let request = wire::ShutdownRequest {};
    let first = served.client.shutdown(request).await.unwrap();
    assert!(!first.into_inner().shutting_down);
    let while_it_waits = served.client.shutdown(request).await.unwrap();
    assert!(while_it_waits.into_inner().shutting_down);
    assert_eq!(served.asks.recv().await, Some(DaemonAsk::Shutdown));
    served.asks.close();
    let at_the_end = served.client.shutdown(request).await.unwrap();
    assert!(at_the_end.into_inner().shutting_down);
    served.handle.stop().await;
    let path = served.directory.path().join("agent.sock");
    assert!(dial_unix(&path).await.is_err());
}
