//! Tests of one cluster run side by side, in several processes too, but for those that restart a node's services.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

/// A lock on the cluster, given up when this value goes.
pub(super) struct Lock(#[expect(dead_code, reason = "closing it gives the lock up")] File);

// === impl Lock ===

impl Lock {
    /// Beside others of its kind.
    pub(super) fn shared(kubeconfig: &Path) -> Result<Self> {
        let file = open(kubeconfig)?;
        file.lock_shared().context("wait for the tests that need the cluster alone")?;
        Ok(Self(file))
    }

    /// Alone.
    pub(super) fn exclusive(kubeconfig: &Path) -> Result<Self> {
        let file = open(kubeconfig)?;
        file.lock().context("wait for the other tests of the cluster")?;
        Ok(Self(file))
    }
}

fn open(kubeconfig: &Path) -> Result<File> {
    let path = kubeconfig.with_extension("tests");
    File::options().create(true).append(true).open(&path).with_context(|| format!("open {}", path.display()))
}
