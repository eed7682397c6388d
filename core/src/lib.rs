//! The pure decisions of Strobe.
//!
//! Everything that Strobe decides is decided here, by state machines that read no clock, no socket, no random source and
//! no Kubernetes type. A shell (the agent, the operator, `kubectl-strobe`, or the simulation) turns messages and timers
//! into inputs, and the effects that a machine returns into input and output.
//!
//! | machine | lives in | commands |
//! |---|---|---|
//! | [`authority::Authority`] | operator, or `kubectl-strobe` in local mode | terms, admission, placement, restarts |
//! | [`manager::Manager`] | the agent that manages a partition in a term | seals, the view, numbering, the life of gangs |
//! | [`manager::Announcer`] | the same agent's strobe thread | the lease, heartbeats, strobes |
//! | [`node::Member`] | every agent | its seal, its replica of global memory, its own gangs |
//! | [`node::Switcher`] | every agent's strobe thread | which local gangs are frozen, at which instant |
//!
//! *Invariant:* a machine's behaviour is a function of its inputs alone: no clock, no randomness, no iteration over
//! unordered collections.

pub mod authority;
pub mod limits;
pub mod machine;
pub mod manager;
pub mod matrix;
pub mod message;
pub mod model;
pub mod node;
pub mod primitives;
