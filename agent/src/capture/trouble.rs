//! When a log is in trouble, for people: from the first thing that goes wrong until all has gone well
//! for a while.
//!
//! Pure but for the sending. A disk that is full and now and then takes a little would otherwise be
//! told about a hundred times a second.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use rsv_keeper::message::Channel;

use super::command::LogKey;

/// How long all has to go well before it is said that it does.
const CALM: Duration = Duration::from_secs(2);

/// How a log is, for whoever shows it. Sent when it changes, and while any is in trouble, about every
/// two seconds, when more bytes are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTrouble {
    /// The key of the log.
    pub key: String,
    /// The stream.
    pub channel: Channel,
    /// What is wrong, for people; absent: nothing any more.
    pub text: Option<String>,
    /// Since when; absent with `text`.
    pub since: Option<SystemTime>,
    /// Bytes that have not got to where they were meant to since the agent started.
    pub dropped: u64,
}

/// Where they are told. Gives back what it cannot take now: that is told again later, as it is then.
pub type TroubleSink = Box<dyn FnMut(LogTrouble) -> Result<(), LogTrouble> + Send>;

/// The condition of one log.
#[derive(Debug, Default)]
pub(super) struct Condition {
    trouble: Option<Lasting>,
    told_dropped: u64,
}

#[derive(Debug)]
struct Lasting {
    text: String,
    since: SystemTime,
    /// Since when nothing has gone wrong.
    calm_since: Option<Instant>,
}

/// What has not been told yet, and to whom.
#[derive(Default)]
pub(super) struct Reports {
    pending: BTreeMap<LogKey, LogTrouble>,
    sink: Option<TroubleSink>,
}

impl Condition {
    /// Something went wrong.
    pub(super) fn worsen(&mut self, log: &LogKey, text: &str, dropped: u64, reports: &mut Reports) {
        if let Some(lasting) = &mut self.trouble {
            lasting.calm_since = None;
            text.clone_into(&mut lasting.text);
            return;
        }
        tracing::warn!(
            program = log.key,
            stream = name(log.channel),
            error = text,
            "output does not get to where it should"
        );
        self.trouble = Some(Lasting {
            text: text.to_owned(),
            since: SystemTime::now(),
            calm_since: None,
        });
        self.report(log, dropped, reports);
    }

    /// Something went well.
    pub(super) fn calm(&mut self, now: Instant) {
        if let Some(lasting) = &mut self.trouble {
            lasting.calm_since.get_or_insert(now);
        }
    }

    /// Time has passed. Says when to look again; nothing when there is no trouble any more.
    pub(super) fn settle(
        &mut self,
        log: &LogKey,
        now: Instant,
        dropped: u64,
        reports: &mut Reports,
    ) -> Option<Instant> {
        let over_at = self.trouble.as_ref()?.calm_since.map(|since| since + CALM);
        let is_over = over_at.is_some_and(|at| now >= at);
        if is_over {
            self.trouble = None;
            tracing::info!(
                program = log.key,
                stream = name(log.channel),
                n_dropped = dropped,
                "output gets to where it should again"
            );
        }
        if is_over || dropped != self.told_dropped {
            self.report(log, dropped, reports);
        }
        (!is_over).then(|| over_at.unwrap_or(now + CALM))
    }

    /// Since when there is trouble.
    pub(super) fn since(&self) -> Option<SystemTime> {
        self.trouble.as_ref().map(|lasting| lasting.since)
    }

    fn report(&mut self, log: &LogKey, dropped: u64, reports: &mut Reports) {
        self.told_dropped = dropped;
        let trouble = LogTrouble {
            key: log.key.clone(),
            channel: log.channel,
            text: self.trouble.as_ref().map(|lasting| lasting.text.clone()),
            since: self.since(),
            dropped,
        };
        // Of several changes only the latest counts, so there is at most one for each log.
        reports.pending.insert(log.clone(), trouble);
    }
}

impl Reports {
    /// Whom to tell from now on.
    pub(super) fn tell(&mut self, sink: TroubleSink) {
        self.sink = Some(sink);
    }

    /// Tells what there is. Says whether something is left for later.
    pub(super) fn send(&mut self) -> bool {
        let Some(sink) = &mut self.sink else {
            return false;
        };
        while let Some((log, trouble)) = self.pending.pop_first() {
            if let Err(trouble) = sink(trouble) {
                self.pending.insert(log, trouble);
                return true;
            }
        }
        false
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

fn name(channel: Channel) -> &'static str {
    match channel {
        Channel::Stderr => "stderr",
        Channel::Stdout | Channel::Stdin => "stdout",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn log() -> LogKey {
        LogKey::new("app:app", Channel::Stdout)
    }

    fn reports() -> (Reports, mpsc::Receiver<LogTrouble>) {
        let (sender, told) = mpsc::sync_channel(1);
        let mut reports = Reports::default();
        reports.tell(Box::new(move |trouble| {
            sender.try_send(trouble).map_err(|error| match error {
                mpsc::TrySendError::Full(trouble) | mpsc::TrySendError::Disconnected(trouble) => {
                    trouble
                }
            })
        }));
        (reports, told)
    }

    #[test]
    fn trouble_that_comes_and_goes_is_one_trouble() {
        let (mut reports, told) = reports();
        let (mut condition, log, start) = (Condition::default(), log(), Instant::now());
        for n in 0..100 {
            let now = start + Duration::from_millis(n * 100);
            condition.worsen(&log, "full", 0, &mut reports);
            condition.calm(now);
            assert_eq!(
                condition.settle(&log, now, 0, &mut reports),
                Some(now + CALM)
            );
            reports.send();
        }
        let first = told.try_recv().unwrap();
        assert_eq!(first.text.as_deref(), Some("full"));
        assert!(told.try_recv().is_err());
        let later = start + Duration::from_secs(10) + CALM;
        assert_eq!(condition.settle(&log, later, 7, &mut reports), None);
        reports.send();
        let last = told.try_recv().unwrap();
        assert_eq!((last.text, last.since, last.dropped), (None, None, 7));
    }

    #[test]
    fn trouble_is_over_as_soon_as_it_has_been_calm_for_long_enough() {
        let (mut reports, _told) = reports();
        let (mut condition, log, start) = (Condition::default(), log(), Instant::now());
        condition.worsen(&log, "full", 0, &mut reports);
        let calm = start + CALM / 4;
        condition.calm(calm);
        let looks = [start + CALM / 2, start + CALM];
        for now in looks {
            let next = condition.settle(&log, now, 0, &mut reports);
            assert_eq!(next, Some(calm + CALM));
        }
        let next = condition.settle(&log, calm + CALM, 0, &mut reports);
        assert_eq!((next, condition.since()), (None, None));
    }

    #[test]
    fn more_missing_bytes_are_told_while_it_lasts() {
        let (mut reports, told) = reports();
        let (mut condition, log) = (Condition::default(), log());
        condition.worsen(&log, "full", 1, &mut reports);
        let next = condition.settle(&log, Instant::now(), 5, &mut reports);
        assert!(next.is_some());
        assert!(!reports.send());
        assert_eq!(told.try_recv().unwrap().dropped, 5);
    }

    #[test]
    fn what_cannot_be_told_now_is_told_later_as_it_is_then() {
        let (mut reports, told) = reports();
        let (mut one, mut two) = (Condition::default(), Condition::default());
        let other = LogKey::new("app:other", Channel::Stderr);
        one.worsen(&log(), "full", 0, &mut reports);
        two.worsen(&other, "full", 0, &mut reports);
        assert!(reports.send(), "there is room for one");
        assert_eq!(told.try_recv().unwrap().key, "app:app");
        two.settle(&other, Instant::now(), 3, &mut reports);
        assert!(!reports.send());
        let told_later = told.try_recv().unwrap();
        assert_eq!(
            (told_later.key.as_str(), told_later.dropped),
            ("app:other", 3)
        );
    }
}
