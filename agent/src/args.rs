//! The command line of `rsv-agent`: supervisord's options, letter for letter, and our own.
//!
//! An option beats the configuration file. Values are judged where the file's are, by the same
//! rules; here they are text.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use rsv_config::{Flag, Overrides};

/// Supervises the programs of this host.
#[derive(Debug, Parser)]
#[command(
    name = "rsv-agent",
    disable_version_flag = true,
    infer_long_args = true,
    args_conflicts_with_subcommands = true
)]
#[command(
    after_help = "Without -c the configuration is /etc/rsv/agent.conf, or else where \
                        supervisord would look for it."
)]
pub struct Cli {
    /// Print the version and exit.
    #[arg(short = 'v', long = "version")]
    pub version: bool,
    /// What `-h` prints, by supervisord's other name for it.
    #[arg(short = '?', action = ArgAction::HelpShort, hide = true)]
    pub question: Option<bool>,
    /// What to do instead of supervising.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to supervise.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// What `rsv-agent` does besides supervising.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this host a member of a fleet.
    Join(JoinArgs),
    /// Say what is wrong or odd in the configuration.
    Check(CheckArgs),
}

/// Options of the daemon.
#[derive(Debug, Default, Args)]
pub struct DaemonArgs {
    /// The configuration file.
    #[arg(short = 'c', long = "configuration", value_name = "FILE")]
    pub configuration: Option<PathBuf>,
    /// Stay in the foreground.
    #[arg(short = 'n', long = "nodaemon")]
    nodaemon: bool,
    /// Do not log to stdout in the foreground.
    #[arg(short = 's', long = "silent")]
    silent: bool,
    /// Run as this user, by name or number.
    #[arg(short = 'u', long = "user", value_name = "USER")]
    user: Option<String>,
    /// Umask, in the background.
    #[arg(short = 'm', long = "umask", value_name = "MODE")]
    umask: Option<String>,
    /// Directory to change to, in the background.
    #[arg(short = 'd', long = "directory", value_name = "DIR")]
    directory: Option<String>,
    /// The agent's own log.
    #[arg(short = 'l', long = "logfile", value_name = "FILE")]
    logfile: Option<String>,
    /// Size at which it is rotated, such as 50MB; 0: never.
    #[arg(short = 'y', long = "logfile_maxbytes", value_name = "SIZE")]
    logfile_maxbytes: Option<String>,
    /// How many rotated files are kept.
    #[arg(short = 'z', long = "logfile_backups", value_name = "N")]
    logfile_backups: Option<String>,
    /// critical, error, warn, info, debug, trace or blather.
    #[arg(short = 'e', long = "loglevel", value_name = "LEVEL")]
    loglevel: Option<String>,
    /// Where the process id is written.
    #[arg(short = 'j', long = "pidfile", value_name = "FILE")]
    pidfile: Option<String>,
    /// The name of this instance for its clients.
    #[arg(short = 'i', long = "identifier", value_name = "NAME")]
    identifier: Option<String>,
    /// Where automatic logs of programs go.
    #[arg(short = 'q', long = "childlogdir", value_name = "DIR")]
    childlogdir: Option<String>,
    /// Leave old automatic logs alone at the start.
    #[arg(short = 'k', long = "nocleanup")]
    nocleanup: bool,
    /// Open files that must be possible.
    #[arg(short = 'a', long = "minfds", value_name = "N")]
    minfds: Option<String>,
    /// Processes that must be possible.
    #[arg(long = "minprocs", value_name = "N")]
    minprocs: Option<String>,
    /// Remove terminal escapes from the logs of programs.
    #[arg(short = 't', long = "strip_ansi")]
    strip_ansi: bool,
    /// This host's name in its fleet.
    #[arg(long = "host-name", value_name = "NAME")]
    host_name: Option<String>,
    /// At TERM, INT and QUIT let the programs run on for the next agent.
    #[arg(long = "leave-programs")]
    pub leave_programs: bool,
    /// Start no keeper: wait for the one that somebody else starts, such as its unit.
    #[arg(long = "await-keeper")]
    pub await_keeper: bool,
}

/// Options of `join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The token, from `rsv token create`; `-` reads it from stdin.
    #[arg(long, value_name = "TOKEN", env = "RSV_TOKEN", hide_env_values = true)]
    pub token: String,
    /// A controller's address, instead of those in the token.
    #[arg(long, value_name = "HOST:PORT")]
    pub controller: Option<String>,
    /// The configuration file.
    #[arg(short = 'c', long = "configuration", value_name = "FILE")]
    pub configuration: Option<PathBuf>,
    /// This host's name in its fleet.
    #[arg(long = "host-name", value_name = "NAME")]
    pub host_name: Option<String>,
    /// Replace the identity that this host already has.
    #[arg(long)]
    pub force: bool,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(short = 'c', long = "configuration", value_name = "FILE")]
    pub configuration: Option<PathBuf>,
    /// Unknown keys and sections are errors.
    #[arg(long)]
    pub strict: bool,
}

impl DaemonArgs {
    /// The options that beat the file.
    pub fn overrides(&self) -> Overrides {
        let flag = |given: bool| given.then_some(Flag);
        Overrides {
            nodaemon: flag(self.nodaemon),
            silent: flag(self.silent),
            nocleanup: flag(self.nocleanup),
            strip_ansi: flag(self.strip_ansi),
            user: self.user.clone(),
            umask: self.umask.clone(),
            directory: self.directory.clone(),
            logfile: self.logfile.clone(),
            logfile_maxbytes: self.logfile_maxbytes.clone(),
            logfile_backups: self.logfile_backups.clone(),
            loglevel: self.loglevel.clone(),
            pidfile: self.pidfile.clone(),
            identifier: self.identifier.clone(),
            childlogdir: self.childlogdir.clone(),
            minfds: self.minfds.clone(),
            minprocs: self.minprocs.clone(),
            host_name: self.host_name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_letter_of_supervisord_is_understood() {
        let line = "rsv-agent -n -s -k -t -c f -u me -m 022 -d / -l log -y 1MB -z 3 -e debug \
                    -j pid -i id -q dir -a 99";
        let cli = parse(line).unwrap();
        let overrides = cli.daemon.overrides();
        assert_eq!(cli.daemon.configuration, Some("f".into()));
        assert_eq!(overrides.nodaemon, Some(Flag));
        assert_eq!(overrides.minfds.as_deref(), Some("99"));
        assert_eq!(overrides.logfile_maxbytes.as_deref(), Some("1MB"));
        let long = "rsv-agent --nodaemon --silent --nocleanup --strip_ansi --configuration=f \
                    --user=me --umask=022 --directory=/ --logfile=log --logfile_maxbytes=1MB \
                    --logfile_backups=3 --loglevel=debug --pidfile=pid --identifier=id \
                    --childlogdir=dir --minfds=99";
        assert_eq!(parse(long).unwrap().daemon.overrides(), overrides);
    }

    #[test]
    fn long_options_may_be_cut_short_as_long_as_they_are_clear() {
        let cut = parse("rsv-agent --conf=f --nod --logfile_max 5 --childlogdir=/d").unwrap();
        let whole = "rsv-agent --configuration f --nodaemon --logfile_maxbytes=5 --childlogdir=/d";
        let whole = parse(whole).unwrap().daemon;
        assert_eq!(cut.daemon.overrides(), whole.overrides());
        assert_eq!(cut.daemon.configuration, whole.configuration);
        let error = parse("rsv-agent --logfile_ 5").unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn what_is_not_given_leaves_the_file_alone() {
        assert_eq!(
            parse("rsv-agent").unwrap().daemon.overrides(),
            Overrides::default()
        );
    }

    #[test]
    fn repeated_options_and_stray_words_are_usage_errors() {
        for line in [
            "rsv-agent -c a -c b",
            "rsv-agent stray",
            "rsv-agent --bogus",
            "rsv-agent join",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn joining_takes_a_token_and_a_controller() {
        let cli = parse("rsv-agent join --token rsv1.x --controller ctl:1 -c f").unwrap();
        let Some(Command::Join(join)) = cli.command else {
            panic!()
        };
        assert_eq!(join.token, "rsv1.x");
        assert_eq!(join.controller.as_deref(), Some("ctl:1"));
        assert!(!join.force);
    }

    #[test]
    fn the_version_needs_no_configuration() {
        assert!(parse("rsv-agent -v").unwrap().version);
        assert!(parse("rsv-agent --version").unwrap().version);
    }
}
