//! What the laboratory is made of, kept in the user's cache folder: each output under a name that says of what it was made, complete or
//! not there at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::limits::{BUILD_BYTES_FREE, KEY_DIGITS};
use crate::lock::Lock;
use crate::room::check_space;
use crate::tool::cache_folder;

/// Where outputs are made before they are complete, and what only their making needs.
const MAKING: &str = "making";

/// The folder of outputs.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

// === impl Store ===

impl Store {
    /// The store of this user, made if need be.
    ///
    /// # Errors
    /// No cache folder, or it cannot be written to.
    pub(crate) fn open() -> Result<Self> {
        Self::at(cache_folder()?.join("lab"))
    }

    pub(super) fn at(root: PathBuf) -> Result<Self> {
        let making = root.join(MAKING);
        fs::create_dir_all(&making).with_context(|| format!("make {}", making.display()))?;
        Ok(Self { root })
    }

    /// Keeps other recipes of this user out of the store while it is changed; waits while one of them does so.
    ///
    /// # Errors
    /// The lock file cannot be written.
    pub(crate) fn lock(&self) -> Result<Lock> {
        Lock::take(&self.root)
    }

    /// Where the output of this name and recipe is, or will be.
    pub(crate) fn place(&self, name: &str, recipe: &str) -> PathBuf {
        let key = format!("{:x}", Sha256::digest(recipe));
        self.root.join(format!("{name}-{}", &key[..KEY_DIGITS]))
    }

    /// The output of this name and recipe: the kept one, or made now in an empty folder that takes its place when it is complete.
    ///
    /// # Errors
    /// Those of `make`; no space.
    pub(crate) fn output(&self, _lock: &Lock, name: &str, recipe: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let place = self.place(name, recipe);
        if place.is_dir() {
            return Ok(place);
        }
        check_space(&self.root, BUILD_BYTES_FREE, "a build")?;
        let making = self.making(name);
        remove(&making)?;
        fs::create_dir_all(&making).with_context(|| format!("make {}", making.display()))?;
        make(&making)?;
        fs::rename(&making, &place).with_context(|| format!("move {} to {}", making.display(), place.display()))?;
        self.remove_others(name, &place)?;
        Ok(place)
    }

    /// Removes the outputs of this name by other recipes, or the store would grow with every change.
    fn remove_others(&self, name: &str, place: &Path) -> Result<()> {
        for entry in fs::read_dir(&self.root).with_context(|| format!("read {}", self.root.display()))? {
            let path = entry.with_context(|| format!("read {}", self.root.display()))?.path();
            let key = path.file_name().and_then(|file| file.to_str()?.strip_prefix(name)?.strip_prefix('-'));
            let is_key = |key: &str| key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit());
            if key.is_some_and(is_key) && path != place {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// The folder of what runs.
    pub(crate) fn running(&self) -> PathBuf {
        self.root.join("running")
    }

    /// The container engine's images and containers: made from outputs, and made anew when they are gone.
    pub(crate) fn engine_data(&self) -> PathBuf {
        self.root.join("engine")
    }

    /// A folder for what is kept until all is made, and no longer.
    pub(crate) fn making(&self, name: &str) -> PathBuf {
        self.root.join(MAKING).join(name)
    }

    /// Removes what only the making of outputs needed.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn clear_making(&self, _lock: &Lock) -> Result<()> {
        remove(&self.root.join(MAKING))
    }
}

/// Removes a folder that may not be there.
///
/// # Errors
/// It is there and cannot be removed.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", folder.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("lab")).unwrap();
        (folder, store)
    }

    #[test]
    fn an_output_is_made_once_and_again_for_another_recipe_which_replaces_it() {
        let (_folder, store) = store();
        let lock = store.lock().unwrap();
        let made = |recipe: &str| {
            let mut made = false;
            let place = store.output(&lock, "thing-1", recipe, |folder| {
                made = true;
                fs::write(folder.join("file"), recipe).context("write")
            });
            assert_eq!(fs::read_to_string(place.unwrap().join("file")).unwrap(), recipe);
            made
        };
        assert_eq!([made("as before"), made("as before"), made("otherwise"), made("as before")], [true, false, true, true]);
        let other = store.output(&lock, "thing-1-part", "recipe", |_| Ok(())).unwrap();
        assert!(made("once more") && other.is_dir(), "the output of another name stays");
    }

    #[test]
    fn a_name_ends_with_the_beginning_of_the_recipes_digest() {
        let (folder, store) = store();
        assert_eq!(store.place("thing-1", "").strip_prefix(folder.path()).unwrap(), Path::new("lab/thing-1-e3b0c44298fc"));
    }

    #[test]
    fn what_was_half_made_is_made_anew() {
        let (_folder, store) = store();
        let lock = store.lock().unwrap();
        let failed = store.output(&lock, "thing-1", "recipe", |folder| {
            fs::write(folder.join("half"), "").context("write")?;
            bail!("no power")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no power");
        let place = store.output(&lock, "thing-1", "recipe", |folder| fs::write(folder.join("whole"), "").context("write")).unwrap();
        let names: Vec<_> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["whole"]);
    }
}
