//! Stories of one pool, and what holds over any of them.

use proptest::prelude::*;

use super::*;

const SERVER: &str = "s";

fn key(number: u32) -> Key {
    Key {
        group: "pool".into(),
        name: format!("p{number}"),
    }
}

fn kind(name: &str) -> EventKind {
    EventKind::from_name(name).unwrap()
}

fn event(payload: &str) -> Arc<Event> {
    Arc::new(Event {
        kind: EventKind::TICK_5,
        payload: payload.into(),
    })
}

fn pool(kinds: &[&str], buffer_size: u32) -> Pool {
    let rules = EventPool {
        buffer_size,
        events: kinds.iter().map(|name| kind(name)).collect(),
        result_handler: String::new(),
    };
    Pool::new("pool", &rules)
}

/// A pool with one process that waits for an event.
fn ready(buffer_size: u32, now: Instant) -> Pool {
    let mut pool = pool(&["TICK_5"], buffer_size);
    pool.spawned(&key(1), 1, Stage::Acknowledged);
    pool.running(&key(1), 1);
    says(&mut pool, 1, 1, b"READY\n", now);
    pool
}

/// A process says something, which is taken out of its pipe as soon as it is understood.
fn says(pool: &mut Pool, who: u32, attempt: u64, bytes: &[u8], now: Instant) -> Vec<Effect> {
    let effects = pool.wrote(&key(who), attempt, bytes, now);
    take(pool, &effects);
    effects
}

fn take(pool: &mut Pool, effects: &[Effect]) {
    for effect in effects {
        if let Effect::Understood { key, attempt, .. } = effect {
            pool.taken(key, *attempt);
        }
    }
}

/// The messages that are given out.
fn given(effects: &[Effect]) -> Vec<String> {
    let text = |effect: &Effect| match effect {
        Effect::Give { message, .. } => Some(String::from_utf8(message.clone()).unwrap()),
        Effect::Ready { .. }
        | Effect::Understood { .. }
        | Effect::Restart { .. }
        | Effect::Log(_) => None,
    };
    effects.iter().filter_map(text).collect()
}

fn lines(effects: &[Effect]) -> Vec<String> {
    let text = |effect: &Effect| match effect {
        Effect::Log(Line::Warn(line)) => Some(format!("WARN {line}")),
        Effect::Log(Line::Error(line)) => Some(format!("ERRO {line}")),
        Effect::Give { .. }
        | Effect::Ready { .. }
        | Effect::Understood { .. }
        | Effect::Restart { .. } => None,
    };
    effects.iter().filter_map(text).collect()
}

fn restarts(effects: &[Effect]) -> usize {
    let is_restart = |effect: &&Effect| matches!(effect, Effect::Restart { .. });
    effects.iter().filter(is_restart).count()
}

/// Gives out what can be and has it written.
fn dispatch(pool: &mut Pool, now: Instant) -> Vec<String> {
    let effects = pool.dispatch(SERVER, now);
    for effect in &effects {
        if let Effect::Give { key, attempt, .. } = effect {
            let effects = pool.given(key, *attempt);
            take(pool, &effects);
        }
    }
    given(&effects)
}

fn message(serial: u64, pool_serial: u64, payload: &str) -> String {
    let length = payload.len();
    format!(
        "ver:3.0 server:s serial:{serial} pool:pool poolserial:{pool_serial} eventname:TICK_5 \
         len:{length}\n{payload}"
    )
}

#[test]
fn events_are_given_one_at_a_time_in_order() {
    let now = Instant::now();
    let mut pool = ready(10, now);
    assert!(pool.accept(7, &event("é")).is_empty());
    assert!(pool.accept(9, &event("b")).is_empty());
    // The length is that of the bytes.
    assert_eq!(dispatch(&mut pool, now), [message(7, 0, "é")]);
    assert!(message(7, 0, "é").contains("len:2"));
    assert!(dispatch(&mut pool, now).is_empty());
    says(&mut pool, 1, 1, b"RESULT 2\nOK", now);
    assert!(dispatch(&mut pool, now).is_empty());
    says(&mut pool, 1, 1, b"READY\n", now);
    assert_eq!(dispatch(&mut pool, now), [message(9, 1, "b")]);
    assert_eq!(pool.counts().delivered, 1);
}

#[test]
fn nothing_is_given_to_a_process_that_is_not_up_or_is_being_stopped() {
    let now = Instant::now();
    let mut pool = pool(&["TICK"], 10);
    pool.accept(0, &event("a"));
    pool.spawned(&key(1), 1, Stage::Acknowledged);
    says(&mut pool, 1, 1, b"READY\n", now);
    assert!(dispatch(&mut pool, now).is_empty());
    pool.running(&key(1), 1);
    pool.stopping(&key(1));
    assert!(dispatch(&mut pool, now).is_empty());
}

#[test]
fn who_has_subscribed_to_a_kind_and_to_its_parent_hears_of_it_twice() {
    let now = Instant::now();
    let mut pool = pool(&["TICK", "TICK_5"], 10);
    pool.accept(3, &event("a"));
    pool.spawned(&key(1), 1, Stage::Ready);
    pool.running(&key(1), 1);
    assert_eq!(dispatch(&mut pool, now), [message(3, 0, "a")]);
    says(&mut pool, 1, 1, b"RESULT 2\nOKREADY\n", now);
    assert_eq!(dispatch(&mut pool, now), [message(3, 0, "a")]);
}

#[test]
fn the_oldest_is_dropped_when_there_is_no_room() {
    let mut pool = pool(&["EVENT"], 2);
    pool.accept(4, &event("a"));
    pool.accept(5, &event("b"));
    let effects = pool.accept(6, &event("c"));
    let line = "ERRO pool pool event buffer overflowed, discarding event 4";
    assert_eq!(lines(&effects), [line]);
    assert_eq!((pool.waiting(), pool.counts().dropped), (2, 1));
}

#[test]
fn what_is_rejected_comes_again_with_its_numbers_and_ever_later() {
    let mut now = Instant::now();
    let mut pool = ready(10, now);
    pool.accept(0, &event("a"));
    pool.accept(1, &event("b"));
    for hold in [0, 100, 200, 400] {
        assert_eq!(dispatch(&mut pool, now), [message(0, 0, "a")]);
        let effects = says(&mut pool, 1, 1, b"RESULT 4\nFAILREADY\n", now);
        assert_eq!(lines(&effects), ["WARN p1: event was rejected"]);
        let hold = Duration::from_millis(hold);
        if !hold.is_zero() {
            assert!(dispatch(&mut pool, now + hold - Duration::from_millis(1)).is_empty());
            assert_eq!(pool.next_wake(), Some(now + hold));
        }
        now += hold;
    }
    assert_eq!(dispatch(&mut pool, now), [message(0, 0, "a")]);
    says(&mut pool, 1, 1, b"RESULT 2\nOKREADY\n", now);
    assert_eq!(dispatch(&mut pool, now), [message(1, 1, "b")]);
}

#[test]
fn the_event_of_a_process_that_ends_goes_to_another_unless_its_result_still_comes() {
    let now = Instant::now();
    let mut pool = ready(10, now);
    pool.accept(0, &event("a"));
    pool.accept(1, &event("b"));
    dispatch(&mut pool, now);
    pool.ended(&key(1), 1, now);
    says(&mut pool, 1, 1, b"RESULT 2\nOK", now);
    assert!(pool.elapse(now + LAST_WORDS).is_empty());
    assert_eq!((pool.waiting(), pool.counts().delivered), (1, 1));

    pool.spawned(&key(2), 1, Stage::Ready);
    pool.running(&key(2), 1);
    assert_eq!(dispatch(&mut pool, now), [message(1, 1, "b")]);
    pool.ended(&key(2), 1, now);
    assert_eq!(pool.next_wake(), Some(now + LAST_WORDS));
    pool.elapse(now + LAST_WORDS);
    pool.spawned(&key(1), 2, Stage::Ready);
    pool.running(&key(1), 2);
    assert_eq!(dispatch(&mut pool, now), [message(1, 1, "b")]);
}

#[test]
fn who_breaks_the_protocol_is_started_anew_at_once_and_then_ever_later() {
    let now = Instant::now();
    let mut pool = ready(10, now);
    let mut at = now;
    for (attempt, penance) in [(1, 0), (2, 1), (3, 2), (4, 4)] {
        pool.spawned(&key(1), attempt, Stage::Acknowledged);
        pool.running(&key(1), attempt);
        let effects = says(&mut pool, 1, attempt, b"hello world\n", at);
        let line = "WARN p1: has entered the UNKNOWN state and will no longer receive events, this \
                    usually indicates the process violated the eventlistener protocol";
        assert_eq!(lines(&effects), [line]);
        let penance = Duration::from_secs(penance);
        if penance.is_zero() {
            assert_eq!(restarts(&effects), 1);
        } else {
            assert_eq!(
                (restarts(&effects), pool.next_wake()),
                (0, Some(at + penance))
            );
            at += penance;
            assert_eq!(restarts(&pool.elapse(at)), 1);
        }
        pool.ended(&key(1), attempt, at);
    }
    // One that does well has a clean slate.
    pool.spawned(&key(1), 5, Stage::Ready);
    pool.running(&key(1), 5);
    pool.accept(0, &event("a"));
    dispatch(&mut pool, at);
    says(&mut pool, 1, 5, b"RESULT 2\nOK", at);
    assert_eq!(restarts(&says(&mut pool, 1, 5, b"nonsense", at)), 1);
}

#[test]
fn a_bad_result_line_is_shown_and_its_event_is_offered_again() {
    let now = Instant::now();
    let mut pool = ready(10, now);
    pool.accept(0, &event("a"));
    dispatch(&mut pool, now);
    let effects = says(&mut pool, 1, 1, b"WAT\x07\n", now);
    assert_eq!(lines(&effects)[0], "WARN p1: bad result line: 'WAT\\x07'");
    assert_eq!((pool.waiting(), pool.counts().rejected), (1, 1));
}

#[test]
fn a_process_that_does_not_read_loses_its_event_to_another() {
    let now = Instant::now();
    let mut pool = ready(10, now);
    pool.accept(0, &event("a"));
    pool.dispatch(SERVER, now);
    let effects = pool.unwritable(&key(1), 1, now);
    assert_eq!((pool.waiting(), restarts(&effects)), (1, 1));
    assert!(pool.unwritable(&key(1), 7, now).is_empty());
}

#[test]
fn a_process_of_a_former_agent_goes_on_where_it_stood() {
    let now = Instant::now();
    for (noted, has_unread, first, restarted) in [
        (Some(Noted::Ready), false, true, 0),
        // What made it ready may still be in its pipe.
        (Some(Noted::Ready), true, false, 0),
        (Some(Noted::Busy), false, false, 0),
        (None, false, false, 0),
        (Some(Noted::Writing), false, false, 1),
    ] {
        let mut pool = pool(&["TICK_5"], 10);
        let effects = pool.adopted(&key(1), 4, noted, has_unread, now);
        assert_eq!(restarts(&effects), restarted, "{noted:?}");
        pool.running(&key(1), 4);
        pool.accept(0, &event("a"));
        assert_eq!(!dispatch(&mut pool, now).is_empty(), first, "{noted:?}");
    }
    let mut pool = pool(&["TICK_5"], 10);
    pool.adopted(&key(1), 4, Some(Noted::Busy), false, now);
    pool.running(&key(1), 4);
    pool.accept(0, &event("a"));
    says(&mut pool, 1, 4, b"RESULT 2\nOKREADY\n", now);
    assert_eq!(dispatch(&mut pool, now), [message(0, 0, "a")]);
    assert_eq!(pool.counts().delivered, 0);
}

#[test]
fn that_it_is_ready_is_noted_after_that_it_was_busy() {
    let now = Instant::now();
    let mut pool = ready(10, now);
    pool.accept(0, &event("a"));
    pool.accept(1, &event("b"));
    pool.dispatch(SERVER, now);
    // It answers before we know that all is written.
    let effects = says(&mut pool, 1, 1, b"RESULT 2\nOKREADY\n", now);
    assert!(effects.is_empty());
    assert!(pool.dispatch(SERVER, now).is_empty());
    let (key, attempt) = (key(1), 1);
    let noted = Effect::Ready {
        key: key.clone(),
        attempt,
    };
    let understood = Effect::Understood {
        key: key.clone(),
        attempt,
        bytes: 17,
    };
    assert_eq!(pool.given(&key, attempt), [noted, understood]);
    assert!(pool.dispatch(SERVER, now).is_empty(), "not yet taken");
    pool.taken(&key, attempt);
    assert_eq!(dispatch(&mut pool, now).len(), 1);
}

#[test]
fn what_is_said_is_understood_whatever_becomes_of_who_says_it() {
    let now = Instant::now();
    let understood = |effects: &[Effect]| {
        let is_it = |effect: &&Effect| matches!(effect, Effect::Understood { attempt: 1, .. });
        effects.iter().filter(is_it).count()
    };
    // Of a process that has been replaced.
    let mut pool = ready(10, now);
    pool.spawned(&key(1), 2, Stage::Acknowledged);
    assert_eq!(understood(&pool.wrote(&key(1), 1, b"x", now)), 1);
    // While an event is being written to it, and then it ends, is replaced, or does not take it.
    let ends: [fn(&mut Pool, Instant) -> Vec<Effect>; 3] = [
        |pool, now| pool.ended(&key(1), 1, now),
        |pool, _| pool.spawned(&key(1), 2, Stage::Acknowledged),
        |pool, now| pool.unwritable(&key(1), 1, now),
    ];
    for end in ends {
        let mut pool = ready(10, now);
        pool.accept(0, &event("a"));
        pool.dispatch(SERVER, now);
        assert_eq!(understood(&pool.wrote(&key(1), 1, b"RES", now)), 0);
        assert_eq!(understood(&end(&mut pool, now)), 1);
    }
    // Also when it is nonsense.
    let mut pool = ready(10, now);
    assert_eq!(understood(&pool.wrote(&key(1), 1, b"nonsense", now)), 1);
    assert_eq!(understood(&pool.wrote(&key(1), 1, b"more of it", now)), 1);
}

#[derive(Clone, Debug)]
enum Happening {
    Accept,
    Spawned(u32),
    Running(u32),
    Ended(u32),
    Wrote(u32, &'static str),
    Unwritable(u32),
    Later(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let said = prop::sample::select(vec![
        "READY\n",
        "RESULT 2\nOK",
        "RESULT 4\nFAIL",
        "RESULT 2\nOKREADY\n",
        "nonsense",
    ]);
    prop_oneof![
        3 => Just(Happening::Accept),
        2 => (0..3_u32).prop_map(Happening::Spawned),
        2 => (0..3_u32).prop_map(Happening::Running),
        1 => (0..3_u32).prop_map(Happening::Ended),
        6 => ((0..3_u32), said).prop_map(|(who, said)| Happening::Wrote(who, said)),
        1 => (0..3_u32).prop_map(Happening::Unwritable),
        2 => (0..20_000_u64).prop_map(Happening::Later),
    ]
}

proptest! {
    /// Each event waits, is with one process, was delivered, or was dropped; and what is given
    /// is given to somebody who is up and waits for it.
    #[test]
    fn no_event_is_lost_or_doubled(story in prop::collection::vec(happening(), 1..80)) {
        let mut now = Instant::now();
        let mut pool = pool(&["TICK_5"], 3);
        let mut attempts = [0_u64; 3];
        let mut accepted = 0;
        for happening in story {
            match happening {
                Happening::Accept => {
                    pool.accept(accepted, &event("x"));
                    accepted += 1;
                }
                Happening::Spawned(who) => {
                    attempts[who as usize] += 1;
                    pool.spawned(&key(who), attempts[who as usize], Stage::Acknowledged);
                }
                Happening::Running(who) => pool.running(&key(who), attempts[who as usize]),
                Happening::Ended(who) => {
                    pool.ended(&key(who), attempts[who as usize], now);
                }
                Happening::Wrote(who, said) => {
                    says(&mut pool, who, attempts[who as usize], said.as_bytes(), now);
                }
                Happening::Unwritable(who) => {
                    pool.unwritable(&key(who), attempts[who as usize], now);
                }
                Happening::Later(millis) => now += Duration::from_millis(millis),
            }
            pool.elapse(now);
            for effect in pool.dispatch(SERVER, now) {
                let Effect::Give { key, attempt, .. } = effect else {
                    panic!("{effect:?}");
                };
                let member = &pool.members[&key];
                prop_assert!(member.is_running && member.attempt == attempt);
                let effects = pool.given(&key, attempt);
                take(&mut pool, &effects);
            }
            let held = pool.members.values().filter(|member| member.event.is_some()).count() as u64;
            let counts = pool.counts();
            prop_assert_eq!(pool.waiting() as u64 + held + counts.delivered + counts.dropped, accepted);
            prop_assert!(pool.waiting() <= 3);
        }
    }
}
