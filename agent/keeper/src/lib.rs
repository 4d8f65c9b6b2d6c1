//! The small parent of every supervised program.
//!
//! * [`message`]: what agent and keeper say to each other
//! * [`packet`]: messages and descriptors as packets of the socket, for both ends
//! * [`sealed`]: bytes that nobody can change any more, for large messages

pub mod message;
pub mod packet;
pub mod sealed;
