//! The core's main test: seeds under faults, each bug that is put in, and every scenario that once failed.

use std::{collections::BTreeSet, fs, path::PathBuf};

use strobe_core::model::Policy;
use strobe_sim::{
    Outcome,
    campaign::{self, Summary, Until},
    limits::MUTATION_SEEDS_MAX,
    mutations::Mutation,
    scenario::{Breadth, Happening, JobPlan, NetworkProfile, Options, Planned, Scenario, Times},
    simulate,
};

/// Seeds that every test run tries; `cargo xtask sim` tries more.
const SEEDS: u64 = 300;

fn search(seeds: u64, options: Options, until: Until) -> Summary {
    campaign::run(0..seeds, options, until, |_| {})
}

fn run(scenario: Scenario) -> Outcome {
    let outcome = simulate(&scenario.validated().expect("a scenario that can be run"), true);
    if let Some(violation) = &outcome.violation {
        let first = outcome.lines.len().saturating_sub(40);
        panic!("{violation}\n{}", outcome.lines[first..].join("\n"));
    }
    outcome
}

#[test]
fn no_seed_breaks_an_invariant_and_everything_comes_to_rest() {
    let summary = search(SEEDS, Options::default(), Until::End);
    let failures: Vec<String> = summary.failures.iter().map(|failure| format!("seed {}: {}", failure.seed, failure.violation)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(summary.seeds == SEEDS && summary.counters.faults > SEEDS && summary.counters.epochs > 10 * SEEDS, "{summary:?}");
}

#[test]
fn a_seed_has_one_trace_whether_or_not_it_is_kept_in_words() {
    for seed in 0..20 {
        let scenario = Scenario::of_seed(seed, Options::default());
        let first = simulate(&scenario, false);
        let second = simulate(&scenario, true);
        assert_eq!((first.trace, first.counters, &first.violation), (second.trace, second.counters, &second.violation), "seed {seed}");
        let other = simulate(&Scenario { seed: seed + 1, ..scenario }, false);
        assert_ne!(first.trace, other.trace, "the seed of the run's own draws counts");
    }
}

/// One test a bug, so that they are told apart and run side by side. Where the bug is one of the order, it breaks what it is about.
macro_rules! found {
    ($($name:ident: $mutation:ident $(by $invariant:literal)?,)*) => { $(
        #[test]
        fn $name() {
            let options = Options { mutation: Some(Mutation::$mutation), ..Options::default() };
            let summary = search(MUTATION_SEEDS_MAX, options, Until::Failure);
            let failure = summary.failures.first().expect("the bug is found");
            $(assert_eq!(failure.violation.invariant, $invariant, "{}", failure.violation);)?
            println!("{:?} is found by seed {}: {}", Mutation::$mutation, failure.seed, failure.violation);
        }
    )*

    #[test]
    fn every_bug_has_its_test() {
        let tested = BTreeSet::from([$(Mutation::$mutation),*]);
        assert_eq!(tested, BTreeSet::from(Mutation::ALL));
    } };
}

found! {
    freezing_the_old_row_is_found: FreezeOldRow,
    a_watchdog_that_thaws_paused_gangs_is_found: WatchdogThawsPaused,
    epochs_out_of_order_are_found: EpochsOutOfOrder,
    a_release_before_all_are_up_is_found: ReleaseBeforeAllUp,
    a_block_that_is_numbered_at_its_start_is_found: StagedAtItsStart by "no reader sees part of a block",
    a_block_that_is_dropped_unseen_is_found: DroppedUnseen,
    a_commit_before_the_last_receipt_is_found: CommittedBeforeLastReceipt,
    a_commit_before_stability_is_found: CommittedBeforeStable by "committed is stable",
    the_shortest_prefix_is_found: ShortestPrefix by "one order",
    outcomes_that_are_lost_at_a_term_change_are_found: OutcomesForgotten by "one outcome",
    a_stale_fence_that_is_obeyed_is_found: StaleFenceObeyed by "no stale fence",
    a_compare_from_a_cached_cell_is_found: CachedCompare by "one meaning",
    a_block_that_is_readable_while_it_is_written_is_found: TornBlock by "no reader sees part of a block",
    a_forgotten_seal_is_found: SealForgotten,
    a_lease_with_half_is_found: LeaseWithHalf,
    an_answer_before_the_old_links_are_closed_is_found: AnsweredBeforeClosed by "old links are closed",
    a_lost_strobe_that_is_never_repaired_is_found: StrobeNeverRepaired,
    a_put_that_is_never_told_of_is_found: PutForgotten,
    a_strobe_thread_that_forgets_the_policy_is_found: PolicyForgotten,
    an_authority_that_forgets_deadlines_is_found: DeadlineForgotten,
    an_operator_that_forgets_living_gangs_is_found: RunsForgotten,
    an_authority_that_forgets_cordons_is_found: CordonForgotten,
    an_authority_that_misses_new_nodes_is_found: NewNodeForgotten,
}

#[test]
fn what_once_failed_passes() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let scenario: Scenario = serde_json::from_str(&fs::read_to_string(&name).unwrap()).unwrap();
        println!("{}", name.display());
        run(scenario);
    }
}

fn drawn(breadth: Breadth) -> Vec<Scenario> {
    let options = Options { breadth, ..Options::default() };
    (0..SEEDS).map(|seed| Scenario::of_seed(seed, options).validated().expect("what is drawn can be run")).collect()
}

fn is_apart_within(scenario: &Scenario) -> bool {
    let is_apart = |what| matches!(what, Happening::Partition { operator_reaches_all: true, .. } | Happening::Separate { .. });
    scenario.events.iter().any(|planned| is_apart(planned.what))
}

const fn is_of_the_cluster(what: Happening) -> bool {
    matches!(what, Happening::Cordon { .. } | Happening::Evict { .. } | Happening::Fill { .. })
}

/// The ways in which a scenario is wide.
fn ways(scenario: &Scenario) -> [bool; 8] {
    let lead = Times::default().lead;
    [
        scenario.nodes > 4,
        scenario.times.policy == Policy::Kernel,
        scenario.jobs.iter().any(|job| job.cpus_per_rank > 1),
        scenario.jobs.iter().any(|job| job.active_deadline_milliseconds.is_some()),
        scenario.times.lead != lead,
        is_apart_within(scenario),
        scenario.events.iter().any(|planned| is_of_the_cluster(planned.what)),
        !scenario.late_milliseconds.is_empty(),
    ]
}

#[test]
fn every_size_is_drawn_and_every_way_to_be_wide_and_most_seeds_are_narrow() {
    let mixed = drawn(Breadth::Mixed);
    let narrow = mixed.iter().filter(|scenario| ways(scenario) == [false; 8]).count();
    assert!(2 * narrow > mixed.len() && 10 * narrow < 9 * mixed.len(), "{narrow}");
    let wide = drawn(Breadth::Wide);
    let sizes: BTreeSet<u16> = wide.iter().map(|scenario| scenario.nodes).collect();
    assert_eq!(sizes, BTreeSet::from([1, 2, 3, 4, 5, 6, 7, 8]));
    for way in 0..8 {
        let many = wide.iter().filter(|scenario| ways(scenario)[way]).count();
        assert!(10 * many > wide.len(), "way {way}: {many}");
    }
}

#[test]
fn the_narrow_world_has_no_other_ways_and_an_operator_on_the_minoritys_side() {
    let scenarios = drawn(Breadth::Narrow);
    let sizes: BTreeSet<u16> = scenarios.iter().map(|scenario| scenario.nodes).collect();
    assert_eq!(sizes, BTreeSet::from([1, 2, 3, 4]));
    assert!(scenarios.iter().all(|scenario| ways(scenario) == [false; 8]));
    let with_minority = |scenario: &&Scenario| {
        scenario.events.iter().any(|planned| match planned.what {
            Happening::Partition { second_side, operator_there, .. } => {
                let there = u16::try_from(second_side.count_ones()).unwrap();
                let with_operator = if operator_there { there } else { scenario.nodes - there };
                2 * with_operator < scenario.nodes
            }
            _ => false,
        })
    };
    assert!(scenarios.iter().filter(with_minority).count() > 10);
}

/// Three nodes without faults but the ones given; one gang on all of them computes longer than those last.
fn three_nodes(events: Vec<Planned>) -> Scenario {
    let job = JobPlan {
        submit_at_milliseconds: 100,
        nodes: 3,
        ranks_per_node: 1,
        work_milliseconds: 1_500,
        fails_once: false,
        restarts: 0,
        grace_milliseconds: 0,
        stubborn: false,
        priority: 0,
        cpus_per_rank: 1,
        active_deadline_milliseconds: None,
    };
    Scenario {
        seed: 1,
        nodes: 3,
        late_milliseconds: Vec::new(),
        cpus: 1,
        times: Times::default(),
        network: NetworkProfile {
            lost: 0,
            doubled: 0,
            slow: 0,
            usual_microseconds: 100,
            longest_milliseconds: 5,
            accepts_unknown_terms: false,
            overflowing: 0,
        },
        jobs: vec![job],
        events,
        heal_at_milliseconds: 2_000,
        mutation: None,
    }
}

fn parted(second_side: u8, operator_there: bool) -> Vec<Planned> {
    vec![Planned {
        at_milliseconds: 400,
        what: Happening::Partition { second_side, operator_there, operator_reaches_all: false, milliseconds: 1_000 },
    }]
}

#[test]
fn a_majority_strobes_on_without_the_operator() {
    let epochs_of_a_node = 1_000 / 20;
    let mut without_appointment = 0;
    for seed in 1..=10 {
        let undisturbed = run(Scenario { seed, ..three_nodes(Vec::new()) });
        let disturbed = run(Scenario { seed, ..three_nodes(parted(0b100, true)) });
        assert_eq!(undisturbed.counters.terms, 1, "seed {seed}");
        // Where the operator misses the manager before the other one it appoints those who seem to be left, and fails.
        if disturbed.counters.terms == 1 {
            without_appointment += 1;
            assert!(disturbed.counters.epochs + epochs_of_a_node >= undisturbed.counters.epochs - 20, "{disturbed:?} {undisturbed:?}");
        }
    }
    assert!(without_appointment >= 3, "the operator and one node cannot appoint, and need not: so in {without_appointment} of 10");
}

#[test]
fn a_manager_alone_with_the_operator_stops_and_nobody_else_is_appointed() {
    let undisturbed = run(three_nodes(Vec::new()));
    let disturbed = run(three_nodes(parted(0b110, false)));
    assert!(disturbed.counters.epochs < undisturbed.counters.epochs - 50, "nobody strobes meanwhile: {disturbed:?} {undisturbed:?}");
}

/// The operator is away while a job completes, and every agent restarts before it is back: no manager is left that could say
/// so, and no memory.
#[test]
fn a_job_that_completed_unheard_is_complete_though_memory_is_lost() {
    let away = Planned {
        at_milliseconds: 1_000,
        what: Happening::Partition { second_side: 0b111, operator_there: false, operator_reaches_all: false, milliseconds: 3_000 },
    };
    let crash = |node| Planned { at_milliseconds: 3_000, what: Happening::CrashAgent { node, milliseconds: 50 } };
    let events = [away].into_iter().chain((0..3).map(crash)).collect();
    let outcome = run(Scenario { heal_at_milliseconds: 5_000, ..three_nodes(events) });
    assert!(outcome.lines.iter().any(|line| line.contains("operator wants State") && line.contains("state: Complete")));
}

#[test]
fn a_manager_alone_is_replaced_by_an_operator_that_reaches_all() {
    let what = Happening::Partition { second_side: 0b001, operator_there: false, operator_reaches_all: true, milliseconds: 1_000 };
    let disturbed = run(three_nodes(vec![Planned { at_milliseconds: 400, what }]));
    assert!(disturbed.counters.terms > 1, "{disturbed:?}");
}

/// Says what the trace of a scenario says with this in it.
fn said(scenario: Scenario, words: &str) -> Vec<String> {
    run(scenario).lines.into_iter().filter(|line| line.contains(words)).collect()
}

#[test]
fn a_job_that_runs_past_its_deadline_fails_for_it() {
    let with_deadline = |milliseconds| {
        let mut scenario = three_nodes(Vec::new());
        scenario.jobs[0].active_deadline_milliseconds = Some(milliseconds);
        scenario
    };
    assert!(!said(with_deadline(600), "state: Failed, reason: DeadlineExceeded").is_empty());
    assert!(said(with_deadline(1_800), "DeadlineExceeded").is_empty());
}

/// One node with one CPU and two gangs that share it.
fn one_cpu(policy: Policy) -> Scenario {
    let scenario = three_nodes(Vec::new());
    let job = JobPlan { nodes: 1, ..scenario.jobs[0] };
    Scenario { nodes: 1, jobs: vec![job, job], times: Times { policy, rows: 2, ..scenario.times }, ..scenario }
}

/// How often an epoch froze a gang.
fn switches(scenario: Scenario) -> usize {
    said(scenario, "freezes {").iter().filter(|line| line.contains("Epoch {") && !line.contains("freezes {}")).count()
}

#[test]
fn the_kernel_policy_freezes_nothing_at_epochs() {
    assert!(switches(one_cpu(Policy::Gang)) > 20);
    assert_eq!(switches(one_cpu(Policy::Kernel)), 0);
}

#[test]
fn ranks_of_several_cpus_share_a_row_only_where_there_is_room() {
    let of_two_cpus = |cpus| {
        let mut scenario = one_cpu(Policy::Gang);
        scenario.cpus = cpus;
        scenario.jobs.iter_mut().for_each(|job| job.cpus_per_rank = 2);
        switches(scenario)
    };
    assert!(of_two_cpus(3) > 20, "two gangs of two CPUs do not fit three");
    assert_eq!(of_two_cpus(4), 0, "and stand side by side on four");
}
