//! Files in the stores of all nodes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    COMPLETED, FAILED, INTERRUPTED,
    command::{Outcome, PATIENCE, Scratch, outcome},
    number, text,
};

const BAD_INPUT: Option<i32> = Some(2);

/// One part and a bit.
const LENGTH: usize = (16 << 20) + 1;

fn stage(scratch: &Scratch, arguments: &[&str]) -> Outcome {
    outcome(scratch.local("stage", arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_in_every_store_and_its_checksum_is_told() {
    let scratch = Scratch::new();
    let content: Vec<u8> = (0..LENGTH).map(|at| (at % 249) as u8).collect();
    fs::write(scratch.path("program"), &content).unwrap();
    fs::set_permissions(scratch.path("program"), fs::Permissions::from_mode(0o755)).unwrap();
    let told = stage(&scratch, &["program", "--to", "stores", "--nodes", "3", "--output", "json"]);
    assert_eq!(told.code, COMPLETED, "{told:?}");
    let report: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((text(&report, "/name"), number(&report, "/bytes"), number(&report, "/nodes")), ("program", LENGTH as f64, 3.0));
    assert_eq!(text(&report, "/sha256"), "3cd11a39836b37bb0ca09a638ae52f4a2266270877d7d75c7cdc5c2217c1beea");
    for node in 0..3 {
        let file = scratch.path(&format!("stores/node-{node}/program"));
        assert_eq!(text(&report, &format!("/files/{node}")), file.display().to_string());
        assert!(fs::read(&file).unwrap() == content && fs::metadata(&file).unwrap().permissions().mode() & 0o777 == 0o755);
    }
    // Again, under another name, for people.
    let told = stage(&scratch, &["program", "--to", "stores", "--name", "other"]);
    assert!(told.code == COMPLETED && told.stdout.starts_with(&format!("other: {LENGTH} bytes to 2 nodes in ")), "{told:?}");
    assert_eq!(names(&scratch.path("stores/node-0")), ["other", "program"]);
    scratch.assert_nothing_left();
}

#[test]
fn a_node_that_cannot_keep_it_is_named_and_the_logs_stay() {
    let scratch = Scratch::new();
    scratch.write("file", "bytes");
    fs::create_dir(scratch.path("stores")).unwrap();
    scratch.write("stores/node-1", "no folder");
    let told = stage(&scratch, &["file", "--to", "stores"]);
    assert_eq!(told.code, FAILED, "{told:?}");
    assert_eq!(told.stdout, "file: not given to 2 nodes: node 1 has not kept it; its agent's log says why\n");
    let logs = told.stderr.lines().find_map(|line| line.strip_prefix("note: the logs are in ")).unwrap();
    let log = fs::read_to_string(Path::new(logs).join("agent-1.log")).unwrap();
    assert!(log.contains("a file is not kept"), "{log}");
}

#[test]
fn what_is_no_file_is_refused_before_anything_starts() {
    let scratch = Scratch::new();
    scratch.write("file", "bytes");
    for (arguments, why) in [
        (&["nowhere"][..], "error: nowhere cannot be used: No such file or directory (os error 2)\n"),
        (&["."][..], "error: . cannot be used: it must be a regular file\n"),
        (
            &["file", "--name", "a/b"][..],
            "error: the stores cannot have a file named \"a/b\": --name must be a name without slashes, control characters and a leading dot, of at most 200 bytes\n",
        ),
    ] {
        let told = stage(&scratch, &[arguments, &["--to", "stores"]].concat());
        assert_eq!((told.code, told.stdout.as_str(), told.stderr.as_str()), (BAD_INPUT, "", why));
    }
    assert!(!scratch.path("stores").exists());
    scratch.assert_nothing_left();
}

/// The file has holes only, and is far larger than what can be given meanwhile.
#[test]
fn an_interrupt_leaves_no_part_of_it() {
    let scratch = Scratch::new();
    fs::File::create(scratch.path("large")).unwrap().set_len(64 << 30).unwrap();
    let begun = scratch.local("stage", &["large", "--to", "stores"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (pid, store) = (Pid::from_child(&begun), scratch.path("stores/node-1"));
    let deadline = Instant::now() + PATIENCE;
    while !store.exists() || names(&store).is_empty() {
        assert!(Instant::now() < deadline, "nothing of it came");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(pid, Signal::INT).unwrap();
    let told = outcome(begun);
    assert_eq!((told.code, told.stdout.as_str()), (INTERRUPTED, "large: not given to 2 nodes: it was interrupted\n"), "{told:?}");
    assert_eq!((names(&scratch.path("stores/node-0")), names(&scratch.path("stores/node-1"))), (Vec::new(), Vec::new()));
    scratch.assert_nothing_left();
}
