//! The last switches of the node with the gangs that they are about, as whoever asks the agent's pod reads them: the evidence of what ran
//! where and when.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use strobe_proto::agent::{GangRun, SwitchSample};

/// Switches that are kept for readers: over three minutes at a quantum of 50 ms. Older ones are lost to them, and counted.
const SWITCHES_TRACED_MAX: usize = 4096;
/// Gangs whose names are kept for readers, the ended ones among them. Past it the oldest is a number only.
const GANGS_TRACED_MAX: usize = 256;

/// What is kept for readers. Clones are of one.
#[derive(Debug, Clone, Default)]
pub(crate) struct SwitchTrace(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    gangs: VecDeque<TracedGang>,
    switches: VecDeque<SwitchSample>,
    /// Switches that readers cannot see any more, or never could.
    lost: u64,
}

/// A gang that the switches tell of. It stays when the gang has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TracedGang {
    pub(crate) run: GangRun,
    pub(crate) name: String,
    /// Its CPUs on this node.
    pub(crate) cpus: Vec<u16>,
}

// === impl SwitchTrace ===

impl SwitchTrace {
    /// Names a gang that switches may tell of.
    pub(crate) fn gang(&self, gang: TracedGang) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.gangs.contains(&gang) {
            return;
        }
        if kept.gangs.len() == GANGS_TRACED_MAX {
            kept.gangs.pop_front();
        }
        kept.gangs.push_back(gang);
    }

    /// Adds what the node has done, and how many switches it did not tell of.
    pub(crate) fn switches(&self, samples: &[SwitchSample], dropped: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lost += dropped;
        for sample in samples {
            if kept.switches.len() == SWITCHES_TRACED_MAX {
                kept.switches.pop_front();
                kept.lost += 1;
            }
            kept.switches.push_back(sample.clone());
        }
    }

    /// A document with `gangs`, `switches`, oldest first, and how many older ones are `lost`. Instants are nanoseconds of the node's monotonic
    /// clock, `at` of the manager's.
    pub(crate) fn document(&self) -> Value {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "gangs": kept.gangs.iter().map(TracedGang::document).collect::<Vec<_>>(),
            "switches": kept.switches.iter().map(switch).collect::<Vec<_>>(),
            "lost": kept.lost,
        })
    }
}

// === impl TracedGang ===

impl TracedGang {
    fn document(&self) -> Value {
        json!({ "run": run(&self.run), "name": self.name, "cpus": self.cpus })
    }
}

fn run(run: &GangRun) -> Value {
    json!({ "gang": run.gang, "incarnation": run.incarnation })
}

fn switch(sample: &SwitchSample) -> Value {
    json!({
        "cause": sample.cause().as_str_name().trim_start_matches("SWITCH_CAUSE_").to_lowercase(),
        "term": sample.term, "epoch": sample.epoch, "row": sample.row,
        "at": sample.at, "due": sample.due, "acted": sample.acted, "frozen": sample.frozen, "thawed": sample.thawed,
        "late": sample.late, "missed": sample.missed, "stragglers": sample.stragglers,
        "freeze": sample.freeze.iter().map(run).collect::<Vec<_>>(), "thaw": sample.thaw.iter().map(run).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(epoch: u64) -> SwitchSample {
        SwitchSample { epoch, row: Some(1), thaw: vec![GangRun { gang: 7, incarnation: 2 }], ..SwitchSample::default() }
    }

    #[test]
    fn the_newest_switches_stay_and_the_others_are_counted() {
        let trace = SwitchTrace::default();
        let more = 3;
        let samples: Vec<_> = (0..SWITCHES_TRACED_MAX as u64 + more).map(sample).collect();
        trace.switches(&samples, 2);
        let document = trace.document();
        let switches = document["switches"].as_array().unwrap();
        assert_eq!((switches.len(), &document["lost"]), (SWITCHES_TRACED_MAX, &json!(more + 2)));
        assert_eq!((&switches[0]["epoch"], &switches[0]["thaw"]), (&json!(more), &json!([{ "gang": 7, "incarnation": 2 }])));
    }

    #[test]
    fn a_gang_is_named_once() {
        let trace = SwitchTrace::default();
        let gang = |number| TracedGang { run: GangRun { gang: number, incarnation: 1 }, name: format!("gang {number}"), cpus: vec![0, 1] };
        trace.gang(gang(1));
        trace.gang(gang(1));
        for number in 2..=GANGS_TRACED_MAX as u64 + 1 {
            trace.gang(gang(number));
        }
        let document = trace.document();
        let gangs = document["gangs"].as_array().unwrap();
        assert_eq!((gangs.len(), &gangs[0]["name"], &gangs[0]["cpus"]), (GANGS_TRACED_MAX, &json!("gang 2"), &json!([0, 1])));
    }
}
