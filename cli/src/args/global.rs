//! The flags that every verb takes, before or after it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};

use super::{Limit, parse_duration, parse_limit};

const HOSTS: &str = "Which hosts";
const FLEET: &str = "Which fleet";
const LOCAL: &str = "Which daemon of this machine";
const CARE: &str = "Care";
const SHOW: &str = "What is shown";

/// Flags of every verb.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Hosts: a glob 'web*', a set 'web[01-20,33]', @GROUP, @state:STATE, @op:ID or @op:ID:OUTCOME, joined by
    /// `,` (or), `!` (without) and `&` (and); `-` reads them from stdin; repeatable
    #[arg(short = 'H', long, value_name = "SEL", help_heading = HOSTS)]
    pub(crate) host: Vec<String>,
    /// Hosts to leave out; repeatable
    #[arg(short = 'x', long, value_name = "SEL", help_heading = HOSTS)]
    pub(crate) exclude: Vec<String>,
    /// Hosts with these labels, such as role=web,dc!=fra; repeatable, all must hold
    #[arg(short = 'l', long, value_name = "EXPR", help_heading = HOSTS)]
    pub(crate) label: Vec<String>,
    /// Only so many of those hosts, drawn by lot
    #[arg(long, global = true, value_name = "N|N%", value_parser = parse_limit, help_heading = HOSTS)]
    pub(crate) limit: Option<Limit>,
    /// Draws the same hosts again
    #[arg(long, global = true, value_name = "S", requires = "limit", help_heading = HOSTS)]
    pub(crate) seed: Option<String>,
    /// Every enrolled host
    #[arg(short = 'A', long, global = true, help_heading = HOSTS)]
    pub(crate) all_hosts: bool,

    /// Ask this controller instead of those of the context
    #[arg(long, global = true, value_name = "HOST:PORT", help_heading = FLEET)]
    pub(crate) controller: Option<String>,
    /// The context to use: a name, or a context file [env: RSV_CONTEXT]
    #[arg(long, global = true, value_name = "NAME|FILE", help_heading = FLEET)]
    pub(crate) context: Option<String>,

    /// The agent's configuration; without it the usual places are searched
    #[arg(short = 'c', long = "configuration", global = true, value_name = "FILE", help_heading = LOCAL)]
    pub(crate) configuration: Option<PathBuf>,
    /// A server of XML-RPC, http://HOST:PORT or unix:///PATH, or the socket of an agent
    #[arg(short = 's', long, global = true, value_name = "URL", help_heading = LOCAL)]
    pub(crate) serverurl: Option<String>,

    /// The user for a server of XML-RPC; without it that of the section supervisorctl
    #[arg(short = 'u', long, global = true, value_name = "USER", help_heading = LOCAL)]
    pub(crate) username: Option<String>,
    /// Its password, which others can see here; better in the section supervisorctl
    #[arg(short = 'p', long, global = true, value_name = "PASSWORD", help_heading = LOCAL)]
    pub(crate) password: Option<String>,
    /// A prompt, which with a verb runs the verb alone, as supervisorctl has it
    #[arg(short = 'i', long, global = true, hide = true)]
    pub(crate) interactive: bool,
    /// Where a prompt keeps its history, as supervisorctl has it
    #[arg(
        short = 'r',
        long,
        alias = "history_file",
        global = true,
        value_name = "FILE",
        hide = true
    )]
    pub(crate) history_file: Option<PathBuf>,

    /// Answer yes to every question
    #[arg(short = 'y', long, global = true, help_heading = CARE)]
    pub(crate) yes: bool,
    /// Do nothing unless exactly N hosts are selected; this machine is one
    #[arg(long, global = true, value_name = "N", help_heading = CARE)]
    pub(crate) expect: Option<u32>,
    /// Only say which hosts would be reached
    #[arg(short = 'n', long, global = true, help_heading = CARE)]
    pub(crate) dry_run: bool,
    /// How long to wait for results; an action that is not answered by then goes on (exit 13)
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, help_heading = CARE)]
    pub(crate) timeout: Option<Duration>,
    /// How long a host may take to begin; later it refuses [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, help_heading = CARE)]
    pub(crate) deadline: Option<Duration>,
    /// Do not wait for the end of an action: print its id and let it go on
    #[arg(long, global = true, help_heading = CARE)]
    pub(crate) detach: bool,
    /// How long to watch an action before leaving it to itself (exit 13)
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, help_heading = CARE)]
    pub(crate) wait: Option<Duration>,
    /// Repeating an action with the same key joins the first one
    #[arg(long, global = true, value_name = "KEY", value_parser = NonEmptyStringValueParser::new(), help_heading = CARE)]
    pub(crate) id: Option<String>,

    /// table; wide: more columns; name: names alone; json: one object with a `schema`; jsonl: one a
    /// line
    #[arg(short = 'o', long, global = true, value_name = "FORM", hide_possible_values = true, value_enum, default_value_t, help_heading = SHOW)]
    pub(crate) output: Form,
    /// Whether hosts that agree share a line; auto: outcomes do, states do not
    #[arg(long, global = true, value_name = "auto|always|never", hide_possible_values = true, value_enum, default_value_t, help_heading = SHOW)]
    pub(crate) fold: Fold,
    /// Whether to use colour; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "auto|always|never", hide_possible_values = true, value_enum, default_value_t, help_heading = SHOW)]
    pub(crate) color: Color,
    /// Say less: no progress, no hints
    #[arg(short = 'q', long, global = true, conflicts_with = "verbose", help_heading = SHOW)]
    pub(crate) quiet: bool,
    /// Say more: which controller, which operation, how long
    #[arg(short = 'v', long, global = true, help_heading = SHOW)]
    pub(crate) verbose: bool,
}

/// The form of the output, in detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Form {
    /// For people
    #[default]
    Table,
    /// For people, with more columns where there are more
    Wide,
    /// The names alone, where the result is a list
    Name,
    /// One object with a `schema`
    Json,
    /// One object a line
    Jsonl,
}

/// The form of the output: text, or one of those for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Text, which a verb may have in more than one form
    Table,
    /// One object with a `schema`
    Json,
    /// One object a line
    Jsonl,
}

impl From<Form> for Output {
    fn from(form: Form) -> Self {
        match form {
            Form::Table | Form::Wide | Form::Name => Self::Table,
            Form::Json => Self::Json,
            Form::Jsonl => Self::Jsonl,
        }
    }
}

/// Whether hosts share a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Fold {
    /// Outcomes of actions are folded, states are not
    #[default]
    Auto,
    /// Wherever hosts agree
    Always,
    /// One line for each host and program
    Never,
}

/// Whether colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
