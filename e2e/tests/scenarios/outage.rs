//! The API server is away while gangs run: strobes need it for nothing, and ranks do not need the manager either.

use std::time::{Duration, SystemTime};

use strobe_e2e::cluster::{Need, system};

use crate::Scenario;
use crate::jobs::{Afterwards, Jobs, job, seconds, until};
use crate::sharing::frozen;

pub(crate) const SCENARIOS: [Scenario; 1] =
    [Scenario::new("api-server-and-manager-away", api_server_and_manager_away).needs(&[Need::ControlPlane, Need::NodeShell]).alone()];

/// How long the API server is away: at first alone, then with the manager's agent dying.
const AWAY_ALONE: Duration = Duration::from_secs(45);
const AWAY_WITH_MANAGER: Duration = Duration::from_secs(25);

/// Work that ends while the API server alone is away, four gangs on the same CPUs.
const SHORT: [&str; 7] = ["sor", "--rows", "256", "--columns", "256", "--iterations", "20000"];

/// Work that outlasts the scenario, however fast the machine is: so much of a CPU's time. It says how far it is after each hundredth.
const LONG: [&str; 5] = ["grain", "--grain-us", "5000", "--seconds", "600"];

fn api_server_and_manager_away(jobs: &Jobs) {
    let (short, long) = (["short-0", "short-1"], ["long-0", "long-1"]);
    for name in long {
        jobs.apply(&job(name, &LONG));
    }
    for name in short {
        jobs.apply(&job(name, &SHORT));
    }
    jobs.are("Running", &[&short[..], &long[..]].concat());
    let nodes = jobs.nodes("long-0");
    let manager = system::manager().unwrap();

    let _there = Afterwards(|| jobs.driver.api_server_on());
    jobs.driver.api_server_off().unwrap();
    let begun = now();
    std::thread::sleep(AWAY_ALONE);
    jobs.driver.shell(&manager, "pkill -9 -x strobe-agent").unwrap();
    let killed = now();
    until("all gangs run free", || nodes.iter().all(|node| frozen(jobs, node).is_empty()));
    std::thread::sleep(AWAY_WITH_MANAGER);
    for node in &nodes {
        assert_eq!(frozen(jobs, node), "", "nothing is frozen on {node} while there is no manager");
    }
    jobs.driver.api_server_on().unwrap();

    jobs.complete(&short);
    for name in short {
        assert_eq!(jobs.field(name, ".status.restarts"), "0", "{name} lost no rank");
        let last = last_word(jobs, &format!("{name}-1-0"));
        assert!(begun <= last && last <= killed, "{name} ended at {last}, of {begun} to {killed}");
    }
    for name in long {
        jobs.wait("condition=Synchronised", name);
        let before = lines(jobs, name);
        until("the work goes on", || lines(jobs, name) > before);
        assert_eq!(jobs.field(name, ".status.restarts"), "0", "{name} lost no rank");
        assert_eq!(jobs.field(name, ".status.incarnation"), "1", "{name} is in its first life");
    }
    long.iter().for_each(|name| jobs.delete(name));
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
