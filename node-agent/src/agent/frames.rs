//! What travels in the fabric's frames.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use strobe_core::{
    message::{ToManager, ToMember},
    model::{GangRun, NodeIndex},
};

use crate::supervisor_protocol::BarrierGroup;

/// A message from one agent to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AgentFrame {
    /// Manager to member.
    ToMember(ToMember),
    /// Member to manager.
    ToManager(ToManager),
    /// A plain PUT to the gang's root: a node's part of a PMI barrier.
    BarrierBlock(BarrierBlock),
    /// The same for the barrier of a group.
    GroupBlock(GroupBlock),
}

/// A node's part of a PMI barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BarrierBlock {
    /// The gang's life.
    pub run: GangRun,
    /// Number of the barrier in that life, from 1.
    pub number: u64,
    /// The node.
    pub node: NodeIndex,
    /// The keys that its ranks have put.
    pub block: Vec<u8>,
}

/// A node's part of the barrier of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupBlock {
    /// The gang's life.
    pub run: GangRun,
    /// The node.
    pub node: NodeIndex,
    /// The node's name for this barrier, see [`ToAgent::PmiGroupBarrier`].
    ///
    /// [`ToAgent::PmiGroupBarrier`]: crate::supervisor_protocol::ToAgent::PmiGroupBarrier
    pub ticket: u64,
    /// The group.
    pub group: BarrierGroup,
    /// The keys that its ranks there have put and that its other nodes do not have.
    pub block: Vec<u8>,
}

impl AgentFrame {
    /// The frame as bytes.
    #[must_use]
    pub(super) fn encode(&self) -> Bytes {
        postcard::to_stdvec(self).expect("every message of ours can be written down").into()
    }

    /// The frame that these bytes hold.
    ///
    /// # Errors
    /// When they hold none, or more than one.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        let (frame, rest) = postcard::take_from_bytes(bytes)?;
        if rest.is_empty() { Ok(frame) } else { Err(postcard::Error::DeserializeBadEncoding) }
    }
}
