//! Actions: the right hosts, once each, and the truth about each.

use std::time::Duration;

use rsv_proto::{
    time::duration_to_wire,
    wire::{
        ActRequest, ActResponse, Action, Outcome, RestartAction, TargetResult,
        act_response::{Event, Progress, progress::What},
        action::Verb,
    },
};
use tonic::{Code, Status, Streaming};

use crate::harness::{Agent, Fleet, hello, hosts, restarted, soon};

fn restart(patterns: &[&str]) -> ActRequest {
    ActRequest {
        hosts: Some(hosts(patterns)),
        programs: vec!["app".into()],
        action: Some(Action {
            verb: Some(Verb::Restart(RestartAction {})),
        }),
        ..Default::default()
    }
}

/// An action under way.
struct Acting(Streaming<ActResponse>);

impl Acting {
    async fn submit(fleet: &Fleet, request: ActRequest) -> Result<Self, Status> {
        Ok(Self(
            fleet.operator().await.act(request).await?.into_inner(),
        ))
    }

    /// The next event that is not about batches.
    async fn event(&mut self) -> Event {
        loop {
            let message = soon("an event", self.0.message()).await.unwrap();
            match message.expect("the stream goes on").event.unwrap() {
                Event::Progress(_) => {}
                event => return event,
            }
        }
    }

    async fn accepted(&mut self) -> (String, Vec<String>) {
        match self.event().await {
            Event::Accepted(accepted) => (accepted.operation, accepted.hosts),
            other => panic!("{other:?}"),
        }
    }

    /// The next host that is said to be late.
    async fn late(&mut self) -> String {
        loop {
            let message = soon("an event", self.0.message()).await.unwrap();
            match message.expect("the stream goes on").event.unwrap() {
                Event::Progress(Progress {
                    what: Some(What::Late(late)),
                }) => return late.host,
                Event::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn result(&mut self) -> TargetResult {
        match self.event().await {
            Event::Result(result) => result,
            other => panic!("{other:?}"),
        }
    }

    async fn finished(&mut self) {
        let event = self.event().await;
        assert!(matches!(event, Event::Finished(_)), "{event:?}");
        assert_eq!(soon("the end", self.0.message()).await.unwrap(), None);
    }
}

fn words(result: &TargetResult) -> String {
    format!("{} {} {:?}", result.host, result.program, result.outcome())
}

#[tokio::test]
async fn each_reachable_host_gets_one_command_and_the_absent_one_is_named() {
    let fleet = Fleet::start().await;
    let mut web01 = fleet.agent("web01").await;
    let mut web02 = fleet.agent("web02").await;
    let _db01 = fleet.agent("db01").await;
    fleet.join("web03").await;
    let mut action = Acting::submit(&fleet, restart(&["web*", "web09"]))
        .await
        .unwrap();
    let (operation, named) = action.accepted().await;
    assert_eq!(named, ["web01", "web02", "web03"]);
    assert_eq!(words(&action.result().await), "web09  NotAttempted");
    assert_eq!(words(&action.result().await), "web03  Unreachable");
    let first = web01.command().await;
    let second = web02.command().await;
    assert_eq!(first.operation, operation);
    assert_eq!(
        (first.actor.as_str(), &first.programs[..]),
        ("operator/admin", &["app".into()][..])
    );
    assert!(first.deadline.is_some());
    web02.answer(&second, vec![restarted("app")]).await;
    let result = action.result().await;
    assert_eq!(words(&result), "web02 app Done");
    assert_eq!(result.steps.len(), 2);
    web01
        .answer(&first, vec![restarted("app"), restarted("side")])
        .await;
    assert_eq!(words(&action.result().await), "web01 app Done");
    assert_eq!(words(&action.result().await), "web01 side Done");
    action.finished().await;
}

#[tokio::test]
async fn a_connected_host_that_does_not_answer_in_time_is_late_and_its_answer_is_the_record() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let request = ActRequest {
        timeout: Some(duration_to_wire(Duration::from_millis(300))),
        ..restart(&["web01"])
    };
    let mut action = Acting::submit(&fleet, request).await.unwrap();
    action.accepted().await;
    let command = agent.command().await;
    assert_eq!(action.late().await, "web01");
    agent.answer(&command, vec![restarted("app")]).await;
    assert_eq!(words(&action.result().await), "web01 app Done");
    action.finished().await;
}

#[tokio::test]
async fn an_agent_that_comes_back_gets_the_same_command_and_answers() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let mut action = Acting::submit(&fleet, restart(&["web01"])).await.unwrap();
    action.accepted().await;
    let command = agent.command().await;
    let credentials = agent.vanish();
    let mut again = Agent::dial(&fleet, credentials, hello(2)).await;
    again.welcome().await;
    let repeated = again.command().await;
    assert_eq!(repeated, command, "nothing of it has changed");
    again.answer(&repeated, vec![restarted("app")]).await;
    assert_eq!(words(&action.result().await), "web01 app Done");
    action.finished().await;
}

#[tokio::test]
async fn a_host_that_vanishes_and_could_no_longer_begin_is_unreachable() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let request = ActRequest {
        deadline: Some(duration_to_wire(Duration::from_millis(300))),
        ..restart(&["web01"])
    };
    let mut action = Acting::submit(&fleet, request).await.unwrap();
    action.accepted().await;
    agent.command().await;
    agent.vanish();
    assert_eq!(words(&action.result().await), "web01  Unreachable");
    action.finished().await;
}

#[tokio::test]
async fn an_action_goes_on_without_its_caller_and_its_key_finds_it_again() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let keyed = ActRequest {
        idempotency_key: "k1".into(),
        ..restart(&["web01"])
    };
    let mut action = Acting::submit(&fleet, keyed.clone()).await.unwrap();
    let (operation, _) = action.accepted().await;
    let command = agent.command().await;
    drop(action);
    agent.answer(&command, vec![restarted("app")]).await;
    let mut again = Acting::submit(&fleet, keyed.clone()).await.unwrap();
    match again.event().await {
        Event::Accepted(accepted) => {
            assert_eq!(
                (accepted.operation, accepted.joined),
                (operation.clone(), true)
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(words(&again.result().await), "web01 app Done");
    again.finished().await;
    let other = ActRequest {
        programs: vec!["side".into()],
        ..keyed
    };
    let status = Acting::submit(&fleet, other).await.err().unwrap();
    assert_eq!(status.code(), Code::AlreadyExists);
    let mut fresh = Acting::submit(&fleet, restart(&["web01"])).await.unwrap();
    assert_ne!(fresh.accepted().await.0, operation);
    assert_ne!(
        agent.command().await.id,
        command.id,
        "the key sent nothing twice"
    );
}

#[tokio::test]
async fn a_dry_run_and_a_wrong_count_do_nothing() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let dry = ActRequest {
        dry_run: true,
        ..restart(&["web*"])
    };
    let mut action = Acting::submit(&fleet, dry).await.unwrap();
    assert_eq!(action.accepted().await.1, ["web01"]);
    action.finished().await;
    let counted = ActRequest {
        expect_hosts: Some(2),
        ..restart(&["web*"])
    };
    let status = Acting::submit(&fleet, counted).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status
            .message()
            .starts_with("1 host is selected, 2 were expected")
    );
    let nobody = Acting::submit(&fleet, restart(&["db*"]))
        .await
        .err()
        .unwrap();
    assert_eq!(nobody.code(), Code::NotFound);
    let counted = ActRequest {
        expect_hosts: Some(1),
        ..restart(&["web*"])
    };
    let mut action = Acting::submit(&fleet, counted).await.unwrap();
    let (operation, _) = action.accepted().await;
    assert_eq!(
        agent.command().await.operation,
        operation,
        "the first command that came"
    );
}

#[tokio::test]
async fn an_expired_command_is_reported_as_the_host_says() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let mut action = Acting::submit(&fleet, restart(&["web01"])).await.unwrap();
    action.accepted().await;
    let command = agent.command().await;
    let expired = TargetResult {
        outcome: Outcome::Expired.into(),
        ..Default::default()
    };
    agent.answer(&command, vec![expired]).await;
    assert_eq!(words(&action.result().await), "web01  Expired");
    action.finished().await;
}

#[tokio::test]
async fn the_callers_trace_is_passed_on() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut request = tonic::Request::new(restart(&["web01"]));
    request
        .metadata_mut()
        .insert("traceparent", traceparent.parse().unwrap());
    let _events = fleet.operator().await.act(request).await.unwrap();
    assert_eq!(agent.command().await.traceparent, traceparent);
}

#[tokio::test]
async fn a_caller_is_told_when_the_controller_stops() {
    let mut fleet = Fleet::start().await;
    let mut agent = fleet.agent("web01").await;
    let mut action = Acting::submit(&fleet, restart(&["web01"])).await.unwrap();
    action.accepted().await;
    agent.command().await;
    fleet.stop().await;
    let status = loop {
        if let Err(status) = soon("the end", action.0.message()).await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
}
