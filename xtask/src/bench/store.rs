//! Raw results, one line a cell, written as soon as the cell has ended: an interrupted measurement goes on where it was.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

const FILE: &str = "records.jsonl";

/// The file of a measurement, and what is in it: a header that all records share, and the records.
#[derive(Debug)]
pub(super) struct Store<Header, Record> {
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

// === impl Store ===

impl<Header, Record> Store<Header, Record>
where
    Header: DeserializeOwned + Serialize,
    Record: DeserializeOwned + Serialize,
{
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
fn parse<Header: DeserializeOwned, Record: DeserializeOwned>(text: &str) -> Result<(Header, Vec<Record>)> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let header = serde_json::from_str(lines.next().context("the file has no header")?).context("read the header")?;
    let records = lines.filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).context("read a record"));
    Ok((header, records.collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::<String, u32>::open(folder.path()).unwrap().is_none());
        let mut store = Store::create(folder.path(), "header".to_owned()).unwrap();
        store.add(7).unwrap();
        drop(store);
        let mut store = Store::<String, u32>::open(folder.path()).unwrap().unwrap();
        store.add(8).unwrap();
        let store = Store::<String, u32>::open(folder.path()).unwrap().unwrap();
        assert_eq!((store.header.as_str(), store.records), ("header", vec![7, 8]));
        Store::<String, u32>::remove(folder.path()).unwrap();
        Store::<String, u32>::remove(folder.path()).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_count_and_damage_is_said() {
        let read = parse::<String, Vec<u32>>;
        assert_eq!(read("\"header\"\n[1, 2]\n[3, 4").unwrap().1, [[1, 2]]);
        assert!(read("\"header\"\n[3, 4\n").is_err());
        assert!(read("").is_err());
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
