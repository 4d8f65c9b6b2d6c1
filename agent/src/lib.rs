//! The supervisor of one host.
//!
//! * [`hub`]: the task that owns every machine
//! * [`roster`]: what is configured, and what of it is supervised
//! * [`journal`]: state changes with sequence numbers, for every watcher
//! * [`keeper_client`]: the connection to the keeper, and the port through which anything is sent to it
//! * [`spec`]: from a configured process to what the keeper is to start
//! * [`capture`]: from the pipes into the log files
//! * [`logbook`]: reading and following those files
//! * [`tail`]: from a request for output to the stream of its pieces
//! * [`local`]: the `Fleet` service for this one host, on a Unix socket
//! * [`link`]: the session to the controller
//! * [`desired`]: which programs the fleet wants to be down, kept over restarts
//! * [`compat`]: the front for Supervisor's own clients
//! * [`identity`]: key, certificate and epoch of this host
//! * [`mainlog`]: the agent's own log, in the form of Supervisor's
//! * [`probe`]: whether anybody listens on a Unix socket
//! * [`capacity`]: room for the descriptors of many programs
//! * [`args`], [`check`], [`join`], [`failure`]: the command line and what it says
//! * [`daemon`]: which task owns what, wired here and nowhere else

pub mod args;
pub mod capacity;
pub mod capture;
pub mod check;
pub mod compat;
pub mod daemon;
pub mod desired;
pub mod failure;
pub mod hub;
pub mod identity;
pub mod join;
pub mod journal;
pub mod keeper_client;
pub mod link;
pub mod listeners;
pub mod local;
pub mod logbook;
pub mod mainlog;
pub mod metrics;
pub mod os;
pub mod probe;
pub mod roster;
pub mod spare;
pub mod spec;
pub mod tail;
