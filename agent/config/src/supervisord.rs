//! `[supervisord]`: the agent itself, the command line's options already put over the file's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::environment;
use crate::error::{ConfigError, ValueError};
use crate::expand::{Here, Names};
use crate::host::{Host, User, absolute, expand_home, find_user};
use crate::overrides::{self, Overrides};
use crate::program::path_in_existing_dir;
use crate::read::Reader;
use crate::value::{ByteSize, LogLevel, Mode, boolean, byte_size, count, log_level, octal};

/// Options of the daemon, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisord {
    /// The main log.
    pub logfile: MainLog,
    /// The size at which it is rotated; zero: never.
    pub logfile_max_bytes: ByteSize,
    /// How many rotated files are kept.
    pub logfile_backups: u32,
    /// What is written to it.
    pub log_level: LogLevel,
    /// The pidfile, absolute.
    pub pidfile: PathBuf,
    /// The umask, set when daemonising.
    pub umask: Mode,
    /// Whether the agent stays in the foreground.
    pub nodaemon: bool,
    /// Whether the main log is kept off stdout in the foreground.
    pub silent: bool,
    /// The soft limit of open files is raised to this.
    pub minfds: u32,
    /// The soft limit of processes is raised to this.
    pub minprocs: u32,
    /// Whether old AUTO logs are left alone at start.
    pub nocleanup: bool,
    /// The directory of AUTO logs, absolute.
    pub childlogdir: PathBuf,
    /// The user to become; `None`: nobody else.
    pub user: Option<User>,
    /// The directory to change to when daemonising.
    pub directory: Option<PathBuf>,
    /// Whether terminal escapes are removed from child logs.
    pub strip_ansi: bool,
    /// What every program gets in its environment.
    pub environment: BTreeMap<String, String>,
    /// Names this instance to its clients.
    pub identifier: String,
}

/// Where the main log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainLog {
    /// `syslog`.
    Syslog,
    /// This file, absolute.
    File(PathBuf),
}

impl Supervisord {
    /// The directory in which the agent is at work: in the background the one that it has changed to.
    pub(crate) fn working_dir<'a>(&'a self, host: &'a dyn Host) -> &'a Path {
        match &self.directory {
            Some(directory) if !self.nodaemon => directory,
            _ => host.current_dir(),
        }
    }
}

/// The pidfile when none is configured.
pub(crate) const DEFAULT_PIDFILE: &str = "supervisord.pid";

/// Reads the section; `None` stands for one that is absent and not needed.
pub(crate) fn read(
    mut reader: Option<Reader<'_>>,
    overrides: &Overrides,
    host: &dyn Host,
) -> (Supervisord, Vec<ConfigError>) {
    let mut section = File {
        reader: reader.as_mut(),
        names: Names::new(host.environment(), Here::Listed),
    };
    let mut out = from_file(&mut section, host);
    let mut errors = reader.map(|reader| reader.errors).unwrap_or_default();
    override_with(&mut out, overrides, host, &mut errors);
    (out, errors)
}

/// The section as far as there is one.
struct File<'r, 'a, 'h> {
    reader: Option<&'r mut Reader<'a>>,
    names: Names<'h>,
}

impl File<'_, '_, '_> {
    fn read<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        self.reader.as_mut()?.read(key, &self.names, parse)
    }
}

fn from_file(file: &mut File<'_, '_, '_>, host: &dyn Host) -> Supervisord {
    let minfds = file.read("minfds", count);
    let minprocs = file.read("minprocs", count);
    let directory = file.read("directory", |text| existing_dir(host, text));
    let user = file.read("user", |text| find_user(host, text));
    let umask = file.read("umask", octal);
    let logfile = file.read("logfile", |text| main_log(host, text));
    let logfile_max_bytes = file.read("logfile_maxbytes", byte_size);
    let logfile_backups = file.read("logfile_backups", count);
    let log_level = file.read("loglevel", log_level);
    let pidfile = file.read("pidfile", |text| path(host, text));
    let identifier = file.read("identifier", |text| Ok(text.to_owned()));
    let nodaemon = file.read("nodaemon", boolean);
    let silent = file.read("silent", boolean);
    let childlogdir = file.read("childlogdir", |text| existing_dir(host, text));
    let nocleanup = file.read("nocleanup", boolean);
    let strip_ansi = file.read("strip_ansi", boolean);
    let names = file
        .names
        .clone()
        .with_text("host_node_name", host.node_name());
    let environment = file
        .reader
        .as_mut()
        .and_then(|reader| reader.read("environment", &names, environment::parse));
    let here = |name: &str| absolute(host, Path::new(name));
    Supervisord {
        logfile: logfile.unwrap_or_else(|| MainLog::File(here("supervisord.log"))),
        logfile_max_bytes: logfile_max_bytes.unwrap_or(ByteSize(50 << 20)),
        logfile_backups: logfile_backups.unwrap_or(10),
        log_level: log_level.unwrap_or(LogLevel::Info),
        pidfile: pidfile.unwrap_or_else(|| here(DEFAULT_PIDFILE)),
        umask: umask.unwrap_or(Mode(0o022)),
        nodaemon: nodaemon.unwrap_or(false),
        silent: silent.unwrap_or(false),
        minfds: minfds.unwrap_or(1024),
        minprocs: minprocs.unwrap_or(200),
        nocleanup: nocleanup.unwrap_or(false),
        childlogdir: childlogdir.unwrap_or_else(|| absolute(host, &host.temporary_dir())),
        user,
        directory,
        strip_ansi: strip_ansi.unwrap_or(false),
        environment: environment.unwrap_or_default(),
        identifier: identifier.unwrap_or_else(|| "supervisor".to_owned()),
    }
}

fn override_with(
    out: &mut Supervisord,
    given: &Overrides,
    host: &dyn Host,
    errors: &mut Vec<ConfigError>,
) {
    fn put<T>(slot: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *slot = value;
        }
    }
    put(&mut out.nodaemon, given.nodaemon.map(|_| true));
    put(&mut out.silent, given.silent.map(|_| true));
    put(&mut out.nocleanup, given.nocleanup.map(|_| true));
    put(&mut out.strip_ansi, given.strip_ansi.map(|_| true));
    let directory = overrides::parse("-d", given.directory.as_ref(), errors, |text| {
        existing_dir(host, text)
    });
    put(&mut out.directory, directory.map(Some));
    let user = overrides::parse_late("-u", given.user.as_ref(), errors, |text| {
        find_user(host, text)
    });
    put(&mut out.user, user.map(Some));
    put(
        &mut out.umask,
        overrides::parse("-m", given.umask.as_ref(), errors, octal),
    );
    let logfile = overrides::parse("-l", given.logfile.as_ref(), errors, |text| {
        main_log(host, text)
    });
    put(&mut out.logfile, logfile);
    let size = overrides::parse("-y", given.logfile_maxbytes.as_ref(), errors, byte_size);
    put(&mut out.logfile_max_bytes, size);
    let backups = overrides::parse("-z", given.logfile_backups.as_ref(), errors, count);
    put(&mut out.logfile_backups, backups);
    let level = overrides::parse("-e", given.loglevel.as_ref(), errors, log_level);
    put(&mut out.log_level, level);
    let pidfile = overrides::parse("-j", given.pidfile.as_ref(), errors, |text| {
        path(host, text)
    });
    put(&mut out.pidfile, pidfile);
    put(&mut out.identifier, given.identifier.clone());
    let childlogdir = overrides::parse("-q", given.childlogdir.as_ref(), errors, |text| {
        existing_dir(host, text)
    });
    put(&mut out.childlogdir, childlogdir);
    put(
        &mut out.minfds,
        overrides::parse("-a", given.minfds.as_ref(), errors, count),
    );
    let minprocs = overrides::parse("--minprocs", given.minprocs.as_ref(), errors, count);
    put(&mut out.minprocs, minprocs);
}

fn existing_dir(host: &dyn Host, text: &str) -> Result<PathBuf, ValueError> {
    let path = expand_home(host, text);
    if host.is_dir(&path) {
        return Ok(absolute(host, &path));
    }
    Err(ValueError::new(
        format!("{text} is not an existing directory"),
        "a directory that exists",
    ))
}

fn path(host: &dyn Host, text: &str) -> Result<PathBuf, ValueError> {
    path_in_existing_dir(host, host.current_dir(), text)
}

fn main_log(host: &dyn Host, text: &str) -> Result<MainLog, ValueError> {
    if text == "syslog" {
        return Ok(MainLog::Syslog);
    }
    path(host, text).map(MainLog::File)
}
