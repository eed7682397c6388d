//! A node of a partition: what every agent does.

mod clock;
mod member;
mod switcher;

pub use clock::{CLOCK_AGREEING, ClockExchange, OffsetEstimator, SampleVerdict};
pub use member::{
    AdoptedGang, AdoptedLife, Member, MemberConfiguration, MemberEffect, MemberEvent, MemberInput, MemberPhase, MemberPhaseEvent,
    WrongMemberEvent,
};
pub use switcher::{
    AgentEvent, SwitchCause, SwitchSample, Switcher, SwitcherConfiguration, SwitcherCounters, SwitcherEffect, SwitcherInput,
    WrongAgentEvent,
};
