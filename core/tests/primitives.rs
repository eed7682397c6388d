//! Global memory, record by record: what each applied record changes, and what is remembered of it.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use strobe_core::{
    limits::{MEMORY_BYTES_MAX, NODE_REGIONS_MAX, OUTCOMES_PER_NODE_MAX, STAGED_BYTES_MAX},
    message::{Holding, SealAnswer},
    model::{
        AgentIncarnation, Desire, EndCause, GangId, GangIncarnation, GangRun, Instant, MatrixVersion, NodeIncarnation, NodeIndex, NodeSet,
        Plan, PlannedGang, RecordNumber, RowSet, Term,
    },
    primitives::{
        AbortReason, Applied, Block, Cell, Compare, CompareResult, Comparison, Content, GangCommand, GangPhase, GangVerb, Memory,
        OperationId, Outcome, Payload, Record, RegionName, Write, Xfer,
    },
};

const fn run(gang: u64, incarnation: u32) -> GangRun {
    GangRun { gang: GangId(gang), incarnation: GangIncarnation(incarnation) }
}

fn nodes(indices: impl IntoIterator<Item = u16>) -> NodeSet {
    indices.into_iter().map(NodeIndex).collect()
}

fn caller(node: u16, incarnation: u64) -> NodeIncarnation {
    NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(incarnation) }
}

fn operation(sequence: u64) -> OperationId {
    OperationId { caller: caller(1, 1), sequence }
}

fn plan(runs: impl IntoIterator<Item = GangRun>) -> Record {
    let planned = |run| PlannedGang { run, desire: Desire::Run, rows: RowSet::EMPTY, placement: Vec::new() };
    Record::Plan(Arc::new(Plan { version: MatrixVersion(1), gangs: runs.into_iter().map(planned).collect() }))
}

fn xfer(operation: OperationId, number: u32, set: NodeSet, bytes: &[u8]) -> Record {
    let region = RegionName::of_gang(run(1, 1), number);
    Record::Xfer { operation, xfer: Xfer { region, set, content: Content::Inline(Payload::new(bytes)) } }
}

fn compare(operation: Option<OperationId>, write: Option<Write>) -> Record {
    let compare = Compare { set: nodes([0, 2]), cell: Cell::Up(GangId(1)), comparison: Comparison::GreaterOrEqual, value: 1, write };
    Record::Compare { operation, compare }
}

fn result(memory: &Memory, truth: bool, command: Option<GangCommand>) -> Record {
    let first_failing = (!truth).then_some(NodeIndex(2));
    Record::CompareResult(CompareResult { compare: memory.applied, truth, first_failing, command })
}

const fn command(verb: GangVerb) -> GangCommand {
    GangCommand { run: run(1, 1), verb }
}

const COMMITTED: Outcome = Outcome::Committed { truth: true, first_failing: None };

#[test]
fn a_block_is_readable_on_the_nodes_of_its_set_and_on_no_other() {
    let mut memory = Memory::default();
    memory.apply(&plan([run(1, 1)]));
    let applied = memory.apply(&xfer(operation(1), 7, nodes([0, 2]), b"block"));
    let region = RegionName::of_gang(run(1, 1), 7);
    assert_eq!((applied, memory.applied), (Applied::Put { region, set: nodes([0, 2]) }, RecordNumber(2)));
    let read = |node| memory.region(region, NodeIndex(node)).and_then(|region| region.content.inline()).map(Payload::bytes);
    assert_eq!([read(0), read(1), read(2)], [Some(&b"block"[..]), None, Some(&b"block"[..])]);
    assert_eq!(memory.regions(NodeIndex(2)).map(|(name, _)| name.number).collect::<Vec<_>>(), [7]);
    assert_eq!(memory.regions(NodeIndex(1)).count(), 0);
    assert_eq!(memory.outcome(operation(1)), Some(COMMITTED));
}

#[test]
fn a_plan_keeps_the_memory_of_lives_that_stay_and_frees_that_of_the_others() {
    let mut memory = Memory::default();
    memory.apply(&plan([run(1, 1), run(2, 1)]));
    memory.apply(&xfer(operation(1), 0, nodes([0]), b"stays"));
    memory.apply(&Record::Gang(command(GangVerb::Hold { term: Term(3), at: Instant::from_nanoseconds(5) })));
    memory.apply(&plan([run(1, 1), run(2, 2)]));
    assert!(memory.gang(run(1, 1)).is_some_and(|gang| gang.held), "a life that stays keeps its state");
    assert!(memory.gang(run(2, 1)).is_none() && memory.gang(run(2, 2)).is_some());
    assert_eq!(memory.regions(NodeIndex(0)).count(), 1);
    memory.apply(&plan([run(1, 2)]));
    assert_eq!(memory.regions(NodeIndex(0)).count(), 0, "another life of the gang");
    assert!(memory.gang(run(1, 2)).is_some_and(|gang| !gang.held && gang.phase == GangPhase::Launching));
}

#[test]
fn a_compare_is_pending_until_its_result_and_writes_where_it_held() {
    let mut memory = Memory::default();
    let write = Write { cell: 4, value: 9 };
    memory.apply(&compare(Some(operation(1)), Some(write)));
    assert_eq!(memory.pending_compare().map(|(number, compare)| (number, compare.write)), Some((RecordNumber(1), Some(write))));
    assert_eq!((memory.pending_operation(), memory.outcome(operation(1))), (Some(operation(1)), None));
    memory.apply(&result(&memory, true, None));
    assert_eq!((memory.pending_compare(), memory.pending_operation()), (None, None));
    assert_eq!(memory.outcome(operation(1)), Some(COMMITTED));
    let cells: Vec<_> = (0..3).map(|node| memory.ordered_cell(NodeIndex(node), 4)).collect();
    assert_eq!(cells, [9, 0, 9], "written on the set and on no other node");
    assert_eq!(memory.ordered_cell(NodeIndex(0), 5), 0, "another cell");
}

#[test]
fn a_compare_that_does_not_hold_writes_nothing_and_names_the_node() {
    let mut memory = Memory::default();
    memory.apply(&compare(Some(operation(1)), Some(Write { cell: 4, value: 9 })));
    memory.apply(&result(&memory, false, None));
    assert_eq!(memory.ordered_cell(NodeIndex(0), 4), 0);
    let outcome = Outcome::Committed { truth: false, first_failing: Some(NodeIndex(2)) };
    assert_eq!(memory.outcome(operation(1)), Some(outcome));
}

#[test]
#[should_panic(expected = "a manager numbers a result directly after its compare")]
fn a_result_belongs_to_the_compare_before_it() {
    let mut memory = Memory::default();
    memory.apply(&compare(None, None));
    memory.apply(&Record::CompareResult(CompareResult { compare: RecordNumber(9), truth: true, first_failing: None, command: None }));
}

#[test]
fn a_term_change_aborts_the_pending_compare() {
    let mut memory = Memory::default();
    memory.apply(&compare(Some(operation(1)), None));
    let holding =
        Holding { term: Term(1), memory: Arc::new(Memory::default()), records: vec![Arc::new(compare(Some(operation(1)), None))] };
    assert_eq!(holding.last(), RecordNumber(1));
    let completed = holding.completed();
    memory.abort_pending_compare();
    assert_eq!(memory, completed, "what a member holds is completed in the same way");
    assert_eq!(memory.outcome(operation(1)), Some(Outcome::Aborted(AbortReason::TermChanged)));
    assert_eq!(memory.pending_compare(), None);
    let before = memory.clone();
    memory.abort_pending_compare();
    assert_eq!(memory, before, "nothing is pending");
}

#[test]
fn what_is_held_ends_with_the_last_record() {
    let memory = Memory::empty(3, RecordNumber(40));
    assert_eq!((memory.generation, memory.applied), (3, RecordNumber(40)));
    let records = vec![Arc::new(plan([])), Arc::new(plan([]))];
    assert_eq!(Holding { term: Term(1), memory: Arc::new(memory), records }.last(), RecordNumber(42));
}

#[test]
fn a_witness_has_gone_on_from_the_term_or_knows_of_all_since() {
    let holding = |term| Holding { term: Term(term), memory: Arc::new(Memory::default()), records: Vec::new() };
    let answer = |knows_from, held: Option<u64>| SealAnswer {
        term: Term(9),
        member: caller(0, 1),
        knows_from: Term(knows_from),
        holding: held.map(holding),
    };
    for (knows_from, held, witness) in
        [(5, None, true), (4, None, true), (6, None, false), (6, Some(4), false), (6, Some(5), true), (6, Some(6), true)]
    {
        assert_eq!(answer(knows_from, held).is_witness_of(Term(5)), witness, "knows from {knows_from}, holds {held:?}");
    }
}

#[test]
fn outcomes_are_remembered_up_to_a_number_and_unknown_below() {
    let mut memory = Memory::default();
    memory.apply(&plan([run(1, 1)]));
    let most = OUTCOMES_PER_NODE_MAX as u64;
    for sequence in 1..=most {
        memory.apply(&xfer(operation(sequence), 0, nodes([0]), b""));
    }
    assert_eq!(memory.outcome(operation(1)), Some(COMMITTED), "exactly as many as are remembered");
    memory.apply(&xfer(operation(most + 1), 0, nodes([0]), b""));
    let outcomes = [1, 2, most + 1, most + 2].map(|sequence| memory.outcome(operation(sequence)));
    assert_eq!(outcomes, [Some(Outcome::Unknown), Some(COMMITTED), Some(COMMITTED), None]);
}

#[test]
fn a_later_life_of_a_caller_ends_the_memory_of_the_earlier_and_of_no_other_node() {
    let mut memory = Memory::default();
    memory.apply(&plan([run(1, 1)]));
    let of = |node, incarnation| OperationId { caller: caller(node, incarnation), sequence: 1 };
    for name in [of(1, 1), of(2, 1)] {
        memory.apply(&xfer(name, 0, nodes([0]), b""));
    }
    assert_eq!(memory.outcome(of(1, 1)), Some(COMMITTED), "another node's caller, of the same life");
    memory.apply(&xfer(of(1, 2), 0, nodes([0]), b""));
    assert_eq!([of(1, 1), of(2, 1), of(1, 2)].map(|name| memory.outcome(name)), [None, Some(COMMITTED), Some(COMMITTED)]);
    memory.apply(&xfer(of(1, 1), 0, nodes([0]), b""));
    assert_eq!(memory.outcome(of(1, 2)), Some(COMMITTED), "what an earlier life asked late ends nothing");
}

#[test]
fn memory_has_room_up_to_its_limit_and_a_block_replaces_itself() {
    let mut memory = Memory::default();
    memory.apply(&plan([run(1, 1)]));
    memory.apply(&xfer(operation(1), 0, nodes([0]), &[0; 100]));
    let name = |number| RegionName::of_gang(run(1, 1), number);
    let inline = |bytes| Content::Inline(Payload::new(vec![0; bytes]));
    let fits = |number, bytes| memory.has_room(name(number), &inline(bytes), 0);
    assert!(fits(1, MEMORY_BYTES_MAX - 100) && !fits(1, MEMORY_BYTES_MAX - 99));
    assert!(fits(0, MEMORY_BYTES_MAX) && !fits(0, MEMORY_BYTES_MAX + 1));
}

#[test]
fn a_nodes_own_blocks_outlive_plans_and_are_few() {
    let mut memory = Memory::default();
    memory.apply(&plan([run(1, 1)]));
    let name = |number| RegionName::of_node(NodeIndex(2), number);
    let content = || Content::Inline(Payload::new(vec![1]));
    let put = |region| Record::Xfer { operation: operation(1), xfer: Xfer { region, set: nodes([0]), content: content() } };
    memory.apply(&put(name(0)));
    memory.apply(&put(RegionName::of_gang(run(1, 1), 0)));
    memory.apply(&plan([]));
    let left: Vec<RegionName> = memory.regions(NodeIndex(0)).map(|(name, _)| name).collect();
    assert_eq!(left, [name(0)]);
    assert!(memory.has_room(name(NODE_REGIONS_MAX - 1), &content(), 0) && !memory.has_room(name(NODE_REGIONS_MAX), &content(), 0));
}

#[test]
fn blocks_beside_memory_have_a_room_of_their_own_in_which_what_is_replaced_and_what_is_on_its_way_count() {
    let mut memory = Memory::default();
    memory.apply(&plan([run(1, 1)]));
    let staged = |length| Content::Staged(Block { digest: 1, length });
    let xfer = Xfer { region: RegionName::of_gang(run(1, 1), 0), set: nodes([0]), content: staged(100) };
    memory.apply(&Record::Xfer { operation: operation(1), xfer: xfer.clone() });
    let fits = |bytes, open| memory.has_room(xfer.region, &staged(bytes), open);
    assert!(fits(STAGED_BYTES_MAX - 100, 0) && !fits(STAGED_BYTES_MAX - 99, 0));
    assert!(fits(STAGED_BYTES_MAX - 107, 7) && !fits(STAGED_BYTES_MAX - 106, 7));
    assert!(memory.has_room(xfer.region, &Content::Inline(Payload::new(vec![0; MEMORY_BYTES_MAX])), STAGED_BYTES_MAX));
}

#[test]
fn payloads_are_told_apart_by_their_bytes() {
    let hash = |payload: &Payload| {
        let mut hasher = DefaultHasher::new();
        payload.hash(&mut hasher);
        hasher.finish()
    };
    let payloads = [&b""[..], b"\0", b"\0\0", b"ab", b"ba"].map(Payload::new);
    for (position, one) in payloads.iter().enumerate() {
        assert!(one == &Payload::new(one.bytes()) && hash(one) == hash(&Payload::new(one.bytes())));
        for other in &payloads[..position] {
            assert!(one != other && hash(one) != hash(other), "{one:?} {other:?}");
            assert_eq!(one.partial_cmp(other), Some(one.cmp(other)));
            assert_eq!(one.cmp(other), other.cmp(one).reverse());
        }
    }
}

#[test]
fn each_comparison_holds_as_its_sign_says() {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    // A cell that is smaller than the value, equal, greater.
    for (comparison, holds) in [
        (Less, [true, false, false]),
        (LessOrEqual, [true, true, false]),
        (Equal, [false, true, false]),
        (NotEqual, [true, false, true]),
        (GreaterOrEqual, [false, true, true]),
        (Greater, [false, false, true]),
    ] {
        assert_eq!([6, 7, 8].map(|cell| comparison.holds(cell, 7)), holds, "{comparison:?}");
    }
}

#[test]
fn only_ordered_operations_write_ordered_cells() {
    assert!(Cell::Ordered(3).is_ordered());
    let gang = GangId(1);
    for cell in [
        Cell::Up(gang),
        Cell::Exited(gang),
        Cell::Gone(gang),
        Cell::Barrier(gang),
        Cell::Taken(gang, 0),
        Cell::Stored(caller(0, 1)),
        Cell::NotStored(caller(0, 1)),
    ] {
        assert!(!cell.is_ordered(), "{cell:?}");
    }
}

#[test]
fn payload_bytes_are_those_that_a_record_carries() {
    let peers =
        || GangVerb::Release { term: Term(1), at: Instant::ORIGIN, peers: vec![Payload::new(&b"abc"[..]), Payload::new(&b"de"[..])] };
    let mut memory = Memory::default();
    memory.apply(&compare(None, None));
    let cases = [
        (xfer(operation(1), 0, nodes([0]), b"block"), 5),
        (Record::Gang(command(peers())), 5),
        (Record::Gang(command(GangVerb::Ended)), 0),
        (result(&memory, true, Some(command(peers()))), 5),
        (result(&memory, true, None), 0),
        (compare(None, None), 0),
        (plan([run(1, 1)]), 0),
    ];
    for (record, bytes) in cases {
        assert_eq!(record.payload_bytes(), bytes, "{record:?}");
    }
}

// === a gang's life against a table ===

fn verbs() -> impl Strategy<Value = GangVerb> {
    let (term, at) = (Term(2), Instant::from_nanoseconds(7));
    let cause = prop_oneof![Just(EndCause::Terminated), Just(EndCause::NodeLost { node: NodeIndex(1) })];
    prop_oneof![
        Just(GangVerb::Release { term, at, peers: vec![Payload::new(&b"peer"[..])] }),
        Just(GangVerb::Hold { term, at }),
        Just(GangVerb::Resume { term, at }),
        cause.prop_map(|cause| GangVerb::End { cause, grace: Duration::from_secs(3) }),
        Just(GangVerb::Ended),
    ]
}

/// The phase and whether it is held, after a command.
fn expected((phase, held): (GangPhase, bool), verb: &GangVerb) -> (GangPhase, bool) {
    use GangPhase::{Ended, Ending, Launching, Released};
    match (phase, verb) {
        (Launching, GangVerb::Release { .. }) => (Released, held),
        (Launching | Released, GangVerb::Hold { .. }) => (phase, true),
        (Launching | Released, GangVerb::Resume { .. }) => (phase, false),
        (Launching | Released, GangVerb::End { cause, .. }) => (Ending(*cause), false),
        (Launching | Released, GangVerb::Ended) => (Ended(EndCause::Completed), held),
        (Ending(cause), GangVerb::Ended) => (Ended(cause), held),
        (Released | Ending(_) | Ended(_), _) => (phase, held),
    }
}

proptest! {
    #[test]
    fn commands_lead_a_gang_through_its_phases(verbs in prop::collection::vec(verbs(), 0..8)) {
        let mut memory = Memory::default();
        memory.apply(&plan([run(1, 1)]));
        let mut state = (GangPhase::Launching, false);
        let mut grace = BTreeMap::new();
        for verb in verbs {
            let was = state;
            state = expected(state, &verb);
            if let (GangPhase::Launching | GangPhase::Released, GangVerb::End { grace: given, .. }) = (was.0, &verb) {
                grace.insert(1, *given);
            }
            memory.apply(&Record::Gang(GangCommand { run: run(1, 2), verb: verb.clone() }));
            let applied = memory.apply(&Record::Gang(command(verb.clone())));
            prop_assert_eq!(applied, Applied::Gang(command(verb.clone())));
            let gang = memory.gang(run(1, 1)).expect("it is in the plan");
            prop_assert_eq!((gang.phase, gang.held), state, "a command to another life changes nothing");
            prop_assert_eq!(gang.grace, grace.get(&1).copied().unwrap_or_default());
            let runs = match gang.phase {
                GangPhase::Released => !gang.held,
                GangPhase::Ending(_) => true,
                GangPhase::Launching | GangPhase::Ended(_) => false,
            };
            prop_assert_eq!(gang.runs(), runs);
            if was != state && matches!(verb, GangVerb::Release { .. } | GangVerb::Hold { .. } | GangVerb::Resume { .. }) {
                prop_assert_eq!(gang.effective, (Term(2), Instant::from_nanoseconds(7)));
            }
            if was.0 == GangPhase::Launching && state.0 == GangPhase::Released {
                prop_assert_eq!(&gang.peers[..], &[Payload::new(&b"peer"[..])]);
            }
        }
    }
}
