//! `list`: the jobs and where they stand.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Serialize;
use strobe_crds::parallel_job::{ParallelJob, ParallelJobStatus};

use super::access::Cluster;
use super::error::ClusterError;
use super::output::show;
use super::words::{age, cell, header, seconds, state, state_word};
use crate::arguments::ListArguments;
use crate::terminal::{Line, Piece, table};

/// A job as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedJob {
    namespace: String,
    name: String,
    state: Option<String>,
    ready: Option<String>,
    row: Option<String>,
    share: Option<String>,
    position: Option<u32>,
    cpu_efficiency: Option<String>,
    restarts: u32,
    age_seconds: Option<i64>,
    #[serde(skip)]
    shown_state: Piece,
}

/// Prints the jobs.
///
/// # Errors
/// See [`ClusterError`].
pub(super) async fn run(arguments: &ListArguments) -> Result<(), ClusterError> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    let chosen = ListParams::default();
    let listed = if arguments.all_namespaces { cluster.everywhere(&chosen).await? } else { cluster.here(&chosen).await? };
    let jobs = jobs(&listed.items, Timestamp::now());
    let mut notes = listed.notes;
    if jobs.is_empty() && arguments.all_namespaces {
        notes.push("there are no ParallelJobs".to_owned());
    } else if jobs.is_empty() {
        notes.push(format!("there are no ParallelJobs in namespace {:?}; -A lists those of all", cluster.namespace));
    }
    let lines = if jobs.is_empty() { Vec::new() } else { lines(&jobs, arguments.all_namespaces) };
    show(arguments.table.output, &jobs, &lines, &notes)
}

fn jobs(objects: &[ParallelJob], now: Timestamp) -> Vec<ListedJob> {
    let mut jobs: Vec<ListedJob> = objects.iter().map(|job| listed(job, now)).collect();
    jobs.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    jobs
}

fn listed(job: &ParallelJob, now: Timestamp) -> ListedJob {
    let none = ParallelJobStatus::default();
    let status = job.status.as_ref().unwrap_or(&none);
    ListedJob {
        namespace: job.namespace().unwrap_or_default(),
        name: job.name_any(),
        state: state_word(job),
        ready: status.ready.clone(),
        row: status.row.clone(),
        share: status.share.clone(),
        position: status.position,
        cpu_efficiency: status.cpu_efficiency.clone(),
        restarts: status.restarts,
        age_seconds: seconds(job.metadata.creation_timestamp.as_ref(), now),
        shown_state: state(job),
    }
}

fn lines(jobs: &[ListedJob], of_all: bool) -> Vec<Line> {
    let names = ["NAMESPACE", "NAME", "STATE", "READY", "ROW", "SHARE", "POSITION", "CPU-EFF", "RESTARTS", "AGE"];
    let skipped = usize::from(!of_all);
    let mut rows = vec![header(&names[skipped..])];
    rows.extend(jobs.iter().map(|job| {
        let position = job.position.map(|position| position.to_string());
        let cells = [
            Piece::plain(&job.namespace),
            Piece::plain(&job.name),
            job.shown_state.clone(),
            cell(job.ready.as_deref()),
            cell(job.row.as_deref()),
            cell(job.share.as_deref()),
            cell(position.as_deref()),
            cell(job.cpu_efficiency.as_deref()),
            Piece::plain(job.restarts.to_string()),
            Piece::plain(age(job.age_seconds)),
        ];
        cells.into_iter().skip(skipped).collect()
    }));
    table(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fixture::{NOW, job};
    use crate::terminal::text;

    #[test]
    fn jobs_stand_in_the_order_of_their_names_with_what_is_known_of_them() {
        let running = json!({ "state": "Running", "ready": "2/2", "row": "1/2", "share": "50%", "cpuEfficiency": "48%", "restarts": 1 });
        let objects = [
            job("physics", "tsp", &json!({ "state": "Queued", "ready": "0/2", "position": 2 })),
            job("physics", "sor", &running),
            job("alone", "new", &json!(null)),
        ];
        let jobs = jobs(&objects, NOW);
        assert_eq!(
            lines(&jobs, true).iter().map(text).collect::<Vec<_>>(),
            [
                "NAMESPACE  NAME  STATE    READY  ROW  SHARE  POSITION  CPU-EFF  RESTARTS  AGE",
                "alone      new   -        -      -    -      -         -        0         90s",
                "physics    sor   Running  2/2    1/2  50%    -         48%      1         90s",
                "physics    tsp   Queued   0/2    -    -      2         -        0         90s",
            ]
        );
        assert!(text(&lines(&jobs, false)[0]).starts_with("NAME  STATE"));
        let told = serde_json::to_value(&jobs[1]).unwrap();
        assert_eq!((&told["cpuEfficiency"], &told["ageSeconds"], told.get("shownState")), (&json!("48%"), &json!(90), None));
    }
}
