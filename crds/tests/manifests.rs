//! Golden tests: good manifests are taken, bad ones are refused with exactly the message in the file beside them.
//!
//! With `STROBE_BLESS=1` in the environment the messages are written instead of compared.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

use std::fs;
use std::path::{Path, PathBuf};

use strobe_crds::manifest::{self, Document, ManifestError, Object};
use strobe_crds::validate::{self, ValidManifest};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn read(file: &Path) -> Result<(Vec<Document>, ValidManifest), ManifestError> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let documents = manifest::parse(name, &fs::read_to_string(file).unwrap())?;
    let valid = validate::all(&documents)?;
    Ok((documents, valid))
}

#[test]
fn good_manifests_are_taken() {
    for file in files("good") {
        if let Err(error) = read(&file) {
            panic!("{}:\n{error}", file.display());
        }
    }
}

#[test]
fn bad_manifests_are_refused_with_their_message() {
    for file in files("bad") {
        let error = read(&file).expect_err(&file.display().to_string());
        let expected_file = file.with_extension("txt");
        let message = format!("{error}\n");
        if std::env::var_os("STROBE_BLESS").is_some() {
            fs::write(&expected_file, message).unwrap();
        } else {
            let expected = fs::read_to_string(&expected_file).unwrap_or_default();
            assert_eq!(message, expected, "{}", expected_file.display());
        }
    }
}

#[test]
fn fields_and_defaults_arrive() {
    let (documents, valid) = read(&files("good").pop().unwrap()).unwrap();
    assert_eq!(documents.len(), 3);
    let partition = &valid.partitions[0];
    assert_eq!((partition.name.as_str(), partition.rows, partition.quantum.as_millis()), ("main", 2, 10));
    assert_eq!(partition.cpus.as_ref().unwrap().len(), 5);
    assert_eq!((partition.watchdog.as_secs(), partition.placement_timeout.as_secs()), (1, 90));
    let [sor, tsp] = valid.jobs.as_slice() else { panic!("{:?}", valid.jobs) };
    assert_eq!((sor.ranks(), sor.restart_limit, sor.restart_on.len()), (4, 3, 2));
    assert_eq!(sor.program.command, ["/opt/sor", "--size", "512"]);
    assert_eq!(sor.program.environment, [("OMP_NUM_THREADS".to_owned(), "1".to_owned())]);
    assert_eq!(sor.termination_grace.as_secs(), 5);
    assert_eq!((tsp.ranks(), tsp.restart_limit, tsp.termination_grace), (1, 0, validate::DEFAULT_GRACE));
}

#[test]
fn what_local_mode_does_not_use_is_listed() {
    let (documents, _) = read(&files("good").pop().unwrap()).unwrap();
    let Object::ParallelJob(job) = &documents[1].object else { panic!("{documents:?}") };
    assert_eq!(
        manifest::fields_not_used(job),
        [
            "spec.priorityClassName",
            "spec.ttlSecondsAfterFinished",
            "spec.managedBy",
            "spec.template.spec.volumes",
            "spec.template.spec.containers[0].image",
            "spec.template.spec.containers[0].resources",
            "spec.template.spec.containers[0].env[1].valueFrom",
        ]
    );
    let Object::ParallelJob(plain) = &documents[2].object else { panic!("{documents:?}") };
    assert_eq!(manifest::fields_not_used(plain), Vec::<String>::new());
}

#[test]
fn without_a_partition_the_defaults_are_assumed() {
    let (_, valid) = read(&files("good").into_iter().next().unwrap()).unwrap();
    assert_eq!(valid.partitions.len(), 1);
    assert_eq!((valid.partitions[0].name.as_str(), valid.partitions[0].rows), ("anything", 4));
    assert_eq!(valid.jobs[0].restart_on.len(), 1);
}

#[test]
fn hostile_files_are_refused_at_their_limits() {
    let deep = "[".repeat(100);
    let mut aliases = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, inner) in ["b", "c", "d", "e", "f"].into_iter().zip(["a", "b", "c", "d", "e"]) {
        let list = vec![format!("*{inner}"); 10].join(", ");
        aliases += &format!("{name}: &{name} [{list}]\n");
    }
    let large = "#".repeat(5 * 1024 * 1024);
    for (text, expected) in [
        (deep.as_str(), "is not readable as YAML"),
        (aliases.as_str(), "is not readable as YAML"),
        (large.as_str(), "has 5242880 bytes; must have at most 4194304"),
        ("\u{0}", "hostile.yaml"),
        ("kind: {a: b}\napiVersion: strobe.dev/v1alpha1", "kind: is a set of fields; must be Partition or ParallelJob"),
    ] {
        let error = manifest::parse("hostile.yaml", text).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn many_problems_are_counted() {
    let fields: String = (0..30).map(|index| format!("  unknown{index}: 1\n")).collect();
    let text = format!("apiVersion: strobe.dev/v1alpha1\nkind: Partition\nmetadata: {{name: main}}\nspec:\n{fields}");
    let error = manifest::parse("many.yaml", &text).unwrap_err();
    assert_eq!((error.problems.len(), error.more), (20, 10));
    assert!(error.to_string().ends_with("\nand 10 more"));
}

#[test]
fn a_file_cut_off_anywhere_is_answered() {
    let text = fs::read_to_string(files("good").pop().unwrap()).unwrap();
    let whole = manifest::parse("cut.yaml", &text).unwrap().len();
    let mut refused = 0;
    for (end, _) in text.char_indices() {
        match manifest::parse("cut.yaml", &text[..end]) {
            Ok(documents) => assert!(documents.len() <= whole, "{end}"),
            Err(error) => {
                refused += 1;
                assert!(error.problems.iter().all(|problem| !problem.what.is_empty() && !problem.right.is_empty()), "{error}");
            }
        }
    }
    assert!(refused > text.len() / 2, "{refused} of {}", text.len());
}
