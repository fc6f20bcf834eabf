//! The input as a template sees it, with every figure already written in the three ways it can be shown.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::figure::{Figure, FigureSlot, Show, day_text, is_evidence_id};
use super::input::{DraftInput, Piece, Statement, not_known};
use super::marks::{FIGURES_KEY, STATEMENTS_KEY};
use super::render::{DraftError, EvidenceLine};
use super::slots::{Declaration, FIGURES};
use super::text::{MARK_CLOSE, MARK_OPEN, clean, escape_markdown};

/// Data for the template engine, and the evidence line that each mark in its output stands for.
pub(super) struct View {
    pub(super) data: Value,
    pub(super) lines: Vec<EvidenceLine>,
}

/// Builds the view of an input for a document.
pub(super) fn view(input: &DraftInput, declaration: &Declaration) -> Result<View, DraftError> {
    require(input, declaration)?;
    let unfilled = FigureSlot::unknown(String::new());
    let mut slots: BTreeMap<String, &FigureSlot> = input.slots().into_iter().collect();
    for name in declaration.figures.keys().filter(|name| !name.contains('.')) {
        slots.entry(name.clone()).or_insert(&unfilled);
    }

    let (mut figures, mut lines) = (Map::new(), Vec::new());
    for (key, slot) in &slots {
        let written = match slot {
            FigureSlot::Known(figure) => {
                let line = evidence_line(input, declaration, key, figure)?;
                lines.push(line);
                known(figure, lines.len() - 1)
            }
            FigureSlot::Unknown { missing } => unknown(missing),
        };
        figures.insert(key.clone(), written);
    }

    let mut statements = Map::new();
    for (key, statement) in input.statements() {
        statements.insert(key.clone(), Value::String(sentence(&key, statement, &figures)?));
    }

    let mut data = plain(input);
    for name in declaration.figures.keys().filter(|name| !name.contains('.')) {
        data.insert(name.clone(), Value::String(name.clone()));
    }
    data.insert(FIGURES_KEY.to_owned(), Value::Object(figures));
    data.insert(STATEMENTS_KEY.to_owned(), Value::Object(statements));
    Ok(View {
        data: Value::Object(data),
        lines,
    })
}

/// The declared name of a key: `contracts.0.arr` is one of `contracts.arr`.
fn declared_name(key: &str) -> String {
    let parts: Vec<&str> = key.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
    parts.join(".")
}

fn evidence_line(
    input: &DraftInput,
    declaration: &Declaration,
    key: &str,
    figure: &Figure,
) -> Result<EvidenceLine, DraftError> {
    let name = declared_name(key);
    if !is_evidence_id(&figure.evidence) {
        return Err(DraftError::EvidenceId {
            figure: key.to_owned(),
            id: figure.evidence.clone(),
        });
    }
    if let Some((_, expected)) = FIGURES.iter().find(|(offered, _)| *offered == name)
        && *expected != figure.value.kind()
    {
        return Err(DraftError::Kind {
            figure: key.to_owned(),
            expected: *expected,
            found: figure.value.kind(),
        });
    }
    if figure.value.text().is_empty() {
        return Err(DraftError::Blank { figure: key.to_owned() });
    }
    let label = declaration.label(&name);
    let of = key
        .strip_prefix("contracts.")
        .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok())
        .and_then(|index| input.contracts.get(index))
        .map(|contract| clean(&contract.product));
    Ok(EvidenceLine {
        id: figure.evidence.clone(),
        label: of
            .filter(|of| !of.is_empty())
            .map_or(label.clone(), |of| format!("{label}, {of}")),
        kind: figure.value.kind(),
        value: figure.value.text(),
        machine: figure.value.machine(),
        as_of: figure.as_of,
        source: clean(&figure.source),
    })
}

fn known(figure: &Figure, mark: usize) -> Value {
    let write = |show| {
        format!(
            "{}{MARK_OPEN}{mark}{MARK_CLOSE}",
            escape_markdown(&figure.value.show(show))
        )
    };
    json!({
        "known": true,
        "sign": figure.value.sign().map(|sign| sign as i8),
        "plain": write(Show::Plain),
        "size": write(Show::Size),
        "signed": write(Show::Signed),
    })
}

fn unknown(missing: &str) -> Value {
    let text = escape_markdown(&not_known(missing));
    json!({ "known": false, "sign": null, "plain": text, "size": text, "signed": text })
}

fn sentence(key: &str, statement: &Statement, figures: &Map<String, Value>) -> Result<String, DraftError> {
    // Escaped piece by piece: spaces between pieces belong to their ends, which cleaning would take away.
    let mut out = String::new();
    for piece in &statement.pieces {
        match piece {
            Piece::Words(words) => {
                if words.chars().any(char::is_numeric) {
                    return Err(DraftError::Digits {
                        statement: key.to_owned(),
                        words: words.clone(),
                    });
                }
                space(&mut out, words.starts_with(char::is_whitespace));
                out.push_str(&escape_markdown(words));
                space(&mut out, words.ends_with(char::is_whitespace));
            }
            Piece::Name(name) => out.push_str(&escape_markdown(name)),
            Piece::Figure(name) => {
                let text = figures
                    .get(name)
                    .and_then(|figure| figure.get("plain"))
                    .and_then(Value::as_str);
                let missing = || DraftError::NoFigure {
                    statement: key.to_owned(),
                    figure: name.clone(),
                };
                out.push_str(text.ok_or_else(missing)?);
            }
        }
    }
    Ok(out.trim().to_owned())
}

fn space(out: &mut String, wanted: bool) {
    if wanted && !out.is_empty() && !out.ends_with(' ') {
        out.push(' ');
    }
}

fn optional(text: Option<&str>) -> Value {
    text.map(clean)
        .filter(|text| !text.is_empty())
        .map_or(Value::Null, Value::String)
}

/// Everything that is not a figure. The engine escapes it when it is printed.
fn plain(input: &DraftInput) -> Map<String, Value> {
    let lines = |list: &str, count: usize, fields: &[&str], extra: &dyn Fn(usize) -> Vec<(&'static str, Value)>| {
        let line = |index: usize| {
            let mut line: Map<String, Value> = fields
                .iter()
                .map(|field| ((*field).to_owned(), Value::String(format!("{list}.{index}.{field}"))))
                .collect();
            line.extend(extra(index).into_iter().map(|(name, value)| (name.to_owned(), value)));
            Value::Object(line)
        };
        Value::Array((0..count).map(line).collect())
    };
    let nothing: &dyn Fn(usize) -> Vec<(&'static str, Value)> = &|_| Vec::new();
    let contract_fields = [
        "seats",
        "arr",
        "arr_proposed",
        "start",
        "end",
        "notice_date",
        "escalator",
        "term",
    ];
    let contact = input
        .contact
        .as_ref()
        .filter(|contact| !clean(&contact.name).is_empty());
    let values = [
        ("account_name", Value::String(clean(&input.account_name))),
        (
            "tier",
            optional(input.tier.map(|tier| tier.as_str().replace('_', " ")).as_deref()),
        ),
        (
            "period",
            json!({ "name": input.period.name(), "from": day_text(input.period.from), "to": day_text(input.period.to) }),
        ),
        ("prepared_on", Value::String(day_text(input.prepared_on))),
        ("valid_until", optional(input.valid_until.map(day_text).as_deref())),
        ("our_name", optional(input.our_name.as_deref())),
        ("owner_name", optional(input.owner_name.as_deref())),
        (
            "contact",
            contact.map_or(
                Value::Null,
                |c| json!({ "name": clean(&c.name), "title": optional(c.title.as_deref()) }),
            ),
        ),
        (
            "products",
            lines("products", input.products.len(), &[], &|i| {
                vec![("name", optional(Some(&input.products[i])))]
            }),
        ),
        (
            "contracts",
            lines("contracts", input.contracts.len(), &contract_fields, &|i| {
                let contract = &input.contracts[i];
                vec![
                    ("product", optional(Some(&contract.product))),
                    ("renews_itself", Value::Bool(contract.auto_renew == Some(true))),
                    ("needs_signature", Value::Bool(contract.auto_renew == Some(false))),
                ]
            }),
        ),
        (
            "highlights",
            lines("highlights", input.highlights.len(), &["text"], nothing),
        ),
        (
            "goals",
            lines("goals", input.goals.len(), &["text"], &|i| {
                vec![("state", optional(input.goals[i].state.as_deref()))]
            }),
        ),
        (
            "risks",
            lines("risks", input.risks.len(), &["text", "proposal"], nothing),
        ),
        ("dates", lines("dates", input.dates.len(), &["text", "on"], nothing)),
        (
            "next_steps",
            lines("next_steps", input.next_steps.len(), &["text", "due"], &|i| {
                vec![("who", optional(input.next_steps[i].who.as_deref()))]
            }),
        ),
        (
            "questions",
            lines("questions", input.questions.len(), &["text"], nothing),
        ),
    ];
    values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What the document cannot be made without.
fn require(input: &DraftInput, declaration: &Declaration) -> Result<(), DraftError> {
    let data = plain(input);
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(lines) => lines.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    // Every line of a list must have what is required of a line.
    fn gather<'v>(value: Option<&'v Value>, path: &[&str], out: &mut Vec<Option<&'v Value>>) {
        match (value, path) {
            (Some(Value::Array(lines)), [_, ..]) => lines.iter().for_each(|line| gather(Some(line), path, out)),
            (None | Some(Value::Null), [_, ..]) => {}
            (Some(value), [first, rest @ ..]) => gather(value.get(first), rest, out),
            (value, []) => out.push(value),
        }
    }
    let mut missing: Vec<String> = Vec::new();
    for (name, _) in declaration.slots.iter().filter(|(_, slot)| slot.required) {
        let path: Vec<&str> = name.split('.').collect();
        let mut found = Vec::new();
        gather(data.get(path[0]), &path[1..], &mut found);
        if found.iter().any(|value| value.is_none_or(empty)) {
            missing.push(name.clone());
        }
    }
    let slots = input.slots();
    for (name, _) in declaration.figures.iter().filter(|(_, figure)| figure.required) {
        let mut lines = slots.iter().filter(|(key, _)| declared_name(key) == *name).peekable();
        let absent = !name.contains('.') && lines.peek().is_none();
        if absent || lines.any(|(_, slot)| slot.known().is_none()) {
            missing.push(name.clone());
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(DraftError::Missing { names: missing })
    }
}
