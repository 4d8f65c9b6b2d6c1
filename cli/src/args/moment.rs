//! Moments as people write them: so long ago, a time of today, or a date with a time.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, ToSpan as _, Zoned, civil};

use super::parse_span;

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long before now.
    Ago(Duration),
    /// Then.
    At(Timestamp),
    /// The latest time at which clocks here showed that.
    Clock(civil::Time),
    /// When clocks here showed that.
    Calendar(civil::DateTime),
}

impl Moment {
    /// For clocks that show this now.
    pub(crate) fn before(self, now: &Zoned) -> SystemTime {
        let zone = now.time_zone();
        let local = |at: civil::DateTime| {
            zone.to_zoned(at)
                .map_or(Timestamp::MIN, |at| at.timestamp())
        };
        match self {
            Self::Ago(ago) => SystemTime::from(now.timestamp())
                .checked_sub(ago)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            Self::At(at) => at.into(),
            Self::Calendar(at) => local(at).into(),
            Self::Clock(time) => {
                let today = now.date();
                let yesterday = today.checked_sub(1.day()).unwrap_or(today);
                let at = local(today.to_datetime(time));
                match at <= now.timestamp() {
                    true => at.into(),
                    false => local(yesterday.to_datetime(time)).into(),
                }
            }
        }
    }
}

/// Reads a moment for a flag.
pub(crate) fn parse_moment(text: &str) -> Result<Moment, String> {
    let text = text.trim();
    // A bare number leaves open what it counts.
    let time = Some(text).filter(|text| text.contains([':', '-']));
    let ago = || parse_span(text).ok().map(Moment::Ago);
    let at = || time?.parse().ok().map(Moment::At);
    let calendar = || time?.parse().ok().map(Moment::Calendar);
    let clock = || time?.parse().ok().map(Moment::Clock);
    let read = ago().or_else(at).or_else(calendar).or_else(clock);
    read.ok_or_else(|| {
        "accepted: so long ago, such as 10m; 14:30; 2026-11-27 14:30; 2026-11-27T14:30:00Z"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_durations_times_and_dates() {
        let now: Zoned = "2026-11-27T09:30:00+01:00[Europe/Paris]".parse().unwrap();
        for (text, moment) in [
            ("10m", "2026-11-27T08:20:00Z"),
            ("1h30m", "2026-11-27T07:00:00Z"),
            ("08:00", "2026-11-27T07:00:00Z"),
            ("09:30:00", "2026-11-27T08:30:00Z"),
            // Not yet today.
            ("23:15:30", "2026-11-26T22:15:30Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("2026-11-20 14:30", "2026-11-20T13:30:00Z"),
            ("2026-07-01T14:30:05", "2026-07-01T12:30:05Z"),
            ("2026-11-20T14:30:00Z", "2026-11-20T14:30:00Z"),
            ("2026-11-20T14:30:00+05:00", "2026-11-20T09:30:00Z"),
        ] {
            let expected: Timestamp = moment.parse().unwrap();
            let read = parse_moment(text).unwrap().before(&now);
            assert_eq!(read, SystemTime::from(expected), "{text}");
        }
        for text in ["", "10", "yesterday", "25:00", "2026-13-01", "-5m"] {
            assert!(parse_moment(text).is_err(), "{text:?}");
        }
    }
}
