//! Folders of files of ours that go into what is built: their content as a digest, and a copy of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::files::beneath;

/// The digest of all files beneath a folder: their names, modes and contents.
///
/// # Errors
/// One cannot be read.
pub(super) fn digest(folder: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    for file in beneath(folder)? {
        let path = folder.join(&file);
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        digest.update(format!("{} {} {:o}\n", file.display(), content.len(), mode(&path)?));
        digest.update(content);
    }
    Ok(format!("{:x}", digest.finalize()))
}

/// Copies all files beneath a folder into another, with their modes.
///
/// # Errors
/// One cannot be read or written.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    for file in beneath(from)? {
        let (source, target) = (from.join(&file), to.join(&file));
        let parent = target.parent().expect("a file lies in a folder");
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        fs::copy(&source, &target).with_context(|| format!("copy {} to {}", source.display(), target.display()))?;
    }
    Ok(())
}

fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    // Whether it can be run is all that git keeps.
    let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    Ok(metadata.permissions().mode() & 0o111)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_digest_and_a_change_another() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(one.path().join("a/b")).unwrap();
        fs::write(one.path().join("a/b/c"), "text").unwrap();
        fs::write(one.path().join("d"), "").unwrap();
        copy(one.path(), two.path()).unwrap();
        let before = digest(one.path()).unwrap();
        assert_eq!(before, digest(two.path()).unwrap());
        fs::rename(two.path().join("d"), two.path().join("e")).unwrap();
        assert_ne!(before, digest(two.path()).unwrap());
    }
}
