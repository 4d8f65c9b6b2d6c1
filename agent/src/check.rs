//! `rsv-agent check`: says what is wrong or odd in a configuration, and changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rsv_config::host::SystemHost;
use rsv_config::{ConfigErrors, Loaded, Overrides, Strictness, find_config, load};

use crate::args::CheckArgs;
use crate::compat::server;

/// Runs the check: errors and warnings on stderr, the verdict on stdout.
pub fn run(args: &CheckArgs, argv0: &str) -> ExitCode {
    let strictness = if args.strict {
        Strictness::Strict
    } else {
        Strictness::Lenient
    };
    let host = SystemHost::new();
    let given = args.configuration.as_deref();
    let loaded = located(given, argv0, &host)
        .and_then(|file| Ok((load(&file, &Overrides::default(), strictness, &host)?, file)));
    match loaded {
        Ok((loaded, file)) => verdict(&loaded, &file),
        Err(errors) => {
            eprintln!("{}", errors.render());
            ExitCode::from(2)
        }
    }
}

/// The configuration file that was given, or the one that is found.
pub(crate) fn located(
    given: Option<&Path>,
    argv0: &str,
    host: &SystemHost,
) -> Result<PathBuf, ConfigErrors> {
    match given {
        Some(file) => Ok(file.to_owned()),
        None => Ok(find_config(Path::new(argv0), host)?),
    }
}

fn verdict(loaded: &Loaded, file: &Path) -> ExitCode {
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let config = &loaded.config;
    for error in config.broken.iter().flat_map(|program| &program.errors) {
        eprintln!("{}", error.render());
    }
    let refused: Vec<_> = config.servers.iter().filter_map(server::refusal).collect();
    for refusal in &refused {
        eprintln!("{refusal}");
        if let Some(hint) = refusal.hint() {
            eprintln!("  hint: {hint}");
        }
    }
    if !config.broken.is_empty() || !refused.is_empty() {
        return ExitCode::from(2);
    }
    let programs = config.processes().count();
    let groups = config.groups.len();
    println!(
        "{}: in order, {programs} processes in {groups} groups",
        file.display()
    );
    ExitCode::SUCCESS
}
