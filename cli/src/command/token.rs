//! `token`: what hosts join with.

use rsv_proto::{time::duration_to_wire, wire::CreateTokenRequest};

use crate::{
    args::{Output, TokenCreate},
    error::{Exit, Failure},
    invocation::Invocation,
    json,
    ui::printable,
};

/// Makes a token; it is the last line of the output.
pub(super) async fn create(
    invocation: &mut Invocation,
    args: TokenCreate,
) -> Result<Exit, Failure> {
    let host = names(invocation)?;
    let server = invocation.controller().await?;
    let request = CreateTokenRequest {
        host: host.clone(),
        ttl: Some(duration_to_wire(args.ttl)),
        uses: args.uses,
        labels: args.labels.into_iter().collect(),
    };
    let made = server.create_token(request).await?;
    let expires = json::time(made.expires.as_ref());
    match invocation.ui.output() {
        Output::Table => {
            let until = expires.as_deref().unwrap_or("an unknown time");
            let hosts = format!("`{host}`");
            let words =
                format!("for {hosts}, until {until}; on the host: rsv-agent join --token TOKEN");
            invocation.ui.note(&words);
            invocation.ui.line(&printable(&made.token))?;
        }
        Output::Json | Output::Jsonl => {
            let token = json::Token::new(made.token, host, expires, args.uses);
            json::print(&mut invocation.ui, &token)?;
        }
    }
    Ok(Exit::Done)
}

/// Which names the token is good for.
fn names(invocation: &Invocation) -> Result<String, Failure> {
    invocation.scope()?;
    let global = &invocation.global;
    if !global.exclude.is_empty() {
        return Err(Failure::usage("a token cannot leave names out")
            .hint("say with --host which names it is good for"));
    }
    match (global.host.is_empty(), global.all_hosts) {
        (false, _) => Ok(global.host.join(",")),
        (true, true) => Ok("*".to_owned()),
        (true, false) => Err(Failure::usage("a token is for certain host names")
            .hint("rsv token create --host web04, or --host 'web*'")),
    }
}
