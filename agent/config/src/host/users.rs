//! Users and groups, by name or number, with Supervisor's texts for those that do not exist.

use super::Host;
use crate::error::ValueError;

/// One entry of the user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of its primary group.
    pub gid: u32,
    /// Its home directory.
    pub home: String,
}

/// One entry of the group database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixGroup {
    /// The group's name.
    pub name: String,
    /// The group's number.
    pub gid: u32,
}

/// Who a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number; `None`: the group that the socket has when it is made.
    pub gid: Option<u32>,
}

pub(crate) fn find_user(host: &dyn Host, text: &str) -> Result<User, ValueError> {
    let accepted = "the name or number of a user of this machine";
    match text.trim().parse::<u32>() {
        Ok(uid) => host
            .user_by_uid(uid)
            .ok_or_else(|| ValueError::new(format!("Invalid user id {text}"), accepted)),
        Err(_) => host
            .user_by_name(text)
            .ok_or_else(|| ValueError::new(format!("Invalid user name {text}"), accepted)),
    }
}

pub(crate) fn find_group(host: &dyn Host, text: &str) -> Result<UnixGroup, ValueError> {
    let accepted = "the name or number of a group of this machine";
    match text.trim().parse::<u32>() {
        Ok(gid) => host
            .group_by_gid(gid)
            .ok_or_else(|| ValueError::new(format!("Invalid group id {text}"), accepted)),
        Err(_) => host
            .group_by_name(text)
            .ok_or_else(|| ValueError::new(format!("Invalid group name {text}"), accepted)),
    }
}

/// `user` or `user:group`. A user alone does not let its group in: the socket's group stays as it is.
pub(crate) fn find_owner(host: &dyn Host, text: &str) -> Result<Owner, ValueError> {
    match text.split_once(':') {
        Some((user, group)) => Ok(Owner {
            uid: find_user(host, user)?.uid,
            gid: Some(find_group(host, group)?.gid),
        }),
        None => find_user(host, text).map(|user| Owner {
            uid: user.uid,
            gid: None,
        }),
    }
}
