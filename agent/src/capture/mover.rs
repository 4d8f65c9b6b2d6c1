//! The thread.
use super::DrainPort;
use super::command::Outbox;
pub(super) fn spawn(_outbox: Outbox, _port: Box<dyn DrainPort>) -> std::io::Result<()> {
    Ok(())
}
