//! What the machine wants.

use super::PassedSignal;
use crate::supervisor_protocol::{Configure, PeerTable, RankReport, ToAgent};

/// What shall be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell the agent.
    Send(ToAgent),
    /// Tell the agent of this rank, with its pidfd.
    SendStub(RankReport),
    /// Tell the agent where the ranks are reached, if that can be found.
    SendReachable,
    /// Close the connection; it is made again later.
    Disconnect,
    /// Check the program, prepare PMI, fork the stubs.
    StartStubs(Configure),
    /// Let every stub become its rank.
    Release(PeerTable),
    /// Thaw the rank cgroup.
    Thaw,
    /// Pass a signal to every living rank.
    Pass(PassedSignal),
    /// SIGKILL to every living rank.
    Kill,
    /// Answer the local ranks' barrier.
    BarrierComplete {
        /// Its number.
        number: u64,
        /// All nodes' keys.
        block: Vec<u8>,
    },
    /// Fail the local ranks' barrier.
    BarrierFailed {
        /// Its number.
        number: u64,
        /// Why.
        explanation: String,
    },
    /// Answer a group's barrier, unless it was answered before, and acknowledge the answer.
    GroupBarrierComplete {
        /// Its ticket.
        ticket: u64,
        /// Keys of all its nodes.
        block: Vec<u8>,
    },
    /// Tell the agent of the barriers that wait.
    RepeatBarriers,
}
