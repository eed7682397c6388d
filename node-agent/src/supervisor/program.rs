//! Finds the ranks' program before anything is forked, so that a missing one is told at once.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD},
    io::Errno,
};

use crate::supervisor_protocol::LaunchError;

/// Looks where execve(2) will look: at the path itself if it has a slash, else along `search_path`.
///
/// # Errors
/// [`LaunchError::NotFound`], or [`LaunchError::PermissionDenied`] where a file of that name exists but may
/// not be executed.
pub fn find(program: &OsStr, search_path: Option<OsString>) -> Result<PathBuf, LaunchError> {
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return check(&path).map(|()| path);
    }
    let mut answer = LaunchError::NotFound;
    for directory in std::env::split_paths(&search_path.unwrap_or_else(|| OsString::from("/bin:/usr/bin"))) {
        let path = directory.join(program);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(LaunchError::NotFound) => {}
            Err(error) => answer = error,
        }
    }
    Err(answer)
}

fn check(path: &Path) -> Result<(), LaunchError> {
    if path.is_dir() {
        return Err(LaunchError::PermissionDenied);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
        .or_else(|error| {
            // Old kernels refuse the flag; without set-user-ID the real user is the effective one.
            if error == Errno::INVAL || error == Errno::NOSYS { rustix::fs::access(path, Access::EXEC_OK) } else { Err(error) }
        })
        .map_err(|error| LaunchError::from_error_number(error.raw_os_error()))
}
