//! Resource limits of a program: `rlimit_NAME = VALUE` or `SOFT:HARD`.

use super::number::{byte_size, integer};
use crate::error::{ValueError, repr};

/// A resource that the kernel can limit, named as in `rlimit_NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RlimitResource {
    /// `rlimit_as`: address space, bytes.
    AddressSpace,
    /// `rlimit_core`: core file, bytes.
    Core,
    /// `rlimit_cpu`: processor time, seconds.
    Cpu,
    /// `rlimit_data`: data segment, bytes.
    Data,
    /// `rlimit_fsize`: file size, bytes.
    FileSize,
    /// `rlimit_locks`: file locks.
    Locks,
    /// `rlimit_memlock`: locked memory, bytes.
    LockedMemory,
    /// `rlimit_msgqueue`: POSIX message queues, bytes.
    MessageQueue,
    /// `rlimit_nice`: ceiling of the nice value, as 20 minus it.
    Nice,
    /// `rlimit_nofile`: open descriptors.
    OpenFiles,
    /// `rlimit_nproc`: processes of the user.
    Processes,
    /// `rlimit_rss`: resident memory, bytes; without effect on today's kernels.
    ResidentMemory,
    /// `rlimit_rtprio`: real-time priority.
    RealtimePriority,
    /// `rlimit_rttime`: real-time processor time, microseconds.
    RealtimeTime,
    /// `rlimit_sigpending`: queued signals.
    PendingSignals,
    /// `rlimit_stack`: stack, bytes.
    Stack,
}

impl RlimitResource {
    /// Every resource with its key in a configuration.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::AddressSpace, "rlimit_as"),
        (Self::Core, "rlimit_core"),
        (Self::Cpu, "rlimit_cpu"),
        (Self::Data, "rlimit_data"),
        (Self::FileSize, "rlimit_fsize"),
        (Self::Locks, "rlimit_locks"),
        (Self::LockedMemory, "rlimit_memlock"),
        (Self::MessageQueue, "rlimit_msgqueue"),
        (Self::Nice, "rlimit_nice"),
        (Self::OpenFiles, "rlimit_nofile"),
        (Self::Processes, "rlimit_nproc"),
        (Self::ResidentMemory, "rlimit_rss"),
        (Self::RealtimePriority, "rlimit_rtprio"),
        (Self::RealtimeTime, "rlimit_rttime"),
        (Self::PendingSignals, "rlimit_sigpending"),
        (Self::Stack, "rlimit_stack"),
    ];

    fn is_bytes(self) -> bool {
        matches!(
            self,
            Self::AddressSpace
                | Self::Core
                | Self::Data
                | Self::FileSize
                | Self::LockedMemory
                | Self::MessageQueue
                | Self::ResidentMemory
                | Self::Stack
        )
    }
}

/// One bound. The order puts `Unlimited` above every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RlimitValue {
    /// A number in the resource's unit.
    Limit(u64),
    /// `unlimited`.
    Unlimited,
}

/// A soft and a hard bound; soft is never above hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// What is limited.
    pub resource: RlimitResource,
    /// The bound in force.
    pub soft: RlimitValue,
    /// The bound up to which the program may raise it.
    pub hard: RlimitValue,
}

/// `VALUE` for both bounds, or `SOFT:HARD`.
pub(crate) fn rlimit(resource: RlimitResource, text: &str) -> Result<Rlimit, ValueError> {
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let (soft, hard) = (bound(resource, soft), bound(resource, hard));
    match (soft, hard) {
        (Some(soft), Some(hard)) if soft <= hard => Ok(Rlimit {
            resource,
            soft,
            hard,
        }),
        _ => Err(ValueError::new(
            format!("not a valid resource limit: {}", repr(text)),
            "a number or unlimited, or SOFT:HARD with soft not above hard",
        )),
    }
}

fn bound(resource: RlimitResource, text: &str) -> Option<RlimitValue> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("unlimited") || text.eq_ignore_ascii_case("infinity") {
        return Some(RlimitValue::Unlimited);
    }
    if text.starts_with('-') {
        return None;
    }
    let number = if resource.is_bytes() {
        byte_size(text).ok()?.bytes()
    } else {
        u64::try_from(integer(text).ok()?).ok()?
    };
    Some(RlimitValue::Limit(number))
}
