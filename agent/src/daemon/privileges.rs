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

/// Why a directory is not used.
#[derive(Debug)]
pub(super) struct Unusable {
    /// What is wrong with it, for people.
    pub(super) text: String,
    /// Whether it is there and ours, so that programs may be held in it.
    pub(super) is_ours: bool,
}

/// Makes a directory where others may make some, too: private, writable and ours, or an error.
pub(super) fn own_dir(path: &Path) -> Result<(), Unusable> {
    take(path).map_err(|error| unusable(path, &error))
}

fn take(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let opened = open_dir(path)?;
    let found = opened.metadata()?;
    if found.uid() != own_uid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if found.mode() & 0o077 != 0 {
        opened.set_permissions(Permissions::from_mode(0o700))?;
    }
    Ok(nix::unistd::access(path, nix::unistd::AccessFlags::W_OK)?)
}

/// Says what is in the way, and whose it is.
fn unusable(path: &Path, error: &io::Error) -> Unusable {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Unusable {
            text: error.to_string(),
            is_ours: false,
        };
    };
    let (is_dir, is_own) = (found.is_dir(), found.uid() == own_uid());
    let owner = owner(found.uid());
    let text = match (is_dir, is_own) {
        (true, true) => error.to_string(),
        (true, false) => format!("it belongs to {owner}"),
        (false, _) if found.is_symlink() => format!("it is a link, made by {owner}"),
        (false, _) => format!("it is no directory, and belongs to {owner}"),
    };
    Unusable {
        text,
        is_ours: is_dir && is_own,
    }
}

/// A user, for people.
pub(super) fn owner(uid: u32) -> String {
    match nix::unistd::User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("the user {} (uid {uid})", user.name),
        _ => format!("the user with uid {uid}"),
    }
}

/// The user whose rights this process has.
pub(super) fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
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
        let refused = own_dir(&link).unwrap_err();
        assert!(refused.text.starts_with("it is a link, made by the user "));
        assert!(!refused.is_ours);
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = own_dir(&file).unwrap_err();
        assert!(
            refused
                .text
                .starts_with("it is no directory, and belongs to ")
        );
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4_000_000), None).unwrap();
            let refused = own_dir(&path).unwrap_err();
            assert_eq!(refused.text, "it belongs to the user with uid 4000000");
            assert!(!refused.is_ours);
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
