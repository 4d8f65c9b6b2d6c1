//! Making a child that shares our memory in a cgroup: the one call that can do both gives the child
//! another stack, on which nothing can return, so a few instructions go from the call to the child's
//! function.
#![expect(unsafe_code, reason = "a system call that comes back on two stacks")]

use std::ffi::{c_int, c_void};
use std::io;

/// Makes a child that runs `function(argument)` on the stack that the arguments name. Gives its process
/// id. `ENOSYS` on processors that nobody has written this for.
///
/// # Safety
///
/// The arguments have `CLONE_VM` and `CLONE_VFORK` and an aligned stack that nobody else uses, their
/// pointers are valid, and `function` does not return and does nothing that would be wrong in a child
/// that shares its parent's memory while the parent is suspended.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn clone3(
    arguments: &libc::clone_args,
    function: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> io::Result<u32> {
    let answer: i64;
    // SAFETY: the caller vouches for the call. The kernel keeps all registers but the three named as
    // changed. The parent goes on behind the label. The child has its own stack, on which only the
    // function runs, which does not return; what it saves there is not the parent's.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") arguments,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") argument,
            in("r13") function,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    told(answer)
}

/// As above.
///
/// # Safety
///
/// As above.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn clone3(
    arguments: &libc::clone_args,
    function: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> io::Result<u32> {
    let answer: i64;
    // SAFETY: as for the other processor; here the kernel keeps all registers but the first.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            inlateout("x0") std::ptr::from_ref(arguments) as u64 => answer,
            in("x1") size_of::<libc::clone_args>(),
            in("x8") libc::SYS_clone3,
            in("x20") argument,
            in("x21") function,
            lateout("x30") _,
        );
    }
    told(answer)
}

/// As above.
///
/// # Safety
///
/// None is needed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn clone3(
    _arguments: &libc::clone_args,
    _function: extern "C" fn(*mut c_void) -> c_int,
    _argument: *mut c_void,
) -> io::Result<u32> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn told(answer: i64) -> io::Result<u32> {
    u32::try_from(answer).map_err(|_| {
        let errno = i32::try_from(-answer).unwrap_or(libc::EIO);
        io::Error::from_raw_os_error(errno)
    })
}
