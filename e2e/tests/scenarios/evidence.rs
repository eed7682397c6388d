//! What is kept of a scenario that failed, before its namespace goes.

use std::fs;
use std::path::{Path, PathBuf};

use strobe_e2e::cluster::system;

use crate::jobs::Jobs;

/// Where each failed scenario has a folder.
const FOLDER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/scenarios");

/// How much of each pod is shown where the scenarios run: nobody may be able to look into the folder.
const TAIL: &str = "--tail=12";

/// How many events are shown there.
const EVENTS: usize = 40;

/// Kinds whose objects are kept.
const KINDS: &str = "paralleljobs,pods,services,networkpolicies";

/// Writes down what the cluster says of it.
pub(crate) fn keep(jobs: &Jobs, scenario: &str) {
    let folder = PathBuf::from(FOLDER).join(scenario);
    // Of an earlier run.
    let _none = fs::remove_dir_all(&folder);
    if let Err(error) = fs::create_dir_all(&folder) {
        eprintln!("{scenario}: nothing is kept: {error}");
        return;
    }
    let run = |arguments: &[&str]| jobs.namespace.run(arguments).unwrap_or_else(|error| format!("{error:#}"));
    write(&folder, "objects.yaml", &run(&["get", KINDS, "--output=yaml"]));
    let events = run(&["get", "events", "--sort-by=.lastTimestamp"]);
    write(&folder, "events.txt", &events);
    write(&folder, "partitions.yaml", &run(&["get", "partitions,partitionnodes", "--output=yaml"]));
    write(&folder, "nodes.txt", &run(&["describe", "nodes"]));
    let every_line = ["logs", "--all-pods", "--all-containers", "--prefix", "--timestamps", "--tail=-1"];
    let of_system = |which: &[&str], workload| run(&[&every_line[..], which, &["--namespace", system::NAMESPACE, workload]].concat());
    for (name, workload) in [("operator", system::OPERATOR), ("agents", system::AGENT)] {
        write(&folder, &format!("{name}.log"), &of_system(&[], workload));
        // Of those that were killed.
        write(&folder, &format!("{name}-before.log"), &of_system(&["--previous"], workload));
    }
    for pod in run(&["get", "pods", "--output=name"]).lines() {
        write(&folder, &format!("{}.log", pod.trim_start_matches("pod/")), &run(&["logs", "--all-containers", "--timestamps", pod]));
    }
    for (name, workload) in [("operator", system::OPERATOR), ("agents", system::AGENT)] {
        let said = run(&["--namespace", system::NAMESPACE, "logs", "--all-pods", "--prefix", TAIL, workload]);
        eprintln!("{scenario}: the last of {name}:\n{said}");
    }
    let lines: Vec<&str> = events.lines().collect();
    eprintln!("{scenario}: the last of its events:\n{}", lines[lines.len().saturating_sub(EVENTS)..].join("\n"));
    eprintln!("{scenario}: {}\n{}", pressure(), run(&["get", "pods,paralleljobs,partitions", "--all-namespaces", "--output=wide"]));
    eprintln!("{scenario}: all that the cluster said is in {}", folder.display());
}

/// How long work has waited for CPUs, of this machine and where a hypervisor runs it: Documentation/accounting/psi.rst and proc(5).
fn pressure() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_else(|error| format!("{path}: {error}"));
    let statistics = read("/proc/stat");
    format!("this machine: {}; {}", read("/proc/pressure/cpu").trim().replace('\n', ", "), statistics.lines().next().unwrap_or_default())
}

fn write(folder: &Path, name: &str, text: &str) {
    if let Err(error) = fs::write(folder.join(name), text) {
        eprintln!("{}: {error}", folder.join(name).display());
    }
}
