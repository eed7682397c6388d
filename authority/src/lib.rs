//! What every shell of the authority needs, `kubectl-strobe` in local mode and the operator in a cluster: sessions with agents, commands
//! in the words of the contract, manifests in those of the core, and explanations in those of the custom resources.

mod command;
mod contacts;
mod explanation;
pub mod limits;
mod session;
mod translation;

pub use command::Command;
pub use contacts::Contacts;
pub use explanation::{Explanation, JobReason, NodeName, explain, explain_end};
pub use session::{AgentAddress, Session, SessionError, SessionEvent, SessionId, SessionOptions};
pub use translation::{protocol, settings, specification};
