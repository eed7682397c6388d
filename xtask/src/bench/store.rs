//! Raw results, one line a cell, written as soon as the cell has ended: an interrupted measurement goes on where it was.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::machine::Machine;
use super::processor_time::Noise;
use super::report::{Distributions, Report};

const FILE: &str = "records.jsonl";

/// What all records of a measurement share.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    /// Fingerprint of the measured programs.
    pub(super) programs: String,
    pub(super) seed: u64,
    pub(super) work_seconds: f64,
    pub(super) loops_per_us: f64,
    pub(super) machine: Machine,
    /// No measurement.
    pub(super) quick: bool,
}

/// What one cell gave.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// From 0.
    pub(super) round: u32,
    pub(super) cell: Cell,
    pub(super) report: Report,
    pub(super) noise: Noise,
    /// Of a traced cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) distributions: Option<Distributions>,
    /// Of a start: from the submission to the first instruction of the first rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_instruction_ms: Option<f64>,
}

/// The file of a measurement, and what is in it.
#[derive(Debug)]
pub(super) struct Store {
    file: File,
    pub(super) header: Header,
    pub(super) records: Vec<Record>,
}

/// Tells one build of the programs from another.
///
/// # Errors
/// One of them cannot be read.
pub(super) fn fingerprint<'a>(programs: impl IntoIterator<Item = &'a PathBuf>) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for program in programs {
        fs::read(program).with_context(|| format!("read {}", program.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

// === impl Record ===

impl Record {
    /// Its most interesting figures.
    pub(super) fn line(&self) -> String {
        let strobes = &self.report.strobes;
        let span = self.report.span_seconds().map_or_else(|error| format!("{error:#}"), |span| format!("{span:.3} s"));
        let first = self.first_instruction_ms.map_or_else(String::new, |first| format!(", first instruction after {first:.1} ms"));
        let switches = match self.cell {
            Cell::Together { .. } | Cell::Traced { .. } => {
                format!(
                    ", switch p50 {:.0} p99 {:.0} us, skew p99 {:.0} us",
                    strobes.switch_micros.p50, strobes.switch_micros.p99, strobes.skew_micros.p99
                )
            }
            Cell::Alone { .. } | Cell::Start { .. } | Cell::Rest { .. } => String::new(),
        };
        let others = self.noise.during_percent();
        let warning = if self.noise.is_disturbed() { format!("; DISTURBED: others used {others:.0} % of the CPUs") } else { String::new() };
        format!("{span}{first}{switches}{warning}")
    }
}

// === impl Store ===

impl Store {
    /// Opens what was measured into a folder; nothing when there is nothing.
    ///
    /// # Errors
    /// The file cannot be read, or is not one of ours.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let (header, records) = parse(&text).with_context(|| format!("read {}; begin anew with --fresh", path.display()))?;
        let file = OpenOptions::new().append(true).open(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Some(Self { file, header, records }))
    }

    /// Begins a measurement.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn create(folder: &Path, header: Header) -> Result<Self> {
        let path = folder.join(FILE);
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        let mut store = Self { file, header, records: Vec::new() };
        store.write(&serde_json::to_string(&store.header)?)?;
        Ok(store)
    }

    /// Forgets what was measured.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub(super) fn remove(folder: &Path) -> Result<()> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", folder.display())),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Adds a record, in the file too.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add(&mut self, record: Record) -> Result<()> {
        self.write(&serde_json::to_string(&record)?)?;
        self.records.push(record);
        Ok(())
    }

    fn write(&mut self, line: &str) -> Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes()).context("write the raw results")
    }
}

/// The first line is the header; the last one may have been cut off by an interrupt, and then its cell is run again.
fn parse(text: &str) -> Result<(Header, Vec<Record>)> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let header = serde_json::from_str(lines.next().context("the file has no header")?).context("read the header")?;
    let records = lines.filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).context("read a record"));
    Ok((header, records.collect::<Result<_>>()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::report::tests::report;
    use super::*;

    pub(in super::super) fn header() -> Header {
        let machine = Machine { processor: "a processor".to_owned(), cores: 2, ..Machine::default() };
        Header { programs: "f00".to_owned(), seed: 1, work_seconds: 2.0, loops_per_us: 740.0, machine, quick: false }
    }

    /// A record of a run without noise.
    pub(in super::super) fn record(round: u32, cell: Cell, run_seconds: f64) -> Record {
        let report = report(&[(50.0, run_seconds)], 70.0);
        Record { round, cell, report, noise: Noise::default(), distributions: None, first_instruction_ms: None }
    }

    #[test]
    fn records_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::open(folder.path()).unwrap().is_none());
        let mut store = Store::create(folder.path(), header()).unwrap();
        store.add(record(0, Cell::Start { number: 1 }, 2.0)).unwrap();
        drop(store);
        let mut store = Store::open(folder.path()).unwrap().unwrap();
        store.add(record(1, Cell::Start { number: 0 }, 2.0)).unwrap();
        let store = Store::open(folder.path()).unwrap().unwrap();
        assert_eq!(store.header, header());
        assert_eq!(store.records.iter().map(|record| record.round).collect::<Vec<_>>(), [0, 1]);
        Store::remove(folder.path()).unwrap();
        Store::remove(folder.path()).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_count_and_damage_is_said() {
        let header = serde_json::to_string(&header()).unwrap();
        let line = serde_json::to_string(&record(0, Cell::Start { number: 1 }, 2.0)).unwrap();
        let text = format!("{header}\n{line}\n{}", &line[..40]);
        assert_eq!(parse(&text).unwrap().1.len(), 1);
        assert!(parse(&format!("{header}\n{}\n", &line[..40])).is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn another_build_has_another_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&paths[0], "one").unwrap();
        fs::write(&paths[1], "two").unwrap();
        let first = fingerprint(&paths).unwrap();
        assert_eq!(fingerprint(&paths).unwrap(), first);
        fs::write(&paths[1], "three").unwrap();
        assert_ne!(fingerprint(&paths).unwrap(), first);
    }
}
