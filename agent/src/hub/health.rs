//! How the output of one process fares, as it is shown: what its logs are in trouble with, and what was
//! dropped.
//!
//! Keeps the latest word on each stream. It decides nothing: a program is not stopped because its log
//! is in trouble.

use std::io;
use std::time::{Duration, SystemTime};

use rsv_keeper::message::Channel;
use rsv_proto::time::to_wire;
use rsv_proto::wire;

use crate::capture::LogTrouble;

/// The health of the logs of one process.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// At most one for each stream; none that is well and has dropped nothing.
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    channel: Channel,
    /// What the capture says.
    trouble: Option<(String, SystemTime)>,
    /// It is not even open.
    closed: Option<(String, SystemTime)>,
    dropped: u64,
}

impl Health {
    /// What the capture says of a log.
    pub(super) fn note(&mut self, news: LogTrouble) {
        let stream = self.stream(news.channel);
        stream.trouble = news.text.zip(news.since);
        stream.dropped = news.dropped;
        self.tidy();
    }

    /// The log of a running process cannot be opened. Says whether that is new.
    pub(super) fn cannot_open(&mut self, channel: Channel, error: &io::Error) -> bool {
        let stream = self.stream(channel);
        let text = format!("the log cannot be opened: {error}");
        if let Some((known, _)) = &mut stream.closed {
            let is_new = *known != text;
            *known = text;
            return is_new;
        }
        stream.closed = Some((text, SystemTime::now()));
        true
    }

    /// The log is open. Says whether that is the end of trouble.
    pub(super) fn has_opened(&mut self, channel: Channel) -> bool {
        let mut streams = self.streams.iter_mut();
        let stream = streams.find(|stream| stream.channel == channel);
        let is_end = stream.is_some_and(|stream| stream.closed.take().is_some());
        self.tidy();
        is_end
    }

    /// Puts it into what is shown.
    pub(super) fn show(&self, status: &mut wire::ProcessStatus) {
        let all = self.streams.iter();
        let troubles: Vec<&(String, SystemTime)> = all
            .flat_map(|stream| [&stream.closed, &stream.trouble])
            .flatten()
            .collect();
        let texts: Vec<&str> = troubles.iter().map(|(text, _)| text.as_str()).collect();
        status.log_trouble = texts.join("; ");
        let since = troubles.iter().map(|(_, since)| *since).min();
        status.log_trouble_since = since.map(to_wire);
        status.log_dropped_bytes = self.streams.iter().map(|stream| stream.dropped).sum();
    }

    /// No log takes bytes: it is put before whatever else is wrong with this one.
    pub(super) fn show_stuck(status: &mut wire::ProcessStatus, stuck: Duration, now: SystemTime) {
        if !status.has_stdout_log && !status.has_stderr_log {
            return;
        }
        let text = format!(
            "the log has not taken bytes for {} s: a disk of this host does not answer",
            stuck.as_secs()
        );
        status.log_trouble = match status.log_trouble.as_str() {
            "" => text,
            other => format!("{text}; {other}"),
        };
        if status.log_trouble_since.is_none() {
            status.log_trouble_since = now.checked_sub(stuck).map(to_wire);
        }
    }

    fn stream(&mut self, channel: Channel) -> &mut Stream {
        let known = self
            .streams
            .iter()
            .position(|stream| stream.channel == channel);
        let index = known.unwrap_or_else(|| {
            self.streams.push(Stream {
                channel,
                trouble: None,
                closed: None,
                dropped: 0,
            });
            self.streams.len() - 1
        });
        &mut self.streams[index]
    }

    fn tidy(&mut self) {
        self.streams.retain(|stream| {
            stream.trouble.is_some() || stream.closed.is_some() || stream.dropped > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(health: &Health) -> (String, bool, u64) {
        let mut status = wire::ProcessStatus::default();
        health.show(&mut status);
        let has_since = status.log_trouble_since.is_some();
        (status.log_trouble, has_since, status.log_dropped_bytes)
    }

    fn news(channel: Channel, text: Option<&str>, dropped: u64) -> LogTrouble {
        LogTrouble {
            key: "app:app".into(),
            channel,
            text: text.map(str::to_owned),
            since: text.map(|_| SystemTime::now()),
            dropped,
        }
    }

    #[test]
    fn both_streams_are_shown_until_they_are_well() {
        let mut health = Health::default();
        assert_eq!(shown(&health), (String::new(), false, 0));
        health.note(news(Channel::Stdout, Some("full"), 0));
        health.note(news(Channel::Stderr, Some("slow"), 5));
        assert_eq!(shown(&health), ("full; slow".into(), true, 5));
        health.note(news(Channel::Stdout, None, 0));
        health.note(news(Channel::Stderr, None, 7));
        assert_eq!(shown(&health), (String::new(), false, 7));
    }

    #[test]
    fn a_disk_that_hangs_is_shown_with_its_age_where_there_is_a_log() {
        let mut status = wire::ProcessStatus::default();
        let (stuck, now) = (Duration::from_secs(12), SystemTime::now());
        Health::show_stuck(&mut status, stuck, now);
        assert_eq!(status.log_trouble, "");
        status.has_stdout_log = true;
        status.log_trouble = "slow".into();
        Health::show_stuck(&mut status, stuck, now);
        assert_eq!(
            status.log_trouble,
            "the log has not taken bytes for 12 s: a disk of this host does not answer; slow"
        );
        assert_eq!(status.log_trouble_since, Some(to_wire(now - stuck)));
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_news_once() {
        let mut health = Health::default();
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(health.cannot_open(Channel::Stdout, &error));
        assert!(!health.cannot_open(Channel::Stdout, &error));
        assert_eq!(
            shown(&health).0,
            "the log cannot be opened: permission denied"
        );
        assert!(health.has_opened(Channel::Stdout));
        assert!(!health.has_opened(Channel::Stdout));
        assert_eq!(shown(&health), (String::new(), false, 0));
    }
}
