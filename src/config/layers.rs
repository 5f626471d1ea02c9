//! The layers of a configuration: built in < file < `conf.d/*.yml` beside it < environment.
//!
//! Each layer is read and checked on its own, so that a problem knows its file, line and column; then
//! the crate `config` merges them: tables key by key, everything else as a whole.
//! Invariant: [`Places`] always tells of the layer that won.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::config::{Config as Builder, ConfigError, Map, Source, Value as Merged};

use super::problem::{KeyPath, Place, Problem, Step};
use super::raw;
use super::shape::Shape;
use super::yaml::{self, Key, Node, Value};

/// The prefix of environment variables that are configuration.
pub const PREFIX: &str = "VPNPROBE__";

/// The environment variables that are configuration, name and value.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    // Not `vars()`, which panics at any variable of another encoding, ours or not.
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(PREFIX))
}

/// What all layers say together.
pub(super) struct Layered {
    /// The merged layers; nothing if one of them could not be read.
    pub file: Option<raw::File>,
    /// Where its values were written.
    pub places: Places,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
}

/// Where values were written, by their paths.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<KeyPath, Spot>);

/// Where a value was written, and how.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    /// Where the value is.
    pub place: Place,
    /// Where its key is.
    pub key: Option<Place>,
    /// The value as written, if it is a single one.
    pub text: Option<String>,
    /// The item's index as written, if items before it were left out.
    pub written: Option<usize>,
    /// Whether it was left out because it is wrong.
    pub wrong: bool,
}

impl Places {
    /// What is known of the value at `path`.
    pub fn get(&self, path: &KeyPath) -> Option<&Spot> {
        self.0.get(path)
    }

    /// The place of `path`, or of the nearest table around it that was written.
    pub fn nearest(&self, path: &KeyPath) -> Place {
        let mut path = path.clone();
        loop {
            if let Some(spot) = self.0.get(&path) {
                return spot.key.clone().unwrap_or_else(|| spot.place.clone());
            }
            if path.0.pop().is_none() {
                return Place::BuiltIn;
            }
        }
    }

    /// The path with its items counted as they were written.
    pub fn as_written(&self, path: &KeyPath) -> KeyPath {
        let mut shown = path.clone();
        if let (Some(Step::Item(index)), Some(written)) =
            (shown.0.last_mut(), self.0.get(path).and_then(|spot| spot.written))
        {
            *index = written;
        }
        shown
    }

    pub fn set(&mut self, path: &KeyPath, spot: Spot) {
        let key = self.0.remove(path).and_then(|old| old.key);
        self.0.insert(path.clone(), Spot { key, ..spot });
    }

    pub fn set_key(&mut self, path: &KeyPath, place: Place, wrong: bool) {
        let spot = self.0.entry(path.clone()).or_insert_with(|| Spot {
            place: place.clone(),
            key: None,
            text: None,
            written: None,
            wrong,
        });
        spot.key = Some(place);
    }
}

/// Whose text a tree was read from.
pub(super) enum Origin<'a> {
    /// A file.
    File { layer: usize, name: Arc<str>, text: &'a str },
    /// An environment variable.
    Variable { name: Arc<str>, text: &'a str },
}

impl Origin<'_> {
    /// The file or variable.
    pub fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Variable { name, .. } => name,
        }
    }

    fn place(&self, line: u64, column: u64) -> Place {
        match self {
            Self::File { layer, name, .. } => Place::File { layer: *layer, file: name.clone(), line, column },
            Self::Variable { name, .. } => Place::Variable(name.clone()),
        }
    }

    /// Where a key is.
    pub fn key_place(&self, key: &Key) -> Place {
        self.place(key.line, key.column)
    }

    /// A value as written, without the quotes around it.
    pub fn text_of(&self, node: &Node) -> Option<String> {
        let (Self::File { text, .. } | Self::Variable { text, .. }) = self;
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::List(_) | Value::Table(_) | Value::Null => None,
            Value::Bool(_) | Value::Whole(_) | Value::Number(_) => {
                text.get(node.bytes.clone()).map(|text| text.trim().to_owned())
            }
        }
    }

    /// What is to be remembered of a value.
    pub fn spot(&self, node: &Node, written: Option<usize>) -> Spot {
        let (place, text) = (self.place(node.line, node.column), self.text_of(node));
        Spot { place, key: None, text, written, wrong: false }
    }
}

/// One layer for the crate `config`.
#[derive(Debug, Clone)]
struct Layer(Map<String, Merged>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Merged>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// Reads and merges all layers; `variables` are name and value of the environment.
pub(super) fn read(path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Layered {
    let (files, unlisted) = files(path);
    let read = files.iter().enumerate().map(|(layer, file)| read_file(layer, file));
    stack(path, read, unlisted, variables)
}

/// The same for a file whose text is at hand, with nothing beside it.
pub(super) fn read_text(
    path: &Path,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Layered {
    stack(path, [parse(0, path, text.to_owned())], None, variables)
}

fn stack(
    path: &Path,
    files: impl IntoIterator<Item = Result<Parsed, Box<Problem>>>,
    unlisted: Option<Problem>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Layered {
    let shape = Shape::of_file();
    let (mut places, mut problems) = (Places::default(), Vec::new());
    let mut layers = Vec::new();
    let mut whole = true;
    problems.extend(unlisted);
    for (layer, file) in files.into_iter().enumerate() {
        match file {
            Ok((name, text, node)) => {
                let origin = Origin::File { layer, name, text: &text };
                layers.push(Layer(shape.check(&node, &origin, &mut places, &mut problems)));
            }
            Err(problem) => {
                problems.push(*problem);
                whole = false;
            }
        }
    }
    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, text) in &variables {
        let origin = Origin::Variable { name: name.as_str().into(), text };
        let node = variable(name, text, &shape, &places);
        layers.push(Layer(shape.check(&node, &origin, &mut places, &mut problems)));
    }
    let file = if whole {
        merge(layers).map_err(|error| problems.push(file_problem(0, path, &error.to_string(), None))).ok()
    } else {
        None
    };
    Layered { file, places, problems }
}

fn merge(layers: Vec<Layer>) -> Result<raw::File, ConfigError> {
    let mut builder = Builder::builder().add_source(Builder::try_from(&raw::File::built_in())?);
    for layer in layers {
        builder = builder.add_source(layer);
    }
    builder.build()?.try_deserialize()
}

/// The file itself and those of `conf.d` beside it, in the order of their names.
fn files(path: &Path) -> (Vec<PathBuf>, Option<Problem>) {
    let mut files = vec![path.to_owned()];
    let directory = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let listing = match std::fs::read_dir(&directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (files, None),
        Err(error) => {
            let hint = "its files would be part of the configuration";
            return (
                files,
                Some(file_problem(1, &directory, &format!("cannot be listed: {error}"), Some(hint))),
            );
        }
    };
    let mut more: Vec<PathBuf> = listing
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml"))
        .filter(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
        .collect();
    more.sort();
    files.append(&mut more);
    (files, None)
}

type Parsed = (Arc<str>, String, Node);

fn read_file(layer: usize, path: &Path) -> Result<Parsed, Box<Problem>> {
    let name: Arc<str> = path.display().to_string().into();
    let bytes = std::fs::read(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "name the file with --config.file",
            std::io::ErrorKind::PermissionDenied => "let the user that vpnprobe runs as read it",
            _ => "name a file",
        };
        file_problem(layer, path, &format!("cannot be read: {error}"), Some(hint))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default());
        let line = 1 + before.matches('\n').count() as u64;
        let column = 1 + before.chars().rev().take_while(|c| *c != '\n').count() as u64;
        Problem {
            place: Place::File { layer, file: name.clone(), line, column },
            path: KeyPath::default(),
            value: None,
            rule: "is not UTF-8".to_owned(),
            hint: Some("save the file in UTF-8".to_owned()),
        }
    })?;
    parse(layer, path, text)
}

fn parse(layer: usize, path: &Path, text: String) -> Result<Parsed, Box<Problem>> {
    let name: Arc<str> = path.display().to_string().into();
    let node = yaml::parse(&text).map_err(|error| Problem {
        place: Place::File { layer, file: name.clone(), line: error.line, column: error.column },
        path: KeyPath::default(),
        value: None,
        rule: format!("not YAML: {}", error.message),
        hint: Some(
            error
                .hint(text.lines().nth(usize::try_from(error.line).unwrap_or(1).saturating_sub(1)))
                .to_owned(),
        ),
    })?;
    Ok((name, text, node))
}

fn file_problem(layer: usize, path: &Path, rule: &str, hint: Option<&str>) -> Problem {
    Problem {
        place: Place::File { layer, file: path.display().to_string().into(), line: 0, column: 0 },
        path: KeyPath::default(),
        value: None,
        rule: rule.to_owned(),
        hint: hint.map(str::to_owned),
    }
}

/// The tree that an environment variable stands for.
///
/// Its value is YAML where that makes sense of it, else text; its keys are those of the schema, or of
/// the layers below, whatever their case, else in lower case.
fn variable(name: &str, text: &str, shape: &Shape, places: &Places) -> Node {
    let leaf = yaml::parse(text).unwrap_or(Node {
        value: Value::Text(text.to_owned()),
        line: 0,
        column: 0,
        bytes: 0..text.len(),
    });
    let mut path = KeyPath::default();
    let mut names: Vec<String> = Vec::new();
    for word in name.trim_start_matches(PREFIX).split("__") {
        let known = shape.keys_at(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let known = known.unwrap_or_else(|| places.children(&path));
        let key = known.into_iter().find(|key| key.eq_ignore_ascii_case(word));
        let key = key.unwrap_or_else(|| word.to_ascii_lowercase());
        path = path.key(&key);
        names.push(key);
    }
    names.into_iter().rev().fold(leaf, |node, name| {
        let (line, column, bytes) = (node.line, node.column, node.bytes.clone());
        let key = Key { name, line, column };
        Node { value: Value::Table(vec![(key, node)]), line, column, bytes }
    })
}

impl Places {
    /// The places of a configuration that is nothing but a host on the command line.
    pub fn of_argument(host: &str) -> Self {
        let spot = Spot {
            place: Place::Argument,
            key: None,
            text: Some(host.to_owned()),
            written: None,
            wrong: false,
        };
        let address = KeyPath::default().key("targets").key("host").key("address");
        Self(HashMap::from([(KeyPath::default(), spot.clone()), (address, spot)]))
    }

    /// Whether a value at or below `path` was left out because it is wrong.
    pub fn broken_below(&self, path: &KeyPath) -> bool {
        self.0.iter().any(|(other, spot)| spot.wrong && other.0.starts_with(&path.0))
    }

    /// The keys written directly below `path`.
    fn children(&self, path: &KeyPath) -> Vec<String> {
        let below = |other: &KeyPath| match other.0.split_last() {
            Some((Step::Key(key), around)) if around == path.0 => Some(key.clone()),
            _ => None,
        };
        self.0.keys().filter_map(below).collect()
    }
}
