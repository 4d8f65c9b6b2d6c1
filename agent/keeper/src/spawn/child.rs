//! What a new process does until it is the program: system calls only, no allocation, no panic.
//!
//! It may run in the keeper's memory, and it starts with the keeper's own descriptor table, which it
//! must not touch before it has a table of its own.
#![expect(
    unsafe_code,
    reason = "system calls between the making of a process and its program"
)]

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use rsv_keeper::message::Stage;
use rustix::process::{Resource, getrlimit};

use super::Spawner;
use super::area::Report;
use crate::program::Program;

/// Everything that the child needs, ready for use without a single allocation.
pub(super) struct Image<'a> {
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
    pub(super) fn new(spawner: &'a Spawner, program: &'a Program, joins_cgroup: bool) -> Self {
        spawner.area.report().clear();
        let slots = spawner.slots.each_ref().map(AsRawFd::as_raw_fd);
        let own = program.rlimits.iter().map(|(resource, (soft, hard))| {
            (
                *resource,
                libc::rlimit {
                    rlim_cur: *soft,
                    rlim_max: *hard,
                },
            )
        });
        let original = spawner.inherit.nofile.map(original_nofile);
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
    pub(super) fn run(&self) -> ! {
        self.report.begin();
        let Err((stage, errno)) = become_program(self);
        self.report.write(stage, errno);
        // SAFETY: ends this process without running anything of the parent's.
        unsafe { libc::_exit(127) }
    }
}

/// The limit of descriptors as it was before the keeper raised its own.
fn original_nofile(soft: u64) -> (u32, libc::rlimit) {
    let hard = getrlimit(Resource::Nofile)
        .maximum
        .unwrap_or(libc::RLIM_INFINITY);
    (
        libc::RLIMIT_NOFILE,
        libc::rlimit {
            rlim_cur: soft.min(hard),
            rlim_max: hard,
        },
    )
}

/// The array of pointers that `execve` wants. Valid as long as the strings are.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

pub(super) extern "C" fn run_child(image: *mut c_void) -> c_int {
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
