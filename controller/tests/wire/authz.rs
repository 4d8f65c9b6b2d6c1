//! Every method that exists, called by everybody there is.

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use rsv_controller::authz::{Callers, TABLE};
use rsv_proto::{
    dial::dial,
    identity::Role,
    tls::{Credentials, Pin, pinned_client_config},
    wire::DESCRIPTORS,
};
use tonic::{Code, Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::harness::Fleet;

/// Every method of every service on the wire.
fn methods() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let services = set
        .file
        .iter()
        .flat_map(|f| f.service.iter().map(move |s| (f, s)));
    services
        .flat_map(|(file, service)| {
            let prefix = format!("/{}.{}/", file.package(), service.name());
            service
                .method
                .iter()
                .map(move |m| prefix.clone() + m.name())
        })
        .collect()
}

/// Calls a method with an empty message and says how it was received. Both kinds of streams read the one
/// message, so that this serves for every method.
async fn call(channel: &Channel, path: &str) -> Code {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    let path: PathAndQuery = path.parse().unwrap();
    let request = Request::new(tokio_stream::iter([()]));
    let mut answers = match client.streaming(request, path, codec).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return status.code(),
    };
    match answers.message().await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn every_method_is_in_the_table_and_lets_in_those_it_names_alone() {
    let fleet = Fleet::start().await;
    let listed: BTreeSet<String> = TABLE.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(listed, methods(), "the table is the wire");
    let controller = fleet.authority();
    let now = std::time::SystemTime::now();
    let controller = controller
        .make_controller(&["localhost".into()], now)
        .unwrap();
    let agent = fleet.join("web01").await;
    let pinned = pinned_client_config(Pin::of(&fleet.admin.root)).unwrap();
    let nobody = dial(&fleet.address, pinned).await.unwrap();
    let mut callers: Vec<(Option<Role>, Channel)> = vec![(None, nobody)];
    let known: [(Role, &Credentials); 3] = [
        (Role::Agent, &agent),
        (Role::Operator, &fleet.admin),
        (Role::Controller, &controller),
    ];
    for (role, credentials) in known {
        callers.push((Some(role), fleet.channel(credentials).await));
    }
    for (path, allowed) in TABLE {
        for (role, channel) in &callers {
            let code = call(channel, path).await;
            let expected = match (allowed, role) {
                (Callers::Anyone, _) => None,
                (Callers::Only(_), None) => Some(Code::Unauthenticated),
                (Callers::Only(roles), Some(role)) if roles.contains(role) => None,
                (Callers::Only(_), Some(_)) => Some(Code::PermissionDenied),
            };
            match expected {
                Some(expected) => assert_eq!(code, expected, "{path} by {role:?}"),
                None => assert!(
                    !matches!(
                        code,
                        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented
                    ) || (path.ends_with("/Join") && code == Code::InvalidArgument),
                    "{path} by {role:?}: {code:?}"
                ),
            }
        }
    }
}

#[tokio::test]
async fn methods_that_do_not_exist_are_unimplemented_for_everybody() {
    let fleet = Fleet::start().await;
    let channel = fleet.channel(&fleet.admin).await;
    for path in [
        "/rsv.v1.Fleet/Nothing",
        "/rsv.v1.Fleet/act",
        "/",
        "/grpc.health.v1.Health/Check",
    ] {
        assert_eq!(call(&channel, path).await, Code::Unimplemented, "{path}");
    }
}
