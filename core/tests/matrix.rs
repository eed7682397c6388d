//! The matrix against a brute-force oracle, on matrices so small that every placement can be tried.

use proptest::prelude::*;
use strobe_core::{
    limits::{GANGS_PER_PLAN_MAX, RANKS_PER_GANG_MAX},
    matrix::{Matrix, NoPlacement, NodeCapacity, PlacementRequest},
    model::{CpuIndex, GangId, GangIncarnation, GangRun, NodeIndex, NodeSet, RankIndex, RowIndex, RowSet},
};

const MEMORY: u64 = 100;

fn run(gang: u64) -> GangRun {
    GangRun { gang: GangId(gang), incarnation: GangIncarnation(1) }
}

fn matrix(rows: u8, nodes: u16, cpus: u16) -> Matrix {
    let capacity = |node| NodeCapacity { node: NodeIndex(node), cpus: (0..cpus).map(CpuIndex).collect(), memory_bytes: MEMORY };
    Matrix::new(rows, (0..nodes).map(capacity))
}

fn request(gang: u64, nodes: u16, ranks_per_node: u32) -> PlacementRequest {
    PlacementRequest { run: run(gang), nodes, ranks_per_node, cpus_per_rank: 1, memory_bytes: 0, excluded: NodeSet::EMPTY }
}

fn place(matrix: &mut Matrix, request: &PlacementRequest) {
    let change = matrix.placing(request).expect("there is room");
    matrix.commit(change);
}

fn remove(matrix: &mut Matrix, gang: u64) {
    let change = matrix.removing(run(gang)).expect("it is there");
    matrix.commit(change);
}

fn rows(matrix: &Matrix, gang: u64) -> Vec<u8> {
    matrix.gang(run(gang)).expect("it is there").rows.iter().map(|row| row.0).collect()
}

fn cpus(matrix: &Matrix, gang: u64) -> Vec<(u16, Vec<u16>)> {
    let gang = matrix.gang(run(gang)).expect("it is there");
    gang.nodes.iter().map(|part| (part.node.0, part.cpus.iter().map(|cpu| cpu.0).collect())).collect()
}

#[test]
fn two_gangs_as_wide_as_the_machine_share_it_in_time() {
    let mut matrix = matrix(4, 2, 1);
    place(&mut matrix, &request(1, 2, 1));
    place(&mut matrix, &request(2, 2, 1));
    assert_eq!((rows(&matrix, 1), rows(&matrix, 2)), (vec![0], vec![1]), "rows that stay empty are lent to nobody");
}

#[test]
fn gangs_stand_side_by_side_before_they_share_time() {
    let mut matrix = matrix(4, 2, 2);
    for gang in 1..=4 {
        place(&mut matrix, &request(gang, 1, 1));
    }
    assert_eq!(matrix.occupied_rows(), [RowIndex(0)].into_iter().collect());
}

#[test]
fn the_fullest_row_that_fits_is_taken_and_the_fullest_node_that_suffices() {
    let mut matrix = matrix(3, 2, 4);
    place(&mut matrix, &request(1, 2, 3));
    place(&mut matrix, &request(2, 2, 2));
    place(&mut matrix, &request(3, 1, 1));
    assert_eq!(rows(&matrix, 3)[0], 0, "row 0 has 2 free slots, row 1 has 4");
    place(&mut matrix, &request(4, 1, 2));
    assert_eq!((rows(&matrix, 4), cpus(&matrix, 4)[0].0), (vec![1], 1), "of two nodes with 2 free slots, the less used one");
    place(&mut matrix, &request(5, 1, 1));
    assert_eq!(matrix.gang(run(5)).expect("it is there").home, RowIndex(0), "row 0 has one free slot left");
}

#[test]
fn a_fuller_row_goes_before_a_lower_one() {
    let mut matrix = matrix(3, 1, 4);
    place(&mut matrix, &request(1, 1, 2));
    place(&mut matrix, &request(2, 1, 3));
    place(&mut matrix, &request(3, 1, 1));
    assert_eq!(matrix.gang(run(3)).expect("it is there").home, RowIndex(1), "row 0 has 2 free slots, row 1 has one");
}

#[test]
fn cpus_that_other_rows_use_least_are_taken_so_that_rows_unify() {
    let mut matrix = matrix(2, 1, 4);
    place(&mut matrix, &request(1, 1, 2));
    place(&mut matrix, &request(2, 1, 2));
    place(&mut matrix, &request(3, 1, 3));
    remove(&mut matrix, 2);
    place(&mut matrix, &request(4, 1, 1));
    assert_eq!(cpus(&matrix, 1), [(0, vec![0, 1])]);
    assert_eq!(cpus(&matrix, 3), [(0, vec![0, 1, 2])]);
    assert_eq!((cpus(&matrix, 4), rows(&matrix, 4)), (vec![(0, vec![3])], vec![0, 1]), "CPU 3 is free in both rows");
}

#[test]
fn ranks_of_a_node_are_consecutive_in_the_order_of_nodes() {
    let mut matrix = matrix(1, 3, 4);
    place(&mut matrix, &PlacementRequest { cpus_per_rank: 2, excluded: [NodeIndex(1)].into_iter().collect(), ..request(1, 2, 2) });
    let gang = matrix.gang(run(1)).expect("it is there");
    let parts: Vec<_> = gang.nodes.iter().map(|part| (part.node, part.first_rank, part.ranks, part.cpus.len())).collect();
    assert_eq!(parts, [(NodeIndex(0), RankIndex(0), 2, 4), (NodeIndex(2), RankIndex(2), 2, 4)]);
}

#[test]
fn what_is_short_is_said_with_counts() {
    let mut full = matrix(1, 2, 2);
    place(&mut full, &PlacementRequest { memory_bytes: 60, ..request(1, 1, 1) });
    let wide = PlacementRequest { memory_bytes: 60, ..request(2, 2, 1) };
    let all: NodeSet = [NodeIndex(0)].into_iter().collect();
    let cases = [
        (request(2, 0, 1), NoPlacement::Shape { ranks: 0, cpus_per_rank: 1 }, "a gang of 0 ranks with 1 CPUs a rank cannot be"),
        (request(2, 3, 1), NoPlacement::Nodes { usable: 2, wanted: 3 }, "2 of 3 nodes may be used"),
        (PlacementRequest { excluded: all, ..wide }, NoPlacement::Nodes { usable: 1, wanted: 2 }, "1 of 2 nodes may be used"),
        (request(2, 2, 3), NoPlacement::NodeSize { large_enough: 0, wanted: 2, slots: 3 }, "0 of 2 nodes have 3 CPUs"),
        (wide, NoPlacement::Memory { free: 1, wanted: 2, bytes: 60 }, "1 of 2 nodes have 60 bytes of memory left"),
        (request(2, 2, 2), NoPlacement::Slots { free: 1, wanted: 2, slots: 2 }, "1 of 2 nodes have 2 free slots in one row"),
    ];
    for (request, reason, text) in cases {
        assert_eq!(full.placing(&request), Err(reason));
        assert_eq!(reason.to_string(), text);
    }
}

#[test]
fn memory_is_counted_over_all_rows() {
    let mut matrix = matrix(3, 1, 1);
    for gang in 1..=2 {
        place(&mut matrix, &PlacementRequest { memory_bytes: 50, ..request(gang, 1, 1) });
    }
    let third = PlacementRequest { memory_bytes: 1, ..request(3, 1, 1) };
    assert_eq!(matrix.placing(&third), Err(NoPlacement::Memory { free: 0, wanted: 1, bytes: 1 }));
}

#[test]
fn a_node_takes_no_more_gangs_than_its_table_holds() {
    let mut matrix = matrix(2, 2, 64);
    for gang in 1..=64 {
        place(&mut matrix, &PlacementRequest { excluded: [NodeIndex(1)].into_iter().collect(), ..request(gang, 1, 1) });
    }
    assert_eq!(matrix.placing(&request(65, 2, 1)), Err(NoPlacement::GangsOnNode { free: 1, wanted: 2 }));
}

#[test]
fn a_change_says_whose_rows_change_and_happens_only_when_committed() {
    let mut matrix = matrix(2, 1, 2);
    place(&mut matrix, &request(1, 1, 2));
    place(&mut matrix, &request(2, 1, 1));
    let before = matrix.clone();
    let change = matrix.removing(run(1)).expect("it is there");
    assert_eq!((change.placed, change.removed, matrix.clone()), (None, Some(run(1)), before));
    let set = |row| -> RowSet { [RowIndex(row)].into_iter().collect() };
    let changes: Vec<_> = change.rows.iter().map(|rows| (rows.run, rows.before, rows.after)).collect();
    assert_eq!(changes, [(run(1), set(0), RowSet::EMPTY), (run(2), set(1), set(0))]);
    matrix.commit(change);
    assert_eq!((rows(&matrix, 2), matrix.gang(run(1))), (vec![0], None));
}

#[test]
#[should_panic(expected = "a change belongs to the matrix that it was computed from")]
fn a_stale_change_is_never_committed() {
    let mut matrix = matrix(2, 1, 2);
    let (first, second) = (matrix.placing(&request(1, 1, 1)), matrix.placing(&request(2, 1, 1)));
    matrix.commit(first.expect("there is room"));
    place(&mut matrix, &request(3, 1, 1));
    matrix.commit(second.expect("there was room"));
}

#[test]
fn a_matrix_is_empty_until_a_gang_stands_in_it_and_after_the_last() {
    let mut matrix = matrix(2, 1, 2);
    assert!(matrix.is_empty());
    place(&mut matrix, &request(1, 1, 1));
    assert!(!matrix.is_empty());
    remove(&mut matrix, 1);
    assert!(matrix.is_empty());
}

#[test]
fn a_gang_has_ranks_with_cpus_and_no_more_than_the_limit() {
    let empty = matrix(1, 1, 1);
    let most = PlacementRequest { ranks_per_node: RANKS_PER_GANG_MAX, ..request(1, 1, 1) };
    let slots = u64::from(RANKS_PER_GANG_MAX);
    assert_eq!(empty.placing(&most), Err(NoPlacement::NodeSize { large_enough: 0, wanted: 1, slots }), "the shape can be");
    let over = PlacementRequest { ranks_per_node: RANKS_PER_GANG_MAX + 1, ..request(1, 1, 1) };
    assert_eq!(empty.placing(&over), Err(NoPlacement::Shape { ranks: slots + 1, cpus_per_rank: 1 }));
    let without_cpus = PlacementRequest { cpus_per_rank: 0, ..request(1, 1, 1) };
    assert_eq!(empty.placing(&without_cpus), Err(NoPlacement::Shape { ranks: 1, cpus_per_rank: 0 }));
}

#[test]
fn a_plan_holds_no_more_gangs_than_the_limit() {
    let nodes = u16::try_from(GANGS_PER_PLAN_MAX / 64 + 1).expect("small");
    let mut matrix = matrix(1, nodes, 64);
    for gang in 1..=GANGS_PER_PLAN_MAX as u64 {
        place(&mut matrix, &request(gang, 1, 1));
    }
    let one_more = request(GANGS_PER_PLAN_MAX as u64 + 1, 1, 1);
    assert_eq!(matrix.placing(&one_more), Err(NoPlacement::GangsInPlan { gangs: GANGS_PER_PLAN_MAX }));
}

// === the oracle ===

#[derive(Debug, Clone)]
enum Operation {
    Place { nodes: u16, ranks: u32, cpus: u16, memory: u64, excluded: u64 },
    Remove { which: usize },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let place = (0_u16..=4, 0_u32..=4, 1_u16..=2, 0_u64..=40, 0_u64..8).prop_map(|(nodes, ranks, cpus, memory, excluded)| {
        Operation::Place { nodes, ranks, cpus, memory, excluded: if excluded == 5 { 1 } else { 0 } }
    });
    let remove = (0_usize..8).prop_map(|which| Operation::Remove { which });
    prop::collection::vec(prop_oneof![3 => place, 2 => remove], 1..24)
}

/// Tries every row, every set of nodes and every set of CPUs on each.
fn oracle_finds(matrix: &Matrix, nodes: u16, cpus: u16, request: &PlacementRequest) -> bool {
    let slots = request.ranks_per_node * u32::from(request.cpus_per_rank);
    let homes = |row: RowIndex, node: u16| -> u32 {
        let parts = matrix.gangs().filter(|(_, gang)| gang.home == row).flat_map(|(_, gang)| gang.nodes.iter());
        parts.filter(|part| part.node.0 == node).flat_map(|part| part.cpus.iter()).fold(0, |mask, cpu| mask | 1 << cpu.0)
    };
    let memory = |node: u16| -> u64 {
        let there = matrix.gangs().filter(|(_, gang)| gang.nodes.iter().any(|part| part.node.0 == node));
        there.map(|(_, gang)| gang.memory_bytes).sum()
    };
    let fits_node = |row: RowIndex, node: u16| {
        let some_cpus = (0_u32..1 << cpus).any(|chosen| chosen.count_ones() == slots && chosen & homes(row, node) == 0);
        some_cpus && memory(node) + request.memory_bytes <= MEMORY && !request.excluded.contains(NodeIndex(node))
    };
    let sets = || (0_u32..1 << nodes).filter(|set| set.count_ones() == u32::from(request.nodes));
    let fits = |row: RowIndex| sets().any(|set| (0..nodes).filter(|node| set & (1 << node) != 0).all(|node| fits_node(row, node)));
    slots > 0 && request.nodes > 0 && (0..matrix.rows()).map(RowIndex).any(fits)
}

/// The CPUs of all gangs that run in the row are different ones, checked apart from the matrix's own assertions.
fn overlap(matrix: &Matrix) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    matrix.gangs().any(|(_, gang)| {
        let cells = gang.rows.iter().flat_map(|row| gang.nodes.iter().map(move |part| (row, part)));
        cells
            .flat_map(|(row, part)| part.cpus.iter().map(move |cpu| (row, part.node, cpu)))
            .collect::<Vec<_>>()
            .into_iter()
            .any(|cell| !seen.insert(cell))
    })
}

/// True when some gang could also run in an occupied row where it does not.
fn lends_too_little(matrix: &Matrix) -> bool {
    let shares = |run: GangRun, row: RowIndex| {
        let gang = matrix.gang(run).expect("it was listed");
        matrix.gangs().filter(|(other, in_row)| *other != run && in_row.rows.contains(row)).any(|(_, other)| {
            gang.nodes.iter().any(|part| other.nodes.iter().any(|there| there.node == part.node && there.cpus.overlaps(&part.cpus)))
        })
    };
    let occupied = matrix.occupied_rows();
    matrix.gangs().any(|(run, gang)| occupied.difference(gang.rows).iter().any(|row| !shares(run, row)))
}

fn check_placing(matrix: &mut Matrix, nodes: u16, cpus: u16, request: &PlacementRequest) {
    let before = matrix.clone();
    let found = matrix.placing(request);
    assert_eq!(found.is_ok(), oracle_finds(matrix, nodes, cpus, request), "{request:?} in {matrix:?}: {found:?}");
    if let Ok(change) = found {
        matrix.commit(change);
        assert!(
            before.gangs().all(|(run, gang)| matrix.gang(run).is_some_and(|after| (after.home, &after.nodes) == (gang.home, &gang.nodes)))
        );
        let gang = matrix.gang(request.run).expect("it was placed");
        let slots = usize::try_from(request.slots_per_node()).expect("small");
        assert_eq!(gang.nodes.len(), usize::from(request.nodes));
        assert!(gang.nodes.iter().all(|part| part.cpus.len() == slots && !request.excluded.contains(part.node)));
    }
}

fn check_removing(matrix: &mut Matrix, which: usize) {
    let Some(run) = matrix.gangs().map(|(run, _)| run).nth(which) else { return };
    let before = matrix.clone();
    let change = matrix.removing(run).expect("it was listed");
    matrix.commit(change);
    assert_eq!(matrix.gangs().count() + 1, before.gangs().count());
    for (run, gang) in matrix.gangs() {
        let earlier = before.gang(run).expect("nothing was placed");
        assert!(gang.nodes == earlier.nodes && gang.home <= earlier.home, "compaction keeps nodes and CPUs, and moves down only");
    }
    let occupied = matrix.occupied_rows();
    assert!(occupied.len() <= before.occupied_rows().len(), "compaction never makes rows");
    assert!(occupied.iter().enumerate().all(|(position, row)| position == usize::from(row.0)), "occupied rows have no gap");
}

proptest! {
    #[test]
    fn the_matrix_agrees_with_the_oracle(shape in (1_u8..=3, 1_u16..=3, 1_u16..=4), operations in operations()) {
        let (row_count, nodes, cpus) = shape;
        let mut matrix = matrix(row_count, nodes, cpus);
        for (gang, operation) in (1..).zip(operations) {
            match operation {
                Operation::Place { nodes: wanted, ranks, cpus: cpus_per_rank, memory, excluded } => {
                    let request = PlacementRequest {
                        cpus_per_rank,
                        memory_bytes: memory,
                        excluded: NodeSet::from_bits(excluded),
                        ..request(gang, wanted, ranks)
                    };
                    check_placing(&mut matrix, nodes, cpus, &request);
                }
                Operation::Remove { which } => check_removing(&mut matrix, which),
            }
            matrix.assert_sound();
            prop_assert!(!overlap(&matrix));
            prop_assert!(!lends_too_little(&matrix));
        }
    }
}
