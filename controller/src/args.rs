//! The command line and all of its help.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use rsv_proto::name::HostName;

/// The controller of a fleet: agents connect to it, `rsv` asks it.
#[derive(Debug, Parser)]
#[command(
    name = "rsv-controller",
    version,
    about,
    max_term_width = 100,
    subcommand_required = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the certificate authority of a new fleet and the first operator's context
    #[command(after_help = "\
The last line on standard output is the path of the context: a file with the operator's certificate
and key. Use it as it is (`RSV_CONTEXT=FILE rsv host ls`) or install it (`rsv ctx import FILE`).

Example:
  rsv-controller init --state-dir /var/lib/rsv-controller --name ctl1.example.com")]
    Init(InitArguments),
    /// Serve agents and operators, in the foreground
    #[command(after_help = "\
TERM or INT ends it in order; a second one at once. Programs on the hosts are not touched by that.
RUST_LOG chooses what is logged (default: info). OTEL_EXPORTER_OTLP_ENDPOINT turns traces and
metrics on.

Examples:
  rsv-controller run -c /etc/rsv/controller.conf
  rsv-controller run --state-dir /var/lib/rsv-controller --listen 0.0.0.0:7443")]
    Run(RunArguments),
}

/// Flags of `init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Where keys, certificates and the store go; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,

    /// DNS name or IP address by which agents and operators reach this controller; the first one is
    /// put in contexts and tokens
    #[arg(long = "name", value_name = "DNSNAME_OR_IP", required = true, num_args = 1.., value_parser = parse_name)]
    pub names: Vec<String>,

    /// Address and port to listen on, kept as the default of `run`
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:7443")]
    pub listen: SocketAddr,

    /// Name of the first operator
    #[arg(long, value_name = "NAME", default_value = "admin", value_parser = parse_plain)]
    pub admin: String,

    /// What every certificate name of this fleet begins with [default: random]
    #[arg(long, value_name = "DOMAIN", value_parser = parse_plain)]
    pub trust_domain: Option<String>,
}

/// Flags of `run`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("place").required(true).multiple(true)))]
pub struct RunArguments {
    /// Configuration file with a `[controller]` section
    #[arg(
        short = 'c',
        long = "configuration",
        value_name = "FILE",
        group = "place"
    )]
    pub configuration: Option<PathBuf>,

    /// Directory made by `init`; overrides `state_dir` of the file
    #[arg(long, value_name = "DIR", group = "place")]
    pub state_dir: Option<PathBuf>,

    /// Address and port to listen on; overrides `listen` of the file
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,

    /// How often agent and controller say that they live; a host is unreachable after three silent
    /// intervals; overrides `heartbeat_interval` of the file [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
    pub heartbeat_interval: Option<Duration>,

    /// How log lines look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One object a line
    Json,
}

/// Reads the interval of heartbeats: within what sessions can keep and people can wait for.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let accepted = "accepted: 100ms to 10min, such as 5s";
    let interval = humantime::parse_duration(text).map_err(|e| format!("{e}; {accepted}"))?;
    let range = Duration::from_millis(100)..=Duration::from_secs(600);
    if range.contains(&interval) {
        Ok(interval)
    } else {
        Err(accepted.into())
    }
}

/// Reads a DNS name or an IP address.
pub fn parse_name(text: &str) -> Result<String, String> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let name: Result<HostName, _> = text.parse();
    name.map(|name| name.to_string())
        .map_err(|e| format!("neither an IP address nor a DNS name: {e}"))
}

fn parse_plain(text: &str) -> Result<String, String> {
    // What can stand in a certificate's name is what can stand in a host's.
    text.parse::<HostName>()
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string().replace("a host name", "the name"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_documented_invocations_are_understood() {
        for line in [
            "rsv-controller init --state-dir d --name localhost --listen 127.0.0.1:1 --admin admin",
            "rsv-controller init --state-dir d --name a.example.com 10.0.0.1 --name ::1",
            "rsv-controller run -c f",
            "rsv-controller run --state-dir d --listen 127.0.0.1:1 --heartbeat-interval 500ms",
            "rsv-controller run --state-dir d --log-format json",
        ] {
            let parsed = Arguments::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "rsv-controller",
            "rsv-controller run",
            "rsv-controller init --state-dir d",
            "rsv-controller init --state-dir d --name a_b! ",
            "rsv-controller init --state-dir d --name a --admin a/b",
            "rsv-controller run --state-dir d --listen 7443",
            "rsv-controller run --state-dir d --heartbeat-interval 1ms",
        ] {
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
    }
}
