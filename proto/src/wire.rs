//! The generated messages and services of package `rsv.v1`.
#![expect(
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unused_qualifications,
    reason = "generated code; its documentation is in the .proto files"
)]

tonic::include_proto!("rsv.v1");

/// The compiled descriptors, as a serialized `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rsv.v1.bin"));
