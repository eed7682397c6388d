//! What the agents measure of their switches, as `PartitionNode`s tell it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::setting::{PAIR, Setting};
use super::time::{parse_instant, parse_micros};

/// How long a node's figures of after the run are waited for: they are written at most every 5 s, and not where nothing has changed.
const PATIENCE: Duration = Duration::from_secs(12);

/// How often they are asked for.
const PERIOD: Duration = Duration::from_millis(500);

/// The figures of the pair, written after a run that ended at this instant, or the last before where nothing is written any more.
///
/// # Errors
/// They cannot be read.
pub(super) fn read(setting: &Setting<'_>, ended: i128) -> Result<Vec<Value>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let nodes: Vec<Value> = setting.nodes()?.into_iter().filter(is_of_pair).collect();
        if Instant::now() >= deadline || nodes.iter().all(|node| is_later(node, ended)) {
            return nodes.iter().map(figures).collect();
        }
        std::thread::sleep(PERIOD);
    }
}

fn is_of_pair(node: &Value) -> bool {
    node["metadata"]["name"].as_str().is_some_and(|name| PAIR.contains(&name))
}

fn is_later(node: &Value, ended: i128) -> bool {
    let written = node["status"]["measured"].as_str().and_then(|text| parse_instant(text).ok());
    written.is_some_and(|written| written > ended)
}

/// Times in microseconds; nothing of what no switch told.
fn figures(node: &Value) -> Result<Value> {
    let figures = &node["status"]["figures"];
    let micros = |value: &Value| value.as_str().map(parse_micros).transpose();
    let distribution = |name: &str| -> Result<Value> {
        let value = &figures[name];
        Ok(json!({ "p50": micros(&value["p50"])?, "p99": micros(&value["p99"])?, "max": micros(&value["max"])? }))
    };
    let told = |name: &str| -> Result<Option<Value>> { figures.get(name).map(|_| distribution(name)).transpose() };
    Ok(json!({
        "node": node["metadata"]["name"].as_str().context("a node has a name")?,
        "scheduler": figures["scheduler"], "freezer": figures["freezer"],
        "switchMicros": told("switchCost")?, "skewMicros": told("skew")?, "clockBoundMicros": micros(&figures["clockErrorBound"])?,
        "strobes": figures["strobes"], "late": figures["late"], "missed": figures["missed"],
        "stragglers": figures["stragglers"], "unsynchronised": figures["unsynchronised"],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_in_microseconds_and_what_is_not_known_is_nothing() {
        let node = json!({
            "metadata": { "name": PAIR[0] },
            "status": { "measured": "1970-01-01T00:00:02Z", "figures": {
                "scheduler": "Fifo", "freezer": "Cgroup", "strobes": 979, "clockErrorBound": "271us",
                "skew": { "p50": "18us", "p99": "8ms600us", "max": "38ms" },
            } },
        });
        let told = figures(&node).unwrap();
        assert_eq!(told["skewMicros"], json!({ "p50": 18.0, "p99": 8600.0, "max": 38000.0 }));
        assert_eq!((&told["switchMicros"], &told["clockBoundMicros"], &told["strobes"]), (&Value::Null, &json!(271.0), &json!(979)));
        assert!(is_later(&node, 1_999_999_999) && !is_later(&node, 2_000_000_000) && is_of_pair(&node));
    }
}
