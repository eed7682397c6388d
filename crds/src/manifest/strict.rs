//! Compares a document with the schema of its kind.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::Kind;
use super::problem::{Origin, Problem};
use super::tree::{Tree, TreeValue};
use crate::cpu_list::{self, CpuList, ParseCpuListError};
use crate::duration::{self, Duration};
use crate::parallel_job::ParallelJob;
use crate::partition::Partition;

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::build);

/// The schemas of both kinds, with metadata that names every field.
struct Schemas {
    partition: JSONSchemaProps,
    parallel_job: JSONSchemaProps,
}

struct Checker<'a> {
    origin: &'a Origin,
    problems: Vec<Problem>,
}

/// Everything in which the document departs from the schema of its kind.
pub(super) fn check(origin: &Origin, tree: &Tree, kind: Kind) -> Vec<Problem> {
    let schema = match kind {
        Kind::Partition => &SCHEMAS.partition,
        Kind::ParallelJob => &SCHEMAS.parallel_job,
    };
    let mut checker = Checker { origin, problems: Vec::new() };
    checker.check(tree, schema, "");
    checker.problems
}

/// Notes the line of every field.
pub(super) fn collect_lines(tree: &Tree, path: String, lines: &mut BTreeMap<String, u64>) {
    match &tree.value {
        TreeValue::Map(entries) => {
            for (name, value) in entries {
                collect_lines(value, join(&path, name), lines);
            }
        }
        TreeValue::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_lines(item, format!("{path}[{index}]"), lines);
            }
        }
        TreeValue::Null | TreeValue::Boolean(_) | TreeValue::Integer(_) | TreeValue::Decimal(_) | TreeValue::Text(_) => {}
    }
    lines.insert(path, tree.line);
}

// === impl Schemas ===

impl Schemas {
    fn build() -> Self {
        let (mut partition, mut parallel_job) = (schema_of(&Partition::crd()), schema_of(&ParallelJob::crd()));
        // The template's metadata is an ObjectMeta too; in a CRD the object's own metadata has no schema.
        let mut metadata = ["spec", "template", "metadata"]
            .iter()
            .try_fold(&parallel_job, |schema, field| schema.properties.as_ref()?.get(*field))
            .cloned()
            .unwrap_or_default();
        metadata.required = Some(vec!["name".to_owned()]);
        let text = JSONSchemaProps { type_: Some("string".to_owned()), ..JSONSchemaProps::default() };
        for schema in [&mut partition, &mut parallel_job] {
            let properties = schema.properties.get_or_insert_default();
            properties.insert("metadata".to_owned(), metadata.clone());
            properties.insert("apiVersion".to_owned(), text.clone());
            properties.insert("kind".to_owned(), text.clone());
            schema.required.get_or_insert_default().push("metadata".to_owned());
        }
        Self { partition, parallel_job }
    }
}

fn schema_of(definition: &CustomResourceDefinition) -> JSONSchemaProps {
    let schema = definition.spec.versions.first().and_then(|version| version.schema.as_ref());
    schema.and_then(|schema| schema.open_api_v3_schema.clone()).unwrap_or_default()
}

// === impl Checker ===

impl Checker<'_> {
    fn check(&mut self, tree: &Tree, schema: &JSONSchemaProps, path: &str) {
        if tree.value == TreeValue::Null && schema.nullable == Some(true) {
            return;
        }
        if schema.x_kubernetes_int_or_string == Some(true) {
            return self.check_int_or_string(tree, path);
        }
        match (schema.type_.as_deref(), &tree.value) {
            (Some("object"), TreeValue::Map(entries)) => self.check_map(tree, entries, schema, path),
            (Some("array"), TreeValue::List(items)) => self.check_list(tree, items, schema, path),
            (Some("string"), TreeValue::Text(text)) => self.check_text(tree, text, schema, path),
            (Some("integer"), TreeValue::Integer(value)) => self.check_integer(tree, *value, schema, path),
            (Some("boolean"), TreeValue::Boolean(_)) | (Some("number"), TreeValue::Integer(_) | TreeValue::Decimal(_)) => {}
            (None, _) => {}
            (Some(expected), _) => self.report(tree, path, tree.describe(), expected_type(expected, tree, schema)),
        }
    }

    fn check_map(&mut self, tree: &Tree, entries: &[(String, Tree)], schema: &JSONSchemaProps, path: &str) {
        let nothing = BTreeMap::new();
        let properties = schema.properties.as_ref().unwrap_or(&nothing);
        for (name, value) in entries {
            let inner = join(path, name);
            match (properties.get(name), &schema.additional_properties) {
                (Some(schema), _) => self.check(value, schema, &inner),
                (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => self.check(value, schema, &inner),
                // An object without declared fields takes any.
                (None, None) if properties.is_empty() => {}
                (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                (None, _) => self.report(value, &inner, "is not a known field".to_owned(), known_fields(name, properties)),
            }
        }
        for name in schema.required.iter().flatten() {
            if !entries.iter().any(|(given, _)| given == name) {
                self.report(tree, &join(path, name), "is missing".to_owned(), "be given".to_owned());
            }
        }
        let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        if let Some(most) = schema.max_properties.filter(|most| count > *most) {
            self.report(tree, path, format!("has {count} entries"), format!("have at most {most}"));
        }
    }

    fn check_list(&mut self, tree: &Tree, items: &[Tree], schema: &JSONSchemaProps, path: &str) {
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(least) = schema.min_items.filter(|least| count < *least) {
            self.report(tree, path, format!("has {count} entries"), format!("have at least {least}"));
        }
        if let Some(most) = schema.max_items.filter(|most| count > *most) {
            return self.report(tree, path, format!("has {count} entries"), format!("have at most {most}"));
        }
        if let Some(JSONSchemaPropsOrArray::Schema(item_schema)) = &schema.items {
            for (index, item) in items.iter().enumerate() {
                self.check(item, item_schema, &format!("{path}[{index}]"));
            }
        }
        if schema.x_kubernetes_list_type.as_deref() == Some("set") {
            for (index, item) in items.iter().enumerate().filter(|(index, item)| repeats(&items[..*index], item)) {
                let what = format!("{} a second time", item.describe());
                self.report(item, &format!("{path}[{index}]"), what, "be named once".to_owned());
            }
        }
    }

    fn check_text(&mut self, tree: &Tree, text: &str, schema: &JSONSchemaProps, path: &str) {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(least) = schema.min_length.filter(|least| length < *least) {
            self.report(tree, path, tree.describe(), format!("have at least {least} characters"));
        } else if let Some(most) = schema.max_length.filter(|most| length > *most) {
            self.report(tree, path, format!("has {length} characters"), format!("have at most {most}"));
        } else if let Some(choices) = schema.enum_.as_ref().filter(|choices| !choices.iter().any(|choice| choice.0 == text)) {
            let names: Vec<&str> = choices.iter().filter_map(|choice| choice.0.as_str()).collect();
            self.report(tree, path, tree.describe(), format!("be {}", one_of(&names)));
        } else if let Some((what, right)) = schema.pattern.as_deref().and_then(|pattern| mismatch(pattern, text)) {
            self.report(tree, path, what, right);
        }
    }

    fn check_integer(&mut self, tree: &Tree, value: i128, schema: &JSONSchemaProps, path: &str) {
        let (least, most) = integer_bounds(schema);
        if !(least..=most).contains(&value) {
            self.report(tree, path, format!("is {value}"), format!("be a whole number from {least} to {most}"));
        }
    }

    fn check_int_or_string(&mut self, tree: &Tree, path: &str) {
        let scalar = matches!(tree.value, TreeValue::Integer(_) | TreeValue::Decimal(_) | TreeValue::Text(_));
        if !scalar {
            self.report(tree, path, tree.describe(), "be a number or a text".to_owned());
        }
    }

    fn report(&mut self, tree: &Tree, path: &str, what: String, right: String) {
        let origin = Origin { line: Some(tree.line), ..self.origin.clone() };
        self.problems.push(Problem { origin, path: path.to_owned(), what, right });
    }
}

/// The path of a field; a name that would be mistaken for a path is put in quotes.
fn join(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    match (path.is_empty(), plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

fn repeats(earlier: &[Tree], item: &Tree) -> bool {
    earlier.iter().any(|other| other.value == item.value)
}

/// The smallest and largest number that a field takes.
fn integer_bounds(schema: &JSONSchemaProps) -> (i128, i128) {
    let (least, most) = match schema.format.as_deref() {
        Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    #[expect(clippy::cast_possible_truncation, reason = "the schema's bounds are whole numbers far below 2^53")]
    let whole = |bound: f64| bound as i128;
    (schema.minimum.map_or(least, whole), schema.maximum.map_or(most, whole))
}

/// What a field of another type must be.
fn expected_type(expected: &str, tree: &Tree, schema: &JSONSchemaProps) -> String {
    let scalar = matches!(tree.value, TreeValue::Boolean(_) | TreeValue::Integer(_) | TreeValue::Decimal(_));
    match expected {
        "string" if schema.pattern.as_deref() == Some(duration::PATTERN) => format!("be {}", duration::EXPECTED),
        "string" if scalar => "be a text: put it in quotes".to_owned(),
        "string" => "be a text".to_owned(),
        "integer" => {
            let (least, most) = integer_bounds(schema);
            format!("be a whole number from {least} to {most}")
        }
        "boolean" => "be true or false".to_owned(),
        "array" => "be a list".to_owned(),
        "object" => "be a set of fields".to_owned(),
        _ => "be a number".to_owned(),
    }
}

/// Why a text does not match a pattern. Every pattern of our schemas has its own parser, which knows the reason.
fn mismatch(pattern: &str, text: &str) -> Option<(String, String)> {
    match pattern {
        duration::PATTERN => {
            let error = text.parse::<Duration>().err()?;
            Some((error.to_string(), format!("be {}", duration::EXPECTED)))
        }
        cpu_list::PATTERN => match text.parse::<CpuList>() {
            // What is well formed but not meaningful is the business of a rule.
            Ok(_) | Err(ParseCpuListError::Backwards(_) | ParseCpuListError::TooHigh(_)) => None,
            Err(error) => Some((error.to_string(), "be CPU numbers and ranges, such as 0-3,8".to_owned())),
        },
        _ => None,
    }
}

/// What an unknown field might have meant, or all that there are.
fn known_fields(name: &str, properties: &BTreeMap<String, JSONSchemaProps>) -> String {
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    let nearest = names.iter().map(|known| (distance(name, known), *known)).min();
    match nearest {
        Some((distance, known)) if distance <= 1 + name.len() / 4 => format!("be {known}, if that was meant, or be removed"),
        _ => format!("be {} or be removed", one_of(&names)),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(names: &[&str]) -> String {
    match names {
        [] => "absent".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// How many letters must be added, removed or changed to make one name of the other; case does not count.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_has_its_parser() {
        let known = [duration::PATTERN, cpu_list::PATTERN];
        let mut found = Vec::new();
        collect_patterns(&SCHEMAS.partition, &mut found);
        collect_patterns(&SCHEMAS.parallel_job, &mut found);
        assert!(!found.is_empty());
        for pattern in found {
            assert!(known.contains(&pattern.as_str()), "{pattern} is not checked in local mode");
        }
    }

    fn collect_patterns(schema: &JSONSchemaProps, found: &mut Vec<String>) {
        found.extend(schema.pattern.clone());
        for inner in schema.properties.iter().flat_map(BTreeMap::values) {
            collect_patterns(inner, found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items {
            collect_patterns(inner, found);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(inner)) = &schema.additional_properties {
            collect_patterns(inner, found);
        }
    }

    #[test]
    fn measures_the_distance_of_names() {
        for (left, right, expected) in [("", "ab", 2), ("quantom", "quantum", 1), ("Nodes", "nodes", 0), ("abc", "", 3)] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
