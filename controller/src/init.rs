//! Makes a new fleet: the authority, the controller's own certificate, the first operator's context.
//!
//! Everything is made aside and moved into place at the end: a fleet is there whole or not at all, and
//! an existing one is never touched.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rsv_proto::context::Context;
use uuid::Uuid;

use crate::{
    args::InitArguments,
    ca::{Authority, CaError},
    credentials,
    files::{self, FileError},
    settings::{RECORDED, Recorded, address},
};

/// Where in the state directory the authority is.
pub const AUTHORITY: &str = "ca";

/// Why there is no new fleet.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something is there.
    #[error("`{}` exists and is not empty", .0.display())]
    Exists(PathBuf),
    /// A file or directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Putting what was made in its place.
    #[error("cannot put the new state in `{}`", .path.display())]
    Place {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl InitError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exists(_) => {
                Some("an existing fleet is never overwritten: choose another directory")
            }
            Self::File(_) | Self::Place { .. } => {
                Some("check that the directory above can be written to")
            }
            Self::Ca(_) => None,
        }
    }
}

/// Makes a new fleet and returns the path of the first operator's context.
pub fn init(arguments: &InitArguments, now: SystemTime) -> Result<PathBuf, InitError> {
    let state = &arguments.state_dir;
    if is_occupied(state)? {
        return Err(InitError::Exists(state.clone()));
    }
    let draft = Draft::new(state)?;
    make(&draft.path, arguments, now)?;
    draft.place(state)?;
    Ok(state.join(context_file(&arguments.admin)))
}

fn make(directory: &Path, arguments: &InitArguments, now: SystemTime) -> Result<(), InitError> {
    let InitArguments {
        names,
        listen,
        admin,
        trust_domain,
        ..
    } = arguments;
    let random = || format!("rsv-{}", &Uuid::new_v4().simple().to_string()[..12]);
    let trust_domain = trust_domain.clone().unwrap_or_else(random);
    let authority_directory = directory.join(AUTHORITY);
    files::make_directory(&authority_directory)?;
    let authority = Authority::create(&authority_directory, &trust_domain, now)?;
    credentials::write(directory, &authority.make_controller(names, now)?)?;
    let context = Context {
        name: admin.clone(),
        controllers: vec![address(names, listen.port())],
        credentials: authority.make_operator(admin, now)?,
    };
    files::write(
        &directory.join(context_file(admin)),
        context.render().as_bytes(),
    )?;
    // Last, because it is what tells a state directory from any other.
    let recorded = Recorded {
        names: names.clone(),
        listen: *listen,
        trust_domain,
    };
    files::write(&directory.join(RECORDED), recorded.render().as_bytes())?;
    Ok(())
}

fn context_file(admin: &str) -> String {
    format!("{admin}.context")
}

fn is_occupied(path: &Path) -> Result<bool, FileError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(source) => Err(FileError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The directory in which a fleet is made; gone again unless it is put in its place.
struct Draft {
    path: PathBuf,
    /// Inside of the state directory, which exists, because the one above is not ours.
    inside: bool,
}

impl Draft {
    fn new(state: &Path) -> Result<Self, InitError> {
        let name = format!(".rsv-init-{}", std::process::id());
        let aside = state.with_file_name(&name);
        match files::make_directory(&aside) {
            Ok(()) => Ok(Self {
                path: aside,
                inside: false,
            }),
            Err(_) if state.is_dir() => {
                let path = state.join(name);
                files::make_directory(&path)?;
                Ok(Self { path, inside: true })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn place(&self, state: &Path) -> Result<(), InitError> {
        self.move_to(state).map_err(|source| InitError::Place {
            path: state.to_owned(),
            source,
        })
    }

    fn move_to(&self, state: &Path) -> io::Result<()> {
        if !self.inside {
            fs::rename(&self.path, state)?;
            let above = state.parent().unwrap_or(Path::new("."));
            return files::sync_directory(above);
        }
        let mut entries: Vec<PathBuf> = fs::read_dir(&self.path)?
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<_, _>>()?;
        entries.sort_by_key(|path| path.ends_with(RECORDED));
        for entry in entries {
            fs::rename(&entry, state.join(entry.file_name().unwrap_or_default()))?;
        }
        files::sync_directory(state)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Absent when it was moved; otherwise there is nothing better to do than to leave it.
        let _absent = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rsv_proto::{identity::Identity, tls};

    use super::*;

    fn arguments(state_dir: PathBuf) -> InitArguments {
        InitArguments {
            state_dir,
            names: vec!["localhost".into()],
            listen: "127.0.0.1:7443".parse().unwrap(),
            admin: "admin".into(),
            trust_domain: None,
        }
    }

    #[test]
    fn a_new_fleet_is_its_owners_alone_and_its_context_works() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("ctl");
        let path = init(&arguments(state.clone()), SystemTime::now()).unwrap();
        assert_eq!(path, state.join("admin.context"));
        let context = Context::parse(&fs::read_to_string(&path).unwrap(), &state).unwrap();
        let context = context.into_iter().next().unwrap().1.unwrap();
        assert_eq!(context.controllers, ["localhost:7443"]);
        tls::client_config(&context.credentials).unwrap();
        let identity = Identity::from_leaf(&context.credentials.chain[0]).unwrap();
        assert_eq!(identity.to_string(), "operator/admin");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        for entry in fs::read_dir(&state)
            .unwrap()
            .chain(fs::read_dir(state.join("ca")).unwrap())
        {
            let path = entry.unwrap().path();
            assert_eq!(
                mode(&path),
                if path.is_dir() { 0o700 } else { 0o600 },
                "{path:?}"
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_existing_fleet_is_not_touched_and_an_empty_directory_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("ctl");
        fs::create_dir(&state).unwrap();
        let path = init(&arguments(state.clone()), SystemTime::now()).unwrap();
        let before = fs::read(&path).unwrap();
        let error = init(&arguments(state), SystemTime::now()).unwrap_err();
        assert!(matches!(error, InitError::Exists(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_failed_init_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut arguments = arguments(dir.path().join("ctl"));
        arguments.names = vec!["not a name".into()];
        assert!(init(&arguments, SystemTime::now()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
