//! The whole program with a stand-in for cargo: what a stage leaves behind fails the recipe, and does not outlive it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs `xtask lint` with a script in cargo's place.
fn lint_with(folder: &Path, script: &str) -> Output {
    let cargo = folder.join("cargo");
    fs::write(&cargo, format!("#!/bin/sh\n{script}\n")).expect("a new folder takes a file");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    Command::new(env!("CARGO_BIN_EXE_xtask")).arg("lint").env("CARGO", &cargo).output().expect("xtask has been built")
}

fn is_live(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

#[test]
fn a_clean_recipe_passes_and_closes_with_the_counts() {
    let folder = tempfile::tempdir().unwrap();
    let output = lint_with(folder.path(), "echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out'");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().last(), Some("6 passed, 0 failed, 3 skipped"), "three stages, each with the same closing line");
}

#[test]
fn a_detached_process_is_found_ended_and_fails_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    // In a session of its own, with nothing of the stage's but its ancestry, and only in the first of the stages.
    let detach = "setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $! > pid.new && mv pid.new";
    let script = format!("test \"$1\" = fmt || exit 0\ncd {}\n{detach} {}", folder.path().display(), pid_file.display());
    let output = lint_with(folder.path(), &script);
    let text = String::from_utf8(output.stdout).unwrap();
    let pid = fs::read_to_string(pid_file).unwrap();
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(&format!("LEFT BEHIND by stage format: process {} (sleep)", pid.trim())), "{text}");
    assert_eq!(text.lines().last(), Some("0 passed, 1 failed, 0 skipped"));
    assert!(!is_live(pid.trim()), "process {pid} lives");
}

#[test]
fn a_failing_stage_does_not_hide_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let output = lint_with(folder.path(), "test \"$1\" != fmt");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success());
    assert!(text.contains("=== documentation"), "{text}");
    assert_eq!(text.lines().last(), Some("0 passed, 1 failed, 0 skipped"));
}

#[test]
fn an_enclosed_program_is_killed_with_the_recipe_that_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    // The shell stands for the recipe, and is killed as one may be.
    let program = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", pid_file.display());
    let script = format!("\"{}\" enclosed --parent $$ -- sh -c '{program}' & wait", env!("CARGO_BIN_EXE_xtask"));
    let mut recipe = Command::new("sh").args(["-c", &script]).spawn().expect("a shell");
    eventually(|| pid_file.exists());
    recipe.kill().expect("it is a child");
    recipe.wait().expect("it is a child");
    let pid = fs::read_to_string(pid_file).unwrap();
    eventually(|| !is_live(pid.trim()));
}

#[test]
fn a_program_whose_recipe_has_ended_already_is_not_begun() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["enclosed", "--parent", "1", "--", "echo", "begun"]).output();
    let output = output.expect("xtask has been built");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

/// Waits for what no descriptor of ours tells of.
fn eventually(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not in half a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}
