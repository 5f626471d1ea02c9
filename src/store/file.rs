//! Files that are whole or not there: a new one takes the place of the old one at once, or not at all.
//!
//! Invariant: whenever the program ends, be it by SIGKILL or by the power, a file that was written here
//! has its old content or its new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What a file is called while it is written, and when it could not be read.
const UNFINISHED: &str = ".tmp";
const BAD: &str = ".bad";

/// Writes a file of a directory, which is made if it is not there.
///
/// # Errors
/// Those of the file system; what was there before is there still.
pub fn write(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let unfinished = directory.join(format!(".{name}{UNFINISHED}"));
    let written = replace(directory, &unfinished, name, content);
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn replace(directory: &Path, unfinished: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    // A leftover goes first, so that the new file is ours and no link to another.
    match fs::remove_file(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(unfinished, directory.join(name))?;
    // The name, too, is to outlive a power cut.
    File::open(directory)?.sync_all()
}

/// The content of a file of at most `most` bytes; nothing if there is none.
///
/// # Errors
/// Those of the file system, and [`io::ErrorKind::FileTooLarge`].
pub fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(content))
}

/// Takes a file that cannot be used out of the way, under a name that says so, and tells that name.
///
/// # Errors
/// Those of the file system.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(BAD);
    let aside = path.with_file_name(name);
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Whether it was left behind in the middle of being written.
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(UNFINISHED)
}

/// Whether it was set aside.
pub fn is_bad(name: &str) -> bool {
    name.ends_with(BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("made/here");
        for content in ["first", "second, longer", ""] {
            write(&inside, "x.json", content.as_bytes()).unwrap();
            assert_eq!(read(&inside.join("x.json"), 100).unwrap().unwrap(), content.as_bytes());
        }
        let names: Vec<_> = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["x.json"], "nothing is left behind");
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join(".x.json.tmp")).unwrap();
        write(directory.path(), "x.json", b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
    }

    #[test]
    fn what_is_missing_is_nothing_and_what_is_too_large_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        assert_eq!(read(&path, 3).unwrap(), None);
        fs::write(&path, "abcd").unwrap();
        assert_eq!(read(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&path, 4).unwrap().unwrap(), b"abcd");
        let aside = set_aside(&path).unwrap();
        assert!(is_bad(aside.file_name().unwrap().to_str().unwrap()));
        assert_eq!(read(&path, 3).unwrap(), None);
    }
}
