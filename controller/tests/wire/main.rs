//! The controller over real TLS on loopback, with agents and operators that are part of the test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod act;
mod authz;
mod desired;
mod harness;
mod hosts;
mod join;
mod operands;
mod session;
mod tail;
