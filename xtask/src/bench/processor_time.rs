//! Who uses the CPUs: whether the machine is idle before a measurement, and what others took during one.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// How long the machine is watched before it counts as idle or not.
const WINDOW: Duration = Duration::from_millis(300);
/// Share of the machine's CPU time, in percent, that others may use before and during a measurement. Above it the measurement is
/// counted as disturbed.
pub(super) const DISTURBED_PERCENT: f64 = 2.0;
/// A process that uses more of one CPU than this, in percent, is named.
const BUSY_PERCENT: f64 = 5.0;
/// How long an idle machine is waited for before each cell. Past it the cell runs all the same, and its noise is on record.
const PATIENCE: Duration = Duration::from_secs(10);

/// What others took of the machine before and during one cell, in percent of its CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Noise {
    /// Used by anybody in the moment before the start.
    pub(super) busy_before_percent: f64,
    /// Used during the cell by processes that are not ours.
    pub(super) other_percent: f64,
    /// What the host of a virtual machine gave to others during the cell.
    pub(super) stolen_percent: f64,
    /// The load of the last minute at the start, our own earlier cells included.
    pub(super) load: f64,
}

/// The start of a cell, from which its noise is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    busy_before_percent: f64,
    load: f64,
    machine: MachineTime,
    own: u64,
}

/// CPU time of the machine since its start, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MachineTime {
    total: u64,
    idle: u64,
    stolen: u64,
}

/// One process's CPU time, in clock ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProcessTime {
    name: String,
    /// When it began, in ticks since the start of the machine: numbers are used again, and names change.
    began: u64,
    /// Its own.
    ticks: u64,
    /// That of all its descendants that have ended and were waited for.
    ticks_of_children: u64,
}

/// The processes that use much of a CPU now and that are not ours, a line each; nothing when the machine is idle.
///
/// # Errors
/// `/proc` cannot be read.
pub(super) fn busy_processes(ours: impl Fn(u32) -> bool) -> Result<Vec<String>> {
    let (before, began) = (processes()?, Instant::now());
    std::thread::sleep(WINDOW);
    let ticks = began.elapsed().as_secs_f64() * rustix::param::clock_ticks_per_second() as f64;
    let mut after = processes()?;
    after.retain(|number, _| !ours(*number));
    Ok(busy(&before, &after, ticks))
}

/// The load of the last minute.
///
/// # Errors
/// `/proc/loadavg` cannot be read.
pub(super) fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    text.split(' ').next().and_then(|number| number.parse().ok()).context("/proc/loadavg begins with no number")
}

fn busy(before: &BTreeMap<u32, ProcessTime>, after: &BTreeMap<u32, ProcessTime>, window_ticks: f64) -> Vec<String> {
    let mut found = Vec::new();
    for (number, process) in after {
        let earlier = before.get(number).filter(|earlier| earlier.began == process.began).map_or(0, |earlier| earlier.ticks);
        let percent = 100.0 * process.ticks.saturating_sub(earlier) as f64 / window_ticks;
        if percent > BUSY_PERCENT {
            found.push(format!("process {number} ({}) uses {percent:.0} % of a CPU", process.name));
        }
    }
    found
}

/// All processes but this one.
fn processes() -> Result<BTreeMap<u32, ProcessTime>> {
    let own = std::process::id();
    let folders = fs::read_dir("/proc").context("list /proc")?.filter_map(Result::ok);
    let numbers = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok()).filter(|number| *number != own);
    // A process that has ended in between uses no CPU any more.
    let time = |number: u32| Some((number, ProcessTime::parse(&fs::read_to_string(format!("/proc/{number}/stat")).ok()?)?));
    Ok(numbers.filter_map(time).collect())
}

/// The CPU time of this process and of its children that have ended, in clock ticks.
///
/// # Errors
/// `/proc` cannot be read.
pub(super) fn own_ticks() -> Result<u64> {
    ticks_of(std::process::id())
}

/// The CPU time of a process and of its children that have ended, in clock ticks.
///
/// # Errors
/// It is gone.
pub(super) fn ticks_of(process: u32) -> Result<u64> {
    let file = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let time = ProcessTime::parse(&stat).with_context(|| format!("{file} has no times"))?;
    Ok(time.ticks + time.ticks_of_children)
}

// === impl Watch ===

impl Watch {
    /// Waits for an idle machine, for some seconds, and starts to count.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn start() -> Result<Self> {
        Self::start_beside(own_ticks)
    }

    /// The same where more than this process and its ended children is ours: `own` counts it in clock ticks.
    ///
    /// # Errors
    /// `/proc` cannot be read, or `own` fails.
    pub(super) fn start_beside(own: impl Fn() -> Result<u64>) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (before, own_before) = (MachineTime::now()?, own()?);
            std::thread::sleep(WINDOW);
            let (machine, own) = (MachineTime::now()?, own()?);
            let passed = machine.since(before);
            let busy_before_percent = passed.percent(passed.busy().saturating_sub(own.saturating_sub(own_before)));
            if busy_before_percent <= DISTURBED_PERCENT || Instant::now() >= deadline {
                return Ok(Self { busy_before_percent, load: load()?, machine, own });
            }
        }
    }

    /// What others have used since then. Descendants of ours that still run, or whom nobody waited for, count as others.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn noise(self) -> Result<Noise> {
        self.noise_beside(own_ticks()?)
    }

    /// The same, where this is all that is ours.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn noise_beside(self, own: u64) -> Result<Noise> {
        let passed = MachineTime::now()?.since(self.machine);
        Ok(self.noise_of(passed, own.saturating_sub(self.own)))
    }

    fn noise_of(self, passed: MachineTime, own: u64) -> Noise {
        let other = passed.busy().saturating_sub(own);
        Noise {
            busy_before_percent: self.busy_before_percent,
            other_percent: passed.percent(other),
            stolen_percent: passed.percent(passed.stolen),
            load: self.load,
        }
    }
}

// === impl Noise ===

impl Noise {
    /// What others took during the cell.
    pub(super) fn during_percent(&self) -> f64 {
        self.other_percent + self.stolen_percent
    }

    /// True when others took so much that the cell's figures say more about them.
    pub(super) fn is_disturbed(&self) -> bool {
        self.during_percent() > DISTURBED_PERCENT
    }

    /// What a cell's line says of them; nothing where they did not matter.
    pub(super) fn warning(&self) -> String {
        let others = self.during_percent();
        if self.is_disturbed() { format!("; DISTURBED: others used {others:.0} % of the CPUs") } else { String::new() }
    }
}

// === impl MachineTime ===

impl MachineTime {
    fn now() -> Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").context("read /proc/stat")?)
    }

    /// From the first line of `/proc/stat` (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal; guest times after them
    /// are part of user and nice.
    fn parse(stat: &str) -> Result<Self> {
        const TIMES: usize = 8;
        let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat does not begin with cpu")?;
        let times: Vec<u64> = line.split_whitespace().take(TIMES).filter_map(|field| field.parse().ok()).collect();
        let [.., idle, waiting, _, _, stolen] = times[..] else { bail!("/proc/stat has fewer than {TIMES} times") };
        Ok(Self { total: times.iter().sum(), idle: idle + waiting, stolen })
    }

    fn since(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            idle: self.idle.saturating_sub(before.idle),
            stolen: self.stolen.saturating_sub(before.stolen),
        }
    }

    /// Used by processes of this machine.
    fn busy(self) -> u64 {
        self.total.saturating_sub(self.idle).saturating_sub(self.stolen)
    }

    fn percent(self, ticks: u64) -> f64 {
        100.0 * ticks as f64 / self.total.max(1) as f64
    }
}

// === impl ProcessTime ===

impl ProcessTime {
    /// From the text of `/proc/PID/stat` (proc(5)): the name stands in brackets and may hold brackets itself; user and system time
    /// are fields 14 and 15, those of waited-for children 16 and 17, the start is field 22.
    fn parse(stat: &str) -> Option<Self> {
        const FIRST: usize = 3;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |number: usize| fields.get(number - FIRST)?.parse::<u64>().ok();
        let (ticks, ticks_of_children) = (field(14)? + field(15)?, field(16)? + field(17)?);
        Some(Self { name: name.to_owned(), began: field(22)?, ticks, ticks_of_children })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) (b) S 1 42 42 0 -1 4194560 1 2 3 4 150 25 7 3 20 0 1 0 100 0 0";
        assert_eq!(ProcessTime::parse(stat), Some(ProcessTime { name: "a) (b".to_owned(), began: 100, ticks: 175, ticks_of_children: 10 }));
        assert_eq!(ProcessTime::parse("42 (a) S 1"), None);
    }

    #[test]
    fn who_uses_much_is_named_and_who_uses_little_is_not() {
        let process = |name: &str, began, ticks| ProcessTime { name: name.to_owned(), began, ticks, ticks_of_children: 0 };
        let before = BTreeMap::from([(1, process("quiet", 5, 100)), (2, process("a name", 5, 100)), (3, process("before", 5, 900))]);
        let quiet = [(1, process("quiet", 5, 104)), (4, process("new", 990, 2))];
        let busy_ones = [(2, process("another name", 5, 150)), (3, process("after", 990, 30))];
        let after = quiet.into_iter().chain(busy_ones).collect();
        let found = busy(&before, &after, 100.0);
        assert_eq!(found, ["process 2 (another name) uses 50 % of a CPU", "process 3 (after) uses 30 % of a CPU"]);
    }

    #[test]
    fn noise_is_what_is_neither_idle_nor_ours() {
        let before = MachineTime::parse("cpu  10 0 10 70 5 0 5 0 0 0\ncpu0 1\n").unwrap();
        let after = MachineTime::parse("cpu  110 0 10 160 5 0 5 10 0 0\n").unwrap();
        let passed = after.since(before);
        assert_eq!((passed.total, passed.idle, passed.busy()), (200, 90, 100));
        let watch = Watch { busy_before_percent: 1.0, load: 0.5, machine: before, own: 0 };
        let noise = watch.noise_of(passed, 96);
        assert_eq!(noise, Noise { busy_before_percent: 1.0, other_percent: 2.0, stolen_percent: 5.0, load: 0.5 });
        assert!(noise.is_disturbed());
        assert_eq!(watch.noise_of(passed, 120).other_percent, 0.0);
        assert!(MachineTime::parse("cpu  1 2 3\n").is_err());
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(MachineTime::now().unwrap().total > 0);
        assert!(!processes().unwrap().is_empty());
        assert!(load().unwrap() >= 0.0);
        assert!(own_ticks().is_ok());
    }
}
