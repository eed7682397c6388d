//! When everything is healed, and whether everything then comes to rest.

use std::time::Duration;

use strobe_core::{
    authority::AuthorityInput,
    message::AgentState,
    model::{Epoch, Term},
    primitives::OperationId,
};

use super::{Event, World, milliseconds};
use crate::limits::RECOVERY_MAX;

/// How often the world is looked at after the healing.
const LOOK: Duration = Duration::from_millis(25);

impl World {
    /// The network is whole, every job goes on; what is down comes back by its own plan.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.network.heal();
        self.trace.say(self.now, || "everything is healed".to_owned());
        for (gang, _) in (0..).zip(&self.scenario.jobs.clone()) {
            let gang = strobe_core::model::GangId(gang);
            self.tell_operator_outside(AuthorityInput::SetPaused { gang, paused: false });
            self.tell_operator_outside(AuthorityInput::SetSuspended { gang, suspended: false });
        }
        self.after(LOOK, Event::Look);
    }

    pub(crate) fn look(&mut self) {
        let unrest = self.unrest();
        match unrest {
            None => {
                self.finished = true;
                self.counters.operations += self.ledger.history.operations() as u64;
                match self.ledger.explained() {
                    Ok(by_all_orders) => self.counters.histories_tried += u64::from(by_all_orders),
                    Err(violation) => self.judge(Err(violation)),
                }
            }
            Some(reason) if self.now > milliseconds(self.scenario.heal_at_milliseconds) + RECOVERY_MAX => {
                self.fail("progress", format!("{} s after everything was healed: {reason}", RECOVERY_MAX.as_secs()));
            }
            Some(_) => self.after(LOOK, Event::Look),
        }
    }

    /// What has not come to rest yet.
    fn unrest(&self) -> Option<String> {
        let jobs: Vec<_> = self.operator.authority.jobs().collect();
        if jobs.len() < self.scenario.jobs.len() {
            return Some("a job is not known".to_owned());
        }
        if let Some(job) = jobs.iter().find(|job| !job.state.is_terminal()) {
            return Some(format!("job {} is {:?}: {:?}", job.gang, job.state, job.reason));
        }
        (0..self.nodes.len()).find_map(|node| self.node_unrest(node)).or_else(|| self.unanswered())
    }

    /// A caller that lives waits for the outcome of an operation.
    fn unanswered(&self) -> Option<String> {
        let waits = |operation: &OperationId| self.lives(usize::from(operation.caller.node.0), operation.caller.incarnation);
        self.ledger.history.unanswered().find(waits).map(|operation| format!("nobody has answered {operation:?}"))
    }

    fn node_unrest(&self, node: usize) -> Option<String> {
        let Some(agent) = self.nodes[node].agent.as_ref() else { return Some(format!("node {node} has no agent")) };
        if self.nodes[node].session.is_none() {
            return Some(format!("the operator does not reach node {node}"));
        }
        let state = agent.switcher.state();
        if state != AgentState::Strobed {
            return Some(format!("the agent of node {node} is {state:?}"));
        }
        let (term, epoch) = agent.switcher.switched();
        let behind = |(newest_term, newest): (Term, Epoch)| term != newest_term || epoch.0 + self.epochs_behind_max() < newest.0;
        let newest = self.nodes.iter().filter_map(|node| node.agent.as_ref()).map(|agent| agent.switcher.switched()).max();
        newest.filter(|newest| behind(*newest)).map(|newest| format!("node {node} is at {term} {epoch}, others at {newest:?}"))
    }

    /// Two heartbeats' worth of epochs: a lost strobe is repaired within one.
    fn epochs_behind_max(&self) -> u64 {
        let epochs = 2 * self.settings.heartbeat.as_nanos() / self.settings.quantum.as_nanos();
        u64::try_from(epochs).unwrap_or(u64::MAX) + 2
    }
}
