//! Where seeds come from: the golden vectors of the project, all of which somebody else made.

use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder of the project, by its path from the project's root.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The text of a file of the project.
#[must_use]
pub fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The files in these files and folders.
fn files(names: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut paths: Vec<_> = names.iter().map(|name| path(name)).collect();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The golden vectors in these files and folders: in Rust every string of hexadecimal octets and white
/// space, elsewhere every hexadecimal word; of at least eight octets.
#[must_use]
pub fn goldens(names: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for file in files(names) {
        let text = fs::read_to_string(&file).unwrap();
        let rust = file.extension().is_some_and(|extension| extension == "rs");
        let texts: Vec<String> = if rust {
            text.split('"').skip(1).step_by(2).map(|text| text.split_whitespace().collect()).collect()
        } else if file.extension().is_some_and(|extension| extension == "hex") {
            // Lines of digits alone are one vector; in the others each word is.
            let (alone, mixed): (Vec<_>, Vec<_>) =
                text.lines().map(str::trim).partition(|line| hexadecimal(line));
            let words = mixed.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned);
            std::iter::once(alone.concat()).chain(words).collect()
        } else {
            text.split_whitespace().map(str::to_owned).collect()
        };
        found.extend(texts.iter().filter_map(|text| octets(text)));
    }
    found.sort();
    found.dedup();
    found
}

fn hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The octets of a hexadecimal text of at least eight.
fn octets(text: &str) -> Option<Vec<u8>> {
    if text.len() < 16 || !text.len().is_multiple_of(2) || !hexadecimal(text) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// The contents of the files in these files and folders whose names end so.
#[must_use]
pub fn contents(names: &[&str], ending: &str) -> Vec<Vec<u8>> {
    let matching = files(names).into_iter().filter(|file| file.to_string_lossy().ends_with(ending));
    matching.map(|file| fs::read(file).unwrap()).collect()
}
