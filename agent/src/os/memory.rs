//! How the allocator keeps memory.
//!
//! The agent has a handful of threads that rarely work at the same time, and needs much memory only
//! for moments: while it reads a configuration, and while everything starts.
#![expect(
    unsafe_code,
    reason = "the allocator is spoken to in C, and nobody has wrapped that"
)]

/// From this size on an allocation is a mapping of its own, which goes back to the system as soon as
/// it is free. The allocator would raise it with every large allocation.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 128 * 1024;

/// Has all threads allocate from one heap, and large pieces beside it. Before the first thread.
pub fn be_thrifty() {
    #[cfg(target_env = "gnu")]
    // SAFETY: these calls change numbers of the allocator, under its own lock; they take any value
    // and touch no memory of ours. One that is refused leaves things as they are.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MAPPED_FROM);
    }
}

/// Gives pages that hold nothing any more back to the system: about a millisecond for a thousand
/// programs.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: looks at the allocator's own lists, under its own lock, and gives up pages in which
    // nothing is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
