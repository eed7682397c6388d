//! Lives of the agent on a node, each greater than all before.

use std::{
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use strobe_core::model::AgentIncarnation;

use super::NodeError;
use crate::agent::{FilesError, write_whole};

/// The file in the agent's folder.
const FILE: &str = "incarnation";

/// The number of a new life, written down before it is used: the clock in microseconds, since a boot takes the file, or one more than
/// the last where the clock was set back.
///
/// # Errors
/// [`NodeError::Incarnation`], [`NodeError::BadIncarnation`].
pub(super) fn next(directory: &Path) -> Result<AgentIncarnation, NodeError> {
    fs::create_dir_all(directory).map_err(|source| FilesError::Access { operation: "make", path: directory.to_owned(), source })?;
    let path = directory.join(FILE);
    let last: u64 = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| NodeError::BadIncarnation { path: path.clone() })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(source) => return Err(FilesError::Access { operation: "read", path, source }.into()),
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let next = last.saturating_add(1).max(clock);
    write_whole(&path, next.to_string().as_bytes())?;
    Ok(AgentIncarnation(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_life_is_greater_than_those_before_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let first = next(folder.path()).unwrap();
        assert!(next(folder.path()).unwrap() > first);
        let far = u64::MAX - 7;
        fs::write(folder.path().join(FILE), far.to_string()).unwrap();
        assert_eq!(next(folder.path()).unwrap(), AgentIncarnation(far + 1));
        fs::write(folder.path().join(FILE), "").unwrap();
        assert!(matches!(next(folder.path()), Err(NodeError::BadIncarnation { .. })));
    }
}
