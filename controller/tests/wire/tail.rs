//! Output of programs from their hosts to readers.

use std::time::Duration;

use rsv_proto::wire::{
    Cursor, ProcessState, ServeLogRequest, TailRequest, TailResponse,
    tail_response::{Chunk, End, Event},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::harness::{Agent, Fleet, hello, hosts, program, soon};

/// The agent's end of a log.
struct Log {
    items: mpsc::Sender<ServeLogRequest>,
    served: JoinHandle<Result<(), Status>>,
}

impl Log {
    /// Dials back with a log that was asked for.
    async fn serve(agent: &Agent, stream: String) -> Self {
        let (items, requests) = mpsc::channel(1);
        items
            .send(ServeLogRequest {
                stream,
                ..Default::default()
            })
            .await
            .unwrap();
        let mut client = agent.client.clone();
        let served = tokio::spawn(async move {
            client
                .serve_log(ReceiverStream::new(requests))
                .await
                .map(drop)
        });
        Self { items, served }
    }

    async fn chunk(&self, offset: u64, data: &[u8]) -> bool {
        let at = Some(Cursor {
            log_id: "l1".into(),
            offset,
        });
        self.event(Event::Chunk(Chunk {
            at,
            data: data.to_vec(),
            live: false,
        }))
        .await
    }

    async fn event(&self, event: Event) -> bool {
        let item = TailResponse {
            event: Some(event),
            ..Default::default()
        };
        let sent = self.items.send(ServeLogRequest {
            stream: String::new(),
            item: Some(item),
            ..Default::default()
        });
        sent.await.is_ok()
    }

    async fn over(self) {
        drop(self.items);
        soon("the agent hears of the end", self.served)
            .await
            .unwrap()
            .unwrap();
    }
}

fn follow(patterns: &[&str], program: &str) -> TailRequest {
    TailRequest {
        hosts: Some(hosts(patterns)),
        programs: vec![program.into()],
        follow: true,
        ..Default::default()
    }
}

async fn read(fleet: &Fleet, request: TailRequest) -> Streaming<TailResponse> {
    fleet
        .operator()
        .await
        .tail(request)
        .await
        .unwrap()
        .into_inner()
}

async fn item(reader: &mut Streaming<TailResponse>) -> String {
    let item = soon("an item", reader.message()).await.unwrap();
    let Some(item) = item else {
        return "over".into();
    };
    let words = match item.event.unwrap() {
        Event::Chunk(chunk) => String::from_utf8_lossy(&chunk.data).into_owned(),
        Event::Gap(gap) => format!("<gap {:?}>", gap.bytes),
        Event::End(end) => format!("<end {} {:?}>", end.reason, end.refusal()),
        Event::Away(_) => "<away>".into(),
        Event::Back(_) => "<back>".into(),
        Event::Begin(_) => "<begin>".into(),
    };
    format!("{} {}: {words}", item.host, item.program)
}

/// A host with a connected agent and one program.
async fn host(fleet: &Fleet, name: &str) -> Agent {
    let agent = fleet.agent(name).await;
    agent
        .snapshot(1, 1, vec![program("app", ProcessState::Running)])
        .await;
    fleet
        .eventually(name, |h| h.programs_total == Some(1))
        .await;
    agent
}

#[tokio::test]
async fn a_log_comes_from_its_host_to_its_reader_and_ends_with_it() {
    let fleet = Fleet::start().await;
    let mut agent = host(&fleet, "web01").await;
    let request = TailRequest {
        bytes: Some(10),
        ..follow(&["web*"], "app")
    };
    let mut reader = read(&fleet, request).await;
    let open = agent.open_log().await;
    let asked = open.request.unwrap();
    assert_eq!(
        (asked.bytes, asked.follow, asked.hosts),
        (Some(10), true, None)
    );
    assert_eq!(asked.programs, ["app:app"]);
    let log = Log::serve(&agent, open.stream).await;
    log.chunk(0, b"one").await;
    log.chunk(3, b"two").await;
    assert_eq!(item(&mut reader).await, "web01 app: one");
    assert_eq!(item(&mut reader).await, "web01 app: two");
    log.event(Event::End(End::default())).await;
    assert_eq!(item(&mut reader).await, "web01 app: <end  Unspecified>");
    assert_eq!(item(&mut reader).await, "over");
    log.over().await;
}

#[tokio::test]
async fn a_follower_survives_its_hosts_agent_without_loss_or_repetition() {
    let fleet = Fleet::start().await;
    let mut agent = host(&fleet, "web01").await;
    let mut reader = read(&fleet, follow(&["web01"], "app")).await;
    let open = agent.open_log().await;
    let log = Log::serve(&agent, open.stream).await;
    log.chunk(100, b"abc").await;
    assert_eq!(item(&mut reader).await, "web01 app: abc");
    let credentials = agent.vanish();
    log.served.abort();
    assert_eq!(item(&mut reader).await, "web01 app: <away>");
    let mut again = Agent::dial(&fleet, credentials, hello(2)).await;
    again.welcome().await;
    let open = again.open_log().await;
    let from = open.request.unwrap().from.unwrap();
    assert_eq!((from.log_id.as_str(), from.offset), ("l1", 103));
    let log = Log::serve(&again, open.stream).await;
    assert_eq!(item(&mut reader).await, "web01 app: <back>");
    log.chunk(101, b"bcde").await;
    assert_eq!(
        item(&mut reader).await,
        "web01 app: de",
        "what was delivered is cut off"
    );
    log.chunk(110, b"x").await;
    assert_eq!(item(&mut reader).await, "web01 app: <gap Some(5)>");
    assert_eq!(item(&mut reader).await, "web01 app: x");
}

#[tokio::test]
async fn a_host_that_is_lost_is_said_although_its_log_is_merely_silent() {
    let fleet = Fleet::start().await;
    let mut agent = host(&fleet, "web01").await;
    let mut reader = read(&fleet, follow(&["web01"], "app")).await;
    let open = agent.open_log().await;
    let log = Log::serve(&agent, open.stream).await;
    log.chunk(0, b"abc").await;
    assert_eq!(item(&mut reader).await, "web01 app: abc");
    let credentials = agent.vanish();
    log.chunk(3, b"d").await;
    assert_eq!(
        item(&mut reader).await,
        "web01 app: d",
        "what was on its way comes"
    );
    assert_eq!(item(&mut reader).await, "web01 app: <away>");
    let mut again = Agent::dial(&fleet, credentials, hello(2)).await;
    again.welcome().await;
    let open = again.open_log().await;
    assert_eq!(open.request.unwrap().from.unwrap().offset, 4);
}

#[tokio::test]
async fn a_reader_that_stands_still_while_its_host_goes_loses_nothing() {
    let fleet = Fleet::start().await;
    let mut agent = host(&fleet, "web01").await;
    let mut stuck = read(&fleet, follow(&["web01"], "app")).await;
    let open = agent.open_log().await;
    let log = Log::serve(&agent, open.stream).await;
    let chunk = vec![b'x'; 60_000];
    let mut offset = 0;
    let flood = async {
        while log.chunk(offset, &chunk).await {
            offset += chunk.len() as u64;
        }
    };
    let stopped = tokio::time::timeout(Duration::from_secs(1), flood).await;
    assert!(stopped.is_err(), "nobody reads, and all went somewhere");
    let credentials = agent.vanish();
    fleet.eventually("web01", |h| !h.reason.is_empty()).await;
    let mut read = 0;
    loop {
        let item = soon("an item", stuck.message()).await.unwrap().unwrap();
        match item.event.unwrap() {
            Event::Chunk(chunk) => {
                assert_eq!(chunk.at.unwrap().offset, read, "one after the other");
                read += chunk.data.len() as u64;
            }
            Event::Away(_) => break,
            other => panic!("{other:?}"),
        }
    }
    let mut again = Agent::dial(&fleet, credentials, hello(2)).await;
    again.welcome().await;
    let open = again.open_log().await;
    assert_eq!(open.request.unwrap().from.unwrap().offset, read);
}

#[tokio::test]
async fn more_programs_than_a_reader_allows_are_refused_with_their_number() {
    let fleet = Fleet::start().await;
    let _first = host(&fleet, "web01").await;
    let _second = host(&fleet, "web02").await;
    let request = TailRequest {
        max_streams: 1,
        ..follow(&["web*"], "app")
    };
    let status = fleet.operator().await.tail(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "2 programs match, at most 1 are read at a time (max-streams, up to 1000)"
    );
    let request = TailRequest {
        max_streams: u32::MAX,
        ..follow(&["web*"], "app")
    };
    fleet.operator().await.tail(request).await.unwrap();
}

#[tokio::test]
async fn the_agent_is_told_when_the_reader_goes() {
    let fleet = Fleet::start().await;
    let mut agent = host(&fleet, "web01").await;
    let mut reader = read(&fleet, follow(&["web01"], "app")).await;
    let open = agent.open_log().await;
    let log = Log::serve(&agent, open.stream).await;
    log.chunk(0, b"one").await;
    assert_eq!(item(&mut reader).await, "web01 app: one");
    drop(reader);
    soon("the agent hears of it", log.served)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_reader_that_stands_still_stops_its_host_and_nobody_else() {
    let fleet = Fleet::start().await;
    let mut agent = host(&fleet, "web01").await;
    let mut stuck = read(&fleet, follow(&["web01"], "app")).await;
    let open = agent.open_log().await;
    let log = Log::serve(&agent, open.stream).await;
    let chunk = vec![b'x'; 60_000];
    let mut offset = 0;
    let flood = async {
        while log.chunk(offset, &chunk).await {
            offset += chunk.len() as u64;
            if offset > 64 * 1024 * 1024 {
                return;
            }
        }
    };
    let stopped = tokio::time::timeout(Duration::from_secs(1), flood).await;
    assert!(stopped.is_err(), "64 MiB went nowhere");
    let mut other = read(&fleet, follow(&["web01"], "app")).await;
    let open = agent.open_log().await;
    let second = Log::serve(&agent, open.stream).await;
    second.chunk(0, b"alive").await;
    assert_eq!(item(&mut other).await, "web01 app: alive");
    assert!(
        item(&mut stuck).await.ends_with("xxx"),
        "and the stuck one can go on"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let fleet = Fleet::start().await;
    let agent = host(&fleet, "web01").await;
    fleet.join("web02").await;
    let mut reader = read(&fleet, follow(&["web01"], "nothing")).await;
    assert_eq!(
        item(&mut reader).await,
        "web01 nothing: <end  NoSuchProcess>"
    );
    assert_eq!(item(&mut reader).await, "over");
    let now = |host: &str| TailRequest {
        follow: false,
        ..follow(&[host], "app")
    };
    let mut reader = read(&fleet, now("web02")).await;
    let said = item(&mut reader).await;
    assert!(said.contains("not been seen"), "{said}");
    drop(agent);
    fleet.eventually("web01", |h| !h.reason.is_empty()).await;
    let mut reader = read(&fleet, now("web01")).await;
    let said = item(&mut reader).await;
    assert!(said.contains("unreachable"), "{said}");
    assert_eq!(item(&mut reader).await, "over");
    let nothing = TailRequest {
        programs: vec![],
        ..follow(&["web01"], "app")
    };
    let status = fleet.operator().await.tail(nothing).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_follower_waits_for_a_host_that_is_not_there_and_joins_it() {
    let fleet = Fleet::start().await;
    let mut there = host(&fleet, "web01").await;
    let credentials = fleet.join("web02").await;
    let request = TailRequest {
        lines: Some(5),
        max_streams: 2,
        ..follow(&["web*"], "*")
    };
    let mut reader = read(&fleet, request).await;
    assert_eq!(item(&mut reader).await, "web02 : <away>");
    let open = there.open_log().await;
    let first = Log::serve(&there, open.stream).await;
    first.chunk(0, b"one").await;
    assert_eq!(item(&mut reader).await, "web01 app: one");
    // It comes, and what it has is known a little later.
    let mut agent = Agent::dial(&fleet, credentials, hello(1)).await;
    agent.welcome().await;
    let programs = vec![program("app", ProcessState::Running)];
    agent.snapshot(1, 1, programs).await;
    assert_eq!(item(&mut reader).await, "web02 : <back>");
    let open = agent.open_log().await;
    let asked = open.request.unwrap();
    assert_eq!((asked.lines, asked.follow), (Some(5), true));
    assert_eq!(asked.programs, ["app:app"]);
    let second = Log::serve(&agent, open.stream).await;
    second.chunk(0, b"two").await;
    assert_eq!(item(&mut reader).await, "web02 app: two");
    first.chunk(3, b"three").await;
    assert_eq!(item(&mut reader).await, "web01 app: three");
}

#[tokio::test]
async fn a_host_that_comes_with_more_than_is_read_at_a_time_is_refused_alone() {
    let fleet = Fleet::start().await;
    let mut there = host(&fleet, "web01").await;
    let credentials = fleet.join("web02").await;
    let request = TailRequest {
        max_streams: 2,
        ..follow(&["web*"], "*")
    };
    let mut reader = read(&fleet, request).await;
    assert_eq!(item(&mut reader).await, "web02 : <away>");
    let mut agent = Agent::dial(&fleet, credentials, hello(1)).await;
    agent.welcome().await;
    let programs = ["app", "side"].map(|name| program(name, ProcessState::Running));
    agent.snapshot(1, 1, programs.into()).await;
    assert_eq!(item(&mut reader).await, "web02 : <back>");
    assert_eq!(
        item(&mut reader).await,
        "web02 : <end more programs than are read at a time (max-streams) Other>"
    );
    let open = there.open_log().await;
    let log = Log::serve(&there, open.stream).await;
    log.chunk(0, b"one").await;
    assert_eq!(item(&mut reader).await, "web01 app: one");
}

#[tokio::test]
async fn a_log_that_breaks_without_a_follower_ends_with_the_reason() {
    let fleet = Fleet::start().await;
    let mut agent = host(&fleet, "web01").await;
    let request = TailRequest {
        follow: false,
        ..follow(&["web01"], "app")
    };
    let mut reader = read(&fleet, request).await;
    let open = agent.open_log().await;
    let log = Log::serve(&agent, open.stream).await;
    log.chunk(0, b"one").await;
    assert_eq!(item(&mut reader).await, "web01 app: one");
    drop(log.items);
    assert_eq!(
        item(&mut reader).await,
        "web01 app: <end the host broke off Unspecified>"
    );
    assert_eq!(item(&mut reader).await, "over");
}

#[tokio::test]
async fn nobody_can_serve_the_log_of_another_host() {
    let fleet = Fleet::start().await;
    let mut agent = host(&fleet, "web01").await;
    let stranger = host(&fleet, "web02").await;
    let mut reader = read(&fleet, follow(&["web01"], "app")).await;
    let open = agent.open_log().await;
    let forged = Log::serve(&stranger, open.stream.clone()).await;
    forged.chunk(0, b"forged").await;
    soon("the stranger is sent away", forged.served)
        .await
        .unwrap()
        .unwrap();
    let log = Log::serve(&agent, open.stream).await;
    log.chunk(0, b"true").await;
    assert_eq!(item(&mut reader).await, "web01 app: true");
}
