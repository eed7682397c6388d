//! Strobes lost, doubled, late and out of order, holds, seals, stops and silence in any order: what never happens.

use std::time::Duration;

use proptest::prelude::*;
use strobe_core::{
    machine::{Machine, Outbox},
    message::{AgentState, Datagram, Hold, HoldChange, SwitcherCommand, SwitcherReport},
    model::{AgentIncarnation, Epoch, GangSlot, GangSlots, Instant, NodeIndex, Settings, Term},
    node::{Switcher, SwitcherConfiguration, SwitcherEffect, SwitcherInput},
};

use crate::fixture::{admit, fence, from_manager, heartbeat, ms, seal, slots, strobe, table};

/// Two gangs a row, three rows, and gang 6 in all of them.
const ROWS: [&[u8]; 3] = [&[0, 1, 6], &[2, 3, 6], &[4, 5, 6]];
const GANGS: u8 = 7;

/// One thing that happens, after a pause in milliseconds.
#[derive(Debug, Clone)]
enum Happening {
    /// The announcement that the manager made `age` announcements ago.
    Strobe {
        age: u64,
    },
    Heartbeat {
        lease: bool,
    },
    Hold {
        slot: u8,
        resume: bool,
        ahead: u64,
        other_term: bool,
    },
    /// The next term, sealed and admitted to.
    NextTerm,
    /// Admission by a raised view.
    Admit,
    /// No step for this long.
    Stop {
        milliseconds: u64,
    },
    ObservedThawed {
        slot: u8,
    },
    Appear {
        slot: u8,
        released: bool,
    },
    Disturbed,
}

fn happenings() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let happening = prop_oneof![
        12 => (0_u64..4).prop_map(|age| Happening::Strobe { age }),
        4 => any::<bool>().prop_map(|lease| Happening::Heartbeat { lease }),
        4 => (0..GANGS, any::<bool>(), 0_u64..200, any::<bool>())
            .prop_map(|(slot, resume, ahead, other_term)| Happening::Hold { slot, resume, ahead, other_term }),
        1 => Just(Happening::NextTerm),
        2 => Just(Happening::Admit),
        1 => (0_u64..8_000).prop_map(|milliseconds| Happening::Stop { milliseconds }),
        1 => (0..GANGS).prop_map(|slot| Happening::ObservedThawed { slot }),
        1 => (0..GANGS, any::<bool>()).prop_map(|(slot, released)| Happening::Appear { slot, released }),
        1 => Just(Happening::Disturbed),
    ];
    prop::collection::vec((0_u64..120, happening), 1..80)
}

/// The switcher, and what an observer who sees only its effects knows.
struct Watched {
    switcher: Switcher,
    out: Outbox<SwitcherEffect>,
    now: Instant,
    term: u64,
    view: u64,
    heartbeats: u64,
    began: Instant,
    /// By the effects: commanded thawed, held, state and the last epoch.
    thawed: GangSlots,
    held: GangSlots,
    present: GangSlots,
    state: AgentState,
    last: (Term, Epoch),
    sealed: Term,
}

impl Watched {
    fn new(node: u16) -> Self {
        let settings = Settings::default();
        let configuration = SwitcherConfiguration { node: NodeIndex(node), incarnation: AgentIncarnation(1), settings };
        let mut watched = Self {
            switcher: Switcher::new(configuration),
            out: Outbox::with_capacity(Switcher::EFFECTS_MAX),
            now: ms(0),
            term: 0,
            view: 0,
            heartbeats: 0,
            began: ms(0),
            thawed: GangSlots::EMPTY,
            held: GangSlots::EMPTY,
            present: GangSlots::EMPTY,
            state: AgentState::Unsealed,
            last: (Term(0), Epoch(0)),
            sealed: Term(0),
        };
        for slot in 0..GANGS {
            watched.appear(GangSlot(slot), true);
        }
        watched.step(table(1, &ROWS));
        watched.next_term();
        watched
    }

    fn step(&mut self, input: SwitcherInput) {
        let again = self.state != AgentState::Strobed;
        self.switcher.step(self.now, input, &mut self.out);
        let effects: Vec<SwitcherEffect> = self.out.drain().collect();
        for effect in effects {
            match effect {
                SwitcherEffect::Switch { freeze, thaw, .. } => {
                    assert!(freeze.intersection(thaw).is_empty(), "no gang is both frozen and thawed");
                    self.thawed = self.thawed.difference(freeze).union(thaw);
                }
                SwitcherEffect::Sample(sample) => {
                    let this = (sample.term, sample.epoch);
                    assert!(this > self.last || (again && this == self.last), "{this:?} after {:?}", self.last);
                    assert!(sample.term >= self.sealed, "nothing of a term below the seal is executed");
                    self.last = this;
                }
                SwitcherEffect::Report(SwitcherReport::HoldEffective { slot, change: HoldChange::Hold }) => self.held.insert(slot),
                SwitcherEffect::Report(SwitcherReport::HoldEffective { slot, change: HoldChange::Resume }) => self.held.remove(slot),
                SwitcherEffect::Report(SwitcherReport::State(state)) => self.state = state,
                SwitcherEffect::Report(SwitcherReport::Sealed { term }) => self.sealed = term,
                SwitcherEffect::Report(SwitcherReport::LeftOut { .. } | SwitcherReport::VersionMissing { .. })
                | SwitcherEffect::Send { .. } => {}
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!((self.thawed, self.state), (self.switcher.thawed(), self.switcher.state()), "the effects tell all");
        assert!(self.thawed.intersection(self.held).is_empty(), "a held gang is thawed: {:?} of {:?}", self.thawed, self.held);
        let in_one_row = ROWS.iter().any(|row| self.thawed.is_subset(slots(row)));
        assert!(self.state != AgentState::Strobed || in_one_row, "gangs of two rows are thawed: {:?}", self.thawed);
        let runnable = self.present.difference(self.held);
        assert!(self.state == AgentState::Strobed || self.thawed == runnable, "all but held gangs run free");
        assert!(self.switcher.next_deadline().is_none_or(|deadline| deadline > self.now), "what is due is done");
    }

    /// Fires timers up to `until`, each at its instant.
    fn run_until(&mut self, until: Instant) {
        while let Some(deadline) = self.switcher.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = deadline;
            self.step(SwitcherInput::Timer);
        }
        self.now = until;
    }

    fn next_term(&mut self) {
        (self.term, self.view, self.heartbeats, self.began) = (self.term + 1, 1, 0, self.now);
        self.step(seal(self.term));
        self.step(admit(fence(self.term, 1)));
    }

    /// The announcement with this number: announcement `k` begins with epoch `k`, 50 ms each, rows in turn.
    fn announcement(&self, number: u64) -> SwitcherInput {
        let rows: Vec<_> = (0..6).map(|index| Some(u8::try_from((number + index) % 3).expect("a row"))).collect();
        let at = self.began + Duration::from_millis(50 * number);
        from_manager(Datagram::Strobe(strobe(fence(self.term, self.view), 1, number, number, at, &rows)))
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Strobe { age } => {
                let current = u64::try_from(self.now.since(self.began).as_millis() / 50).expect("a short run");
                let strobe = self.announcement(current.saturating_sub(age).max(1));
                self.step(strobe);
            }
            Happening::Heartbeat { lease } => {
                self.heartbeats += 1;
                self.step(heartbeat(fence(self.term, self.view), self.heartbeats, self.now, lease));
            }
            Happening::Hold { slot, resume, ahead, other_term } => {
                let change = if resume { HoldChange::Resume } else { HoldChange::Hold };
                let term = Term(if other_term { self.term + 1 } else { self.term });
                let hold = Hold { slot: GangSlot(slot), change, term, at: self.now + Duration::from_millis(ahead) };
                self.step(SwitcherInput::Command(SwitcherCommand::Hold(hold)));
            }
            Happening::NextTerm => self.next_term(),
            Happening::Admit => {
                self.view += 1;
                self.step(admit(fence(self.term, self.view)));
            }
            Happening::Stop { milliseconds } => {
                self.now = self.now + Duration::from_millis(milliseconds);
                self.step(SwitcherInput::Timer);
            }
            Happening::ObservedThawed { slot } => self.step(SwitcherInput::ObservedThawed(slots(&[slot]))),
            Happening::Appear { slot, released } => self.appear(GangSlot(slot), released),
            Happening::Disturbed => self.step(SwitcherInput::ClockDisturbed { asleep: Duration::from_secs(1) }),
        }
    }

    /// The gang of a slot goes and another comes, in the same rows.
    fn appear(&mut self, slot: GangSlot, released: bool) {
        self.present.insert(slot);
        self.thawed.remove(slot);
        self.held.remove(slot);
        if !released {
            self.held.insert(slot);
        }
        self.step(SwitcherInput::Command(SwitcherCommand::Present { slot, released }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_interleaving_breaks_the_invariants(node in 0_u16..2, happenings in happenings()) {
        let mut watched = Watched::new(node);
        for (pause, happening) in happenings {
            watched.run_until(watched.now + Duration::from_millis(pause));
            watched.happen(&happening);
        }
        // Healed: an admission, a heartbeat and a strobe in time bring it back.
        watched.happen(&Happening::Admit);
        watched.happen(&Happening::Heartbeat { lease: true });
        let ahead = watched.announcement(u64::try_from(watched.now.since(watched.began).as_millis() / 50 + 1).expect("a short run"));
        watched.step(ahead);
        watched.run_until(watched.now + Duration::from_millis(110));
        prop_assert_eq!(watched.state, AgentState::Strobed);
    }

    #[test]
    fn the_same_inputs_give_the_same_machine(happenings in happenings()) {
        let run = || {
            let mut watched = Watched::new(0);
            for (pause, happening) in happenings.clone() {
                watched.run_until(watched.now + Duration::from_millis(pause));
                watched.happen(&happening);
            }
            watched.switcher
        };
        prop_assert_eq!(run(), run());
    }
}
