//! Where the programs of Kubernetes are: built and named to the tests by `cargo xtask test`.

use std::env;
use std::io::Write;
use std::path::PathBuf;

/// Names the folders with the programs, separated as in PATH.
pub const KUBERNETES: &str = "STROBE_KUBERNETES";

/// Set where a test that leaves something out fails.
const NO_SKIP: &str = "STROBE_NO_SKIP";

/// The path of a program, from the folders that [`KUBERNETES`] names.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let folders = env::var_os(KUBERNETES)?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The path of a program that a user has too: from those folders, or else as the shell finds it.
#[must_use]
pub fn find_or_installed(program: &str) -> Option<PathBuf> {
    let installed = || env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file());
    find(program).or_else(installed)
}

/// Says, past the test harness's capture, that a test leaves something out, and why.
///
/// # Panics
/// Where nothing may be left out.
pub fn left_out(test: &str, why: &str) {
    assert!(env::var_os(NO_SKIP).is_none(), "{test}: {why}, and {NO_SKIP} is set");
    let line = format!("SKIPPED: {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
}
