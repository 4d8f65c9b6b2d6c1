//! The stream of a tail.
use super::{Follow, TailItem, TailStart};
use crate::capture::command::Inbox;
use futures_util::Stream;
use rsv_keeper::message::Channel;
use std::sync::Arc;
pub(super) fn stream(
    _inbox: Arc<Inbox>,
    _key: &str,
    _channel: Channel,
    _start: TailStart,
    _follow: Follow,
) -> impl Stream<Item = TailItem> + Send + use<> {
    futures_util::stream::empty()
}
