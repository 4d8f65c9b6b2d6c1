//! Why the daemon of this machine cannot be spoken to, as far as files tell: whose the socket is, and
//! whether the process of the pidfile is alive.

use std::{
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Group, Uid, User, geteuid};

use crate::{error::Failure, location::Location};

/// Of a socket that is not there.
pub(super) fn missing(location: &Location) -> String {
    match daemon(location) {
        Some((pid, file, true)) => format!(
            "process {pid} of `{}` is alive: its socket was removed, or it runs with another \
             configuration",
            file.display()
        ),
        Some((pid, file, false)) => format!(
            "the daemon is not running: process {pid} of `{}` has ended",
            file.display()
        ),
        None => "is rsv-agent, or supervisord, running with this configuration?".to_owned(),
    }
}

/// Of a socket or a port that nobody listens on.
pub(super) fn refused(location: &Location) -> String {
    let socket = location.server.as_ref().and_then(|server| server.socket());
    let other =
        socket.filter(|path| fs::metadata(path).is_ok_and(|it| !it.file_type().is_socket()));
    if let Some(path) = other {
        return format!("`{}` is not a socket", path.display());
    }
    match daemon(location) {
        Some((pid, file, true)) => format!(
            "process {pid} of `{}` is alive and does not listen there",
            file.display()
        ),
        Some((_, _, false)) | None => "nothing listens there: the daemon is not running".to_owned(),
    }
}

/// A failure with what stands in the way, if that is a permission.
pub(super) fn explained(failure: Failure, location: &Location) -> Failure {
    let server = location.server.as_ref().and_then(|server| server.socket());
    let own = location.socket.as_ref();
    let mut obstacles = server
        .into_iter()
        .chain(own)
        .filter_map(|path| obstacle(path));
    match obstacles.next() {
        Some(words) => failure.hint(words),
        None => failure,
    }
}

/// The process of the pidfile: its id, the file, and whether it is there.
fn daemon(location: &Location) -> Option<(u32, &PathBuf, bool)> {
    let file = location.pidfile.as_ref()?;
    let pid: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let is_alive = Path::new("/proc").join(pid.to_string()).exists();
    Some((pid, file, is_alive))
}

/// The part of a path that lets us not through.
fn obstacle(path: &Path) -> Option<String> {
    if geteuid().is_root() {
        return None;
    }
    let parents = path.ancestors().skip(1);
    let directories: Vec<&Path> = parents.filter(|p| !p.as_os_str().is_empty()).collect();
    for directory in directories.into_iter().rev() {
        let about = fs::metadata(directory).ok()?;
        if !may(&about, 0o1) {
            return Some(words(directory, &about));
        }
    }
    let about = fs::metadata(path).ok()?;
    (!may(&about, 0o2)).then(|| words(path, &about))
}

/// Whether this process has a right, which is a bit of the last digit of a mode.
fn may(about: &Metadata, right: u32) -> bool {
    let groups = nix::unistd::getgroups().unwrap_or_default();
    let is_member = nix::unistd::getegid().as_raw() == about.gid()
        || groups.contains(&Gid::from_raw(about.gid()));
    let shift = match (geteuid().as_raw() == about.uid(), is_member) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    about.mode() >> shift & right != 0
}

fn words(path: &Path, about: &Metadata) -> String {
    let user = |uid: u32| match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    };
    let group = match Group::from_gid(Gid::from_raw(about.gid())) {
        Ok(Some(group)) => group.name,
        _ => about.gid().to_string(),
    };
    format!(
        "`{}` belongs to {}:{group} with mode {:04o}, and you are {}",
        path.display(),
        user(about.uid()),
        about.mode() & 0o7777,
        user(geteuid().as_raw())
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(directory: &Path, pid: &str) -> Location {
        let pidfile = directory.join("pid");
        fs::write(&pidfile, pid).unwrap();
        Location {
            socket: None,
            server: None,
            url: String::new(),
            pidfile: Some(pidfile),
        }
    }

    #[test]
    fn the_pidfile_tells_whether_the_daemon_is_alive() {
        let directory = tempfile::tempdir().unwrap();
        let alive = at(directory.path(), &format!("{}\n", std::process::id()));
        assert!(missing(&alive).contains("is alive"));
        assert!(refused(&alive).contains("is alive"));
        // No process has this number.
        let dead = at(directory.path(), "4194305");
        assert!(missing(&dead).contains("has ended"));
        assert!(missing(&at(directory.path(), "x")).contains("running with this"));
    }

    #[test]
    fn rights_are_those_of_the_owner_the_group_or_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        fs::write(&file, "").unwrap();
        for (mode, may_write) in [(0o200, true), (0o400, false), (0o022, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                may(&fs::metadata(&file).unwrap(), 0o2),
                may_write,
                "{mode:o}"
            );
        }
        let said = words(&file, &fs::metadata(&file).unwrap());
        assert!(said.contains("mode 0022"), "{said}");
    }
}
