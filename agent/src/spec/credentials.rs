//! The user of a program and all groups of that user.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist, getuid};
use rsv_keeper::message::Credentials;

/// Looks up a user by name or number, with its groups, and optionally another primary group. Absent
/// when the agent has that user and group already: an agent without privileges can then start it too.
///
/// May ask a directory server: for a blocking thread.
///
/// # Errors
///
/// What is not known, in Supervisor's words.
pub fn lookup(user: &str, group: Option<&str>) -> io::Result<Option<Credentials>> {
    let user = find_user(user)?;
    let gid = group.map(find_group).transpose()?.unwrap_or(user.gid);
    if user.uid == getuid() && group.is_none_or(|_| gid == nix::unistd::getgid()) {
        return Ok(None);
    }
    let name = CString::new(user.name.as_str()).map_err(io::Error::other)?;
    let mut groups: Vec<u32> = getgrouplist(&name, gid)?
        .into_iter()
        .map(Gid::as_raw)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(Some(Credentials {
        uid: user.uid.as_raw(),
        gid: gid.as_raw(),
        groups,
    }))
}

fn find_user(user: &str) -> io::Result<User> {
    match user.parse::<u32>() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid))?
            .ok_or_else(|| io::Error::other(format!("Can't find uid {uid}"))),
        Err(_) => User::from_name(user)?
            .ok_or_else(|| io::Error::other(format!("Can't find username '{user}'"))),
    }
}

fn find_group(group: &str) -> io::Result<Gid> {
    if let Ok(gid) = group.parse::<u32>() {
        return Ok(Gid::from_raw(gid));
    }
    let found = Group::from_name(group)?;
    found
        .map(|group| group.gid)
        .ok_or_else(|| io::Error::other(format!("Can't find group '{group}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_user_needs_no_credentials() {
        let own = getuid().to_string();
        assert_eq!(lookup(&own, None).unwrap(), None);
    }

    #[test]
    fn another_user_comes_with_all_its_groups() {
        let other = if getuid().is_root() { "nobody" } else { "root" };
        let found = lookup(other, None).unwrap().unwrap();
        assert!(found.groups.contains(&found.gid));
    }

    #[test]
    fn who_is_not_known_is_named() {
        let error = lookup("no-such-user-here", None).unwrap_err();
        assert_eq!(error.to_string(), "Can't find username 'no-such-user-here'");
        let error = lookup("4294900000", None).unwrap_err();
        assert_eq!(error.to_string(), "Can't find uid 4294900000");
    }
}
