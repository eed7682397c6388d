//! What Kubernetes counts by itself: requests of the API server, CPU time and memory of containers.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::setting::Setting;
use crate::cluster::{CONTROL_PLANE, WORKERS, system};

/// A line of Prometheus' text format.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    value: f64,
    /// When it was measured, in milliseconds since 1970, where that is told.
    at_ms: Option<i64>,
}

/// Requests that the API server has answered, by what they asked for, such as `PATCH pods/status`.
pub(super) type Requests = BTreeMap<String, f64>;

/// CPU time and memory of the containers of Strobe, by pod.
pub(super) type Usage = BTreeMap<String, ContainerUsage>;

/// What one container has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ContainerUsage {
    cpu_seconds: f64,
    at_ms: i64,
    bytes: f64,
}

/// What the API server has answered until now.
///
/// # Errors
/// It does not tell.
pub(super) fn requests(setting: &Setting) -> Result<Requests> {
    let text = setting.read("/metrics").context("read the API server's metrics")?;
    Ok(requests_in(&text))
}

fn requests_in(text: &str) -> Requests {
    let mut requests = Requests::new();
    for sample in samples(text, "apiserver_request_total") {
        let label = |name: &str| sample.labels.get(name).copied().unwrap_or_default();
        let group = if label("group").is_empty() { String::new() } else { format!(".{}", label("group")) };
        let part =
            if label("subresource").is_empty() { String::new() } else { format!("/{}", label("subresource").trim_start_matches('/')) };
        let dry = if label("dry_run").is_empty() { "" } else { " (dry run)" };
        *requests.entry(format!("{} {}{group}{part}{dry}", label("verb"), label("resource"))).or_default() += sample.value;
    }
    requests
}

/// What was asked between two readings.
pub(super) fn since(before: &Requests, after: &Requests) -> Requests {
    let more =
        |(name, count): (&String, &f64)| Some((name.clone(), count - before.get(name).unwrap_or(&0.0))).filter(|(_, more)| *more > 0.0);
    after.iter().filter_map(more).collect()
}

/// What the containers of Strobe have used until now, as their kubelets know it: some seconds old.
///
/// # Errors
/// A kubelet does not tell.
pub(super) fn usage(setting: &Setting) -> Result<Usage> {
    let mut usage = Usage::new();
    for node in WORKERS.into_iter().chain([CONTROL_PLANE]) {
        let text =
            setting.read(&format!("/api/v1/nodes/{node}/proxy/metrics/resource")).with_context(|| format!("ask the kubelet of {node}"))?;
        add_usage(&mut usage, &text);
    }
    Ok(usage)
}

fn add_usage(usage: &mut Usage, text: &str) {
    let of_strobe = |name| samples(text, name).filter(|sample| sample.labels.get("namespace") == Some(&system::NAMESPACE));
    for sample in of_strobe("container_cpu_usage_seconds_total") {
        let Some(pod) = sample.labels.get("pod") else { continue };
        let container = usage.entry((*pod).to_owned()).or_default();
        (container.cpu_seconds, container.at_ms) = (sample.value, sample.at_ms.unwrap_or_default());
    }
    for sample in of_strobe("container_memory_working_set_bytes") {
        let Some(pod) = sample.labels.get("pod") else { continue };
        usage.entry((*pod).to_owned()).or_default().bytes = sample.value;
    }
}

/// What each pod used between two readings: percent of a CPU, and bytes at the end. `leader`: the operator that leads.
pub(super) fn used(before: &Usage, after: &Usage, leader: &str) -> Value {
    let pod = |(name, after): (&String, &ContainerUsage)| {
        let before = before.get(name)?;
        let seconds = (after.at_ms - before.at_ms) as f64 / 1e3;
        let percent = (seconds > 0.0).then(|| 100.0 * (after.cpu_seconds - before.cpu_seconds) / seconds);
        Some(json!({ "pod": name, "leads": name == leader, "seconds": seconds, "percent": percent, "bytes": after.bytes }))
    };
    after.iter().filter_map(pod).collect()
}

/// The samples of one name.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = Sample<'a>> {
    text.lines().filter_map(move |line| sample(line.strip_prefix(name)?))
}

/// `{label="value",…} value [timestamp]`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (labels, rest) = line.strip_prefix('{')?.rsplit_once('}')?;
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let at_ms = words.next().and_then(|word| word.parse().ok());
    let pairs = labels.split("\",").filter_map(|pair| pair.trim_end_matches('"').split_once("=\""));
    Some(Sample { labels: pairs.collect(), value, at_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: &str = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="201",dry_run="",group="",resource="pods",subresource="",verb="POST",version="v1"} 2
apiserver_request_total{code="409",dry_run="",group="",resource="pods",subresource="",verb="POST",version="v1"} 1
apiserver_request_total{code="201",dry_run="All",group="",resource="pods",subresource="",verb="POST",version="v1"} 4
apiserver_request_total{code="200",dry_run="",group="strobe.dev",resource="paralleljobs",subresource="status",verb="PATCH",version="v1alpha1"} 5
apiserver_request_total{code="200",dry_run="",group="",resource="",subresource="/healthz",verb="GET",version=""} 1
"#;

    #[test]
    fn requests_are_summed_by_what_they_asked_for() {
        let requests = requests_in(REQUESTS);
        let names: Vec<&str> = requests.keys().map(String::as_str).collect();
        assert_eq!(names, ["GET /healthz", "PATCH paralleljobs.strobe.dev/status", "POST pods", "POST pods (dry run)"]);
        assert_eq!((requests["POST pods"], requests["POST pods (dry run)"]), (3.0, 4.0));
    }

    #[test]
    fn only_what_has_grown_was_asked_since() {
        let before = requests_in(REQUESTS);
        let mut after = before.clone();
        after.insert("POST pods".to_owned(), 7.0);
        after.insert("DELETE pods".to_owned(), 2.0);
        assert_eq!(since(&before, &after), Requests::from([("POST pods".to_owned(), 4.0), ("DELETE pods".to_owned(), 2.0)]));
    }

    #[test]
    fn containers_of_strobe_are_told_from_others() {
        let text = |seconds: f64, at: i64| {
            format!(
                "container_cpu_usage_seconds_total{{container=\"agent\",namespace=\"strobe-system\",pod=\"one\"}} {seconds} {at}\n\
                 container_cpu_usage_seconds_total{{container=\"other\",namespace=\"kube-system\",pod=\"two\"}} 9 {at}\n\
                 container_memory_working_set_bytes{{container=\"agent\",namespace=\"strobe-system\",pod=\"one\"}} 6.3e+06 {at}\n"
            )
        };
        let read = |text: &str| {
            let mut usage = Usage::new();
            add_usage(&mut usage, text);
            usage
        };
        let (before, after) = (read(&text(1.0, 1000)), read(&text(1.2, 11_000)));
        let used = used(&before, &after, "one");
        assert_eq!(used.as_array().map(Vec::len), Some(1), "{used}");
        assert!((used[0]["percent"].as_f64().unwrap() - 2.0).abs() < 1e-6 && used[0]["leads"] == true, "{used}");
        assert_eq!((&used[0]["bytes"], &used[0]["seconds"]), (&json!(6.3e6), &json!(10.0)));
    }
}
