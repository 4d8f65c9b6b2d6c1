//! Durations as people write them: `90s`, `10m`, `1h30m`, or, for waiting, a bare number of
//! seconds.

use std::time::Duration;

/// Reads a duration for a flag.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    parse_span(text)
}

/// Reads a duration that may be long, where a bare number would leave open what it counts.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| "a duration is a number with a unit, such as 30s, 10m or 1h30m".to_owned())
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
        assert!(parse_span("10").is_err());
    }
}
