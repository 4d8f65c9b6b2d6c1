//! The words of the command line: every verb, every flag, and all help text.
//!
//! Nothing is decided here; what belongs together but cannot be said in clap's terms is checked in
//! `run` and in the commands.

mod duration;
mod events;
mod global;
mod hosts;
mod moment;
mod rollout;
mod scripts;
mod tail;
mod typed;
mod watch;
mod words;

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Arg, ArgMatches, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    error::ErrorKind,
};

pub(crate) use duration::{parse_duration, parse_span};
pub(crate) use events::{EventType, EventsArgs};
pub(crate) use global::{Color, Fold, Form, Global, Output};
pub(crate) use hosts::{Limit, parse_limit};
pub(crate) use moment::{Moment, parse_moment};
pub(crate) use rollout::{ActArgs, AgentArgs, OpVerb, RolloutArgs, UpdateArgs};
pub(crate) use scripts::ForScripts;
pub(crate) use tail::{Prefix, Sources, TailLook};
pub(crate) use watch::{StatusArgs, TopArgs, WaitArgs, WaitFor};

/// Programs on this machine, or on every machine of a fleet.
#[derive(Debug, Parser)]
#[command(
    name = "rsv",
    version,
    about = "Start, stop and watch programs on this machine or on a whole fleet",
    long_about = words::ABOUT,
    after_help = words::AFTER_SHORT,
    after_long_help = words::AFTER_LONG,
    disable_help_subcommand = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// Flags whose values add up wherever they stand. A global flag of clap's cannot do that: what
/// stands behind the verb would replace what stands before it.
const ADDED_UP: [&str; 3] = ["host", "exclude", "label"];

impl Arguments {
    /// The whole grammar.
    pub(crate) fn grammar() -> Command {
        let root = Self::command();
        let flags = added_up(&root);
        root.mut_subcommands(|verb| with_flags(verb, &flags))
    }

    /// The grammar with no other verbs than these words name; what it can read, it reads as the whole one
    /// does. The flags that stand below every verb are nearly all of a grammar, and to build them for all
    /// verbs costs a short run more than anything else it does.
    fn grammar_of(words: &[OsString]) -> Command {
        let root = Command::new("rsv")
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_subcommand(true);
        let root = Global::augment_args(root);
        let flags = added_up(&root);
        let is_named = |verb: &&Command| words.iter().any(|word| word == verb.get_name());
        let verbs = Verb::augment_subcommands(Command::new("verbs"));
        let named = verbs.get_subcommands().filter(is_named).cloned();
        root.subcommands(named.map(|verb| with_flags(verb, &flags)))
    }

    /// Reads a command line.
    pub(crate) fn read(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let read = Self::read_words(&words)?;
        match &read.verb {
            Some(Verb::Unknown(rest)) => match typed::split_verb(&words, rest) {
                Some(words) => Self::read_words(&words),
                None => Ok(read),
            },
            _ => Ok(read),
        }
    }

    fn read_words(words: &[OsString]) -> Result<Self, clap::Error> {
        match Self::read_by(Self::grammar_of(words), words) {
            Err(error) if error.kind() != ErrorKind::DisplayVersion => {
                Self::read_by(Self::grammar(), words)
            }
            read => read,
        }
    }

    fn read_by(grammar: Command, words: &[OsString]) -> Result<Self, clap::Error> {
        let mut matches = grammar.try_get_matches_from(words)?;
        let [host, exclude, label] = ADDED_UP.map(|flag| gather(&matches, flag));
        let by_hand = matches.clone();
        let mut arguments = Self::from_arg_matches_mut(&mut matches)?;
        if let Some(verb) = &mut arguments.verb {
            verb.take_apart();
        }
        match &mut arguments.verb {
            Some(Verb::Tail(tail)) => tail.typed = typed::typed(&by_hand),
            Some(Verb::Maintail(tail)) => {
                tail.words = typed::typed(&by_hand);
                tail.words.retain(|word| word != "-f");
            }
            _ => {}
        }
        arguments.global.host = host;
        arguments.global.exclude = exclude;
        arguments.global.label = label;
        Ok(arguments)
    }
}

/// The flags of the root that add up.
fn added_up(root: &Command) -> Vec<Arg> {
    let is_added_up = |arg: &&Arg| ADDED_UP.contains(&arg.get_id().as_str());
    root.get_arguments().filter(is_added_up).cloned().collect()
}

/// A verb and the verbs below it, each with these flags; where a verb has one of that name, it keeps it.
fn with_flags(verb: Command, flags: &[Arg]) -> Command {
    let is_new = |flag: &Arg| {
        verb.get_arguments()
            .all(|a| flag.get_long().is_none() || a.get_long() != flag.get_long())
    };
    let flags_here = flags.iter().map(|flag| typed::lenient(&verb, flag.clone()));
    let own: Vec<Arg> = flags_here.filter(is_new).collect();
    verb.args(own)
        .mut_subcommands(|below| with_flags(below, flags))
}

/// The values of a flag, from the root down.
fn gather(matches: &ArgMatches, flag: &str) -> Vec<String> {
    let here = matches.try_get_many::<String>(flag).ok().flatten();
    let mut values: Vec<String> = here.unwrap_or_default().cloned().collect();
    if let Some((_, below)) = matches.subcommand() {
        values.extend(gather(below, flag));
    }
    values
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show the state of programs
    #[command(after_help = words::STATUS)]
    Status(StatusArgs),
    /// Start programs
    #[command(after_help = words::START)]
    Start(ActArgs),
    /// Stop programs
    #[command(after_help = words::STOP)]
    Stop(ActArgs),
    /// Stop programs and start them again, as one operation
    #[command(after_help = words::RESTART)]
    Restart(ActArgs),
    /// Let programs run again that were disabled
    #[command(after_help = words::ENABLE)]
    Enable(DesireArgs),
    /// Stop programs and keep them down, for good
    #[command(after_help = words::DISABLE)]
    Disable(DesireArgs),
    /// Send a signal to programs
    #[command(after_help = words::SIGNAL)]
    Signal(Signal),
    /// Print process ids: of programs, or of the agent itself
    #[command(after_help = words::PID)]
    Pid(Programs),
    /// Show the end of a program's output, or follow it
    #[command(after_help = words::TAIL)]
    Tail(Tail),
    /// Empty the log files of programs
    #[command(after_help = words::CLEAR)]
    Clear(Programs),
    /// Show the end of the agent's own log, or follow it
    #[command(after_help = words::MAINTAIL)]
    Maintail(MainTail),
    /// Read the configuration files again and say what differs
    #[command(after_help = words::REREAD)]
    Reread(Reread),
    /// Bring what is supervised in line with the configuration files
    #[command(after_help = words::UPDATE)]
    Update(UpdateArgs),
    /// Begin to supervise groups of the configuration that was read last
    #[command(after_help = words::ADD)]
    Add(Groups),
    /// Cease to supervise groups that are stopped
    #[command(after_help = words::REMOVE)]
    Remove(Groups),
    /// List every configured process, and whether it is in use
    #[command(after_help = words::AVAIL)]
    Avail(Rest),
    /// Stop everything and start anew with the configuration as it is now
    #[command(after_help = words::RELOAD)]
    Reload(AgentArgs),
    /// Show the version of the agent, or of the agents of hosts
    #[command(after_help = words::VERSION)]
    Version(Rest),
    /// Be at the terminal of a program: see what it writes, and type to it
    #[command(after_help = words::FG)]
    Fg(Programs),
    /// Show the programs of another server; at the prompt go on with it
    #[command(after_help = words::OPEN)]
    Open(Url),
    /// Stop every program in order, then the agent of this machine
    #[command(after_help = words::SHUTDOWN)]
    Shutdown(AgentArgs),
    /// Show what has happened, or follow what happens
    #[command(after_help = words::EVENTS)]
    Events(EventsArgs),
    /// Wait until programs are as they should be
    #[command(after_help = words::WAIT)]
    Wait(WaitArgs),
    /// Watch programs in a table that goes on, and act on them by keys
    #[command(after_help = words::TOP)]
    Top(TopArgs),
    /// Hosts of the fleet
    Host {
        #[command(subcommand)]
        verb: HostVerb,
    },
    /// Operations: actions on many hosts, under way or ended
    #[command(after_help = words::OP)]
    Op {
        #[command(subcommand)]
        verb: OpVerb,
    },
    /// Tokens with which hosts join the fleet
    Token {
        #[command(subcommand)]
        verb: TokenVerb,
    },
    /// Contexts: which fleet, and who you are there
    #[command(after_help = words::CTX)]
    Ctx {
        #[command(subcommand)]
        verb: ContextVerb,
    },
    /// Say what a configuration of Supervisor meets here, and how to switch over
    #[command(after_help = words::IMPORT)]
    Import {
        /// The file [default: --configuration, then Supervisor's usual places]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print a completion script for a shell
    #[command(after_help = words::COMPLETION)]
    Completion {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Write the pages of the manual into a directory
    #[command(after_help = words::MAN)]
    Man {
        /// Where to; made when it is not there
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Explain a verb
    Help {
        /// The verb, such as `restart` or `token create`
        #[arg(value_name = "VERB")]
        verb: Vec<String>,
    },
    /// Anything else.
    #[command(external_subcommand)]
    Unknown(Vec<String>),
}

impl Verb {
    /// The verb as it is typed, with its noun; the same for every word that is none.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Restart(_) => "restart",
            Self::Enable(_) => "enable",
            Self::Disable(_) => "disable",
            Self::Signal(_) => "signal",
            Self::Pid(_) => "pid",
            Self::Tail(_) => "tail",
            Self::Clear(_) => "clear",
            Self::Maintail(_) => "maintail",
            Self::Reread(_) => "reread",
            Self::Update(_) => "update",
            Self::Add(_) => "add",
            Self::Remove(_) => "remove",
            Self::Avail(_) => "avail",
            Self::Reload(_) => "reload",
            Self::Version(_) => "version",
            Self::Fg(_) => "fg",
            Self::Open(_) => "open",
            Self::Shutdown(_) => "shutdown",
            Self::Events(_) => "events",
            Self::Wait(_) => "wait",
            Self::Top(_) => "top",
            Self::Host { verb } => match verb {
                HostVerb::Ls(_) => "host ls",
                HostVerb::Show(_) => "host show",
                HostVerb::Label(_) => "host label",
                HostVerb::Drain(_) => "host drain",
                HostVerb::Resume(_) => "host resume",
                HostVerb::Revoke(_) => "host revoke",
                HostVerb::Rm(_) => "host rm",
            },
            Self::Op { verb } => verb.name(),
            Self::Token { verb } => match verb {
                TokenVerb::Create(_) => "token create",
            },
            Self::Ctx { verb } => match verb {
                ContextVerb::Import { .. } => "ctx import",
                ContextVerb::Ls => "ctx ls",
                ContextVerb::Use { .. } => "ctx use",
            },
            Self::Import { .. } => "import",
            Self::Completion { .. } => "completion",
            Self::Man { .. } => "man",
            Self::Help { .. } => "help",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Verbs that take programs.
#[derive(Debug, Args)]
pub(crate) struct Programs {
    /// NAME, GROUP:NAME, GROUP:*, `all`, or a quoted glob such as 'work*'
    #[arg(value_name = "PROGRAM")]
    pub(crate) programs: Vec<String>,
}

/// What `open` takes.
#[derive(Debug, Args)]
pub(crate) struct Url {
    /// http://HOST:PORT, unix:///PATH
    #[arg(value_name = "URL")]
    pub(crate) words: Vec<String>,
}

/// Words after a verb that takes none; refused in the verb's own way.
#[derive(Debug, Args)]
pub(crate) struct Rest {
    #[arg(hide = true)]
    pub(crate) words: Vec<String>,
}

/// What `signal` takes.
#[derive(Debug, Args)]
pub(crate) struct Signal {
    /// A name such as HUP or SIGUSR1, or a number; then programs
    #[arg(value_name = "SIGNAL PROGRAM", allow_negative_numbers = true)]
    pub(crate) words: Vec<String>,
}

/// What `tail` takes.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Go on as the program writes; Ctrl-C ends it
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with the last N lines, instead of the last 1600 bytes
    #[arg(long, value_name = "N")]
    pub(crate) lines: Option<u64>,
    /// Begin with what came into the log since then: 10m ago, or a time such as 14:30
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_moment, conflicts_with = "lines")]
    pub(crate) since: Option<Moment>,
    /// Only lines that match this regular expression; repeatable, one of them has to
    #[arg(long, value_name = "RE")]
    pub(crate) include: Vec<String>,
    /// No lines that match this regular expression; repeatable. Hosts are left out by -x
    #[arg(long = "exclude", value_name = "RE")]
    pub(crate) without: Vec<String>,
    /// On the fleet: at most so many programs at a time, up to 1000 [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) max_streams: Option<u32>,
    /// Leave control characters as they are, also on a terminal
    #[arg(long)]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) look: TailLook,
    /// [-BYTES] PROGRAM [stdout|stderr]; on the fleet several programs, globs and HOST:PROGRAM
    #[arg(value_name = "PROGRAM", allow_negative_numbers = true)]
    pub(crate) words: Vec<String>,
    /// All of it as supervisorctl would see it.
    #[arg(skip)]
    pub(crate) typed: Vec<String>,
}

/// What `maintail` takes.
#[derive(Debug, Args)]
pub(crate) struct MainTail {
    /// Go on as the agent writes; Ctrl-C ends it
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with the last N lines, instead of the last 1600 bytes
    #[arg(long, value_name = "N")]
    pub(crate) lines: Option<u64>,
    /// Begin with what was written since then: 10m ago, or a time such as 14:30
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_moment, conflicts_with = "lines")]
    pub(crate) since: Option<Moment>,
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// -BYTES; -0: all there is
    #[arg(value_name = "-BYTES", allow_negative_numbers = true)]
    pub(crate) words: Vec<String>,
}

/// What `reread` takes.
#[derive(Debug, Args)]
pub(crate) struct Reread {
    /// Say for each process what differs, and whether it needs a restart
    #[arg(long)]
    pub(crate) diff: bool,
    #[arg(hide = true)]
    pub(crate) words: Vec<String>,
}

/// Verbs that take groups.
#[derive(Debug, Args)]
pub(crate) struct Groups {
    /// The name of a group; a program that is in none is a group of its own
    #[arg(value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
}

/// What can be asked about hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum HostVerb {
    /// List enrolled hosts: state, last seen, version, programs, certificate
    #[command(after_help = words::HOST_LS, visible_alias = "list")]
    Ls(HostArgs),
    /// Show all that is known of hosts, one below the other
    #[command(after_help = words::HOST_SHOW)]
    Show(HostArgs),
    /// Set labels of hosts and take them away
    #[command(after_help = words::HOST_LABEL)]
    Label(LabelArgs),
    /// Stop every program of hosts and keep them down, such as for maintenance
    #[command(after_help = words::HOST_DRAIN)]
    Drain(DrainArgs),
    /// Let the programs of drained hosts run again
    #[command(after_help = words::HOST_RESUME)]
    Resume(DrainArgs),
    /// Refuse the certificates of hosts from now on, until they join again
    #[command(after_help = words::HOST_REVOKE)]
    Revoke(RevokeArgs),
    /// Forget hosts that are not connected
    #[command(after_help = words::HOST_RM, visible_alias = "remove")]
    Rm(HostArgs),
}

/// What `enable` and `disable` take.
#[derive(Debug, Args)]
pub(crate) struct DesireArgs {
    /// Why, for those who wonder; shown by `status`
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// NAME, GROUP:NAME, GROUP:*, `all`, or a quoted glob such as 'work*'
    #[arg(value_name = "PROGRAM")]
    pub(crate) programs: Vec<String>,
}

/// What `host label` takes.
#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    /// Hosts, as `--host` takes them; then KEY=VALUE for each label to set, KEY- for one to take away
    #[arg(value_name = "HOST LABEL")]
    pub(crate) words: Vec<String>,
}

/// What `host revoke` takes.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Why, for those who wonder; shown by `status` and `host ls`
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Hosts, as `--host` takes them
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
}

/// What `host ls`, `host show` and `host rm` take.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Hosts, as `--host` takes them
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
}

/// What `host drain` and `host resume` take.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Why, for those who wonder; shown by `status` and `host ls`
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Hosts, as `--host` takes them
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
}

/// What can be asked about tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token with which hosts may join; --host says which names it is good for
    #[command(after_help = words::TOKEN_CREATE)]
    Create(TokenCreate),
}

/// What `token create` takes beside `--host`.
#[derive(Debug, Args)]
pub(crate) struct TokenCreate {
    /// How long it is good for; at most 7 days
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_span)]
    pub(crate) ttl: std::time::Duration,
    /// How many hosts may join with it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: u32,
    /// A label for each host that joins with it, KEY=VALUE; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,
}

/// Reads the name of a context, which stands in a section's header.
fn parse_context_name(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_@".contains(letter);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("a name is letters, digits, `.`, `-`, `_` and `@`".to_owned()),
    }
}

/// What can be done with contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextVerb {
    /// Install the contexts of a file, such as the one that `rsv-controller init` writes
    Import {
        /// The context file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Install it under this name, such as where a context of another fleet has its own
        #[arg(long = "as", value_name = "NAME", value_parser = parse_context_name)]
        name: Option<String>,
    },
    /// List the installed contexts
    #[command(visible_alias = "list")]
    Ls,
    /// Choose the context that is used when none is named
    Use {
        /// Its name
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    rsv_config::label(text).map_err(|error| format!("a label is {}", error.accepted))
}

impl Output {
    /// Whether people read it.
    pub(crate) fn is_text(self) -> bool {
        self == Self::Table
    }
}

#[cfg(test)]
mod tests;
