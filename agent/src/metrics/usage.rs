//! What a process uses, as the kernel tells it. Of the process itself, not of what it has started.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// What a process uses at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// In its own code.
    pub(super) user: Duration,
    /// In the kernel.
    pub(super) system: Duration,
    /// Bytes of address space.
    pub(super) addresses: i64,
    /// Bytes in memory.
    pub(super) resident: i64,
    /// Its threads.
    pub(super) threads: i64,
    /// Its open descriptors; absent: they cannot be seen.
    pub(super) descriptors: Option<i64>,
    /// What it has moved to and from disks; absent: that cannot be seen.
    pub(super) disk: Option<Disk>,
}

/// Bytes that a process had read from disks, and written to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) read: u64,
    pub(super) written: u64,
}

/// The units in which the kernel counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    /// Of processor time, in a second.
    ticks: u64,
    /// Bytes of a page.
    page: i64,
}

impl Units {
    /// Those of this kernel.
    pub(super) fn of_this_kernel() -> Self {
        let of = |variable| sysconf(variable).ok().flatten();
        Self {
            ticks: of(SysconfVar::CLK_TCK).map_or(100, i64::unsigned_abs),
            page: of(SysconfVar::PAGE_SIZE).unwrap_or(4096),
        }
    }

    /// What a process uses; absent: it is gone.
    pub(super) fn usage(self, pid: u32) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut usage = self.parsed(&stat)?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok();
        usage.descriptors = descriptors.and_then(|open| i64::try_from(open.count()).ok());
        let io = fs::read_to_string(format!("/proc/{pid}/io")).ok();
        usage.disk = io.as_deref().and_then(Disk::parsed);
        Some(usage)
    }

    /// From a line of `/proc/PID/stat`, whose second field may hold anything, and ends with the last bracket.
    fn parsed(self, stat: &str) -> Option<Usage> {
        let (_, rest) = stat.rsplit_once(')')?;
        // The first of these is field 3.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        let time = |ticks: i64| {
            let ticks = u64::try_from(ticks).unwrap_or_default();
            Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / self.ticks.max(1)))
        };
        Some(Usage {
            user: time(field(14)?),
            system: time(field(15)?),
            threads: field(20)?,
            addresses: field(23)?,
            resident: field(24)?.saturating_mul(self.page),
            descriptors: None,
            disk: None,
        })
    }
}

impl Disk {
    /// From `/proc/PID/io`.
    fn parsed(io: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let mut lines = io.lines().filter_map(|line| line.split_once(": "));
            let (_, bytes) = lines.find(|(key, _)| *key == name)?;
            bytes.parse().ok()
        };
        Some(Self {
            read: bytes("read_bytes")?,
            written: bytes("write_bytes")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read_whatever_a_program_is_called() {
        let units = Units {
            ticks: 100,
            page: 4096,
        };
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 90 0 0 0 150 25 0 0 20 0 3 0 100 8192 2 0";
        let usage = units.parsed(stat).unwrap();
        let expected = Usage {
            user: Duration::from_millis(1500),
            system: Duration::from_millis(250),
            addresses: 8192,
            resident: 8192,
            threads: 3,
            descriptors: None,
            disk: None,
        };
        assert_eq!(usage, expected);
        assert_eq!(units.parsed("7 (short) S 1"), None);
        assert_eq!(units.parsed(""), None);
    }

    #[test]
    fn what_a_process_has_moved_is_read_by_its_names() {
        let io = "rchar: 9\nwchar: 8\nsyscr: 7\nsyscw: 6\nread_bytes: 4096\nwrite_bytes: 512\n\
                  cancelled_write_bytes: 1\n";
        let (read, written) = (4096, 512);
        assert_eq!(Disk::parsed(io), Some(Disk { read, written }));
        assert_eq!(Disk::parsed("read_bytes: 1\n"), None);
        assert_eq!(Disk::parsed("read_bytes: x\nwrite_bytes: 1\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Units::of_this_kernel().usage(std::process::id()).unwrap();
        assert!(usage.resident > 0 && usage.threads > 0 && usage.descriptors > Some(0));
    }
}
