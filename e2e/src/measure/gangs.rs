//! `grain` as gangs: two ranks on the pair of workers, each on the one CPU that its node has.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::cell::{Job, Work};
use super::setting::{PARTITION, Setting};
use super::{figures, time};
use crate::cluster::SHELL_IMAGE;

/// Has the examples, PyPI's MPICH, the large static program and what starts ranks without Strobe.
pub(super) const IMAGE: &str = concat!("localhost/strobe/measured:", env!("CARGO_PKG_VERSION"));

/// Where the image has PyPI's MPICH: Debian's often does not end between pods (docs/spikes/f-mpi-between-pods.md).
pub(super) const LIBRARY: &str = "/opt/mpich";

/// Computation of a calibration, in seconds, and how many there are.
const CALIBRATION_SECONDS: f64 = 0.1;
const CALIBRATIONS: usize = 3;

/// Grain of a calibration: the work is found in a loop before it, so that it matters little.
const CALIBRATION_GRAIN_US: u32 = 1000;

/// A gang of two nodes whose container runs this.
pub(super) fn gang(name: &str, image: &str, command: &[String]) -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": name },
        "spec": { "partition": PARTITION, "nodes": 2, "template": { "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "rank", "image": image, "imagePullPolicy": "Never", "command": command,
                "env": [{ "name": "LD_LIBRARY_PATH", "value": LIBRARY }],
            }],
        } } },
    })
}

/// A gang that does nothing for an hour.
pub(super) fn sleeper(name: &str) -> Value {
    gang(name, SHELL_IMAGE, &["sleep", "3600"].map(str::to_owned))
}

/// The command of `grain`; without `loops_per_us` it finds them by itself.
pub(super) fn grain(grain_us: u32, seconds: f64, loops_per_us: Option<f64>) -> Vec<String> {
    let mut command = ["grain", "--grain-us", &grain_us.to_string(), "--seconds", &seconds.to_string()].map(str::to_owned).to_vec();
    if let Some(loops) = loops_per_us {
        command.extend(["--loops-per-us".to_owned(), loops.to_string()]);
    }
    command
}

/// Whether a job has ended well.
pub(super) fn is_complete(status: &Value) -> bool {
    status["state"] == "Complete"
}

/// Runs the jobs at the same time.
///
/// # Errors
/// One fails, or does not say how long it took.
pub(super) fn run(setting: &Setting<'_>, grain_us: u32, jobs: &[Job], work: &Work) -> Result<Value> {
    let command = grain(grain_us, work.seconds, Some(work.loops_per_us));
    let manifests: Vec<Value> = jobs.iter().map(|job| gang(job.name(), IMAGE, &command)).collect();
    setting.submit(&manifests, is_complete)?;
    let ended = time::now();
    let runs = jobs.iter().map(|job| said(setting, &format!("{}-1-0", job.name()))).collect::<Result<Vec<_>>>()?;
    // One gang alone is not switched.
    let nodes = if jobs.len() > 1 { figures::read(setting, ended)? } else { Vec::new() };
    Ok(json!({ "runs": runs, "nodes": nodes }))
}

/// Finds how many loops of `grain` a microsecond has: the median of some runs.
///
/// # Errors
/// One fails, or does not say it.
pub(super) fn calibrate(setting: &Setting<'_>) -> Result<f64> {
    let mut found = Vec::new();
    for _ in 0..CALIBRATIONS {
        setting.submit(&[gang("calibration", IMAGE, &grain(CALIBRATION_GRAIN_US, CALIBRATION_SECONDS, None))], is_complete)?;
        let said = said(setting, "calibration-1-0")?;
        found.push(said["loops_per_us"].as_f64().context("grain does not say its loops")?);
        setting.clear()?;
    }
    found.sort_by(f64::total_cmp);
    Ok(found[CALIBRATIONS / 2])
}

/// The figures in the last line of a `grain`, which a pod or a job's pod has said.
///
/// # Errors
/// It has not said that all is well.
pub(super) fn said(setting: &Setting<'_>, pod: &str) -> Result<Value> {
    let lines = setting.namespace().run(&["logs", pod])?;
    figures_of(&lines).with_context(|| format!("{pod} does not say that all is well: {lines}"))
}

fn figures_of(lines: &str) -> Option<Value> {
    let (_, words) = lines.lines().find_map(|line| line.split_once("grain: ok "))?;
    let pairs = words.split(' ').filter_map(|word| word.split_once('='));
    let numbers: Map<String, Value> =
        pairs.filter_map(|(name, number)| Some((name.to_owned(), json!(number.parse::<f64>().ok()?)))).collect();
    Some(Value::Object(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_run_are_found_behind_any_prefix() {
        let lines = "[grain-a.0] progress: 100%\n[grain-a.0] grain: ok ranks=2 wall_s=4.5 started_unix_s=1795342648.078214\n";
        let figures = figures_of(lines).unwrap();
        assert_eq!((&figures["wall_s"], &figures["started_unix_s"]), (&json!(4.5), &json!(1_795_342_648.078_214)));
        assert_eq!(figures_of("grain: WRONG ranks=2 wall_s=4.5\n"), None);
    }

    #[test]
    fn the_work_is_the_same_in_every_run_but_in_the_calibration() {
        let command = grain(100, 2.0, Some(740.5));
        assert_eq!(command, ["grain", "--grain-us", "100", "--seconds", "2", "--loops-per-us", "740.5"]);
        assert_eq!(grain(100, 0.1, None).last().map(String::as_str), Some("0.1"));
    }
}
