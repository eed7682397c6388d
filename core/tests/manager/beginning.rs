//! How a manager comes to command: seals, and the prefix.

use std::time::Duration;

use strobe_core::{
    machine::Machine,
    manager::{ManagerInput, ManagerPhase},
    message::{AnnouncerCommand, SealAnswer, ToManager},
    model::{Appointment, Fence, NodeIndex, PartitionUid, RecordNumber, Settings, Term, TermRecord},
};

use crate::bench::{ALL, Bench, FENCE, agent, answer, appointment};

fn suspicion() -> Duration {
    Settings::default().suspicion
}

const TICK: Duration = Duration::from_nanos(1);

#[test]
fn members_are_asked_for_their_seals_again_every_heartbeat_until_they_answer() {
    let mut bench = Bench::appointed();
    assert_eq!(bench.asked(), ALL);
    let heartbeat = Settings::default().heartbeat;
    assert_eq!(bench.manager.next_deadline(), Some(bench.now + heartbeat));
    bench.seals(agent(1, 1));
    bench.passes(heartbeat - TICK);
    assert_eq!(bench.effects, []);
    bench.passes(TICK);
    assert_eq!(bench.asked(), [0, 2]);
    bench.step(ManagerInput::LinkUp(NodeIndex(1)));
    assert_eq!(bench.effects, [], "it has sealed");
    bench.step(ManagerInput::LinkUp(NodeIndex(2)));
    assert_eq!(bench.asked(), [2]);
}

#[test]
fn a_seal_of_another_term_or_in_another_node_s_name_does_not_count() {
    let mut bench = Bench::appointed();
    bench.seals(agent(0, 1));
    for (from, answer) in [(1, SealAnswer { term: Term(1), ..answer(agent(1, 1)) }), (1, answer(agent(2, 1)))] {
        bench.hears(from, ToManager::Sealed(answer));
    }
    bench.passes(suspicion());
    assert_eq!((bench.manager.phase(), bench.asked()), (ManagerPhase::Sealing, vec![1, 2]));
}

#[test]
fn with_enough_seals_the_others_get_a_quarter_of_suspicion_longer() {
    let mut bench = Bench::appointed();
    bench.seals(agent(0, 1));
    bench.passes(suspicion());
    assert_eq!(bench.manager.phase(), ManagerPhase::Sealing, "one of three is not enough");
    bench.seals(agent(1, 1));
    bench.passes(suspicion() / 4 - TICK);
    assert_eq!(bench.manager.phase(), ManagerPhase::Sealing);
    assert_eq!(bench.manager.next_deadline(), Some(bench.now + TICK));
    bench.passes(TICK);
    assert_eq!((bench.manager.phase(), bench.sent_prefix()), (ManagerPhase::Installing, vec![0, 1]));
    let mut all = Bench::appointed();
    ALL.iter().for_each(|node| all.seals(agent(*node, 1)));
    assert_eq!(all.sent_prefix(), ALL, "there is nobody to wait for");
}

#[test]
fn the_prefix_is_sent_again_to_those_that_have_not_taken_it_and_sealed() {
    let mut bench = Bench::appointed();
    [0, 1].into_iter().for_each(|node| bench.seals(agent(node, 1)));
    bench.passes(suspicion() / 4);
    bench.installs(0, 0);
    bench.passes(Settings::default().heartbeat);
    assert_eq!((bench.sent_prefix(), bench.asked()), (vec![1], vec![]));
    for (node, expected) in [(0, vec![]), (1, vec![1]), (2, vec![])] {
        bench.step(ManagerInput::LinkUp(NodeIndex(node)));
        assert_eq!((bench.sent_prefix(), bench.effects.len()), (expected.clone(), expected.len()));
    }
    bench.seals(agent(1, 1));
    assert_eq!(bench.sent_prefix(), [1], "it says that it has no prefix");
    bench.seals(agent(2, 1));
    assert_eq!(bench.effects, [], "too late for the first view");
}

#[test]
fn who_does_not_take_the_prefix_in_half_of_suspicion_is_left_out_when_enough_do() {
    let mut bench = Bench::installing();
    bench.installs(0, 0);
    bench.passes(suspicion() / 2);
    assert_eq!(bench.manager.phase(), ManagerPhase::Installing, "one of three is not enough");
    bench.installs(1, 0);
    bench.passes(suspicion() / 2 - TICK);
    assert_eq!(bench.manager.phase(), ManagerPhase::Installing);
    bench.passes(TICK);
    assert_eq!((bench.manager.phase(), bench.admitted()), (ManagerPhase::Established, vec![0, 1]));
    let mut waiting = Bench::installing();
    [0, 1].into_iter().for_each(|node| waiting.installs(node, 0));
    waiting.passes(suspicion() / 2 - TICK);
    assert_eq!(waiting.manager.phase(), ManagerPhase::Installing);
    waiting.passes(TICK);
    assert_eq!(waiting.manager.phase(), ManagerPhase::Established);
}

#[test]
fn a_prefix_counts_as_taken_by_who_was_sent_it_in_this_term_of_this_partition() {
    let mut bench = Bench::installing();
    let wrong = [Fence { term: Term(1), ..FENCE }, Fence { partition: PartitionUid(8), ..FENCE }];
    for fence in wrong {
        ALL.iter().for_each(|node| bench.hears(*node, ToManager::Installed { fence, number: RecordNumber(0) }));
    }
    assert_eq!(bench.manager.phase(), ManagerPhase::Installing);
    bench.installs(0, 0);
    bench.installs(5, 0);
    bench.installs(1, 0);
    assert_eq!(bench.manager.phase(), ManagerPhase::Installing);
    bench.installs(2, 0);
    assert_eq!((bench.manager.phase(), bench.admitted()), (ManagerPhase::Established, ALL.to_vec()));
    let [AnnouncerCommand::Start { fence: FENCE, view, .. }, AnnouncerCommand::Rotation { .. }] = &bench.commands()[..] else {
        panic!("{:?}", bench.commands())
    };
    assert_eq!(view[..], ALL.map(|node| agent(node, 1)));
}

#[test]
fn a_newer_appointment_ends_the_reign_and_an_older_one_does_not() {
    let of_term = |term| {
        let again = appointment();
        Appointment { record: TermRecord { term: Term(term), ..again.record }, ..again }
    };
    let mut bench = Bench::leading();
    bench.is_appointed(of_term(1));
    assert_eq!((bench.manager.phase(), &bench.effects[..]), (ManagerPhase::Established, &[][..]));
    bench.is_appointed(of_term(3));
    assert_eq!(
        (bench.manager.phase(), bench.commands(), bench.asked()),
        (ManagerPhase::Sealing, vec![AnnouncerCommand::Stop], ALL.to_vec())
    );
}
