//! Promises, and who is obeyed under them.

use std::sync::Arc;

use strobe_core::{
    machine::Machine,
    message::{AgentState, SealAnswer, SwitcherCommand, SwitcherReport, ToManager, ToMember},
    model::{AgentIncarnation, MatrixVersion, NodeIncarnation, NodeIndex, RecordNumber, Settings, Term, TermRecord},
    node::{MemberEffect, MemberEvent, MemberInput, MemberPhase},
    primitives::{Memory, Outcome},
};

use crate::bench::{Bench, FENCE, MANAGER, NODE, agent, block, elsewhere, fence, operation, plan, put, term_record};

fn report(bench: &mut Bench, report: SwitcherReport) {
    bench.step(MemberInput::Switcher(report));
}

fn refused(term: u64) -> MemberEffect {
    MemberEffect::Event(MemberEvent::StaleRefused(Term(term)))
}

fn empty() -> Memory {
    Memory::empty(1, RecordNumber(0))
}

#[test]
fn a_promise_is_answered_when_the_strobe_thread_refuses_links_are_cut_and_it_is_written() {
    let mut bench = Bench::born(None);
    bench.hears(ToMember::Seal(term_record(2, 1)));
    assert_eq!(bench.effects, [MemberEffect::Switcher(SwitcherCommand::Seal { term: Term(2) })]);
    bench.step(MemberInput::SealPersisted(Term(1)));
    assert_eq!((&bench.effects[..], bench.member.phase()), (&[][..], MemberPhase::Sealing), "that was an earlier promise");
    report(&mut bench, SwitcherReport::Sealed { term: Term(1) });
    assert_eq!(bench.effects, []);
    report(&mut bench, SwitcherReport::Sealed { term: Term(2) });
    assert_eq!(bench.effects, [MemberEffect::CloseLinks(Term(2)), MemberEffect::PersistSeal(Term(2))]);
    bench.step(MemberInput::SealPersisted(Term(2)));
    let answer = SealAnswer { term: Term(2), member: agent(0), knows_from: Term(2), holding: None };
    let send = MemberEffect::Send { to: MANAGER, message: ToManager::Sealed(answer) };
    assert_eq!(bench.effects, [MemberEffect::Event(MemberEvent::Sealed(Term(2))), send]);
    report(&mut bench, SwitcherReport::Sealed { term: Term(2) });
    bench.step(MemberInput::SealPersisted(Term(2)));
    assert_eq!(bench.effects, [], "it was made already");
}

#[test]
fn only_the_manager_that_the_record_of_the_own_partition_names_is_promised_anything() {
    let foreign = TermRecord { partition: elsewhere(FENCE).partition, ..term_record(2, 1) };
    for (from, record) in [(NodeIndex(0), term_record(2, 1)), (MANAGER, foreign.clone())] {
        let mut bench = Bench::born(None);
        bench.hears_from(from, ToMember::Seal(record));
        assert_eq!((&bench.effects[..], bench.member.sealed()), (&[][..], None));
    }
    let mut bench = Bench::born(None);
    bench.step(MemberInput::Introduced(foreign));
    assert_eq!(bench.member.sealed(), None);
}

#[test]
fn a_term_that_the_authority_names_is_sealed_unless_it_is_followed_or_over() {
    let introduced = |mut bench: Bench, term| {
        bench.step(MemberInput::Introduced(term_record(term, 1)));
        bench.commands() == [SwitcherCommand::Seal { term: Term(term) }]
    };
    assert!(introduced(Bench::born(None), 2));
    assert!(introduced(Bench::sealed(), 3));
    assert!(!introduced(Bench::sealed(), 2), "it is followed");
    assert!(!introduced(Bench::sealed(), 1), "it is over");
    assert!(introduced(Bench::born(Some(2)), 2), "an earlier life has promised it, this one has not");
    assert!(!introduced(Bench::born(Some(2)), 1));
}

#[test]
fn what_this_life_knows_of_promises_begins_after_the_seal_file_or_with_its_first_one() {
    let known_from = |mut bench: Bench, terms: &[u64]| {
        terms.iter().for_each(|term| bench.promises(*term));
        bench.answers()[0].knows_from
    };
    assert_eq!(known_from(Bench::born(None), &[4, 6]), Term(4));
    assert_eq!(known_from(Bench::born(Some(4)), &[4]), Term(5), "the earlier life may have held what it knows of no more");
    assert_eq!(known_from(Bench::born(Some(4)), &[7]), Term(5));
}

#[test]
fn the_answer_to_a_seal_has_what_is_held_of_the_term_before() {
    let mut bench = Bench::admitted();
    bench.applies(put(operation(1, 1)));
    bench.appends(2, put(operation(1, 2)));
    bench.promises(3);
    let holding = bench.answers()[0].holding.clone().expect("it holds the order of term 2");
    assert_eq!((holding.term, holding.memory.applied, holding.last()), (Term(2), RecordNumber(1), RecordNumber(2)));
    assert_eq!(holding.records, [Arc::new(put(operation(1, 2)))]);
}

#[test]
fn whoever_commands_by_a_term_below_the_seal_is_told_the_seal() {
    let old = fence(1, 9);
    let record = || Arc::new(put(operation(1, 1)));
    let commands = [
        ToMember::Seal(term_record(1, 2)),
        ToMember::Install { fence: old, memory: Arc::new(empty()) },
        ToMember::Append { fence: old, number: RecordNumber(1), record: record() },
        ToMember::Stable { fence: old, number: RecordNumber(1) },
    ];
    let told = MemberEffect::Send { to: NodeIndex(2), message: ToManager::SealRefused { sealed: Term(2) } };
    let mut bench = Bench::admitted();
    for command in commands {
        bench.hears_from(NodeIndex(2), command);
        assert_eq!(bench.effects, [refused(1), told.clone()]);
    }
    bench.hears_from(NodeIndex(2), ToMember::Append { fence: elsewhere(old), number: RecordNumber(1), record: record() });
    assert_eq!(bench.effects, [refused(1)], "terms of another partition are none of its own");
}

#[test]
fn nothing_is_installed_or_held_for_another_node_partition_or_term() {
    let wrong = [(NodeIndex(2), FENCE), (MANAGER, elsewhere(FENCE)), (MANAGER, fence(3, 1))];
    for (from, fence) in wrong {
        let mut bench = Bench::sealed();
        bench.hears_from(from, ToMember::Install { fence, memory: Arc::new(empty()) });
        assert_eq!((&bench.effects[..], bench.member.phase()), (&[refused(fence.term.0)][..], MemberPhase::Sealed));
        let mut bench = Bench::admitted();
        bench.hears_from(from, ToMember::Append { fence, number: RecordNumber(1), record: Arc::new(put(operation(1, 1))) });
        assert_eq!(bench.effects, [refused(fence.term.0)]);
        bench.appends(1, put(operation(1, 1)));
        bench.hears_from(from, ToMember::Stable { fence, number: RecordNumber(1) });
        assert_eq!((&bench.effects[..], bench.member.memory().map(|memory| memory.applied)), (&[][..], Some(RecordNumber(0))));
    }
}

#[test]
fn nothing_is_installed_before_the_promise_and_nothing_held_before_the_prefix() {
    let mut bench = Bench::born(None);
    bench.hears(ToMember::Install { fence: FENCE, memory: Arc::new(empty()) });
    assert_eq!(bench.effects, [refused(2)]);
    bench.hears(ToMember::Seal(term_record(2, 1)));
    bench.hears(ToMember::Install { fence: FENCE, memory: Arc::new(empty()) });
    assert_eq!((&bench.effects[..], bench.member.phase()), (&[refused(2)][..], MemberPhase::Sealing), "the promise is not written");
    let mut bench = Bench::sealed();
    bench.appends(1, put(operation(1, 1)));
    assert_eq!(bench.effects, [refused(2)]);
    bench.is_admitted(FENCE);
    assert_eq!(bench.member.admitted(), None);
}

#[test]
fn a_member_that_is_asked_again_is_not_counted_in_and_asks_to_be() {
    let again = ToMember::Seal(term_record(2, 1));
    for mut bench in [Bench::sealed(), Bench::admitted()] {
        bench.hears(again.clone());
        assert_eq!((bench.answers().len(), bench.effects.len(), bench.member.phase()), (1, 1, MemberPhase::Sealed));
    }
    let mut making = Bench::born(None);
    making.hears(again.clone());
    making.hears(again);
    assert_eq!((&making.effects[..], making.member.phase()), (&[][..], MemberPhase::Sealing), "it will be answered when it is made");
    let mut other = Bench::admitted();
    other.hears_from(NodeIndex(2), ToMember::Seal(term_record(2, 2)));
    assert_eq!((&other.effects[..], other.member.admitted()), (&[][..], Some(FENCE)), "a term has one manager");
}

#[test]
fn a_member_that_the_strobe_thread_finds_left_out_of_its_term_asks_to_be_admitted() {
    let left_out = |term| SwitcherReport::LeftOut { term: Term(term) };
    let mut bench = Bench::admitted();
    report(&mut bench, left_out(1));
    assert_eq!((&bench.effects[..], bench.member.admitted()), (&[][..], Some(FENCE)));
    report(&mut bench, left_out(2));
    assert_eq!((bench.answers().len(), bench.member.phase()), (1, MemberPhase::Sealed));
    report(&mut bench, left_out(2));
    assert_eq!(bench.effects, [], "it asks already");
}

#[test]
fn a_member_obeys_views_that_do_not_fall_and_have_this_life_of_it() {
    let earlier = NodeIncarnation { incarnation: AgentIncarnation(0), ..agent(0) };
    let admitted = |fence, own| ToMember::Admitted { fence, members: vec![own, agent(1)] };
    let mut bench = Bench::sealed();
    bench.installs(fence(2, 3), empty());
    bench.hears_from(NodeIndex(2), admitted(fence(2, 3), agent(0)));
    bench.hears(admitted(fence(3, 3), agent(0)));
    assert_eq!(bench.member.admitted(), None, "of another manager, or another term");
    bench.is_admitted(fence(2, 3));
    assert_eq!(bench.commands()[..1], [SwitcherCommand::Admit { fence: fence(2, 3), manager: MANAGER }]);
    assert_eq!(bench.events()[..1], [MemberEvent::Admitted(fence(2, 3))]);
    bench.is_admitted(fence(2, 3));
    assert_eq!((&bench.effects[..], bench.member.admitted()), (&[][..], Some(fence(2, 3))), "it is already");
    bench.is_admitted(fence(2, 2));
    bench.hears_from(NodeIndex(2), admitted(fence(2, 4), agent(0)));
    assert_eq!((&bench.effects[..], bench.member.admitted()), (&[][..], Some(fence(2, 3))));
    bench.is_admitted(fence(2, 4));
    assert_eq!((bench.commands().len(), bench.member.admitted()), (1, Some(fence(2, 4))));
    bench.hears(admitted(fence(2, 5), earlier));
    assert_eq!((bench.answers().len(), bench.effects.len(), bench.member.phase()), (1, 1, MemberPhase::Sealed), "that life is over");
}

#[test]
fn a_prefix_that_is_installed_again_leaves_an_admitted_member_admitted() {
    let mut bench = Bench::admitted();
    bench.appends(1, put(operation(1, 1)));
    bench.installs(FENCE, empty());
    assert_eq!((bench.installed(), bench.member.admitted()), (vec![1], Some(FENCE)), "it was missed that it has it");
}

#[test]
fn what_was_held_of_an_earlier_term_is_dropped_for_the_prefix_of_the_next() {
    let mut bench = Bench::admitted();
    bench.appends(1, put(operation(1, 1)));
    bench.promises(3);
    bench.installs(fence(3, 1), empty());
    assert_eq!(bench.installed(), [0]);
}

#[test]
fn operations_are_unknown_once_memory_began_anew_and_only_then() {
    for (generation, outcomes) in [(1, vec![]), (2, vec![(1, Outcome::Unknown)])] {
        let mut bench = Bench::admitted();
        bench.submits(block(1));
        bench.promises(3);
        bench.installs(fence(3, 1), Memory::empty(generation, RecordNumber(0)));
        bench.is_admitted(fence(3, 1));
        assert_eq!(bench.outcomes(), outcomes);
    }
}

#[test]
fn what_a_lost_link_may_have_swallowed_is_said_again_every_heartbeat() {
    let heartbeat = Settings::default().heartbeat;
    let mut idle = Bench::born(None);
    idle.step(MemberInput::Inventory(Vec::new()));
    assert_eq!(idle.member.next_deadline(), None, "there is nobody to say anything to");
    let mut bench = Bench::born(None);
    bench.promises(2);
    assert_eq!(bench.member.next_deadline(), Some(bench.now + heartbeat));
    bench.passes(heartbeat / 2);
    assert_eq!(bench.effects, []);
    bench.passes(heartbeat / 2);
    assert_eq!(bench.answers().len(), 1);
    assert_eq!(bench.member.next_deadline(), Some(bench.now + heartbeat));
    bench.installs(FENCE, empty());
    bench.passes(heartbeat);
    assert_eq!((bench.installed(), bench.effects.len()), (vec![0], 1));
    bench.is_admitted(FENCE);
    bench.submits(block(1));
    bench.appends(1, put(operation(1, 1)));
    bench.passes(heartbeat);
    assert_eq!((bench.held(), bench.submitted(), bench.effects.len()), (vec![1], vec![operation(0, 1)], 2));
}

#[test]
fn the_same_is_said_again_when_the_link_to_the_manager_is_new() {
    for (node, times) in [(MANAGER, 1), (NODE, 0)] {
        let mut bench = Bench::sealed();
        bench.step(MemberInput::LinkUp(node));
        assert_eq!(bench.answers().len(), times);
        let mut bench = Bench::admitted();
        bench.submits(block(1));
        bench.step(MemberInput::LinkUp(node));
        assert_eq!((bench.held().len(), bench.submitted().len()), (times, times));
    }
}

#[test]
fn a_table_that_the_strobe_thread_misses_is_asked_for_by_what_is_held() {
    let missing = SwitcherReport::VersionMissing { version: MatrixVersion(3) };
    let mut bench = Bench::admitted();
    report(&mut bench, missing);
    assert_eq!(bench.held(), [0]);
    report(&mut bench, SwitcherReport::State(AgentState::Strobed));
    assert_eq!(bench.effects, []);
    let mut bench = Bench::sealed();
    report(&mut bench, missing);
    assert_eq!(bench.effects, [], "who does not belong to the view has no word in it");
}

#[test]
fn a_memory_that_is_not_known_to_be_established_plans_nothing() {
    let mut memory = empty();
    memory.apply(&plan(1, Vec::new()));
    let mut bench = Bench::sealed();
    bench.installs(FENCE, memory);
    assert_eq!((bench.commands(), bench.member.memory()), (vec![], None));
    bench.is_admitted(FENCE);
    assert!(
        matches!(bench.commands()[..], [SwitcherCommand::Admit { .. }, SwitcherCommand::Table(table)] if table.version == MatrixVersion(1))
    );
    assert!(matches!(bench.member.memory(), Some(memory) if memory.plan.version == MatrixVersion(1)));
}
