//! What the agent commands the strobe thread.

use std::net::SocketAddr;

use strobe_core::{
    message::{AnnouncerCommand, SwitcherCommand},
    model::{GangSlot, Term},
};
use strobe_fabric::{datagram::DatagramKeys, transport::LinkId};
use thiserror::Error;

use crate::{executor::limits::GANGS_MAX, freezer::Freezer};

/// Agent → strobe thread. Their order is kept.
#[derive(Debug)]
pub enum StrobeCommand {
    /// For the switcher.
    Switcher(SwitcherCommand),
    /// For the announcer.
    Announcer(Box<AnnouncerCommand>),
    /// Hands a gang's freezer over: before the switcher hears that the gang is present. A freezer that was in the slot
    /// comes back.
    InsertGang {
        /// The gang's slot.
        slot: GangSlot,
        /// Its freezer.
        freezer: Box<Freezer>,
    },
    /// Asks for the freezer back, as [`Returned::Freezer`](super::Returned::Freezer): from then on the thread does not
    /// touch the gang. After the switcher has heard that the gang is absent.
    RemoveGang {
        /// The gang's slot.
        slot: GangSlot,
    },
    /// A link came up.
    InstallKeys {
        /// Its keys.
        keys: Box<DatagramKeys>,
        /// Where the peer's datagram socket is.
        address: SocketAddr,
    },
    /// A link is no longer planned.
    RemoveLink(LinkId),
    /// Drops the keys of all terms below this one for ever: before a seal is answered.
    CloseLinks(Term),
}

/// As many commands wait as may: the strobe thread does not run, or does not keep up. The command is given back.
#[derive(Debug, Error)]
#[error("{} commands wait for the strobe thread already", super::limits::COMMANDS_MAX)]
pub struct CommandsFull {
    /// What was not taken.
    pub command: Box<StrobeCommand>,
}

/// The commands as they travel: without boxes, because the strobe thread shall free none.
#[derive(Debug)]
pub(super) enum Order {
    Switcher(SwitcherCommand),
    Announcer(AnnouncerCommand),
    InsertGang { slot: GangSlot, freezer: Freezer },
    RemoveGang { slot: GangSlot },
    InstallKeys { keys: Box<DatagramKeys>, address: SocketAddr },
    RemoveLink(LinkId),
    CloseLinks(Term),
}

// === impl Order ===

impl From<StrobeCommand> for Order {
    fn from(command: StrobeCommand) -> Self {
        match command {
            StrobeCommand::Switcher(command) => Self::Switcher(command),
            StrobeCommand::Announcer(command) => Self::Announcer(*command),
            StrobeCommand::InsertGang { slot, freezer } => {
                assert!(usize::from(slot.0) < GANGS_MAX, "a node has no gang slot {slot}");
                Self::InsertGang { slot, freezer: *freezer }
            }
            StrobeCommand::RemoveGang { slot } => {
                assert!(usize::from(slot.0) < GANGS_MAX, "a node has no gang slot {slot}");
                Self::RemoveGang { slot }
            }
            StrobeCommand::InstallKeys { keys, address } => Self::InstallKeys { keys, address },
            StrobeCommand::RemoveLink(link) => Self::RemoveLink(link),
            StrobeCommand::CloseLinks(term) => Self::CloseLinks(term),
        }
    }
}

// === impl StrobeCommand ===

impl From<Order> for StrobeCommand {
    fn from(order: Order) -> Self {
        match order {
            Order::Switcher(command) => Self::Switcher(command),
            Order::Announcer(command) => Self::Announcer(Box::new(command)),
            Order::InsertGang { slot, freezer } => Self::InsertGang { slot, freezer: Box::new(freezer) },
            Order::RemoveGang { slot } => Self::RemoveGang { slot },
            Order::InstallKeys { keys, address } => Self::InstallKeys { keys, address },
            Order::RemoveLink(link) => Self::RemoveLink(link),
            Order::CloseLinks(term) => Self::CloseLinks(term),
        }
    }
}
