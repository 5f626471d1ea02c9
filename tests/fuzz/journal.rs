//! Journals: people send them, so they may hold anything.

use std::io::Cursor;

use vpnprobe::journal::{Entry, Reader, parse, write_header, write_record};
use vpnprobe::replay::{Replay, Rules};

use crate::{each_input, inputs};

const HEADER: &str = r#"{"journal":{"schema":1,"version":"0.1.0","run":1,"file":1,"wall":1795305600000000000,"now":1,"outage":[20000000000,5,10000000000]}}"#;
const PLACE: &str = r#"{"place":{"series":0,"now":1,"target":"hq","member":1,"address":"192.0.2.1","probe":"ike","kind":"ike","egress":"default","carrier":"udp","port":500,"interval":1000000000,"timeout":1000000000,"flap":[900000000000,3000,750,12000],"profiles":[["cisco_asa","periodic",10000000000,[2000000000,2000000000,2000000000]]]}}"#;

/// Lines as the daemon writes them.
fn lines() -> Vec<Vec<u8>> {
    let mut lines: Vec<String> = [
        HEADER,
        PLACE,
        r#"{"remove":{"series":0,"now":5}}"#,
        r#"{"tick":{"now":5,"wall":1795305600000000000}}"#,
        r#"{"gap":{"lost":12}}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    for seq in 0..40_u64 {
        let (due, lost) = (seq * 1_000_000_000, (10..30).contains(&seq));
        let outcome =
            if lost { "1000000000,\"lost:no_answer\",null" } else { "12000000,\"answered\",12000000" };
        lines.push(format!("[0,{seq},\"version\",{due},53000,{outcome}]"));
    }
    lines.into_iter().map(String::into_bytes).collect()
}

#[test]
fn journal_lines() {
    each_input(40, &lines(), inputs(), |bytes| {
        let mut again = Vec::new();
        match parse(bytes) {
            Ok(Entry::Record(record)) => write_record(&record, &mut again).unwrap(),
            Ok(Entry::Header(header)) => write_header(&header, &mut again).unwrap(),
            Err(_) => return,
        }
        assert_eq!(parse(&again[..again.len() - 1]), parse(bytes));
    });
}

/// Whole files, told to the detectors.
#[test]
fn journal_files() {
    let mut file = [HEADER, PLACE].join("\n").into_bytes();
    for line in lines().into_iter().skip(2) {
        file.push(b'\n');
        file.extend(line);
    }
    let start = [HEADER, PLACE, ""].join("\n").into_bytes();
    each_input(41, &[file, lines().concat(), lines().join(&b'\n')], inputs() / 20, |bytes| {
        let input = [&start[..], bytes].concat();
        for lenient in [false, true] {
            let rules = Rules { profiles: vec!["cisco_asa,tries=5".parse().unwrap()], ..Rules::default() };
            let mut replay = Replay::new(rules);
            let _ = replay.read(&mut Reader::new("fuzz".into(), Cursor::new(&input), lenient));
            replay.finish();
        }
    });
}
