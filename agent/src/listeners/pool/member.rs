//! One process of a pool, and the event that it has.

use std::sync::Arc;
use std::time::Instant;

use super::Effect;
use crate::hub::Key;
use crate::listeners::event::Event;
use crate::listeners::protocol::{Parser, Stage};

/// An event in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) serial: u64,
    pub(super) pool_serial: u64,
    pub(super) event: Arc<Event>,
    pub(super) rejections: u32,
}

/// One process of a pool.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) attempt: u64,
    /// It has a process.
    pub(super) is_alive: bool,
    /// That has been up long enough to get events.
    pub(super) is_running: bool,
    pub(super) parser: Parser,
    pub(super) event: Option<Queued>,
    /// That is still being written.
    pub(super) is_being_given: bool,
    /// So much of what it has said is understood when that is done.
    pub(super) owed: usize,
    /// What it has said last is still in its pipe: it gets nothing before that is out.
    pub(super) is_untaken: bool,
    /// Since its end the result of its event may still come, until then.
    pub(super) last_words: Option<Instant>,
    /// Breaches of the protocol since it has last done well.
    pub(super) offences: u32,
    pub(super) restart_at: Option<Instant>,
}

impl Member {
    pub(super) fn is_ready(&self) -> bool {
        self.is_running
            && self.event.is_none()
            && !self.is_being_given
            && !self.is_untaken
            && matches!(self.parser.stage(), Stage::Ready | Stage::Adopted)
    }

    /// Whether it takes events, now or a little later.
    pub(super) fn is_listening(&self) -> bool {
        self.is_running && self.parser.stage() != Stage::Unknown
    }

    /// What was to be understood later is understood now.
    pub(super) fn settle_debt(&mut self, key: &Key) -> Vec<Effect> {
        let (key, attempt) = (key.clone(), self.attempt);
        match std::mem::take(&mut self.owed) {
            0 => Vec::new(),
            bytes => vec![Effect::Understood {
                key,
                attempt,
                bytes,
            }],
        }
    }
}

/// What is written to a process: a line of headers, then the payload.
pub(super) fn message(server: &str, pool: &str, queued: &Queued) -> Vec<u8> {
    let Queued {
        serial,
        pool_serial,
        event,
        ..
    } = queued;
    let (name, length) = (event.kind.name(), event.payload.len());
    let mut message = format!(
        "ver:3.0 server:{server} serial:{serial} pool:{pool} poolserial:{pool_serial} \
         eventname:{name} len:{length}\n"
    )
    .into_bytes();
    message.extend_from_slice(&event.payload);
    message
}
