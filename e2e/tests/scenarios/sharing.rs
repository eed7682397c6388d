//! The product: two MPI jobs share the same nodes in turns, whatever is killed meanwhile.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use strobe_e2e::cluster::{Need, system};

use crate::Scenario;
use crate::jobs::{Jobs, job, seconds, until};
use crate::trace::Trace;

pub(crate) const SCENARIOS: [Scenario; 3] = [
    Scenario::new("two-jobs-take-turns", two_jobs_take_turns).alone(),
    Scenario::new("turns-outlive-kills", turns_outlive_kills).needs(&[Need::NodeShell]).alone(),
    Scenario::new("a-manager-hands-its-role-over", a_manager_hands_its_role_over).needs(&[Need::Installation]).alone(),
];

/// Some five seconds of work each on CPUs of its own.
const SOR: [&str; 7] = ["sor", "--rows", "256", "--columns", "256", "--iterations", "30000"];
const TSP: [&str; 5] = ["tsp", "--cities", "17", "--instances", "30"];

/// The least part of the time in which the nodes run the same row. Nodes that went by themselves would come to a half.
const SAME_ROW: f64 = 0.8;

/// The longest time in which a gang that has every second turn of 50 ms has none.
const NO_TURN: Duration = Duration::from_secs(1);

/// For how long both have run before their turns are looked at: some forty of them.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// More turns than chance would give two jobs that run one after the other.
const TURNS: usize = 20;

/// The least lines of progress that each job says while both run, on the slowest machine; and the part of that time that lies between two
/// at most.
const LINES: usize = 5;
const STILL: u32 = 3;

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
    // Where one has ended before, the machine is too fast for these jobs, which the states below say at once.
    let has_ended = |name: &str| jobs.field(name, ".status.state") == "Complete";
    until("both are under way", || {
        ["sor", "tsp"].iter().all(|name| has_been_under_way(&progress(jobs, name))) || ["sor", "tsp"].into_iter().any(has_ended)
    });
    // Both at once: to be asked keeps a slow node busy, and the other with it.
    let traces: Vec<Trace> = thread::scope(|scope| {
        let asked: Vec<_> = nodes.iter().map(|node| scope.spawn(|| Trace::of(node))).collect();
        asked.into_iter().map(|trace| trace.join().unwrap()).collect()
    });
    assert_eq!([jobs.field("sor", ".status.state"), jobs.field("tsp", ".status.state")], ["Running", "Running"]);
    for (node, trace) in nodes.iter().zip(&traces) {
        let turns = trace.turns_of("sor", "tsp");
        println!("{node}: {} turns, {:?} without one at most", turns.count, turns.longest);
        assert!(turns.count > TURNS, "the gangs took turns on {node} {} times", turns.count);
        assert!(turns.longest <= NO_TURN, "a gang had no turn on {node} for {:?}", turns.longest);
    }
    let same = traces[0].same_row(&traces[1]);
    println!("the nodes ran the same row for {:.1} % of the time", 100.0 * same);
    assert!(same >= SAME_ROW, "the nodes ran the same row for {same:.3} of the time");
    jobs.complete(&["sor", "tsp"]);
    both_go_on(jobs);
}

/// Both make progress while both run, and neither waits for the other's end.
fn both_go_on(jobs: &Jobs) {
    let (sor, tsp) = (progress(jobs, "sor"), progress(jobs, "tsp"));
    let (from, until) = (sor[0].max(tsp[0]), sor[sor.len() - 1].min(tsp[tsp.len() - 1]));
    assert!(from < until, "the jobs never ran together");
    for (name, said) in [("sor", &sor), ("tsp", &tsp)] {
        let seen: Vec<Duration> = said.iter().copied().filter(|at| (from..=until).contains(at)).collect();
        let times: Vec<Duration> = [&[from], &seen[..], &[until]].concat();
        let longest = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default();
        println!("{name}: {} lines of progress in the {:?} in which both ran, {longest:?} between two at most", seen.len(), until - from);
        assert!(seen.len() >= LINES, "{name} said {} lines while both ran", seen.len());
        assert!(longest <= (until - from) / STILL, "{name} stood still for {longest:?}");
    }
}

/// True once what a job has said of its progress spans the time in which its turns are looked at.
fn has_been_under_way(said: &[Duration]) -> bool {
    said.first().zip(said.last()).is_some_and(|(first, last)| last.saturating_sub(*first) >= UNDER_WAY)
}

/// When a job's first rank has said its progress, since 1970.
fn progress(jobs: &Jobs, name: &str) -> Vec<Duration> {
    let said = jobs.namespace.run(&["logs", "--timestamps", &jobs.pod(name, 0)]).unwrap_or_default();
    let times = said.lines().filter(|line| line.contains("progress: ")).filter_map(|line| line.split_whitespace().next());
    seconds(times).into_iter().map(Duration::from_secs_f64).collect()
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

fn a_manager_hands_its_role_over(jobs: &Jobs) {
    start(jobs);
    let manager = system::manager().unwrap();
    let selector = ["--selector=app.kubernetes.io/name=strobe-agent", "--output=jsonpath={.items[0].metadata.name}"];
    let chosen = format!("--field-selector=spec.nodeName={manager}");
    let agent = system::kubectl(&["--namespace", system::NAMESPACE, "get", "pods", &chosen, selector[0], selector[1]]).unwrap();
    let mut following = jobs.namespace.kubectl();
    following.args(["--namespace", system::NAMESPACE, "logs", "--follow", &agent]).stdout(Stdio::piped());
    let mut following = following.spawn().unwrap();
    let mut log = BufReader::new(following.stdout.take().unwrap());
    let mut last_words = String::new();
    // The log is followed once it gives its first line.
    log.read_line(&mut last_words).unwrap();
    system::kubectl(&["--namespace", system::NAMESPACE, "delete", "pod", &agent]).unwrap();
    log.read_to_string(&mut last_words).unwrap();
    following.wait().unwrap();
    assert!(last_words.contains("another agent is the machine manager now"), "it has left before: {last_words}");
    jobs.complete(&["sor", "tsp"]);
    assert_eq!(["sor", "tsp"].map(|name| jobs.field(name, ".status.restarts")), ["0", "0"], "no rank was lost");
    system::settle().unwrap();
}

/// Cgroups of a node that are commanded frozen.
pub(crate) fn frozen(jobs: &Jobs, node: &str) -> String {
    jobs.driver.shell(node, "find /sys/fs/cgroup -name cgroup.freeze -exec grep -ls 1 {} + || true").unwrap()
}
