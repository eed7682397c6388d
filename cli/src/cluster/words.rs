//! Objects in words: ages, parts, states.

use crossterm::style::Color;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use strobe_crds::parallel_job::{GangState, ParallelJob};

use crate::terminal::Piece;

/// What stands where there is nothing to be said.
pub(super) const NOTHING: &str = "-";

/// The seconds from a time to another, at least 0.
pub(super) fn seconds(since: Option<&Time>, now: Timestamp) -> Option<i64> {
    since.map(|time| (now.as_second() - time.0.as_second()).max(0))
}

/// A length of time in its largest unit, or two of them where one would be vague.
pub(super) fn age(seconds: Option<i64>) -> String {
    let Some(seconds) = seconds else { return NOTHING.to_owned() };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        600..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A cell that may be empty.
pub(super) fn cell(text: Option<&str>) -> Piece {
    Piece::plain(text.unwrap_or(NOTHING))
}

/// A header.
pub(super) fn header(names: &[&str]) -> Vec<Piece> {
    names.iter().map(|name| Piece::strong(*name)).collect()
}

/// `1 node`, `2 nodes`.
pub(super) fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What `97%` says.
pub(super) fn percent(text: Option<&str>) -> Option<f64> {
    text?.strip_suffix('%')?.parse().ok()
}

/// The state of a job, in its colour.
pub(super) fn state(job: &ParallelJob) -> Piece {
    let Some(state) = job.status.as_ref().and_then(|status| status.state) else { return cell(None) };
    let colour = match state {
        GangState::Running => Color::Green,
        GangState::Failed => Color::Red,
        GangState::Complete => return Piece::plain("Complete"),
        GangState::Paused | GangState::Suspended => Color::Blue,
        GangState::Queued
        | GangState::Admitted
        | GangState::Placed
        | GangState::Launching
        | GangState::Checkpointing
        | GangState::Terminating
        | GangState::Preempted
        | GangState::Restarting => Color::Yellow,
    };
    Piece::coloured(format!("{state:?}"), colour)
}

/// The state of a job as a word; none before its first.
pub(super) fn state_word(job: &ParallelJob) -> Option<String> {
    job.status.as_ref()?.state.map(|state| format!("{state:?}"))
}

/// The slots of a gang on each of its nodes.
pub(super) fn slots(job: &ParallelJob) -> u32 {
    job.spec.ranks_per_node.saturating_mul(job.spec.cpus_per_rank)
}

/// What a gang needs.
pub(super) fn size(job: &ParallelJob) -> String {
    let spec = &job.spec;
    let on_each = if spec.nodes == 1 { "" } else { " each" };
    format!(
        "{} with {}{on_each} ({} of {})",
        count(spec.nodes, "node"),
        count(slots(job), "CPU"),
        count(spec.ranks_per_node, "rank"),
        count(spec.cpus_per_rank, "CPU")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_as_exact_as_they_are_young() {
        let told = [0, 119, 120, 601, 7_199, 7_200, 172_799, 172_800].map(|seconds| age(Some(seconds)));
        assert_eq!(told, ["0s", "119s", "2m00s", "10m", "119m", "2h00m", "47h59m", "2d"]);
        assert_eq!(age(None), "-");
    }

    #[test]
    fn parts_are_read_and_numbers_have_their_plural() {
        assert_eq!(
            [percent(Some("97%")), percent(Some("1.5%")), percent(Some("many")), percent(None)],
            [Some(97.0), Some(1.5), None, None]
        );
        assert_eq!([count(1_u32, "node"), count(0_u32, "node"), count(2_u64, "CPU")], ["1 node", "0 nodes", "2 CPUs"]);
    }
}
