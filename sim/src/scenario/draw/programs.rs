//! Programs: operations that callers on several nodes ask for one directly after the other, on the same few cells and blocks.

use strobe_core::primitives::Comparison;

use super::{Breadth, FAULTS_END_MILLISECONDS, node};
use crate::{
    history::CELLS,
    random::Random,
    scenario::{Happening, Planned, Scenario},
};

/// Set apart from the other streams.
const STREAM: u64 = 0x9409_4a35_0004;
/// Seeds of a million in which programs are run.
const RUN: u32 = 400_000;
/// Values of cells: so few that all comparisons hold now and then.
const VALUES: u64 = 3;
/// Blocks of each node that are written.
const BLOCKS: u64 = 2;

const COMPARISONS: [Comparison; 6] =
    [Comparison::Less, Comparison::LessOrEqual, Comparison::Equal, Comparison::NotEqual, Comparison::GreaterOrEqual, Comparison::Greater];

/// Adds programs, on half of the cells. Some are short enough for every order of their operations to be tried.
pub(super) fn draw(seed: u64, breadth: Breadth, scenario: &mut Scenario) {
    let mut random = Random::new(seed ^ STREAM);
    if breadth == Breadth::Narrow || !random.chance(RUN) {
        return;
    }
    let most = *random.pick(&[2, 3, 12]);
    // Without the others' operations a history may be short.
    if most < 12 {
        scenario.events.retain(|planned| !matches!(planned.what, Happening::Operate { .. }));
    }
    let together_at = random.between(100, FAULTS_END_MILLISECONDS);
    for _ in 0..random.between(2, 4) {
        let node = node(&mut random, scenario.nodes);
        let mut at_milliseconds = if random.chance(700_000) { together_at } else { random.between(100, FAULTS_END_MILLISECONDS) };
        for _ in 0..random.between(1, most) {
            let what = operation(&mut random, node, scenario.nodes);
            scenario.events.push(Planned { at_milliseconds, what });
            at_milliseconds += *random.pick(&[0, 0, 0, 1, 3, 40]);
        }
    }
}

fn operation(random: &mut Random, node: u16, nodes: u16) -> Happening {
    let set = u8::try_from(random.between(1, (1 << nodes) - 1)).expect("at most eight nodes");
    let few = |random: &mut Random, bound| u8::try_from(random.below(bound)).expect("few");
    let cell = |random: &mut Random| few(random, u64::from(CELLS) / 2);
    if random.chance(600_000) {
        let writes = random.chance(800_000).then(|| (cell(random), few(random, VALUES)));
        Happening::CompareAndWrite {
            node,
            set,
            cell: cell(random),
            comparison: *random.pick(&COMPARISONS),
            value: few(random, VALUES),
            writes,
        }
    } else {
        let owner = super::node(random, nodes);
        Happening::Put { node, set, owner, number: few(random, BLOCKS), staged: random.chance(400_000) }
    }
}
