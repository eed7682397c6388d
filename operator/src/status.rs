//! What a job's status says. It changes only when something that it says does, so that an unchanged one need not be written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strobe_core::model::GangState as Core;
use strobe_crds::limits::MAX_MESSAGE_LENGTH;
use strobe_crds::parallel_job::{ConditionType, GangState, JobFailure, ParallelJob, ParallelJobStatus, Reason};

use crate::refusal::Refusal;
use crate::standing::Standing;

/// The status of a job that has no slots: refused, suspended, or waiting for a partition that has no manager.
#[must_use]
pub fn waiting(job: &ParallelJob, refusal: Option<Refusal>, now: &Time) -> ParallelJobStatus {
    let suspended = job.spec.suspend;
    let Refusal { reason, message } = refusal.unwrap_or_else(|| if suspended { suspension() } else { no_manager(job) });
    let message = cut(message);
    let mut status = job.status.clone().unwrap_or_default();
    status.observed_generation = job.metadata.generation;
    status.state = Some(if suspended { GangState::Suspended } else { GangState::Queued });
    status.ready = Some(format!("0/{}", job.spec.nodes));
    (status.row, status.share, status.position, status.cpu_efficiency, status.start_time) = (None, None, None, None, None);
    status.rows.clear();
    status.pods = 0;
    let mut conditions = Conditions { list: &mut status.conditions, generation: job.metadata.generation, now };
    conditions.set(ConditionType::Admitted, false, reason, &message);
    for kind in [ConditionType::Placed, ConditionType::Ready, ConditionType::Synchronised] {
        conditions.end(kind, reason, "it has no slots");
    }
    if suspended {
        conditions.set(ConditionType::Suspended, true, Reason::SuspendRequested, "spec.suspend is true");
    } else if conditions.has(ConditionType::Suspended) {
        conditions.set(ConditionType::Suspended, false, Reason::Resumed, "spec.suspend is false");
    }
    status.reason = Some(reason);
    status.message = Some(message);
    status
}

/// The status of a job of which its partition's authority has something to say.
#[must_use]
pub fn standing(job: &ParallelJob, standing: &Standing, now: &Time) -> ParallelJobStatus {
    let mut status = job.status.clone().unwrap_or_default();
    let standing = &not_forgotten(&status, standing.clone());
    status.observed_generation = job.metadata.generation;
    status.state = Some(state(standing.state));
    status.reason = standing.reason;
    status.message = (!standing.message.is_empty()).then(|| cut(standing.message.clone()));
    status.ready = Some(format!("{}/{}", standing.up, job.spec.nodes));
    status.pods = standing.pods;
    status.row = standing.rows.first().map(|row| format!("{row}/{}", standing.occupied_rows));
    status.share = share(standing);
    status.rows.clone_from(&standing.rows);
    status.position = standing.position;
    status.quantum = Some(standing.quantum.clone());
    status.cpu_efficiency = standing.efficiency.map(|part| format!("{:.0}%", part * 100.0));
    (status.incarnation, status.restarts, status.preemptions) = (standing.incarnation, standing.restarts, standing.preemptions);
    (status.start_time, status.completion_time) = (standing.started.clone(), standing.ended.clone());
    status.failed_ranks = failed_ranks(standing);
    status.failures.clone_from(&standing.failures);
    let mut conditions = Conditions { list: &mut status.conditions, generation: job.metadata.generation, now };
    set_conditions(&mut conditions, job, standing);
    status
}

/// What is known of a life that an earlier authority saw running. No life goes back to its launch: an authority that has resumed it has
/// not heard of it yet, and the ranks run on meanwhile.
fn not_forgotten(told: &ParallelJobStatus, standing: Standing) -> Standing {
    if told.incarnation != standing.incarnation {
        return standing;
    }
    let state = match (told.state, standing.state) {
        (Some(GangState::Running), Core::Placed | Core::Launching) => Core::Running,
        (Some(GangState::Paused), Core::Placed | Core::Launching) => Core::Paused,
        (_, heard) => heard,
    };
    let started = told.start_time.clone().or(standing.started);
    Standing { state, started, ..standing }
}

/// Ranks whose failure is known, of this life alone.
fn failed_ranks(standing: &Standing) -> u32 {
    let ours = |failure: &&JobFailure| failure.rank.is_some() && failure.incarnation == standing.incarnation;
    u32::try_from(standing.failures.iter().filter(ours).count()).unwrap_or(u32::MAX)
}

/// Share of the time in which the gang's rows are active, while it holds any.
fn share(standing: &Standing) -> Option<String> {
    let held = u32::try_from(standing.rows.len()).unwrap_or(u32::MAX);
    let percent = (held * 100).checked_div(standing.occupied_rows)?;
    (held > 0).then(|| format!("{percent}%"))
}

fn set_conditions(conditions: &mut Conditions<'_>, job: &ParallelJob, standing: &Standing) {
    let (message, reason) = (standing.message.as_str(), standing.reason);
    let nodes = job.spec.nodes;
    let waits = matches!(standing.state, Core::Queued | Core::Suspended | Core::Preempted | Core::Restarting);
    let released = matches!(standing.state, Core::Running | Core::Paused);
    let over = standing.state.is_terminal();
    if waits {
        conditions.set(ConditionType::Admitted, false, reason.unwrap_or(Reason::WaitingForSlots), message);
    } else {
        conditions.set(ConditionType::Admitted, true, Reason::SlotsAssigned, "it has its slots in the matrix");
    }
    if !over {
        let all = standing.bound == nodes;
        let placed = if all { Reason::PodsBound } else { reason.filter(|_| standing.pods > 0).unwrap_or(Reason::WaitingForPods) };
        let bound = format!("{} of {nodes} pods are bound to their nodes", standing.bound);
        match reason.filter(|reason| !all && is_of_placement(*reason)) {
            Some(reason) => conditions.set(ConditionType::Placed, false, reason, message),
            None => conditions.set(ConditionType::Placed, all, placed, &bound),
        }
    }
    let up = format!("the supervisors of {} of {nodes} nodes are up", standing.up);
    if released {
        let why = if standing.synchronised { Reason::Strobed } else { Reason::FreeRunning };
        conditions.set(ConditionType::Ready, true, Reason::Released, &up);
        conditions.set(ConditionType::Synchronised, standing.synchronised, why, "");
    } else if over {
        let why = reason.unwrap_or(Reason::RanksSucceeded);
        conditions.end(ConditionType::Ready, why, "it has ended");
        conditions.end(ConditionType::Synchronised, why, "it has ended");
    } else {
        let why = match standing.state {
            Core::Placed | Core::Launching => Reason::Launching,
            _ => reason.unwrap_or(Reason::WaitingForSlots),
        };
        conditions.set(ConditionType::Ready, false, why, &up);
        conditions.end(ConditionType::Synchronised, why, "its ranks do not run");
    }
    if job.spec.suspend {
        conditions.set(ConditionType::Suspended, true, Reason::SuspendRequested, "spec.suspend is true");
    } else if conditions.has(ConditionType::Suspended) {
        conditions.set(ConditionType::Suspended, false, Reason::Resumed, "spec.suspend is false");
    }
    match standing.state {
        Core::Complete => conditions.set(ConditionType::Complete, true, Reason::RanksSucceeded, "all ranks exited with status 0"),
        Core::Failed => conditions.set(ConditionType::Failed, true, reason.unwrap_or(Reason::RankFailure), message),
        _ => {}
    }
}

/// Reasons for which pods do not come to their nodes, with words of their own.
const fn is_of_placement(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::WaitingForPods | Reason::PlacementTimeout | Reason::ImagePullFailed | Reason::PodRejected | Reason::PodForbidden
    )
}

/// The core's word for a state, in the resource's.
const fn state(state: Core) -> GangState {
    match state {
        Core::Queued => GangState::Queued,
        Core::Admitted => GangState::Admitted,
        Core::Placed => GangState::Placed,
        Core::Launching => GangState::Launching,
        Core::Running => GangState::Running,
        Core::Paused => GangState::Paused,
        Core::Terminating => GangState::Terminating,
        Core::Suspended => GangState::Suspended,
        Core::Preempted => GangState::Preempted,
        Core::Restarting => GangState::Restarting,
        Core::Complete => GangState::Complete,
        Core::Failed => GangState::Failed,
    }
}

fn suspension() -> Refusal {
    Refusal { reason: Reason::SuspendRequested, message: "suspended by spec.suspend; it waits for slots when that is false".to_owned() }
}

fn no_manager(job: &ParallelJob) -> Refusal {
    let message = format!("Partition {:?} has no machine manager: no agent of its nodes has reported", job.spec.partition);
    Refusal { reason: Reason::PartitionNotReady, message }
}

/// A message as the schema takes it.
pub(crate) fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE_LENGTH as usize));
    message
}

/// A status' conditions, as they are being set.
pub(crate) struct Conditions<'a> {
    pub(crate) list: &'a mut Vec<Condition>,
    pub(crate) generation: Option<i64>,
    pub(crate) now: &'a Time,
}

// === impl Conditions ===

impl Conditions<'_> {
    fn has(&self, kind: ConditionType) -> bool {
        let kind = kind.to_string();
        self.list.iter().any(|condition| condition.type_ == kind)
    }

    fn set(&mut self, kind: ConditionType, holds: bool, reason: Reason, message: &str) {
        self.put(kind.to_string(), holds, reason.to_string(), message);
    }

    /// Sets a condition to false that was set before: what never held needs no word.
    fn end(&mut self, kind: ConditionType, reason: Reason, message: &str) {
        if self.has(kind) {
            self.set(kind, false, reason, message);
        }
    }

    /// Sets a condition. The time of its last transition is that at which its status became what it is, as Kubernetes has it.
    pub(crate) fn put(&mut self, kind: String, holds: bool, reason: String, message: &str) {
        let status = if holds { "True" } else { "False" };
        let mut condition = Condition {
            type_: kind,
            status: status.to_owned(),
            reason,
            message: message.to_owned(),
            observed_generation: self.generation,
            last_transition_time: self.now.clone(),
        };
        match self.list.iter_mut().find(|other| other.type_ == condition.type_) {
            Some(other) => {
                if other.status == condition.status {
                    condition.last_transition_time = other.last_transition_time.clone();
                }
                *other = condition;
            }
            None => self.list.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(suspend: bool, status: Option<&ParallelJobStatus>) -> ParallelJob {
        let mut object = json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor", "generation": 3 },
            "spec": {
                "partition": "all", "nodes": 2, "suspend": suspend,
                "template": { "spec": { "containers": [{ "name": "rank", "command": ["sor"] }] } },
            },
        });
        if let Some(status) = status {
            object["status"] = serde_json::to_value(status).unwrap();
        }
        serde_json::from_value(object).unwrap()
    }

    fn at(second: u8) -> Time {
        serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    fn refused(message: &str) -> Refusal {
        Refusal { reason: Reason::PartitionNotFound, message: message.to_owned() }
    }

    /// A condition's status, reason and second of transition.
    fn condition(status: &ParallelJobStatus, kind: &str) -> Option<[String; 3]> {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
        let Value::String(time) = serde_json::to_value(&condition.last_transition_time).unwrap() else { unreachable!("a time is text") };
        Some([condition.status.clone(), condition.reason.clone(), time[17..19].to_owned()])
    }

    fn words(words: [&str; 3]) -> Option<[String; 3]> {
        Some(words.map(str::to_owned))
    }

    #[test]
    fn a_refused_job_waits_and_says_why() {
        let status = waiting(&job(false, None), Some(refused("no Partition")), &at(1));
        assert_eq!((status.state, status.reason), (Some(GangState::Queued), Some(Reason::PartitionNotFound)));
        assert_eq!((status.message.as_deref(), status.ready.as_deref()), (Some("no Partition"), Some("0/2")));
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(condition(&status, "Admitted"), words(["False", "PartitionNotFound", "01"]));
        assert_eq!(condition(&status, "Suspended"), None);
    }

    #[test]
    fn the_same_finding_gives_the_same_status_whenever_it_is_made() {
        let first = waiting(&job(false, None), Some(refused("no Partition")), &at(1));
        let second = waiting(&job(false, Some(&first)), Some(refused("no Partition")), &at(9));
        assert_eq!(first, second);
    }

    #[test]
    fn another_reason_keeps_the_time_of_the_transition() {
        let first = waiting(&job(false, None), Some(refused("no Partition")), &at(1));
        let second = waiting(&job(false, Some(&first)), None, &at(9));
        assert_eq!(condition(&second, "Admitted"), words(["False", "PartitionNotReady", "01"]));
    }

    #[test]
    fn suspension_is_a_condition_of_its_own_and_stays_when_it_is_over() {
        let suspended = waiting(&job(true, None), None, &at(1));
        assert_eq!((suspended.state, suspended.reason), (Some(GangState::Suspended), Some(Reason::SuspendRequested)));
        assert_eq!(condition(&suspended, "Suspended"), words(["True", "SuspendRequested", "01"]));
        let resumed = waiting(&job(false, Some(&suspended)), None, &at(2));
        assert_eq!(resumed.state, Some(GangState::Queued));
        assert_eq!(condition(&resumed, "Suspended"), words(["False", "Resumed", "02"]));
    }

    #[test]
    fn a_refused_job_that_is_suspended_says_both() {
        let status = waiting(&job(true, None), Some(refused("no Partition")), &at(1));
        assert_eq!((status.state, status.reason), (Some(GangState::Suspended), Some(Reason::PartitionNotFound)));
    }

    fn queued(reason: Reason, message: &str) -> Standing {
        Standing {
            state: Core::Queued,
            reason: Some(reason),
            message: message.to_owned(),
            incarnation: 1,
            restarts: 0,
            preemptions: 2,
            synchronised: true,
            rows: Vec::new(),
            occupied_rows: 0,
            up: 0,
            pods: 0,
            bound: 0,
            position: Some(1),
            quantum: "50ms".to_owned(),
            efficiency: None,
            started: None,
            ended: None,
            failures: Vec::new(),
        }
    }

    #[test]
    fn a_gang_whose_pods_were_not_bound_says_in_placed_what_the_scheduler_said() {
        let said = "not all of its pods were bound in time: pod sor-1-0: 0/4 nodes are available";
        let status = standing(&job(false, None), &queued(Reason::PlacementTimeout, said), &at(1));
        assert_eq!(condition(&status, "Placed"), words(["False", "PlacementTimeout", "01"]));
        let placed = status.conditions.iter().find(|condition| condition.type_ == "Placed").unwrap();
        assert_eq!((placed.message.as_str(), status.preemptions), (said, 2));
        let rejected = standing(&job(false, None), &queued(Reason::PodRejected, "a node does not take one of its pods"), &at(1));
        assert_eq!(condition(&rejected, "Placed"), words(["False", "PodRejected", "01"]));
        let later = standing(&job(false, None), &queued(Reason::WaitingForSlots, "place 1 in the queue"), &at(1));
        assert_eq!(condition(&later, "Placed"), words(["False", "WaitingForPods", "01"]));
    }

    #[test]
    fn whoever_runs_no_more_says_nothing_of_rows_and_is_neither_ready_nor_synchronised() {
        let rows = Standing { rows: vec![0], occupied_rows: 2, up: 2, pods: 2, bound: 2, ..queued(Reason::Launching, "") };
        let running = Standing { state: Core::Running, reason: None, started: Some(at(3)), position: None, ..rows };
        let told = standing(&job(false, None), &running, &at(3));
        assert_eq!((told.row.as_deref(), told.share.as_deref(), told.pods), (Some("0/2"), Some("50%"), 2));
        assert_eq!(condition(&told, "Synchronised"), words(["True", "Strobed", "03"]));
        let alone = waiting(&job(false, Some(&told)), None, &at(5));
        assert_eq!((alone.row.clone(), alone.share.clone(), alone.pods, alone.start_time.clone()), (None, None, 0, None));
        assert_eq!((alone.rows.as_slice(), alone.position), ([].as_slice(), None));
        for kind in ["Placed", "Ready", "Synchronised"] {
            assert_eq!(condition(&alone, kind), words(["False", "PartitionNotReady", "05"]), "{kind}");
        }
        let ends = [(Core::Complete, None, "RanksSucceeded"), (Core::Restarting, Some(Reason::Restarting), "Restarting")];
        for (state, reason, word) in ends {
            let over = standing(&job(false, Some(&told)), &Standing { state, reason, ..queued(Reason::Launching, "") }, &at(6));
            for kind in ["Ready", "Synchronised"] {
                assert_eq!(condition(&over, kind), words(["False", word, "06"]), "{kind} of {state:?}");
            }
        }
        let never = waiting(&job(false, None), None, &at(1));
        assert_eq!(condition(&never, "Ready"), None, "what never held needs no word");
    }

    #[test]
    fn what_an_earlier_authority_saw_running_is_not_launched_again_by_one_that_has_not_heard_of_it() {
        let running = Standing { state: Core::Running, reason: None, started: Some(at(3)), up: 2, ..queued(Reason::Launching, "") };
        let told = standing(&job(false, None), &running, &at(3));
        let silent = Standing { state: Core::Placed, reason: Some(Reason::NodeUnreachable), started: None, up: 0, ..running.clone() };
        let resumed = standing(&job(false, Some(&told)), &silent, &at(5));
        assert_eq!((resumed.state, resumed.reason), (Some(GangState::Running), Some(Reason::NodeUnreachable)));
        assert_eq!(condition(&resumed, "Ready"), words(["True", "Released", "03"]));
        let heard = Standing { started: Some(at(7)), ..running.clone() };
        let again = standing(&job(false, Some(&resumed)), &heard, &at(7));
        assert_eq!((again.state, again.start_time), (Some(GangState::Running), Some(at(3))));
        let paused = standing(&job(false, Some(&told)), &Standing { state: Core::Paused, ..heard }, &at(8));
        assert_eq!(standing(&job(false, Some(&paused)), &silent, &at(9)).state, Some(GangState::Paused));
    }

    #[test]
    fn failed_ranks_are_those_of_this_life() {
        let failure = |incarnation, rank| -> JobFailure {
            serde_json::from_value(json!({ "reason": "RankExited", "incarnation": incarnation, "rank": rank, "exitStatus": 3 })).unwrap()
        };
        let failures = vec![failure(1, 0), failure(2, 1)];
        let failed = Standing { state: Core::Failed, incarnation: 2, failures, ..queued(Reason::RankFailure, "rank 1 failed") };
        let status = standing(&job(false, None), &failed, &at(1));
        assert_eq!((status.failed_ranks, status.failures.len()), (1, 2));
        let again = Standing { state: Core::Running, incarnation: 3, ..failed };
        assert_eq!(standing(&job(false, None), &again, &at(2)).failed_ranks, 0);
    }

    #[test]
    fn another_life_is_launched_anew() {
        let running = Standing { state: Core::Running, reason: None, started: Some(at(3)), up: 2, ..queued(Reason::Launching, "") };
        let told = standing(&job(false, None), &running, &at(3));
        let next = Standing { state: Core::Placed, incarnation: 2, started: None, up: 0, ..running };
        let launched = standing(&job(false, Some(&told)), &next, &at(5));
        assert_eq!((launched.state, launched.start_time.clone()), (Some(GangState::Placed), None));
        assert_eq!(condition(&launched, "Ready"), words(["False", "Launching", "05"]));
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let status = waiting(&job(false, None), Some(refused(&"ü".repeat(1000))), &at(1));
        assert_eq!(status.message.unwrap(), "ü".repeat(512));
        let odd = waiting(&job(false, None), Some(refused(&format!("a{}", "ü".repeat(1000)))), &at(1));
        assert_eq!(odd.message.unwrap().len(), 1023);
    }
}
