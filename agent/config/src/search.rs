//! Where a configuration file is looked for when none is named.

use std::path::{Path, PathBuf};

use crate::error::ConfigError;
use crate::host::{Host, absolute};

/// The places, best first: ours, then Supervisor's. `argv0` is the path of the running program.
pub fn search_paths(argv0: &Path, host: &dyn Host) -> Vec<PathBuf> {
    let beside = directory_of(argv0, host);
    let mut places = vec![PathBuf::from("/etc/rsv/agent.conf")];
    places.extend(
        [
            beside.join("../etc/supervisord.conf"),
            beside.join("../supervisord.conf"),
            "supervisord.conf".into(),
            "etc/supervisord.conf".into(),
        ]
        .map(|path| absolute(host, &path)),
    );
    places.push("/etc/supervisord.conf".into());
    places.push("/etc/supervisor/supervisord.conf".into());
    places
}

/// The directory of the running program; a bare name is looked for in `PATH`, as the shell did.
fn directory_of(argv0: &Path, host: &dyn Host) -> PathBuf {
    let parent = argv0.parent().unwrap_or(Path::new(""));
    if !parent.as_os_str().is_empty() {
        return parent.to_owned();
    }
    let path = host.environment().get("PATH").map_or("", String::as_str);
    let mut places = path.split(':').map(PathBuf::from);
    places
        .find(|place| host.exists(&place.join(argv0)))
        .unwrap_or_default()
}

/// The first of [`search_paths`] that exists.
pub fn find_config(argv0: &Path, host: &dyn Host) -> Result<PathBuf, ConfigError> {
    let places = search_paths(argv0, host);
    if let Some(found) = places.iter().find(|path| host.exists(path)) {
        return Ok(found.clone());
    }
    let listed: Vec<String> = places
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Err(ConfigError::new(format!(
        "No config file found at default paths ({}); use the -c option to specify a config file at \
         a different path",
        listed.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FixedHost;

    #[test]
    fn our_own_file_comes_first_and_then_supervisors_order() {
        let host = FixedHost::default();
        let argv0 = Path::new("/opt/x/bin/rsv-agent");
        assert_eq!(
            search_paths(argv0, &host),
            [
                "/etc/rsv/agent.conf",
                "/opt/x/etc/supervisord.conf",
                "/opt/x/supervisord.conf",
                "/srv/supervisord.conf",
                "/srv/etc/supervisord.conf",
                "/etc/supervisord.conf",
                "/etc/supervisor/supervisord.conf",
            ]
            .map(PathBuf::from)
        );
    }

    #[test]
    fn a_bare_name_is_looked_for_in_the_path() {
        let host = FixedHost::default()
            .variable("PATH", "/bin:/opt/x/bin")
            .file("/opt/x/bin/rsv-agent", "");
        let paths = search_paths(Path::new("rsv-agent"), &host);
        assert_eq!(paths[1], Path::new("/opt/x/etc/supervisord.conf"));
    }

    #[test]
    fn the_first_that_exists_is_found_and_none_is_an_error_with_all_places() {
        let argv0 = Path::new("/usr/bin/rsv-agent");
        let host = FixedHost::default()
            .file("/etc/supervisor/supervisord.conf", "")
            .file("/etc/supervisord.conf", "");
        assert_eq!(
            find_config(argv0, &host),
            Ok(PathBuf::from("/etc/supervisord.conf"))
        );
        let error = find_config(argv0, &FixedHost::default()).unwrap_err();
        assert!(error.supervisor_text().starts_with(
            "No config file found at default paths (/etc/rsv/agent.conf, /usr/etc/supervisord.conf, "
        ));
    }
}
