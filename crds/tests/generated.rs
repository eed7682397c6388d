//! The generated CRDs are checked in, current, and small enough for client-side apply.

use std::path::Path;

use strobe_crds::limits::MAX_CRD_BYTES;
use strobe_crds::render::generated_files;

#[test]
fn checked_in_files_are_current() {
    for file in generated_files().unwrap() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated").join(file.name);
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(checked_in == file.text, "{} is not current; run `cargo run -p strobe-crds --example print-crds -- --write`", file.name);
    }
}

#[test]
fn files_stay_below_the_limit() {
    for file in generated_files().unwrap() {
        assert!(file.text.len() < MAX_CRD_BYTES, "{} has {} bytes", file.name, file.text.len());
    }
}

#[test]
fn the_template_has_no_descriptions_and_keeps_unknown_fields() {
    let [_, _, job] = generated_files().unwrap().try_into().unwrap();
    let crd: serde_json::Value = serde_saphyr::from_str(&job.text).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let pod = &schema["properties"]["spec"]["properties"]["template"]["properties"]["spec"];
    assert_eq!(pod["x-kubernetes-preserve-unknown-fields"], true);
    assert_eq!(pod["properties"]["containers"]["maxItems"], 16);
    assert_eq!(count_descriptions(pod), 0);
    let partition = &schema["properties"]["spec"]["properties"]["partition"];
    assert!(partition["description"].as_str().unwrap().contains("Partition"));
}

fn count_descriptions(value: &serde_json::Value) -> usize {
    let own = usize::from(value.get("description").is_some_and(serde_json::Value::is_string));
    let inner: usize = match value {
        serde_json::Value::Object(fields) => fields.values().map(count_descriptions).sum(),
        serde_json::Value::Array(items) => items.iter().map(count_descriptions).sum(),
        _ => 0,
    };
    own + inner
}
