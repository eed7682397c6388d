//! What the generated schemas need beyond the derives: the root types, the rules, bounds on lists that CEL walks, and
//! a pod template without descriptions.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::limits::{MAX_COMMAND_WORDS, MAX_CONDITIONS, MAX_CONTAINERS, MAX_LABEL_LENGTH, MAX_SELECTOR_LABELS};
use crate::parallel_job::{ParallelJob, ParallelJobSpec, ParallelJobStatus};
use crate::partition::{Partition, PartitionSpec, PartitionStatus};
use crate::partition_node::{PartitionNode, PartitionNodeSpec, PartitionNodeStatus};
use crate::rules::parallel_job::ParallelJobRule;
use crate::rules::partition::PartitionRule;
use crate::rules::{CelRule, Scope};

impl JsonSchema for ParallelJob {
    fn schema_name() -> Cow<'static, str> {
        "ParallelJob".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (spec, status) = (generator.subschema_for::<ParallelJobSpec>(), generator.subschema_for::<ParallelJobStatus>());
        let description = "A parallel job: its ranks run, stop and end together, as one gang, on all their nodes at once.";
        let rules = validations(ParallelJobRule::ALL.iter().map(|rule| rule.cel()), Scope::Object);
        root(description, [spec, status], Some(rules))
    }
}

impl JsonSchema for Partition {
    fn schema_name() -> Cow<'static, str> {
        "Partition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (spec, status) = (generator.subschema_for::<PartitionSpec>(), generator.subschema_for::<PartitionStatus>());
        let rules = validations(PartitionRule::ALL.iter().map(|rule| rule.cel()), Scope::Object);
        root("A set of nodes that is scheduled as one machine, to the beat of one strobe.", [spec, status], Some(rules))
    }
}

impl JsonSchema for PartitionNode {
    fn schema_name() -> Cow<'static, str> {
        "PartitionNode".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (spec, status) = (generator.subschema_for::<PartitionNodeSpec>(), generator.subschema_for::<PartitionNodeStatus>());
        root("A node of a partition as its authority sees it, named as the node. Written by the operator.", [spec, status], None)
    }
}

/// The schema of a kind, fit for the API server.
fn root(description: &str, [spec, status]: [Schema; 2], rules: Option<Value>) -> Schema {
    let mut schema = json_schema!({
        "type": "object",
        "description": description,
        "properties": { "metadata": { "type": "object" }, "spec": spec, "status": status },
        "required": ["spec"],
    });
    if let Some(rules) = rules {
        schema.insert("x-kubernetes-validations".to_owned(), rules);
    }
    schema.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(tidy);
    schema
}

/// Adds the rules that are evaluated on the spec of a job.
pub(crate) fn attach_parallel_job_rules(schema: &mut Schema) {
    let rules = validations(ParallelJobRule::ALL.iter().map(|rule| rule.cel()), Scope::Spec);
    schema.insert("x-kubernetes-validations".to_owned(), rules);
}

/// Adds the rules that are evaluated on the spec of a partition.
pub(crate) fn attach_partition_rules(schema: &mut Schema) {
    let rules = validations(PartitionRule::ALL.iter().map(|rule| rule.cel()), Scope::Spec);
    schema.insert("x-kubernetes-validations".to_owned(), rules);
}

/// Turns the alternatives of an enum of plain names into one list of names, as structural schemas want it.
pub(crate) fn flatten_enum(schema: &mut Schema) {
    let Some(Value::Array(alternatives)) = schema.remove("oneOf") else { return };
    let names = alternatives.iter().flat_map(names_of).collect();
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), Value::Array(names));
}

/// Bounds the labels of a node selector.
pub(crate) fn limit_selector(schema: &mut Schema) {
    schema.insert("maxProperties".to_owned(), json!(MAX_SELECTOR_LABELS));
}

/// Bounds the list of conditions and makes it a map by type, so that writers do not overwrite each other's.
pub(crate) fn limit_conditions(schema: &mut Schema) {
    schema.insert("maxItems".to_owned(), json!(MAX_CONDITIONS));
    schema.insert("x-kubernetes-list-type".to_owned(), json!("map"));
    schema.insert("x-kubernetes-list-map-keys".to_owned(), json!(["type"]));
}

/// Makes the causes of a restart a set.
pub(crate) fn limit_restart_causes(schema: &mut Schema) {
    schema.insert("maxItems".to_owned(), json!(2));
    schema.insert("x-kubernetes-list-type".to_owned(), json!("set"));
}

/// Drops the descriptions of the pod template, keeps its unknown fields, and bounds the lists that CEL walks.
pub(crate) fn prepare_template(schema: &mut Schema) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for property in properties.values_mut() {
        drop_descriptions(property);
    }
    if let Some(Value::Object(metadata)) = properties.get_mut("metadata") {
        // Tools that print objects which they have not sent write null here.
        metadata["properties"]["creationTimestamp"]["nullable"] = json!(true);
    }
    if let Some(Value::Object(pod)) = properties.get_mut("spec") {
        if let Some(Value::Object(fields)) = pod.get_mut("properties") {
            // Kubernetes refuses them in a template; their schema would be a tenth of the file.
            fields.remove("ephemeralContainers");
        }
        pod.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
        bound_pod(pod);
    }
    schema.insert("required".to_owned(), json!(["spec"]));
}

fn bound_pod(pod: &mut Map<String, Value>) {
    let Some(Value::Object(fields)) = pod.get_mut("properties") else { return };
    for list in ["containers", "initContainers"] {
        let Some(containers) = fields.get_mut(list) else { continue };
        containers["maxItems"] = json!(MAX_CONTAINERS);
        if list == "containers" {
            containers["minItems"] = json!(1);
        }
        let container = &mut containers["items"]["properties"];
        container["name"]["maxLength"] = json!(MAX_LABEL_LENGTH);
        for words in ["command", "args"] {
            container[words]["maxItems"] = json!(MAX_COMMAND_WORDS);
        }
    }
}

/// Removes every `description` that is a text; a property of that name would be a schema and stays.
fn drop_descriptions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| name != "description" || !field.is_string());
            fields.values_mut().for_each(drop_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_descriptions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Makes a generated schema fit for the API server: no formats that it does not know, no second way to say that a field
/// is absent (null), and descriptions without line breaks.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            forbid_null(fields);
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Turns "this type or null" and "one of this schema and null" into the type and the schema.
fn forbid_null(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = fields.get("type") {
        let kept = types.iter().find(|name| *name != "null").cloned();
        fields.extend(kept.map(|kept| ("type".to_owned(), kept)));
    }
    let Some(Value::Array(alternatives)) = fields.get("anyOf") else { return };
    let [Value::Object(first), second] = alternatives.as_slice() else { return };
    if *second == json!({ "type": "null" }) {
        let first = first.clone();
        fields.remove("anyOf");
        for (name, field) in first {
            fields.entry(name).or_insert(field);
        }
    }
}

fn validations(rules: impl Iterator<Item = CelRule>, scope: Scope) -> Value {
    Value::Array(rules.filter(|rule| rule.scope == scope).map(|rule| rule.to_json()).collect())
}

/// The names in one alternative of an enum: a constant, or a list of names without descriptions.
fn names_of(alternative: &Value) -> Vec<Value> {
    match (alternative.get("const"), alternative.get("enum")) {
        (Some(name), _) => vec![name.clone()],
        (None, Some(Value::Array(names))) => names.clone(),
        (None, _) => Vec::new(),
    }
}
