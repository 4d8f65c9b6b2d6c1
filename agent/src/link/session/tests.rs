//! Stories of sessions.

use std::time::UNIX_EPOCH;

use super::*;

/// So many milliseconds after the session's hello.
fn at(ms: u64) -> Moment {
    let since = Duration::from_millis(ms);
    Moment {
        tick: Duration::from_secs(1000) + since,
        wall: UNIX_EPOCH + since,
    }
}

fn say(message: Theirs) -> Input {
    Input::Said(Some(message))
}

fn welcome() -> wire::Welcome {
    wire::Welcome {
        protocol: *PROTOCOL.end(),
        heartbeat_interval_ms: 1000,
        sent_at: Some(to_wire(UNIX_EPOCH + Duration::from_secs(5000))),
        ..Default::default()
    }
}

fn fresh() -> Session {
    Session::new(at(0), DigestMirror::default())
}

/// A session that was welcomed 20 ms after its hello, and asked for a snapshot.
fn open() -> Session {
    let mut session = fresh();
    let outputs = session.handle(at(20), say(Theirs::Welcome(welcome())));
    assert_eq!(outputs, [Output::Opened, Output::TakeSnapshot]);
    session
}

fn snapshot(seq: u64, n: usize) -> Input {
    let programs = vec![wire::ProcessStatus::default(); n];
    Input::Snapshot(Snapshot {
        epoch: 3,
        seq,
        programs,
    })
}

fn delta(seq: u64) -> wire::Delta {
    wire::Delta {
        epoch: 3,
        seq,
        change: None,
    }
}

fn change(seq: u64) -> Input {
    Input::Journal(Item::Delta(delta(seq)))
}

#[test]
fn a_snapshot_goes_in_chunks_and_deltas_follow_it_without_a_hole() {
    let mut session = open();
    assert!(!session.is_following());
    let outputs = session.handle(at(30), snapshot(7, SNAPSHOT_CHUNK + 1));
    let sizes: Vec<(usize, bool)> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send(Ours::Snapshot(chunk)) => Some((chunk.programs.len(), chunk.last)),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [(SNAPSHOT_CHUNK, false), (1, true)]);
    assert_eq!(outputs.last(), Some(&Output::Follow { after: 7 }));
    assert!(session.is_following());
    assert_eq!(
        session.handle(at(40), change(8)),
        [Output::Send(Ours::Delta(delta(8)))]
    );
    assert_eq!(session.handle(at(50), change(10)), [Output::TakeSnapshot]);
    assert!(session.handle(at(51), change(11)).is_empty());
}

#[test]
fn a_host_without_programs_sends_one_empty_last_chunk() {
    let mut session = open();
    let outputs = session.handle(at(30), snapshot(0, 0));
    assert!(matches!(&outputs[0], Output::Send(Ours::Snapshot(c)) if c.last));
    assert_eq!(outputs.len(), 2);
}

#[test]
fn the_controller_may_resume_and_may_ask_for_everything_again() {
    let mut session = fresh();
    let resume = wire::Welcome {
        resume_after: Some(4),
        ..welcome()
    };
    let outputs = session.handle(at(1), say(Theirs::Welcome(resume)));
    assert_eq!(outputs, [Output::Opened, Output::Follow { after: 4 }]);
    assert_eq!(
        session.handle(at(2), change(5)),
        [Output::Send(Ours::Delta(delta(5)))]
    );
    let resync = || say(Theirs::Resync(wire::Resync::default()));
    assert_eq!(session.handle(at(3), resync()), [Output::TakeSnapshot]);
    assert!(session.handle(at(3), resync()).is_empty());
    assert_eq!(session.handle(at(4), snapshot(6, 1)).len(), 2);
    assert!(session.handle(at(4), snapshot(6, 1)).is_empty());
    assert_eq!(
        session.handle(at(5), Input::Journal(Item::Lagged)),
        [Output::TakeSnapshot]
    );
}

#[test]
fn heartbeats_go_out_at_the_asked_interval_and_echo_the_latest() {
    let mut session = open();
    session.handle(at(30), snapshot(7, 1));
    assert_eq!(session.deadline(), Some(at(1020).tick));
    assert!(session.handle(at(1019), Input::Elapsed).is_empty());
    let echo = Some(to_wire(UNIX_EPOCH));
    let heard = Theirs::Heartbeat(wire::ControllerHeartbeat { sent_at: echo });
    session.handle(at(1019), say(heard));
    let outputs = session.handle(at(1020), Input::Elapsed);
    let expected = wire::AgentHeartbeat {
        seq: 7,
        sent_at: Some(to_wire(at(1020).wall)),
        echo,
        echo_held: Some(duration_to_wire(Duration::from_millis(1))),
        digest: Some(Digest::of(&[wire::ProcessStatus::default()]).value()),
    };
    assert_eq!(outputs, [Output::Send(Ours::Heartbeat(expected))]);
    assert_eq!(session.deadline(), Some(at(2020).tick));
}

#[test]
fn three_missed_heartbeats_end_the_session_and_any_word_counts_as_one() {
    let mut session = open();
    session.handle(at(2900), Input::Said(None));
    assert!(!matches!(
        session.handle(at(5899), Input::Elapsed)[..],
        [Output::End(_)]
    ));
    let outputs = session.handle(at(5900), Input::Elapsed);
    assert_eq!(outputs, [Output::End(End::Silent(Duration::from_secs(3)))]);
    assert_eq!(session.deadline(), None);
    assert!(session.handle(at(6000), change(1)).is_empty());
}

#[test]
fn a_controller_that_does_not_welcome_is_given_up() {
    let mut session = fresh();
    assert_eq!(session.deadline(), Some(at(10_000).tick));
    assert!(session.handle(at(9_999), Input::Elapsed).is_empty());
    let outputs = session.handle(at(10_000), Input::Elapsed);
    assert_eq!(outputs, [Output::End(End::Silent(WELCOME_LIMIT))]);
}

#[test]
fn what_breaks_the_protocol_ends_the_session() {
    let early = Theirs::Heartbeat(wire::ControllerHeartbeat::default());
    let outputs = fresh().handle(at(1), say(early));
    assert!(matches!(outputs[..], [Output::End(End::Broken(_))]));
    let outputs = open().handle(at(30), say(Theirs::Welcome(welcome())));
    assert!(matches!(outputs[..], [Output::End(End::Broken(_))]));
    let other = wire::Welcome {
        protocol: 9,
        ..welcome()
    };
    let outputs = fresh().handle(at(1), say(Theirs::Welcome(other)));
    assert_eq!(outputs, [Output::End(End::Incompatible(9))]);
}

#[test]
fn deadlines_are_told_in_the_controllers_clock_and_kept_in_ours() {
    let mut session = open();
    let deadline = Some(to_wire(UNIX_EPOCH + Duration::from_secs(5030)));
    let command = wire::Command {
        id: "c".into(),
        deadline,
        ..Default::default()
    };
    let outputs = session.handle(at(100), say(Theirs::Command(command)));
    let [Output::Order(order)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    // The welcome was written half way between hello (0 ms) and its arrival (20 ms).
    assert_eq!(order.due, Some(at(30_010).tick));
    let without = wire::Command {
        id: "d".into(),
        ..Default::default()
    };
    let outputs = session.handle(at(100), say(Theirs::Command(without)));
    assert!(matches!(
        &outputs[..],
        [Output::Order(Order { due: None, .. })]
    ));
}

#[test]
fn a_dismissal_ends_the_session_with_its_pause_at_any_time() {
    let dismiss = wire::Dismiss {
        reason: "taken over".into(),
        retry_after_ms: 1500,
    };
    for mut session in [fresh(), open()] {
        let outputs = session.handle(at(30), say(Theirs::Dismiss(dismiss.clone())));
        let retry_after = Duration::from_millis(1500);
        let end = End::Dismissed {
            reason: "taken over".into(),
            retry_after,
        };
        assert_eq!(outputs, [Output::End(end)]);
    }
}

#[test]
fn an_interval_from_outside_is_kept_within_reason() {
    for (asked, kept) in [(0, 5000), (1, 100), (u32::MAX, 60_000)] {
        let mut session = fresh();
        let welcome = wire::Welcome {
            heartbeat_interval_ms: asked,
            ..welcome()
        };
        session.handle(at(0), say(Theirs::Welcome(welcome)));
        assert_eq!(session.deadline(), Some(at(kept).tick));
    }
}

#[test]
fn digests_go_with_the_whole_and_with_heartbeats_to_those_who_know_them() {
    for (protocol, tells) in [(1, false), (2, true)] {
        let mut session = fresh();
        let greeting = wire::Welcome {
            protocol,
            ..welcome()
        };
        session.handle(at(20), say(Theirs::Welcome(greeting)));
        let outputs = session.handle(at(30), snapshot(7, SNAPSHOT_CHUNK + 1));
        let digests = outputs.iter().filter_map(|output| match output {
            Output::Send(Ours::Snapshot(chunk)) => Some(chunk.digest.is_some()),
            _ => None,
        });
        assert_eq!(digests.collect::<Vec<_>>(), [false, tells]);
        let beat = |outputs: Vec<Output>| match outputs.as_slice() {
            [Output::Send(Ours::Heartbeat(beat))] => beat.digest,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            beat(session.handle(at(1020), Input::Elapsed)).is_some(),
            tells
        );

        // The next session goes on with what the controller has, and with its digest.
        let mut next = Session::new(at(1100), session.into_mirror());
        let resume = wire::Welcome {
            protocol,
            resume_after: Some(7),
            ..welcome()
        };
        next.handle(at(1120), say(Theirs::Welcome(resume)));
        assert_eq!(beat(next.handle(at(2120), Input::Elapsed)).is_some(), tells);
    }
}
