//! Section 3 of the design: who may command.

use strobe_core::{
    authority::{Authority, AuthorityEffect, AuthorityInput, NodeState, PartitionConfiguration, TermPhase},
    machine::Machine,
    message::PartitionReport,
    model::{EstablishedTerm, GangState, NodeIncarnation, NodeIndex, NodeSet, Term, TermRecord},
};

use crate::bench::{Bench, PARTITION, agent, configuration, job, run};

fn nodes(nodes: &[u16]) -> NodeSet {
    nodes.iter().map(|node| NodeIndex(*node)).collect()
}

fn since(record: &TermRecord) -> Vec<(u64, NodeSet)> {
    record.since.iter().map(|earlier| (earlier.term.0, earlier.members)).collect()
}

/// A report that says that the term is not established, with these agents sealed.
fn not_established(bench: &mut Bench, view: Vec<NodeIncarnation>) -> PartitionReport {
    PartitionReport { established: false, view, ..bench.report(Vec::new()) }
}

#[test]
fn the_record_is_written_before_it_is_sent_and_one_is_in_flight() {
    let mut bench = Bench::bare(2, 1);
    bench.reach(agent(0, 1), None);
    assert_eq!(bench.written(), None, "not all nodes are reached");
    bench.reach(agent(1, 1), None);
    let record = bench.written().expect("all nodes are reached");
    assert_eq!((record.term, record.manager, record.members.clone()), (Term(1), agent(0, 1), vec![agent(0, 1), agent(1, 1)]));
    assert_eq!((record.established, record.since.len(), bench.appointments().len()), (None, 0, 0));
    bench.miss(agent(0, 1));
    assert_eq!(bench.effects.iter().filter(|effect| matches!(effect, AuthorityEffect::WriteRecord(_))).count(), 1);
    bench.reach(agent(0, 1), None);
    bench.write();
    let (manager, appointment) = bench.appointments().pop().expect("the record is written");
    assert_eq!((manager, appointment.record), (agent(0, 1), record));
}

#[test]
fn a_write_of_another_term_confirms_nothing() {
    let mut bench = Bench::bare(1, 1);
    bench.reach(agent(0, 1), None);
    bench.step(AuthorityInput::RecordWritten { term: Term(9) });
    assert_eq!((bench.authority.term_phase(), bench.appointments().len()), (TermPhase::Writing, 0));
}

#[test]
fn the_first_term_waits_for_all_nodes_until_the_start_up_time_is_over() {
    let mut bench = Bench::bare(3, 1);
    bench.reach(agent(1, 1), None);
    bench.pass(4_999);
    assert_eq!(bench.written(), None);
    bench.pass(1);
    assert_eq!(bench.written().expect("the time is over").members, [agent(1, 1)]);
}

#[test]
fn no_term_begins_before_the_store_was_asked() {
    let mut bench = Bench::bare(1, 1);
    bench.authority = Authority::new();
    bench.effects.clear();
    bench.step(AuthorityInput::Configure(configuration(1, 1)));
    bench.reach(agent(0, 1), None);
    assert_eq!(bench.written(), None);
    bench.step(AuthorityInput::Recovered(None));
    assert!(bench.written().is_some());
}

#[test]
fn the_term_is_higher_than_what_is_recorded_and_what_agents_have_sealed() {
    let recorded = TermRecord {
        partition: PARTITION,
        term: Term(4),
        manager: agent(1, 1),
        members: vec![agent(0, 1), agent(1, 1)],
        established: Some(EstablishedTerm { term: Term(3), members: nodes(&[1]) }),
        since: Vec::new(),
    };
    for (sealed, expected) in [(Some(4), 5), (Some(8), 9), (None, 5)] {
        let mut bench = Bench::bare(2, 1);
        bench.step(AuthorityInput::Recovered(Some(recorded.clone())));
        bench.reach(agent(0, 2), sealed);
        bench.reach(agent(1, 2), Some(3));
        let record = bench.written().expect("all nodes are reached");
        assert_eq!(record.term, Term(expected));
        assert_eq!(record.manager.node, NodeIndex(1), "a member of the established term goes first");
        assert_eq!((record.established, since(&record)), (recorded.established, vec![(4, nodes(&[0, 1]))]));
    }
}

#[test]
fn a_reported_establishment_is_recorded_and_empties_since() {
    let mut bench = Bench::bare(2, 1);
    bench.reach(agent(0, 1), None);
    bench.reach(agent(1, 1), None);
    bench.write();
    assert_eq!(bench.authority.term_phase(), TermPhase::Appointed);
    bench.hear_gangs(Vec::new());
    let record = bench.written().expect("the establishment is recorded");
    assert_eq!(record.established, Some(EstablishedTerm { term: Term(1), members: nodes(&[0, 1]) }));
    assert_eq!((bench.authority.term_phase(), since(&record)), (TermPhase::Confirming, vec![]));
    bench.write();
    assert_eq!((bench.authority.term_phase(), bench.appointments().len()), (TermPhase::Established, 1));
}

#[test]
fn a_term_without_establishment_is_followed_by_one_without_its_silent_manager_and_since_is_kept() {
    let mut bench = Bench::bare(3, 1);
    (0..3).for_each(|node| bench.reach(agent(node, 1), None));
    bench.write();
    bench.pass(2_999);
    assert_eq!(bench.authority.term_phase(), TermPhase::Appointed);
    bench.pass(1);
    let record = bench.write();
    assert_eq!((record.term, record.manager, record.members.len()), (Term(2), agent(1, 1), 2));
    assert_eq!(since(&record), [(1, nodes(&[0, 1, 2]))]);
    bench.pass(3_000);
    let record = bench.write();
    assert_eq!((record.term, since(&record)), (Term(3), vec![(1, nodes(&[0, 1, 2])), (2, nodes(&[1, 2]))]));
}

#[test]
fn a_manager_that_speaks_is_followed_by_a_term_of_those_that_it_has_sealed() {
    let mut bench = Bench::bare(4, 1);
    (0..4).for_each(|node| bench.reach(agent(node, 1), None));
    bench.write();
    let report = not_established(&mut bench, vec![agent(0, 1), agent(1, 1)]);
    bench.hear(report);
    bench.pass(3_000);
    let record = bench.write();
    assert_eq!((record.manager, record.members), (agent(0, 1), vec![agent(0, 1), agent(1, 1)]));
    bench.establish();
    bench.pass(60_000);
    assert_eq!(bench.authority.term_phase(), TermPhase::Established, "nodes that could not be sealed are not tried again and again");
}

#[test]
fn no_term_is_appointed_that_could_not_seal_half_of_an_earlier_one() {
    let mut bench = Bench::established(3, 1);
    bench.miss(agent(1, 1));
    bench.miss(agent(0, 1));
    assert_eq!(bench.written(), None, "one of three is less than half");
    bench.prove_dead(1);
    let record = bench.written().expect("a dead node counts for the right to command");
    assert_eq!((record.manager, record.members), (agent(2, 1), vec![agent(2, 1)]));
    bench.write();
    let appointment = bench.appointments()[0].1.clone();
    assert_eq!((appointment.dead, appointment.lost), (nodes(&[1]), nodes(&[])), "it is not lost yet: its gangs go on");
    assert!(told_lost(&bench).is_empty(), "the appointment has said it");
    bench.establish();
    bench.pass(10_000);
    assert_eq!(told_lost(&bench), [nodes(&[1])]);
}

#[test]
fn a_repeated_appointment_tells_the_dead_from_the_lost() {
    let mut bench = Bench::bare(4, 1);
    (0..4).for_each(|node| bench.reach(agent(node, 1), None));
    bench.write();
    bench.miss(agent(2, 1));
    bench.prove_dead(2);
    bench.reach(agent(0, 1), Some(1));
    let appointment = bench.appointments().last().expect("an appointment").1.clone();
    assert_eq!((appointment.dead, appointment.lost), (nodes(&[2]), nodes(&[])));
}

/// The sets of nodes whose gangs the manager was told to end.
fn told_lost(bench: &Bench) -> Vec<NodeSet> {
    let told = |effect: &AuthorityEffect| match effect {
        AuthorityEffect::SendLost { nodes, .. } => Some(*nodes),
        _ => None,
    };
    bench.effects.iter().filter_map(told).collect()
}

#[test]
fn a_manager_that_is_reached_again_is_told_that_nobody_is_dead_any_more() {
    let mut bench = Bench::established(3, 1);
    bench.miss(agent(2, 1));
    bench.prove_dead(2);
    bench.pass(10_000);
    assert_eq!(told_lost(&bench).last(), Some(&nodes(&[2])));
    bench.reach(agent(0, 1), Some(1));
    bench.effects.clear();
    bench.step(AuthorityInput::NodeReturned { node: NodeIndex(2) });
    bench.reach(agent(0, 1), Some(1));
    assert_eq!(told_lost(&bench).last(), Some(&nodes(&[])), "what it was told before may have been lost");
}

#[test]
fn a_refusal_raises_the_next_term_above_it_at_once() {
    let mut bench = Bench::bare(2, 1);
    (0..2).for_each(|node| bench.reach(agent(node, 1), None));
    bench.write();
    let report = PartitionReport { refused_by: Some(Term(6)), ..not_established(&mut bench, vec![agent(0, 1)]) };
    bench.hear(report);
    let record = bench.written().expect("a next term");
    assert_eq!((record.term, record.members.len()), (Term(7), 2), "nobody is left out for it");
}

#[test]
fn the_loss_or_restart_of_the_managers_agent_costs_one_term() {
    let mut lost = Bench::established(2, 1);
    lost.miss(agent(0, 1));
    let record = lost.written().expect("a next term");
    assert_eq!((record.term, record.manager, record.members.clone()), (Term(2), agent(1, 1), vec![agent(1, 1)]));
    assert_eq!((record.established.map(|term| term.term), since(&record)), (Some(Term(1)), vec![]));
    let mut restarted = Bench::established(2, 1);
    restarted.reach(agent(0, 2), Some(1));
    let record = restarted.written().expect("a next term");
    assert_eq!((record.term, record.manager), (Term(2), agent(1, 1)), "a restarted agent holds no memory");
    assert_eq!(record.members, [agent(0, 2), agent(1, 1)]);
}

#[test]
fn every_member_is_told_of_its_term_once_it_is_written() {
    let mut bench = Bench::bare(3, 1);
    for node in 0..3 {
        bench.reach(agent(node, 1), None);
    }
    assert_eq!(bench.introduced(), [], "nobody may know of a term that is not on record");
    bench.write();
    assert_eq!(bench.introduced(), [(1, 1), (2, 1)], "the manager knows by its appointment");
    bench.establish();
    assert_eq!(bench.introduced().len(), 2, "once");
}

#[test]
fn the_restart_of_another_agent_costs_no_term_but_an_introduction() {
    let mut bench = Bench::established(2, 1);
    bench.miss(agent(1, 1));
    bench.pass(1_000);
    bench.reach(agent(1, 2), Some(1));
    bench.pass(60_000);
    assert_eq!((bench.written(), bench.introduced()), (None, vec![(1, 1)]));
}

#[test]
fn without_half_of_its_members_for_suspicion_a_term_ends() {
    let mut bench = Bench::established(2, 1);
    bench.miss(agent(1, 1));
    bench.pass(2_999);
    assert_eq!(bench.written(), None);
    bench.pass(1);
    assert_eq!(bench.written().expect("a next term").members, [agent(0, 1)]);
}

#[test]
fn a_manager_that_half_of_its_members_do_not_answer_is_followed_by_a_term_of_those_that_do() {
    let mut bench = Bench::established(2, 1);
    let report = PartitionReport { view: vec![agent(0, 1)], ..bench.report(Vec::new()) };
    bench.hear(report);
    let record = bench.written().expect("its lease is over");
    assert_eq!((record.manager, record.members), (agent(0, 1), vec![agent(0, 1)]));
}

#[test]
fn an_authority_that_was_cut_off_waits_a_moment_for_the_manager_to_come_back_too() {
    let mut bench = Bench::established(3, 1);
    for node in [1, 2, 0] {
        bench.miss(agent(node, 1));
    }
    bench.pass(60_000);
    bench.reach(agent(1, 1), Some(1));
    bench.reach(agent(2, 1), Some(1));
    assert_eq!(bench.written(), None, "the term may never have been without a manager");
    bench.pass(100);
    bench.reach(agent(0, 1), Some(1));
    bench.pass(60_000);
    assert_eq!(bench.written(), None);
    bench.miss(agent(0, 1));
    assert_eq!(bench.written().expect("the others stayed").manager, agent(1, 1));
}

#[test]
fn a_manager_that_does_not_come_back_is_replaced_after_that_moment() {
    let mut bench = Bench::established(3, 1);
    for node in [1, 2, 0] {
        bench.miss(agent(node, 1));
    }
    bench.reach(agent(1, 1), Some(1));
    bench.reach(agent(2, 1), Some(1));
    bench.pass(749);
    assert_eq!(bench.written(), None);
    bench.pass(1);
    assert_eq!(bench.written().expect("a next term").manager, agent(1, 1));
}

#[test]
fn a_manager_without_a_lease_is_replaced_though_all_agents_are_reached() {
    let mut bench = Bench::established(2, 1);
    let cut_off = PartitionReport { leads: false, ..bench.report(Vec::new()) };
    bench.hear(cut_off);
    bench.pass(2_999);
    assert_eq!(bench.written(), None, "it may be a moment");
    bench.pass(1);
    let record = bench.written().expect("the link between the nodes is cut, and both speak with the authority");
    assert_eq!((record.manager, record.members), (agent(1, 1), vec![agent(1, 1)]));
}

#[test]
fn a_lease_that_is_held_again_keeps_its_term() {
    let mut bench = Bench::established(2, 1);
    let cut_off = PartitionReport { leads: false, ..bench.report(Vec::new()) };
    bench.hear(cut_off);
    bench.pass(2_000);
    let healed = bench.report(Vec::new());
    bench.hear(healed);
    bench.pass(10_000);
    assert_eq!(bench.written(), None);
}

#[test]
fn a_late_node_counts_from_a_next_term_on_and_its_manager_stays() {
    let mut bench = Bench::bare(3, 1);
    bench.reach(agent(0, 1), None);
    bench.reach(agent(1, 1), None);
    bench.pass(5_000);
    bench.write();
    bench.establish();
    bench.effects.clear();
    bench.reach(agent(2, 1), None);
    assert_eq!((bench.introduced(), bench.written()), (vec![], None), "it may have lost a promise to a term that it does not know");
    bench.pass(3_000);
    let record = bench.write();
    assert_eq!((record.manager, record.members.len()), (agent(0, 1), 3));
}

#[test]
fn a_node_that_was_left_out_and_is_admitted_by_the_manager_counts_in_a_next_term() {
    let mut bench = Bench::established(2, 1);
    bench.miss(agent(1, 1));
    bench.pass(3_000);
    bench.write();
    bench.establish();
    bench.effects.clear();
    bench.reach(agent(1, 1), Some(1));
    assert_eq!(bench.introduced(), [(1, 2)]);
    bench.pass(10_000);
    assert_eq!(bench.written(), None, "this life of the agent was a member before");
    let report = PartitionReport { view: vec![agent(0, 1), agent(1, 1)], ..bench.report(Vec::new()) };
    bench.hear(report);
    assert_eq!(bench.written().expect("a wider term").members.len(), 2);
}

#[test]
fn reports_of_other_terms_and_older_ones_are_ignored() {
    let mut bench = Bench::bare(2, 1);
    (0..2).for_each(|node| bench.reach(agent(node, 1), None));
    bench.write();
    let good = bench.report(Vec::new());
    let mut lower = good.clone();
    lower.fence.term = Term(0);
    let mut elsewhere = good.clone();
    elsewhere.fence.partition = strobe_core::model::PartitionUid(8);
    bench.hear(lower);
    bench.hear(elsewhere);
    assert_eq!(bench.authority.term_phase(), TermPhase::Appointed);
    let newer = not_established(&mut bench, Vec::new());
    bench.hear(newer);
    bench.hear(good);
    assert_eq!(bench.authority.term_phase(), TermPhase::Appointed, "the good one is older than the newer one");
}

#[test]
fn a_newer_record_in_the_store_is_the_truth() {
    let mut bench = Bench::bare(1, 1);
    bench.reach(agent(0, 1), None);
    let refused = bench.written().expect("the first term");
    let found = TermRecord { term: Term(5), ..refused };
    bench.step(AuthorityInput::Recovered(Some(found)));
    let record = bench.write();
    assert_eq!((record.term, since(&record)), (Term(6), vec![(5, nodes(&[0]))]));
}

#[test]
fn plans_and_deaths_are_sent_to_the_manager_when_they_change_and_again_when_it_is_reached_again() {
    let mut bench = Bench::established(3, 1);
    bench.submit(job(1, 1));
    assert_eq!(bench.plans().len(), 1);
    bench.prove_dead(2);
    bench.pass(10_000);
    let sent = |bench: &Bench| bench.effects.iter().filter(|effect| matches!(effect, AuthorityEffect::SendLost { .. })).count();
    assert_eq!(sent(&bench), 1);
    bench.step(AuthorityInput::Timer);
    assert_eq!((bench.plans().len(), sent(&bench)), (1, 1));
    bench.reach(agent(0, 1), Some(1));
    assert_eq!((bench.plans().len(), sent(&bench)), (2, 2));
    bench.reach(agent(2, 2), Some(1));
    assert_eq!(sent(&bench), 3, "it is in service again");
}

#[test]
fn the_appointment_carries_the_newest_plan() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 1));
    bench.miss(agent(0, 1));
    bench.effects.retain(|effect| matches!(effect, AuthorityEffect::WriteRecord(_)));
    bench.write();
    assert_eq!(bench.appointments()[0].1.plan, *bench.authority.plan());
    assert_eq!(bench.plans().len(), 0);
}

#[test]
fn news_of_an_earlier_life_of_an_agent_is_ignored() {
    let mut bench = Bench::established(2, 1);
    bench.reach(agent(1, 3), Some(1));
    bench.miss(agent(1, 1));
    bench.reach(agent(1, 2), Some(1));
    assert_eq!(bench.authority.node_state(NodeIndex(1)), Some(NodeState::Reachable));
    bench.prove_dead(1);
    bench.reach(agent(1, 3), Some(1));
    assert_eq!(bench.authority.node_state(NodeIndex(1)), Some(NodeState::Dead));
    bench.reach(agent(9, 1), None);
    assert_eq!(bench.authority.node_state(NodeIndex(9)), None);
}

#[test]
fn a_deadline_that_is_over_does_not_wake_the_shell_again() {
    let mut bench = Bench::established(3, 1);
    bench.miss(agent(1, 1));
    bench.miss(agent(0, 1));
    bench.pass(60_000);
    assert_eq!(bench.authority.next_deadline(), None);
    assert_eq!(bench.written(), None);
    bench.reach(agent(0, 2), Some(1));
    assert_eq!(bench.written().expect("half of term 1 is reached").members, [agent(0, 2), agent(2, 1)]);
}

#[test]
fn a_node_that_comes_while_gangs_hold_slots_is_taken_in_with_them_there() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    let plan = bench.authority.plan().gangs.clone();
    bench.step(AuthorityInput::Configure(configuration(3, 2)));
    bench.reach(agent(2, 1), None);
    assert_eq!(bench.authority.plan().gangs, plan, "who runs keeps what it has");
    bench.submit(job(2, 1));
    assert_eq!(bench.launches().last(), Some(&(run(2, 1), vec![2])), "its slots are used before a second row is");
    bench.pass(3_000);
    let members: Vec<u16> = bench.write().members.iter().map(|member| member.node.0).collect();
    assert_eq!(members, [0, 1, 2], "the next term has it");
}

#[test]
fn nodes_that_come_instead_of_all_others_are_taken_in_while_gangs_hold_slots_on_those() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    let all = configuration(3, 1);
    bench.step(AuthorityInput::Configure(PartitionConfiguration { nodes: all.nodes[2..].to_vec(), ..all }));
    bench.reach(agent(2, 1), None);
    assert_eq!(bench.authority.node_state(NodeIndex(2)), Some(NodeState::Reachable));
    bench.submit(job(2, 1));
    assert_eq!(bench.state(2), GangState::Placed);
}

#[test]
fn a_member_that_has_promised_a_later_term_is_taken_in_by_one_that_is_later_still() {
    let mut bench = Bench::established(3, 1);
    bench.reach(agent(2, 1), Some(9));
    bench.pass(3_000);
    let record = bench.written().expect("node 2 obeys no lower one");
    assert_eq!((record.term, record.members.len()), (Term(10), 3));
}

#[test]
fn a_node_with_which_a_term_was_not_established_is_not_tried_again_for_having_promised_the_next() {
    let mut bench = Bench::bare(3, 1);
    (0..3).for_each(|node| bench.reach(agent(node, 1), None));
    bench.write();
    let report = bench.report(Vec::new());
    bench.hear(PartitionReport { established: false, view: report.view[..2].to_vec(), ..report });
    bench.pass(3_000);
    assert_eq!(bench.write().members, [agent(0, 1), agent(1, 1)]);
    bench.establish();
    bench.miss(agent(2, 1));
    bench.reach(agent(2, 1), Some(2));
    bench.effects.clear();
    bench.pass(60_000);
    assert_eq!(bench.written(), None, "its manager may admit it");
}

#[test]
fn a_manager_that_is_reached_again_is_told_the_plan_again_and_for_another_it_is_not() {
    for (node, times) in [(0, 1), (1, 0)] {
        let mut bench = Bench::established(3, 1);
        bench.miss(agent(node, 1));
        bench.effects.clear();
        bench.reach(agent(node, 1), Some(1));
        assert_eq!((bench.plans().len(), bench.appointments().len()), (times, 0));
    }
}

#[test]
fn a_manager_that_is_about_to_leave_hands_its_role_over_and_counts_in_no_next_term() {
    let mut bench = Bench::established(3, 1);
    bench.step(AuthorityInput::AgentLeaving { agent: agent(1, 1) });
    assert_eq!(bench.written(), None, "one that manages nothing has nothing to hand over");
    bench.step(AuthorityInput::AgentLeaving { agent: agent(0, 2) });
    assert_eq!(bench.written(), None, "another life");
    bench.step(AuthorityInput::AgentLeaving { agent: agent(0, 1) });
    assert_eq!(bench.written(), None, "of three the one that stays is less than half");
    bench.reach(agent(1, 2), Some(1));
    let record = bench.written().expect("two of three stay, one of them in a new life");
    assert_eq!((record.term, record.manager, record.members.clone()), (Term(2), agent(2, 1), vec![agent(1, 2), agent(2, 1)]));
    bench.write();
    bench.establish();
    bench.write();
    bench.effects.clear();
    bench.pass(60_000);
    assert_eq!(bench.written(), None, "whoever leaves is not taken in again");
    bench.miss(agent(0, 1));
    bench.reach(agent(0, 3), Some(2));
    bench.pass(60_000);
    assert!(bench.written().is_some_and(|record| record.members.contains(&agent(0, 3))), "its next life is");
}

#[test]
fn a_manager_alone_has_nobody_to_hand_over_to() {
    let mut bench = Bench::established(1, 1);
    bench.step(AuthorityInput::AgentLeaving { agent: agent(0, 1) });
    bench.pass(60_000);
    assert_eq!(bench.written(), None);
}
