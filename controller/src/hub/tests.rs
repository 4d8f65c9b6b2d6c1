//! The hub as a machine: what it tells, and when.

use std::time::SystemTime;

use rsv_proto::{
    limits::PROTOCOL,
    wire::{
        CommandResult, Hello, HostSelection, Outcome, ProcessStatus, SnapshotChunk, TargetResult,
        agent_message::Message as Word,
    },
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::{
    host::Enrolment,
    operation::{Deed, Patience, Rollout},
};

/// A hub with one connected host that has one program.
struct Driven {
    hub: Hub,
    steps: mpsc::Receiver<Vec<OperationStep>>,
    known: mpsc::Receiver<Noted>,
    orders: mpsc::Receiver<Result<ControllerMessage, tonic::Status>>,
    session: SessionId,
}

fn now() -> Moment {
    Moment {
        tick: Duration::from_secs(1000),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    }
}

fn host() -> HostName {
    "web01".parse().unwrap()
}

impl Driven {
    fn new() -> Self {
        let hosts = [(host(), Enrolment::default())];
        let fleet = Fleet::new("controller".into(), Duration::from_secs(5), hosts);
        let (epochs, _) = mpsc::channel(8);
        let (to_write, steps) = mpsc::channel(1);
        let (to_note, known) = mpsc::channel(1);
        let memory = Memory {
            term: 1,
            operations: Vec::new(),
            told: Vec::new(),
            pen: Pen::new().0,
            epochs,
            known: to_note,
            steps: to_write,
        };
        let (to_send, orders) = mpsc::channel(ORDERS);
        let session = SessionId(Uuid::from_u128(1));
        let (answer, _) = oneshot::channel();
        let mut driven = Self {
            hub: Hub::new(now(), fleet, memory),
            steps,
            known,
            orders,
            session,
        };
        driven.hear(FromAgent::Attach(Attach {
            host: host(),
            serial: String::new(),
            session,
            hello: Hello {
                epoch: 1,
                protocol_min: *PROTOCOL.start(),
                protocol_max: *PROTOCOL.end(),
                ..Hello::default()
            },
            orders: to_send,
            over: CancellationToken::new().drop_guard(),
            answer,
        }));
        let app = ProcessStatus {
            group: "app".into(),
            name: "app".into(),
            ..ProcessStatus::default()
        };
        driven.say(Word::Snapshot(SnapshotChunk {
            epoch: 1,
            programs: vec![app],
            last: true,
            ..SnapshotChunk::default()
        }));
        driven
    }

    fn hear(&mut self, word: FromAgent) {
        self.hub.handle(now(), Event::Word(word));
    }

    fn say(&mut self, word: Word) {
        self.hear(FromAgent::Said(host(), self.session, word));
    }

    fn submit(&mut self, id: &str) -> oneshot::Receiver<Result<Submitted, SubmitError>> {
        let (answer, answered) = oneshot::channel();
        let submission = Submission {
            id: id.into(),
            actor: "operator/ann".into(),
            selection: HostSelection {
                all: true,
                ..HostSelection::default()
            },
            programs: vec!["all".into()],
            deed: Deed::Stop,
            signal: 0,
            rollout: Rollout::at_once(Deed::Stop),
            patience: Patience {
                deadline: Duration::from_secs(30),
                timeout: None,
            },
            expect_hosts: None,
            is_dry_run: false,
            key: String::new(),
            retry_of: String::new(),
            trace: Default::default(),
        };
        let ask = Ask::Submit(Box::new(submission), answer);
        self.hub.handle(now(), Event::Ask(ask));
        answered
    }

    /// The store has come to its end with what it was given.
    fn write(&mut self, is_durable: bool) {
        assert!(self.steps.try_recv().is_ok(), "there is something to write");
        self.hub.handle(now(), Event::Written(is_durable));
    }

    /// How much of the story is told, and whether its end is.
    fn told(&mut self, id: &str) -> (usize, bool) {
        let (answer, mut page) = oneshot::channel();
        let ask = Ask::Story(id.into(), 0, answer);
        self.hub.handle(now(), Event::Ask(ask));
        let page = page.try_recv().unwrap().unwrap();
        (page.told.len(), page.end.is_some())
    }

    fn commands(&mut self) -> Vec<String> {
        let mut ids = Vec::new();
        while let Ok(Ok(order)) = self.orders.try_recv() {
            if let Some(Message::Command(command)) = order.message {
                ids.push(command.id);
            }
        }
        ids
    }
}

#[test]
fn nothing_is_told_or_ordered_before_it_is_written_down() {
    let mut driven = Driven::new();
    let mut submitted = driven.submit("A");
    assert!(submitted.try_recv().is_err());
    assert_eq!(driven.told("A"), (0, false));
    assert_eq!(driven.commands(), [""; 0]);
    driven.write(true);
    assert!(submitted.try_recv().unwrap().is_ok());
    assert_eq!(driven.told("A"), (1, false), "the batch has begun");
    assert_eq!(driven.commands(), ["A.1"]);
    driven.say(Word::Result(CommandResult {
        id: "A.1".into(),
        results: vec![TargetResult {
            program: "app".into(),
            outcome: Outcome::Done.into(),
            ..TargetResult::default()
        }],
    }));
    assert_eq!(driven.told("A"), (1, false));
    driven.write(true);
    assert_eq!(driven.told("A"), (3, true));
}

#[test]
fn what_could_not_be_written_is_refused_and_never_told() {
    let mut driven = Driven::new();
    let mut submitted = driven.submit("A");
    driven.write(false);
    let refused = submitted.try_recv().unwrap();
    assert!(matches!(refused, Err(SubmitError::NotWritten)));
    assert_eq!(driven.commands(), [""; 0]);
}

#[test]
fn a_host_is_noted_soon_after_it_came_and_soon_after_it_was_lost() {
    let mut driven = Driven::new();
    let mut at = now();
    let mut noted = |driven: &mut Driven| {
        at = Moment {
            tick: driven.hub.notes.deadline().unwrap(),
            ..at
        };
        driven.hub.handle(at, Event::Elapsed);
        let batch = driven.known.try_recv().unwrap();
        batch.done.send(true).unwrap();
        let [(name, last)]: [_; 1] = batch.hosts.try_into().unwrap();
        assert_eq!(name, host());
        assert!(at.tick <= now().tick + Duration::from_secs(5), "{at:?}");
        (last.is_connected, last.picture.unwrap().programs.len())
    };
    assert_eq!(noted(&mut driven), (true, 1));
    driven.hear(FromAgent::Ended(host(), driven.session, "lost".into()));
    assert_eq!(noted(&mut driven), (false, 1));
}

#[tokio::test]
async fn the_last_word_of_hosts_is_noted_while_they_are_there_and_nothing_after_it() {
    let mut driven = Driven::new();
    let (answer, _answered) = oneshot::channel();
    let close = Ask::Close("stopping".into(), answer);
    driven.hub.handle(now(), Event::Ask(close));
    let last = driven.known.try_recv().unwrap();
    assert_eq!(last.still, Some(now().wall));
    assert!(last.hosts[0].1.is_connected && last.hosts[0].1.is_live);
    driven
        .hub
        .handle(now().after(Duration::from_secs(999)), Event::Elapsed);
    driven.hub.notes.finish().await;
    assert!(driven.known.try_recv().is_err());
}

#[test]
fn a_host_that_two_machines_claim_to_be_is_an_event() {
    let mut driven = Driven::new();
    let (orders, _kept) = mpsc::channel(ORDERS);
    let (answer, _) = oneshot::channel();
    driven.hear(FromAgent::Attach(Attach {
        host: host(),
        serial: String::new(),
        session: SessionId(Uuid::from_u128(2)),
        hello: Hello {
            instance: "another".into(),
            epoch: 1,
            protocol_min: *PROTOCOL.start(),
            protocol_max: *PROTOCOL.end(),
            ..Hello::default()
        },
        orders,
        over: CancellationToken::new().drop_guard(),
        answer,
    }));
    let page = driven.hub.events.page(0);
    let said = page.events.iter().filter_map(|event| match &event.what {
        Some(What::Link(link)) => Some(link.reason.as_str()),
        _ => None,
    });
    let said: Vec<&str> = said.filter(|reason| !reason.is_empty()).collect();
    assert!(
        matches!(said[..], [one] if one.starts_with("two agents are in the same epoch")),
        "{said:?}"
    );
}
