//! What the agent and the supervisor `strobe-init` say to each other over the gang's unix socket: the
//! messages, their encoding, and an endpoint that sends and receives them with descriptors.
//!
//! The socket is of type SOCK_SEQPACKET. A message is postcard-encoded and cut into packets; see
//! [`endpoint`]. Messages are only ever appended to the enumerations, never changed or reordered, so that
//! a supervisor of version N can be adopted by an agent of version N+1 (ADR 0002).

pub mod codec;
pub mod endpoint;
pub mod error;
pub mod limits;
pub mod messages;

pub use endpoint::{AgentEndpoint, Endpoint, PeerCredentials, Received, SupervisorEndpoint};
pub use error::ProtocolError;
pub use messages::{
    BarrierFault, BarrierGroup, Configure, Freezer, GangName, GroupMembers, Hello, Incarnation, KeySpace, LaunchError, LaunchFailure,
    LaunchProtocol, PeerTable, Rank, RankEnd, RankPhase, RankReport, ToAgent, ToSupervisor, VersionRange,
};
