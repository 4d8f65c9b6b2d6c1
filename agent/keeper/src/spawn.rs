//! Starting a program at a cost that does not depend on what the keeper holds.
//!
//! The child is made with the keeper's memory shared and the keeper suspended until the program runs
//! (or in the program's cgroup, with a copy of it). It shares the descriptor table too, until it takes
//! a table of its own that has only the lowest entries: neither memory nor descriptors are copied.
//! Everything is prepared before; the child makes system calls and nothing else, and tells in a shared
//! page which of them failed. All signals are blocked in the keeper for ever, so no handler can run in
//! a child, and their dispositions are the default ones, so none has to be reset.
#![expect(
    unsafe_code,
    reason = "making a process and what it does until it executes a program"
)]

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rsv_keeper::message::Stage;
use rustix::fs::{Mode, OFlags};
use rustix::io::DupFlags;
use rustix::process::Resource;

use crate::os::{self, Whom};
use crate::program::Program;

/// Ample for the few calls that the child makes, in a build without optimisation too.
const STACK: usize = 128 * 1024;

/// The size of the inaccessible end of the stack, at least a page everywhere.
const GUARD: usize = 64 * 1024;

/// Where the child finds its own cgroup's file among the slots.
const CGROUP: usize = 3;

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
    /// The soft and hard limit of descriptors, where the keeper has changed it.
    pub(crate) nofile: Option<(u64, u64)>,
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
        let dumpable = program.credentials.is_some().then(os::dumpable);
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
        if let Some(value) = dumpable {
            os::set_dumpable(value);
        }
        if pid < 0 {
            return Err(Refusal::new(Stage::Fork, &failure));
        }
        // SAFETY: the kernel has just opened it for us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        self.conclude(pid.unsigned_abs(), pidfd)
    }

    /// Makes the child in a cgroup, with a copy of the keeper's memory: the call that can do it has
    /// no form that gives the child another stack.
    fn make_in(&mut self, program: &Program, cgroup: BorrowedFd<'_>) -> Result<Child, Refusal> {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        let image = Image::new(self, program, false);
        let mut pidfd: RawFd = -1;
        // SAFETY: plain data for which zero means "not given".
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.flags = (libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PIDFD) as u64;
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.pidfd = (&raw mut pidfd) as u64;
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
        let size = size_of::<libc::clone_args>();
        // SAFETY: without `CLONE_VM` the child has its own copy of everything, as after a fork, and it
        // never leaves `become_program` but by executing the program or ending. This process has one
        // thread, so no lock can be held in the copy.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size) };
        if pid == 0 {
            image.run();
        }
        if pid < 0 {
            return Err(clone3_refusal(&io::Error::last_os_error()));
        }
        // SAFETY: the kernel has just opened it for us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        self.conclude(u32::try_from(pid).unwrap_or(0), pidfd)
    }

    /// Reads the child's report.
    fn conclude(&self, pid: u32, pidfd: OwnedFd) -> Result<Child, Refusal> {
        let Some(refusal) = self.area.report().read() else {
            return Ok(Child { pid, pidfd });
        };
        // The child is ending; it must not stay behind as a zombie, and the report stands either way.
        os::reap_now(Whom::Pidfd(pidfd.as_fd())).ok();
        Err(refusal)
    }
}

/// Whether the kernel (or what filters its calls) cannot put a new process into a cgroup at once.
fn is_unsupported(errno: i32) -> bool {
    [libc::ENOSYS, libc::E2BIG, libc::EINVAL, libc::EPERM].contains(&errno)
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

/// The memory of the child: a page shared with it whatever else is, and its stack with a guard below.
#[derive(Debug)]
struct Area {
    start: *mut c_void,
}

/// What the child tells. Zero: nothing has failed.
#[repr(C)]
struct Report {
    stage: AtomicI32,
    errno: AtomicI32,
}

impl Report {
    fn clear(&self) {
        self.errno.store(0, Ordering::SeqCst);
    }

    fn write(&self, stage: Stage, errno: i32) {
        self.stage.store(stage as i32, Ordering::SeqCst);
        self.errno.store(errno, Ordering::SeqCst);
    }

    fn read(&self) -> Option<Refusal> {
        let errno = self.errno.load(Ordering::SeqCst);
        let stage = Stage::try_from(self.stage.load(Ordering::SeqCst)).unwrap_or(Stage::Exec);
        (errno != 0).then_some(Refusal { stage, errno })
    }
}

impl Area {
    const SIZE: usize = GUARD + STACK + GUARD;

    fn new() -> io::Result<Self> {
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), Self::SIZE, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let area = Self { start };
        // SAFETY: the first part of the mapping just made, which nothing refers to.
        if unsafe { libc::mprotect(start, GUARD, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(area)
    }

    /// Just above the stack, which grows down; the report follows.
    fn stack_top(&self) -> *mut c_void {
        // SAFETY: inside the mapping.
        unsafe { self.start.byte_add(GUARD + STACK) }
    }

    fn report(&self) -> &Report {
        // SAFETY: inside the mapping and aligned to a page; made of zeroes, which is a valid report;
        // only accessed as atomics, by this process and its children.
        unsafe { &*self.stack_top().cast::<Report>() }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size, and no reference to it outlives `self`.
        unsafe { libc::munmap(self.start, Self::SIZE) };
    }
}

/// Everything that the child needs, ready for use without a single allocation.
struct Image<'a> {
    program: &'a Program,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    rlimits: Vec<(u32, libc::rlimit)>,
    oom_score_adj: Option<CString>,
    slots: [RawFd; 4],
    /// The first descriptor that the child does not need.
    above: u32,
    joins_cgroup: bool,
    report: &'a Report,
}

impl<'a> Image<'a> {
    fn new(spawner: &'a Spawner, program: &'a Program, joins_cgroup: bool) -> Self {
        spawner.area.report().clear();
        let slots = spawner.slots.each_ref().map(AsRawFd::as_raw_fd);
        let nofile = libc::RLIMIT_NOFILE;
        let limit = |resource, (soft, hard)| {
            (
                resource,
                libc::rlimit {
                    rlim_cur: soft,
                    rlim_max: hard,
                },
            )
        };
        let own = program
            .rlimits
            .iter()
            .map(|&(resource, values)| limit(resource, values));
        let is_given = program
            .rlimits
            .iter()
            .any(|&(resource, _)| resource == nofile);
        let original = spawner.inherit.nofile.filter(|_| !is_given);
        let original = original.map(|values| limit(nofile, values));
        let adjustment = spawner.inherit.oom_score_adj.map(|value| value.to_string());
        Self {
            program,
            argv: pointers(&program.argv),
            env: pointers(&program.env),
            rlimits: original.into_iter().chain(own).collect(),
            oom_score_adj: adjustment.and_then(|text| CString::new(text).ok()),
            slots,
            above: slots
                .iter()
                .max()
                .map_or(3, |highest| highest.unsigned_abs() + 1),
            joins_cgroup,
            report: spawner.area.report(),
        }
    }

    /// Becomes the program, or reports why not and ends.
    fn run(&self) -> ! {
        let Err((stage, errno)) = become_program(self);
        self.report.write(stage, errno);
        // SAFETY: ends this process without running anything of the parent's.
        unsafe { libc::_exit(127) }
    }
}

/// The array of pointers that `execve` wants. Valid as long as the strings are.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

extern "C" fn run_child(image: *mut c_void) -> c_int {
    // SAFETY: the parent passed a pointer to an `Image` and is suspended while it is used.
    let image = unsafe { &*image.cast::<Image<'_>>() };
    image.run()
}

/// Runs in the child, possibly in the parent's memory: system calls only, no allocation, no panic.
fn become_program(image: &Image<'_>) -> Result<Infallible, (Stage, i32)> {
    let program = image.program;
    take_descriptors(image)?;
    // SAFETY: no memory is passed.
    check(Stage::ProcessGroup, unsafe { libc::setpgid(0, 0) })?;
    if let Some(text) = &image.oom_score_adj {
        restore_oom_score(text);
    }
    for (resource, limit) in &image.rlimits {
        // SAFETY: the limit is read during the call.
        let answer = unsafe { libc::syscall(libc::SYS_prlimit64, 0, *resource, limit, 0_usize) };
        check(Stage::Rlimit, answer)?;
    }
    if let Some((uid, gid, groups)) = &program.credentials {
        // The library's functions would change all threads of the process that owns this memory.
        // SAFETY: the list is read during the call.
        let answer = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
        check(Stage::Groups, answer)?;
        // SAFETY: no memory is passed.
        check(Stage::Gid, unsafe {
            libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid)
        })?;
        // SAFETY: no memory is passed.
        check(Stage::Uid, unsafe {
            libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid)
        })?;
    }
    if let Some(directory) = &program.directory {
        // SAFETY: the path is read during the call.
        check(Stage::Directory, unsafe { libc::chdir(directory.as_ptr()) })?;
    }
    if let Some(mask) = program.umask {
        // SAFETY: no memory is passed.
        unsafe { libc::umask(mask) };
    }
    execute(image)
}

/// Gets a descriptor table of its own and puts the standard streams where they belong.
fn take_descriptors(image: &Image<'_>) -> Result<(), (Stage, i32)> {
    let unshare = libc::CLOSE_RANGE_UNSHARE;
    // SAFETY: works on descriptors only. The new table is this process's own.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, image.above, u32::MAX, unshare) };
    if answer < 0 {
        // SAFETY: works on descriptors only.
        check(Stage::Streams, unsafe { libc::unshare(libc::CLONE_FILES) })?;
    }
    let [stdin, stdout, stderr, procs] = image.slots;
    if image.joins_cgroup {
        // SAFETY: two constant bytes are read during the call; "0" stands for the writer.
        let written = unsafe { libc::write(procs, c"0".as_ptr().cast(), 1) };
        check(Stage::Cgroup, written as i64)?;
    }
    for (from, to) in [(stdin, 0), (stdout, 1), (stderr, 2)] {
        // SAFETY: works on descriptors of this process's own table.
        check(Stage::Streams, unsafe { libc::dup2(from, to) })?;
    }
    Ok(())
}

/// A program is not to be spared when memory is short only because the keeper is. Whoever may lower
/// the value may raise it, so this only fails where there is nothing to undo.
fn restore_oom_score(text: &CStr) {
    // SAFETY: constant path and prepared text are read during the calls; the descriptor is closed.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
        if file >= 0 {
            libc::write(file, text.as_ptr().cast(), text.count_bytes());
            libc::close(file);
        }
    }
}

fn execute(image: &Image<'_>) -> Result<Infallible, (Stage, i32)> {
    let program = image.program;
    // SAFETY: works on the set and the descriptors of this process only. The arrays end with a null
    // pointer, and they and their strings live until the program has replaced this one.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        // Without this call (before Linux 5.9) what remains is closed by its own flag.
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
        libc::execve(
            program.executable.as_ptr(),
            image.argv.as_ptr(),
            image.env.as_ptr(),
        );
    }
    Err((Stage::Exec, last_errno()))
}

fn check(stage: Stage, answer: impl Into<i64>) -> Result<(), (Stage, i32)> {
    if answer.into() < 0 {
        Err((stage, last_errno()))
    } else {
        Ok(())
    }
}

fn last_errno() -> i32 {
    // SAFETY: the address of this thread's error number is always valid.
    unsafe { *libc::__errno_location() }
}

/// The keeper's own limit of descriptors, raised as far as it may be; what it was before.
pub(crate) fn raise_descriptor_limit() -> Option<(u64, u64)> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: before.maximum,
        ..before
    };
    rustix::process::setrlimit(Resource::Nofile, raised).ok()?;
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    Some((number(before.current), number(before.maximum)))
}
