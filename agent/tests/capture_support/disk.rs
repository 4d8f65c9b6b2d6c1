//! A small file system in a file that can be frozen: a disk that does not answer. Only root can make
//! one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The file system, which thaws and goes away with this.
pub(crate) struct Disk {
    pub(crate) directory: PathBuf,
}

impl Disk {
    /// Mounts one below a directory, if that is possible here; says so if not.
    pub(crate) fn mount(under: &Path) -> Option<Self> {
        let disk = Self::try_mount(under);
        if disk.is_none() {
            println!("no file system that can be frozen, nothing tested");
        }
        disk
    }

    fn try_mount(under: &Path) -> Option<Self> {
        let (image, directory) = (under.join("image"), under.join("disk"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(16 * 1024 * 1024)
            .unwrap();
        let is_mounted = succeeds("mkfs.ext4", &["-q".as_ref(), &image])
            && succeeds(
                "mount",
                &["-o".as_ref(), "loop".as_ref(), &image, &directory],
            );
        let disk = is_mounted.then_some(Self { directory })?;
        if !disk.set_frozen("-f") {
            return None;
        }
        disk.thaw();
        Some(disk)
    }

    pub(crate) fn freeze(&self) {
        assert!(self.set_frozen("-f"));
    }

    pub(crate) fn thaw(&self) {
        assert!(self.set_frozen("-u"));
    }

    fn set_frozen(&self, option: &str) -> bool {
        succeeds("fsfreeze", &[option.as_ref(), &self.directory])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.set_frozen("-u");
        succeeds("umount", &["-l".as_ref(), &self.directory]);
    }
}

fn succeeds(program: &str, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
