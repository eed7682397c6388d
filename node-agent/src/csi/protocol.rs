//! The messages of kubelet's two protocols, generated from `proto/`.
#![allow(missing_docs, clippy::all, unused_qualifications, unreachable_pub, dead_code, reason = "generated; the clients are the tests'")]

pub(crate) mod csi {
    tonic::include_proto!("csi.v1");
}

pub(crate) mod registration {
    tonic::include_proto!("pluginregistration");
}
