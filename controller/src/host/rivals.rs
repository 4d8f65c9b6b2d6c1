//! Whether two machines use one host's identity: an agent that was replaced, or that is older than the one
//! that is connected, cannot come back unless both live.

use std::time::Duration;

use rsv_proto::wire::Hello;

use crate::moment::Moment;

/// How many replaced agents are remembered: a host whose agent is restarted has one.
const REMEMBERED: usize = 8;

/// How long after the latest sign a conflict is shown. Agents that are sent away come back several times
/// within this time.
const SHOWN: Duration = Duration::from_secs(600);

/// The longest name of an agent's process that is remembered.
const MAX_INSTANCE: usize = 64;

/// What is known of agents beside the one that is connected.
#[derive(Debug, Clone, Default)]
pub(super) struct Rivals {
    /// Agents that another one has replaced, the latest last.
    replaced: Vec<String>,
    conflict: Option<Conflict>,
}

#[derive(Debug, Clone)]
struct Conflict {
    reason: String,
    at: Duration,
}

impl Rivals {
    /// Takes in a greeting beside the open session, by its instance and epoch. Returns why both seem to
    /// live.
    pub(super) fn greet(
        &mut self,
        now: Moment,
        open: Option<(&str, u64)>,
        hello: &Hello,
    ) -> Option<String> {
        let instance: String = hello.instance.chars().take(MAX_INSTANCE).collect();
        let has_returned = self.replaced.contains(&instance);
        let open = open.filter(|(other, _)| *other != hello.instance);
        let reason = match open {
            _ if has_returned => "an agent that another one had replaced is back".to_owned(),
            Some((_, epoch)) if epoch == hello.epoch => {
                "two agents are in the same epoch".to_owned()
            }
            Some((_, epoch)) if epoch > hello.epoch => {
                let older = hello.epoch;
                format!(
                    "an agent of the older epoch {older} came while that of epoch {epoch} was connected"
                )
            }
            Some(_) | None => {
                self.replace(open);
                return None;
            }
        };
        self.replace(open.filter(|(_, epoch)| *epoch <= hello.epoch));
        let reason = format!("{reason}; is its state directory a copy of another machine's?");
        self.conflict = Some(Conflict {
            reason: reason.clone(),
            at: now.tick,
        });
        Some(reason)
    }

    /// Why the identity seems to be used twice; empty: it does not.
    pub(super) fn conflict(&self, now: Moment) -> String {
        let fresh = self.conflict.as_ref().filter(|c| now.since(c.at) < SHOWN);
        fresh.map(|c| c.reason.clone()).unwrap_or_default()
    }

    fn replace(&mut self, open: Option<(&str, u64)>) {
        let Some((instance, _)) = open else { return };
        let instance: String = instance.chars().take(MAX_INSTANCE).collect();
        if self.replaced.contains(&instance) {
            return;
        }
        if self.replaced.len() == REMEMBERED {
            self.replaced.remove(0);
        }
        self.replaced.push(instance);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment {
            tick: Duration::from_secs(seconds),
            wall: SystemTime::UNIX_EPOCH,
        }
    }

    fn hello(instance: &str, epoch: u64) -> Hello {
        Hello {
            instance: instance.into(),
            epoch,
            ..Default::default()
        }
    }

    #[test]
    fn agents_that_follow_one_another_are_no_rivals() {
        let mut rivals = Rivals::default();
        assert_eq!(rivals.greet(at(0), None, &hello("a", 1)), None);
        assert_eq!(
            rivals.greet(at(1), Some(("a", 1)), &hello("a", 1)),
            None,
            "a new connection"
        );
        assert_eq!(
            rivals.greet(at(2), Some(("a", 1)), &hello("b", 2)),
            None,
            "a restart"
        );
        assert_eq!(rivals.greet(at(3), None, &hello("c", 3)), None);
        assert_eq!(rivals.conflict(at(3)), "");
    }

    #[test]
    fn agents_that_alternate_are_rivals_for_a_while() {
        let mut rivals = Rivals::default();
        assert_eq!(rivals.greet(at(0), Some(("a", 5)), &hello("b", 6)), None);
        let reason = rivals.greet(at(10), None, &hello("a", 5)).unwrap();
        assert!(reason.starts_with("an agent that another one had replaced is back"));
        assert_eq!(rivals.conflict(at(11)), reason);
        assert_eq!(
            rivals.conflict(at(611)),
            "",
            "it has not been seen for long"
        );
    }

    #[test]
    fn an_agent_of_the_same_or_an_older_epoch_is_a_rival() {
        for (epoch, words) in [
            (5, "two agents are in the same epoch"),
            (4, "an agent of the older epoch 4"),
        ] {
            let mut rivals = Rivals::default();
            let reason = rivals.greet(at(0), Some(("a", 5)), &hello("b", epoch));
            assert!(reason.is_some_and(|reason| reason.starts_with(words)));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rivals = Rivals::default();
        for epoch in 0..100u64 {
            let open = format!("i{epoch}");
            rivals.greet(at(0), Some((&open, epoch)), &hello("next", epoch + 1));
        }
        assert_eq!(rivals.replaced.len(), REMEMBERED);
    }
}
