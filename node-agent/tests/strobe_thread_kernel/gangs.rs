//! Freezers that come and go, thaws by somebody else, and what a stopped thread leaves behind.

use strobe_core::{
    message::{Hold, HoldChange, SwitcherCommand, SwitcherReport},
    model::{GangSlot, GangSlots, Instant},
    node::SwitchCause,
};
use strobe_node_agent::strobe_thread::StrobeCommand;

use crate::{
    node::{MANAGER, Node, TERM},
    support::{Scratch, eventually, slots},
};

const HELD: SwitcherReport = SwitcherReport::HoldEffective { slot: GangSlot(0), change: HoldChange::Hold };

fn hold(change: HoldChange) -> SwitcherCommand {
    SwitcherCommand::Hold(Hold { slot: GangSlot(0), change, term: TERM, at: Instant::ORIGIN })
}

/// A node without a term, on which gangs run free, with one held gang.
fn node_with_a_held_gang(scratch: &Scratch) -> Node {
    let mut node = Node::new(MANAGER);
    node.add_gang(scratch, 0);
    node.switcher(hold(HoldChange::Hold));
    eventually("the hold takes effect", || {
        node.drain();
        node.heard.contains(&HELD)
    });
    node
}

#[test]
fn a_hold_is_reported_after_the_gang_is_commanded_frozen() {
    let Some(scratch) = Scratch::new("hold") else { return };
    let mut node = node_with_a_held_gang(&scratch);
    assert_eq!(node.commanded_thawed(), GangSlots::EMPTY);
    node.switcher(hold(HoldChange::Resume));
    eventually("the gang goes on", || node.commanded_thawed() == slots(&[0]));
}

#[test]
fn a_held_gang_that_somebody_else_thaws_is_frozen_again() {
    let Some(scratch) = Scratch::new("foreign") else { return };
    let mut node = node_with_a_held_gang(&scratch);
    eventually("the gang is seen frozen, late or not", || {
        let switches = node.thread().counters().switches;
        switches.freezes == 1 && switches.late_freezes == switches.stragglers
    });
    node.records.clear();
    rustix::io::write(node.gangs[0].0.open_thaw_descriptor().unwrap(), b"0").unwrap();
    eventually("the thaw is noticed", || {
        node.drain();
        !node.records.is_empty()
    });
    assert_eq!((node.records[0].cause, node.records[0].frozen), (SwitchCause::Presence, slots(&[0])));
    assert_eq!(node.commanded_thawed(), GangSlots::EMPTY);
    eventually("the counters say so", || node.thread().counters().thread.foreign_thaws == 1);
}

#[test]
fn freezers_come_back_when_they_are_replaced_or_asked_for() {
    let Some(scratch) = Scratch::new("returned") else { return };
    let mut node = node_with_a_held_gang(&scratch);
    let other = scratch.rank_cgroup("other");
    node.insert(0, &other);
    node.switcher(SwitcherCommand::Absent { slot: GangSlot(0) });
    for _ in 0..2 {
        node.command(StrobeCommand::RemoveGang { slot: GangSlot(0) });
    }
    node.switcher(SwitcherCommand::Seal { term: TERM });
    eventually("all commands are carried out", || {
        node.drain();
        node.heard.contains(&SwitcherReport::Sealed { term: TERM })
    });
    assert_eq!(node.returned, [GangSlot(0); 2], "one was replaced, one asked for, and then there was none");
}

#[test]
fn a_stopped_thread_leaves_gangs_as_they_are_commanded() {
    let Some(scratch) = Scratch::new("stop") else { return };
    let mut node = node_with_a_held_gang(&scratch);
    node.add_gang(&scratch, 1);
    node.thread.take().unwrap().stop();
    assert_eq!(node.commanded_thawed(), slots(&[1]));
    assert!(!node.reports.is_over(), "the appearance of the second gang is still to be popped");
    node.drain();
    assert_eq!(node.records.last().unwrap().thawed, slots(&[1]));
    assert!(node.reports.is_over());
}
