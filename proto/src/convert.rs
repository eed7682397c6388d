//! Translation between the contract's messages and the core's types.

mod plan;
mod report;
mod settings;
mod term;

use strobe_core::{
    limits::{MEMBERS_MAX, RANKS_PER_GANG_MAX},
    model::{AgentIncarnation, GangId, GangIncarnation, GangRun, NodeIncarnation, NodeIndex, PartitionUid, RankIndex},
};

use crate::agent;

/// Why a message from the wire is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there is missing.
    #[error("field {field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A number is outside the range of what it counts.
    #[error("field {field} is {value}, which is out of range")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// A list has more entries than there can be of what it lists.
    #[error("field {field} has {length} entries, more than the {limit} that there can be")]
    TooMany {
        /// The field.
        field: &'static str,
        /// The entries that came.
        length: usize,
        /// The entries that there can be.
        limit: usize,
    },
    /// A partition's UID is not 16 bytes long.
    #[error("a partition UID has 16 bytes, not {length}")]
    PartitionUid {
        /// The bytes that came.
        length: usize,
    },
    /// Settings that do not agree with each other.
    #[error("settings are refused")]
    Settings(#[from] strobe_core::model::SettingsError),
}

/// A number narrowed to its own type.
fn narrow<Wide: Copy + Into<u64>, Narrow: TryFrom<Wide>>(field: &'static str, value: Wide) -> Result<Narrow, ConvertError> {
    Narrow::try_from(value).map_err(|_| ConvertError::OutOfRange { field, value: value.into() })
}

fn required<Message>(field: &'static str, message: Option<Message>) -> Result<Message, ConvertError> {
    message.ok_or(ConvertError::Missing { field })
}

/// The entries of a list that has at most `limit`.
fn each<Wire, Core: TryFrom<Wire, Error = ConvertError>>(
    field: &'static str,
    limit: usize,
    messages: Vec<Wire>,
) -> Result<Vec<Core>, ConvertError> {
    at_most(field, limit, messages.len())?;
    messages.into_iter().map(Core::try_from).collect()
}

fn at_most(field: &'static str, limit: usize, length: usize) -> Result<(), ConvertError> {
    if length <= limit { Ok(()) } else { Err(ConvertError::TooMany { field, length, limit }) }
}

/// A number below the count of what it is one of.
fn below(field: &'static str, count: u64, value: u64) -> Result<(), ConvertError> {
    if value < count { Ok(()) } else { Err(ConvertError::OutOfRange { field, value }) }
}

/// The bytes of a partition's UID.
#[must_use]
pub fn partition_bytes(uid: PartitionUid) -> Vec<u8> {
    uid.0.to_be_bytes().to_vec()
}

/// A partition's UID from its bytes.
///
/// # Errors
/// When there are not 16 of them.
pub fn partition_uid(bytes: &[u8]) -> Result<PartitionUid, ConvertError> {
    let array = <[u8; 16]>::try_from(bytes).map_err(|_| ConvertError::PartitionUid { length: bytes.len() })?;
    Ok(PartitionUid(u128::from_be_bytes(array)))
}

/// A value of an enumeration that this build does not know.
fn unknown(field: &'static str, value: i32) -> ConvertError {
    ConvertError::OutOfRange { field, value: u64::from(value.cast_unsigned()) }
}

fn rank(field: &'static str, index: u32) -> Result<RankIndex, ConvertError> {
    below(field, RANKS_PER_GANG_MAX.into(), index.into())?;
    Ok(RankIndex(index))
}

fn node(field: &'static str, index: u32) -> Result<NodeIndex, ConvertError> {
    below(field, MEMBERS_MAX as u64, index.into())?;
    narrow(field, index).map(NodeIndex)
}

impl From<NodeIncarnation> for agent::NodeIncarnation {
    fn from(member: NodeIncarnation) -> Self {
        Self { node: member.node.0.into(), incarnation: member.incarnation.0 }
    }
}

impl TryFrom<agent::NodeIncarnation> for NodeIncarnation {
    type Error = ConvertError;

    fn try_from(message: agent::NodeIncarnation) -> Result<Self, ConvertError> {
        Ok(Self { node: node("node", message.node)?, incarnation: AgentIncarnation(message.incarnation) })
    }
}

impl From<GangRun> for agent::GangRun {
    fn from(run: GangRun) -> Self {
        Self { gang: run.gang.0, incarnation: run.incarnation.0 }
    }
}

impl From<agent::GangRun> for GangRun {
    fn from(message: agent::GangRun) -> Self {
        Self { gang: GangId(message.gang), incarnation: GangIncarnation(message.incarnation) }
    }
}
