//! `vpnprobe explain`: a line of a log, or an error, and what to do about it.

use std::io::{self, IsTerminal as _, Read as _};

use clap::Args;

use super::check::lang;
use super::{UNKNOWN, USAGE, answer, complain};
use crate::diagnose::{Lang, advice, counsel};

/// The most that is read from stdin, in bytes.
const MOST: u64 = 1 << 20;

/// The arguments of `explain`.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// The line or the error, for example NO_PROPOSAL_CHOSEN or "error 809"; none or - reads stdin
    #[arg(value_name = "TEXT")]
    pub text: Vec<String>,
    /// The language of the texts
    #[arg(long, default_value = "en", value_parser = lang)]
    pub lang: Lang,
}

impl Explain {
    /// Explains, and says with which code to exit: 3 if the text is not known.
    pub fn run(&self) -> u8 {
        let text = match self.read() {
            Ok(text) => text,
            Err(problem) => {
                complain(&problem);
                return USAGE;
            }
        };
        let meanings = advice::explain(&text);
        if meanings.is_empty() {
            let first: String = text.trim().lines().next().unwrap_or_default().chars().take(120).collect();
            let shown = first.escape_debug();
            return answer(
                &match self.lang {
                    Lang::En => format!(
                        "Not known: \"{shown}\".\nThat says nothing about how bad it is. `vpnprobe check HOST` tells which step fails.\n"
                    ),
                    Lang::Ja => format!(
                        "該当なし: \"{shown}\"\n登録されていない文言です(重大かどうかは判断できません)。vpnprobe check HOST --lang ja でどの段階の失敗かを確認できます。\n"
                    ),
                },
                UNKNOWN,
            );
        }
        answer(&counsel::explained(&meanings, self.lang), 0)
    }

    fn read(&self) -> Result<String, String> {
        let words = self.text.join(" ");
        if !words.trim().is_empty() && words != "-" {
            return Ok(words);
        }
        if io::stdin().is_terminal() {
            return Err("nothing to explain: give a line of a log, or pipe it in".to_owned());
        }
        let mut bytes = Vec::new();
        io::stdin()
            .take(MOST)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("cannot read stdin: {error}"))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.trim().is_empty() { Err("nothing to explain: stdin is empty".to_owned()) } else { Ok(text) }
    }
}
