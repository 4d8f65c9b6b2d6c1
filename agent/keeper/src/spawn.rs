//! Starting a program at a cost that does not depend on what the keeper holds.
//!
//! The child is made with the keeper's memory shared and the keeper suspended until the program runs.
//! It shares the descriptor table too, until it takes a table of its own that has only the lowest
//! entries: neither memory nor descriptors are copied. Everything is prepared before; the child makes
//! system calls and nothing else, and tells in a shared page which of them failed. All signals are
//! blocked in the keeper for ever, so no handler can run in a child, and their dispositions are the
//! default ones, so none has to be reset.
#![expect(unsafe_code, reason = "making a process")]

mod area;
pub(crate) mod calls;
mod child;
mod clone3;

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use rsv_keeper::message::Stage;
use rustix::fs::{Mode, OFlags};
use rustix::io::DupFlags;
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

use self::area::Area;
use self::child::{Image, run_child};
use self::clone3::clone3;
use crate::os::{self, Whom};
use crate::program::Program;

/// Where the child finds its own cgroup's file among the slots.
const CGROUP: usize = 3;

/// How long a child that could not become its program may take to end. It takes some microseconds, unless
/// the kernel has to wait for a disk or for a debugger.
const LAST_BREATH: Duration = Duration::from_millis(50);

/// Starts programs.
#[derive(Debug)]
pub(crate) struct Spawner {
    area: Area,
    null: OwnedFd,
    /// The only descriptors that a child inherits: standard input, output, error and the file through
    /// which it joins its cgroup. They are the lowest ones above 2, and `/dev/null` between spawns.
    slots: [OwnedFd; 4],
    inherit: Inherit,
}

/// What programs get back that the keeper has changed for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inherit {
    /// The soft limit of descriptors, where the keeper has raised it.
    pub(crate) nofile: Option<u64>,
    /// The adjustment of the out-of-memory score, where the keeper has changed it.
    pub(crate) oom_score_adj: Option<i32>,
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id.
    pub(crate) pid: u32,
    /// Its pidfd.
    pub(crate) pidfd: OwnedFd,
}

/// A program that could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What was being done.
    pub(crate) stage: Stage,
    /// The system's error number.
    pub(crate) errno: i32,
}

impl Refusal {
    /// A step and the error that it met.
    pub(crate) fn new(stage: Stage, error: &io::Error) -> Self {
        Self {
            stage,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

impl Spawner {
    /// Prepares. To be called before anything else opens descriptors, so that the slots are low.
    ///
    /// # Errors
    ///
    /// What the system says when there is no memory, no descriptor or no `/dev/null`.
    pub(crate) fn new(inherit: Inherit) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
        let slot = || rustix::io::fcntl_dupfd_cloexec(&null, 3);
        let slots = [slot()?, slot()?, slot()?, slot()?];
        Ok(Self {
            area: Area::new()?,
            null,
            slots,
            inherit,
        })
    }

    /// `/dev/null`, open for reading and writing.
    pub(crate) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// What programs get back.
    pub(crate) fn inherit(&self) -> Inherit {
        self.inherit
    }

    /// Starts a program with the given standard input, output and error. Returns when it runs.
    ///
    /// # Errors
    ///
    /// The step that failed; nothing is left of the attempt then.
    pub(crate) fn spawn(
        &mut self,
        program: &Program,
        streams: [BorrowedFd<'_>; 3],
    ) -> Result<Child, Refusal> {
        let placed = self
            .place(&streams)
            .map_err(|error| Refusal::new(Stage::Streams, &error));
        let made = placed.and_then(|()| self.make(program));
        // Until the slots are emptied this process holds the far ends of the pipes.
        let emptied = self
            .empty()
            .map_err(|error| Refusal::new(Stage::Streams, &error));
        let child = made?;
        emptied.map(|()| child)
    }

    fn place(&mut self, streams: &[BorrowedFd<'_>; 3]) -> io::Result<()> {
        for (stream, slot) in streams.iter().zip(&mut self.slots) {
            rustix::io::dup3(stream, slot, DupFlags::CLOEXEC)?;
        }
        Ok(())
    }

    fn empty(&mut self) -> io::Result<()> {
        for slot in &mut self.slots {
            rustix::io::dup3(&self.null, slot, DupFlags::CLOEXEC)?;
        }
        Ok(())
    }

    fn make(&mut self, program: &Program) -> Result<Child, Refusal> {
        let Some(directory) = &program.cgroup else {
            return self.make_sharing(program, false);
        };
        let refused = |error: rustix::io::Errno| Refusal::new(Stage::Cgroup, &error.into());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cgroup = rustix::fs::open(directory, flags, Mode::empty()).map_err(refused)?;
        match self.make_in(program, cgroup.as_fd()) {
            Err(Refusal {
                stage: Stage::Fork,
                errno,
            }) if is_unsupported(errno) => {}
            other => return other,
        }
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = rustix::fs::openat(&cgroup, "cgroup.procs", flags, Mode::empty());
        let procs = procs.map_err(refused)?;
        rustix::io::dup3(&procs, &mut self.slots[CGROUP], DupFlags::CLOEXEC).map_err(refused)?;
        self.make_sharing(program, true)
    }

    /// Makes the child with the keeper's memory. It joins its cgroup itself, if it has one.
    fn make_sharing(&mut self, program: &Program, joins_cgroup: bool) -> Result<Child, Refusal> {
        let image = Image::new(self, program, joins_cgroup);
        // The child's change of user is a change of the memory that both use.
        let dumpable = program.credentials.is_some().then(dumpable_behavior);
        let flags = libc::CLONE_VM
            | libc::CLONE_VFORK
            | libc::CLONE_FILES
            | libc::CLONE_PIDFD
            | libc::SIGCHLD;
        let mut pidfd: RawFd = -1;
        let argument = ptr::from_ref(&image).cast_mut().cast::<c_void>();
        // SAFETY: the stack is a mapping of our own that nobody else uses, with its top aligned. The
        // child only reads `image`, which lives until the call returns, which is after the child has
        // executed its program or ended (`CLONE_VFORK`). It touches no lock and no allocator.
        let pid = unsafe {
            libc::clone(
                run_child,
                self.area.stack_top(),
                flags,
                argument,
                &raw mut pidfd,
            )
        };
        let failure = io::Error::last_os_error();
        restore_dumpable(dumpable);
        if pid < 0 {
            return Err(Refusal::new(Stage::Fork, &failure));
        }
        // SAFETY: the kernel has just opened it for us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        self.conclude(pid.unsigned_abs(), pidfd)
    }

    /// Makes the child in a cgroup, with the keeper's memory.
    fn make_in(&mut self, program: &Program, cgroup: BorrowedFd<'_>) -> Result<Child, Refusal> {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        let image = Image::new(self, program, false);
        let dumpable = program.credentials.is_some().then(dumpable_behavior);
        let mut pidfd: RawFd = -1;
        // SAFETY: plain data for which zero means "not given".
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PIDFD;
        arguments.flags = flags as u64 | CLONE_INTO_CGROUP;
        arguments.pidfd = (&raw mut pidfd) as u64;
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
        (arguments.stack, arguments.stack_size) = self.area.stack();
        let argument = ptr::from_ref(&image).cast_mut().cast::<c_void>();
        // SAFETY: as in `make_sharing`.
        let made = unsafe { clone3(&arguments, run_child, argument) };
        restore_dumpable(dumpable);
        let pid = made.map_err(|error| clone3_refusal(&error))?;
        // SAFETY: the kernel has just opened it for us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        self.conclude(pid, pidfd)
    }

    /// Reads the child's report.
    fn conclude(&self, pid: u32, pidfd: OwnedFd) -> Result<Child, Refusal> {
        let report = self.area.report();
        let refusal = match report.read() {
            Some(refusal) => refusal,
            None if report.has_begun() => return Ok(Child { pid, pidfd }),
            None => STILLBORN,
        };
        // The child is ending. One that takes long is reaped as any child is, and the report stands.
        if os::ends_within(pidfd.as_fd(), LAST_BREATH) {
            os::reap(Whom::Pidfd(pidfd.as_fd())).ok();
        }
        Err(refusal)
    }
}

/// Sets again what the child's change of user may have changed. It only fails for a value that cannot be
/// set by anybody.
fn restore_dumpable(before: Option<rustix::io::Result<DumpableBehavior>>) {
    if let Some(Ok(before)) = before {
        set_dumpable_behavior(before).ok();
    }
}

/// The child was killed before it began. Kernels have taken a child that is made in a cgroup for one that
/// was there when somebody killed all of it, however long ago that was.
const STILLBORN: Refusal = Refusal {
    stage: Stage::Fork,
    errno: libc::ECANCELED,
};

/// Whether the kernel (or what filters its calls) cannot put a new process into a cgroup at once.
fn is_unsupported(errno: i32) -> bool {
    let reasons = [libc::ENOSYS, libc::E2BIG, libc::EINVAL, libc::EPERM];
    reasons.contains(&errno) || errno == STILLBORN.errno
}

/// Tells the two things apart that this one call does.
fn clone3_refusal(error: &io::Error) -> Refusal {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let about_cgroup = [
        libc::EACCES,
        libc::EBUSY,
        libc::EOPNOTSUPP,
        libc::ENODEV,
        libc::EBADF,
    ];
    let stage = if about_cgroup.contains(&errno) {
        Stage::Cgroup
    } else {
        Stage::Fork
    };
    Refusal { stage, errno }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_that_could_not_become_its_program_is_not_waited_for() {
        // It reads what never comes, and has reported nothing: it is taken for one that is ending.
        let mut command = Command::new("/bin/cat");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let flags = rustix::process::PidfdFlags::empty();
        let pidfd = rustix::process::pidfd_open(pid, flags).unwrap();
        let (answers, answer) = std::sync::mpsc::channel();
        let number = child.id();
        let waiting = std::thread::spawn(move || {
            let inherit = Inherit {
                nofile: None,
                oom_score_adj: None,
            };
            let spawner = Spawner::new(inherit).unwrap();
            answers.send(spawner.conclude(number, pidfd).err()).ok();
        });
        let answer = answer.recv_timeout(Duration::from_secs(30));
        // Whoever waits for the child waits no longer.
        drop(child.stdin.take());
        waiting.join().unwrap();
        child.wait().ok();
        assert_eq!(answer, Ok(Some(STILLBORN)));
    }
}
