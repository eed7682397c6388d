//! The API server is away while gangs run: strobes need it for nothing, and ranks do not need the manager either.

use std::time::{Duration, SystemTime};

use strobe_e2e::cluster::{Need, system};

use crate::Scenario;
use crate::jobs::{Afterwards, Jobs, job, seconds, until};
use crate::sharing::frozen;
use crate::trace::{Trace, Turns};

pub(crate) const SCENARIOS: [Scenario; 1] =
    [Scenario::new("api-server-and-manager-away", api_server_and_manager_away).needs(&[Need::ControlPlane, Need::NodeShell]).alone()];

/// How long the API server is away: at first alone, then with the manager's agent dying.
const AWAY_ALONE: Duration = Duration::from_secs(60);
const AWAY_WITH_MANAGER: Duration = Duration::from_secs(15);

/// The longest time without a turn: small beside the outage.
const NO_TURN: Duration = Duration::from_secs(5);

/// Turns after which a node strobes again.
const TURNS: usize = 20;

/// Jobs that end while the API server alone is away, and others that outlast the scenario.
const SHORT: [&str; 2] = ["short-0", "short-1"];
const LONG: [&str; 2] = ["long-0", "long-1"];

/// Work for the former: four gangs are on the same CPUs.
const SHORT_WORK: [&str; 7] = ["sor", "--rows", "256", "--columns", "256", "--iterations", "20000"];

/// Work for the latter, however fast the machine is: so much of a CPU's time. It says how far it is after each hundredth.
const LONG_WORK: [&str; 5] = ["grain", "--grain-us", "5000", "--seconds", "600"];

fn api_server_and_manager_away(jobs: &Jobs) {
    for name in LONG {
        jobs.apply(&job(name, &LONG_WORK));
    }
    for name in SHORT {
        jobs.apply(&job(name, &SHORT_WORK));
    }
    jobs.are("Running", &[&SHORT[..], &LONG[..]].concat());
    let nodes = jobs.nodes("long-0");
    let manager = system::manager().unwrap();
    let term = system::term().unwrap();
    let addresses: Vec<String> = nodes.iter().map(|node| system::address(node).unwrap()).collect();
    let before: Vec<i64> = nodes.iter().map(|node| Trace::of(node).last()).collect();

    let _there = Afterwards(|| jobs.driver.api_server_on());
    jobs.driver.api_server_off().unwrap();
    let begun = now();
    std::thread::sleep(AWAY_ALONE);
    for ((node, address), from) in nodes.iter().zip(&addresses).zip(before) {
        strobed_throughout(&Trace::on(&jobs.driver, node, address).turns_since(from, LONG[0], LONG[1]), node);
    }
    jobs.driver.shell(&manager, "pkill -9 -x strobe-agent").unwrap();
    let killed = now();
    until("all gangs run free", || nodes.iter().all(|node| frozen(jobs, node).is_empty()));
    std::thread::sleep(AWAY_WITH_MANAGER);
    for node in &nodes {
        assert_eq!(frozen(jobs, node), "", "nothing is frozen on {node} while there is no manager");
    }
    jobs.driver.api_server_on().unwrap();

    jobs.complete(&SHORT);
    for name in SHORT {
        assert_eq!(jobs.field(name, ".status.restarts"), "0", "{name} lost no rank");
        let last = last_word(jobs, &format!("{name}-1-0"));
        assert!(begun <= last && last <= killed, "{name} ended at {last}, of {begun} to {killed}");
    }
    until("there is a new manager", || system::term().unwrap() > term);
    nodes.iter().for_each(|node| strobes_again(node));
    LONG.iter().for_each(|name| goes_on(jobs, name));
    LONG.iter().for_each(|name| jobs.delete(name));
}

/// Turns that were taken all the time while the API server was away.
fn strobed_throughout(turns: &Turns, node: &str) {
    println!("{node}: {} turns in {:?}, {:?} without one at most", turns.count, turns.lasted, turns.longest);
    assert!(turns.lasted >= AWAY_ALONE, "{node} strobed for {:?} only", turns.lasted);
    assert!(turns.longest <= NO_TURN, "the gangs had no turn on {node} for {:?}", turns.longest);
}

/// Waits for turns that a node's gangs had not had before.
fn strobes_again(node: &str) {
    let from = Trace::of(node).last();
    until(&format!("{node} strobes"), || Trace::of(node).turns_since(from, LONG[0], LONG[1]).count >= TURNS);
}

/// A job that was there before runs in its first life, and its status says so.
fn goes_on(jobs: &Jobs, name: &str) {
    jobs.wait("condition=Synchronised", name);
    let before = lines(jobs, name);
    until("the work goes on", || lines(jobs, name) > before);
    assert_eq!(jobs.field(name, ".status.restarts"), "0", "{name} lost no rank");
    assert_eq!(jobs.field(name, ".status.incarnation"), "1", "{name} is in its first life");
}

/// How many lines a job's first rank has said in the job's first life.
fn lines(jobs: &Jobs, name: &str) -> usize {
    jobs.namespace.run(&["logs", &format!("{name}-1-0")]).unwrap().lines().count()
}

/// When the last line of a pod was said.
fn last_word(jobs: &Jobs, pod: &str) -> f64 {
    let line = jobs.namespace.run(&["logs", "--timestamps", "--tail=1", pod]).unwrap();
    seconds(line.split(' ').next())[0]
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}
