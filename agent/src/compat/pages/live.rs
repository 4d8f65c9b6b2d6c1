//! The status page while it is looked at: server-sent events with what has changed.
//!
//! The first event holds everything, so that nothing is missed between the page and its stream.
//! What is sent is made when it can be sent: a reader that does not keep up gets fewer updates, not
//! older ones, and holds no memory. Without a change there is a sign of life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use http::HeaderMap;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderName, RETRY_AFTER};
use hyper::body::Bytes;
use rsv_proto::wire::ProcessStatus;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::html::Html;
use super::{Pages, ctime};
use crate::compat::server::{Body, Reply, put, reply};
use crate::hub::Key;

/// Streams at once. Each may render the whole table some times a second.
pub(super) const STREAMS: usize = 64;

/// The time between two signs of life. The page calls itself out of date after two and a half.
const BEAT: Duration = Duration::from_secs(10);

/// The least time between two updates: a crash loop is not worth more.
const PACE: Duration = Duration::from_millis(250);

/// The updates of one page.
struct Live {
    pages: Arc<Pages>,
    token: String,
    changes: watch::Receiver<u64>,
    /// What the page shows; `None`: nothing yet.
    shown: Option<BTreeMap<Key, ProcessStatus>>,
    /// What stands above the table.
    summary: String,
    /// When the latest update was made.
    updated: Instant,
    /// Its place among the streams.
    _place: OwnedSemaphorePermit,
}

impl Pages {
    /// The updates for a status page.
    pub(crate) fn live(self: &Arc<Self>, headers: &HeaderMap) -> Reply {
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            let busy = "too many pages are looked at";
            let mut reply = reply(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain;charset=utf-8",
                Body::whole(busy),
            );
            put(&mut reply, RETRY_AFTER, "10");
            return reply;
        };
        let live = Live {
            token: self.sessions.token(&self.sessions.of(headers)),
            changes: self.supervision.changes(),
            pages: Arc::clone(self),
            shown: None,
            summary: String::new(),
            updated: Instant::now(),
            _place: place,
        };
        let events = stream::unfold(live, |mut live| async {
            let event = live.next().await?;
            Some((event, live))
        });
        let mut reply = reply(
            StatusCode::OK,
            "text/event-stream",
            Body::stream(events.boxed()),
        );
        put(&mut reply, CACHE_CONTROL, "no-cache, no-store");
        put(
            &mut reply,
            HeaderName::from_static("x-accel-buffering"),
            "no",
        );
        reply
    }
}

impl Live {
    /// The next event; `None`: the agent tells no more.
    async fn next(&mut self) -> Option<Bytes> {
        while self.shown.is_some() {
            match timeout(BEAT, self.changes.changed()).await {
                Err(_) => return Some(event("beat", json!({}))),
                Ok(changed) => changed.ok()?,
            }
            sleep_until(self.updated + PACE).await;
            if let Some(event) = self.update().await? {
                return Some(event);
            }
        }
        self.update().await?
    }

    /// What has changed, if anything has; the outer `None`: the agent tells no more.
    async fn update(&mut self) -> Option<Option<Bytes>> {
        self.changes.borrow_and_update();
        let processes = self.pages.supervision.processes().await.ok()?;
        self.updated = Instant::now();
        let view = self.pages.view(self.token.clone());
        let summary = view.summary(&processes).into_piece();
        let is_same = summary == self.summary;
        summary.clone_into(&mut self.summary);
        let now: BTreeMap<_, _> = processes
            .iter()
            .map(|one| (key(one), one.clone()))
            .collect();
        let before = self.shown.replace(now);
        let before = before.filter(|before| {
            before.len() == processes.len()
                && processes.iter().all(|one| before.contains_key(&key(one)))
        });
        let Some(before) = before else {
            let table = view.table(&processes).into_piece();
            let all = json!({ "token": self.token, "summary": summary, "table": table });
            return Some(Some(event("all", all)));
        };
        let changed = processes
            .iter()
            .filter(|one| before.get(&key(one)) != Some(one));
        let rows: Vec<_> = changed
            .map(|one| view.row(one))
            .map(Html::into_piece)
            .collect();
        if rows.is_empty() && is_same {
            return Some(None);
        }
        let some = json!({ "summary": summary, "rows": rows });
        Some(Some(event("some", some)))
    }
}

fn key(process: &ProcessStatus) -> Key {
    Key {
        group: process.group.clone(),
        name: process.name.clone(),
    }
}

/// An event; JSON has no line breaks of its own.
fn event(name: &str, mut data: Value) -> Bytes {
    data["asof"] = ctime().into();
    format!("event: {name}\ndata: {data}\n\n").into()
}
