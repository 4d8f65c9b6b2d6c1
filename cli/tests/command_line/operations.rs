//! Operations: late hosts, batches, and what is listed and controlled afterwards.

use std::time::Duration;

use rsv_proto::{
    time::duration_to_wire,
    wire::{
        OperationState, Outcome, OutcomeCounts, Refusal, TargetResult,
        act_response::{
            Accepted, BatchBegun, BatchEnded, Event as AnEvent, Finished, Late, Progress, Stopping,
            progress::What as Told,
        },
        control_operation_request::Control,
    },
};

use crate::{
    controller::Controller,
    fake::Answers,
    fleet::{done, operation, reached},
};

#[tokio::test]
async fn who_has_not_answered_in_time_is_neither_unreachable_nor_done() {
    let late = Late {
        host: "web02".into(),
        programs: vec!["app".into()],
        after: Some(duration_to_wire(Duration::from_millis(500))),
    };
    let controller = Controller::with(Answers {
        reached: reached(&["web01", "web02"]),
        results: vec![("app", done("web01"))],
        story: vec![AnEvent::Progress(Progress {
            what: Some(Told::Late(late)),
        })],
        holds: true,
        ..Default::default()
    })
    .await;
    let ran = controller
        .rsv("-H web* --timeout 500ms -o json restart app")
        .await;
    assert_eq!(ran.code, 13, "{}", ran.err);
    assert!(ran.err.contains("rsv op watch 01JDG7M2"), "{}", ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["outcome"], "unanswered");
    let outcomes = report["targets"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes.map(|target| &target["outcome"]).collect();
    assert_eq!(outcomes, ["done", "unanswered"]);
}

#[tokio::test]
async fn a_rollout_is_told_batch_by_batch_and_exits_12_when_it_is_aborted() {
    let batch = BatchEnded {
        number: 1,
        hosts: reached(&["web01"]),
        counts: Some(OutcomeCounts {
            failed: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    let failed = TargetResult {
        outcome: Outcome::Failed.into(),
        refusal: Refusal::SpawnError.into(),
        steps: vec![],
        ..done("web01")
    };
    let controller = Controller::with(Answers {
        reached: reached(&["web01", "web02"]),
        results: vec![("app", failed)],
        accepted: Accepted {
            batches: 2,
            budget: 1,
            ..Default::default()
        },
        story: [
            Told::BatchBegun(BatchBegun::default()),
            Told::Stopping(Stopping {
                state: OperationState::Aborted.into(),
                reason: "1 failed, budget 1".into(),
            }),
            Told::BatchEnded(batch),
        ]
        .map(|what| AnEvent::Progress(Progress { what: Some(what) }))
        .into(),
        finished: Finished {
            state: OperationState::Aborted.into(),
            ..Default::default()
        },
        ..Default::default()
    })
    .await;
    let ran = controller
        .rsv("-H web* restart app --batch 1 --on-fail abort --soak 1s")
        .await;
    assert_eq!(ran.code, 12, "{}", ran.err);
    assert!(
        ran.err.contains("op 01JDG7M2  2 hosts, 2 batches"),
        "{}",
        ran.err
    );
    let of_the_batch = ran.err.lines().find(|line| line.contains("[1/2] web01"));
    let of_the_batch = of_the_batch.expect("a line of the batch");
    let end = "s   ABORTED (1 failed, budget 1)";
    assert!(of_the_batch.ends_with(end), "{of_the_batch}");
    assert_eq!(ran.err.matches("ABORTED").count(), 1, "{}", ran.err);
    assert!(ran.out.contains("ERROR (spawn error)"), "{}", ran.out);
    let asked = &controller.fake.acts()[0];
    assert!(
        asked
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.batch.is_some())
    );

    let ran = controller.rsv("-H web* --detach restart app").await;
    assert_eq!(ran.result(), ("01JDG7M2\n", 0), "{}", ran.err);
    let ran = controller.rsv("restart app --batch 1").await;
    assert_eq!(ran.code, 2, "batches of one machine: {}", ran.err);
}

#[tokio::test]
async fn who_holds_an_operation_back_is_said_once() {
    let waits = |why: &str| {
        AnEvent::Progress(Progress {
            what: Some(Told::Waits(why.to_owned())),
        })
    };
    let why = "operation 01JDG7M1 is acting on app, which may be down on 1 at most";
    let controller = Controller::with(Answers {
        reached: reached(&["web01"]),
        results: vec![("app", done("web01"))],
        story: vec![waits(why), waits(""), waits(why), waits("")],
        ..Default::default()
    })
    .await;
    let ran = controller
        .rsv("-H web* restart app --at-most-k-down 1")
        .await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err.matches("waits:").count(), 1, "{}", ran.err);
    assert!(ran.err.contains(&format!("waits: {why}\n")), "{}", ran.err);
}

#[tokio::test]
async fn operations_are_listed_watched_and_controlled() {
    let controller = Controller::with(Answers {
        reached: reached(&["web01"]),
        results: vec![("app", done("web01"))],
        operations: vec![operation(OperationState::Paused)],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("op ls").await;
    assert!(ran.out.contains("01JDG7M2  paused"), "{}", ran.out);
    let ran = controller.rsv("-o json op ls").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["schema"], "rsv/op-ls/v1");
    assert_eq!(value["operations"][0]["state"], "paused");
    let ran = controller.rsv("op watch 01JDG7M2").await;
    let line = "web01  (1)  app: stopped, started\n";
    assert_eq!(ran.result(), (line, 0), "{}", ran.err);
    let ran = controller.rsv("op resume 01JDG7M2").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(controller.fake.controls()[0].control(), Control::Resume);
    let ran = controller.rsv("op retry 01JDG7M2 --failed").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(controller.fake.retries()[0].failed_only);
    let ran = controller.rsv("op retry 01JDG7M2 --id again").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let keys = controller.fake.retries().into_iter();
    let keys: Vec<_> = keys.map(|retry| retry.idempotency_key).collect();
    assert_eq!(keys, ["", "again"]);
    let ran = controller.rsv("op show nothing").await;
    assert_eq!(ran.code, 15, "{}", ran.err);
    assert!(
        ran.err.contains("no operation `nothing` is known"),
        "{}",
        ran.err
    );
}
