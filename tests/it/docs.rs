//! The documents: what is generated from the code equals the files, links lead somewhere, commands parse, and every
//! key and every field of a JSON output is named.
//!
//! `PERENNIAL_BLESS=1` writes the generated files instead of comparing them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use perennial::config::Limits;
use perennial::intake::ImportOptions;
use perennial_core::draft::{MARKDOWN_BYTES_MAX, TEMPLATE_BYTES_MAX};
use perennial_core::feature::{CATALOGUE, Unit, label};
use perennial_tests::root;
use perennial_tools::Connection;
use serde_json::Value;

/// Width of the help texts in the reference.
const HELP_WIDTH: usize = 100;
/// First line of every generated file.
const GENERATED: &str = "<!-- Generated from the code by tests/it/docs.rs. Do not edit. -->";
/// Around the generated part of a page that people write.
const BEGIN: &str = "<!-- generated: limits -->";
const END: &str = "<!-- end of generated: limits -->";

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Compares a generated text with its file, or writes it.
#[track_caller]
fn bless(path: &str, text: &str) {
    let file = root().join(path);
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    if found == text {
        return;
    }
    if std::env::var_os("PERENNIAL_BLESS").is_some() {
        std::fs::write(&file, text).unwrap();
        return;
    }
    let line = found.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
    panic!(
        "{path}:{line} is not what the code says: run PERENNIAL_BLESS=1 cargo test -p perennial-tests --test it docs"
    );
}

// ------------------------------------------------------------------------------------------------ generated pages

/// How a condition of a playbook sees a fact.
fn in_conditions(unit: Unit, scale: i64) -> &'static str {
    match (unit, scale) {
        (Unit::Flag, _) => "yes/no",
        (Unit::Text, _) => "text",
        (Unit::Date | Unit::Money, _) | (_, 0) => "not available",
        (_, 1) => "whole number",
        (_, 10) => "tenths",
        (_, 1000) => "thousandths",
        (_, _) => panic!("name the scale {scale} here"),
    }
}

#[test]
fn the_reference_of_facts_is_that_of_the_code() {
    let mut page = format!(
        "{GENERATED}\n\n# Facts\n\n\
         A fact is computed from an account's records as of a time. These names are used in `scoring.toml`, in the\n\
         conditions, texts and evidence of playbooks, in rules, and in JSON output.\n\n\
         A fact without its inputs is unknown, never zero. A condition that reads an unknown fact does not hold, and the\n\
         decision names the missing field.\n\n\
         The last column is how a condition sees the fact. Conditions know whole numbers only: *tenths* means the value\n\
         times 10, *thousandths* the value times 1000, both rounded down, like all others.\n\n\
         | fact | on screen | unit | meaning | in conditions |\n|---|---|---|---|---|\n"
    );
    for d in CATALOGUE {
        let how = in_conditions(d.unit, d.trigger_scale);
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {how} |",
            d.name,
            label(d.name),
            d.unit.as_str(),
            d.meaning.replace('|', "\\|")
        )
        .unwrap();
    }
    bless("docs/src/reference/facts.md", &page);
}

#[test]
fn the_schema_of_rules_is_that_of_the_code() {
    bless(
        "policies/schema.cedarschema",
        &perennial_core::policy::gate::schema_text(&perennial_core::policy::gate::Vocabulary::default()),
    );
}

/// The program and all its commands, deepest last, as `perennial queue list` and the help text.
fn helps(command: &mut clap::Command, found: &mut Vec<(String, String)>) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    found.push((name, help.join("\n").trim_end().to_owned()));
    for sub in command.get_subcommands_mut() {
        if sub.get_name() != "help" && !sub.is_hide_set() {
            helps(sub, found);
        }
    }
}

#[test]
fn the_reference_of_commands_is_that_of_the_code() {
    let mut command = perennial::cli::command().term_width(HELP_WIDTH);
    command.build();
    let mut found = Vec::new();
    helps(&mut command, &mut found);
    assert!(found.len() > 15, "only {} commands were found", found.len());
    let mut page = format!(
        "{GENERATED}\n\n# Commands\n\n\
         What `--help` says, for every command. Results go to standard output; logs, progress and errors to standard\n\
         error. Exit codes: 0 done, 1 failed, 2 bad usage or bad input.\n"
    );
    for (name, help) in found {
        write!(page, "\n## {name}\n\n```text\n{help}\n```\n").unwrap();
    }
    bless("docs/src/reference/cli.md", &page);
}

/// Reasons of the limits: the comments on the fields of `Limits` in `config.rs`.
fn reasons() -> Vec<(String, String)> {
    let source = read("agent/src/config.rs");
    let body = source
        .split("pub struct Limits {")
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    let mut reasons = Vec::new();
    let mut comment = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if let Some(field) = line.strip_prefix("pub ") {
            let name = field.split(':').next().unwrap().to_owned();
            reasons.push((name, std::mem::take(&mut comment).trim().to_owned()));
        }
    }
    reasons
}

/// Defaults of the limits by name.
fn defaults() -> BTreeMap<String, String> {
    let debug = format!("{:#?}", Limits::default());
    let pairs = debug
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn the_limits_on_the_configuration_page_are_those_of_the_code() {
    let (reasons, defaults) = (reasons(), defaults());
    assert_eq!(reasons.len(), defaults.len());
    let mut part = String::from("\n| key in `[limits]` | default | what it limits, and why |\n|---|---|---|\n");
    for (name, reason) in &reasons {
        let default: u64 = defaults[name].parse().unwrap();
        writeln!(part, "| `{name}` | {} | {reason} |", grouped(default)).unwrap();
    }
    let import = ImportOptions::new(".");
    let fixed = [
        ("rows of one import transaction", import.batch_rows as u64),
        ("bytes of one import transaction", import.batch_bytes as u64),
        (
            "batches of an import that wait for the database",
            import.queue_batches as u64,
        ),
        ("bytes of one imported row", import.max_row_bytes as u64),
        ("milliseconds to connect to a CRM", Connection::CONNECT_TIMEOUT_MS),
        ("bytes of one template", TEMPLATE_BYTES_MAX as u64),
        ("bytes of one drafted document", MARKDOWN_BYTES_MAX as u64),
    ];
    part.push_str("\nLimits that cannot be configured:\n\n| limit | value |\n|---|---|\n");
    for (what, value) in fixed {
        writeln!(part, "| {what} | {} |", grouped(value)).unwrap();
    }
    part.push('\n');
    let path = "docs/src/operator/configuration.md";
    let page = read(path);
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has the mark where the part begins");
    let (_, after) = rest.split_once(END).expect("the page has the mark where the part ends");
    bless(path, &format!("{before}{BEGIN}\n{part}{END}{after}"));
}

// ------------------------------------------------------------------------------------------------ the configuration

/// Keys and tables of the configuration as `init` writes it.
fn keys() -> BTreeSet<String> {
    let text = read("agent/src/cli/init/perennial.toml");
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(table) = line.strip_prefix('[') {
            keys.insert(format!("[{}]", table.split(']').next().unwrap()));
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim();
            if !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                keys.insert(key.to_owned());
            }
        }
    }
    keys
}

#[test]
fn the_configuration_page_names_every_key() {
    let page = read("docs/src/operator/configuration.md");
    let keys = keys();
    assert!(keys.len() > 25, "{keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert!(
        missing.is_empty(),
        "docs/src/operator/configuration.md does not name {missing:?}"
    );
}

#[test]
fn the_commented_limits_are_the_defaults() {
    let text = read("agent/src/cli/init/perennial.toml");
    let limits = text.split("# [limits]").nth(1).unwrap();
    let limits: String = limits
        .lines()
        .map(|line| format!("{}\n", line.trim_start_matches(['#', ' '])))
        .collect();
    let limits: Limits = toml::from_str(&limits).unwrap();
    assert_eq!(limits, Limits::default());
}

// ------------------------------------------------------------------------------------------------ links and commands

/// The documents, as paths below the root.
fn documents() -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = vec![
        root.join("README.md"),
        root.join("ARCHITECTURE.md"),
        root.join("CHANGELOG.md"),
    ];
    walk(&root.join("docs/src"), &mut found);
    found.sort();
    found
        .iter()
        .map(|path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned())
        .collect()
}

/// Lines of a document with whether they stand in a fenced block, and in which language.
fn lines(text: &str) -> Vec<(usize, Option<String>, &str)> {
    let mut fence: Option<String> = None;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() {
                None
            } else {
                Some(language.trim().to_owned())
            };
        } else {
            found.push((number + 1, fence.clone(), line));
        }
    }
    found
}

/// The pieces of a line between backquotes.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let text = read(&document);
        for (number, fence, line) in lines(&text) {
            if fence.is_some() {
                continue;
            }
            let plain: String = line.split('`').step_by(2).collect();
            for part in plain.split("](").skip(1) {
                let target = part.split(')').next().unwrap().split('#').next().unwrap().trim();
                if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                seen += 1;
                if !root().join(&document).parent().unwrap().join(target).is_file() {
                    broken.push(format!("{document}:{number}: {target}"));
                }
            }
        }
    }
    assert!(seen > 40, "only {seen} links were found");
    assert!(broken.is_empty(), "links to nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_summary_lists_every_page_once() {
    let summary = read("docs/src/SUMMARY.md");
    let mut listed: Vec<String> = summary
        .split("](")
        .skip(1)
        .map(|part| format!("docs/src/{}", part.split(')').next().unwrap()))
        .collect();
    listed.sort();
    let pages: Vec<String> = documents()
        .into_iter()
        .filter(|d| d.starts_with("docs/src/") && !d.ends_with("SUMMARY.md"))
        .collect();
    assert_eq!(listed, pages);
}

/// The words of a shell line up to a comment, a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '>' | '&' | ';') => break,
            (None, '#') if word.is_none() => break,
            (None, ' ') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The command of ours in a line of a shell, without what stands before it.
fn command_of(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ");
    let line = line
        .strip_prefix("cargo run --release -- ")
        .map_or_else(|| line.to_owned(), |r| format!("perennial {r}"));
    let words = words(&line);
    (words.first().map(String::as_str) == Some("perennial")).then_some(words)
}

#[test]
fn every_command_that_is_shown_parses() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        if document.ends_with("reference/cli.md") {
            continue;
        }
        let text = read(&document);
        for (number, fence, line) in lines(&text) {
            let shell = matches!(fence.as_deref(), Some("console" | "sh" | "bash"));
            let commands: Vec<Vec<String>> = match &fence {
                Some(_) if shell => command_of(line).into_iter().collect(),
                Some(_) => Vec::new(),
                None => code_spans(line).filter_map(command_of).collect(),
            };
            for words in commands {
                seen += 1;
                let Err(error) = perennial::cli::command().try_get_matches_from(&words) else {
                    continue;
                };
                // In a sentence a command may be named without all that it needs.
                let named_only = matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp
                        | ErrorKind::DisplayVersion
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        | ErrorKind::MissingSubcommand
                        | ErrorKind::MissingRequiredArgument
                );
                if shell && !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) || !named_only {
                    wrong.push(format!("{document}:{number}: {}: {error}", words.join(" ")));
                }
            }
        }
    }
    assert!(seen > 40, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// ------------------------------------------------------------------------------------------------ JSON outputs

/// Tables of JSON whose keys are data, not fields.
const KEYED_BY_DATA: &[&str] = &[
    "playbooks",
    "notes",
    "health",
    "features",
    "fields",
    "before",
    "after",
    "tiers",
    "detectors",
];

fn fields(value: &Value, under: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(table) => {
            let data = KEYED_BY_DATA.contains(&under) && !table.contains_key("contributions");
            for (key, inner) in table {
                if !data {
                    found.insert(key.clone());
                }
                fields(inner, if data { "" } else { key }, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| fields(inner, "", found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_json_page_names_every_field() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| perennial_tests::run(crate::PROGRAM, folder.path(), args).ok();
    let config = ["--json", "--config", "perennial-demo/perennial.toml"];
    let with = |args: &[&str]| {
        let all: Vec<&str> = args.iter().chain(&config).copied().collect();
        run(&all).json()
    };
    run(&["demo"]);
    let queue = with(&["queue", "list"]);
    let (id, account) = (queue[0]["id"].as_str().unwrap(), queue[0]["account"].as_str().unwrap());
    let outputs = [
        with(&[
            "import",
            "perennial-demo/data",
            "--mapping",
            "perennial-demo/mapping.toml",
        ]),
        with(&["run", "--once", "--dry-run"]),
        with(&["queue", "show", id, "--offline"]),
        with(&["account", "list"]),
        with(&["account", "show", account]),
        with(&["account", "diff", account, "2026-06-01", "2026-09-01"]),
        with(&[
            "account",
            "set",
            account,
            "--score",
            "health",
            "--value",
            "50",
            "--until",
            "2026-09-30",
            "--reason",
            "a test",
            "--as",
            "OWN-01",
        ]),
        with(&["coverage", "--without", "OWN-09"]),
        with(&["policy", "check"]),
        with(&["policy", "test"]),
        with(&["signals"]),
        with(&["rank"]),
        with(&[
            "run",
            "--shadow",
            "--from",
            "2026-08-31",
            "--to",
            "2026-08-31",
            "--every",
            "7d",
        ]),
        with(&["audit", "verify"]),
        with(&["replay", id]),
        with(&["db", "migrate"]),
        with(&[
            "measure",
            "coldstart",
            "--simulated",
            "--accounts",
            "1500",
            "--draws",
            "2",
        ]),
        with(&["measure", "ope", "--prefer", "highest-value"]),
        with(&["measure", "ope", "--log", "own", "--prefer", "highest-value"]),
        with(&["measure", "effects"]),
        queue.clone(),
    ];
    let mut found = BTreeSet::new();
    outputs.iter().for_each(|output| fields(output, "", &mut found));
    let page = read("docs/src/reference/json.md");
    let missing: Vec<&String> = found
        .iter()
        .filter(|field| !page.contains(&format!("`{field}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/src/reference/json.md does not name {missing:?}"
    );
}

// ------------------------------------------------------------------------------------------------ invariants

fn rust_sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_sources(&path, text);
        } else if name.ends_with(".rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Words in a name from which on it is taken for the name of a test.
const TEST_WORDS: usize = 5;

#[test]
fn every_test_that_the_architecture_names_exists() {
    let mut sources = String::new();
    rust_sources(&root(), &mut sources);
    let page = read("ARCHITECTURE.md");
    let named: BTreeSet<&str> = page
        .lines()
        .flat_map(code_spans)
        .filter(|span| {
            span.chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        })
        .filter(|span| span.split('_').count() >= TEST_WORDS)
        .collect();
    assert!(named.len() > 30, "only {} tests are named", named.len());
    let gone: Vec<&&str> = named
        .iter()
        .filter(|name| !sources.contains(&format!("fn {name}(")))
        .collect();
    assert!(
        gone.is_empty(),
        "ARCHITECTURE.md names tests that are not there: {gone:?}"
    );
}
