//! Which hosts and which programs are meant: parsed, printed and matched in one place, for the command
//! line and for the controller.
//!
//! A [`HostSelector`] is set algebra over terms, read from left to right: `web*!web[07-09]&@state:connected`.
//! A [`LabelExpression`] narrows by labels. A [`ProgramPattern`] is Supervisor's: `name`, `group:name`,
//! `group:*`, `group:`, `all`, and globs of those; a [`ProgramOperand`] may confine it to some hosts, as
//! `web1:app` does.

mod host;
mod label;
mod operand;
mod program;
mod selector;

pub use host::{HostPattern, PatternError};
pub use label::{LabelError, LabelExpression};
pub use operand::{OnHosts, ProgramOperand, Settled, exactly};
pub use program::{ProgramPattern, matches_glob};
pub use selector::{Fate, HostSelector, Lookup, Operator, SelectorError, Term};
