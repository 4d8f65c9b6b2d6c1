//! Durations as people write them: `90s`, `10m`, `1h30m`, or, for waiting, a bare number of
//! seconds.

use std::time::Duration;

/// The longest duration, some hundred years: moments that far away can still be reckoned with.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Reads a duration for a flag.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    match text.parse::<u64>() {
        Ok(seconds) => bounded(Duration::from_secs(seconds)),
        Err(_) => parse_span(text),
    }
}

/// Reads a duration that may be long, where a bare number would leave open what it counts.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let words = "a duration is a number with a unit, such as 30s, 10m or 1h30m";
    humantime::parse_duration(text.trim())
        .map_err(|_| words.to_owned())
        .and_then(bounded)
}

fn bounded(duration: Duration) -> Result<Duration, String> {
    match duration <= LONGEST {
        true => Ok(duration),
        false => Err("a duration is at most 100 years".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, seconds) in [("20", 20), ("20s", 20), ("10m", 600), ("1h30m", 5400)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "m", "-1s", "10x", "1e3"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_span("10m"), Ok(Duration::from_secs(600)));
        for text in ["18446744073709551615", "9999999999y", "101y"] {
            let refused = Err("a duration is at most 100 years".to_owned());
            assert_eq!(parse_duration(text), refused, "{text}");
        }
        assert!(parse_duration("3153600000").is_ok());
        assert!(parse_span("10").is_err());
    }
}
