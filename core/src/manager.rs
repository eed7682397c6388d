//! The manager: what an agent does while it is the machine manager of its partition.
//!
//! [`Manager`] seals the members of its term, completes the prefix, numbers the one order and leads the gangs through
//! their lives; [`Announcer`], on the strobe thread, asks for the lease and announces the strobe.
//! *Invariant:* nothing is numbered before enough members have sealed and hold the prefix, nor without the lease.
//! *Invariant:* between a compare and its result nothing else is numbered: comparison and write are one step.

mod announcer;
mod face;
mod gangs;
mod ordering;
mod phase;
mod reign;
mod sealing;
mod sequencer;
mod staging;
mod views;
mod waiting;

pub use announcer::{Announcer, AnnouncerCounters, AnnouncerEffect, AnnouncerInput};
pub use face::{ManagerEffect, ManagerEvent, ManagerInput};
pub use phase::{ManagerPhase, ManagerPhaseEvent, WrongManagerEvent};
use reign::{Reign, Stage};

use crate::{
    machine::{Machine, Outbox},
    message::AnnouncerCommand,
    model::{Instant, Term},
};

/// See the module. Without an appointment it does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Manager {
    reign: Option<Reign>,
    /// The last term in which a member has refused it: it does not begin again in that one.
    refused_in: Option<Term>,
}

impl Manager {
    /// True while this agent has an appointment that no member has refused.
    #[must_use]
    pub const fn is_appointed(&self) -> bool {
        self.reign.is_some()
    }

    /// How far it has come in its term.
    #[must_use]
    pub fn phase(&self) -> ManagerPhase {
        self.reign.as_ref().map_or(ManagerPhase::Idle, Reign::phase)
    }

    /// The one door to the table for what begins and ends a reign.
    fn enter(&mut self, event: ManagerPhaseEvent, reign: Option<Reign>) {
        let next = self.phase().after(event).unwrap_or_else(|wrong| panic!("{wrong}"));
        self.reign = reign;
        assert_eq!(self.phase(), next, "the phase that {event:?} leads to");
    }
}

impl Machine for Manager {
    type Input = ManagerInput;
    type Effect = ManagerEffect;

    fn step(&mut self, now: Instant, input: ManagerInput, out: &mut Outbox<ManagerEffect>) {
        match input {
            ManagerInput::Appointed { appointment, settings } => {
                let newer = self.reign.as_ref().is_none_or(|reign| appointment.record.term > reign.term());
                if let Some(reign) = self.reign.as_mut().filter(|_| !newer) {
                    reign.appointed_again(now, &appointment, out);
                } else if self.refused_in.is_none_or(|refused| appointment.record.term > refused) {
                    out.push(ManagerEffect::Announcer(AnnouncerCommand::Stop));
                    let reign = Reign::begin(now, appointment, settings, out);
                    self.enter(ManagerPhaseEvent::Appointed, Some(reign));
                }
            }
            other @ (ManagerInput::Plan(_)
            | ManagerInput::Lost(_)
            | ManagerInput::FromMember { .. }
            | ManagerInput::LinkUp(_)
            | ManagerInput::Announcer(_)
            | ManagerInput::Timer) => {
                let refused = self.reign.as_mut().is_some_and(|reign| reign.step(now, other, out).is_refused());
                if refused {
                    self.refused_in = self.reign.as_ref().map(Reign::term);
                    out.push(ManagerEffect::Announcer(AnnouncerCommand::Stop));
                    self.enter(ManagerPhaseEvent::Refused, None);
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.reign.as_ref().map(Reign::next_deadline)
    }
}
