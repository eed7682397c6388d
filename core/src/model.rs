//! The words of Strobe as types: identifiers, instants, sets, settings, plans, terms and the life of a gang.

mod gang;
mod identifiers;
mod plan;
mod sets;
mod settings;
mod term;
mod time;

pub use gang::{BarrierFailure, Desire, EndCause, GangEvent, GangState, RankOutcome, WrongEvent};
pub use identifiers::{
    AgentIncarnation, CpuIndex, Epoch, Fence, GangId, GangIncarnation, GangRun, GangSlot, MatrixVersion, NodeIncarnation, NodeIndex,
    PartitionUid, RankIndex, RecordNumber, RowIndex, Term, View,
};
pub use plan::{NodePlacement, Plan, PlannedGang};
pub use sets::{CpuSet, GangSlots, NodeSet, RowSet};
pub use settings::{Policy, Settings, SettingsError};
pub use term::{Appointment, EstablishedTerm, TermRecord};
pub use time::Instant;
