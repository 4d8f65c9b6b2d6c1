//! Becoming the user of `[supervisord] user`.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt, PermissionsExt as _};
use std::path::Path;

use nix::unistd::{Gid, Uid, getgrouplist, setgid, setgroups, setuid};
use rsv_config::host::User;

use crate::failure::Failure;

/// Becomes that user, if it is another one; says what was done.
pub(super) fn drop_to(user: Option<&User>) -> Result<Option<String>, Failure> {
    let Some(user) = user else { return Ok(None) };
    let current = nix::unistd::geteuid();
    if current.as_raw() == user.uid {
        return Ok(None);
    }
    if !current.is_root() {
        return Err(Failure::usage("Can't drop privilege as nonroot user")
            .hint(format!("start as root, or as {} itself", user.name)));
    }
    become_user(user).map_err(|errno| {
        Failure::unusable(format!(
            "cannot become the user `{}`: {}",
            user.name,
            errno.desc()
        ))
    })?;
    Ok(Some(format!("Set uid to user {} succeeded", user.uid)))
}

/// Makes a directory for the user that root is about to become, beside a pidfile where that user could
/// make none. One that is there is left alone: whether it can be used is seen when it is.
pub(super) fn make_for(user: &User, directory: &Path) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() || user.uid == 0 {
        return Ok(());
    }
    let made = DirBuilder::new().mode(0o700).create(directory);
    let given = match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.and_then(|()| give(directory, user)),
    };
    given.map_err(|source| {
        let (shown, name) = (directory.display(), &user.name);
        Failure::unusable(format!(
            "cannot make the directory `{shown}` for `{name}`: {source}"
        ))
    })
}

/// Makes a directory where everybody may make some: private, and ours, or an error.
pub(super) fn own_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let opened = open_dir(path)?;
    let found = opened.metadata()?;
    if found.uid() != nix::unistd::geteuid().as_raw() {
        let text = "it is another user's";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    if found.mode() & 0o077 != 0 {
        opened.set_permissions(Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// By its descriptor, so that nobody can put another thing in its place meanwhile.
fn give(directory: &Path, user: &User) -> io::Result<()> {
    let opened = open_dir(directory)?;
    std::os::unix::fs::fchown(&opened, Some(user.uid), Some(user.gid))
}

fn become_user(user: &User) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| nix::errno::Errno::EINVAL)?;
    let groups = getgrouplist(&name, gid)?;
    // The order matters: after setuid none of the others is allowed.
    setgroups(&groups)?;
    setgid(gid)?;
    setuid(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_our_own_is_private_and_no_link() {
        let place = tempfile::tempdir().unwrap();
        let (path, link) = (place.path().join("own"), place.path().join("link"));
        own_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        own_dir(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        own_dir(&link).unwrap_err();
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            own_dir(&path).unwrap_err();
        }
    }

    #[test]
    fn the_present_user_needs_no_change() {
        let uid = nix::unistd::geteuid().as_raw();
        let user = User {
            name: "me".into(),
            uid,
            gid: 0,
            home: "/".into(),
        };
        assert_eq!(drop_to(Some(&user)).unwrap(), None);
        assert_eq!(drop_to(None).unwrap(), None);
    }
}
