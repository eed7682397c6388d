//! What cargo says of a build in its messages, one a line, each in JSON.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Deserialize;

/// The part of cargo's messages that is used.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Where cargo says that a test's program is.
///
/// # Errors
/// It does not say so.
pub(crate) fn executable(messages: &str, test: &str) -> Result<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let of_test = |message: &Message| message.target.as_ref().is_some_and(|target| target.name == test && target.kind == ["test"]);
    let Some(path) = parsed.filter(of_test).find_map(|message| message.executable) else { bail!("cargo does not say where {test} is") };
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_a_tests_program_is() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"agent"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"agent"},"executable":"/t/agent-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n"
        );
        assert_eq!(executable(messages, "agent").unwrap(), PathBuf::from("/t/agent-1"));
        assert!(executable(messages, "faults").is_err());
    }
}
