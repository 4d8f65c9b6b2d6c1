//! Whether a host is there, and what is said of one that is not.

use super::*;

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
