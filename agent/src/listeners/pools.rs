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

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().map(|(_, pool)| pool)
    }
}
