//! The memory that a child uses beside the keeper's: a stack of its own and a page for its report.
#![expect(
    unsafe_code,
    reason = "a mapping used as a stack and shared with children"
)]

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rsv_keeper::message::Stage;

use super::Refusal;

/// Ample for the few calls that the child makes, in a build without optimisation too.
const STACK: usize = 128 * 1024;

/// The size of the inaccessible end of the stack, at least a page everywhere.
const GUARD: usize = 64 * 1024;

/// The memory of the child: a page shared with it whatever else is, and its stack with a guard below.
#[derive(Debug)]
pub(super) struct Area {
    start: *mut c_void,
}

/// What the child tells. Zero: nothing has failed.
#[repr(C)]
pub(super) struct Report {
    stage: AtomicI32,
    errno: AtomicI32,
    /// It has begun to run at all.
    has_begun: AtomicI32,
}

impl Report {
    pub(super) fn clear(&self) {
        self.errno.store(0, Ordering::SeqCst);
        self.has_begun.store(0, Ordering::SeqCst);
    }

    pub(super) fn begin(&self) {
        self.has_begun.store(1, Ordering::SeqCst);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::SeqCst) != 0
    }

    pub(super) fn write(&self, stage: Stage, errno: i32) {
        self.stage.store(stage as i32, Ordering::SeqCst);
        self.errno.store(errno, Ordering::SeqCst);
    }

    pub(super) fn read(&self) -> Option<Refusal> {
        let errno = self.errno.load(Ordering::SeqCst);
        let stage = Stage::try_from(self.stage.load(Ordering::SeqCst)).unwrap_or(Stage::Exec);
        (errno != 0).then_some(Refusal { stage, errno })
    }
}

impl Area {
    const SIZE: usize = GUARD + STACK + GUARD;

    pub(super) fn new() -> io::Result<Self> {
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
    pub(super) fn stack_top(&self) -> *mut c_void {
        // SAFETY: inside the mapping.
        unsafe { self.start.byte_add(GUARD + STACK) }
    }

    /// The stack by its lowest address and its size, as numbers for the kernel.
    pub(super) fn stack(&self) -> (u64, u64) {
        (self.start as u64 + GUARD as u64, STACK as u64)
    }

    pub(super) fn report(&self) -> &Report {
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
