//! The PMI-1 server: the dialogue that MPICH was seen to lead, barriers over nodes, and hostile ranks.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use strobe_node_agent::{
    pmi::{BarrierError, GroupEntered, LocalRank, PmiEffect, PmiServer, PmiSettings, block, limits},
    supervisor_protocol::{BarrierFault, BarrierGroup, GroupMembers},
};

const FIRST: LocalRank = LocalRank(0);
const SECOND: LocalRank = LocalRank(1);

#[test]
fn the_dialogue_of_mpich_is_answered() {
    let mut server = server(2);
    let dialogue = [
        ("cmd=init pmi_version=1 pmi_subversion=1", "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=2"),
        ("cmd=initack pmiid=2", "cmd=initack\ncmd=set size=4\ncmd=set rank=2\ncmd=set debug=0"),
        ("cmd=get_maxes", "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024"),
        ("cmd=get_appnum", "cmd=appnum appnum=0"),
        ("cmd=get_my_kvsname", "cmd=my_kvsname kvsname=space"),
        ("cmd=get_universe_size", "cmd=universe_size size=4"),
        ("cmd=get kvsname=space key=PMI_process_mapping", "cmd=get_result rc=0 msg=success value=(vector,(0,2,2))"),
        ("cmd=get kvsname=space key=nothing", "cmd=get_result rc=-1 msg=key_not_found"),
        ("cmd=put kvsname=space key=k value=v=w", "cmd=put_result rc=0 msg=success"),
        ("cmd=get kvsname=space key=k", "cmd=get_result rc=0 msg=success value=v=w"),
        ("cmd=spawn", "cmd=spawn_result rc=-1 msg=spawn_is_not_supported"),
        ("mcmd=spawn\nnprocs=1\nexecname=x\nendcmd", "cmd=spawn_result rc=-1 msg=spawn_is_not_supported"),
        ("cmd=lookup_name service=x", "cmd=lookup_result rc=-1 msg=name_service_is_not_supported"),
        ("cmd=finalize", "cmd=finalize_ack"),
    ];
    for (question, answer) in dialogue {
        assert_eq!(say(&mut server, FIRST, question), vec![reply(FIRST, answer)], "{question}");
    }
}

#[test]
fn a_barrier_waits_for_local_ranks_then_for_other_nodes() {
    let mut server = initialised(2);
    say(&mut server, FIRST, "cmd=put kvsname=space key=a value=1");
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in"), vec![]);
    say(&mut server, SECOND, "cmd=put kvsname=space key=b value=2");
    let entered = PmiEffect::BarrierEntered { number: 1, block: b"a=1\nb=2\n".to_vec() };
    assert_eq!(say(&mut server, SECOND, "cmd=barrier_in"), vec![entered]);
    assert_eq!(server.waiting_barrier(), Some((1, b"a=1\nb=2\n".as_slice())));
    let mut effects = Vec::new();
    server.barrier_complete(1, b"a=1\nb=2\nc=3\n", &mut effects).unwrap();
    assert_eq!(effects, vec![reply(FIRST, "cmd=barrier_out tag=0"), reply(SECOND, "cmd=barrier_out tag=0")]);
    assert_eq!(server.waiting_barrier(), None);
    let got = say(&mut server, FIRST, "cmd=get kvsname=space key=c");
    assert_eq!(got, vec![reply(FIRST, "cmd=get_result rc=0 msg=success value=3")]);
    let twice = server.barrier_complete(1, b"", &mut Vec::new());
    assert_eq!(twice, Err(BarrierError::NotWaiting { number: 1 }));
}

#[test]
fn the_next_block_holds_only_new_keys() {
    let mut server = initialised(2);
    say(&mut server, FIRST, "cmd=put kvsname=space key=a value=1");
    enter_all(&mut server);
    server.barrier_complete(1, b"a=1\n", &mut Vec::new()).unwrap();
    say(&mut server, SECOND, "cmd=put kvsname=space key=b value=2");
    let effects = enter_all(&mut server);
    assert_eq!(effects, vec![PmiEffect::BarrierEntered { number: 2, block: b"b=2\n".to_vec() }]);
}

#[test]
fn a_gang_of_one_node_needs_nobody() {
    let mut server = initialised(1);
    let effects = enter_all(&mut server);
    assert_eq!(effects, vec![reply(FIRST, "cmd=barrier_out tag=0"), reply(SECOND, "cmd=barrier_out tag=0")]);
}

#[test]
fn a_failed_barrier_is_an_error_to_every_rank_and_for_ever() {
    let mut server = initialised(2);
    enter_all(&mut server);
    let mut effects = Vec::new();
    server.barrier_failed(1, "node 3 is lost", &mut effects).unwrap();
    let text = "cmd=barrier_failed rc=-1 msg=node_3_is_lost";
    assert_eq!(effects, vec![reply(FIRST, text), reply(SECOND, text)]);
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in"), vec![reply(FIRST, text)]);
}

#[test]
fn a_rank_that_leaves_fails_the_barrier_that_others_wait_in() {
    let mut server = initialised(2);
    say(&mut server, FIRST, "cmd=barrier_in");
    let mut effects = Vec::new();
    server.disconnected(SECOND, &mut effects);
    assert_eq!(effects, vec![reply(FIRST, "cmd=barrier_failed rc=-1 msg=a_rank_left")]);
}

#[test]
fn what_the_agent_cannot_know_of_a_failed_barrier_is_told() {
    let failed = |fault| PmiEffect::BarrierFailed { fault };
    let mut server = initialised(2);
    say(&mut server, FIRST, "cmd=barrier_in");
    let text = "cmd=barrier_failed rc=-1 msg=a_rank_left";
    let told = vec![reply(SECOND, "cmd=finalize_ack"), failed(BarrierFault::RankLeft), reply(FIRST, text)];
    assert_eq!(say(&mut server, SECOND, "cmd=finalize"), told);
    // Whether the others enter before it leaves or after makes no difference.
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in"), vec![reply(FIRST, text), failed(BarrierFault::RankLeft)]);

    let mut server = initialised(2);
    enter_all(&mut server);
    let mut effects = Vec::new();
    server.barrier_complete(1, b"no pair\n", &mut effects).unwrap_err();
    assert_eq!(effects[0], failed(BarrierFault::Damaged));
}

#[test]
fn an_abort_is_obeyed_whatever_its_line_holds() {
    let many = format!("cmd=abort exitcode=4 message={}", "word ".repeat(2 * limits::FIELDS));
    let cases = [
        ("cmd=abort", 1, ""),
        ("cmd=abort exitcode=0", 0, ""),
        ("cmd=abort exitcode=706566 message=abort", 706_566, "abort"),
        ("cmd=abort exitcode=-2 message=a b=c  d ", -2, "a b=c  d"),
        ("cmd=abort error_msg=old style exitcode=5", 5, "old style exitcode=5"),
        ("cmd=abort exitcode=99999999999 what", 1, ""),
        (many.as_str(), 4, many.split_once("message=").unwrap().1.trim_end()),
    ];
    for (question, code, explanation) in cases {
        let aborted = PmiEffect::Aborted { rank: FIRST, code, explanation: explanation.to_owned() };
        assert_eq!(say(&mut initialised(2), FIRST, question), vec![aborted], "{question:.60}");
    }
}

#[test]
fn a_malformed_block_fails_the_barrier() {
    let mut server = initialised(2);
    enter_all(&mut server);
    let mut effects = Vec::new();
    assert!(matches!(server.barrier_complete(1, b"no pair\n", &mut effects), Err(BarrierError::BadBlock { number: 1, .. })));
    assert_eq!(effects.len(), 3, "the agent and both ranks are told");
}

#[test]
fn what_a_rank_may_not_do_is_an_error_to_it_alone() {
    let long_key = format!("cmd=put kvsname=space key={} value=v", "k".repeat(limits::KEY_BYTES + 1));
    let long_value = format!("cmd=put kvsname=space key=k value={}", "v".repeat(limits::VALUE_BYTES + 1));
    let long_line = format!("cmd=put {}", "x".repeat(limits::LINE_BYTES));
    let many_fields = format!("cmd=get_maxes{}", " a=b".repeat(limits::FIELDS + 1));
    let cases = [
        ("cmd=initack pmiid=0", "cmd=initack rc=-1 msg=rank_is_not_this_connection_s"),
        ("cmd=initack pmiid=99999999999", "cmd=initack rc=-1 msg=rank_is_not_this_connection_s"),
        ("cmd=dance", "cmd=error rc=-1 msg=unknown_command"),
        ("dance", "cmd=error rc=-1 msg=no_command"),
        ("", "cmd=error rc=-1 msg=no_command"),
        ("cmd=put kvsname=space key", "cmd=error rc=-1 msg=field_without_value"),
        ("cmd=put kvsname=other key=k value=v", "cmd=put_result rc=-1 msg=unknown_kvsname"),
        ("cmd=put kvsname=space key= value=v", "cmd=put_result rc=-1 msg=key_or_value_is_not_printable"),
        ("cmd=barrier_in group=", "cmd=barrier_failed rc=-1 msg=group_is_empty"),
        ("cmd=barrier_in group=0-2", "cmd=barrier_failed rc=-1 msg=group_is_no_list_of_ranks"),
        ("cmd=barrier_in group=2,4", "cmd=barrier_failed rc=-1 msg=rank_is_out_of_range"),
        ("cmd=barrier_in group=2,2", "cmd=barrier_failed rc=-1 msg=rank_is_named_twice"),
        ("cmd=barrier_in group=0,3", "cmd=barrier_failed rc=-1 msg=group_is_without_its_caller"),
        ("cmd=barrier_in group=0,2:x", "cmd=barrier_failed rc=-1 msg=tag_is_no_number"),
        (long_key.as_str(), "cmd=put_result rc=-1 msg=key_too_long"),
        (long_value.as_str(), "cmd=put_result rc=-1 msg=value_too_long"),
        (long_line.as_str(), "cmd=error rc=-1 msg=line_too_long"),
        (many_fields.as_str(), "cmd=error rc=-1 msg=too_many_fields"),
    ];
    for (question, answer) in cases {
        let mut server = initialised(2);
        assert_eq!(
            say(&mut server, FIRST, question),
            vec![reply(FIRST, &answer.replace("connection_s", "connection's"))],
            "{question:.60}"
        );
        assert_eq!(enter_all(&mut server).len(), 1, "the barrier still works after {question:.60}");
    }
}

#[test]
fn nothing_is_answered_before_init() {
    let mut server = server(2);
    assert_eq!(say(&mut server, FIRST, "cmd=get_maxes"), vec![reply(FIRST, "cmd=error rc=-1 msg=not_initialised")]);
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in"), vec![reply(FIRST, "cmd=barrier_failed rc=-1 msg=not_initialised")]);
}

#[test]
fn a_node_cannot_put_more_than_a_block_before_a_barrier() {
    let mut server = initialised(2);
    let value = "v".repeat(limits::VALUE_BYTES);
    let mut accepted = 0;
    for index in 0..2000 {
        let effects = say(&mut server, FIRST, &format!("cmd=put kvsname=space key=key{index} value={value}"));
        accepted += usize::from(effects == vec![reply(FIRST, "cmd=put_result rc=0 msg=success")]);
    }
    let effects = enter_all(&mut server);
    let [PmiEffect::BarrierEntered { block, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(block.len() <= limits::BLOCK_BYTES && block.len() > limits::BLOCK_BYTES - 2 * limits::VALUE_BYTES);
    assert_eq!(block::pairs(block).unwrap().len(), accepted);
}

// === groups: the server is of ranks 2 and 3 of 4, on the second of two nodes ===

#[test]
fn groups_within_a_node_need_nobody_and_do_not_meet() {
    let mut server = initialised(2);
    let groups = ["NODE", "NODE:7", "2,3", "3,2:-1"];
    for group in groups {
        assert_eq!(say(&mut server, FIRST, &format!("cmd=barrier_in group={group}")), vec![], "{group} waits");
    }
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in group=2"), vec![reply(FIRST, "cmd=barrier_out tag=0")]);
    for (group, tag) in groups.into_iter().zip([0, 7, 0, -1]) {
        let out = format!("cmd=barrier_out tag={tag}");
        let effects = say(&mut server, SECOND, &format!("cmd=barrier_in group={group}"));
        assert_eq!(effects, vec![reply(FIRST, &out), reply(SECOND, &out)], "{group}");
    }
}

#[test]
fn a_group_over_nodes_waits_for_the_others_while_another_does_its_own() {
    let mut server = initialised(2);
    say(&mut server, FIRST, "cmd=put kvsname=space key=a value=1");
    say(&mut server, SECOND, "cmd=put kvsname=space key=b value=2");
    let first = entered(&say(&mut server, FIRST, "cmd=barrier_in group=2,0:5"));
    assert_eq!((first.group.clone(), first.block.as_slice()), (ranks(&[0, 2], 5), b"a=1\n".as_slice()));
    let second = entered(&say(&mut server, SECOND, "cmd=barrier_in group=1,3:5"));
    assert_eq!((second.group.clone(), second.block.as_slice()), (ranks(&[1, 3], 5), b"b=2\n".as_slice()));
    assert_eq!(server.waiting_groups().collect::<Vec<_>>(), [first.clone(), second.clone()]);
    assert_eq!(complete(&mut server, second.ticket, b"b=2\nc=3\n"), vec![reply(SECOND, "cmd=barrier_out tag=5")]);
    assert_eq!(server.waiting_groups().collect::<Vec<_>>(), std::slice::from_ref(&first));
    let got = say(&mut server, SECOND, "cmd=get kvsname=space key=c");
    assert_eq!(got, vec![reply(SECOND, "cmd=get_result rc=0 msg=success value=3")]);
    assert_eq!(complete(&mut server, first.ticket, b"a=1\n"), vec![reply(FIRST, "cmd=barrier_out tag=5")]);
    let twice = server.group_complete(first.ticket, b"", &mut Vec::new());
    assert_eq!(twice, Err(BarrierError::NotWaiting { number: first.ticket }));
}

#[test]
fn keys_go_once_to_a_groups_nodes_and_still_to_all_with_the_worlds_barrier() {
    // Its ranks are 4 and 5, on the last of three nodes.
    let mut server = initialised(3);
    say(&mut server, FIRST, "cmd=put kvsname=space key=a value=1");
    let both = entered(&say(&mut server, FIRST, "cmd=barrier_in group=0,4"));
    say(&mut server, FIRST, "cmd=put kvsname=space key=late value=2");
    complete(&mut server, both.ticket, b"a=1\n");
    let again = entered(&say(&mut server, FIRST, "cmd=barrier_in group=0,4"));
    assert_eq!(again.block, b"late=2\n", "its nodes have the other");
    complete(&mut server, again.ticket, b"late=2\n");
    let wider = entered(&say(&mut server, FIRST, "cmd=barrier_in group=0,3,4"));
    assert_eq!(wider.block, b"a=1\nlate=2\n", "the third node has neither");
    complete(&mut server, wider.ticket, b"a=1\nlate=2\n");
    let effects = enter_all(&mut server);
    assert_eq!(effects, vec![PmiEffect::BarrierEntered { number: 1, block: b"a=1\nlate=2\n".to_vec() }]);
    // Until the world's barrier is complete, a thread's group may be the first to need them.
    let thread = entered(&say(&mut server, FIRST, "cmd=barrier_in group=1,4:9"));
    complete(&mut server, thread.ticket, b"");
    server.barrier_complete(1, b"a=1\nlate=2\n", &mut Vec::new()).unwrap();
    let after = entered(&say(&mut server, FIRST, "cmd=barrier_in group=0,4"));
    assert_eq!(after.block, b"", "all have all");
}

#[test]
fn a_world_with_a_tag_is_a_group_of_all() {
    let mut server = initialised(2);
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in group=WORLD:3"), vec![]);
    let world = entered(&say(&mut server, SECOND, "cmd=barrier_in group=WORLD:3"));
    assert_eq!(world.group, BarrierGroup { members: GroupMembers::World, tag: 3 });
    let out = "cmd=barrier_out tag=3";
    assert_eq!(complete(&mut server, world.ticket, b""), vec![reply(FIRST, out), reply(SECOND, out)]);
}

#[test]
fn too_many_groups_and_too_many_keys_are_errors_to_those_ranks() {
    let mut server = initialised(2);
    let mut tickets = Vec::new();
    for tag in 0..limits::GROUPS {
        tickets.push(entered(&say(&mut server, FIRST, &format!("cmd=barrier_in group=0,2:{tag}"))).ticket);
    }
    let refused = |explanation: &str| vec![reply(FIRST, &format!("cmd=barrier_failed rc=-1 msg={explanation}"))];
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in group=0,2:-1"), refused("too_many_groups_at_once"));
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in group=0,2:0"), refused("already_in_the_barrier"));
    complete(&mut server, tickets[3], b"");
    let ticket = entered(&say(&mut server, FIRST, "cmd=barrier_in group=0,2:-1")).ticket;
    let slots = limits::GROUPS as u64;
    assert_eq!((ticket % slots, ticket > tickets[3]), (tickets[3] % slots, true), "it takes the place of the one that is over");
    complete(&mut server, ticket, b"");
    let value = "v".repeat(limits::VALUE_BYTES);
    for index in 0..=limits::GROUP_BLOCK_BYTES / limits::VALUE_BYTES {
        say(&mut server, FIRST, &format!("cmd=put kvsname=space key=key{index} value={value}"));
    }
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in group=0,2:-1"), refused("too_many_keys_before_the_barrier"));
    assert_eq!(enter_all(&mut server).len(), 1, "the world's barrier takes them");
}

#[test]
fn a_rank_that_leaves_fails_the_groups_that_wait_for_it_and_no_other() {
    let mut server = initialised(2);
    say(&mut server, FIRST, "cmd=barrier_in group=NODE:1");
    let own = entered(&say(&mut server, FIRST, "cmd=barrier_in group=0,2"));
    let failed = reply(FIRST, "cmd=barrier_failed rc=-1 msg=a_rank_left");
    let told = PmiEffect::BarrierFailed { fault: BarrierFault::RankLeft };
    let effects = say(&mut server, SECOND, "cmd=finalize");
    assert_eq!(effects, vec![reply(SECOND, "cmd=finalize_ack"), told.clone(), failed.clone()]);
    assert_eq!(say(&mut server, FIRST, "cmd=barrier_in group=2,3"), vec![failed, told]);
    assert_eq!(complete(&mut server, own.ticket, b""), vec![reply(FIRST, "cmd=barrier_out tag=0")]);
}

proptest! {
    /// Whatever two ranks enter, nobody is answered twice, and nobody waits but for the other.
    #[test]
    fn every_barrier_of_a_group_is_answered(entries in proptest::collection::vec((0..2_u32, "(WORLD|NODE|2|3|2,3|0,2|1,3|0,1,2,3|2,2|9|0,1|)(:[0-3]|:x|)"), 0..40)) {
        let mut server = initialised(2);
        let mut effects = Vec::new();
        let mut asked = [0_usize; 2];
        for (rank, group) in &entries {
            asked[*rank as usize] += 1;
            effects.extend(say(&mut server, LocalRank(*rank), &format!("cmd=barrier_in group={group}")));
        }
        let mut answered = [0_usize; 2];
        let mut open = std::collections::BTreeSet::new();
        while let Some(effect) = (!effects.is_empty()).then(|| effects.remove(0)) {
            match effect {
                PmiEffect::Reply { rank, bytes } => {
                    answered[rank.0 as usize] += 1;
                    prop_assert!(bytes.starts_with(b"cmd=barrier_"));
                }
                PmiEffect::GroupEntered(entered) => {
                    prop_assert!(open.insert(entered.ticket), "a ticket names one barrier");
                    server.group_complete(entered.ticket, &entered.block, &mut effects).unwrap();
                }
                PmiEffect::BarrierEntered { number, block } => server.barrier_complete(number, &block, &mut effects).unwrap(),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        for rank in 0..2 {
            let waits = asked[rank].checked_sub(answered[rank]);
            prop_assert!(waits.is_some_and(|waits| waits <= limits::GROUPS + 1), "{answered:?} of {asked:?}");
        }
        prop_assert_eq!(server.waiting_groups().count(), 0);
    }

    #[test]
    fn the_cut_of_the_stream_does_not_matter(lines in proptest::collection::vec("[ -~]{0,40}|cmd=(put|get) kvsname=space key=[a-c] value=[a-c]", 0..20), cuts in proptest::collection::vec(1_usize..50, 1..40)) {
        let bytes = lines.join("\n").into_bytes();
        let (mut whole, mut cut) = (initialised(2), initialised(2));
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        whole.receive(FIRST, &bytes, &mut expected);
        let mut rest = bytes.as_slice();
        for size in cuts.iter().cycle() {
            let (piece, tail) = rest.split_at((*size).min(rest.len()));
            cut.receive(FIRST, piece, &mut found);
            rest = tail;
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(expected, found);
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn hostile_bytes_reach_nobody_else(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..20)) {
        let mut server = initialised(2);
        let mut effects = Vec::new();
        for piece in &pieces {
            server.receive(FIRST, piece, &mut effects);
        }
        for effect in &effects {
            match effect {
                PmiEffect::Reply { rank, bytes } => {
                    prop_assert_eq!(*rank, FIRST);
                    prop_assert!(bytes.is_ascii() && bytes.len() < limits::LINE_BYTES);
                }
                PmiEffect::BarrierFailed { .. } => {}
                PmiEffect::Aborted { rank, .. } => prop_assert_eq!(*rank, FIRST),
                PmiEffect::GroupEntered(entered) => prop_assert!(entered.group.members != GroupMembers::World, "the other rank is not in"),
                PmiEffect::BarrierEntered { .. } => prop_assert!(false, "the other rank is not in"),
            }
        }
        prop_assert_eq!(say(&mut server, SECOND, "cmd=get_appnum"), vec![reply(SECOND, "cmd=appnum appnum=0")]);
    }

    #[test]
    fn any_block_is_taken_or_refused_whole(block in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'='), any::<u8>()], 0..200)) {
        let mut server = initialised(2);
        enter_all(&mut server);
        let mut effects = Vec::new();
        let result = server.barrier_complete(1, &block, &mut effects);
        prop_assert_eq!(result.is_ok(), block::pairs(&block).is_ok());
        prop_assert_eq!(effects.len(), 2 + usize::from(result.is_err()), "of a failure the agent is told, too");
    }
}

fn server(nodes: u32) -> PmiServer {
    PmiServer::new(PmiSettings {
        key_space: "space".to_owned(),
        first_rank: 2 * (nodes - 1),
        rank_count: 2,
        world_size: 2 * nodes,
        nodes,
        ranks_per_node: 2,
    })
}

fn initialised(nodes: u32) -> PmiServer {
    let mut server = server(nodes);
    for rank in [FIRST, SECOND] {
        assert_eq!(say(&mut server, rank, "cmd=init pmi_version=1 pmi_subversion=1").len(), 1);
    }
    server
}

/// The one effect, which must tell the other nodes.
fn entered(effects: &[PmiEffect]) -> GroupEntered {
    let [PmiEffect::GroupEntered(entered)] = effects else { panic!("{effects:?}") };
    entered.clone()
}

fn ranks(ranks: &[u32], tag: i32) -> BarrierGroup {
    BarrierGroup { members: GroupMembers::Ranks(ranks.to_vec()), tag }
}

fn complete(server: &mut PmiServer, ticket: u64, block: &[u8]) -> Vec<PmiEffect> {
    let mut effects = Vec::new();
    server.group_complete(ticket, block, &mut effects).unwrap();
    effects
}

fn enter_all(server: &mut PmiServer) -> Vec<PmiEffect> {
    let mut effects = say(server, FIRST, "cmd=barrier_in");
    effects.extend(say(server, SECOND, "cmd=barrier_in"));
    effects
}

fn say(server: &mut PmiServer, rank: LocalRank, line: &str) -> Vec<PmiEffect> {
    let mut effects = Vec::new();
    server.receive(rank, format!("{line}\n").as_bytes(), &mut effects);
    effects
}

fn reply(rank: LocalRank, text: &str) -> PmiEffect {
    PmiEffect::Reply { rank, bytes: format!("{text}\n").into_bytes() }
}
