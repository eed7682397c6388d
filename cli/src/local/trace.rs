//! A trace of every switch on every node, whatever its cause, in Chrome's trace-event format, which Perfetto opens.
//!
//! A node is a process of the trace, a gang a track in it. It is written as it comes: what is kept is one instant for each
//! gang and node. A trace that is cut off is still read, for the format needs no closing bracket.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use strobe_core::model::{GangRun, NodeIndex};
use strobe_proto::agent::{SwitchCause, SwitchSample};

/// The track of a node's strobes; gangs' are their own numbers, from 1.
const STROBES: u64 = 0;

/// A trace that is being written.
#[derive(Debug)]
pub(super) struct Trace<Output: Write = BufWriter<File>> {
    output: Output,
    begun: bool,
    /// Since when gangs run, in nanoseconds.
    running: BTreeMap<(NodeIndex, GangRun), u64>,
    /// Gangs whose release is known.
    released: BTreeSet<(NodeIndex, GangRun)>,
    /// When lives of gangs ended.
    over: BTreeMap<GangRun, u64>,
    named: BTreeSet<(NodeIndex, u64)>,
}

/// The trace cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the trace, {path}")]
pub(crate) struct TraceError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl TraceError {
    pub(super) fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), source }
    }
}

impl Trace {
    /// A trace in a new file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self, TraceError> {
        File::create(path).map(|file| Self::new(BufWriter::new(file))).map_err(|source| TraceError::new(path, source))
    }
}

impl<Output: Write> Trace<Output> {
    const fn new(output: Output) -> Self {
        Self { output, begun: false, running: BTreeMap::new(), released: BTreeSet::new(), over: BTreeMap::new(), named: BTreeSet::new() }
    }

    /// A gang's ranks were released on a node. It runs from then, although no epoch thaws it when its row is there.
    pub(super) fn released(&mut self, node: NodeIndex, run: GangRun, at: u64) {
        if self.released.insert((node, run)) {
            self.running.entry((node, run)).or_insert(at);
        }
    }

    /// Writes what a node did in one epoch, or for another cause; `name` gives the name of a gang.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn take(&mut self, node: NodeIndex, sample: &SwitchSample, name: impl Fn(GangRun) -> String) -> io::Result<()> {
        for run in sample.freeze.iter().copied().map(GangRun::from) {
            // One that was frozen before its release has run only since.
            if self.running.get(&(node, run)).is_some_and(|since| *since <= sample.frozen) {
                self.stop(node, run, sample.frozen, &name)?;
            }
        }
        for run in sample.thaw.iter().copied().map(GangRun::from) {
            // A gang that appears is thawed before it is released, and runs nothing yet.
            let begins = sample.cause() != SwitchCause::Presence || self.released.contains(&(node, run));
            if begins && !self.over.contains_key(&run) {
                self.running.entry((node, run)).or_insert(sample.thawed);
            }
        }
        self.name(node, STROBES, "strobes")?;
        let duration = micros(sample.thawed.saturating_sub(sample.acted));
        let (switch, args) = match other_cause(sample) {
            None => (sample.row.map_or_else(|| "idle".to_owned(), |row| format!("row {row}")), epoch_arguments(sample)),
            Some(cause) => (cause.to_owned(), json!({ "cause": cause, "stragglers": sample.stragglers })),
        };
        self.write(&json!({
            "name": switch, "ph": "X", "pid": process(node), "tid": STROBES, "ts": micros(sample.acted), "dur": duration, "args": args,
        }))?;
        if sample.late || sample.stragglers > 0 {
            let what = if sample.stragglers > 0 { "straggler" } else { "late" };
            self.write(&json!({ "name": what, "ph": "i", "s": "p", "pid": process(node), "tid": STROBES, "ts": micros(sample.acted) }))?;
        }
        self.write(
            &json!({ "name": "switch µs", "ph": "C", "pid": process(node), "ts": micros(sample.acted), "args": { "switch": duration } }),
        )
    }

    /// A gang's life is over; what its nodes tell of it may still come.
    pub(super) fn over(&mut self, run: GangRun, now: u64) {
        self.over.insert(run, now);
    }

    /// A node has told of a gang whose life is over: what still ran there has ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn told(&mut self, node: NodeIndex, run: GangRun, name: impl Fn(GangRun) -> String) -> io::Result<()> {
        self.over.get(&run).copied().map_or(Ok(()), |until| self.stop(node, run, until, name))
    }

    /// Writes the end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.output.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })?;
        self.output.flush()
    }

    fn stop(&mut self, node: NodeIndex, run: GangRun, until: u64, name: impl Fn(GangRun) -> String) -> io::Result<()> {
        let Some(since) = self.running.remove(&(node, run)) else { return Ok(()) };
        let name = name(run);
        self.name(node, run.gang.0, &name)?;
        self.write(&json!({
            "name": name, "ph": "X", "pid": process(node), "tid": run.gang.0, "ts": micros(since), "dur": micros(until.saturating_sub(since)),
            "args": { "incarnation": run.incarnation.0 },
        }))
    }

    /// Names a node and a track of it, once.
    fn name(&mut self, node: NodeIndex, track: u64, name: &str) -> io::Result<()> {
        if !self.named.insert((node, track)) {
            return Ok(());
        }
        if track == STROBES {
            let args = json!({ "name": format!("node {node}") });
            self.write(&json!({ "name": "process_name", "ph": "M", "pid": process(node), "args": args }))?;
        }
        self.write(&json!({ "name": "thread_name", "ph": "M", "pid": process(node), "tid": track, "args": { "name": name } }))
    }

    fn write(&mut self, event: &Value) -> io::Result<()> {
        self.output.write_all(if self.begun { b",\n" } else { b"[\n" })?;
        self.begun = true;
        serde_json::to_writer(&mut self.output, event).map_err(io::Error::from)
    }
}

/// What is told of an epoch.
fn epoch_arguments(sample: &SwitchSample) -> Value {
    json!({
        "term": sample.term, "epoch": sample.epoch, "late": sample.late, "missed": sample.missed, "stragglers": sample.stragglers,
        "afterInstantMicros": sample.due.map(|due| micros(sample.acted.saturating_sub(due))),
    })
}

/// The name of a cause that is no epoch.
fn other_cause(sample: &SwitchSample) -> Option<&'static str> {
    match sample.cause() {
        SwitchCause::Epoch | SwitchCause::Receipt => None,
        SwitchCause::Table => Some("table"),
        SwitchCause::Hold => Some("hold"),
        SwitchCause::Presence => Some("presence"),
        SwitchCause::Policy => Some("policy"),
        SwitchCause::Watchdog => Some("watchdog"),
        SwitchCause::LeftOut => Some("left out"),
        SwitchCause::Unspecified => Some("unknown"),
    }
}

/// Perfetto takes process 0 for the idle one.
const fn process(node: NodeIndex) -> u32 {
    node.0 as u32 + 1
}

/// Microseconds, as the format wants them.
fn micros(nanoseconds: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a clock has fewer than 2^53 nanoseconds for 104 days; then a trace is coarser by nanoseconds"
    )]
    let nanoseconds = nanoseconds as f64;
    nanoseconds / 1_000.0
}

#[cfg(test)]
mod tests {
    use strobe_core::model::{GangId, GangIncarnation};

    use super::*;

    fn sample(epoch: u64, instant: u64, freeze: &[u64], thaw: &[u64]) -> SwitchSample {
        let runs = |gangs: &[u64]| gangs.iter().map(|gang| strobe_proto::agent::GangRun { gang: *gang, incarnation: 1 }).collect();
        SwitchSample {
            cause: SwitchCause::Epoch.into(),
            term: 1,
            epoch,
            row: Some(0),
            acted: instant,
            frozen: instant + 10_000,
            thawed: instant + 20_000,
            freeze: runs(freeze),
            thaw: runs(thaw),
            ..SwitchSample::default()
        }
    }

    fn named(run: GangRun) -> String {
        format!("gang {}", run.gang)
    }

    fn written(trace: Trace<&mut Vec<u8>>) {
        trace.finish().unwrap();
    }

    #[test]
    fn a_gang_runs_from_its_thaw_to_its_freeze_or_its_end() {
        let mut bytes = Vec::new();
        let mut trace = Trace::new(&mut bytes);
        trace.take(NodeIndex(0), &sample(1, 1_000_000, &[], &[1]), named).unwrap();
        trace.take(NodeIndex(0), &sample(2, 2_000_000, &[1], &[2]), named).unwrap();
        let second = GangRun { gang: GangId(2), incarnation: GangIncarnation(1) };
        trace.over(second, 3_000_000);
        trace.told(NodeIndex(0), second, named).unwrap();
        written(trace);
        let events: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
        let intervals: Vec<(&Value, f64, f64)> = events
            .iter()
            .filter(|event| event["ph"] == "X" && event["tid"] != STROBES)
            .map(|event| (&event["name"], event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap()))
            .collect();
        assert_eq!(intervals, [(&json!("gang 1"), 1_020.0, 990.0), (&json!("gang 2"), 2_020.0, 980.0)]);
        assert!(events.iter().any(|event| event["name"] == "process_name" && event["args"]["name"] == "node 0"));
    }

    #[test]
    fn a_gang_that_no_epoch_thaws_runs_from_its_release_and_ends_once() {
        let mut bytes = Vec::new();
        let mut trace = Trace::new(&mut bytes);
        let run = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };
        trace.over(run, 5_000_000);
        trace.released(NodeIndex(1), run, 1_000_000);
        trace.told(NodeIndex(1), run, named).unwrap();
        // Figures that come again, and a sample that comes late, begin nothing anew.
        trace.released(NodeIndex(1), run, 1_000_000);
        trace.take(NodeIndex(1), &sample(1, 4_000_000, &[], &[1]), named).unwrap();
        trace.told(NodeIndex(1), run, named).unwrap();
        written(trace);
        let events: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
        let intervals: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X" && event["tid"] != STROBES).collect();
        assert_eq!(intervals.len(), 1);
        assert_eq!((intervals[0]["ts"].as_f64(), intervals[0]["dur"].as_f64()), (Some(1_000.0), Some(4_000.0)));
    }

    #[test]
    fn a_switch_that_is_no_epoch_is_named_by_its_cause_and_begins_and_ends_what_runs() {
        let mut bytes = Vec::new();
        let mut trace = Trace::new(&mut bytes);
        let because = |cause: SwitchCause, sample| SwitchSample { cause: cause.into(), term: 0, epoch: 0, row: None, ..sample };
        trace.take(NodeIndex(0), &because(SwitchCause::Watchdog, sample(0, 1_000_000, &[], &[1])), named).unwrap();
        trace.take(NodeIndex(0), &because(SwitchCause::Hold, sample(0, 2_000_000, &[1], &[])), named).unwrap();
        trace.take(NodeIndex(0), &because(SwitchCause::Policy, sample(0, 3_000_000, &[], &[1])), named).unwrap();
        written(trace);
        let events: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
        let switches = events.iter().filter(|event| event["ph"] == "X" && event["tid"] == STROBES);
        let told: Vec<_> = switches.map(|event| (event["name"].as_str().unwrap(), event["args"].get("epoch"))).collect();
        assert_eq!(told, [("watchdog", None), ("hold", None), ("policy", None)]);
        let run = events.iter().find(|event| event["name"] == "gang 1" && event["ph"] == "X").unwrap();
        assert_eq!((run["ts"].as_f64(), run["dur"].as_f64()), (Some(1_020.0), Some(990.0)));
    }

    #[test]
    fn an_empty_trace_is_valid() {
        let mut bytes = Vec::new();
        written(Trace::new(&mut bytes));
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&bytes).unwrap(), Vec::<Value>::new());
    }
}
