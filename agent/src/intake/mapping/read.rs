//! From the text of a mapping to a checked [`Mapping`].

use std::path::Path;
use std::sync::Arc;

use perennial_core::ids::SourceId;
use perennial_core::policy::gate::Vocabulary;
use perennial_core::signal::{FactKind, Grain};
use toml::de::DeTable;

use super::super::catalog::{dateless, fields, kind_words, needed};
use super::super::problem::{Problem, help_with_words, quoted};
use super::super::value::Shape;
use super::fields::{column, columns, spec};
use super::format::{self, Style};
use super::toml::{Node, Reading, Section};
use super::{Belonging, Entry, Mapping, Query, Skip, Slot, Spec, UsageSpec};

/// Most `[[file]]` entries of one mapping: each is one pass over a file.
const MAX_ENTRIES: usize = 200;

/// Most places shown of a text that is not TOML: a data file given by mistake is wrong on every line.
const MAX_SYNTAX_PROBLEMS: usize = 5;

const FILE_KEYS: &[&str] = &["path"];

const QUERY_KEYS: &[&str] = &["name", "sql", "watermark", "overlap"];

const OBJECT_KEYS: &[&str] = &["name", "overlap"];

/// Seconds that each reading of an object goes back: longer than searches lag and clocks differ.
const OBJECT_OVERLAP_S: i64 = 300;

/// Keys of all.
const RECORD_KEYS: &[&str] = &[
    "kind", "key", "account", "event", "observed", "skip", "defaults", "fields", "usage",
];

/// Longest overlap: ten years in seconds.
const OVERLAP_MAX: i64 = 10 * 366 * 86_400;

/// Reads and checks a mapping; see [`Mapping::parse`].
pub(super) fn mapping(path: &Path, text: Arc<str>, named: &Vocabulary) -> Result<Mapping, Vec<Problem>> {
    let mut reading = Reading {
        file: path,
        text: Arc::clone(&text),
        named: Arc::new(named.clone()),
        problems: Vec::new(),
    };
    let (root, errors) = DeTable::parse_recoverable(&text);
    for error in errors.iter().take(MAX_SYNTAX_PROBLEMS) {
        let span = error.span().unwrap_or(0..0);
        let message = format!("not TOML: {}", error.message());
        reading.problem(span, message, "write a mapping as in examples/mappings");
    }
    if !errors.is_empty() {
        // What a broken text seems to say is not worth checking.
        return Err(reading.problems);
    }
    let root = Section {
        table: root.get_ref(),
        span: 0..0,
        what: "the mapping".to_owned(),
    };
    let found = root_section(&mut reading, &root);
    reading.problems.sort_by_key(|problem| (problem.line, problem.column));
    match found {
        Some(root) if reading.problems.is_empty() => {
            let [entries, queries, objects] = root.entries;
            Ok(Mapping {
                source: root.source,
                file: path.to_owned(),
                text,
                entries,
                queries,
                objects,
                writes: root.writes,
                ignored: root.ignored,
            })
        }
        _ => Err(reading.problems),
    }
}

/// What stands in the text.
struct Root {
    source: SourceId,
    /// Files, queries, objects.
    entries: [Vec<Entry>; 3],
    writes: Option<super::Writes>,
    ignored: Vec<String>,
}

fn root_section(reading: &mut Reading<'_>, root: &Section<'_>) -> Option<Root> {
    reading.only(
        root,
        &["source", "defaults", "file", "query", "object", "write", "ignore"],
    );
    let source = source(reading, root);
    let mut style = Style::default();
    if let Some(node) = root.get("defaults")
        && let Some(section) = reading.table(node, "defaults", "[defaults]".to_owned())
    {
        reading.only(&section, format::KEYS);
        style = format::read(reading, &section, style);
    }
    let ignored = root
        .get("ignore")
        .map(|node| ignored(reading, node))
        .unwrap_or_default();
    let help = "add one [[file]] with `path`, `kind` and `key` for each kind of record";
    if ["query", "object", "write"].iter().all(|key| root.get(key).is_none()) {
        reading.required(root, "file", help);
    }
    let files = entries(reading, root, "file", &style, help);
    let help = "add one [[query]] with `name`, `sql`, `kind` and `key` for each kind of record";
    let queries = entries(reading, root, "query", &style, help);
    let help = "add one [[object]] with `name`, `kind` and `key` for each kind of record";
    let objects = entries(reading, root, "object", &style, help);
    let writes = root.get("write").map(|node| super::writes::read(reading, node));
    Some(Root {
        source: source?,
        entries: [files, queries, objects],
        writes,
        ignored,
    })
}

/// The `[[file]]` or `[[query]]` entries.
fn entries(reading: &mut Reading<'_>, root: &Section<'_>, what: &'static str, style: &Style, help: &str) -> Vec<Entry> {
    let Some(node) = root.get(what) else {
        return Vec::new();
    };
    let mut entries: Vec<Entry> = Vec::new();
    let list = reading.list(node, what);
    if list.is_empty() {
        reading.problem(node.span(), format!("no {what} is mapped"), help);
    }
    if list.len() > MAX_ENTRIES {
        let message = format!("more than {MAX_ENTRIES} [[{what}]] entries");
        reading.problem(node.span(), message, "split the mapping");
    }
    for node in list.iter().take(MAX_ENTRIES) {
        let Some(section) = reading.table(node, what, format!("[[{what}]]")) else {
            continue;
        };
        let Some(entry) = entry(reading, &section, style, what) else {
            continue;
        };
        // A file may be read several times; how far a query was read is kept by its name.
        if what == "query" && entries.iter().any(|other| other.path == entry.path) {
            let message = format!("two queries are named `{}`", entry.path);
            reading.problem(entry.span.clone(), message, "give each a name of its own");
        }
        entries.push(entry);
    }
    entries
}

fn source(reading: &mut Reading<'_>, root: &Section<'_>) -> Option<SourceId> {
    let node = reading.required(
        root,
        "source",
        "name the system the files come from: source = \"billing\"",
    )?;
    let text = reading.text(node, "source")?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if text.len() > 64 || !text.chars().all(fits) {
        reading.problem(
            node.span(),
            format!("`{text}` cannot name a source"),
            "use up to 64 small letters, digits, `-` and `_`",
        );
        return None;
    }
    Some(SourceId::new(text))
}

fn ignored(reading: &mut Reading<'_>, node: &Node<'_>) -> Vec<String> {
    let mut paths = Vec::new();
    for item in reading.list(node, "ignore") {
        let Some(section) = reading.table(item, "ignore", "`ignore`".to_owned()) else {
            continue;
        };
        reading.only(&section, &["path", "reason"]);
        let path = reading
            .required(&section, "path", "name the file")
            .and_then(|node| reading.text(node, "path"));
        if let Some(node) = reading.required(&section, "reason", "say why the file is not imported") {
            reading.text(node, "reason");
        }
        paths.extend(path);
    }
    paths
}

fn entry(reading: &mut Reading<'_>, section: &Section<'_>, style: &Style, what: &str) -> Option<Entry> {
    let (path, query) = match what {
        "query" => {
            reading.only(section, &[QUERY_KEYS, RECORD_KEYS].concat());
            (name(reading, section), query(reading, section).map(Some))
        }
        "object" => {
            reading.only(section, &[OBJECT_KEYS, RECORD_KEYS].concat());
            (object(reading, section), Some(None))
        }
        _ => {
            reading.only(section, &[FILE_KEYS, RECORD_KEYS].concat());
            (path(reading, section), Some(None))
        }
    };
    let overlap = section.get("overlap").filter(|_| what == "object");
    let overlap_s = overlap.and_then(|node| reading.integer(node, "overlap", 0, OVERLAP_MAX));
    let kind = kind(reading, section);
    let mut style = style.clone();
    if let Some(node) = section.get("defaults")
        && let Some(section) = reading.table(node, "defaults", "[file.defaults]".to_owned())
    {
        reading.only(&section, format::KEYS);
        style = format::read(reading, &section, style);
    }
    let key = reading
        .required(section, "key", "name the column or columns that identify a record")
        .and_then(|node| columns(reading, node, "key"));
    let skips = section.get("skip").map(|node| skips(reading, node)).unwrap_or_default();
    // Everything below depends on the kind.
    let kind = kind?;
    let belongs = belonging(reading, section, kind, &key, &style);
    let usage = usage(reading, section, kind, &style);
    let slots = slots(reading, section, kind, &style);
    let event = event(reading, section, kind, &style, usage.as_ref());
    let observed = section
        .get("observed")
        .and_then(|node| spec(reading, node, "observed", Shape::Moment, &style));
    if kind == FactKind::Usage && usage.is_none() {
        return None;
    }
    let (path, span) = path?;
    Some(Entry {
        path,
        query: query?,
        overlap_s: overlap_s.unwrap_or(OBJECT_OVERLAP_S),
        span,
        kind,
        format: Arc::new(style.format),
        key: key?,
        belongs: belongs?,
        event,
        observed,
        skips,
        slots,
        usage,
    })
}

fn name(reading: &mut Reading<'_>, section: &Section<'_>) -> Option<(String, std::ops::Range<usize>)> {
    let node = reading.required(
        section,
        "name",
        "name the query: how far it was read is kept under its name",
    )?;
    let name = reading.text(node, "name")?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.len() > 64 || !name.chars().all(fits) {
        let help = "use up to 64 small letters, digits, `-` and `_`";
        reading.problem(node.span(), format!("`{name}` cannot name a query"), help);
        return None;
    }
    Some((name, node.span()))
}

fn object(reading: &mut Reading<'_>, section: &Section<'_>) -> Option<(String, std::ops::Range<usize>)> {
    let node = reading.required(
        section,
        "name",
        "name the object of the CRM, such as \"Account\" or \"companies\"",
    )?;
    let name = reading.text(node, "name")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.len() > 64 || !name.chars().all(fits) {
        let help = "use the API name of the object: letters, digits and `_`";
        reading.problem(node.span(), format!("`{name}` cannot name an object"), help);
        return None;
    }
    Some((name, node.span()))
}

fn query(reading: &mut Reading<'_>, section: &Section<'_>) -> Option<Query> {
    let watermark = match section.get("watermark") {
        Some(node) => Some(super::fields::column(reading, node, "watermark")?),
        None => None,
    };
    let mut overlap = 0;
    if let Some(node) = section.get("overlap") {
        overlap = reading.integer(node, "overlap", 0, OVERLAP_MAX).unwrap_or_default();
        if watermark.is_none() {
            let help = "name the `watermark` column, or leave `overlap` out";
            reading.problem(node.span(), "`overlap` without `watermark`", help);
        }
    }
    let node = reading.required(
        section,
        "sql",
        "write the query; with `watermark`, $1 is what was reached before",
    )?;
    let sql = reading.text(node, "sql")?;
    Some(Query {
        sql,
        span: node.span(),
        watermark,
        overlap,
    })
}

fn path(reading: &mut Reading<'_>, section: &Section<'_>) -> Option<(String, std::ops::Range<usize>)> {
    let node = reading.required(section, "path", "name the CSV file inside the folder")?;
    let path = reading.text(node, "path")?;
    let inside = Path::new(&path)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if !inside {
        reading.problem(
            node.span(),
            format!("`{path}` leaves the folder of the import"),
            "name a file inside the folder, without `..` or a leading `/`",
        );
        return None;
    }
    Some((path, node.span()))
}

fn kind(reading: &mut Reading<'_>, section: &Section<'_>) -> Option<FactKind> {
    let node = reading.required(section, "kind", &format!("known: {}", quoted(&kind_words())))?;
    let word = reading.text(node, "kind")?;
    let kind = FactKind::from_word(&word);
    if kind.is_none() {
        reading.problem(
            node.span(),
            format!("unknown kind `{word}`"),
            help_with_words(&word, &kind_words()),
        );
    }
    kind
}

fn skips(reading: &mut Reading<'_>, node: &Node<'_>) -> Vec<Skip> {
    let mut skips = Vec::new();
    for item in reading.list(node, "skip") {
        let Some(section) = reading.table(item, "skip", "`skip`".to_owned()) else {
            continue;
        };
        reading.only(&section, &["column", "equals", "reason"]);
        let column = reading
            .required(&section, "column", "name the column to look at")
            .and_then(|node| column(reading, node, "column"));
        let equals = reading
            .required(&section, "equals", "give the text or texts of rows to leave out")
            .and_then(|node| reading.texts(node, "equals"));
        let reason = reading
            .required(&section, "reason", "say why: the reason stands in the rejects file")
            .and_then(|node| reading.text(node, "reason"));
        if let (Some(column), Some(equals), Some(reason)) = (column, equals, reason) {
            let equals = equals.into_iter().map(|(text, _)| text.trim().to_owned()).collect();
            skips.push(Skip { column, equals, reason });
        }
    }
    skips
}

fn belonging(
    reading: &mut Reading<'_>,
    section: &Section<'_>,
    kind: FactKind,
    key: &Option<Vec<super::Column>>,
    style: &Style,
) -> Option<Belonging> {
    let node = section.get("account");
    if kind.is_portfolio() {
        if let Some(node) = node {
            let message = format!("records of kind `{kind}` belong to no account");
            reading.problem(node.span(), message, "leave `account` out");
        }
        return Some(Belonging::Portfolio);
    }
    let Some(node) = node else {
        // The record of an account is about the account that it identifies.
        if kind == FactKind::Account {
            return match key.as_deref() {
                Some([only]) => {
                    let text =
                        toml::Spanned::new(only.span.clone(), toml::de::DeValue::String(only.name.clone().into()));
                    spec(reading, &text, "account", Shape::Account, style).map(Belonging::Account)
                }
                Some(_) => {
                    let help = "the key has several columns: say which holds the account id";
                    reading.required(section, "account", help);
                    None
                }
                None => None,
            };
        }
        reading.required(section, "account", "name the column with the account id");
        return None;
    };
    let via = node.get_ref().as_table().is_some_and(|table| {
        table
            .iter()
            .any(|(name, _)| matches!(name.get_ref().as_ref(), "via" | "columns"))
    });
    if !via {
        return spec(reading, node, "account", Shape::Account, style).map(Belonging::Account);
    }
    let section = reading.table(node, "account", "`account`".to_owned())?;
    reading.only(&section, &["via", "column"]);
    let word_node = reading.required(&section, "via", "name the kind of record that knows the account")?;
    let word = reading.text(word_node, "via")?;
    let through = FactKind::from_word(&word).filter(|through| !through.is_portfolio() && *through != kind);
    if through.is_none() {
        let known = kind_words()
            .into_iter()
            .filter(|other| {
                *other != kind.as_str() && FactKind::from_word(other).is_some_and(|kind| !kind.is_portfolio())
            })
            .collect::<Vec<_>>();
        let message = format!("`{word}` is no kind of record that knows an account");
        reading.problem(word_node.span(), message, help_with_words(&word, &known));
    }
    let columns = reading
        .required(&section, "column", "name the column with the id of that record")
        .and_then(|node| columns(reading, node, "column"));
    Some(Belonging::Via {
        kind: through?,
        columns: columns?,
    })
}

fn event(
    reading: &mut Reading<'_>,
    section: &Section<'_>,
    kind: FactKind,
    style: &Style,
    usage: Option<&UsageSpec>,
) -> Option<Spec> {
    if let Some(node) = section.get("event") {
        return spec(reading, node, "event", Shape::Moment, style);
    }
    if let Some(usage) = usage {
        let mut event = usage.start.clone();
        event.converter.shape = Shape::Moment;
        return Some(event);
    }
    if !dateless(kind) && kind != FactKind::Usage {
        let help = "name the column that says when it happened; a record without a date is \
                    event = { value = \"1970-01-01\" }";
        reading.required(section, "event", help);
    }
    None
}

fn slots(reading: &mut Reading<'_>, section: &Section<'_>, kind: FactKind, style: &Style) -> Vec<Slot> {
    let catalogue = fields(kind);
    let mut slots = catalogue.iter().map(|_| Slot::Nothing).collect::<Vec<_>>();
    let Some(node) = section.get("fields") else {
        missing_fields(reading, section, kind, &slots);
        return slots;
    };
    let Some(table) = reading.table(node, "fields", "[file.fields]".to_owned()) else {
        return slots;
    };
    if kind == FactKind::Usage {
        reading.problem(
            table.span,
            "records of kind `usage` have no `fields`",
            "use [file.usage] with `grain`, `start` and `values`",
        );
        return slots;
    }
    let known = catalogue.iter().map(|field| field.name).collect::<Vec<_>>();
    for (name, span, node) in table.pairs() {
        let Some(index) = known.iter().position(|known| *known == name) else {
            let message = format!("records of kind `{kind}` have no field `{name}`");
            reading.problem(span, message, help_with_words(name, &known));
            continue;
        };
        slots[index] = match catalogue[index].shape {
            Shape::Attributes => Slot::Attributes(named(reading, node, name, Shape::Text, style)),
            shape => match spec(reading, node, name, shape, style) {
                Some(spec) => Slot::One(spec),
                // Its problem is noted; the slot counts as filled, so that it is not also called missing.
                None => Slot::Attributes(Vec::new()),
            },
        };
    }
    missing_fields(reading, &table, kind, &slots);
    slots
}

fn missing_fields(reading: &mut Reading<'_>, section: &Section<'_>, kind: FactKind, slots: &[Slot]) {
    for needed in needed(kind) {
        let index = fields(kind).iter().position(|field| field.name == *needed);
        if index.is_none_or(|index| matches!(slots.get(index), Some(Slot::Nothing) | None)) {
            let message = format!("records of kind `{kind}` need the field `{needed}`");
            reading.problem(
                section.span.clone(),
                message,
                format!("add `{needed} = \"<column>\"` to [file.fields]"),
            );
        }
    }
}

/// A table of free names, each filled like a field.
fn named(reading: &mut Reading<'_>, node: &Node<'_>, key: &str, shape: Shape, style: &Style) -> Vec<(String, Spec)> {
    let Some(table) = reading.table(node, key, format!("`{key}`")) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (name, _, node) in table.pairs() {
        if let Some(spec) = spec(reading, node, name, shape, style) {
            all.push((name.to_owned(), spec));
        }
    }
    all
}

fn usage(reading: &mut Reading<'_>, section: &Section<'_>, kind: FactKind, style: &Style) -> Option<UsageSpec> {
    let node = section.get("usage");
    if kind != FactKind::Usage {
        if let Some(node) = node {
            let message = format!("records of kind `{kind}` have no `usage`");
            reading.problem(node.span(), message, "use [file.fields]");
        }
        return None;
    }
    let help = "add [file.usage] with `grain`, `start` and `values`";
    let node = reading.required(section, "usage", help)?;
    let table = reading.table(node, "usage", "[file.usage]".to_owned())?;
    reading.only(&table, &["grain", "start", "product", "values"]);
    let words = Grain::ALL.iter().map(|grain| grain.as_str()).collect::<Vec<_>>();
    let grain = reading
        .required(&table, "grain", "write \"day\" or \"week\"")
        .and_then(|node| {
            let word = reading.text(node, "grain")?;
            let grain = Grain::from_word(&word);
            if grain.is_none() {
                let help = help_with_words(&word, &words);
                reading.problem(node.span(), format!("unknown grain `{word}`"), help);
            }
            grain
        });
    let start = reading
        .required(&table, "start", "name the column with the first day of the period")
        .and_then(|node| spec(reading, node, "start", Shape::Day, style));
    let product = table
        .get("product")
        .and_then(|node| spec(reading, node, "product", Shape::Text, style));
    let metrics = reading
        .required(&table, "values", "name the metrics, each with its column")
        .map(|node| {
            let metrics = named(reading, node, "values", Shape::Number, style);
            if node.get_ref().as_table().is_some_and(|table| table.is_empty()) {
                reading.problem(node.span(), "`values` names no metric", "");
            }
            metrics
        });
    Some(UsageSpec {
        grain: grain?,
        start: start?,
        product,
        metrics: metrics?,
    })
}
