//! Room for the descriptors of many programs.
//!
//! For each program the agent holds a pidfd, a pipe to its standard input, a pipe and a file for each
//! of its outputs. `minfds` is a promise that must be kept; this is raised as far as the system lets us.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors of one program.
const PER_PROGRAM: u64 = 5;

/// Descriptors of the agent itself: sockets, logs, connections.
const OWN: u64 = 64;

/// Raises the soft limit of open files to what so many programs need, up to the hard limit. Says what
/// was done, if anything was.
pub fn make_room(programs: usize) -> Option<String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = raised(soft, hard, programs)?;
    // A refusal is met again, and told, where a descriptor is missing.
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).ok()?;
    Some(format!("Increased RLIMIT_NOFILE limit to {wanted}"))
}

/// The soft limit to set; none when it is high enough, or cannot be higher.
fn raised(soft: u64, hard: u64, programs: usize) -> Option<u64> {
    let programs = u64::try_from(programs).unwrap_or(u64::MAX);
    let needed = programs.saturating_mul(PER_PROGRAM).saturating_add(OWN);
    let wanted = needed.min(hard);
    (wanted > soft).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_grows_with_the_programs_up_to_the_hard_one_and_never_shrinks() {
        assert_eq!(raised(1024, 4096, 100), None);
        assert_eq!(raised(1024, 1_048_576, 1000), Some(5064));
        assert_eq!(raised(1024, 4096, 1000), Some(4096));
        assert_eq!(raised(4096, 4096, 1000), None);
    }
}
