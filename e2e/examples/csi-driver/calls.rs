//! A line of JSON on standard output for each call: what the tests read.

use serde_json::{Value, json};

/// Notes a call.
pub(crate) fn note(call: &str, details: &Value) {
    println!("{}", json!({ "call": call, "details": details }));
}
