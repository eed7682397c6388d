//! One recipe at a time in a folder of this user's.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

/// The file in such a folder that is locked.
pub(crate) const LOCK: &str = "lock";

/// Another recipe that changes the folder waits while this lives.
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

// === impl Lock ===

impl Lock {
    /// Keeps other recipes out of a folder; waits while one of them is in it.
    ///
    /// # Errors
    /// The lock file cannot be written.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let file = File::create(&path).with_context(|| format!("write {}", path.display()))?;
        if file.try_lock().is_err() {
            eprintln!("waiting for another recipe that changes {}", folder.display());
            file.lock().with_context(|| format!("lock {}", path.display()))?;
        }
        Ok(Self(file))
    }
}
