//! What is measured: the cells of the comparison, and the order in which a round runs them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bench::statistics::Random;

/// Quanta of the gangs, in milliseconds.
pub(super) const QUANTA_MS: [u32; 5] = [100, 50, 10, 5, 2];
/// Grains, in microseconds of computation between two reductions.
pub(super) const GRAINS_US: [u32; 2] = [100, 1000];
/// Grain of the traced runs, in microseconds.
pub(super) const TRACED_GRAIN_US: u32 = GRAINS_US[0];
/// Grain of the gang beside which agents rest, in microseconds.
pub(super) const REST_GRAIN_US: u32 = GRAINS_US[1];
/// How long that gang computes, in seconds. What an agent needs between is the difference: its start does not count.
pub(super) const REST_SECONDS: [u32; 2] = [1, 11];
/// The same in a quick run.
pub(super) const QUICK_REST_SECONDS: [u32; 2] = [1, 4];
/// Starts of the large program in one round.
const STARTS: u8 = 3;

/// One configuration; a round runs each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Cell {
    /// One of the two jobs has the machine for itself.
    Alone { grain_us: u32, job: Job },
    /// Both jobs at once.
    Together { grain_us: u32, sharing: Sharing },
    /// Both jobs as gangs, for half as long, with every switch recorded: apart from the timed runs, since recording costs time.
    Traced { quantum_ms: u32 },
    /// A large static program, started for its first instruction.
    Start { number: u8 },
    /// One gang that computes and is never switched, so that the agents have nothing to do.
    Rest { seconds: u32 },
}

/// Which of the two jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Job {
    A,
    B,
}

/// How two jobs share the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Sharing {
    /// `--policy kernel`: both run all the time.
    Kernel,
    /// In turns, one quantum each; milliseconds.
    GangAtMs(u32),
}

/// Cells that are compared with each other, and so run near each other in time.
pub(super) type Group = Vec<Cell>;

/// Every cell of a whole measurement.
pub(super) fn all() -> Vec<Group> {
    let mut groups: Vec<Group> = GRAINS_US.iter().map(|grain_us| comparison(*grain_us, &QUANTA_MS, true)).collect();
    groups.push(traced(&QUANTA_MS));
    groups.push(beside(REST_SECONDS));
    groups
}

/// The cells that show in a short time whether the measurement itself works.
pub(super) fn quick() -> Vec<Group> {
    vec![comparison(GRAINS_US[0], &[50, 10, 2], true), comparison(GRAINS_US[1], &[10], false), traced(&[10]), beside(QUICK_REST_SECONDS)]
}

/// The order of one round: groups shuffled, and the cells within each; the same for the same seed.
pub(super) fn order(mut groups: Vec<Group>, seed: u64, round: u32) -> Vec<Cell> {
    let mut random = Random::new(seed ^ (u64::from(round) << 32));
    random.shuffle(&mut groups);
    groups.iter_mut().for_each(|group| random.shuffle(group));
    groups.concat()
}

fn comparison(grain_us: u32, quanta_ms: &[u32], with_kernel: bool) -> Group {
    let alone = [Job::A, Job::B].map(|job| Cell::Alone { grain_us, job });
    let kernel = with_kernel.then_some(Sharing::Kernel);
    let gangs = quanta_ms.iter().map(|quantum| Sharing::GangAtMs(*quantum));
    let together = gangs.chain(kernel).map(|sharing| Cell::Together { grain_us, sharing });
    alone.into_iter().chain(together).collect()
}

fn traced(quanta_ms: &[u32]) -> Group {
    quanta_ms.iter().map(|quantum_ms| Cell::Traced { quantum_ms: *quantum_ms }).collect()
}

fn beside(rest_seconds: [u32; 2]) -> Group {
    let starts = (0..STARTS).map(|number| Cell::Start { number });
    starts.chain(rest_seconds.map(|seconds| Cell::Rest { seconds })).collect()
}

// === impl Cell ===

impl Cell {
    /// A name for files.
    pub(super) fn file_stem(self) -> String {
        match self {
            Self::Alone { grain_us, job } => format!("grain-{grain_us}us-alone-{}", job.letter()),
            Self::Together { grain_us, sharing: Sharing::Kernel } => format!("grain-{grain_us}us-kernel"),
            Self::Together { grain_us, sharing: Sharing::GangAtMs(quantum) } => format!("grain-{grain_us}us-gang-{quantum}ms"),
            Self::Traced { quantum_ms } => format!("traced-{quantum_ms}ms"),
            Self::Start { number } => format!("start-{number}"),
            Self::Rest { seconds } => format!("rest-{seconds}s"),
        }
    }

    /// About how long it runs, in seconds, when a job alone computes for `work_seconds`: only for saying how much time is left.
    pub(super) fn expected_seconds(self, work_seconds: f64) -> f64 {
        const START_AND_END: f64 = 0.8;
        START_AND_END
            + match self {
                Self::Alone { .. } => work_seconds,
                Self::Together { sharing: Sharing::Kernel, .. } => 4.0 * work_seconds,
                Self::Together { sharing: Sharing::GangAtMs(_), .. } => 2.1 * work_seconds,
                Self::Traced { .. } => 1.1 * work_seconds,
                Self::Start { .. } => 0.6,
                Self::Rest { seconds } => f64::from(seconds),
            }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone { grain_us, job } => write!(formatter, "grain {grain_us} us, job {} alone", job.letter()),
            Self::Together { grain_us, sharing } => write!(formatter, "grain {grain_us} us, both, {sharing}"),
            Self::Start { number } => write!(formatter, "start of a large program, number {}", number + 1),
            Self::Traced { quantum_ms } => write!(formatter, "both, gangs at {quantum_ms} ms, every switch recorded"),
            Self::Rest { seconds } => write!(formatter, "one gang alone for {seconds} s"),
        }
    }
}

// === impl Job ===

impl Job {
    pub(super) fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

// === impl Sharing ===

impl fmt::Display for Sharing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => formatter.write_str("kernel policy"),
            Self::GangAtMs(quantum) => write!(formatter, "gangs at {quantum} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(cells: &[Cell]) -> Vec<String> {
        let mut names: Vec<String> = cells.iter().map(|cell| cell.file_stem()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_round_runs_every_cell_once() {
        let cells = all().concat();
        assert_eq!(cells.len(), 2 * (2 + 1 + 5) + 5 + 3 + 2);
        for round in 0..20 {
            assert_eq!(names(&order(all(), 1, round)), names(&cells));
        }
        let mut distinct = names(&cells);
        distinct.dedup();
        assert_eq!(distinct.len(), cells.len());
    }

    #[test]
    fn orders_differ_between_rounds_and_seeds_and_never_for_the_same() {
        assert_eq!(order(all(), 1, 3), order(all(), 1, 3));
        assert_ne!(order(all(), 1, 3), order(all(), 1, 4));
        assert_ne!(order(all(), 1, 3), order(all(), 2, 3));
    }

    #[test]
    fn cells_that_are_compared_run_near_each_other() {
        for round in 0..20 {
            let cells = order(all(), 42, round);
            let grain = |cell: &Cell| matches!(cell, Cell::Alone { grain_us: 100, .. } | Cell::Together { grain_us: 100, .. });
            let first = cells.iter().position(grain).unwrap();
            assert!(cells[first..first + 8].iter().all(grain), "{cells:?}");
        }
    }

    #[test]
    fn every_cell_comes_first_sooner_or_later() {
        let firsts: Vec<String> = (0..400).map(|round| order(all(), 7, round)[0].file_stem()).collect();
        assert!(all().concat().iter().all(|cell| firsts.contains(&cell.file_stem())));
    }

    #[test]
    fn a_quick_run_is_part_of_the_whole_but_for_its_rest() {
        let whole = all().concat();
        let missing: Vec<Cell> = quick().concat().into_iter().filter(|cell| !whole.contains(cell)).collect();
        assert_eq!(missing, [Cell::Rest { seconds: 4 }]);
    }

    #[test]
    fn seven_rounds_take_less_than_a_quarter_of_an_hour() {
        let seconds: f64 = all().concat().iter().map(|cell| cell.expected_seconds(2.0)).sum();
        assert!(7.0 * seconds < 15.0 * 60.0, "{seconds}");
    }

    #[test]
    fn cells_survive_their_file() {
        for cell in all().concat() {
            assert_eq!(serde_json::from_str::<Cell>(&serde_json::to_string(&cell).unwrap()).unwrap(), cell);
        }
    }
}
