//! Who belongs to the view.

use std::time::Duration;

use strobe_core::{
    manager::ManagerInput,
    message::ToMember,
    model::{NodeIndex, Settings},
};

use crate::bench::{ALL, Bench, agent, block, operation};

#[test]
fn a_silent_member_leaves_the_view_unless_half_of_the_record_would_be_left() {
    let mut bench = Bench::leading();
    bench.suspects(agent(2, 2));
    assert_eq!(bench.effects, [], "that life does not belong to it");
    bench.suspects(agent(5, 1));
    assert_eq!(bench.effects, []);
    bench.suspects(agent(2, 1));
    assert_eq!((bench.raised(), bench.admitted()), (Some((2, vec![agent(0, 1), agent(1, 1)])), vec![0, 1]));
    bench.suspects(agent(2, 1));
    bench.suspects(agent(1, 1));
    assert_eq!(bench.effects, [], "one of three is not more than half");
}

#[test]
fn what_waits_for_a_member_that_leaves_is_stable_without_it() {
    let mut bench = Bench::leading();
    bench.submits(operation(1, 1), block(1, &[0], 1));
    bench.all_hold(&[0, 1]);
    bench.suspects(agent(2, 1));
    assert_eq!((bench.stable(0), bench.stable(2)), (vec![1], vec![]));
}

#[test]
fn a_node_that_asks_is_sent_the_prefix_and_admitted_when_it_has_it() {
    let mut bench = Bench::leading();
    bench.seals(agent(5, 1));
    assert_eq!(bench.sent_prefix(), [5]);
    bench.installs(5, 0);
    let all = [0, 1, 2, 5].map(|node| agent(node, 1)).to_vec();
    assert_eq!((bench.raised(), bench.admitted()), (Some((2, all)), vec![0, 1, 2, 5]));
    bench.installs(5, 0);
    assert_eq!(bench.effects, [], "it is admitted");
}

#[test]
fn a_newer_life_takes_the_place_of_an_earlier_one_and_not_the_other_way_round() {
    let mut bench = Bench::leading();
    bench.seals(agent(2, 2));
    assert_eq!(bench.sent_prefix(), [2]);
    bench.installs(2, 0);
    assert_eq!(bench.raised(), Some((2, vec![agent(0, 1), agent(1, 1), agent(2, 2)])));
    bench.seals(agent(2, 1));
    assert_eq!(bench.effects, []);
    bench.seals(agent(2, 2));
    assert_eq!(bench.sent_prefix(), [2], "it has forgotten it, and is sent it again");
}

#[test]
fn members_are_told_every_heartbeat_who_belongs_and_what_they_lack() {
    let mut bench = Bench::leading();
    for sequence in 1..=3 {
        bench.submits(operation(1, sequence), block(1, &[0], 1));
    }
    ALL.iter().for_each(|node| bench.holds(*node, 1));
    bench.holds(1, 3);
    bench.passes(Settings::default().heartbeat);
    assert_eq!(bench.admitted(), ALL);
    assert_eq!(ALL.map(|node| bench.appended(node)), [vec![2, 3], vec![], vec![2, 3]]);
    assert_eq!(ALL.map(|node| bench.stable(node)), [(); 3].map(|()| vec![1]));
    bench.step(ManagerInput::LinkUp(NodeIndex(2)));
    assert_eq!((bench.admitted(), bench.appended(2)), (vec![2], vec![2, 3]));
    bench.step(ManagerInput::LinkUp(NodeIndex(5)));
    assert_eq!(bench.asked(), [5], "it may want to join");
}

#[test]
fn a_joiner_applies_at_once_what_became_stable_while_it_was_sent_the_memory() {
    let mut bench = Bench::leading();
    bench.seals(agent(5, 1));
    for sequence in 1..=3 {
        bench.submits(operation(1, sequence), block(1, &[0], 1));
    }
    ALL.iter().for_each(|node| bench.holds(*node, 2));
    bench.installs(5, 0);
    let order = bench.find(|effect| match effect {
        strobe_core::manager::ManagerEffect::Send { to: NodeIndex(5), message: ToMember::Append { number, .. } } => Some((number.0, 'a')),
        strobe_core::manager::ManagerEffect::Send { to: NodeIndex(5), message: ToMember::Stable { number, .. } } => Some((number.0, 's')),
        _ => None,
    });
    assert_eq!(order, [(1, 'a'), (1, 's'), (2, 'a'), (3, 'a'), (2, 's')]);
}

#[test]
fn who_is_being_admitted_is_sent_the_prefix_again_and_given_up_when_it_is_silent() {
    let Settings { suspicion, heartbeat, .. } = Settings::default();
    let mut bench = Bench::leading();
    bench.seals(agent(5, 1));
    bench.passes(heartbeat);
    assert_eq!(bench.sent_prefix(), [5]);
    bench.step(ManagerInput::LinkUp(NodeIndex(5)));
    assert_eq!(bench.sent_prefix(), [5]);
    bench.passes(suspicion - heartbeat - Duration::from_nanos(1));
    assert_eq!(bench.sent_prefix(), [5]);
    bench.passes(suspicion);
    assert_eq!(bench.sent(|_| true).iter().filter(|to| **to == 5).count(), 0);
}

#[test]
fn a_member_of_the_view_that_stopped_joining_is_not_waited_for_as_a_joiner_any_more() {
    let mut bench = Bench::leading();
    bench.seals(agent(2, 1));
    bench.passes(2 * Settings::default().suspicion);
    bench.submits(operation(1, 1), block(1, &[0], 1));
    bench.all_hold(&ALL);
    assert_eq!(bench.stable(0), [1], "its receipts count: it was never out of the view");
}
