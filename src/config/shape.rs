//! Holds a tree against the shape that [`super::raw`] describes, and finds everything that is wrong.
//!
//! A derived deserializer stops at the first mistake. This walk follows the JSON Schema made from the
//! same types, reports each unknown key, doubled key, wrong type and value out of range, and leaves
//! it out of what it passes on, so that the checks of meaning can go on with the rest.
//! Invariant: what is passed on deserializes into [`super::raw::File`].

use ::config::{Map, Value as Merged, ValueKind};
use serde_json::Value as Json;

use super::layers::{Origin, Places, Spot};
use super::problem::{KeyPath, Problem, near, one_of, suggestion};
use super::yaml::{Key, Node, Value};

/// The schema of the file, and the walk along it.
pub(super) struct Shape {
    root: Json,
}

/// What a part of the schema allows, without "or nothing".
enum Allowed<'a> {
    Table { keys: Option<&'a serde_json::Map<String, Json>>, others: Option<&'a Json> },
    List(&'a Json),
    OneOrMany,
    Words(Vec<&'a str>),
    Whole { min: i64, max: i64 },
    Number,
    Flag,
    Duration,
    Rate,
    Text,
}

impl Shape {
    /// The shape of the whole file.
    pub fn of_file() -> Self {
        Self { root: schemars::schema_for!(super::raw::File).to_value() }
    }

    /// The tree of one layer as values to be merged; what is wrong goes to `problems`, and where
    /// everything stands to `places`.
    pub fn check(
        &self,
        node: &Node,
        origin: &Origin,
        places: &mut Places,
        problems: &mut Vec<Problem>,
    ) -> Map<String, Merged> {
        let mut walk = Walk { shape: self, origin, places, problems };
        match walk.value(node, &self.root, &KeyPath::default()).map(|value| value.kind) {
            Some(ValueKind::Table(table)) => table,
            _ => Map::new(),
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Json) -> &'a Json {
        let target = schema.get("$ref").and_then(Json::as_str).and_then(|name| name.strip_prefix('#'));
        target.and_then(|pointer| self.root.pointer(pointer)).map_or(schema, |schema| self.resolve(schema))
    }

    fn allowed<'a>(&'a self, schema: &'a Json) -> Allowed<'a> {
        let schema = self.resolve(schema);
        if let Some(any) = schema.get("anyOf").and_then(Json::as_array) {
            let mut some =
                any.iter().filter(|schema| schema.get("type").and_then(Json::as_str) != Some("null"));
            return match (some.next(), some.next()) {
                (Some(schema), None) => self.allowed(schema),
                _ => Allowed::OneOrMany,
            };
        }
        if let Some(words) = schema.get("oneOf").and_then(Json::as_array) {
            let word = |schema: &'a Json| schema.get("const").and_then(Json::as_str);
            return Allowed::Words(words.iter().filter_map(word).collect());
        }
        let kind = match schema.get("type") {
            Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null"),
            Some(Json::String(kind)) => Some(kind.as_str()),
            _ => None,
        };
        match kind {
            Some("object") => Allowed::Table {
                keys: schema.get("properties").and_then(Json::as_object),
                others: schema.get("additionalProperties").filter(|schema| schema.is_object()),
            },
            Some("array") => Allowed::List(schema.get("items").unwrap_or(&Json::Null)),
            Some("integer") => Allowed::Whole {
                min: schema.get("minimum").and_then(Json::as_i64).unwrap_or(0),
                max: schema.get("maximum").and_then(Json::as_i64).unwrap_or(i64::from(u32::MAX)),
            },
            Some("number") => Allowed::Number,
            Some("boolean") => Allowed::Flag,
            _ if schema.get("format").and_then(Json::as_str) == Some("duration") => Allowed::Duration,
            _ if schema.get("format").and_then(Json::as_str) == Some("rate") => Allowed::Rate,
            _ => Allowed::Text,
        }
    }

    /// The keys that a table at `path` may have; nothing if any may be.
    pub fn keys_at(&self, path: &[&str]) -> Option<Vec<String>> {
        let mut schema = &self.root;
        for step in path {
            schema = match self.allowed(schema) {
                Allowed::Table { keys, others } => keys.and_then(|keys| keys.get(*step)).or(others)?,
                _ => return None,
            };
        }
        match self.allowed(schema) {
            Allowed::Table { keys: Some(keys), others: None } => Some(keys.keys().cloned().collect()),
            _ => None,
        }
    }
}

struct Walk<'a> {
    shape: &'a Shape,
    origin: &'a Origin<'a>,
    places: &'a mut Places,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn value(&mut self, node: &Node, schema: &Json, path: &KeyPath) -> Option<Merged> {
        let shape = self.shape;
        let kind = match (shape.allowed(schema), &node.value) {
            (Allowed::Table { .. }, Value::Null) => ValueKind::Table(Map::new()),
            (_, Value::Null) => return None,
            (Allowed::Table { keys, others }, Value::Table(entries)) => {
                ValueKind::Table(self.table(entries, keys, others, path))
            }
            (Allowed::Table { keys, .. }, _) => {
                let known: Vec<&str> =
                    keys.into_iter().flat_map(|keys| keys.keys()).map(String::as_str).collect();
                let hint = if known.is_empty() {
                    "write one name a line, each with its own keys below it".to_owned()
                } else {
                    format!("its keys are {}", known.join(", "))
                };
                return self.wrong(node, path, "must be a table of keys and values", Some(hint));
            }
            (Allowed::List(items), Value::List(nodes)) => ValueKind::Array(self.list(nodes, items, path)),
            (Allowed::List(_), Value::Table(_)) => {
                return self.wrong(
                    node,
                    path,
                    "must be a list",
                    Some("begin each item with \"- \"".to_owned()),
                );
            }
            (Allowed::List(_), _) => {
                let hint = format!("write [{}]", self.origin.text_of(node).unwrap_or_default());
                return self.wrong(node, path, "must be a list", Some(hint));
            }
            (Allowed::OneOrMany, Value::List(nodes)) => {
                ValueKind::Array(self.list(nodes, &serde_json::json!({"type": "string"}), path))
            }
            (Allowed::OneOrMany | Allowed::Text | Allowed::Duration | Allowed::Rate, Value::Text(text)) => {
                ValueKind::String(text.clone())
            }
            (Allowed::OneOrMany, _) => {
                return self.wrong(node, path, "must be text or a list of texts", quotes(&node.value));
            }
            (Allowed::Text, _) => return self.wrong(node, path, "must be text", quotes(&node.value)),
            (Allowed::Duration, value) => {
                let hint = match value {
                    Value::Whole(_) | Value::Number(_) => {
                        format!(
                            "write the unit, for example {}s",
                            self.origin.text_of(node).unwrap_or_default()
                        )
                    }
                    _ => "a number and its unit, for example 5s, 100ms, 1h".to_owned(),
                };
                return self.wrong(node, path, "must be a duration", Some(hint));
            }
            (Allowed::Rate, value) => {
                let hint = match value {
                    Value::Whole(_) | Value::Number(_) => {
                        format!(
                            "write the unit, for example {}Mbps",
                            self.origin.text_of(node).unwrap_or_default()
                        )
                    }
                    _ => "a number and its unit, for example 100Mbps, 1.5Gbps".to_owned(),
                };
                return self.wrong(node, path, "must be a rate", Some(hint));
            }
            (Allowed::Words(words), Value::Text(text)) if words.contains(&text.as_str()) => {
                ValueKind::String(text.clone())
            }
            (Allowed::Words(words), Value::Text(text)) => {
                let rule = format!("must be {}", one_of(&words));
                let hint = near(text, words).map(|word| format!("did you mean \"{word}\"?"));
                return self.wrong(node, path, &rule, hint);
            }
            (Allowed::Words(words), _) => {
                return self.wrong(node, path, &format!("must be {}", one_of(&words)), None);
            }
            (Allowed::Whole { min, max }, Value::Whole(number)) if (min..=max).contains(number) => {
                ValueKind::I64(*number)
            }
            (Allowed::Whole { min, max }, value) => {
                let rule = format!("must be a whole number from {min} to {max}");
                return self.wrong(node, path, &rule, unquoted(value));
            }
            #[expect(clippy::cast_precision_loss, reason = "whole numbers that matter here are small")]
            (Allowed::Number, Value::Whole(number)) => ValueKind::Float(*number as f64),
            (Allowed::Number, Value::Number(number)) => ValueKind::Float(*number),
            (Allowed::Number, value) => return self.wrong(node, path, "must be a number", unquoted(value)),
            (Allowed::Flag, Value::Bool(flag)) => ValueKind::Boolean(*flag),
            (Allowed::Flag, _) => return self.wrong(node, path, "must be true or false", None),
        };
        self.places.set(path, self.origin.spot(node, None));
        Some(Merged::new(Some(&self.origin.name().to_owned()), kind))
    }

    fn table(
        &mut self,
        entries: &[(Key, Node)],
        keys: Option<&serde_json::Map<String, Json>>,
        others: Option<&Json>,
        around: &KeyPath,
    ) -> Map<String, Merged> {
        let mut table = Map::new();
        let mut seen: Vec<&Key> = Vec::new();
        let mut names = std::collections::HashSet::new();
        for (key, node) in entries {
            let path = around.key(&key.name);
            if !names.insert(key.name.as_str()) {
                let first = seen.iter().find(|other| other.name == key.name).map_or(0, |first| first.line);
                let hint = format!("it is already there in line {first}; join the two");
                self.at_key(key, path, "doubled key", hint);
                continue;
            }
            seen.push(key);
            let Some(schema) = keys.and_then(|keys| keys.get(&key.name)).or(others) else {
                let known = keys.into_iter().flat_map(|keys| keys.keys()).map(String::as_str);
                if let Some(meant) = near(&key.name, known.clone()) {
                    // So that nobody also calls that key missing.
                    self.places.set_key(&around.key(meant), self.origin.key_place(key), true);
                }
                self.at_key(key, path, "unknown key", suggestion(&key.name, known));
                continue;
            };
            let value = self.value(node, schema, &path);
            let wrong = value.is_none() && node.value != Value::Null;
            self.places.set_key(&path, self.origin.key_place(key), wrong);
            if let Some(value) = value {
                table.insert(key.name.clone(), value);
            }
        }
        table
    }

    fn list(&mut self, nodes: &[Node], items: &Json, path: &KeyPath) -> Vec<Merged> {
        let mut list = Vec::new();
        for (written, node) in nodes.iter().enumerate() {
            // A place belongs to the item's index in what is passed on, a problem to the one written.
            let kept = list.len();
            if matches!(node.value, Value::Null) {
                self.wrong(node, &path.item(written), "must not be empty", None);
            } else if let Some(value) = self.value(node, items, &path.item(written)) {
                self.places.set(&path.item(kept), self.origin.spot(node, Some(written)));
                list.push(value);
            }
        }
        list
    }

    fn wrong(&mut self, node: &Node, path: &KeyPath, rule: &str, hint: Option<String>) -> Option<Merged> {
        let Spot { place, text, .. } = self.origin.spot(node, None);
        let value =
            matches!(node.value, Value::Text(_) | Value::Whole(_) | Value::Number(_) | Value::Bool(_));
        self.problems.push(Problem {
            place,
            path: path.clone(),
            value: text.filter(|_| value),
            rule: rule.to_owned(),
            hint,
        });
        None
    }

    fn at_key(&mut self, key: &Key, path: KeyPath, rule: &str, hint: String) {
        let place = self.origin.key_place(key);
        self.problems.push(Problem { place, path, value: None, rule: rule.to_owned(), hint: Some(hint) });
    }
}

fn quotes(value: &Value) -> Option<String> {
    let scalar = matches!(value, Value::Whole(_) | Value::Number(_) | Value::Bool(_));
    scalar.then(|| "put it in quotes".to_owned())
}

fn unquoted(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if text.trim().parse::<f64>().is_ok() => Some("write it without quotes".to_owned()),
        _ => None,
    }
}
