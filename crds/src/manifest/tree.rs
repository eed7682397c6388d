//! A YAML document as a tree whose nodes know their lines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

/// A value and the line on which it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    /// From 1.
    pub(super) line: u64,
    pub(super) value: TreeValue,
}

/// A value; the keys of a map keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TreeValue {
    Null,
    Boolean(bool),
    Integer(i128),
    Decimal(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

struct TreeVisitor;

// === impl Tree ===

impl Tree {
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            TreeValue::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            TreeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) const fn is_map(&self) -> bool {
        matches!(self.value, TreeValue::Map(_))
    }

    /// What the value is, ready to follow a path in a message.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            TreeValue::Null => "is empty".to_owned(),
            TreeValue::Boolean(value) => format!("is the truth value {value}"),
            TreeValue::Integer(value) => format!("is {value}"),
            TreeValue::Decimal(value) => format!("is {value}"),
            TreeValue::Text(text) => format!("is {:?}", shorten(text)),
            TreeValue::List(_) => "is a list".to_owned(),
            TreeValue::Map(_) => "is a set of fields".to_owned(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.value {
            TreeValue::Null => Value::Null,
            TreeValue::Boolean(value) => Value::Bool(*value),
            TreeValue::Integer(value) => integer_to_json(*value),
            TreeValue::Decimal(value) => serde_json::Number::from_f64(*value).map_or(Value::Null, Value::Number),
            TreeValue::Text(text) => Value::String(text.clone()),
            TreeValue::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            TreeValue::Map(entries) => {
                Value::Object(entries.iter().map(|(name, value)| (name.clone(), value.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<TreeValue>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

// === impl TreeValue ===

impl<'de> Deserialize<'de> for TreeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

// === impl TreeVisitor ===

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = TreeValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<TreeValue, E> {
        Ok(TreeValue::Null)
    }

    fn visit_none<E>(self) -> Result<TreeValue, E> {
        Ok(TreeValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<TreeValue, D::Error> {
        TreeValue::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<TreeValue, E> {
        Ok(TreeValue::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<TreeValue, E> {
        Ok(TreeValue::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<TreeValue, E> {
        Ok(TreeValue::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<TreeValue, E> {
        Ok(TreeValue::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<TreeValue, E> {
        Ok(TreeValue::Decimal(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<TreeValue, E> {
        Ok(TreeValue::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TreeValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(TreeValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<TreeValue, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(TreeValue::Map(map))
    }
}

/// A number beyond 64 bits is beyond every bound too; it is refused before it is turned into JSON.
fn integer_to_json(value: i128) -> Value {
    i64::try_from(value).map(Value::from).or_else(|_| u64::try_from(value).map(Value::from)).unwrap_or(Value::Null)
}

/// The beginning of a text, for a message.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain("…".chars()).collect()
}
