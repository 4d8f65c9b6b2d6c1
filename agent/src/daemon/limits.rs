//! Raising the limits that `minfds` and `minprocs` ask for; programs inherit them.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rsv_config::Supervisord;

use crate::failure::Failure;

/// One limit and how it is spoken of.
struct Limit {
    resource: Resource,
    name: &'static str,
    option: &'static str,
    needed: &'static str,
    noun: &'static str,
    whose: &'static str,
}

/// What is to be done about a limit.
#[derive(Debug, PartialEq)]
enum Change {
    Nothing,
    /// The new soft and hard limit.
    Set(u64, u64),
}

/// Raises what is too low; says what was done.
pub(super) fn raise(settings: &Supervisord) -> Result<Vec<String>, Failure> {
    let files = Limit {
        resource: Resource::RLIMIT_NOFILE,
        name: "RLIMIT_NOFILE",
        option: "minfds",
        needed: "file descriptors",
        noun: "file descriptors",
        whose: "process",
    };
    let processes = Limit {
        resource: Resource::RLIMIT_NPROC,
        name: "RLIMIT_NPROC",
        option: "minprocs",
        needed: "available processes",
        noun: "processes",
        whose: "program",
    };
    let mut notes = Vec::new();
    notes.extend(files.raise(settings.minfds)?);
    notes.extend(processes.raise(settings.minprocs)?);
    Ok(notes)
}

impl Limit {
    fn raise(&self, wanted: u32) -> Result<Option<String>, Failure> {
        let wanted = u64::from(wanted);
        let (soft, hard) = getrlimit(self.resource).map_err(|errno| self.unknown(errno))?;
        let Change::Set(new_soft, new_hard) = change(soft, hard, wanted) else {
            return Ok(None);
        };
        setrlimit(self.resource, new_soft, new_hard)
            .map_err(|_| Failure::usage(self.refusal(wanted, hard)))?;
        Ok(Some(format!("Increased {} limit to {wanted}", self.name)))
    }

    fn unknown(&self, errno: Errno) -> Failure {
        let Self { name, .. } = self;
        Failure::failed(format!("cannot read the limit {name}: {}", errno.desc()))
    }

    /// Supervisor's text, with the limit that there is, where Supervisor repeats what is wanted.
    fn refusal(&self, wanted: u64, hard: u64) -> String {
        let Self {
            option,
            needed,
            noun,
            whose,
            ..
        } = self;
        format!(
            "The minimum number of {needed} required to run this {whose} is {wanted} as per the \
             \"{option}\" command-line argument or config file setting. The current environment \
             will only allow you to open {hard} {noun}.  Either raise the number of usable {noun} \
             in your environment or lower the {option} setting in the config file to allow the \
             {whose} to start."
        )
    }
}

fn change(soft: u64, hard: u64, wanted: u64) -> Change {
    if soft >= wanted {
        Change::Nothing
    } else {
        Change::Set(wanted, hard.max(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_that_is_too_low_is_changed_and_never_lowered() {
        assert_eq!(change(1024, 4096, 1000), Change::Nothing);
        assert_eq!(change(1024, 4096, 2000), Change::Set(2000, 4096));
        assert_eq!(change(1024, 4096, 5000), Change::Set(5000, 5000));
    }
}
