//! Bad input: a clear error with its place before anything starts, exit status 2, and nothing of the good documents is run.

#![allow(clippy::unwrap_used, reason = "what a test relies on fails the test")]

#[path = "support/command.rs"]
mod command;

use command::{Outcome, Scratch, job};

/// What the shell is told after bad input.
const BAD_INPUT: Option<i32> = Some(2);

/// The good document that stands before each bad one: it would leave a file.
fn good() -> String {
    job("good", "touch started", "")
}

/// Runs a file and makes sure that it is refused and that nothing has started.
fn refused(manifests: &str, arguments: &[&str]) -> String {
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", manifests);
    refused_in(&scratch, &[&["jobs.yaml"], arguments].concat())
}

fn refused_in(scratch: &Scratch, arguments: &[&str]) -> String {
    let Outcome { code, stdout, stderr } = scratch.run(arguments);
    assert_eq!((code, stdout.as_str()), (BAD_INPUT, ""), "{stderr}");
    assert!(!scratch.path("started").exists(), "a good document was run: {stderr}");
    scratch.assert_nothing_left();
    stderr
}

/// The good document and a bad one, which has `spec` and stands from line 15 on.
fn with_bad(spec: &str) -> String {
    format!("{}---\n{}", good(), job("bad", "true", spec))
}

fn assert_error(stderr: &str, error: &str) {
    assert_eq!(stderr, format!("error: {error}\n"));
}

#[test]
fn fields_have_their_names_types_and_bounds() {
    for (spec, place) in [
        (
            "ranks: 2",
            "spec.ranks: is not a known field; must be activeDeadlineSeconds, cpusPerRank, launch, managedBy, nodes, partition, paused, \
             priorityClassName, rankContainer, ranksPerNode, restart, suspend, template or ttlSecondsAfterFinished or be removed",
        ),
        ("nodes: two", "spec.nodes: is \"two\"; must be a whole number from 1 to 4096"),
        ("nodes: 0", "spec.nodes: is 0; must be a whole number from 1 to 4096"),
        ("ranksPerNode: 0", "spec.ranksPerNode: is 0; must be a whole number from 1 to 1024"),
        ("cpusPerRank: -1", "spec.cpusPerRank: is -1; must be a whole number from 1 to 1024"),
        ("ranksPerNode: 1025", "spec.ranksPerNode: is 1025; must be a whole number from 1 to 1024"),
        (
            "ranksPerNode: 1024\nnodes: 4096",
            "spec.ranksPerNode: is 1024 on each of 4096 nodes, 4194304 in all; must come to at most 65536 ranks on all nodes together",
        ),
        ("launch: {protocol: pmi9}", "spec.launch.protocol: is \"pmi9\"; must be pmi1, env or none"),
        ("paused: sometimes", "spec.paused: is \"sometimes\"; must be true or false"),
    ] {
        let stderr = refused(&with_bad(spec), &[]);
        assert_error(&stderr, &format!("jobs.yaml: document 2 (ParallelJob \"bad\", line 20): {place}"));
    }
}

#[test]
fn a_gang_fits_its_partition() {
    let place = |line: u32| format!("jobs.yaml: document 2 (ParallelJob \"bad\", line {line}): ");
    let stderr = refused(&with_bad("nodes: 3"), &["--nodes", "2"]);
    assert_error(&stderr, &(place(20) + "spec.nodes: is 3, but partition \"local\" has 2 nodes; must be at most 2"));
    let stderr = refused(&with_bad("ranksPerNode: 2"), &["--cpus-per-node", "1"]);
    let what = "is 2 with 1 CPU a rank, but the nodes of partition \"local\" have 1 CPU; must come to at most 1 CPU on a node";
    assert_error(&stderr, &(place(20) + "spec.ranksPerNode: " + what));
}

#[test]
fn a_name_is_given_once_also_over_two_files() {
    let stderr = refused(&format!("{}---\n{}", good(), good()), &[]);
    let of = "metadata.name: is \"good\", the name of another ParallelJob (jobs.yaml, document 1); must be a name of its own";
    assert_error(&stderr, &format!("jobs.yaml: document 2 (ParallelJob \"good\", line 17): {of}"));
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", &good());
    scratch.write("more.yaml", &good());
    let stderr = refused_in(&scratch, &["jobs.yaml", "more.yaml"]);
    assert_error(&stderr, &format!("more.yaml: document 1 (ParallelJob \"good\", line 4): {of}"));
}

#[test]
fn a_program_is_on_this_machine() {
    let container = "spec.template.spec.containers[0]";
    let scratch = Scratch::new();
    let here = scratch.path("").canonicalize().unwrap();
    for (command, what) in [
        ("[./no-such-program]", format!("command[0]: is \"./no-such-program\", which is not there (from {})", here.display())),
        ("[no-such-program]", "command[0]: is \"no-such-program\", which is in no folder of PATH".to_owned()),
        ("[./jobs.yaml]", format!("command[0]: is \"./jobs.yaml\", which may not be executed (from {})", here.display())),
    ] {
        scratch.write("jobs.yaml", &with_bad("").replace("[/bin/sh, -c, \"true\"]", command));
        let error = format!("{container}.{what}; must name a program of this machine: local mode runs no image");
        assert_error(&refused_in(&scratch, &["jobs.yaml"]), &format!("jobs.yaml: document 2 (ParallelJob \"bad\", line 25): {error}"));
    }
    scratch.write("jobs.yaml", &with_bad("").replace("[/bin/sh, -c, \"true\"]", "[/bin/true]\n          workingDir: /no/such/folder"));
    let error = format!(
        "{container}.workingDir: is \"/no/such/folder\", which is no folder of this machine; must name one: local mode starts the ranks in it"
    );
    assert_error(&refused_in(&scratch, &["jobs.yaml"]), &format!("jobs.yaml: document 2 (ParallelJob \"bad\", line 26): {error}"));
}

#[test]
fn yaml_is_whole() {
    let must = "must be complete, well-formed YAML; the mistake is at this line or just before it";
    let cut = |end: &str| format!("{}---\napiVersion: strobe.dev/v1alpha1\nkind: ParallelJob\n{end}", good());
    let stderr = refused(&cut("metadata:\n  name: \"ba"), &[]);
    assert_error(&stderr, &format!("jobs.yaml: document 2 (line 17): is not readable as YAML (unclosed quote); {must}"));
    let stderr = refused(&cut("metadata: {name: bad\n"), &[]);
    assert_error(&stderr, &format!("jobs.yaml: document 2 (line 16): is not readable as YAML (unclosed bracket '{{'); {must}"));
    // Cut off where it is still YAML: what is missing is named.
    let stderr = refused(&cut("metadata:\n  name: bad\nspec:\n  partition: local\n"), &[]);
    assert_error(&stderr, "jobs.yaml: document 2 (ParallelJob \"bad\", line 19): spec.template: is missing; must be given");
    assert_error(&refused("", &[]), "jobs.yaml: has no documents; must hold Partition and ParallelJob documents");
}

#[test]
fn partitions_are_whole_and_one() {
    let partition = |spec: &str| {
        format!("{}---\napiVersion: strobe.dev/v1alpha1\nkind: Partition\nmetadata:\n  name: local\nspec:\n  {spec}\n", good())
    };
    let place = |line: u32| format!("jobs.yaml: document 2 (Partition \"local\", line {line}): ");
    let stderr = refused(&partition("quantum: 100"), &[]);
    assert_error(
        &stderr,
        &(place(19) + "spec.quantum: is 100; must be a number with a unit (us, ms, s, m, h), such as 10ms, 1.5s or 1m30s"),
    );
    let stderr = refused(&partition("suspicion: 100ms"), &[]);
    assert_error(&stderr, &(place(19) + "spec.suspicion: is 100ms with a heartbeat of 500ms; must be at least two heartbeats"));
    let stderr = refused(&format!("{}---\n{}", good(), job("bad", "true", "").replace("partition: local", "partition: other")), &[]);
    let what =
        "spec.partition: is \"other\", but the first job names \"local\"; must be \"local\": local mode runs one partition at a time";
    assert_error(&stderr, &format!("jobs.yaml: document 2 (ParallelJob \"bad\", line 19): {what}"));
    let alone = "apiVersion: strobe.dev/v1alpha1\nkind: Partition\nmetadata: {name: local}\nspec: {}\n";
    assert_error(
        &refused(alone, &[]),
        "jobs.yaml: holds no ParallelJob, and no other file does; must hold at least one, or nothing would run",
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let stderr = refused(
        &format!("{}---\n{}", with_bad("nodes: 0"), job("worse", "true", "ranks: 1").replace("kind: ParallelJob", "kind: Job")),
        &[],
    );
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("document 2") && lines[1].contains("document 3"), "{stderr}");
}

#[test]
fn a_file_is_there_and_outputs_can_be_written() {
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", &good());
    let stderr = refused_in(&scratch, &["jobs.yaml", "no-such.yaml"]);
    assert_error(
        &stderr,
        "no-such.yaml: cannot be read (No such file or directory (os error 2)); must be a readable file of YAML documents",
    );
    for option in ["--report", "--trace"] {
        let stderr = refused_in(&scratch, &["jobs.yaml", option, "/no/such/file"]);
        assert_error(&stderr, &format!("{option} is /no/such/file, which cannot be written: No such file or directory (os error 2)"));
    }
    let stderr = refused_in(&scratch, &["jobs.yaml", "--logs", "/proc/no-such"]);
    assert_error(&stderr, "cannot make /proc/no-such: No such file or directory (os error 2)");
}

#[test]
fn options_say_what_would_be_right() {
    for (arguments, part) in [
        (
            ["--quantum", "10"],
            "invalid value '10' for '--quantum <TIME>': it must be a number with a unit, such as 10ms, between 1ms and 10s",
        ),
        (
            ["--quantum", "11s"],
            "invalid value '11s' for '--quantum <TIME>': it must be a number with a unit, such as 10ms, between 1ms and 10s",
        ),
        (["--nodes", "0"], "invalid value '0' for '--nodes <NODES>': 0 is not in 1..=64"),
        (["--rows", "17"], "invalid value '17' for '--rows <ROWS>': 17 is not in 1..=16"),
        (["--policy", "batch"], "invalid value 'batch' for '--policy <POLICY>'\n  [possible values: gang, kernel]"),
        (["--output", "xml"], "invalid value 'xml' for '--output <FORMAT>'\n  [possible values: json, yaml]"),
        (["--cpus-per-node", "1000"], "--cpus-per-node is 1000, but this process may use "),
    ] {
        let stderr = refused(&good(), &arguments);
        assert!(stderr.starts_with(&format!("error: {part}")), "{stderr}");
    }
}

#[test]
fn outputs_of_a_run_that_does_not_begin_are_neither_left_nor_emptied() {
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", &good());
    scratch.write("earlier.json", "of an earlier run");
    for report in ["new.json", "earlier.json"] {
        let stderr = refused_in(&scratch, &["jobs.yaml", "--report", report, "--trace", "no/such/folder/trace.json"]);
        assert!(stderr.contains("--trace is no/such/folder/trace.json, which cannot be written"), "{stderr}");
    }
    assert!(!scratch.path("new.json").exists());
    assert_eq!(scratch.read("earlier.json"), "of an earlier run");
}
