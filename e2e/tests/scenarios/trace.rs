//! What agents tell of their last switches, and what must hold of it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use strobe_e2e::cluster::{Driver, system};

/// Port of health, metrics and trace.
const PORT: u16 = 7412;

/// A gang's life: the names of both are the agents'.
type Run = (u64, u64);

/// What one node's agent told.
pub(crate) struct Trace {
    /// In the order in which they came.
    gangs: Vec<(Run, String)>,
    switches: Vec<Switch>,
}

struct Switch {
    cause: String,
    row: Option<u64>,
    /// Difference from the own clock to the manager's, where the switch had an instant.
    offset: Option<i64>,
    acted: i64,
    thawed: i64,
    freeze: Vec<Run>,
    thaw: Vec<Run>,
}

/// How two gangs took turns on a node.
pub(crate) struct Turns {
    /// Times that one was frozen and the other thawed.
    pub(crate) count: usize,
    /// The longest time between two of them.
    pub(crate) longest: Duration,
    /// The time in which they took them.
    pub(crate) lasted: Duration,
}

/// A row that was active from one instant of the manager's clock to another, in nanoseconds.
#[derive(Clone, Copy)]
struct Turn {
    row: u64,
    from: i64,
    until: i64,
}

// === impl Trace ===

impl Trace {
    /// Of a node's agent, as it is now.
    pub(crate) fn of(node: &str) -> Self {
        let chosen = format!("--field-selector=spec.nodeName={node}");
        let selector = "--selector=app.kubernetes.io/name=strobe-agent";
        let name = "--output=jsonpath={.items[0].metadata.name}";
        let agent = system::kubectl(&["--namespace", system::NAMESPACE, "get", "pods", selector, &chosen, name]).unwrap();
        let path = format!("/api/v1/namespaces/{}/pods/{agent}:{PORT}/proxy/trace", system::NAMESPACE);
        Self::read(&system::kubectl(&["get", "--raw", &path]).unwrap())
    }

    /// The same, asked on the node, which has this address: while no API server leads there.
    pub(crate) fn on(driver: &Driver, node: &str, address: &str) -> Self {
        let ask = format!(r"exec 3<>/dev/tcp/{address}/{PORT}; printf 'GET /trace HTTP/1.0\r\n\r\n' >&3; cat <&3");
        let answer = driver.shell(node, &ask).unwrap();
        let (_head, document) = answer.split_once("\r\n\r\n").unwrap();
        Self::read(document)
    }

    fn read(document: &str) -> Self {
        let document: Value = serde_json::from_str(document).unwrap();
        let gangs = document["gangs"].as_array().unwrap();
        Self {
            gangs: gangs.iter().map(|gang| (run(&gang["run"]), gang["name"].as_str().unwrap().to_owned())).collect(),
            switches: document["switches"].as_array().unwrap().iter().map(Switch::of).collect(),
        }
    }

    /// The instant of the last switch, on the node's own clock; before all others where there is none.
    pub(crate) fn last(&self) -> i64 {
        self.switches.last().map_or(i64::MIN, |switch| switch.acted)
    }

    /// How two gangs took turns, from the first of these turns to the last.
    ///
    /// # Panics
    /// Both were commanded thawed while the node obeyed.
    pub(crate) fn turns_of(&self, first: &str, second: &str) -> Turns {
        Turns::at(&self.turns(first, second))
    }

    /// How two gangs took turns, from an instant of the node's own clock to its last switch.
    ///
    /// # Panics
    /// As [`Trace::turns_of`].
    pub(crate) fn turns_since(&self, from: i64, first: &str, second: &str) -> Turns {
        let turns: Vec<i64> = self.turns(first, second).into_iter().filter(|turn| *turn > from).collect();
        let whole = Turns::at(&[&[from], &turns[..], &[self.last()]].concat());
        Turns { count: turns.len(), ..whole }
    }

    /// When the strobe froze one of two gangs to thaw the other, with never both commanded thawed while the node obeyed. An agent that does not
    /// know both has given them no turn.
    fn turns(&self, first: &str, second: &str) -> Vec<i64> {
        let ours: Vec<Run> = [first, second].iter().filter_map(|name| self.run_of(name)).collect();
        let (mut thawed, mut strobed, mut turns) = (BTreeSet::new(), false, Vec::new());
        for switch in &self.switches {
            let before = thawed.clone();
            thawed.retain(|run| !switch.freeze.contains(run));
            thawed.extend(switch.thaw.iter().copied().filter(|run| ours.contains(run)));
            match switch.cause.as_str() {
                "epoch" | "receipt" | "table" => strobed = true,
                "watchdog" | "left_out" | "policy" => strobed = false,
                _ => {}
            }
            assert!(!strobed || thawed.len() < 2, "both were thawed at {} ({})", switch.acted, switch.cause);
            if strobed && before.len() == 1 && thawed.len() == 1 && before != thawed {
                turns.push(switch.acted);
            }
        }
        turns
    }

    /// Names are those of jobs: earlier scenarios may have had the same.
    fn run_of(&self, name: &str) -> Option<Run> {
        self.gangs.iter().rev().find(|(_, gang)| gang.as_str() == name).map(|(run, _)| *run)
    }

    /// When which row was active, as far as it is known on the manager's clock.
    fn rows(&self) -> Vec<Turn> {
        let turn = |(now, next): (&Switch, &Switch)| {
            let (from, until) = (now.thawed + now.offset?, next.acted + next.offset?);
            Some(Turn { row: now.row?, from, until })
        };
        self.switches.iter().zip(self.switches.iter().skip(1)).filter_map(turn).collect()
    }

    /// The part of the time in which two nodes ran the same row, of that in which both ran one.
    pub(crate) fn same_row(&self, other: &Self) -> f64 {
        let (ours, theirs) = (self.rows(), other.rows());
        let (mut both, mut same) = (0, 0);
        for turn in &ours {
            for other in theirs.iter().filter(|other| other.from < turn.until && turn.from < other.until) {
                let together = turn.until.min(other.until) - turn.from.max(other.from);
                both += together;
                same += if turn.row == other.row { together } else { 0 };
            }
        }
        assert!(both > 0, "the nodes ran at the same time");
        #[expect(clippy::cast_precision_loss, reason = "a part of some seconds")]
        let part = same as f64 / both as f64;
        part
    }
}

// === impl Turns ===

impl Turns {
    /// Those at these instants.
    fn at(instants: &[i64]) -> Self {
        let between = |earlier: i64, later: i64| Duration::from_nanos(later.saturating_sub(earlier).unsigned_abs());
        let longest = instants.windows(2).map(|pair| between(pair[0], pair[1])).max().unwrap_or(Duration::MAX);
        let lasted = instants.first().zip(instants.last()).map_or(Duration::ZERO, |(first, last)| between(*first, *last));
        Self { count: instants.len(), longest, lasted }
    }
}

// === impl Switch ===

impl Switch {
    fn of(switch: &Value) -> Self {
        let instant = |name: &str| switch[name].as_i64();
        let runs = |name: &str| switch[name].as_array().unwrap().iter().map(run).collect();
        Self {
            cause: switch["cause"].as_str().unwrap().to_owned(),
            row: switch["row"].as_u64(),
            offset: instant("due").and_then(|due| Some(instant("at")? - due)),
            acted: instant("acted").unwrap(),
            thawed: instant("thawed").unwrap(),
            freeze: runs("freeze"),
            thaw: runs("thaw"),
        }
    }
}

fn run(run: &Value) -> Run {
    (run["gang"].as_u64().unwrap(), run["incarnation"].as_u64().unwrap())
}
