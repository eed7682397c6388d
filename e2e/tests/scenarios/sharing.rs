//! The product: two MPI jobs share the same nodes in turns, whatever is killed meanwhile.

use std::time::Duration;

use strobe_e2e::cluster::{Need, system};

use crate::Scenario;
use crate::jobs::{Jobs, job, seconds, until};
use crate::trace::Trace;

pub(crate) const SCENARIOS: [Scenario; 2] = [
    Scenario::new("two-jobs-take-turns", two_jobs_take_turns).alone(),
    Scenario::new("turns-outlive-kills", turns_outlive_kills).needs(&[Need::NodeShell]).alone(),
];

/// Some five seconds of work each on CPUs of its own.
const SOR: [&str; 7] = ["sor", "--rows", "256", "--columns", "256", "--iterations", "30000"];
const TSP: [&str; 5] = ["tsp", "--cities", "17", "--instances", "30"];

/// The least part of the time in which the nodes run the same row. Nodes that went by themselves would come to a half.
const SAME_ROW: f64 = 0.8;

/// The longest time in which a gang that has every second turn of 50 ms has none.
const NO_TURN: Duration = Duration::from_secs(1);

/// The least lines of progress that each job says while both run.
const LINES: usize = 10;

fn start(jobs: &Jobs) -> Vec<String> {
    jobs.apply(&job("sor", &SOR));
    jobs.apply(&job("tsp", &TSP));
    jobs.are("Running", &["sor", "tsp"]);
    let rows = [jobs.field("sor", ".status.rows[0]"), jobs.field("tsp", ".status.rows[0]")];
    assert_ne!(rows[0], rows[1], "gangs on the same CPUs stand in different rows");
    let nodes = jobs.nodes("sor");
    assert_eq!(nodes.len(), 2);
    nodes
}

fn two_jobs_take_turns(jobs: &Jobs) {
    let nodes = start(jobs);
    until("both are under way", || ["sor", "tsp"].iter().all(|name| progress(jobs, name).last().is_some_and(|line| line.percent >= 15)));
    let traces: Vec<Trace> = nodes.iter().map(|node| Trace::of(node)).collect();
    assert_eq!([jobs.field("sor", ".status.state"), jobs.field("tsp", ".status.state")], ["Running", "Running"]);
    for (node, trace) in nodes.iter().zip(&traces) {
        let turns = trace.turns_of("sor", "tsp");
        println!("{node}: {} turns, {:?} without one at most", turns.count, turns.longest);
        assert!(turns.count > 20, "the gangs took turns on {node} {} times", turns.count);
        assert!(turns.longest <= NO_TURN, "a gang had no turn on {node} for {:?}", turns.longest);
    }
    let same = traces[0].same_row(&traces[1]);
    println!("the nodes ran the same row for {:.1} % of the time", 100.0 * same);
    assert!(same >= SAME_ROW, "the nodes ran the same row for {same:.3} of the time");
    jobs.complete(&["sor", "tsp"]);
    both_go_on(jobs);
}

/// Both make progress while both run.
fn both_go_on(jobs: &Jobs) {
    let (sor, tsp) = (progress(jobs, "sor"), progress(jobs, "tsp"));
    let from = sor[0].at.max(tsp[0].at);
    let until = sor[sor.len() - 1].at.min(tsp[tsp.len() - 1].at);
    for (name, lines) in [("sor", &sor), ("tsp", &tsp)] {
        let seen: Vec<&Line> = lines.iter().filter(|line| line.at >= from && line.at <= until).collect();
        let longest = seen.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at)).max();
        println!("{name}: {} lines of progress while both ran, {longest:?} between two at most", seen.len());
        assert!(seen.len() >= LINES, "{name} said {} lines while both ran", seen.len());
    }
}

/// A line of a job's first rank about its progress.
struct Line {
    percent: u32,
    /// Since 1970.
    at: Duration,
}

fn progress(jobs: &Jobs, name: &str) -> Vec<Line> {
    let said = jobs.namespace.run(&["logs", "--timestamps", &format!("{name}-1-0")]).unwrap_or_default();
    let (times, percents): (Vec<&str>, Vec<u32>) = said.lines().filter_map(line).unzip();
    let lines = seconds(times).into_iter().zip(percents);
    lines.map(|(at, percent)| Line { percent, at: Duration::from_secs_f64(at) }).collect()
}

/// Time and per cent.
fn line(line: &str) -> Option<(&str, u32)> {
    let percent = line.split_once("progress: ")?.1.trim_end_matches('%').parse().ok()?;
    Some((line.split_once(' ')?.0, percent))
}

fn turns_outlive_kills(jobs: &Jobs) {
    let nodes = start(jobs);
    let manager = system::manager().unwrap();
    let leader = system::leader().unwrap();
    let started = ["sor", "tsp"].map(|name| jobs.field(name, ".status.startTime"));
    let another = nodes.iter().find(|node| **node != manager).unwrap();
    for (node, process) in [(&leader, "strobe-operator"), (&manager, "strobe-agent"), (another, "strobe-agent")] {
        jobs.driver.shell(node, &format!("pkill -9 -x {process}")).unwrap();
    }
    jobs.complete(&["sor", "tsp"]);
    for name in ["sor", "tsp"] {
        assert_eq!(jobs.field(name, ".status.restarts"), "0", "no rank was lost");
    }
    assert_eq!(["sor", "tsp"].map(|name| jobs.field(name, ".status.startTime")), started, "nothing began anew");
    system::settle().unwrap();
    for node in nodes {
        assert_eq!(frozen(jobs, &node), "", "nothing stays frozen on {node}");
    }
}

/// Cgroups of a node that are commanded frozen.
pub(crate) fn frozen(jobs: &Jobs, node: &str) -> String {
    jobs.driver.shell(node, "find /sys/fs/cgroup -name cgroup.freeze -exec grep -ls 1 {} + || true").unwrap()
}
