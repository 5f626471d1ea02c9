//! What is wrong with a configuration, told so that it can be mended.
//!
//! One problem is one line: `file:line:column: key.path: value "…": rule; hint`.
//! Invariant: a problem quotes at most the first line of a value, cut short, and never the content of
//! a file that a value names.

use std::fmt;
use std::sync::Arc;

use crate::sample::is_wild;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file; line and column count from 1, 0 if the file as a whole is meant.
    File {
        /// Its place in the order of the layers.
        layer: usize,
        /// The file.
        file: Arc<str>,
        /// The line.
        line: u64,
        /// The column, in characters.
        column: u64,
    },
    /// In an environment variable.
    Variable(Arc<str>),
    /// On the command line.
    Argument,
    /// Nowhere: it is built in.
    BuiltIn,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0, .. } => f.write_str(file),
            Self::File { file, line, column, .. } => write!(f, "{file}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Argument => f.write_str("command line"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

/// One thing that is wrong, or doubtful.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Of which key, outermost first; empty for a file as a whole.
    pub path: KeyPath,
    /// What was written, if that helps.
    pub value: Option<String>,
    /// What must hold.
    pub rule: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        if let Some(value) = &self.value {
            write!(f, "value \"{}\": ", excerpt(value))?;
        }
        f.write_str(&self.rule)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// The first line of a text, cut at 60 characters, controls escaped.
fn excerpt(text: &str) -> String {
    const MAX: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    let cut = line.chars().count() > MAX || line.len() < text.trim_end().len();
    let mut shown: String = line.chars().take(MAX).flat_map(escaped).collect();
    if cut {
        shown.push('…');
    }
    shown
}

fn escaped(c: char) -> Vec<char> {
    if is_wild(c) { c.escape_unicode().collect() } else { vec![c] }
}

/// All that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems in the order of their places; nothing if there are none.
    pub(super) fn some(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort();
        problems.dedup();
        if problems.is_empty() { None } else { Some(Self(problems)) }
    }

    /// The same without the paths of a file that nobody wrote.
    pub(super) fn of_argument(mut self) -> Self {
        for problem in &mut self.0 {
            problem.path = KeyPath::default();
        }
        self
    }

    /// Each of them, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

/// One problem a line, and a line that counts them.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        let count = self.0.len();
        write!(f, "{count} problem{}", if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Problems {}

/// The keys from the top of the configuration to a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyPath(pub Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into the value of a key.
    Key(String),
    /// Into a list, counted from 0.
    Item(usize),
}

impl KeyPath {
    /// The path one key further.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Key(key.to_owned()));
        path
    }

    /// The path to an item of a list.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Item(index));
        path
    }
}

/// `targets.hq.address[1]`; a key with other characters than letters, digits, `_` and `-` is quoted.
impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if depth > 0 {
                        f.write_str(".")?;
                    }
                    if !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
                        f.write_str(key)?;
                    } else {
                        write!(f, "\"{}\"", excerpt(key))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The word that was probably meant: a slip or two away, or only begun.
pub(super) fn near<'a>(written: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let slips = match written.chars().count() {
        0..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    words
        .into_iter()
        .filter_map(|word| {
            let lower = word.to_lowercase();
            let begun = written.len() >= 3 && lower.starts_with(&written);
            let distance = if begun { 1 } else { strsim::damerau_levenshtein(&written, &lower) };
            (distance <= slips).then_some((distance, word))
        })
        .min()
        .map(|(_, word)| word)
}

/// `did you mean "x"?` if one of the words is near what was written, else the list of them.
pub(super) fn suggestion<'a>(written: &str, words: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match near(written, words.clone()) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("expected {}", one_of(&words.into_iter().collect::<Vec<_>>())),
    }
}

/// `one of: a, b, c`, or the one word itself.
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing here".to_owned(),
        [word] => format!("\"{word}\""),
        words => format!("one of: {}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_however_wild_the_value() {
        let problem = Problem {
            place: Place::File { layer: 0, file: "a.yml".into(), line: 3, column: 7 },
            path: KeyPath::default().key("targets").key("vpn.example").key("address").item(1),
            value: Some("first\x1b[2J\nsecret second line".to_owned()),
            rule: "must be a name".to_owned(),
            hint: None,
        };
        assert_eq!(
            problem.to_string(),
            "a.yml:3:7: targets.\"vpn.example\".address[1]: value \"first\\u{1b}[2J…\": must be a name"
        );
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let words = ["interval", "timeout", "port"];
        assert_eq!(suggestion("intervall", words), "did you mean \"interval\"?");
        assert_eq!(suggestion("colour", words), "expected one of: interval, timeout, port");
    }
}
