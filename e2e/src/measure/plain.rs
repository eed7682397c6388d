//! `grain` without Strobe: a Kubernetes Job a rank on the same workers, each kept on the CPU that gangs have there. The kernel shares the
//! CPUs. Ranks find each other by a pod on the third worker, which has nothing to do once they have.

use anyhow::Result;
use serde_json::{Value, json};

use super::cell::{Job, Work};
use super::gangs::{IMAGE, LIBRARY, grain, said};
use super::setting::{PAIR, Setting};
use crate::cluster::{WORKERS, system};

const PORT: u16 = 7000;

/// What each rank asks for. With the same for all the kernel gives each the same part; without any, a pod's weight is next to nothing
/// against the node's own services.
const REQUEST: &str = "500m";

/// Runs the jobs at the same time.
///
/// # Errors
/// One fails, or does not say how long it took.
pub(super) fn run(setting: &Setting<'_>, grain_us: u32, jobs: &[Job], work: &Work) -> Result<Value> {
    let namespace = setting.namespace();
    for job in jobs {
        namespace.apply(&server(job.name()))?;
    }
    let mut ranks = Vec::new();
    for job in jobs {
        let server = format!("pod/{}-server", job.name());
        namespace.wait("condition=Ready", &server)?;
        let address = namespace.run(&["get", &server, "--output=jsonpath={.status.podIP}"])?;
        for (rank, node) in PAIR.into_iter().enumerate() {
            let cpu = cpu_of(node)?;
            let command = ["pmi-over-tcp", "rank-on", &cpu, &format!("{address}:{PORT}"), &rank.to_string(), "2"].map(str::to_owned);
            let command = [&command[..], &grain(grain_us, work.seconds, Some(work.loops_per_us))].concat();
            ranks.push(rank_of(&name(*job, rank), node, &command));
        }
    }
    namespace.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": ranks }))?;
    for job in jobs {
        for rank in 0..PAIR.len() {
            namespace.wait("condition=Complete", &format!("job/{}", name(*job, rank)))?;
        }
    }
    let runs = jobs.iter().map(|job| said(setting, &format!("job/{}", name(*job, 0)))).collect::<Result<Vec<_>>>()?;
    Ok(json!({ "runs": runs }))
}

fn name(job: Job, rank: usize) -> String {
    format!("{}-{rank}", job.name())
}

/// The CPU that gangs have on a node.
fn cpu_of(node: &str) -> Result<String> {
    system::kubectl(&["get", &format!("partitionnode/{node}"), "--output=jsonpath={.status.cpus}"])
}

fn server(job: &str) -> Value {
    let probe = json!({ "tcpSocket": { "port": PORT }, "periodSeconds": 1 });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("{job}-server") },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": WORKERS[2] }, "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "server", "image": IMAGE, "imagePullPolicy": "Never", "readinessProbe": probe,
                "command": ["pmi-over-tcp", "serve", format!("0.0.0.0:{PORT}"), "2", "1"],
            }],
        },
    })
}

fn rank_of(name: &str, node: &str, command: &[String]) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name },
        "spec": { "backoffLimit": 0, "template": { "spec": {
            "nodeSelector": { "kubernetes.io/hostname": node }, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "rank", "image": IMAGE, "imagePullPolicy": "Never", "command": command,
                "env": [{ "name": "LD_LIBRARY_PATH", "value": LIBRARY }],
                "resources": { "requests": { "cpu": REQUEST } },
            }],
        } } },
    })
}
