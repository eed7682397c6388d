//! The rules that a manifest must keep, each stated twice: in CEL for the API server, in Rust for local mode and the operator.
//!
//! A rule is a variant of an enum; its CEL text and its Rust check are two exhaustive matches over it, so that neither
//! can be forgotten. Tests evaluate both on the same manifests.

pub mod parallel_job;
pub mod partition;

use std::fmt;

use serde_json::{Value, json};

/// A rule in the words of the API server (`x-kubernetes-validations`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CelRule {
    /// What the rule is evaluated on.
    pub scope: Scope,
    /// The expression; true if the rule is kept.
    pub expression: String,
    /// What would be right; the API server shows it.
    pub message: String,
    /// The field that the message is about, relative to the scope, such as `.quantum`; none for metadata, which the
    /// API server does not take as a path.
    pub field_path: Option<String>,
}

/// What a rule is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole object; sees its name and its status.
    Object,
    /// `spec`.
    Spec,
}

/// A rule that a manifest breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the rule.
    pub rule: &'static str,
    /// Path of the field, such as `spec.quantum`.
    pub path: String,
    /// What is wrong, ready to follow the path: "is 20s".
    pub what: String,
    /// What would be right, ready to follow "must": "be at most 10s".
    pub right: String,
}

// === impl CelRule ===

impl CelRule {
    /// The entry of `x-kubernetes-validations`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut entry = json!({ "rule": self.expression, "message": self.message });
        if let Some(path) = &self.field_path {
            entry["fieldPath"] = json!(path);
        }
        entry
    }
}

// === impl Violation ===

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}; must {}", self.path, self.what, self.right)
    }
}

/// Declares an enum of rules with their names and the list of all of them.
macro_rules! named_rules {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The rule's name: what tests and documents call it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}
use named_rules;
