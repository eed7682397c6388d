//! The manifests of the cells. JSON documents, which YAML contains, so that no path has to be quoted by hand.

use std::path::Path;

use serde_json::{Value, json};

use super::cell::{Cell, Job, QUICK_REST_SECONDS, REST_GRAIN_US, REST_SECONDS, Sharing, TRACED_GRAIN_US};

/// The quantum of runs in which nothing is switched: the default.
const DEFAULT_QUANTUM_MS: u32 = 50;
/// Rows of the matrix: one for each job.
const ROWS: u8 = 2;
/// Nodes, each of one CPU.
pub(super) const NODES: u8 = 2;
const PARTITION: &str = "bench";

/// The programs of the ranks, and how much they compute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work<'a> {
    pub(super) grain: &'a Path,
    pub(super) first_instruction: &'a Path,
    /// Of each job.
    pub(super) seconds: f64,
    /// The same in every cell, so that all do the same work; nothing lets each run calibrate itself.
    pub(super) loops_per_us: Option<f64>,
}

/// The manifest of a cell.
pub(super) fn of(cell: Cell, work: Work<'_>) -> String {
    let both = |grain_us, work: Work<'_>| vec![grain(Job::A, grain_us, work), grain(Job::B, grain_us, work)];
    match cell {
        Cell::Alone { grain_us, job } => documents(DEFAULT_QUANTUM_MS, "gang", vec![grain(job, grain_us, work)]),
        Cell::Together { grain_us, sharing: Sharing::Kernel } => documents(DEFAULT_QUANTUM_MS, "kernel", both(grain_us, work)),
        Cell::Together { grain_us, sharing: Sharing::GangAtMs(quantum) } => documents(quantum, "gang", both(grain_us, work)),
        Cell::Traced { quantum_ms } => documents(quantum_ms, "gang", both(TRACED_GRAIN_US, Work { seconds: work.seconds / 2.0, ..work })),
        Cell::Start { .. } => documents(DEFAULT_QUANTUM_MS, "gang", vec![start(work)]),
        Cell::Rest { seconds } => {
            let work = Work { seconds: f64::from(seconds), ..work };
            documents(DEFAULT_QUANTUM_MS, "gang", vec![grain(Job::A, REST_GRAIN_US, work)])
        }
    }
}

fn documents(quantum_ms: u32, policy: &str, jobs: Vec<Value>) -> String {
    let partition = json!({
        "apiVersion": "strobe.dev/v1alpha1",
        "kind": "Partition",
        "metadata": { "name": PARTITION },
        "spec": { "rows": ROWS, "quantum": format!("{quantum_ms}ms"), "policy": policy },
    });
    let texts: Vec<String> = std::iter::once(partition).chain(jobs).map(|document| format!("{document:#}\n")).collect();
    texts.join("---\n")
}

fn grain(job: Job, grain_us: u32, work: Work<'_>) -> Value {
    let iterations = (work.seconds * 1e6 / f64::from(grain_us)).round().max(1.0);
    let mut arguments = vec!["--grain-us".to_owned(), grain_us.to_string(), "--iterations".to_owned(), iterations.to_string()];
    if let Some(loops) = work.loops_per_us {
        arguments.extend(["--loops-per-us".to_owned(), loops.to_string()]);
    }
    parallel_job(&format!("grain-{}", job.letter()), "pmi1", work.grain, &arguments)
}

fn start(work: Work<'_>) -> Value {
    parallel_job("start", "env", work.first_instruction, &[])
}

fn parallel_job(name: &str, protocol: &str, program: &Path, arguments: &[String]) -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1",
        "kind": "ParallelJob",
        "metadata": { "name": name },
        "spec": {
            "partition": PARTITION,
            "nodes": NODES,
            "ranksPerNode": 1,
            "cpusPerRank": 1,
            "launch": { "protocol": protocol },
            "template": { "spec": { "containers": [{ "name": "rank", "command": [program], "args": arguments }] } },
        },
    })
}

/// The seconds of the two rests of a measurement, the shorter one first.
pub(super) const fn rest_seconds(quick: bool) -> [u32; 2] {
    if quick { QUICK_REST_SECONDS } else { REST_SECONDS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work<'static> {
        Work { grain: Path::new("/a \"b\"/grain"), first_instruction: Path::new("/first"), seconds: 2.0, loops_per_us: Some(740.5) }
    }

    fn parse(text: &str) -> Vec<Value> {
        text.split("---\n").map(|document| serde_json::from_str(document).unwrap()).collect()
    }

    #[test]
    fn both_jobs_do_the_same_work_in_every_cell() {
        let documents = parse(&of(Cell::Together { grain_us: 100, sharing: Sharing::GangAtMs(5) }, work()));
        assert_eq!(documents[0]["spec"]["quantum"], "5ms");
        assert_eq!(documents[0]["spec"]["policy"], "gang");
        let container = |index: usize| documents[index]["spec"]["template"]["spec"]["containers"][0].clone();
        assert_eq!(container(1), container(2));
        assert_eq!(container(1)["args"], json!(["--grain-us", "100", "--iterations", "20000", "--loops-per-us", "740.5"]));
        assert_eq!(container(1)["command"], json!(["/a \"b\"/grain"]));
        let alone = parse(&of(Cell::Alone { grain_us: 100, job: Job::B }, work()));
        assert_eq!(alone[1], documents[2]);
    }

    #[test]
    fn kernel_policy_and_rest_are_what_they_say() {
        let kernel = parse(&of(Cell::Together { grain_us: 1000, sharing: Sharing::Kernel }, work()));
        assert_eq!((kernel.len(), &kernel[0]["spec"]["policy"]), (3, &json!("kernel")));
        let rest = parse(&of(Cell::Rest { seconds: 11 }, work()));
        let arguments = &rest[1]["spec"]["template"]["spec"]["containers"][0]["args"];
        assert_eq!((rest.len(), &arguments[3]), (2, &json!("11000")));
    }

    #[test]
    fn a_start_has_one_job_of_the_large_program() {
        let start = parse(&of(Cell::Start { number: 1 }, work()));
        assert_eq!(start[1]["spec"]["template"]["spec"]["containers"][0]["command"], json!(["/first"]));
        assert_eq!(start.len(), 2);
    }
}
