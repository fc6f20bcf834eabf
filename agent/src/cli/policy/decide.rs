//! `perennial policy decide`: requests as JSON, one a line.

use std::io::{BufRead as _, BufReader, Read as _};

use clap::Args;
use perennial_core::policy::Policies;
use perennial_core::policy::question::{Unnamed, from_json};
use perennial_core::time::Timestamp;
use serde_json::json;

use super::super::{Failure, Output};
use crate::config::Config;
use crate::content;

#[derive(Debug, Args)]
pub(in crate::cli) struct DecideArgs {
    /// Take facts that a request does not name for harmless, as the tests of tests/*.toml do, and not for unknown
    #[arg(long)]
    harmless: bool,
}

/// Longest request, bytes: a request that names every fact has some 4,000.
const LINE_MAX: u64 = 1_000_000;

pub(super) fn decide(config: &Config, args: &DecideArgs, output: &Output) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let unnamed = if args.harmless {
        Unnamed::Harmless
    } else {
        Unnamed::Unknown
    };
    let now = config.clock.now();
    let mut reader = BufReader::new(std::io::stdin().lock());
    let mut malformed = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        let unreadable = |error: std::io::Error| Failure::failed(format!("standard input cannot be read: {error}"));
        let read = (&mut reader)
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)
            .map_err(unreadable)?;
        if read == 0 {
            break;
        }
        let cut = !line.ends_with(b"\n") && line.len() as u64 == LINE_MAX;
        if cut {
            reader.skip_until(b'\n').map_err(unreadable)?;
        }
        let text = match std::str::from_utf8(&line) {
            _ if cut => Err(format!("a request has at most {LINE_MAX} bytes")),
            Ok(text) => Ok(text.trim()),
            Err(_) => Err("the line is not UTF-8".to_owned()),
        };
        if text == Ok("") {
            continue;
        }
        let answer = match text.and_then(|text| answer(text, &policies, unnamed, now)) {
            Ok(answer) => answer,
            Err(error) => {
                malformed = true;
                json!({ "error": error })
            }
        };
        output.line(&answer.to_string());
    }
    if malformed {
        Err(Failure::said_of_input())
    } else {
        Ok(())
    }
}

fn answer(text: &str, policies: &Policies, unnamed: Unnamed, now: Timestamp) -> Result<serde_json::Value, String> {
    let question = from_json(text, unnamed, now, policies.gate.vocabulary()).map_err(|mistake| mistake.to_string())?;
    let decided = question.decide(&policies.gate, &policies.settings);
    Ok(json!({
        "verdict": decided.level.map_or(decided.word.as_str(), |level| level.as_str()),
        "role": decided.role,
        "rules": decided.rules,
    }))
}
