//! From a job's submission to its first instruction, and how much of that passes before the last of its containers has begun.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::gangs::{self, IMAGE};
use super::setting::Setting;
use super::time::parse_instant;

/// A static program of 12 MB that says when it began.
const PROGRAM: &str = "first-instruction";

/// How long it lives, in seconds: longer than the second in which a status is written at most once, so that `Running` is among them.
const LIFE_SECONDS: &str = "3";

/// What it says, in nanoseconds since 1970.
const SAID: &str = "first_instruction_unix_ns=";

const NAME: &str = "start";

/// The gang of that program.
pub(super) fn gang() -> Value {
    gangs::gang(NAME, IMAGE, &[PROGRAM, LIFE_SECONDS].map(str::to_owned))
}

/// Starts the gang once.
///
/// # Errors
/// It fails, or its nodes do not say when its containers began.
pub(super) fn measure(setting: &Setting<'_>) -> Result<Value> {
    let seen = setting.submit(&[gang()], gangs::is_complete)?;
    let seen = seen.get(NAME).context("the job was seen")?;
    let mut containers = Vec::new();
    let mut instructions = Vec::new();
    for pod in [0, 1].map(|index| format!("{NAME}-1-{index}")) {
        containers.push(container_began(setting, &pod)?);
        instructions.push(first_instruction(&setting.namespace().run(&["logs", &pod])?)?);
    }
    containers.sort_unstable();
    instructions.sort_unstable();
    ensure!(seen.running > 0, "the gang was complete before a watch told that it ran");
    let after = |instant: i128| (instant - seen.submitted) as f64 / 1e6;
    Ok(json!({
        "containersMs": containers.iter().map(|began| after(*began)).collect::<Vec<_>>(),
        "instructionsMs": instructions.iter().map(|began| after(*began)).collect::<Vec<_>>(),
        "runningMs": after(seen.running),
    }))
}

/// When the container of a pod of the pair began, as the container runtime of its node has it.
fn container_began(setting: &Setting<'_>, pod: &str) -> Result<i128> {
    let path = "--output=jsonpath={.spec.nodeName} {.status.containerStatuses[0].containerID}";
    let words = setting.namespace().run(&["get", "pod", pod, path])?;
    let (node, container) = words.split_once(" containerd://").with_context(|| format!("{pod} has no container: {words}"))?;
    let text = setting.on(node)?.on_node(&format!("crictl inspect --output json {container}"))?;
    let inspected: Value = serde_json::from_str(&text).context("read what crictl tells")?;
    parse_instant(inspected["status"]["startedAt"].as_str().context("a container has begun at some time")?)
}

fn first_instruction(lines: &str) -> Result<i128> {
    let word = lines.split_once(SAID).and_then(|(_, rest)| rest.split_whitespace().next());
    word.with_context(|| format!("no rank said when it began: {lines}"))?.parse().context("read when a rank began")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_says_when_it_began() {
        let line = "[start.1] first_instruction_ns=12 first_instruction_unix_ns=1795342648847667614 ballast=1\n";
        assert_eq!(first_instruction(line).unwrap(), 1_795_342_648_847_667_614);
        assert!(first_instruction("[start.1] first_instruction_ns=12\n").is_err());
    }
}
