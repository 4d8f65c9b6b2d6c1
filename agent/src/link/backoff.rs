//! How long to wait before dialling again. Pure: randomness is an argument.

use std::time::Duration;

/// The pause after the first failure, before jitter.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause. Short, because what is waited for is the whole fleet's return after an
/// outage, and one small handshake per host every few seconds harms no controller.
pub const LONGEST: Duration = Duration::from_secs(3);

/// The pause when a person has to act first, such as after a refused certificate.
const SLOW: Duration = Duration::from_secs(30);

/// The pause after so many failures in a row: doubled each time up to [`LONGEST`], then shortened
/// by up to half so that hosts that failed together do not come back together. `jitter` is from 0
/// to 1.
pub fn pause(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    spread(doubled.min(LONGEST), jitter)
}

/// The pause before another try of what will hardly work by itself.
pub fn slow_pause(jitter: f64) -> Duration {
    spread(SLOW, jitter)
}

/// The pause that a controller asked for, lengthened by up to a fifth: it asks many at once.
/// Bounded, so that no answer can silence a host for good.
pub fn asked_pause(asked: Duration, jitter: f64) -> Duration {
    const BOUND: Duration = Duration::from_secs(300);
    asked.min(BOUND).mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0))
}

fn spread(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_cap_and_never_beyond() {
        let pauses: Vec<u128> = (0..8).map(|n| pause(n, 0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3000, 3000, 3000]);
        assert_eq!(pause(u32::MAX, 0.0), LONGEST);
    }

    #[test]
    fn jitter_only_shortens_and_by_at_most_half() {
        for failures in 0..20 {
            let full = pause(failures, 0.0);
            for jitter in [-1.0, 0.0, 0.3, 1.0, 7.0] {
                let with = pause(failures, jitter);
                assert!(
                    with <= full && with >= full / 2,
                    "{failures} {jitter} {with:?}"
                );
            }
        }
    }

    #[test]
    fn an_asked_pause_is_kept_and_bounded() {
        let asked = Duration::from_secs(10);
        assert_eq!(asked_pause(asked, 0.0), asked);
        assert_eq!(asked_pause(asked, 1.0), Duration::from_secs(12));
        assert_eq!(asked_pause(Duration::MAX, 0.0), Duration::from_secs(300));
    }
}
