//! A digest of what is known of a host's processes, kept up to date change by change.
//!
//! Both ends of a session keep one over the same fields; when they stand at the same change and differ,
//! one of them is wrong, and only the whole helps. It finds mistakes, not attackers: the session is
//! authenticated. The digest is a sum over processes, so that order does not matter and a change costs
//! one process. The fields are those of protocol revision 2 and never change with it: fields that are
//! added later are not covered until a later revision says so.

use std::collections::HashMap;

use crate::wire::{Delta, ProcessStatus, delta::Change, exit_status::Kind};

/// The digest of a set of processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Of these processes.
    pub fn of<'a>(programs: impl IntoIterator<Item = &'a ProcessStatus>) -> Self {
        let mut digest = Self::default();
        programs.into_iter().for_each(|p| digest.add(p));
        digest
    }

    /// Takes a process in.
    pub fn add(&mut self, program: &ProcessStatus) {
        self.0 = self.0.wrapping_add(state_hash(program));
    }

    /// Takes a process out, as it was taken in.
    pub fn remove(&mut self, program: &ProcessStatus) {
        self.0 = self.0.wrapping_sub(state_hash(program));
    }

    /// For the wire.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// The digest as the side keeps it that does not keep the processes themselves: some 16 bytes for each.
#[derive(Debug, Clone, Default)]
pub struct DigestMirror {
    /// What each process adds, by the hash of its name.
    parts: HashMap<u64, u64>,
    sum: u64,
    seq: u64,
}

impl DigestMirror {
    /// Of a whole snapshot, which is the state after this change.
    pub fn of<'a>(seq: u64, programs: impl IntoIterator<Item = &'a ProcessStatus>) -> Self {
        let mut mirror = Self {
            seq,
            ..Self::default()
        };
        programs.into_iter().for_each(|p| mirror.put(p));
        mirror
    }

    /// Takes in the next change; one that is in already changes nothing.
    pub fn apply(&mut self, delta: &Delta) {
        if delta.seq != self.seq + 1 {
            return;
        }
        self.seq = delta.seq;
        match &delta.change {
            Some(Change::Upsert(program)) => self.put(program),
            Some(Change::Remove(key)) => self.take(name_hash(&key.group, &key.name)),
            None => {}
        }
    }

    /// The digest after this change; absent: the mirror stands at another one.
    pub fn at(&self, seq: u64) -> Option<Digest> {
        (self.seq == seq).then_some(Digest(self.sum))
    }

    fn put(&mut self, program: &ProcessStatus) {
        let key = name_hash(&program.group, &program.name);
        self.take(key);
        let part = state_hash(program);
        self.parts.insert(key, part);
        self.sum = self.sum.wrapping_add(part);
    }

    fn take(&mut self, key: u64) {
        if let Some(part) = self.parts.remove(&key) {
            self.sum = self.sum.wrapping_sub(part);
        }
    }
}

fn name_hash(group: &str, name: &str) -> u64 {
    let mut hash = Hash::default();
    hash.text(group);
    hash.text(name);
    hash.finish()
}

fn state_hash(program: &ProcessStatus) -> u64 {
    let mut hash = Hash::default();
    hash.text(&program.group);
    hash.text(&program.name);
    hash.number(program.state.into());
    hash.number(program.pid.map_or(-1, i64::from));
    for moment in [
        &program.started_at,
        &program.stopped_at,
        &program.changed_at,
    ] {
        let (seconds, nanos) = moment.as_ref().map_or((-1, -1), |t| (t.seconds, t.nanos));
        hash.number(seconds);
        hash.number(nanos.into());
    }
    let exit = program.exit.as_ref().and_then(|exit| exit.kind.as_ref());
    let (kind, value) = match exit {
        None => (0, 0),
        Some(Kind::Code(code)) => (1, *code),
        Some(Kind::Signal(signal)) => (2, *signal),
    };
    hash.number(kind);
    hash.number(value.into());
    hash.text(&program.spawn_error);
    hash.text(&program.reason);
    hash.number(program.tries.into());
    hash.number(program.restarts.cast_signed());
    hash.finish()
}

/// FNV-1a of 64 bits, finished so that sums of many do not show its weak low bits.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// With its length, so that no two lists of texts are the same bytes.
    fn text(&mut self, text: &str) {
        self.number(i64::try_from(text.len()).unwrap_or(i64::MAX));
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.bytes(&number.to_le_bytes());
    }

    fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::{ProcessKey, ProcessState};

    fn program(name: &str, pid: u32) -> ProcessStatus {
        ProcessStatus {
            group: "g".into(),
            name: name.into(),
            state: ProcessState::Running.into(),
            pid: Some(pid),
            ..Default::default()
        }
    }

    #[test]
    fn every_covered_field_counts() {
        let base = program("a", 7);
        let same = Digest::of([&base]);
        let exit = |kind| {
            Some(crate::wire::ExitStatus {
                kind: Some(kind),
                core_dumped: false,
            })
        };
        let at = Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 2,
        });
        for other in [
            program("b", 7),
            program("a", 8),
            ProcessStatus {
                pid: None,
                ..base.clone()
            },
            ProcessStatus {
                group: "ga".into(),
                name: String::new(),
                ..base.clone()
            },
            ProcessStatus {
                state: ProcessState::Stopped.into(),
                ..base.clone()
            },
            ProcessStatus {
                started_at: at,
                ..base.clone()
            },
            ProcessStatus {
                stopped_at: at,
                ..base.clone()
            },
            ProcessStatus {
                changed_at: at,
                ..base.clone()
            },
            ProcessStatus {
                exit: exit(Kind::Code(0)),
                ..base.clone()
            },
            ProcessStatus {
                exit: exit(Kind::Signal(0)),
                ..base.clone()
            },
            ProcessStatus {
                spawn_error: "x".into(),
                ..base.clone()
            },
            ProcessStatus {
                reason: "x".into(),
                ..base.clone()
            },
            ProcessStatus {
                tries: 1,
                ..base.clone()
            },
            ProcessStatus {
                restarts: 1,
                ..base.clone()
            },
        ] {
            assert_ne!(Digest::of([&other]), same, "{other:?}");
        }
        let seen = ProcessStatus {
            has_stdout_log: true,
            ..base
        };
        assert_eq!(Digest::of([&seen]), same, "a field that is not covered");
    }

    #[test]
    fn the_digest_of_a_state_is_the_same_in_every_version() {
        // What the wire's other end computes may be years older than this.
        assert_eq!(
            Digest::of([&program("a", 7)]).value(),
            4_679_085_811_324_395_690
        );
    }

    proptest! {
        #[test]
        fn both_ends_agree_after_any_history(
            steps in proptest::collection::vec((0..5usize, proptest::option::of(1..4u32)), 0..40)
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let mut programs: BTreeMap<&str, ProcessStatus> = BTreeMap::new();
            let mut kept = Digest::default();
            let mut mirror = DigestMirror::default();
            for (i, (which, pid)) in steps.into_iter().enumerate() {
                let name = names[which];
                let old = match pid {
                    Some(pid) => programs.insert(name, program(name, pid)),
                    None => programs.remove(name),
                };
                if let Some(old) = &old {
                    kept.remove(old);
                }
                if let Some(new) = programs.get(name) {
                    kept.add(new);
                }
                let change = match pid {
                    Some(pid) => Change::Upsert(program(name, pid)),
                    None => Change::Remove(ProcessKey { group: "g".into(), name: name.into() }),
                };
                let seq = i as u64 + 1;
                let delta = Delta { epoch: 1, seq, change: Some(change) };
                mirror.apply(&delta);
                mirror.apply(&delta);
                prop_assert_eq!(mirror.at(seq), Some(kept));
                prop_assert_eq!(kept, Digest::of(programs.values()));
                prop_assert_eq!(mirror.at(seq + 1), None);
            }
        }
    }
}
