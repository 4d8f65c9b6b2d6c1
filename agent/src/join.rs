//! `rsv-agent join`: makes this host a member of a fleet, once.
//!
//! The token carries the address of the fleet and the digest of its root; nothing is sent, the
//! token's secret least of all, before the controller has proved to belong to that root. The key is
//! made here and never leaves the host.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use rsv_config::host::SystemHost;
use rsv_config::{Config, Overrides, Strictness, load};
use rsv_proto::dial::{DialError, dial};
use rsv_proto::identity::{Identity, Role};
use rsv_proto::name::HostName;
use rsv_proto::tls::{Credentials, Pin, client_config, pinned_client_config};
use rsv_proto::token::JoinToken;
use rsv_proto::wire::{JoinRequest, JoinResponse, enrollment_client::EnrollmentClient};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::{Code, Status};

use crate::args::JoinArgs;
use crate::check::located;
use crate::desired::DesiredFile;
use crate::failure::{Failure, chain};
use crate::identity::request::KeyRequest;
use crate::identity::{HostIdentity, StateDir};

/// How long a controller may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest token that is read from stdin.
const LONGEST_TOKEN: u64 = 16 * 1024;

/// Joins, and says so in one line on stdout.
pub fn run(args: &JoinArgs, argv0: &str) -> ExitCode {
    match attempt(args, argv0) {
        Ok(identity) => {
            println!(
                "{} joined the fleet `{}`",
                identity.name, identity.trust_domain
            );
            ExitCode::SUCCESS
        }
        Err(failure) => failure.report(),
    }
}

fn attempt(args: &JoinArgs, argv0: &str) -> Result<HostIdentity, Failure> {
    let token = read_token(args)?;
    let config = read_config(args, argv0)?;
    let name = host_name(&config)?;
    let state = StateDir::open(&config.locations.state_dir)
        .map_err(|error| Failure::failed(chain(&error)).hint(error.hint()))?;
    refuse_twice(&state, args.force)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let addresses = match &args.controller {
        Some(address) => vec![address.clone()],
        None => token.controllers.clone(),
    };
    let identity = runtime.block_on(enrol(&token, &name, &addresses))?;
    // What another fleet wanted of this host counts no more.
    let forgotten = DesiredFile::new(state.path()).forget();
    forgotten.map_err(|error| {
        Failure::failed(format!(
            "cannot forget what the former fleet wanted: {error}"
        ))
    })?;
    state
        .store_identity(&identity)
        .map_err(|error| Failure::failed(chain(&error)).hint(error.hint()))?;
    Ok(identity)
}

fn read_token(args: &JoinArgs) -> Result<JoinToken, Failure> {
    let mut text = args.token.clone();
    if text == "-" {
        text.clear();
        std::io::stdin()
            .take(LONGEST_TOKEN)
            .read_to_string(&mut text)
            .map_err(|error| {
                Failure::failed(format!("cannot read the token from stdin: {error}"))
            })?;
    }
    text.trim()
        .parse()
        .map_err(|error: rsv_proto::token::TokenError| {
            Failure::unusable(format!("--token: {error}")).hint("make one with `rsv token create`")
        })
}

fn read_config(args: &JoinArgs, argv0: &str) -> Result<Config, Failure> {
    let host = SystemHost::new();
    let overrides = Overrides {
        host_name: args.host_name.clone(),
        ..Overrides::default()
    };
    let refused = |errors: rsv_config::ConfigErrors| Failure::unusable(errors.render());
    let file = located(args.configuration.as_deref(), argv0, &host).map_err(refused)?;
    let loaded = load(&file, &overrides, Strictness::Lenient, &host).map_err(refused)?;
    Ok(loaded.config)
}

fn host_name(config: &Config) -> Result<HostName, Failure> {
    let Some(agent) = &config.agent else {
        let text = format!("{}: there is no [agent] section", config.file.display());
        return Err(Failure::unusable(text).hint(
            "a host of a fleet needs one: add a line [agent]; everything in it has a default",
        ));
    };
    agent.name.parse().map_err(|error| {
        Failure::unusable(format!(
            "`{}` cannot be this host's name: {error}",
            agent.name
        ))
        .hint("set name= in [agent], or give --host-name")
    })
}

fn refuse_twice(state: &StateDir, force: bool) -> Result<(), Failure> {
    if force {
        return Ok(());
    }
    match state.load_identity() {
        Ok(None) => Ok(()),
        Ok(Some(identity)) => {
            let HostIdentity {
                name, trust_domain, ..
            } = identity;
            Err(Failure::failed(format!(
                "this host has already joined the fleet `{trust_domain}` as {name}"
            ))
            .hint("give --force to replace its identity"))
        }
        Err(error) => Err(Failure::failed(chain(&error))
            .hint("give --force to replace it, if it is of no use any more")),
    }
}

/// Asks one controller after the other until one answers; an answer counts, whatever it is.
async fn enrol(
    token: &JoinToken,
    name: &HostName,
    addresses: &[String],
) -> Result<HostIdentity, Failure> {
    let mut failure = Failure::failed("the token names no controller")
        .hint("give the address with --controller HOST:PORT");
    for address in addresses {
        let tls =
            pinned_client_config(token.pin).map_err(|error| Failure::failed(chain(&error)))?;
        match dial(address, tls).await {
            Ok(channel) => {
                let client = EnrollmentClient::new(channel);
                return ask(client, token, name, address, addresses).await;
            }
            Err(error) => failure = unreachable(&error),
        }
    }
    Err(failure)
}

async fn ask(
    mut client: EnrollmentClient<tonic::transport::Channel>,
    token: &JoinToken,
    name: &HostName,
    address: &str,
    addresses: &[String],
) -> Result<HostIdentity, Failure> {
    let KeyRequest { key, csr } =
        KeyRequest::new().map_err(|error| Failure::failed(chain(&error)))?;
    let request = JoinRequest {
        token_id: token.id.clone(),
        secret: token.secret.clone(),
        host: name.to_string(),
        csr,
    };
    let answer = tokio::time::timeout(PATIENCE, client.join(request)).await;
    let response = match answer {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(refusal(&status, address, name)),
        Err(_) => {
            let text = format!("{address} does not answer within {} s", PATIENCE.as_secs());
            return Err(Failure::failed(text).hint("try again; see the controller's log"));
        }
    };
    accepted(token, name, addresses, key, response)
        .map_err(|text| Failure::failed(text).hint("see the controller's log"))
}

/// Checks the answer as if it came from a stranger, before anything is stored.
fn accepted(
    token: &JoinToken,
    name: &HostName,
    addresses: &[String],
    key: PrivateKeyDer<'static>,
    response: JoinResponse,
) -> Result<HostIdentity, String> {
    let root = CertificateDer::from(response.root);
    if Pin::of(&root) != token.pin {
        return Err("the controller answered with the root of another fleet".into());
    }
    let chain_certificates: Vec<_> = response
        .chain
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    let leaf = chain_certificates
        .first()
        .ok_or("the controller answered without a certificate")?;
    let identity = Identity::from_leaf(leaf).map_err(|error| chain(&error))?;
    let is_ours = identity.role == Role::Agent
        && identity.name == name.to_string()
        && identity.trust_domain == response.trust_domain;
    if !is_ours {
        return Err(format!(
            "the controller made a certificate for `{}`",
            identity.uri()
        ));
    }
    let credentials = Credentials {
        chain: chain_certificates,
        key,
        root,
    };
    client_config(&credentials).map_err(|error| chain(&error))?;
    Ok(HostIdentity {
        name: name.clone(),
        trust_domain: response.trust_domain,
        controllers: addresses.to_vec(),
        credentials,
    })
}

fn unreachable(error: &DialError) -> Failure {
    Failure::failed(chain(error)).maybe_hint(error.hint())
}

fn refusal(status: &Status, address: &str, name: &HostName) -> Failure {
    let said = status.message();
    let hint = match status.code() {
        Code::Unauthenticated | Code::NotFound => {
            "a token works once and for a short time: make a new one with `rsv token create`"
        }
        Code::PermissionDenied => {
            "make a token that allows this name (`rsv token create --host NAME`), or set name= in \
             [agent]"
        }
        Code::FailedPrecondition | Code::ResourceExhausted => {
            "the token is used up or expired: make a new one with `rsv token create`"
        }
        Code::InvalidArgument => "agent and controller may be of different versions",
        _ => "see the controller's log",
    };
    Failure::failed(format!("{address} refuses to let {name} join: {said}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_hint_that_fits() {
        let name: HostName = "web01".parse().unwrap();
        for (status, hint) in [
            (
                Status::unauthenticated("the token is unknown"),
                "rsv token create",
            ),
            (Status::permission_denied("not this name"), "--host NAME"),
            (Status::internal("a bug"), "controller's log"),
        ] {
            let text = refusal(&status, "ctl:7443", &name).to_string();
            assert!(
                text.starts_with("rsv-agent: ctl:7443 refuses to let web01 join: "),
                "{text}"
            );
            assert!(text.contains(hint), "{text}");
        }
    }

    #[test]
    fn an_answer_with_another_root_is_not_stored() {
        let signed = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        let token = JoinToken {
            controllers: vec![],
            pin: Pin::of(&CertificateDer::from(vec![1])),
            id: "1".into(),
            secret: vec![],
        };
        let response = JoinResponse {
            chain: vec![signed.cert.der().to_vec()],
            root: signed.cert.der().to_vec(),
            trust_domain: "d".into(),
        };
        let name: HostName = "web01".parse().unwrap();
        let key = signed.signing_key.into();
        let error = accepted(&token, &name, &[], key, response).unwrap_err();
        assert!(error.contains("another fleet"), "{error}");
    }
}
