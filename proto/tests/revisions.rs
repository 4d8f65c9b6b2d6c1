//! The protocol as other versions know it: what the committed descriptor of an older revision says is
//! still so. Fields and kinds may be added; what is there keeps its number, its name and its type.

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

fn read(path: &Path) -> FileDescriptorSet {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    FileDescriptorSet::decode(bytes.as_slice()).expect("a committed descriptor can be read")
}

/// Everything that a peer relies on, by its full name.
fn contract(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let ours = set.file.iter().filter(|file| file.package() == "rsv.v1");
    for file in ours {
        for message in &file.message_type {
            of_message(message.name(), message, &mut found);
        }
        for kind in &file.enum_type {
            of_enum(kind.name(), kind, &mut found);
        }
        for service in &file.service {
            for method in &service.method {
                let shape = format!(
                    "rpc({}{}) returns ({}{})",
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                );
                found.insert(format!("{}.{}", service.name(), method.name()), shape);
            }
        }
    }
    found
}

fn stream(is_stream: bool) -> &'static str {
    if is_stream { "stream " } else { "" }
}

fn of_message(name: &str, message: &DescriptorProto, found: &mut BTreeMap<String, String>) {
    for field in &message.field {
        let shape = format!(
            "{} {:?} {:?} {}",
            field.name(),
            field.r#type(),
            field.label(),
            field.type_name()
        );
        found.insert(format!("{name}#{}", field.number()), shape);
    }
    for nested in &message.nested_type {
        of_message(&format!("{name}.{}", nested.name()), nested, found);
    }
    for kind in &message.enum_type {
        of_enum(&format!("{name}.{}", kind.name()), kind, found);
    }
}

fn of_enum(name: &str, kind: &EnumDescriptorProto, found: &mut BTreeMap<String, String>) {
    for value in &kind.value {
        found.insert(
            format!("{name}={}", value.number()),
            value.name().to_owned(),
        );
    }
}

#[test]
fn what_an_older_revision_relies_on_is_still_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let now = contract(&read(Path::new(concat!(env!("OUT_DIR"), "/rsv.v1.bin"))));
    let mut seen = 0;
    for entry in fs::read_dir(here.join("revisions")).unwrap() {
        let path = entry.unwrap().path();
        let old = contract(&read(&path));
        assert!(old.len() > 200, "{}: {} entries", path.display(), old.len());
        let broken: Vec<_> = old
            .iter()
            .filter(|(key, shape)| now.get(*key) != Some(*shape))
            .collect();
        assert!(broken.is_empty(), "{}: {broken:#?}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}
