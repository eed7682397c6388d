//! Files as several recipes handle them: what lies beneath a folder, and files that are there whole or not at all.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// The files beneath a folder, relative to it, in one order everywhere.
///
/// # Errors
/// A folder cannot be read.
pub(crate) fn beneath(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let folder = root.join(&below);
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let entry = entry.with_context(|| format!("read {}", folder.display()))?;
            let kind = entry.file_type().with_context(|| format!("look at {}", entry.path().display()))?;
            let list = if kind.is_dir() { &mut folders } else { &mut files };
            list.push(below.join(entry.file_name()));
        }
    }
    files.sort();
    Ok(files)
}

/// Has a file written beside its place, and moves it there: a reader finds the one of before or this one, also when this recipe is killed.
/// Gives what `write` gives.
///
/// # Errors
/// Those of `write`; or the file cannot be moved.
pub(crate) fn replace<T>(file: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let fresh = file.with_extension("new");
    let written = write(&fresh)?;
    fs::rename(&fresh, file).with_context(|| format!("rename {} to {}", fresh.display(), file.display()))?;
    Ok(written)
}

/// [`replace`]s a file by a value as JSON.
///
/// # Errors
/// The value is no JSON, or the file cannot be written.
pub(crate) fn replace_json(file: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).with_context(|| format!("write down as JSON for {}", file.display()))?;
    replace(file, |fresh| fs::write(fresh, text).with_context(|| format!("write {}", fresh.display())))
}

/// Writes a file that proves who its user is: nobody else may read it.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_private(file: &Path, content: &[u8]) -> Result<()> {
    let context = || format!("write {}", file.display());
    let mut kept = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(file).with_context(context)?;
    kept.write_all(content).with_context(context)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn files_are_found_at_every_depth_and_sorted() {
        let root = tempfile::tempdir().unwrap();
        for file in ["b", "a/d/e", "a/c"] {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        assert_eq!(beneath(root.path()).unwrap(), ["a/c", "a/d/e", "b"].map(PathBuf::from));
    }

    #[test]
    fn a_file_that_was_half_written_takes_no_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        replace_json(&file, &1).unwrap();
        let failed: Result<()> = replace(&file, |fresh| {
            fs::write(fresh, "half").unwrap();
            bail!("no power")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no power");
        assert_eq!(fs::read_to_string(&file).unwrap(), "1");
        replace_json(&file, &2).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "2");
    }
}
