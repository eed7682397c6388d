//! What people are told of a job, as events: the steps of its life, and each new reason for which it is where it is. All of it follows from
//! two statuses, so that there are at most as many events as changes of status.

use strobe_crds::parallel_job::{ConditionType, FailureReason, GangState, JobFailure, ParallelJobStatus, Reason};

use crate::status::cut;

/// Something that has happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    /// One word.
    pub(crate) reason: String,
    /// In words.
    pub(crate) note: Option<String>,
    /// False when something is wrong.
    pub(crate) is_normal: bool,
}

/// What has happened between two statuses, in the order of a life.
pub(crate) fn happenings(before: Option<&ParallelJobStatus>, after: &ParallelJobStatus) -> Vec<Happening> {
    let nothing = ParallelJobStatus::default();
    let before = before.unwrap_or(&nothing);
    let losses = [lost(before, after), preempted(before, after), restarted(before, after)];
    let steps = [placed(before, after), started(before, after), moved(before, after), ended(before, after)];
    losses.into_iter().chain([other_reason(before, after)]).chain(steps).flatten().collect()
}

fn normal(reason: &str, note: String) -> Option<Happening> {
    Some(Happening { reason: reason.to_owned(), note: Some(note), is_normal: true })
}

fn warning(reason: &str, note: Option<String>) -> Option<Happening> {
    Some(Happening { reason: reason.to_owned(), note, is_normal: false })
}

/// The life of the gang for which a condition holds.
fn life(status: &ParallelJobStatus, kind: ConditionType) -> Option<u32> {
    let kind = kind.to_string();
    let holds = status.conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True");
    holds.then_some(status.incarnation)
}

fn placed(before: &ParallelJobStatus, after: &ParallelJobStatus) -> Option<Happening> {
    let life_placed = life(after, ConditionType::Placed)?;
    let is_new = life(before, ConditionType::Placed) != Some(life_placed);
    is_new.then(|| normal("Placed", format!("all {} pods are bound to their nodes", after.pods)))?
}

fn started(before: &ParallelJobStatus, after: &ParallelJobStatus) -> Option<Happening> {
    let life_started = life(after, ConditionType::Ready)?;
    let is_new = life(before, ConditionType::Ready) != Some(life_started);
    is_new.then(|| normal("GangStarted", format!("all ranks were released; this is life {life_started} of the gang")))?
}

/// Other rows of the matrix: gangs beside it came or went, and it was given theirs or has made room.
fn moved(before: &ParallelJobStatus, after: &ParallelJobStatus) -> Option<Happening> {
    let same_life = before.incarnation == after.incarnation;
    let held = !before.rows.is_empty() && !after.rows.is_empty();
    let words = |rows: &[u8]| rows.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let note = || format!("it runs in rows [{}] of the matrix; before it was [{}]", words(&after.rows), words(&before.rows));
    (same_life && held && before.rows != after.rows).then(|| normal("RowChanged", note()))?
}

fn lost(before: &ParallelJobStatus, after: &ParallelJobStatus) -> Option<Happening> {
    let count = |status: &ParallelJobStatus| status.failures.iter().filter(|failure| failure.reason == FailureReason::NodeLost).count();
    let says = |status: &ParallelJobStatus| status.reason == Some(Reason::NodeLost);
    let node =
        after.failures.iter().rev().find(|failure| failure.reason == FailureReason::NodeLost).and_then(|failure| failure.node.clone());
    if says(after) && !says(before) {
        warning("NodeLost", after.message.clone())
    } else if count(after) > count(before) && !says(before) {
        warning("NodeLost", node.map(|node| format!("node {node} was lost")))
    } else {
        None
    }
}

fn preempted(before: &ParallelJobStatus, after: &ParallelJobStatus) -> Option<Happening> {
    let note = || "a pod of it was preempted, evicted or deleted: the whole gang waits again, which is no restart".to_owned();
    (after.preemptions > before.preemptions).then(|| normal("Preempted", note()))?
}

fn restarted(before: &ParallelJobStatus, after: &ParallelJobStatus) -> Option<Happening> {
    let why = |failure: &JobFailure| {
        let node = failure.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        format!("{}{node}", failure.reason)
    };
    let cause = after.failures.last().map(|failure| format!(" after {}", why(failure))).unwrap_or_default();
    (after.restarts > before.restarts).then(|| warning("Restarted", Some(format!("restart {}{cause}", after.restarts))))?
}

fn ended(before: &ParallelJobStatus, after: &ParallelJobStatus) -> Option<Happening> {
    if before.state == after.state {
        return None;
    }
    let reason = after.reason.map(|reason| reason.to_string());
    match after.state? {
        GangState::Complete => normal("Completed", "all ranks exited with status 0".to_owned()),
        GangState::Failed => {
            let words: Vec<String> = reason.into_iter().chain(after.message.clone()).collect();
            warning("Failed", Some(cut(words.join(": "))))
        }
        _ => None,
    }
}

/// A reason that is not told as a step of the job's life.
fn other_reason(before: &ParallelJobStatus, after: &ParallelJobStatus) -> Option<Happening> {
    let reason = after.reason.filter(|reason| before.reason != Some(*reason) && !matches!(reason, Reason::NodeLost | Reason::Preempted))?;
    if after.state.is_some_and(GangState::is_over) {
        return None;
    }
    Some(Happening { reason: reason.to_string(), note: after.message.clone(), is_normal: is_normal(reason) })
}

/// True where nothing is wrong: the job waits its turn, or somebody wants it so.
const fn is_normal(reason: Reason) -> bool {
    match reason {
        Reason::SlotsAssigned
        | Reason::WaitingForSlots
        | Reason::PodsBound
        | Reason::Launching
        | Reason::Released
        | Reason::Paused
        | Reason::Strobed
        | Reason::SuspendRequested
        | Reason::Resumed
        | Reason::Preempted
        | Reason::RanksSucceeded
        | Reason::Cancelled => true,
        Reason::PartitionNotFound
        | Reason::PriorityClassNotFound
        | Reason::PartitionNotReady
        | Reason::ExceedsPartition
        | Reason::TooManyJobs
        | Reason::NamespaceNotAllowed
        | Reason::TooManyRanks
        | Reason::InvalidSpec
        | Reason::HostNetworkRefused
        | Reason::AcceleratorsNotShared
        | Reason::RuntimeClassRefused
        | Reason::ContainerNeverEnds
        | Reason::CpuLimitInjected
        | Reason::PodForbidden
        | Reason::TrialNotAnswered
        | Reason::WaitingForPods
        | Reason::PlacementTimeout
        | Reason::ImagePullFailed
        | Reason::PodRejected
        | Reason::FreeRunning
        | Reason::NodeUnreachable
        | Reason::Restarting
        | Reason::RankFailure
        | Reason::NodeLost
        | Reason::DeadlineExceeded => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(value: Value) -> ParallelJobStatus {
        serde_json::from_value(value).unwrap()
    }

    /// What is told, `!` before what is wrong.
    fn told(before: Option<&ParallelJobStatus>, after: &ParallelJobStatus) -> Vec<String> {
        let told = happenings(before, after).into_iter();
        told.map(|happening| format!("{}{}", if happening.is_normal { "" } else { "!" }, happening.reason)).collect()
    }

    fn condition(kind: &str) -> Value {
        json!({ "type": kind, "status": "True", "reason": "Any", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" })
    }

    fn running(incarnation: u32) -> ParallelJobStatus {
        status(json!({ "state": "Running", "incarnation": incarnation, "conditions": [condition("Placed"), condition("Ready")] }))
    }

    #[test]
    fn a_life_without_trouble_is_told_step_by_step_and_no_step_twice() {
        let waits = status(json!({ "state": "Queued", "reason": "WaitingForSlots", "message": "place 1 in the queue" }));
        let bound = status(json!({ "state": "Placed", "incarnation": 1, "pods": 2, "conditions": [condition("Placed")] }));
        let completed = status(json!({ "state": "Complete", "reason": "RanksSucceeded", "incarnation": 1 }));
        assert_eq!(told(None, &waits), ["WaitingForSlots"]);
        assert_eq!(told(Some(&waits), &status(json!({ "state": "Queued", "reason": "WaitingForSlots", "message": "place 2" }))), [""; 0]);
        assert_eq!(told(Some(&waits), &bound), ["Placed"]);
        assert_eq!(told(Some(&bound), &running(1)), ["GangStarted"]);
        assert_eq!(told(Some(&running(1)), &running(1)), [""; 0]);
        assert_eq!(told(Some(&running(1)), &completed), ["Completed"]);
        assert_eq!(told(Some(&completed), &completed), [""; 0]);
    }

    #[test]
    fn other_rows_are_told_of_one_life() {
        let in_rows = |rows: &[u8], incarnation| ParallelJobStatus { rows: rows.to_vec(), ..running(incarnation) };
        let changed = happenings(Some(&in_rows(&[1], 1)), &in_rows(&[0, 2], 1));
        assert_eq!(changed.iter().map(|happening| happening.reason.as_str()).collect::<Vec<_>>(), ["RowChanged"]);
        assert_eq!(changed[0].note.as_deref(), Some("it runs in rows [0, 2] of the matrix; before it was [1]"));
        assert_eq!(told(Some(&in_rows(&[1], 1)), &in_rows(&[1], 1)), [""; 0]);
        assert_eq!(told(Some(&in_rows(&[], 1)), &in_rows(&[0], 1)), [""; 0], "it was given its first");
        assert_eq!(told(Some(&in_rows(&[1], 1)), &in_rows(&[0], 2)), ["Placed", "GangStarted"], "another life");
    }

    #[test]
    fn a_restart_is_told_also_where_all_that_led_to_it_was_between_two_statuses() {
        let mut again = running(2);
        again.restarts = 1;
        again.failures = vec![serde_json::from_value(json!({ "reason": "NodeLost", "incarnation": 1, "node": "worker" })).unwrap()];
        assert_eq!(told(Some(&running(1)), &again), ["!NodeLost", "!Restarted", "Placed", "GangStarted"]);
        let notes: Vec<_> = happenings(Some(&running(1)), &again).into_iter().filter_map(|happening| happening.note).collect();
        assert_eq!(notes[..2], ["node worker was lost", "restart 1 after NodeLost on node worker"]);
    }

    #[test]
    fn a_lost_node_is_told_once_and_then_the_failure() {
        let ends = status(json!({ "state": "Terminating", "reason": "NodeLost", "message": "node worker was lost", "incarnation": 1 }));
        let failed = ParallelJobStatus { state: Some(GangState::Failed), ..ends.clone() };
        assert_eq!(told(Some(&running(1)), &ends), ["!NodeLost"]);
        assert_eq!(told(Some(&ends), &failed), ["!Failed"]);
        assert_eq!(happenings(Some(&ends), &failed)[0].note.as_deref(), Some("NodeLost: node worker was lost"));
    }

    #[test]
    fn a_preemption_is_told_by_its_count_and_by_no_reason_beside_it() {
        let ends = status(json!({ "state": "Terminating", "reason": "Preempted", "incarnation": 1 }));
        let waits = status(json!({ "state": "Queued", "reason": "WaitingForSlots", "incarnation": 1, "preemptions": 1 }));
        assert_eq!(told(Some(&running(1)), &ends), [""; 0]);
        assert_eq!(told(Some(&ends), &waits), ["Preempted", "WaitingForSlots"]);
    }

    #[test]
    fn what_is_wrong_is_a_warning_and_what_is_wished_is_none() {
        let because = |reason: &str| told(None, &status(json!({ "state": "Queued", "reason": reason })));
        assert_eq!(because("PartitionNotFound"), ["!PartitionNotFound"]);
        assert_eq!(because("PlacementTimeout"), ["!PlacementTimeout"]);
        assert_eq!(because("SuspendRequested"), ["SuspendRequested"]);
    }
}
