//! A requested program in the form in which the kernel wants it.
//!
//! Refuses what no system call could take (NUL bytes, no arguments, numbers out of range); everything
//! else is for the kernel to judge.

use std::ffi::CString;

use rsv_keeper::message::{Rlimit, Spec, Stage};

use crate::kin;
use crate::spawn::Refusal;

/// A program, ready to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The file to execute.
    pub(crate) executable: CString,
    /// Its arguments, at least one.
    pub(crate) argv: Vec<CString>,
    /// Its environment.
    pub(crate) env: Vec<CString>,
    /// Its working directory, if not the keeper's.
    pub(crate) directory: Option<CString>,
    /// User, group and supplementary groups, if not the keeper's.
    pub(crate) credentials: Option<(u32, u32, Vec<u32>)>,
    /// Its file mode creation mask, if not the keeper's.
    pub(crate) umask: Option<u32>,
    /// Resource limits: the resource, then the soft and the hard limit.
    pub(crate) rlimits: Vec<(u32, (u64, u64))>,
    /// The directory of its cgroup.
    pub(crate) cgroup: Option<CString>,
}

impl Program {
    /// Takes what the agent asks for.
    ///
    /// # Errors
    ///
    /// `EINVAL` at the stage of the request.
    pub(crate) fn new(spec: Spec) -> Result<Self, Refusal> {
        let no_mask = spec.umask.is_some_and(|mask| mask > 0o777);
        if spec.argv.is_empty() || spec.executable.is_empty() || no_mask {
            return Err(UNACCEPTABLE);
        }
        let credentials = spec.credentials.map(|who| (who.uid, who.gid, who.groups));
        // The highest number means "unchanged" to the kernel, which is not what was asked for.
        if credentials
            .iter()
            .any(|(uid, gid, _)| *uid == u32::MAX || *gid == u32::MAX)
        {
            return Err(UNACCEPTABLE);
        }
        Ok(Self {
            executable: string(spec.executable)?,
            argv: spec
                .argv
                .into_iter()
                .map(string)
                .collect::<Result<_, _>>()?,
            env: spec.env.into_iter().map(string).collect::<Result<_, _>>()?,
            directory: spec.directory.map(string).transpose()?,
            credentials,
            umask: spec.umask,
            rlimits: spec.rlimits.iter().map(limit).collect(),
            cgroup: spec.cgroup.map(string).transpose()?,
        })
    }
}

impl Program {
    /// Puts assignments into the environment, instead of others of these names.
    ///
    /// # Errors
    ///
    /// `EINVAL` when one cannot be in an environment.
    pub(crate) fn mark(&mut self, marks: [Vec<u8>; 2]) -> Result<(), Refusal> {
        self.env.retain(|entry| !kin::is_mark(entry.as_bytes()));
        for mark in marks {
            self.env.push(string(mark)?);
        }
        Ok(())
    }

    /// A program that is as the keeper itself, with an empty environment.
    pub(crate) fn plain(executable: CString, argv: Vec<CString>) -> Self {
        Self {
            executable,
            argv,
            env: Vec::new(),
            directory: None,
            credentials: None,
            umask: None,
            rlimits: Vec::new(),
            cgroup: None,
        }
    }
}

/// The answer to a request that makes no sense.
pub(crate) const UNACCEPTABLE: Refusal = Refusal {
    stage: Stage::Request,
    errno: libc::EINVAL,
};

fn string(bytes: Vec<u8>) -> Result<CString, Refusal> {
    CString::new(bytes).map_err(|_| UNACCEPTABLE)
}

fn limit(limit: &Rlimit) -> (u32, (u64, u64)) {
    (limit.resource, (limit.soft, limit.hard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsv_keeper::message::Credentials;

    fn spec() -> Spec {
        Spec {
            executable: b"/bin/true".into(),
            argv: vec![b"true".into()],
            ..Spec::default()
        }
    }

    #[test]
    fn a_request_that_no_system_call_could_take_is_refused() {
        assert!(Program::new(spec()).is_ok());
        let nobody = Credentials {
            uid: u32::MAX,
            gid: 1,
            groups: vec![],
        };
        let bad = [
            Spec {
                argv: vec![],
                ..spec()
            },
            Spec {
                executable: vec![],
                ..spec()
            },
            Spec {
                executable: b"/bin/\0".into(),
                ..spec()
            },
            Spec {
                argv: vec![b"\0".into()],
                ..spec()
            },
            Spec {
                env: vec![b"A=\0".into()],
                ..spec()
            },
            Spec {
                directory: Some(b"\0".into()),
                ..spec()
            },
            Spec {
                cgroup: Some(b"\0".into()),
                ..spec()
            },
            Spec {
                umask: Some(0o1000),
                ..spec()
            },
            Spec {
                credentials: Some(nobody),
                ..spec()
            },
        ];
        for spec in bad {
            assert_eq!(Program::new(spec), Err(UNACCEPTABLE));
        }
    }
}
