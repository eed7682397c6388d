//! The messages of kubelet's two protocols, generated from the agent's `proto/`.
#![allow(missing_docs, clippy::all, unreachable_pub, unused_qualifications)]

pub(crate) mod csi {
    tonic::include_proto!("csi.v1");
}

pub(crate) mod registration {
    tonic::include_proto!("pluginregistration");
}
