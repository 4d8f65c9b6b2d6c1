//! The aggregate of every host: `rsv-controller`.
//!
//! * [`args`]: the command line
//! * [`audit`]: a line before and after each action
//! * [`authz`]: who may call what
//! * [`ca`]: the fleet's certificate authority
//! * [`clock`]: where moments come from
//! * [`credentials`]: the controller's own certificate on disk
//! * [`files`]: files that only their owner may read
//! * [`fleet`]: every enrolled host and its session; pure
//! * [`desired`]: what is wanted of a host; pure
//! * [`host`]: one host as it is known; pure
//! * [`hub`]: the owner of the fleet and of the operations
//! * [`init`]: makes a new fleet
//! * [`listener`]: connections, and who is at the other end
//! * [`moment`]: the time of a decision, told from outside
//! * [`operands`]: which programs are meant on which hosts; pure
//! * [`operation`]: a verb on many hosts; pure
//! * [`rpc`]: the services, between the wire and the hub
//! * [`serve`]: the assembly
//! * [`settings`]: what a controller runs with
//! * [`status`]: our errors in the words of gRPC
//! * [`store`]: what must be known after a restart
//! * [`targets`]: which hosts a selection means; pure
//! * [`token`]: join tokens, and when one is good; pure
//! * [`trace`]: a span for each short call

pub mod args;
pub mod audit;
pub mod authz;
pub mod ca;
pub mod calls;
pub mod clock;
pub mod credentials;
pub mod desired;
pub mod events;
pub mod files;
pub mod fleet;
pub mod host;
pub mod hub;
pub mod init;
pub mod listener;
pub mod metrics;
pub mod moment;
pub mod operands;
pub mod operation;
pub mod rpc;
pub mod serve;
pub mod settings;
pub mod standing;
pub mod status;
pub mod store;
pub mod targets;
pub mod token;
pub mod trace;
