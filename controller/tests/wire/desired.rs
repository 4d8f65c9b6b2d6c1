//! What is wanted of hosts: told to those that are there, and to the others when they return.

use rsv_proto::wire::{
    Desired, GetStatusRequest, HostState, HostStatus, ProcessState, SetDesiredRequest,
    SetDesiredResponse, TargetResult, Wish, controller_message::Message,
};
use tonic::{Code, Status};

use crate::harness::{Agent, Fleet, hello, hosts, program};

async fn wish(
    fleet: &Fleet,
    wish: Wish,
    host: &str,
    programs: &[&str],
) -> Result<SetDesiredResponse, Status> {
    let request = SetDesiredRequest {
        hosts: Some(hosts(&[host])),
        wish: wish.into(),
        programs: programs.iter().map(ToString::to_string).collect(),
        reason: "leaks".into(),
        ..Default::default()
    };
    let answer = fleet.operator().await.set_desired(request).await?;
    Ok(answer.into_inner())
}

async fn told(agent: &mut Agent) -> Desired {
    match agent.next().await {
        Message::Desired(desired) => desired,
        other => panic!("{other:?}"),
    }
}

fn disabled(desired: &Desired) -> Vec<&str> {
    desired.disabled.iter().map(|p| p.name.as_str()).collect()
}

fn words(results: &[TargetResult]) -> Vec<String> {
    let shown = results.iter().map(|r| {
        format!(
            "{}:{} {:?} {:?}",
            r.host,
            r.program,
            r.outcome(),
            r.refusal()
        )
    });
    shown.collect()
}

#[tokio::test]
async fn a_connected_host_is_told_each_change_once_with_a_higher_number() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let programs = ["app", "side"].map(|name| program(name, ProcessState::Running));
    agent.snapshot(1, 1, programs.into()).await;
    fleet
        .eventually("web01", |h| h.programs_total == Some(2))
        .await;

    let answer = wish(&fleet, Wish::Disable, "web01", &["app", "nothing"]).await;
    assert_eq!(
        words(&answer.unwrap().results),
        [
            "web01:app Done Unspecified",
            "web01:nothing Failed NoSuchProcess"
        ]
    );
    let first = told(&mut agent).await;
    assert_eq!(disabled(&first), ["app"]);
    let hold = first.disabled[0].hold.clone().unwrap();
    assert_eq!((hold.reason.as_str(), hold.whole_host), ("leaks", false));
    assert!(hold.actor.starts_with("operator/"), "{}", hold.actor);

    // The same again is no change, and nothing is told of it.
    wish(&fleet, Wish::Disable, "web01", &["app"])
        .await
        .unwrap();
    wish(&fleet, Wish::Drain, "web01", &[]).await.unwrap();
    let second = told(&mut agent).await;
    assert!(second.generation > first.generation && second.drained.is_some());
    assert_eq!(fleet.host("web01").await.state(), HostState::Draining);
}

#[tokio::test]
async fn a_host_that_is_away_is_told_when_it_returns() {
    let fleet = Fleet::start().await;
    let credentials = fleet.agent("web01").await.vanish();
    fleet
        .eventually("web01", |h| h.state() == HostState::Unreachable)
        .await;
    let answer = wish(&fleet, Wish::Disable, "web01", &["g:app", "work*"]).await;
    let results = answer.unwrap().results;
    assert_eq!(
        words(&results),
        ["web01:g:app Done Unspecified", "web01:work* Failed Other"],
        "of programs that are not known only names in full can be meant"
    );
    assert!(results[0].detail.contains("when it returns"));

    let mut agent = Agent::dial(&fleet, credentials, hello(2)).await;
    agent.welcome().await;
    assert_eq!(disabled(&told(&mut agent).await), ["app"]);
    wish(&fleet, Wish::Enable, "web01", &["all"]).await.unwrap();
    assert_eq!(disabled(&told(&mut agent).await), [""; 0]);
}

#[tokio::test]
async fn a_wish_without_sense_changes_nothing() {
    let fleet = Fleet::start().await;
    fleet.join("web01").await;
    for (what, programs) in [
        (Wish::Unspecified, &["app"][..]),
        (Wish::Disable, &[]),
        (Wish::Drain, &["app"]),
        (Wish::Enable, &[""]),
    ] {
        let refused = wish(&fleet, what, "web01", programs).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{what:?}");
    }
}

async fn status(fleet: &Fleet, host: &str) -> HostStatus {
    let request = GetStatusRequest {
        hosts: Some(hosts(&[host])),
        ..Default::default()
    };
    let mut pages = fleet
        .operator()
        .await
        .get_status(request)
        .await
        .unwrap()
        .into_inner();
    pages.message().await.unwrap().unwrap().hosts.remove(0)
}

#[tokio::test]
async fn what_was_known_of_hosts_outlives_the_controller_and_pending_wishes_name_it() {
    let mut fleet = Fleet::start().await;
    let (away, there) = (fleet.agent("web01").await, fleet.agent("web02").await);
    for agent in [&away, &there] {
        let app = program("app", ProcessState::Running);
        agent.snapshot(1, 1, vec![app]).await;
    }
    for host in ["web01", "web02"] {
        fleet
            .eventually(host, |h| h.programs_total == Some(1))
            .await;
    }
    away.vanish();
    let lost = fleet
        .eventually("web01", |h| h.state() == HostState::Unreachable)
        .await;
    fleet.restart().await;
    for host in ["web01", "web02"] {
        let known = fleet.host(host).await;
        assert_eq!(known.state(), HostState::Unreachable);
        assert_eq!(
            (known.version.as_str(), known.programs_up),
            ("9.9", Some(1))
        );
        assert!(known.last_seen.is_some());
    }
    let seen = fleet.host("web01").await.last_seen;
    assert_eq!(seen, lost.last_seen, "it has not been heard since");

    let answer = wish(&fleet, Wish::Disable, "web01", &["a*"]).await.unwrap();
    assert_eq!(words(&answer.results), ["web01:app Done Unspecified"]);
    let known = status(&fleet, "web01").await;
    assert!(known.as_of.is_some());
    let [app]: [_; 1] = known.programs.try_into().unwrap();
    assert_eq!(app.state(), ProcessState::Running, "as last known");
    assert_eq!(app.hold.unwrap().reason, "leaks");
    drop(there);
}
