use std::time::SystemTime;

use proptest::prelude::*;
use rsv_proto::digest::Digest;
use rsv_proto::wire::{
    Delta, Goodbye, HostState, ProcessKey, ProcessState, ProcessStatus, SnapshotChunk, delta,
};
use uuid::Uuid;

use super::*;

const INTERVAL: Duration = Duration::from_secs(4);

/// A fleet of one host, its clock, and what the host's agent would say.
struct Story {
    fleet: Fleet,
    now: Moment,
    host: HostName,
}

impl Story {
    fn new() -> Self {
        let host: HostName = "web01".parse().unwrap();
        let enrolled = [(host.clone(), Enrolment::default())];
        let fleet = Fleet::new("ctl:7443".into(), INTERVAL, enrolled);
        let now = Moment {
            tick: Duration::ZERO,
            wall: SystemTime::UNIX_EPOCH,
        };
        Self {
            fleet,
            now: now.after(Duration::from_secs(1_000_000)),
            host,
        }
        .at_rest()
    }

    /// The fleet's own clock begins where the story does.
    fn at_rest(mut self) -> Self {
        self.now.tick = Duration::ZERO;
        self
    }

    fn apply(&mut self, input: Input) -> Vec<Change> {
        self.fleet.apply(self.now, input)
    }

    fn attach(&mut self, session: u128, epoch: u64, instance: &str) -> Vec<Change> {
        self.greet(
            session,
            Hello {
                epoch,
                instance: instance.into(),
                ..hello()
            },
        )
    }

    fn greet(&mut self, session: u128, hello: Hello) -> Vec<Change> {
        assert_eq!(self.fleet.admit(&self.host, &hello), Ok(()));
        self.apply(Input::Attached(self.host.clone(), id(session), hello))
    }

    fn say(&mut self, session: u128, word: Word) -> Vec<Change> {
        self.apply(Input::Said(self.host.clone(), id(session), word))
    }

    fn snapshot(&mut self, session: u128, epoch: u64, seq: u64, names: &[&str]) -> Vec<Change> {
        let programs = names
            .iter()
            .map(|n| program(n, ProcessState::Running))
            .collect();
        self.say(
            session,
            Word::Snapshot(SnapshotChunk {
                epoch,
                seq,
                programs,
                last: true,
                digest: None,
            }),
        )
    }

    fn delta(&mut self, session: u128, epoch: u64, seq: u64, name: &str) -> Vec<Change> {
        let change = Some(delta::Change::Upsert(program(name, ProcessState::Stopped)));
        self.say(session, Word::Delta(Delta { epoch, seq, change }))
    }

    fn beat(&mut self, session: u128, seq: u64) -> Vec<Change> {
        self.say(
            session,
            Word::Heartbeat(AgentHeartbeat {
                seq,
                ..Default::default()
            }),
        )
    }

    /// Lets time pass as a driver does: never later than the deadline.
    fn pass(&mut self, time: Duration) -> Vec<Change> {
        let end = self.now.after(time);
        let mut changes = Vec::new();
        while self.now.tick < end.tick {
            let step = self.fleet.deadline().min(end.tick) - self.now.tick;
            self.now = self.now.after(step);
            changes.extend(self.apply(Input::Elapsed));
        }
        changes
    }

    fn view(&self) -> HostView {
        self.fleet.view(self.now, &self.host).unwrap()
    }

    fn programs(&self) -> Vec<String> {
        let view = self.view();
        let programs = view.programs.iter().flat_map(|p| p.values());
        programs
            .map(|p| format!("{} {:?}", p.name, p.state()))
            .collect()
    }
}

fn id(session: u128) -> SessionId {
    SessionId(Uuid::from_u128(session))
}

fn hello() -> Hello {
    Hello {
        epoch: 1,
        protocol_min: 1,
        protocol_max: 9,
        instance: "i".into(),
        ..Default::default()
    }
}

fn program(name: &str, state: ProcessState) -> ProcessStatus {
    let state = state.into();
    ProcessStatus {
        group: name.into(),
        name: name.into(),
        state,
        ..Default::default()
    }
}

/// The changes in short.
fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::Tell(s, Order::Welcome(w)) => {
            format!("{} welcome {:?}", s.0.as_u128(), w.resume_after)
        }
        Change::Tell(s, Order::Heartbeat(_)) => format!("{} beat", s.0.as_u128()),
        Change::Tell(s, Order::Resync(_)) => format!("{} resync", s.0.as_u128()),
        Change::Tell(s, Order::Dismiss(d)) => format!("{} dismiss: {}", s.0.as_u128(), d.reason),
        Change::Tell(s, Order::ResultAck(a)) => format!("{} ack {}", s.0.as_u128(), a.ids[0]),
        Change::Tell(s, other) => format!("{} {other:?}", s.0.as_u128()),
        Change::Drop(s) => format!("{} drop", s.0.as_u128()),
        Change::Up(_) => "up".into(),
        Change::Down(_, reason) => format!("down: {reason}"),
        Change::Answered(_, result) => format!("answered {}", result.id),
        Change::Obeys(host, generation) => format!("{host} obeys {generation}"),
        Change::Epoch(_, epoch) => format!("epoch {epoch}"),
        Change::Suspicious(..) => "suspicious".into(),
        Change::Happened(_, What::Changed(changed)) => {
            let now = changed.now.clone().unwrap_or_default();
            let (from, to) = (changed.from(), now.state());
            format!("{} {from:?} -> {to:?}", now.name)
        }
        Change::Happened(_, What::Removed(removed)) => format!("{} removed", removed.name),
        Change::Happened(_, other) => format!("{other:?}"),
        Change::Seen(_) => "seen".into(),
    };
    changes.iter().map(word).collect()
}

#[test]
fn a_host_is_never_seen_then_connected_then_unreachable_with_what_was_known() {
    let mut story = Story::new();
    assert_eq!(story.view().state, HostState::Never);
    let changes = story.attach(1, 1, "i");
    assert_eq!(
        words(&changes),
        ["1 welcome None", "1 beat", "epoch 1", "up"]
    );
    assert_eq!(
        story.view().as_of,
        None,
        "connected, and nothing is known yet"
    );
    assert!(story.view().programs.is_none());
    story.snapshot(1, 1, 7, &["app"]);
    assert_eq!(story.programs(), ["app Running"]);
    story.now = story.now.after(Duration::from_secs(1));
    assert_eq!(story.view().as_of, Some(story.now.wall));
    let lost = story.now.wall - Duration::from_secs(1);
    let ended = Input::Ended(story.host.clone(), id(1), "connection lost".into());
    assert_eq!(
        words(&story.apply(ended)),
        ["1 drop", "down: connection lost"]
    );
    let view = story.view();
    assert_eq!(
        (view.state, view.reason.as_str()),
        (HostState::Unreachable, "connection lost")
    );
    assert_eq!((view.as_of, view.last_seen), (Some(lost), Some(lost)));
    assert_eq!(story.programs(), ["app Running"], "never stopped");
}

#[test]
fn a_silent_host_is_unreachable_after_three_heartbeats() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    story.snapshot(1, 1, 1, &["app"]);
    let changes = story.pass(INTERVAL * 3);
    assert_eq!(words(&changes), ["1 beat", "1 beat", "1 beat"]);
    let changes = story.pass(INTERVAL / 2);
    let reason = "silent for 12s";
    let expected = [
        format!("1 dismiss: {reason}"),
        "1 drop".into(),
        format!("down: {reason}"),
    ];
    assert_eq!(words(&changes), expected);
    assert_eq!(story.programs(), ["app Running"]);
}

#[test]
fn any_word_keeps_a_host_connected() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    story.snapshot(1, 1, 1, &["app"]);
    for _ in 0..10 {
        story.pass(INTERVAL * 2);
        story.beat(1, 1);
    }
    assert_eq!(story.view().state, HostState::Connected);
}

#[test]
fn nobody_is_blamed_for_the_time_in_which_the_controller_stood_still() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    story.pass(INTERVAL);
    story.now = story.now.after(INTERVAL * 100);
    assert_eq!(words(&story.apply(Input::Elapsed)), [""; 0]);
    assert_eq!(story.view().state, HostState::Connected);
    story.pass(INTERVAL * 4);
    assert_eq!(
        story.view().state,
        HostState::Unreachable,
        "later silence counts"
    );
}

#[test]
fn changes_are_taken_in_order_and_a_gap_asks_for_everything() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    assert_eq!(
        words(&story.delta(1, 1, 1, "app")),
        [""; 0],
        "before the snapshot"
    );
    story.snapshot(1, 1, 7, &["app", "side"]);
    story.delta(1, 1, 8, "app");
    assert_eq!(story.programs(), ["app Stopped", "side Running"]);
    assert_eq!(
        words(&story.delta(1, 1, 8, "side")),
        [""; 0],
        "a repeated change does nothing"
    );
    assert_eq!(story.programs(), ["app Stopped", "side Running"]);
    assert_eq!(words(&story.delta(1, 1, 10, "side")), ["1 resync"]);
    assert_eq!(words(&story.delta(1, 1, 11, "side")), [""; 0], "asked once");
    assert_eq!(story.programs(), ["app Stopped", "side Running"]);
    story.snapshot(1, 1, 11, &["side"]);
    assert_eq!(story.programs(), ["side Running"]);
    let gone = ProcessKey {
        group: "side".into(),
        name: "side".into(),
    };
    let change = Some(delta::Change::Remove(gone));
    story.say(
        1,
        Word::Delta(Delta {
            epoch: 1,
            seq: 12,
            change,
        }),
    );
    assert_eq!(story.programs(), [""; 0]);
    let unknown = Word::Delta(Delta {
        epoch: 1,
        seq: 13,
        change: None,
    });
    assert_eq!(words(&story.say(1, unknown)), ["1 resync"]);
}

#[test]
fn what_changes_is_told_and_what_was_missed_is_told_as_one_step() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    let first = story.snapshot(1, 1, 3, &["a", "b"]);
    assert_eq!(words(&first), ["seen"], "no news");
    assert_eq!(words(&story.delta(1, 1, 4, "a")), ["a Running -> Stopped"]);
    assert!(story.delta(1, 1, 5, "a").is_empty(), "the same again");
    assert_eq!(
        words(&story.delta(1, 1, 6, "c")),
        ["c Unspecified -> Stopped"]
    );
    // A new agent, and meanwhile `a` runs again and `b` and `c` are gone.
    story.attach(2, 2, "j");
    let mut changes = words(&story.snapshot(2, 2, 1, &["a"]));
    changes.sort();
    let news = ["a Stopped -> Running", "b removed", "c removed"];
    assert_eq!(changes, [&news[..], &["seen"]].concat());
    story.attach(3, 3, "k");
    let again = story.snapshot(3, 3, 1, &["a"]);
    assert_eq!(words(&again), ["seen"], "the same is known to be so again");
}

#[test]
fn a_state_that_is_not_what_its_digest_says_is_asked_for_again() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    let right = Digest::of(&[program("a", ProcessState::Running)]).value();
    let chunk = |digest| {
        Word::Snapshot(SnapshotChunk {
            epoch: 1,
            seq: 3,
            programs: vec![program("a", ProcessState::Running)],
            last: true,
            digest: Some(digest),
        })
    };
    assert_eq!(words(&story.say(1, chunk(right ^ 1))), ["1 resync"]);
    assert!(story.view().programs.is_none(), "a wrong one is not shown");
    assert_eq!(words(&story.say(1, chunk(right))), ["seen"]);
    assert_eq!(story.programs(), ["a Running"]);

    story.delta(1, 1, 4, "a");
    story.delta(1, 1, 5, "b");
    let stopped = ["a", "b"].map(|name| program(name, ProcessState::Stopped));
    let beat = |seq, digest| {
        Word::Heartbeat(AgentHeartbeat {
            seq,
            digest: Some(digest),
            ..Default::default()
        })
    };
    let right = Digest::of(&stopped).value();
    assert!(story.say(1, beat(5, right)).is_empty());
    assert!(
        story.say(1, beat(6, right ^ 1)).is_empty(),
        "of a change that is on its way"
    );
    story.delta(1, 1, 6, "b");
    assert_eq!(words(&story.say(1, beat(6, right ^ 1))), ["1 resync"]);
}

#[test]
fn an_agent_of_the_first_revision_is_spoken_to_in_it() {
    let mut story = Story::new();
    let old = Hello {
        protocol_max: 1,
        ..hello()
    };
    let changes = story.greet(1, old);
    let welcome = changes.iter().find_map(|change| match change {
        Change::Tell(_, Order::Welcome(welcome)) => Some(welcome.protocol),
        _ => None,
    });
    assert_eq!(welcome, Some(1));
    story.snapshot(1, 1, 3, &["a"]);
    assert!(story.beat(1, 3).is_empty(), "without digests");
    assert_eq!(story.programs(), ["a Running"]);
}

#[test]
fn two_agents_on_one_identity_are_shown_and_the_newer_epoch_keeps_the_host() {
    let mut story = Story::new();
    story.attach(1, 5, "a");
    story.attach(2, 6, "b");
    assert_eq!(story.view().conflict, "", "a restart");
    let changes = story.attach(3, 5, "a");
    assert!(changes.iter().any(|c| matches!(c, Change::Suspicious(..))));
    assert!(
        story
            .view()
            .conflict
            .starts_with("an agent that another one had replaced is back")
    );
    assert!(
        story
            .say(2, Word::Goodbye(Goodbye::default()))
            .contains(&Change::Drop(id(2)))
    );
}

#[test]
fn a_storm_of_agents_is_sent_away_with_growing_pauses() {
    let mut story = Story::new();
    let pauses: Vec<u32> = (0..3000)
        .flat_map(|i| story.attach(i, 1, "i"))
        .filter_map(|change| match change {
            Change::Tell(_, Order::Dismiss(d)) if d.reason.contains("many") => {
                Some(d.retry_after_ms)
            }
            _ => None,
        })
        .collect();
    assert!(
        pauses.len() > 1000 && pauses.is_sorted(),
        "{}",
        pauses.len()
    );
    assert_eq!(
        story.view().state,
        HostState::Connected,
        "who is in stays in"
    );
}

#[test]
fn a_snapshot_counts_when_its_last_chunk_is_there() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    let chunk = |seq, name, last| {
        let programs = vec![program(name, ProcessState::Running)];
        Word::Snapshot(SnapshotChunk {
            epoch: 1,
            seq,
            programs,
            last,
            digest: None,
        })
    };
    story.say(1, chunk(3, "a", false));
    assert!(story.view().programs.is_none());
    story.say(1, chunk(4, "b", false));
    story.say(1, chunk(4, "c", true));
    assert_eq!(
        story.programs(),
        ["b Running", "c Running"],
        "chunks of one number belong together"
    );
    let changes = story.say(
        1,
        Word::Snapshot(SnapshotChunk {
            epoch: 2,
            ..Default::default()
        }),
    );
    assert!(
        words(&changes).contains(&"1 drop".into()),
        "a snapshot of another epoch"
    );
}

#[test]
fn a_change_that_two_heartbeats_count_and_that_is_not_here_is_lost() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    story.snapshot(1, 1, 7, &["app"]);
    assert_eq!(words(&story.beat(1, 8)), [""; 0], "may be on its way");
    assert_eq!(words(&story.beat(1, 8)), ["1 resync"]);
    story.snapshot(1, 1, 8, &["app"]);
    story.beat(1, 9);
    story.delta(1, 1, 9, "app");
    assert_eq!(words(&story.beat(1, 9)), [""; 0]);
    assert_eq!(
        words(&story.beat(1, 2)),
        ["1 resync"],
        "the agent is behind"
    );
}

#[test]
fn a_reconnecting_agent_goes_on_where_it_stood() {
    let mut story = Story::new();
    story.attach(1, 3, "i");
    story.snapshot(1, 3, 7, &["app"]);
    story.apply(Input::Ended(story.host.clone(), id(1), "lost".into()));
    let again = Hello {
        epoch: 3,
        oldest_seq: 2,
        newest_seq: 9,
        ..hello()
    };
    assert_eq!(
        words(&story.greet(2, again.clone()))[0],
        "2 welcome Some(7)"
    );
    story.delta(2, 3, 8, "app");
    assert_eq!(story.programs(), ["app Stopped"]);
    for (session, hello) in [
        (
            3,
            Hello {
                oldest_seq: 10,
                newest_seq: 12,
                ..again.clone()
            },
        ),
        (
            4,
            Hello {
                newest_seq: 7,
                ..again.clone()
            },
        ),
        (
            5,
            Hello {
                epoch: 4,
                ..again.clone()
            },
        ),
        (
            6,
            Hello {
                instance: "j".into(),
                epoch: 4,
                ..again
            },
        ),
    ] {
        let changes = words(&story.greet(session, hello));
        assert!(
            changes.contains(&format!("{session} welcome None")),
            "{changes:?}"
        );
    }
}

#[test]
fn a_newer_epoch_takes_over_at_once_and_an_older_one_is_sent_away() {
    let mut story = Story::new();
    story.attach(1, 5, "a");
    let changes = words(&story.attach(2, 6, "b"));
    assert_eq!(
        changes[..2],
        ["1 dismiss: a newer session has taken over", "1 drop"]
    );
    assert_eq!(story.view().state, HostState::Connected);
    assert_eq!(
        words(&story.beat(1, 0)),
        [""; 0],
        "the old session is not heard any more"
    );
    let ended = Input::Ended(story.host.clone(), id(1), "late".into());
    assert_eq!(words(&story.apply(ended)), [""; 0]);
    let changes = words(&story.attach(3, 5, "a"));
    let reason = "epoch 6 of this host is connected already";
    assert_eq!(
        changes,
        [
            "suspicious".to_owned(),
            format!("3 dismiss: {reason}"),
            "3 drop".into()
        ]
    );
    assert_eq!(story.view().state, HostState::Connected);
}

#[test]
fn two_agents_of_one_epoch_are_suspicious_and_a_reconnect_is_not() {
    let mut story = Story::new();
    story.attach(1, 5, "a");
    assert!(!words(&story.attach(2, 5, "a")).contains(&"suspicious".into()));
    assert!(words(&story.attach(3, 5, "b")).contains(&"suspicious".into()));
}

#[test]
fn an_enrolled_host_of_a_new_controller_is_unreachable_not_new() {
    let known = Enrolment {
        last_epoch: Some(4),
        ..Default::default()
    };
    let host: HostName = "web01".parse().unwrap();
    let mut story = Story::new();
    story.fleet = Fleet::new("c".into(), INTERVAL, [(host.clone(), known)]);
    assert_eq!(story.view().state, HostState::Unreachable);
    assert_eq!(story.fleet.unreachable(&host).unwrap(), story.view().reason);
    assert!(words(&story.attach(1, 3, "old state")).contains(&"suspicious".into()));
    story.apply(Input::Ended(host.clone(), id(1), "lost".into()));
    story.apply(Input::Enrolled(host, Enrolment::default()));
    assert!(!words(&story.attach(2, 1, "new state")).contains(&"suspicious".into()));
}

#[test]
fn a_goodbye_ends_the_session_with_its_reason() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    let goodbye = Word::Goodbye(Goodbye {
        reason: "shutting down".into(),
    });
    assert_eq!(
        words(&story.say(1, goodbye)),
        ["1 drop", "down: shutting down"]
    );
}

#[test]
fn every_result_is_acknowledged() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    let result = CommandResult {
        id: "c1".into(),
        results: vec![],
    };
    assert_eq!(
        words(&story.say(1, Word::Result(result))),
        ["answered c1", "1 ack c1"]
    );
}

#[test]
fn strangers_and_unknown_protocols_get_no_session() {
    let story = Story::new();
    let other = "web99".parse().unwrap();
    assert_eq!(
        story.fleet.admit(&other, &hello()),
        Err(Refused::NotEnrolled(other.clone()))
    );
    let newer = Hello {
        protocol_min: 7,
        protocol_max: 9,
        ..hello()
    };
    let refused = story.fleet.admit(&story.host, &newer).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the agent speaks protocol revisions 7 to 9, this controller 1 to 2"
    );
}

#[test]
fn the_round_trip_is_measured_without_the_time_in_which_the_agent_held_the_echo() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    let echo = Some(to_wire(story.now.wall));
    story.now = story.now.after(Duration::from_millis(1030));
    let held = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    let beat = AgentHeartbeat {
        echo,
        echo_held: held,
        ..Default::default()
    };
    story.say(1, Word::Heartbeat(beat));
    assert_eq!(story.view().round_trip, Some(Duration::from_millis(30)));
    let unmeasured = AgentHeartbeat {
        echo,
        ..Default::default()
    };
    story.say(1, Word::Heartbeat(unmeasured));
    assert_eq!(story.view().round_trip, Some(Duration::from_millis(30)));
}

#[test]
fn closing_dismisses_every_session() {
    let mut story = Story::new();
    story.attach(1, 1, "i");
    let changes = story.apply(Input::Closing("stopping".into()));
    assert_eq!(words(&changes), ["1 dismiss: stopping", "1 drop"]);
    assert_eq!(story.fleet.count(), (1, 0));
}

/// What a peer may do, sensible or not.
fn inputs() -> impl Strategy<Value = Vec<(u64, u8, u128, u64, u64)>> {
    prop::collection::vec((0..9000u64, 0..7u8, 1..5u128, 1..4u64, 0..6u64), 0..60)
}

proptest! {
    /// Whatever sessions do: at most one is open, only it is told anything but its end, and what is known
    /// is never newer than what was heard.
    #[test]
    fn one_session_at_most_and_the_others_are_silent(history in inputs()) {
        let mut story = Story::new();
        let mut open: Option<SessionId> = None;
        let mut used = 0;
        for (pause, kind, session, epoch, seq) in history {
            let mut changes = story.pass(Duration::from_millis(pause));
            changes.extend(match kind {
                0 | 1 => {
                    used += 1;
                    story.attach(100 + used, epoch, if kind == 0 { "a" } else { "b" })
                }
                _ => {
                    let session = open.map_or(session, |open| open.0.as_u128());
                    match kind {
                        2 => story.snapshot(session, epoch, seq, &["app"]),
                        3 => story.delta(session, epoch, seq, "app"),
                        4 => story.beat(session, seq),
                        5 => story.snapshot(session + 1, epoch, seq, &["app"]),
                        _ => story.apply(Input::Ended(story.host.clone(), id(session), "x".into())),
                    }
                }
            });
            for change in changes {
                match change {
                    Change::Tell(to, Order::Welcome(_)) => open = Some(to),
                    Change::Tell(_, Order::Dismiss(_)) => {}
                    Change::Tell(to, _) => prop_assert_eq!(Some(to), open),
                    Change::Drop(gone) if open == Some(gone) => open = None,
                    _ => {}
                }
            }
            let view = story.view();
            prop_assert_eq!(view.state == HostState::Connected, open.is_some());
            prop_assert!(view.as_of.is_none_or(|at| at <= story.now.wall));
            prop_assert_eq!(view.as_of.is_some(), view.programs.is_some());
        }
    }
}

#[test]
fn what_an_agent_says_of_itself_is_made_fit_to_be_shown() {
    let mut story = Story::new();
    let labels = [("role".to_owned(), "we\u{1b}[31mb".to_owned())]
        .into_iter()
        .collect();
    let version = "1\n".repeat(1000);
    story.greet(
        1,
        Hello {
            labels,
            version,
            ..hello()
        },
    );
    let view = story.view();
    assert_eq!(view.labels["role"], "we?[31mb");
    assert_eq!(view.version.len(), 200);
    let reason = "bye\r\n".into();
    story.say(1, Word::Goodbye(Goodbye { reason }));
    assert_eq!(story.view().reason, "bye??");
    story.attach(2, 2, "i");
    let changes = story.snapshot(2, 2, 1, &["a\u{7}b"]);
    assert!(
        words(&changes).contains(&"2 drop".into()),
        "an impossible name"
    );
}
