//! `HOST:PROGRAM`: each host gets its own programs and no others, whatever is asked.

use rsv_proto::wire::{
    ActRequest, Action, GetStatusRequest, HostSelection, ProcessState, ProcessStatus,
    RestartAction, SetDesiredRequest, TailRequest, Wish, act_response::Event, action::Verb,
    controller_message::Message, tail_response,
};
use tonic::{Code, Status};

use crate::harness::{Agent, Fleet, hello, program, restarted, soon};

fn all() -> Option<HostSelection> {
    Some(HostSelection {
        all: true,
        ..Default::default()
    })
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn restart(programs: &[&str]) -> ActRequest {
    ActRequest {
        hosts: all(),
        programs: texts(programs),
        action: Some(Action {
            verb: Some(Verb::Restart(RestartAction {})),
        }),
        ..Default::default()
    }
}

/// A host with these programs, as `group:name`.
async fn host(fleet: &Fleet, name: &str, programs: &[&str]) -> Agent {
    let agent = fleet.agent(name).await;
    let known = programs.iter().map(|shown| {
        let (group, name) = shown.split_once(':').unwrap_or((shown, shown));
        ProcessStatus {
            group: group.into(),
            ..program(name, ProcessState::Running)
        }
    });
    agent.snapshot(1, 1, known.collect()).await;
    let count = u32::try_from(programs.len()).unwrap();
    fleet
        .eventually(name, |h| h.programs_total == Some(count))
        .await;
    agent
}

/// What a request is answered with first, and each target of it.
async fn accepted(
    fleet: &Fleet,
    request: ActRequest,
) -> Result<(Vec<String>, Vec<String>), Status> {
    let mut events = fleet.operator().await.act(request).await?.into_inner();
    let first = soon("an answer", events.message()).await?.unwrap();
    let Some(Event::Accepted(accepted)) = first.event else {
        panic!("{first:?}");
    };
    let targets = accepted.targets.iter();
    let targets = targets.map(|target| format!("{} {}", target.host, target.program));
    Ok((accepted.programs, targets.collect()))
}

#[tokio::test]
async fn each_host_is_asked_for_its_own_programs_alone() {
    let mut fleet = Fleet::start().await;
    let mut web1 = host(&fleet, "web1", &["app", "side"]).await;
    let mut web2 = host(&fleet, "web2", &["app", "side"]).await;
    // What it has is not known: it resolves its patterns by itself.
    let mut db1 = fleet.agent("db1").await;
    let request = restart(&["web1:app", "db*:pg", "web[1-2]::side"]);
    let dry = ActRequest {
        dry_run: true,
        expect_hosts: Some(3),
        ..request.clone()
    };
    let (programs, targets) = accepted(&fleet, dry).await.unwrap();
    assert_eq!(programs, ["web1::app", "db*::pg", "web[1-2]::side"]);
    assert_eq!(targets, ["db1 ", "web1 app", "web1 side", "web2 side"]);
    accepted(&fleet, request).await.unwrap();
    let command = web1.command().await;
    assert_eq!(command.programs, ["app", "side"]);
    assert_eq!(
        command.precondition.as_ref().unwrap().targets,
        ["app", "side"]
    );
    web1.answer(&command, vec![restarted("app"), restarted("side")])
        .await;
    let command = web2.command().await;
    assert_eq!(command.programs, ["side"]);
    // The same from a controller that has only read of it.
    fleet.restart().await;
    let mut again = Agent::dial(&fleet, db1.credentials.clone(), hello(2)).await;
    assert_eq!(db1.command().await.programs, ["pg"]);
    again.welcome().await;
    assert_eq!(again.command().await.programs, ["pg"]);
}

#[tokio::test]
async fn a_host_that_nothing_is_of_is_left_alone() {
    let fleet = Fleet::start().await;
    let mut web1 = host(&fleet, "web1", &["app"]).await;
    let mut web2 = host(&fleet, "web2", &["app"]).await;
    accepted(&fleet, restart(&["web2:app"])).await.unwrap();
    let command = web2.command().await;
    web2.answer(&command, vec![restarted("app")]).await;
    let (_, targets) = accepted(
        &fleet,
        ActRequest {
            dry_run: true,
            ..restart(&["web2:app"])
        },
    )
    .await
    .unwrap();
    assert_eq!(targets, ["web2 app"]);
    accepted(&fleet, restart(&["web1:app"])).await.unwrap();
    let first = web1.command().await;
    assert_ne!(first.operation, command.operation, "the first that came");
}

#[tokio::test]
async fn what_is_no_host_or_may_be_a_group_is_refused_and_nothing_done() {
    let fleet = Fleet::start().await;
    let _web = host(&fleet, "web", &["app", "web:a"]).await;
    for (operand, code, said) in [
        (
            "web9:app",
            Code::NotFound,
            "neither a selected host nor a group",
        ),
        (
            "web9::app",
            Code::NotFound,
            "no selected host is called `web9`",
        ),
        (
            "web:a",
            Code::InvalidArgument,
            "write `web::a` for the host, `*:web:a`",
        ),
        ("web[:g:a", Code::InvalidArgument, "unbalanced"),
    ] {
        let status = accepted(&fleet, restart(&["app", operand])).await;
        let status = status.err().unwrap();
        assert_eq!(status.code(), code, "{operand}");
        assert!(status.message().contains(said), "{}", status.message());
    }
    let dry = |operand| ActRequest {
        dry_run: true,
        ..restart(&[operand])
    };
    let (_, targets) = accepted(&fleet, dry("*:web:a")).await.unwrap();
    assert_eq!(targets, ["web web:a"]);
    let (_, targets) = accepted(&fleet, dry("web::app")).await.unwrap();
    assert_eq!(targets, ["web app"]);
}

#[tokio::test]
async fn reading_and_wishes_are_of_the_same_programs() {
    let fleet = Fleet::start().await;
    let mut web1 = host(&fleet, "web1", &["app", "web:a"]).await;
    let _web2 = host(&fleet, "web2", &["app"]).await;
    let _db1 = host(&fleet, "db1", &["pg"]).await;
    let request = GetStatusRequest {
        hosts: all(),
        programs: texts(&["web1:web:*", "web2:app", "web*:x"]),
    };
    let mut pages = fleet.operator().await.get_status(request).await;
    let page = pages.as_mut().unwrap().get_mut().message().await.unwrap();
    let page = page.unwrap();
    assert_eq!(page.programs, ["web1::web:*", "web2::app", "web*::x"]);
    let shown = page.hosts.iter().map(|host| {
        let names = host.programs.iter().map(|p| p.name.as_str());
        let unmatched = host.unmatched.iter().map(|u| u.pattern.as_str());
        let words: Vec<&str> = names.chain(unmatched).collect();
        format!("{} {}", host.host, words.join(" "))
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        ["web1 a web*::x", "web2 app web*::x"]
    );

    let request = SetDesiredRequest {
        hosts: all(),
        wish: Wish::Disable.into(),
        programs: texts(&["web1:app"]),
        expect_hosts: Some(1),
        ..Default::default()
    };
    let answer = fleet.operator().await.set_desired(request).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.results.len(), 1, "{answer:?}");
    assert_eq!(
        (&*answer.results[0].host, &*answer.results[0].program),
        ("web1", "app")
    );
    assert!(matches!(web1.next().await, Message::Desired(_)));

    let request = TailRequest {
        hosts: all(),
        programs: texts(&["web1:web:a", "web1:nothing"]),
        ..Default::default()
    };
    let mut items = fleet
        .operator()
        .await
        .tail(request)
        .await
        .unwrap()
        .into_inner();
    let open = web1.open_log().await;
    assert_eq!(open.request.unwrap().programs, ["web:a"]);
    let end = soon("an end", items.message()).await.unwrap().unwrap();
    assert_eq!((&*end.host, &*end.program), ("web1", "nothing"));
    assert!(matches!(end.event, Some(tail_response::Event::End(_))));
}

#[tokio::test]
async fn a_dry_run_says_what_is_named_and_is_not_there() {
    let fleet = Fleet::start().await;
    let _web1 = host(&fleet, "web1", &["app"]).await;
    let request = ActRequest {
        hosts: Some(HostSelection {
            include: texts(&["web1", "web9"]),
            ..Default::default()
        }),
        dry_run: true,
        ..restart(&["app", "nosuch"])
    };
    let mut events = fleet
        .operator()
        .await
        .act(request)
        .await
        .unwrap()
        .into_inner();
    let first = soon("an answer", events.message()).await.unwrap().unwrap();
    let Some(Event::Accepted(accepted)) = first.event else {
        panic!("{first:?}");
    };
    let targets = accepted.targets.iter();
    let targets: Vec<String> = targets
        .map(|t| format!("{} {} {:?}", t.host, t.program, t.outcome()))
        .collect();
    assert_eq!(
        targets,
        [
            "web1 app Unspecified",
            "web1 nosuch Failed",
            "web9  NotAttempted"
        ]
    );
}
