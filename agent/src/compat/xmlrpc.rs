//! XML-RPC as Supervisor speaks it: from the text of a call to a [`Call`], and from a result or a
//! fault to the text of an answer.
//!
//! Nothing here knows a method. What comes from the wire is bounded in depth and number, and what
//! goes out is always well-formed, whatever bytes a log holds.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod value;

pub use decode::{DecodeError, decode};
pub use encode::{fault, response, visible};
pub use value::{Call, Value};
