//! XML-RPC as Supervisor speaks it, for both ends: a [`Call`] and its text, a result or a [`Fault`] and
//! the text of an answer.
//!
//! Nothing here knows a method. What comes from the wire is bounded in depth and number, and what
//! goes out is always well-formed, whatever bytes a log holds.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod value;

pub use decode::{DecodeError, answer, decode};
pub use encode::{call, fault, response, visible};
pub use value::{Call, Fault, Value};
