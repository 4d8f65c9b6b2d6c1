//! Who gets a session, and who loses it.

use super::*;

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
fn strangers_and_unknown_protocols_get_no_session() {
    let story = Story::new();
    let other = "web99".parse().unwrap();
    assert_eq!(
        story.fleet.admit(&other, "", &hello()),
        Err(Refused::NotEnrolled(other.clone()))
    );
    let newer = Hello {
        protocol_min: 7,
        protocol_max: 9,
        ..hello()
    };
    let refused = story.fleet.admit(&story.host, "", &newer).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the agent speaks protocol revisions 7 to 9, this controller 1 to 2"
    );
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
