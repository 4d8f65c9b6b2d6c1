//! The front for Supervisor's own clients: its HTTP servers, its XML-RPC interface, its pages.
//!
//! * [`server`]: sockets, connections, authentication, and which path leads where
//! * [`rpc`]: the methods, and [`fault`] what they answer when they cannot
//! * `logtail`: output as it comes
//! * `pages`: the pages for people
//! * [`supervision`]: all that these ask of the agent, and [`live`] the agent behind it
//!
//! Nothing here decides about a process, and a name from the wire only ever selects from what is
//! there.

#[cfg(test)]
mod fake;
pub mod fault;
pub mod live;
mod logtail;
mod pages;
pub mod rpc;
pub mod server;
pub mod supervision;
