//! What is known of a host, and how gaps in it heal.

use super::*;

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
