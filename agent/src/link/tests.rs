//! The link against a controller in this process.

mod fake;

use std::time::Duration;

use rsv_proto::time::to_wire;
use rsv_proto::wire::{
    self, Action, Outcome, RestartAction, action::Verb, agent_message::Message as Heard,
    controller_message::Message as Said, tail_response::Event,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::capture::Capture;
use crate::hub::fake::{self as hub, FakeHub};
use crate::keeper_client::KeeperPort;
use crate::listeners::Listeners;
use crate::roster::{self, RosterOptions, Source};
use fake::{Authority, Controller, Session};

/// More than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A heartbeat interval that never matters within a test.
const SLOW: u32 = 60_000;

struct Host {
    hub: FakeHub,
    link: LinkHandle,
    state: StateDir,
    directory: tempfile::TempDir,
}

fn host(identity: Option<&HostIdentity>, controllers: &[String]) -> Host {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    if let Some(identity) = identity {
        state.store_identity(identity).unwrap();
    }
    let hub = hub::start(7, &["app", "stuck"]);
    let link = link(&hub, &state, controllers);
    Host {
        hub,
        link,
        state,
        directory,
    }
}

/// No program is configured there, and the file is gone after the start.
fn owners(hub: &FakeHub) -> Owners {
    let directory = tempfile::tempdir().unwrap();
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
        notice: String::new(),
    });
    Owners {
        hub: hub.handle.clone(),
        capture: Capture::start(KeeperPort::new()).unwrap(),
        roster,
        main_log: None,
        log: MainLog::default(),
        daemon: mpsc::channel(1).0,
    }
}

fn link(hub: &FakeHub, state: &StateDir, controllers: &[String]) -> LinkHandle {
    start(LinkOptions {
        controllers: controllers.to_vec(),
        state: state.clone(),
        facts: Facts {
            instance: "i".into(),
            ..Facts::default()
        },
        owners: owners(hub),
        join_command: "rsv-agent join".into(),
    })
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("within patience")
}

async fn session(controller: &mut Controller) -> Session {
    soon(controller.sessions.recv()).await.unwrap()
}

/// A host with an open session whose snapshot has arrived.
async fn attached() -> (Arc<Authority>, Controller, Host, Session) {
    let authority = Arc::new(Authority::new());
    let mut controller = Controller::start(&authority).await;
    let addresses = [controller.address.clone()];
    let host = host(Some(&authority.identity(&addresses)), &[]);
    let mut session = session(&mut controller).await;
    soon(session.welcome(SLOW)).await;
    soon(session.snapshot()).await;
    (authority, controller, host, session)
}

fn command(id: &str, program: &str, lead: i64) -> Said {
    let now = SystemTime::now();
    let mut deadline = to_wire(now);
    deadline.seconds += lead;
    Said::Command(wire::Command {
        id: id.into(),
        deadline: Some(deadline),
        action: Some(Action {
            verb: Some(Verb::Restart(RestartAction {})),
        }),
        programs: vec![program.into()],
        actor: "operator/admin".into(),
        ..Default::default()
    })
}

async fn result(session: &mut Session) -> wire::CommandResult {
    match soon(session.hear()).await {
        Some(Heard::Result(result)) => result,
        other => panic!("{other:?} is no result"),
    }
}

fn publish(hub: &FakeHub, name: &str) -> u64 {
    let key = wire::ProcessKey {
        group: name.into(),
        name: name.into(),
    };
    hub.journal.publish(wire::delta::Change::Remove(key))
}

#[tokio::test]
async fn a_session_begins_with_hello_and_snapshot_and_goes_on_with_deltas() {
    let authority = Arc::new(Authority::new());
    let mut controller = Controller::start(&authority).await;
    let addresses = [controller.address.clone()];
    let host = host(Some(&authority.identity(&[])), &addresses);
    let mut session = session(&mut controller).await;
    let hello = soon(session.welcome(SLOW)).await;
    assert_eq!((hello.epoch, hello.instance.as_str()), (7, "i"));
    let chunk = soon(session.snapshot()).await;
    assert_eq!((chunk.epoch, chunk.seq, chunk.programs.len()), (7, 0, 2));
    for seq in 1..=3 {
        assert_eq!(publish(&host.hub, "app"), seq);
        let Some(Heard::Delta(delta)) = soon(session.hear()).await else {
            panic!("no delta")
        };
        assert_eq!(delta.seq, seq);
    }
}

#[tokio::test]
async fn who_falls_off_the_ring_sends_a_new_snapshot() {
    let (_authority, _controller, host, mut session) = attached().await;
    // More than the ring holds, before the link can take any.
    let mut newest = 0;
    for _ in 0..200 {
        newest = publish(&host.hub, "app");
    }
    let chunk = soon(session.snapshot()).await;
    assert_eq!(chunk.seq, newest);
    publish(&host.hub, "app");
    let Some(Heard::Delta(delta)) = soon(session.hear()).await else {
        panic!("no delta")
    };
    assert_eq!(delta.seq, newest + 1);
}

#[tokio::test]
async fn a_repeated_command_is_run_once_and_answered_again_until_acknowledged() {
    let (_authority, mut controller, mut host, mut first) = attached().await;
    first.say(command("c1", "app", 30)).await;
    let answer = result(&mut first).await;
    assert_eq!(answer.results[0].outcome(), Outcome::Done);
    first.say(command("c1", "app", 30)).await;
    assert_eq!(result(&mut first).await, answer);
    drop(first);
    // Not acknowledged: the next session gets it without asking.
    let mut second = session(&mut controller).await;
    soon(second.welcome(SLOW)).await;
    let mut heard = [soon(second.hear()).await, soon(second.hear()).await];
    heard.sort_by_key(|message| matches!(message, Some(Heard::Result(_))));
    assert_eq!(heard[1], Some(Heard::Result(answer)));
    let ids = vec!["c1".to_owned()];
    second.say(Said::ResultAck(wire::ResultAck { ids })).await;
    second.say(command("c2", "app", 30)).await;
    assert_eq!(result(&mut second).await.id, "c2");
    let acts = [host.hub.acts.try_recv(), host.hub.acts.try_recv()];
    assert!(acts.iter().all(Result::is_ok));
    assert!(host.hub.acts.try_recv().is_err());
    assert_eq!(acts[0].as_ref().unwrap().actor, "operator/admin");
}

#[tokio::test]
async fn a_late_command_is_answered_as_expired_and_not_run() {
    let (_authority, _controller, mut host, mut session) = attached().await;
    session.say(command("late", "app", -5)).await;
    let answer = result(&mut session).await;
    assert_eq!(answer.results[0].outcome(), Outcome::Expired);
    assert!(answer.results[0].program.is_empty());
    assert!(host.hub.acts.try_recv().is_err());
}

/// A signal, which leaves no trace from which a new agent could tell whether it was sent.
fn signal(id: &str, program: &str) -> Said {
    let Said::Command(command) = command(id, program, 30) else {
        unreachable!("a command was made");
    };
    Said::Command(wire::Command {
        action: Some(Action {
            verb: Some(Verb::Signal(wire::SignalAction { signal: 1 })),
        }),
        ..command
    })
}

#[tokio::test]
async fn a_signal_that_the_killed_agent_had_begun_is_not_sent_again() {
    let (_authority, mut controller, mut host, session_before) = attached().await;
    session_before.say(signal("c1", "stuck")).await;
    soon(host.hub.acts.recv()).await.unwrap();
    // As a SIGKILL does, without a word: a second agent on what the first has left.
    host.link.task.abort();
    drop(session_before);
    let mut next = hub::start(8, &["app", "stuck"]);
    let _link = link(&next, &host.state, &[controller.address.clone()]);
    let mut after = session(&mut controller).await;
    soon(after.welcome(SLOW)).await;
    after.say(signal("c1", "stuck")).await;
    loop {
        match soon(after.hear()).await {
            Some(Heard::Result(answer)) => {
                assert_eq!(answer.results[0].outcome(), Outcome::Unreachable);
                break;
            }
            Some(Heard::Snapshot(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(next.acts.try_recv().is_err());
}

#[tokio::test]
async fn a_restart_that_the_killed_agent_had_only_noted_is_done_once_by_the_next() {
    let (_authority, mut controller, mut host, session_before) = attached().await;
    session_before.say(command("c1", "stuck", 30)).await;
    soon(host.hub.acts.recv()).await.unwrap();
    host.link.task.abort();
    drop(session_before);
    // Its programs are as they were: the restart had not reached them.
    let mut next = hub::start(8, &["app", "stuck"]);
    let _link = link(&next, &host.state, &[controller.address.clone()]);
    let mut after = session(&mut controller).await;
    soon(after.welcome(SLOW)).await;
    after.say(command("c1", "stuck", 30)).await;
    let act = soon(next.acts.recv()).await.unwrap();
    assert_eq!(act.exactly, ["stuck"]);
    after.say(command("c1", "stuck", 30)).await;
    soon(after.snapshot()).await;
    assert!(next.acts.try_recv().is_err(), "asked once");
}

#[tokio::test]
async fn a_controller_that_comes_back_is_found_again() {
    let authority = Arc::new(Authority::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut controller = Controller::on(listener, &authority);
    let addresses = [controller.address.clone()];
    let _host = host(Some(&authority.identity(&addresses)), &[]);
    let mut first = session(&mut controller).await;
    soon(first.welcome(SLOW)).await;
    drop((first, controller));
    let listener = soon(async {
        loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let mut controller = Controller::on(listener, &authority);
    let mut second = session(&mut controller).await;
    soon(second.welcome(SLOW)).await;
    assert_eq!(soon(second.snapshot()).await.programs.len(), 2);
}

#[tokio::test]
async fn a_silent_controller_is_left_and_dialled_anew() {
    let authority = Arc::new(Authority::new());
    let mut controller = Controller::start(&authority).await;
    let addresses = [controller.address.clone()];
    let _host = host(Some(&authority.identity(&addresses)), &[]);
    let mut silent = session(&mut controller).await;
    soon(silent.welcome(100)).await;
    // It keeps the stream open and says nothing.
    let mut next = session(&mut controller).await;
    soon(next.welcome(SLOW)).await;
    drop(silent);
}

#[tokio::test]
async fn a_new_certificate_is_fetched_stored_and_used() {
    let authority = Arc::new(Authority::new());
    let mut controller = Controller::start(&authority).await;
    let addresses = [controller.address.clone()];
    let identity = authority.aged_identity(&addresses);
    let host = host(Some(&identity), &[]);
    let old_leaf = identity.credentials.chain[0].to_vec();
    let mut first = session(&mut controller).await;
    assert_eq!(first.leaf, old_leaf);
    soon(first.welcome(SLOW)).await;
    let second = session(&mut controller).await;
    assert_ne!(second.leaf, old_leaf);
    let stored = host.state.load_identity().unwrap().unwrap();
    assert_eq!(stored.credentials.chain[0].to_vec(), second.leaf);
}

#[tokio::test]
async fn a_host_that_joins_later_connects_by_itself() {
    let authority = Arc::new(Authority::new());
    let mut controller = Controller::start(&authority).await;
    let addresses = [controller.address.clone()];
    let host = host(None, &addresses);
    host.state.store_identity(&authority.identity(&[])).unwrap();
    let mut session = session(&mut controller).await;
    soon(session.welcome(SLOW)).await;
    drop(host.directory);
}

#[tokio::test]
async fn leaving_tells_the_last_changes_and_says_goodbye() {
    let (_authority, _controller, host, mut session) = attached().await;
    publish(&host.hub, "app");
    let leaving = tokio::spawn(host.link.leave("shutting down"));
    let Some(Heard::Delta(delta)) = soon(session.hear()).await else {
        panic!("no delta")
    };
    assert_eq!(delta.seq, 1);
    let Some(Heard::Goodbye(goodbye)) = soon(session.hear()).await else {
        panic!("no goodbye")
    };
    assert_eq!(goodbye.reason, "shutting down");
    assert_eq!(soon(session.hear()).await, None);
    drop(session);
    soon(leaving).await.unwrap();
}

#[tokio::test]
async fn leaving_without_a_session_waits_until_what_ran_is_noted() {
    let (_authority, mut controller, mut host, first) = attached().await;
    first.say(command("c1", "stuck", 30)).await;
    soon(host.hub.acts.recv()).await.unwrap();
    drop(first);
    // It has dialled again, and is not let in.
    let second = session(&mut controller).await;
    let mut leaving = tokio::spawn(host.link.leave("shutting down"));
    drop(second);
    let left = timeout(Duration::from_millis(300), &mut leaving).await;
    assert!(left.is_err(), "what runs has not ended");
    host.hub.release.notify_one();
    soon(leaving).await.unwrap();
    let notes = std::fs::read_to_string(host.directory.path().join("commands")).unwrap();
    assert!(notes.contains("done"), "{notes}");
}

#[tokio::test]
async fn a_log_is_served_on_a_connection_of_its_own() {
    let (_authority, mut controller, _host, session) = attached().await;
    let request = wire::TailRequest {
        programs: vec!["app".into(), "nobody".into()],
        ..Default::default()
    };
    let open = wire::OpenLog {
        stream: "s1".into(),
        request: Some(request),
        ..Default::default()
    };
    session.say(Said::OpenLog(open)).await;
    let mut log = soon(controller.logs.recv()).await.unwrap();
    let first = soon(log.message()).await.unwrap().unwrap();
    assert_eq!((first.stream.as_str(), first.item), ("s1", None));
    let mut ends = Vec::new();
    while let Some(piece) = soon(log.message()).await.unwrap() {
        let item = piece.item.unwrap();
        assert!(matches!(item.event, Some(Event::End(_))));
        ends.push(item.program);
    }
    ends.sort();
    assert_eq!(ends, ["app", "nobody"]);
}

#[tokio::test]
async fn more_logs_than_a_connection_carries_are_served_at_once() {
    let (_authority, mut controller, _host, session) = attached().await;
    let n_logs = fake::CALLS + 20;
    for n in 0..n_logs {
        let open = wire::OpenLog {
            stream: format!("s{n}"),
            request: Some(wire::TailRequest::default()),
            ..Default::default()
        };
        session.say(Said::OpenLog(open)).await;
    }
    let mut open = Vec::new();
    for n in 0..n_logs {
        let log = timeout(Duration::from_secs(10), controller.logs.recv()).await;
        open.push(log.unwrap_or_else(|_| panic!("only {n} came")));
    }
}
