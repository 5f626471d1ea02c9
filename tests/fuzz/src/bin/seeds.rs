//! Writes what the targets start from: `seeds DIRECTORY` makes `NAME/` with a file for each seed and
//! `NAME.dict` for each target, and prints name, longest input, binary and what it reads.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

use vpnprobe_fuzz::list::TARGETS;

fn main() -> io::Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).ok_or(io::ErrorKind::InvalidInput)?);
    for target in TARGETS {
        let folder = directory.join(target.name);
        fs::create_dir_all(&folder)?;
        for (n, seed) in (target.seeds)().iter().filter(|seed| seed.len() <= target.longest).enumerate() {
            fs::write(folder.join(format!("seed-{n:04}")), seed)?;
        }
        let mut words = String::new();
        for word in target.words {
            let bytes: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let _ = writeln!(words, "\"{bytes}\"");
        }
        fs::write(directory.join(format!("{}.dict", target.name)), words)?;
        println!("{}\t{}\t{}\t{}", target.name, target.longest, target.group, target.about);
    }
    Ok(())
}
