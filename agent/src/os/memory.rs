//! How memory is kept.
//!
//! The agent has a handful of threads that rarely work at the same time, and needs much memory only
//! for moments: while it reads a configuration, and while everything starts. Most of what it has mapped
//! is its own code, of which a quiet agent uses a small part.
#![expect(
    unsafe_code,
    reason = "the allocator is spoken to in C, and nobody has wrapped that"
)]

use std::ops::Range;
use std::{fs, ptr};

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

/// Gives back to the system what was needed for a moment: pages of the heap that hold nothing any more,
/// and code. About a millisecond for a thousand programs.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: looks at the allocator's own lists, under its own lock, and gives up pages in which
    // nothing is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
    let here = give_back as fn() as usize;
    if let Some(code) = fs::read_to_string("/proc/self/maps")
        .ok()
        .and_then(|maps| code_around(&maps, here))
    {
        // SAFETY: these pages are of the executable file, mapped to be read and executed; nobody writes
        // there. The system reads a page from the file again when it is next used.
        unsafe {
            let start = ptr::with_exposed_provenance_mut(code.start);
            libc::madvise(start, code.len(), libc::MADV_DONTNEED);
        }
    }
}

/// The mapping of code, out of a file, in which an address lies.
fn code_around(maps: &str, address: usize) -> Option<Range<usize>> {
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let is_code = fields.next()? == "r-xp" && fields.nth(2)? != "0";
        (is_code && (start..end).contains(&address)).then_some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_out_of_a_file_is_let_go() {
        let maps = "1000-3000 r--p 00000000 fe:00 7 /bin/agent\n\
                    3000-9000 r-xp 00002000 fe:00 7 /bin/agent\n\
                    9000-a000 rw-p 00008000 fe:00 7 /bin/agent\n\
                    f000-10000 r-xp 00000000 00:00 0 [vdso]\n\
                    nonsense\n";
        assert_eq!(code_around(maps, 0x3000), Some(0x3000..0x9000));
        assert_eq!(code_around(maps, 0x8fff), Some(0x3000..0x9000));
        for elsewhere in [0x2fff, 0x9000, 0xf000, 0x20000] {
            assert_eq!(code_around(maps, elsewhere), None, "{elsewhere:x}");
        }
    }

    #[test]
    fn code_that_was_let_go_is_there_when_it_is_used() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(code_around(&maps, give_back as fn() as usize).is_some());
        give_back();
        give_back();
    }
}
