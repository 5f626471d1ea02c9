//! YAML as a tree that remembers where each key and value was written.
//!
//! Invariant: this is the only YAML parser of the program. Doubled keys survive here, so that the
//! check of the tree can report them beside everything else.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// The value.
    pub value: Value,
    /// Its line, from 1.
    pub line: u64,
    /// Its column in characters, from 1.
    pub column: u64,
    /// Its bytes in the text.
    pub bytes: std::ops::Range<usize>,
}

/// A value as YAML understands it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

/// A key and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub name: String,
    pub line: u64,
    pub column: u64,
}

/// The first thing that keeps a text from being YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub line: u64,
    pub column: u64,
    pub message: String,
}

impl SyntaxError {
    /// What to do about it, given the line it is in.
    pub fn hint(&self, line: Option<&str>) -> &'static str {
        let line = line.unwrap_or_default();
        let indent = line.get(..line.len() - line.trim_start().len()).unwrap_or_default();
        if indent.contains('\t') {
            "indent with spaces, not with tabs"
        } else if self.message.contains("mapping values are not allowed") {
            "put a value that contains \": \" in quotes, and begin each key on a line of its own"
        } else if self.message.contains("quoted scalar") {
            "close the quote that is open here"
        } else if self.message.contains("anchor") {
            "an anchor (&name) must be written above its use (*name)"
        } else if self.message.contains("second document") {
            "write one document; remove the line \"---\""
        } else {
            "check the brackets, quotes and indentation around this place"
        }
    }
}

/// Reads a text as one YAML document.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    // Ten thousand targets that share an anchor are an honest file; the replay limit still stops bombs.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_events: 4_000_000,
            max_nodes: 2_000_000,
            max_merge_keys: 100_000,
            max_recorded_anchor_events: 100_000,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 500_000 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        emit_comments: false,
    };
    let parsed: Result<Option<Spanned<Value>>, _> = serde_saphyr::from_str_with_options(text, options);
    match parsed {
        Ok(Some(spanned)) => Ok(Node::from(spanned)),
        Ok(None) => Ok(Node { value: Value::Null, line: 1, column: 1, bytes: 0..0 }),
        Err(error) => {
            let error = error.without_snippet();
            let (line, column) = error.location().map_or((1, 1), |at| (at.line().max(1), at.column().max(1)));
            Err(SyntaxError { line, column, message: plain(&error.render()) })
        }
    }
}

/// The parser's words without the place, which is told before them.
pub(super) fn plain(message: &str) -> String {
    let mut words = message.trim();
    if let Some(at) = words.rfind(" at line ") {
        words = words.get(..at).unwrap_or(words);
    }
    if words.starts_with("budget breached: Documents") {
        return "a second document begins here".to_owned();
    }
    words.trim_end_matches([':', ',']).replace('\n', " ")
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        // Of an alias, the anchor's text is what has to be mended.
        let at = spanned.defined;
        let start = at.span().byte_offset().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let len = at.span().byte_len().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        Self { value: spanned.value, line: at.line(), column: at.column(), bytes: start..start + len }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Whole(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                #[expect(clippy::cast_precision_loss, reason = "beyond i64 every range check fails anyway")]
                Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Whole))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Number(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(Value::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element::<Spanned<Value>>()? {
                    items.push(Node::from(item));
                }
                Ok(Value::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    let (line, column) = (key.referenced.line(), key.referenced.column());
                    let value = map.next_value::<Spanned<Value>>()?;
                    entries.push((Key { name: key.value, line, column }, Node::from(value)));
                }
                Ok(Value::Table(entries))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(node: &Node) -> Vec<(String, u64, u64, Value, u64, u64)> {
        let Value::Table(entries) = &node.value else { panic!("{node:?}") };
        entries
            .iter()
            .map(|(key, node)| {
                (key.name.clone(), key.line, key.column, node.value.clone(), node.line, node.column)
            })
            .collect()
    }

    #[test]
    fn places_are_where_the_text_is() {
        let text = "a: 5\n'1.5':   no\nc: 1.5\nd: ~\nd: 'x: y'\n";
        let node = parse(text).unwrap();
        assert_eq!(
            entries(&node),
            [
                ("a".into(), 1, 1, Value::Whole(5), 1, 4),
                ("1.5".into(), 2, 1, Value::Text("no".into()), 2, 10),
                ("c".into(), 3, 1, Value::Number(1.5), 3, 4),
                ("d".into(), 4, 1, Value::Null, 4, 4),
                ("d".into(), 5, 1, Value::Text("x: y".into()), 5, 4),
            ]
        );
        let Value::Table(list) = &node.value else { panic!() };
        assert_eq!(&text[list[4].1.bytes.clone()], "'x: y'");
    }

    #[test]
    fn anchors_and_merges_work() {
        let node = parse("a: &common {x: 1}\nb: {<<: *common, y: 2}\nc: *common\n").unwrap();
        let Value::Table(list) = &node.value else { panic!() };
        let names: Vec<_> = entries(&list[1].1).into_iter().map(|entry| entry.0).collect();
        assert_eq!(names.len(), 2);
        assert!(names.contains(&"x".to_owned()) && names.contains(&"y".to_owned()));
        assert_eq!(entries(&list[2].1).len(), 1);
    }

    #[test]
    fn syntax_errors_have_a_place_and_one_line() {
        for text in [
            "a: [1, 2\nb: 3\n",
            "a: 'open\n",
            "a: b: c\n",
            "a:\n\tb: 1\n",
            "a: *nothing\n",
            "a: 1\n---\nb: 2\n",
            "a: {b\n",
            "a: 1\n b: 2\n",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.line >= 1 && error.column >= 1 && !error.message.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        use std::fmt::Write as _;
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let m = n - 1;
            writeln!(text, "a{n}: &a{n} [*a{m}, *a{m}, *a{m}, *a{m}, *a{m}, *a{m}, *a{m}, *a{m}]").unwrap();
        }
        assert!(parse(&text).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn an_empty_text_is_nothing() {
        assert_eq!(parse("# only a comment\n").unwrap().value, Value::Null);
    }
}
