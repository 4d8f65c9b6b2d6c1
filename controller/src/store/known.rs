//! What was last known of hosts, in the store: a form of its own for each host, under its name.
//!
//! A row is the number of its form and a protobuf message. One that cannot be read is told and left out: it
//! costs an age and a list, and the host itself tells both again.

use std::{sync::Arc, time::SystemTime};

use prost::Message;
use prost_types::Timestamp;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use rsv_proto::{
    name::HostName,
    time::{from_wire, to_wire},
    wire::{Configured, ProcessStatus},
};

use super::{
    StoreError,
    embedded::{HOSTS, used},
};
use crate::host::{LastKnown, Picture};

/// By host.
pub(super) const KNOWN: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("last_known");
/// Moments by name: a protobuf timestamp.
const MOMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("moments");

/// The name of the moment at which all rows were as the hosts were.
const STILL: &str = "last_known";

/// The form in which rows are written; another one is not read.
const FORM: u8 = 1;

/// The largest row. Of a host that needs more no programs are kept.
const ROW_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(bool, tag = "1")]
    is_connected: bool,
    #[prost(bool, tag = "2")]
    is_live: bool,
    #[prost(message, optional, tag = "3")]
    last_seen: Option<Timestamp>,
    #[prost(string, tag = "4")]
    version: String,
    #[prost(btree_map = "string, string", tag = "5")]
    labels: std::collections::BTreeMap<String, String>,
    #[prost(uint64, optional, tag = "6")]
    obeyed: Option<u64>,
    #[prost(message, optional, tag = "7")]
    picture: Option<PictureRow>,
    #[prost(message, optional, tag = "8")]
    configured: Option<Configured>,
}

#[derive(Clone, PartialEq, Message)]
struct PictureRow {
    #[prost(string, tag = "1")]
    instance: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(message, optional, tag = "4")]
    as_of: Option<Timestamp>,
    #[prost(message, repeated, tag = "5")]
    programs: Vec<ProcessStatus>,
}

/// Makes the tables of a new file.
pub(super) fn prepare(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(used)?;
    transaction.open_table(KNOWN).map_err(used)?;
    transaction.open_table(MOMENTS).map_err(used)?;
    transaction.commit().map_err(used)
}

/// Of every host of which something can be read.
pub(super) fn all(database: &Database) -> Result<Vec<(HostName, LastKnown)>, StoreError> {
    let transaction = database.begin_read().map_err(used)?;
    let moments = transaction.open_table(MOMENTS).map_err(used)?;
    let still = moments.get(STILL).map_err(used)?;
    let still = still.and_then(|row| from_wire(&Timestamp::decode(row.value()).ok()?));
    let table = transaction.open_table(KNOWN).map_err(used)?;
    let mut found = Vec::new();
    for row in table.iter().map_err(used)? {
        let (name, row) = row.map_err(used)?;
        let read = name.value().parse().ok().zip(read(row.value()));
        let Some((host, last)) = read else {
            let host = name.value().escape_debug();
            tracing::warn!(%host, "what was last known of this host cannot be read and is left out");
            continue;
        };
        found.push((host, still.map_or(last.clone(), |at| last.still(at))));
    }
    Ok(found)
}

/// Writes hosts down. With `still` all the others are at that moment as they were written.
pub(super) fn note(
    database: &Database,
    hosts: &[(HostName, LastKnown)],
    still: Option<SystemTime>,
) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(used)?;
    {
        let enrolled = transaction.open_table(HOSTS).map_err(used)?;
        let mut table = transaction.open_table(KNOWN).map_err(used)?;
        for (host, last) in hosts {
            // It may have been removed since this was handed over.
            if enrolled.get(host.as_str()).map_err(used)?.is_none() {
                continue;
            }
            let row = written(last);
            table.insert(host.as_str(), row.as_slice()).map_err(used)?;
        }
        if let Some(at) = still {
            let mut moments = transaction.open_table(MOMENTS).map_err(used)?;
            let row = to_wire(at).encode_to_vec();
            moments.insert(STILL, row.as_slice()).map_err(used)?;
        }
    }
    transaction.commit().map_err(used)
}

fn written(last: &LastKnown) -> Vec<u8> {
    let mut row = Row {
        is_connected: last.is_connected,
        is_live: last.is_live,
        last_seen: Some(to_wire(last.last_seen)),
        version: last.version.clone(),
        labels: last.labels.clone(),
        obeyed: last.obeyed,
        configured: last.configured,
        picture: last.picture.as_ref().map(|picture| PictureRow {
            instance: picture.instance.clone(),
            epoch: picture.epoch,
            seq: picture.seq,
            as_of: Some(to_wire(picture.as_of)),
            programs: picture.programs.values().cloned().collect(),
        }),
    };
    if row.encoded_len() >= ROW_BYTES {
        row.picture = None;
    }
    let mut bytes = vec![FORM];
    bytes.extend(row.encode_to_vec());
    bytes
}

fn read(bytes: &[u8]) -> Option<LastKnown> {
    let (form, message) = bytes.split_first()?;
    if *form != FORM || message.len() > ROW_BYTES {
        return None;
    }
    let row = Row::decode(message).ok()?;
    let picture = match row.picture {
        Some(picture) => Some(picture_of(picture)?),
        None => None,
    };
    let last = LastKnown {
        is_connected: row.is_connected,
        is_live: row.is_live,
        last_seen: from_wire(&row.last_seen?)?,
        version: row.version,
        labels: row.labels,
        obeyed: row.obeyed,
        configured: row.configured,
        picture,
    };
    last.is_possible().then_some(last)
}

fn picture_of(row: PictureRow) -> Option<Picture> {
    let programs = row.programs.into_iter();
    let programs = programs.map(|p| ((p.group.clone(), p.name.clone()), p));
    Some(Picture {
        instance: row.instance,
        epoch: row.epoch,
        seq: row.seq,
        as_of: from_wire(&row.as_of?)?,
        programs: Arc::new(programs.collect()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rsv_proto::wire::ProcessState;

    use super::*;
    use crate::store::{Embedded, Store as _};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn last(is_connected: bool) -> LastKnown {
        let app = ProcessStatus {
            group: "app".into(),
            name: "app".into(),
            state: ProcessState::Fatal.into(),
            ..ProcessStatus::default()
        };
        let picture = Picture {
            instance: "i1".into(),
            epoch: 3,
            seq: 9,
            as_of: at(100),
            programs: Arc::new([(("app".into(), "app".into()), app)].into()),
        };
        LastKnown {
            is_connected,
            is_live: is_connected,
            last_seen: at(110),
            version: "9.9".into(),
            labels: [("role".into(), "web".into())].into(),
            obeyed: Some(7),
            configured: Some(Configured {
                generation: 2,
                digest: 9,
            }),
            picture: Some(picture),
        }
    }

    /// What is noted of others is left out.
    fn enrol(store: &Embedded, hosts: &[(HostName, LastKnown)]) {
        let transaction = store.database().begin_write().unwrap();
        for (host, _) in hosts {
            let mut table = transaction.open_table(HOSTS).unwrap();
            table.insert(host.as_str(), &b"{}"[..]).unwrap();
        }
        transaction.commit().unwrap();
    }

    #[test]
    fn what_was_known_is_remembered_and_a_host_that_was_there_was_so_until_the_last_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let (away, there): (HostName, HostName) =
            ("web01".parse().unwrap(), "web02".parse().unwrap());
        let noted = [(away, last(false)), (there, last(true))];
        {
            let store = Embedded::open(&path).unwrap();
            enrol(&store, &noted);
            store.note_known(&noted, None).unwrap();
            store.note_known(&[], Some(at(500))).unwrap();
        }
        let [(_, away), (_, there)]: [_; 2] = Embedded::open(&path)
            .unwrap()
            .known()
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(away, noted[0].1);
        assert_eq!(there.last_seen, at(500));
        assert_eq!(there.picture.unwrap().as_of, at(500));
    }

    #[test]
    fn a_row_that_cannot_be_read_is_left_out_and_costs_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(&dir.path().join("store")).unwrap();
        let good = written(&last(false));
        let mut newer = good.clone();
        newer[0] = FORM + 1;
        let mut nameless = last(false);
        let broken = [(("".into(), "".into()), ProcessStatus::default())].into();
        nameless.picture.as_mut().unwrap().programs = Arc::new(broken);
        let rows = [
            ("a", Vec::new()),
            ("b", newer),
            ("c", good[..good.len() - 1].to_vec()),
            ("d", vec![FORM]),
            ("e", written(&nameless)),
            ("not a host", good.clone()),
            ("web01", good),
        ];
        let transaction = store.database().begin_write().unwrap();
        for (name, row) in &rows {
            let mut table = transaction.open_table(KNOWN).unwrap();
            table.insert(*name, row.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        let known = store.known().unwrap();
        assert_eq!(known, [("web01".parse().unwrap(), last(false))]);
    }

    #[test]
    fn a_host_that_needs_too_much_room_is_noted_without_its_programs() {
        let mut large = last(false);
        let programs = Arc::make_mut(&mut large.picture.as_mut().unwrap().programs);
        let app = programs.values_mut().next().unwrap();
        app.log_trouble = "x".repeat(ROW_BYTES);
        let kept = read(&written(&large)).unwrap();
        assert_eq!((kept.picture, kept.version), (None, "9.9".to_owned()));
    }
}
