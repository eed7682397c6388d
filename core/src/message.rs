//! What machines say to each other.
//!
//! Three kinds of channel, three modules:
//!
//! | module | from → to | channel | may be lost, doubled, reordered |
//! |---|---|---|---|
//! | `datagram` | announcer ↔ switchers | sealed datagrams, received by strobe threads | yes |
//! | `stream` | manager ↔ members, member → member | reliable frames, cut at a new term | only by a cut link |
//! | `local` | member ↔ switcher, manager ↔ announcer | bounded queues inside one agent | no; order kept a direction |
//! | `authority` | manager → authority | gRPC; the newest report holds | older ones |

mod authority;
mod datagram;
mod local;
mod stream;

pub use authority::{GangReport, PartitionReport};
pub use datagram::{AgentState, ClockProbe, ClockReply, Datagram, Heartbeat, HeartbeatReply, Schedule, Strobe};
pub use local::{AnnouncerCommand, AnnouncerReport, Hold, HoldChange, RowTable, SwitcherCommand, SwitcherReport};
pub use stream::{GangSignal, Holding, SealAnswer, Signal, Staging, ToManager, ToMember};
