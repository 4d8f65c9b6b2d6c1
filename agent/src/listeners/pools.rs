//! All pools: who gets which event, and what is numbered across them.

use std::sync::Arc;
use std::time::Instant;

use rsv_config::{EventKind, EventPool};

use super::event::Event;
use super::pool::{Effect, Pool};
use crate::hub::Key;

/// The pools in the order in which they came, which is the order in which they hear of things.
#[derive(Debug)]
pub(super) struct Pools {
    server: String,
    pools: Vec<(String, Pool)>,
    next_serial: u64,
}

impl Pools {
    /// None yet. `server`: the identifier of this agent in messages.
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            pools: Vec::new(),
            next_serial: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// A pool is there, or has other rules.
    pub(super) fn put(&mut self, name: &str, rules: &EventPool) {
        match self.get(name) {
            Some(pool) => pool.configure(rules),
            None => self.pools.push((name.to_owned(), Pool::new(name, rules))),
        }
    }

    /// A pool has gone, with all that waited in it.
    pub(super) fn remove(&mut self, name: &str) {
        self.pools.retain(|(known, _)| known != name);
    }

    /// The pool that a process belongs to.
    pub(super) fn of(&mut self, key: &Key) -> Option<&mut Pool> {
        self.get(&key.group)
    }

    fn get(&mut self, name: &str) -> Option<&mut Pool> {
        let mut pools = self.pools.iter_mut();
        pools.find(|(known, _)| known == name).map(|(_, pool)| pool)
    }

    /// Whether anybody wants events of this kind.
    pub(super) fn wants(&self, kind: EventKind) -> bool {
        self.pools
            .iter()
            .any(|(_, pool)| pool.subscriptions(kind) > 0)
    }

    /// Whether anybody wants to know what programs write.
    pub(super) fn want_output(&self) -> bool {
        [
            EventKind::PROCESS_LOG_STDOUT,
            EventKind::PROCESS_LOG_STDERR,
            EventKind::PROCESS_COMMUNICATION_STDOUT,
            EventKind::PROCESS_COMMUNICATION_STDERR,
        ]
        .into_iter()
        .any(|kind| self.wants(kind))
    }

    /// Something has happened.
    pub(super) fn publish(&mut self, event: Event) -> Vec<Effect> {
        if !self.wants(event.kind) {
            return Vec::new();
        }
        let (serial, event) = (self.next_serial, Arc::new(event));
        self.next_serial += 1;
        let mut effects = Vec::new();
        for (_, pool) in &mut self.pools {
            if pool.subscriptions(event.kind) > 0 {
                effects.extend(pool.accept(serial, &event));
            }
        }
        effects
    }

    /// What is due, and what can be given out now.
    pub(super) fn advance(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (_, pool) in &mut self.pools {
            effects.extend(pool.elapse(now));
            effects.extend(pool.dispatch(&self.server, now));
        }
        effects
    }

    /// When [`Pools::advance`] has something to do although nothing happens.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let wakes = self.pools.iter().filter_map(|(_, pool)| pool.next_wake());
        wakes.min()
    }

    /// Whether nobody has an event, or is about to get one.
    pub(super) fn is_quiet(&self) -> bool {
        self.iter().all(Pool::is_quiet)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().map(|(_, pool)| pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::protocol::Stage;
    use proptest::prelude::*;

    fn rules(kinds: &[&str]) -> EventPool {
        let kinds = kinds.iter().filter_map(|name| EventKind::from_name(name));
        EventPool {
            buffer_size: 100,
            events: kinds.collect(),
            result_handler: String::new(),
        }
    }

    fn key(pool: &str) -> Key {
        Key {
            group: pool.into(),
            name: pool.into(),
        }
    }

    /// Pools of one process each, all of which wait for an event.
    fn pools(subscriptions: &[(&str, &[&str])]) -> Pools {
        let mut pools = Pools::new("s");
        for (name, kinds) in subscriptions {
            pools.put(name, &rules(kinds));
            let pool = pools.of(&key(name)).unwrap();
            pool.spawned(&key(name), 1, Stage::Ready);
            pool.running(&key(name), 1);
        }
        pools
    }

    /// What is given to whom now.
    fn given(pools: &mut Pools, now: Instant) -> Vec<(Key, String)> {
        let effects = pools.advance(now).into_iter();
        let gifts = effects.filter_map(|effect| match effect {
            Effect::Give { key, message, .. } => Some((key, String::from_utf8(message).unwrap())),
            _ => None,
        });
        let gifts: Vec<_> = gifts.collect();
        for (key, _) in &gifts {
            pools.of(key).unwrap().given(key, 1);
        }
        gifts
    }

    fn answer(pools: &mut Pools, key: &Key, result: &str, now: Instant) {
        let said = format!("RESULT {}\n{result}READY\n", result.len());
        let pool = pools.of(key).unwrap();
        pool.wrote(key, 1, said.as_bytes(), now);
        pool.taken(key, 1);
    }

    #[test]
    fn each_pool_numbers_for_itself_and_the_host_over_all() {
        let now = Instant::now();
        let mut pools = pools(&[("a", &["TICK_60"]), ("b", &["EVENT"])]);
        pools.publish(Event::remote("t", b"d"));
        pools.publish(Event::tick(EventKind::TICK_60, 60));
        let first = given(&mut pools, now);
        assert!(
            first[0]
                .1
                .contains("serial:1 pool:a poolserial:0 eventname:TICK_60")
        );
        assert!(
            first[1]
                .1
                .contains("serial:0 pool:b poolserial:0 eventname:REMOTE")
        );
        answer(&mut pools, &key("b"), "OK", now);
        let second = given(&mut pools, now);
        assert!(
            second[0]
                .1
                .contains("serial:1 pool:b poolserial:1 eventname:TICK_60")
        );
    }

    #[test]
    fn what_nobody_wants_has_no_number() {
        let mut pools = pools(&[("a", &["TICK_60"])]);
        pools.publish(Event::tick(EventKind::TICK_5, 5));
        pools.publish(Event::tick(EventKind::TICK_60, 60));
        let message = &given(&mut pools, Instant::now())[0].1;
        assert!(message.contains("serial:0 pool:a poolserial:0 eventname:TICK_60"));
    }

    #[test]
    fn it_is_quiet_when_all_that_can_be_told_was_answered() {
        let now = Instant::now();
        let mut pools = pools(&[("a", &["EVENT"])]);
        assert!(pools.is_quiet());
        pools.publish(Event::stopping());
        assert!(!pools.is_quiet(), "it is about to be told");
        given(&mut pools, now);
        assert!(!pools.is_quiet(), "it has not answered");
        answer(&mut pools, &key("a"), "OK", now);
        assert!(pools.is_quiet());
        pools.of(&key("a")).unwrap().stopping(&key("a"));
        pools.publish(Event::stopping());
        assert!(pools.is_quiet(), "nobody is there to be told");
    }

    proptest! {
        /// Whatever is rejected, each pool tells its own process exactly what it has subscribed to, and
        /// what was rejected comes again unchanged before anything else.
        #[test]
        fn a_rejected_event_is_offered_again_in_its_own_pool_only(
            ticks in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..30)
        ) {
            let mut now = Instant::now();
            let mut pools = pools(&[("a", &["TICK_5"]), ("b", &["TICK"])]);
            let mut handled = [Vec::new(), Vec::new()];
            let mut again: [Option<String>; 2] = [None, None];
            let mut expected = [Vec::new(), Vec::new()];
            let answers = ticks.iter().map(|(_, a, b)| [*a, *b]);
            // Enough rounds in which everything is handled, at the end.
            let answers: Vec<_> = answers.chain(vec![[true, true]; 2 * ticks.len() + 2]).collect();
            for (round, accepts) in answers.into_iter().enumerate() {
                if let Some((is_short, ..)) = ticks.get(round) {
                    let kind = if *is_short { EventKind::TICK_5 } else { EventKind::TICK_60 };
                    let payload = format!("when:{round}");
                    pools.publish(Event::tick(kind, round as u64));
                    expected[1].push(payload.clone());
                    expected[0].extend(is_short.then_some(payload));
                }
                now += std::time::Duration::from_secs(20);
                for (key, message) in given(&mut pools, now) {
                    let who = usize::from(key.group == "b");
                    if let Some(again) = again[who].take() {
                        prop_assert_eq!(&message, &again);
                    }
                    if accepts[who] {
                        let payload = message.lines().nth(1).unwrap().to_owned();
                        handled[who].push(payload);
                        answer(&mut pools, &key, "OK", now);
                    } else {
                        answer(&mut pools, &key, "FAIL", now);
                        again[who] = Some(message);
                    }
                }
            }
            prop_assert_eq!(handled, expected);
        }
    }
}
