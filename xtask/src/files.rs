//! Files that are there whole or not at all.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

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

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

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
