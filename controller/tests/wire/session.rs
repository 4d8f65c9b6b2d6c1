//! Sessions: what an agent says is what operators see.

use std::time::Duration;

use rsv_proto::wire::{
    Delta, GetStatusRequest, GetStatusResponse, HostState, ListHostsRequest, ProcessState,
    agent_message, controller_message, delta,
};
use tonic::Code;

use crate::harness::{Agent, Fleet, hello, hosts, program};

async fn status(fleet: &Fleet, patterns: &[&str], programs: &[&str]) -> Vec<GetStatusResponse> {
    let request = GetStatusRequest {
        hosts: Some(hosts(patterns)),
        programs: programs.iter().map(ToString::to_string).collect(),
    };
    let mut stream = fleet
        .operator()
        .await
        .get_status(request)
        .await
        .unwrap()
        .into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await.unwrap() {
        pages.push(page);
    }
    pages
}

/// `host state: program STATE ...` of each host.
async fn words(fleet: &Fleet, patterns: &[&str], programs: &[&str]) -> Vec<String> {
    let pages = status(fleet, patterns, programs).await;
    let hosts = pages.iter().flat_map(|page| &page.hosts);
    hosts
        .map(|host| {
            let programs = host.programs.iter();
            let programs: Vec<String> = programs
                .map(|p| format!("{} {:?}", p.name, p.state()))
                .collect();
            format!("{} {:?}: {}", host.host, host.state(), programs.join(", "))
        })
        .collect()
}

#[tokio::test]
async fn a_host_that_is_named_and_not_enrolled_is_in_every_answer() {
    let fleet = Fleet::start().await;
    let _web1 = fleet.agent("web1").await;
    let named = ["web1", "web[8-9]", "db*"];
    let request = ListHostsRequest {
        hosts: Some(hosts(&named)),
    };
    let mut operator = fleet.operator().await;
    let listed = operator.list_hosts(request).await.unwrap().into_inner();
    assert_eq!(listed.hosts.len(), 1);
    assert_eq!(listed.missing, ["web8", "web9"]);
    assert_eq!(
        words(&fleet, &named, &[]).await[1..],
        ["web8 Unspecified: ", "web9 Unspecified: "]
    );
}

#[tokio::test]
async fn a_new_fleet_lists_no_hosts_and_says_so_when_some_are_named() {
    let fleet = Fleet::start().await;
    let mut operator = fleet.operator().await;
    let listed = operator
        .list_hosts(ListHostsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().hosts, []);
    let request = ListHostsRequest {
        hosts: Some(hosts(&["web*"])),
    };
    assert_eq!(
        operator.list_hosts(request).await.unwrap_err().code(),
        Code::NotFound
    );
    let request = GetStatusRequest {
        hosts: Some(hosts(&["web["])),
        programs: vec![],
    };
    assert_eq!(
        operator.get_status(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let request = GetStatusRequest::default();
    assert_eq!(
        operator.get_status(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn what_agents_say_is_what_operators_see() {
    let fleet = Fleet::start().await;
    let web = fleet.agent("web01").await;
    fleet.join("web02").await;
    web.snapshot(
        1,
        4,
        vec![
            program("app", ProcessState::Running),
            program("side", ProcessState::Fatal),
        ],
    )
    .await;
    let host = fleet
        .eventually("web01", |h| h.programs_total == Some(2))
        .await;
    assert_eq!(
        (host.state(), host.programs_up),
        (HostState::Connected, Some(1))
    );
    assert_eq!(host.version, "9.9");
    let all = words(&fleet, &["web*"], &[]).await;
    assert_eq!(
        all,
        ["web01 Connected: app Running, side Fatal", "web02 Never: "]
    );
    let some = words(&fleet, &["web01", "db07"], &["app"]).await;
    assert_eq!(some, ["web01 Connected: app Running", "db07 Unspecified: "]);
    let unmatched = status(&fleet, &["web*"], &["nothing", "g:*", "all"]).await;
    let unmatched: Vec<usize> = unmatched[0]
        .hosts
        .iter()
        .map(|h| h.unmatched.len())
        .collect();
    assert_eq!(
        unmatched,
        [2, 0],
        "of a host that is not known nothing is said to be missing"
    );
}

#[tokio::test]
async fn changes_follow_in_order_and_a_gap_is_healed_by_a_snapshot() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    agent
        .snapshot(1, 4, vec![program("app", ProcessState::Running)])
        .await;
    let change = |seq, state| {
        let change = Some(delta::Change::Upsert(program("app", state)));
        agent_message::Message::Delta(Delta {
            epoch: 1,
            seq,
            change,
        })
    };
    agent.say(change(5, ProcessState::Exited)).await;
    fleet
        .eventually("web01", |h| h.programs_up == Some(0))
        .await;
    agent.say(change(7, ProcessState::Running)).await;
    let asked = agent.next().await;
    assert!(
        matches!(asked, controller_message::Message::Resync(_)),
        "{asked:?}"
    );
    agent
        .snapshot(1, 7, vec![program("app", ProcessState::Running)])
        .await;
    fleet
        .eventually("web01", |h| h.programs_up == Some(1))
        .await;
}

#[tokio::test]
async fn an_agent_that_vanishes_is_unreachable_with_its_last_state_and_resumes() {
    let fleet = Fleet::start().await;
    let agent = fleet.agent("web01").await;
    agent
        .snapshot(1, 4, vec![program("app", ProcessState::Running)])
        .await;
    fleet
        .eventually("web01", |h| h.programs_total == Some(1))
        .await;
    let credentials = agent.vanish();
    let host = fleet
        .eventually("web01", |h| h.state() == HostState::Unreachable)
        .await;
    assert!(!host.reason.is_empty());
    assert_eq!(
        words(&fleet, &["web01"], &[]).await,
        ["web01 Unreachable: app Running"]
    );
    let mut greeting = hello(1);
    (greeting.oldest_seq, greeting.newest_seq) = (1, 6);
    let mut again = Agent::dial(&fleet, credentials, greeting).await;
    assert_eq!(again.welcome().await.resume_after, Some(4));
    assert_eq!(
        words(&fleet, &["web01"], &[]).await,
        ["web01 Connected: app Running"]
    );
}

#[tokio::test]
async fn a_silent_agent_is_dismissed_and_shown_unreachable() {
    let fleet = Fleet::start_with(Duration::from_millis(100)).await;
    let mut agent = fleet.agent("web01").await;
    agent
        .snapshot(1, 4, vec![program("app", ProcessState::Running)])
        .await;
    let dismissed = agent.next().await;
    assert!(
        matches!(&dismissed, controller_message::Message::Dismiss(d) if d.reason.contains("silent"))
    );
    assert!(agent.try_next().await.is_err(), "the stream ends");
    let host = fleet.host("web01").await;
    assert_eq!(host.state(), HostState::Unreachable);
    assert!(host.reason.contains("silent"), "{}", host.reason);
    assert_eq!(
        words(&fleet, &["web01"], &[]).await,
        ["web01 Unreachable: app Running"]
    );
}

#[tokio::test]
async fn heartbeats_keep_a_session_open() {
    let fleet = Fleet::start_with(Duration::from_millis(100)).await;
    let mut agent = fleet.agent("web01").await;
    agent.snapshot(1, 4, vec![]).await;
    for _ in 0..10 {
        agent.controllers_heartbeat().await;
        agent.heartbeat(4).await;
    }
    assert_eq!(fleet.host("web01").await.state(), HostState::Connected);
}

#[tokio::test]
async fn a_newer_agent_takes_over_at_once() {
    let fleet = Fleet::start().await;
    let mut old = fleet.agent("web01").await;
    let mut new = Agent::dial(&fleet, old.credentials.clone(), hello(2)).await;
    new.welcome().await;
    let dismissed = old.next().await;
    assert!(
        matches!(dismissed, controller_message::Message::Dismiss(_)),
        "{dismissed:?}"
    );
    assert!(old.try_next().await.is_err());
    let mut older = Agent::dial(&fleet, old.credentials.clone(), hello(1)).await;
    let dismissed = older.next().await;
    assert!(
        matches!(&dismissed, controller_message::Message::Dismiss(d) if d.retry_after_ms > 0),
        "{dismissed:?}"
    );
    assert_eq!(fleet.host("web01").await.state(), HostState::Connected);
}

#[tokio::test]
async fn what_is_not_a_greeting_gets_a_reason_and_no_session() {
    let fleet = Fleet::start().await;
    let credentials = fleet.join("web01").await;
    let mut unknown = hello(1);
    (unknown.protocol_min, unknown.protocol_max) = (50, 60);
    let mut agent = Agent::dial(&fleet, credentials, unknown).await;
    let status = agent.try_next().await.unwrap_err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("50 to 60"),
        "{}",
        status.message()
    );
    assert_eq!(fleet.host("web01").await.state(), HostState::Never);
}

#[tokio::test]
async fn a_controller_that_starts_again_knows_its_hosts_and_hears_the_rest() {
    let mut fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    agent
        .snapshot(1, 4, vec![program("app", ProcessState::Running)])
        .await;
    fleet
        .eventually("web01", |h| h.programs_total == Some(1))
        .await;
    fleet.restart().await;
    let dismissed = agent.next().await;
    assert!(
        matches!(dismissed, controller_message::Message::Dismiss(_)),
        "{dismissed:?}"
    );
    let host = fleet.host("web01").await;
    assert_eq!(
        host.state(),
        HostState::Unreachable,
        "it has been seen, so it is not new"
    );
    assert_eq!(host.programs_up, Some(1), "as last known");
    assert!(host.last_seen.is_some());
    let mut again = Agent::dial(&fleet, agent.credentials.clone(), hello(1)).await;
    assert_eq!(again.welcome().await.resume_after, None);
    again
        .snapshot(1, 4, vec![program("app", ProcessState::Stopped)])
        .await;
    fleet
        .eventually("web01", |h| h.programs_up == Some(0))
        .await;
}
