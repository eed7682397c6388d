//! What pods say of themselves, and what others say of them in events.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use strobe_crds::names::GATE;
use strobe_crds::parallel_job::{GangState, ParallelJobStatus};

use super::Facts;
use crate::cluster::limits::{EVENTS, PODS};
use crate::cluster::words::{age, count};

/// How many pods there are, and the troubles of each.
pub(super) fn lines(facts: &Facts, status: &ParallelJobStatus) -> Vec<String> {
    let waits = matches!(status.state, None | Some(GangState::Queued | GangState::Suspended | GangState::Preempted));
    if facts.pods.is_empty() && waits {
        return Vec::new();
    }
    let mut lines = vec![format!("{} of {} exist", facts.pods.len(), count(facts.job.spec.nodes, "pod"))];
    let troubles: Vec<String> =
        facts.pods.iter().filter_map(|pod| Some(format!("{}{}: {}", pod.name_any(), on_node(pod), trouble(pod)?))).collect();
    lines.extend(troubles.iter().take(PODS).cloned());
    if troubles.len() > PODS {
        lines.push(format!("and {} in trouble", count((troubles.len() - PODS) as u64, "more pod")));
    }
    lines
}

fn on_node(pod: &Pod) -> String {
    crate::cluster::gangs::node(pod).map(|node| format!(" on {node}")).unwrap_or_default()
}

/// What keeps a pod from running, or ended it; none where nothing does.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let gates: Vec<&str> = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten()).map(|gate| gate.name.as_str()).collect();
    if !gates.is_empty() {
        let ours = if gates == [GATE] { " until all pods of the gang exist" } else { "" };
        return Some(format!("waits at the gate {}{ours}", gates.join(", ")));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".to_owned());
    }
    let unscheduled = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        return Some(stated(condition.reason.as_deref().unwrap_or("not scheduled"), condition.message.as_deref()));
    }
    let containers = || status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers().find_map(container_trouble).or_else(|| {
        let failed = status.phase.as_deref() == Some("Failed");
        failed.then(|| stated(status.reason.as_deref().unwrap_or("failed"), status.message.as_deref()))
    })
}

fn container_trouble(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waits");
        return Some(format!("container {} {}", container.name, stated(reason, waiting.message.as_deref())));
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let reason = ended.reason.as_deref().unwrap_or("ended");
    Some(format!(
        "container {} {}",
        container.name,
        stated(&format!("{reason}, exit status {}", ended.exit_code), ended.message.as_deref())
    ))
}

fn stated(reason: &str, message: Option<&str>) -> String {
    message.filter(|message| !message.is_empty()).map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}"))
}

/// The newest warnings, and the newest of the others where there are fewer.
pub(super) fn events(events: &[Event], now: Timestamp) -> Vec<String> {
    let is_warning = |event: &Event| event.type_.as_deref() == Some("Warning");
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by_key(|event| (!is_warning(event), std::cmp::Reverse(instant(event))));
    sorted.truncate(EVENTS);
    sorted.sort_by_key(|event| instant(event));
    let line = |event: &Event| {
        let ago = instant(event).map(|at| (now.as_second() - at.as_second()).max(0));
        let about =
            event.regarding.as_ref().and_then(|regarding| Some(format!("{} {}", regarding.kind.as_ref()?, regarding.name.as_ref()?)));
        let reason = event.reason.as_deref().unwrap_or("event");
        format!("{} ago, {}: {}", age(ago), about.unwrap_or_default(), stated(reason, event.note.as_deref()))
    };
    sorted.into_iter().map(line).collect()
}

/// When an event happened last; older reporters say it in another field.
fn instant(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    let older = || event.deprecated_last_timestamp.as_ref().map(|time| time.0);
    series.or_else(|| event.event_time.as_ref().map(|time| time.0)).or_else(older)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fixture::{NOW, pod};

    #[test]
    fn a_pod_tells_its_first_trouble() {
        let told = |status| trouble(&pod("sor", 0, Some("a"), &status));
        assert_eq!(told(json!({ "phase": "Running" })), None);
        let unscheduled = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes are available" },
        ] });
        assert_eq!(told(unscheduled).as_deref(), Some("Unschedulable: 0/4 nodes are available"));
        let container = |state| {
            json!({ "containerStatuses": [
            { "name": "rank", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state },
        ] })
        };
        let waiting = container(json!({ "waiting": { "reason": "ErrImagePull", "message": "no such image" } }));
        assert_eq!(told(waiting).as_deref(), Some("container rank ErrImagePull: no such image"));
        let ended = |code| container(json!({ "terminated": { "exitCode": code, "reason": "OOMKilled" } }));
        assert_eq!(told(ended(137)).as_deref(), Some("container rank OOMKilled, exit status 137"));
        assert_eq!(told(ended(0)), None);
        assert_eq!(told(json!({ "phase": "Failed", "reason": "Evicted", "message": "full" })).as_deref(), Some("Evicted: full"));
    }

    #[test]
    fn a_pod_at_the_gate_says_what_it_waits_for() {
        let mut gated = pod("sor", 0, None, &json!({}));
        gated.spec.as_mut().unwrap().scheduling_gates = serde_json::from_value(json!([{ "name": GATE }])).unwrap();
        assert_eq!(trouble(&gated).as_deref(), Some("waits at the gate strobe.dev/gang until all pods of the gang exist"));
        gated.spec.as_mut().unwrap().scheduling_gates = serde_json::from_value(json!([{ "name": GATE }, { "name": "quota" }])).unwrap();
        assert_eq!(trouble(&gated).as_deref(), Some("waits at the gate strobe.dev/gang, quota"));
    }

    #[test]
    fn warnings_come_before_other_events_and_all_in_the_order_of_time() {
        let event = |second: usize, kind: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": { "name": "e" }, "type": kind, "reason": "Seen", "note": format!("number {second}"),
                "eventTime": format!("2026-01-01T00:01:{second:02}.000000Z"), "regarding": { "kind": "Pod", "name": "sor-1-0" },
            }))
            .unwrap()
        };
        let mut all: Vec<Event> = (10..10 + EVENTS).map(|second| event(second, "Normal")).collect();
        all.insert(0, event(1, "Warning"));
        let told = events(&all, NOW);
        assert_eq!((told.len(), told[0].as_str()), (EVENTS, "29s ago, Pod sor-1-0: Seen: number 1"));
        assert!(told[1].ends_with("number 11"), "{told:?}");
    }
}
