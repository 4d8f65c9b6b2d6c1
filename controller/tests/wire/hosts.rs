//! What operators change of hosts, and what becomes of those that they refuse or remove.

use std::collections::HashMap;

use rsv_proto::{
    tls::Credentials,
    wire::{
        ActRequest, Configured, CreateTokenRequest, HostSelection, HostState, LabelHostsRequest,
        ListHostsRequest, Outcome, ProcessState, RemoveHostsRequest, RenewRequest, RestartAction,
        RevokeHostsRequest, TargetResult, Wish, act_response::Event, action::Verb,
        agent_link_client::AgentLinkClient, agent_message, controller_message::Message,
    },
};
use tonic::Code;

use crate::harness::{Agent, Fleet, csr, hello, hosts, join, program};

async fn label(fleet: &Fleet, set: &[(&str, &str)], remove: &[&str]) -> Result<(), tonic::Status> {
    let request = LabelHostsRequest {
        hosts: Some(hosts(&["web01"])),
        set: set
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        remove: remove.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    fleet.admin().await.label_hosts(request).await.map(drop)
}

async fn revoke(fleet: &Fleet) {
    let request = RevokeHostsRequest {
        hosts: Some(hosts(&["web01"])),
        reason: "lost".into(),
        ..Default::default()
    };
    let answer = fleet.admin().await.revoke_hosts(request).await.unwrap();
    assert_eq!(answer.into_inner().results[0].outcome(), Outcome::Done);
}

async fn remove(fleet: &Fleet) -> TargetResult {
    let request = RemoveHostsRequest {
        hosts: Some(hosts(&["web01"])),
        ..Default::default()
    };
    let answer = fleet.admin().await.remove_hosts(request).await.unwrap();
    answer.into_inner().results.remove(0)
}

async fn n_hosts(fleet: &Fleet) -> usize {
    let all = ListHostsRequest::default();
    let listed = fleet.operator().await.list_hosts(all).await.unwrap();
    listed.into_inner().hosts.len()
}

/// What a session with these credentials comes to.
async fn greeted(fleet: &Fleet, credentials: &Credentials) -> Result<Agent, Code> {
    let dialled = Agent::try_dial(fleet, credentials.clone(), hello(2)).await;
    let mut agent = dialled.map_err(|status| status.code())?;
    match agent.try_next().await {
        Ok(Message::Welcome(_)) => Ok(agent),
        Ok(other) => panic!("{other:?}"),
        Err(status) => Err(status.unwrap().code()),
    }
}

/// What a call with these credentials comes to that is none of a session.
async fn renewed(fleet: &Fleet, credentials: &Credentials) -> Result<(), Code> {
    let mut client = AgentLinkClient::new(fleet.channel(credentials).await);
    let csr = csr(&rcgen::KeyPair::generate().unwrap());
    let renewed = client.renew(RenewRequest { csr }).await;
    renewed.map(drop).map_err(|status| status.code())
}

#[tokio::test]
async fn labels_of_operators_select_at_once_and_over_a_restart() {
    let mut fleet = Fleet::start().await;
    fleet.join("web01").await;
    label(&fleet, &[("role", "db"), ("dc", "fra")], &[])
        .await
        .unwrap();
    label(&fleet, &[], &["dc", "none"]).await.unwrap();
    for _ in 0..2 {
        let labels = fleet.host("web01").await.labels;
        assert_eq!(labels, HashMap::from([("role".into(), "db".into())]));
        let selection = HostSelection {
            labels: vec!["role=db".into()],
            ..Default::default()
        };
        let request = ListHostsRequest {
            hosts: Some(selection),
        };
        let listed = fleet.operator().await.list_hosts(request).await.unwrap();
        assert_eq!(listed.into_inner().hosts.len(), 1);
        fleet.restart().await;
    }
    for (set, remove) in [
        (&[("a b", "c")][..], &[][..]),
        (&[("a", "c\n")], &[]),
        (&[], &[""]),
        (&[("a", "b")], &["a"]),
        (&[], &[]),
    ] {
        let status = label(&fleet, set, remove).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{set:?} {remove:?}");
    }
}

#[tokio::test]
async fn a_revoked_host_is_cut_and_comes_back_only_with_a_later_token() {
    let mut fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let one_name = || CreateTokenRequest {
        host: "web01".into(),
        ..Default::default()
    };
    let earlier = fleet.token(one_name()).await;
    revoke(&fleet).await;
    let status = agent.try_next().await.unwrap_err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().contains("`web01` has been revoked"),
        "{status}"
    );
    let host = fleet.host("web01").await;
    assert_eq!(host.state(), HostState::Revoked);
    let revoked = host.revoked.unwrap();
    assert_eq!(
        (revoked.reason.as_str(), revoked.actor.as_str()),
        ("lost", "operator/admin")
    );

    let old = agent.vanish();
    let denied = Err(Code::PermissionDenied);
    for _ in 0..2 {
        assert_eq!(greeted(&fleet, &old).await.map(drop), denied);
        assert_eq!(renewed(&fleet, &old).await, denied);
        fleet.restart().await;
    }
    let status = join(&earlier, "web01").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");

    let new = join(&fleet.token(one_name()).await, "web01").await.unwrap();
    for _ in 0..2 {
        let _open = greeted(&fleet, &new).await.unwrap();
        assert_eq!(fleet.host("web01").await.state(), HostState::Connected);
        assert_eq!(renewed(&fleet, &new).await, Ok(()));
        assert_eq!(greeted(&fleet, &old).await.map(drop), denied);
        assert_eq!(renewed(&fleet, &old).await, denied);
        fleet.restart().await;
    }
}

#[tokio::test]
async fn a_host_that_is_connected_is_not_removed_and_one_that_returns_is_new() {
    let mut fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    agent
        .snapshot(1, 1, vec![program("app", ProcessState::Running)])
        .await;
    fleet
        .eventually("web01", |h| h.programs_total == Some(1))
        .await;
    label(&fleet, &[("role", "db")], &[]).await.unwrap();
    let drain = rsv_proto::wire::SetDesiredRequest {
        hosts: Some(hosts(&["web01"])),
        wish: Wish::Drain.into(),
        ..Default::default()
    };
    let mut operator = fleet.operator().await;
    let draining = operator.set_desired(drain);
    let keeping = async {
        let Message::Desired(desired) = agent.next().await else {
            panic!("nothing is wanted");
        };
        let generation = desired.generation;
        let obeyed = rsv_proto::wire::Obeyed { generation };
        agent.say(agent_message::Message::Obeyed(obeyed)).await;
        generation
    };
    let (_, generation) = tokio::join!(draining, keeping);
    let refused = remove(&fleet).await;
    assert_eq!(refused.outcome(), Outcome::Failed);
    assert!(
        refused.detail.contains("rsv host revoke"),
        "{}",
        refused.detail
    );

    let credentials = agent.vanish();
    fleet
        .eventually("web01", |h| h.state() == HostState::Unreachable)
        .await;
    assert_eq!(remove(&fleet).await.outcome(), Outcome::Done);
    assert_eq!(n_hosts(&fleet).await, 0);
    fleet.restart().await;
    assert_eq!(n_hosts(&fleet).await, 0);

    let mut agent = greeted(&fleet, &credentials).await.unwrap();
    let Message::Desired(desired) = agent.next().await else {
        panic!("it still keeps to what was wanted");
    };
    assert!(desired.generation > generation && desired.drained.is_none());
    let host = fleet.host("web01").await;
    assert_eq!(
        (host.state(), host.programs_total),
        (HostState::Connected, None)
    );
    assert!(host.labels.is_empty() && host.drained.is_none());
}

#[tokio::test]
async fn a_revoked_host_that_was_removed_stays_refused() {
    let mut fleet = Fleet::start().await;
    let credentials = fleet.agent("web01").await.vanish();
    revoke(&fleet).await;
    assert_eq!(remove(&fleet).await.outcome(), Outcome::Done);
    for _ in 0..2 {
        assert_eq!(n_hosts(&fleet).await, 0);
        let denied = Err(Code::PermissionDenied);
        assert_eq!(greeted(&fleet, &credentials).await.map(drop), denied);
        fleet.restart().await;
    }
    fleet.agent("web01").await;
}

#[tokio::test]
async fn an_operation_ends_with_one_outcome_for_a_host_that_is_removed_meanwhile() {
    let fleet = Fleet::start().await;
    let agent = fleet.agent("web01").await;
    agent
        .snapshot(1, 1, vec![program("app", ProcessState::Running)])
        .await;
    fleet
        .eventually("web01", |h| h.programs_total == Some(1))
        .await;
    drop(agent.vanish());
    fleet
        .eventually("web01", |h| h.state() == HostState::Unreachable)
        .await;
    let second = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let request = ActRequest {
        hosts: Some(hosts(&["web01"])),
        programs: vec!["app".into()],
        action: Some(rsv_proto::wire::Action {
            verb: Some(Verb::Restart(RestartAction {})),
        }),
        deadline: second(2),
        timeout: second(2),
        ..Default::default()
    };
    let mut events = fleet
        .operator()
        .await
        .act(request)
        .await
        .unwrap()
        .into_inner();
    let first = events.message().await.unwrap().unwrap().event;
    assert!(matches!(first, Some(Event::Accepted(_))), "{first:?}");
    assert_eq!(remove(&fleet).await.outcome(), Outcome::Done);
    let mut outcomes = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        if let Some(Event::Result(result)) = event.event {
            outcomes.push((result.program.clone(), result.outcome()));
        }
    }
    assert_eq!(outcomes, [("app".to_owned(), Outcome::Unreachable)]);
}

#[tokio::test]
async fn the_configuration_in_force_is_known_and_outlives_the_controller() {
    let mut fleet = Fleet::start().await;
    let agent = fleet.agent("web01").await;
    assert_eq!(fleet.host("web01").await.configured, None);
    let configured = Configured {
        generation: 3,
        digest: 9,
    };
    agent
        .say(agent_message::Message::Configured(configured))
        .await;
    fleet
        .eventually("web01", |h| h.configured == Some(configured))
        .await;
    fleet.restart().await;
    assert_eq!(fleet.host("web01").await.configured, Some(configured));
}
