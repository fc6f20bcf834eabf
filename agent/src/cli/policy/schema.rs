//! `perennial policy schema`: what editors complete and check the files by.
//!
//! The Cedar schema is generated from the vocabulary. The JSON Schemas are written here, beside the program that reads the files; a test
//! holds them against the keys that the program accepts and against the shipped files. Long because the form of every file is here.

use std::path::Path;

use clap::{Args, ValueEnum};
use perennial_core::action::{AccountField, ActionKind};
use perennial_core::feature::{CATALOGUE, Unit};
use perennial_core::policy::gate::{Kind, Place, TERMS, Vocabulary, schema_text};
use perennial_core::signal::OwnerRole;
use serde_json::{Map, Value, json};

use super::super::{Failure, Output};
use crate::config::Config;
use crate::content;

/// Which files a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Which {
    /// Words of rules and promises: rules/*.cedar, promises/*.cedar
    Cedar,
    /// autonomy.toml
    Autonomy,
    /// approvals.toml
    Approvals,
    /// scoring.toml
    Scoring,
    /// playbooks/*.toml
    Playbooks,
    /// tests/*.toml
    Tests,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaArgs {
    /// The files it is of
    #[arg(value_enum, required_unless_present = "write")]
    which: Option<Which>,
    /// Write all of them into the folder of the policies: schema.cedarschema, .schemas/*.json and .taplo.toml
    #[arg(long, conflicts_with = "which")]
    write: bool,
}

/// The JSON Schemas by the name of their file, with the files that each is of.
pub fn json_schemas(named: &Vocabulary) -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("autonomy", "autonomy.toml", autonomy(named)),
        ("approvals", "approvals.toml", approvals(named)),
        ("scoring", "scoring.toml", scoring()),
        ("playbooks", "playbooks/*.toml", playbook(named)),
        ("tests", "tests/*.toml", tests(named)),
    ]
}

pub(super) fn schema(config: &Config, args: &SchemaArgs, output: &Output) -> Result<(), Failure> {
    let Some(which) = args.which else {
        return write(config, output);
    };
    let named = content::vocabulary(config)?;
    let name = match which {
        Which::Cedar => {
            if output.json() {
                output.document(&json!({ "schema": schema_text(&named) }));
            } else {
                output.line(schema_text(&named).trim_end());
            }
            return Ok(());
        }
        Which::Autonomy => "autonomy",
        Which::Approvals => "approvals",
        Which::Scoring => "scoring",
        Which::Playbooks => "playbooks",
        Which::Tests => "tests",
    };
    for (_, _, schema) in json_schemas(&named).into_iter().filter(|(known, _, _)| *known == name) {
        output.document(&schema);
    }
    Ok(())
}

fn write(config: &Config, output: &Output) -> Result<(), Failure> {
    let Some(folder) = &config.policies else {
        return Err(Failure::input(
            "the policies are built into the program: name a folder with --policies, or write one with `perennial init`",
        ));
    };
    let named = content::vocabulary(config)?;
    let mut files = vec![("schema.cedarschema".to_owned(), schema_text(&named))];
    let mut taplo = String::new();
    for (name, of, schema) in json_schemas(&named) {
        let text = serde_json::to_string_pretty(&schema).map_err(Failure::failed)?;
        files.push((format!(".schemas/{name}.json"), format!("{text}\n")));
        taplo.push_str(&format!(
            "[[rule]]\ninclude = [\"{of}\"]\n[rule.schema]\npath = \".schemas/{name}.json\"\n\n"
        ));
    }
    files.push((".taplo.toml".to_owned(), taplo));
    let cannot = |path: &Path, error: std::io::Error| {
        Failure::failed(format!(
            "`{}` cannot be written: {error}; check the folder",
            path.display()
        ))
    };
    let schemas = folder.join(".schemas");
    std::fs::create_dir_all(&schemas).map_err(|error| cannot(&schemas, error))?;
    for (name, text) in &files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| cannot(&path, error))?;
    }
    let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
    if output.json() {
        output.document(&json!({ "files": names }));
    } else {
        for name in names {
            output.line(&format!("written {name}"));
        }
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------ parts

fn with_head(title: &str, mut schema: Value) -> Value {
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = title.into();
    schema
}

/// A table of fixed keys, of which those ending in `?` may be missing.
fn table(keys: &[(&str, Value)]) -> Value {
    let named = |name: &str| name.trim_end_matches('?').to_owned();
    let properties: Map<String, Value> = keys.iter().map(|(name, of)| (named(name), of.clone())).collect();
    let required: Vec<&str> = keys
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !name.ends_with('?'))
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn text(meaning: &str) -> Value {
    json!({ "type": "string", "description": meaning })
}

fn whole(meaning: &str) -> Value {
    json!({ "type": "integer", "description": meaning })
}

fn number(meaning: &str) -> Value {
    json!({ "type": "number", "description": meaning })
}

fn words<'a>(all: impl Iterator<Item = &'a str>) -> Value {
    json!({ "type": "string", "enum": all.collect::<Vec<_>>() })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn map(of: Value) -> Value {
    json!({ "type": "object", "additionalProperties": of })
}

fn roles(named: &Vocabulary) -> impl Iterator<Item = &'static str> {
    named.roles().map(OwnerRole::as_str)
}

fn actions(named: &Vocabulary) -> impl Iterator<Item = &'static str> {
    named.actions().map(ActionKind::as_str)
}

fn facts() -> Value {
    words(CATALOGUE.iter().map(|d| d.name))
}

// ------------------------------------------------------------------------------------------------ files

fn autonomy(named: &Vocabulary) -> Value {
    let roles: Vec<&str> = roles(named).collect();
    let approve = format!("approve:({})", roles.join("|"));
    let level = json!({
        "type": "string",
        "pattern": format!("^(never|advise|{approve}|auto( after [0-9]+[mhd])?((, else {approve})?| if earned, else {approve}))$"),
    });
    let tiers: Vec<(&str, Value)> = named
        .tiers()
        .iter()
        .map(|tier| (tier.as_str(), level.clone()))
        .collect();
    let row = table(&tiers);
    let rows: Vec<(&str, Value)> = actions(named).map(|action| (action, row.clone())).collect();
    let flags = CATALOGUE.iter().filter(|d| d.unit == Unit::Flag).map(|d| d.name);
    let guard = table(&[
        ("id", text("name of the guard rail")),
        ("actions", list(words(actions(named)))),
        ("when", words(flags)),
        ("why", text("the reason, as people read it")),
    ]);
    let auto = table(&[
        (
            "min_confidence",
            number("percent of the health score's weight that must be known"),
        ),
        ("max_arr", text("greatest revenue a year, such as 25k EUR")),
        (
            "max_usage_age_days",
            whole("greatest age of the newest measured use, days"),
        ),
        (
            "max_stale_feeds?",
            whole("most feeds beyond their age in [feeds] of scoring.toml"),
        ),
    ]);
    let limits = table(&[
        (
            "contacts_per_account_7_days",
            whole("most actions towards a customer in 7 days"),
        ),
        (
            "fields_agent_may_write",
            list(words(AccountField::ALL.iter().map(|field| field.as_str()))),
        ),
        ("max_discount_percent?", number("greatest discount, percent")),
        (
            "contacts_per_person_7_days?",
            whole("most actions towards one person in 7 days"),
        ),
        ("contact_hours?", text("the customer's time, such as 08:00-18:00")),
        (
            "default_time_zone?",
            text("zone of those whose own is not known, such as Europe/Berlin"),
        ),
    ]);
    let share = |text: &str| json!({ "type": "number", "minimum": 0, "maximum": 1, "description": text });
    let earned = table(&[
        ("actions", list(words(actions(named)))),
        ("tiers", list(words(named.tiers().iter().map(|tier| tier.as_str())))),
        ("decisions", whole("decisions of people that are needed at the least")),
        ("unedited", share("least share of them approved as proposed")),
        (
            "unedited_lower?",
            share("least lower end of the 95 % interval of that share"),
        ),
        (
            "undone_at_most",
            share("greatest share of the executed ones that was undone"),
        ),
        ("window_days", whole("days that are looked back")),
        (
            "demote_unedited",
            share("once promoted: the share approved as proposed below which it ends"),
        ),
        (
            "demote_undone",
            share("once promoted: the share undone above which it ends"),
        ),
        (
            "demote_last?",
            whole("once promoted: how many of the last ones are looked at"),
        ),
        ("by", words(roles.iter().copied())),
    ]);
    with_head(
        "Perennial: who decides what",
        table(&[
            ("tiers?", map(text("what the tier is, in a sentence"))),
            ("roles?", map(list(text("a role that it includes")))),
            (
                "actions?",
                map(list(text("one of the engine's groups, and groups of your own"))),
            ),
            ("matrix", table(&rows)),
            ("auto", auto),
            ("limits", limits),
            ("budget?", map(whole("most actions in any 24 hours"))),
            ("holidays?", map(list(text("a day, such as 2026-12-25")))),
            ("earned?", list(earned)),
            ("never?", list(guard)),
        ]),
    )
}

fn measure() -> Value {
    let pair = json!({ "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 });
    table(&[
        ("fact", facts()),
        ("group", text("group of measures")),
        ("weight", number("share in the score")),
        ("points", list(pair)),
        ("max_age_days?", whole("older measurements are unknown")),
        ("when_missing?", number("points where the fact is not known")),
    ])
}

fn index() -> Vec<(&'static str, Value)> {
    vec![
        ("unknown_below", number("percent of the weight that must be known")),
        ("red_below", number("below it the score is red")),
        ("green_from", number("from it on the score is green")),
        ("groups?", map(number("weight of the group"))),
        (
            "band_width?",
            number("points by which a limit must be passed before the band changes"),
        ),
        ("measure", list(measure())),
    ]
}

fn approvals(named: &Vocabulary) -> Value {
    let tiers = || named.tiers().iter().map(|tier| tier.as_str());
    let time = json!({ "type": "string", "pattern": "^[0-9]+[mhd]$" });
    let times: Vec<(String, Value)> = tiers().map(|tier| (format!("{tier}?"), time.clone())).collect();
    let times: Vec<(&str, Value)> = times.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let people = json!({ "type": "array", "items": words(roles(named)), "minItems": 1, "maxItems": 5 });
    let cells: Vec<(String, Value)> = tiers().map(|tier| (format!("{tier}?"), people.clone())).collect();
    let cells: Vec<(&str, Value)> = cells.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let rows: Vec<(String, Value)> = actions(named)
        .map(|action| (format!("{action}?"), table(&cells)))
        .collect();
    let rows: Vec<(&str, Value)> = rows.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    with_head(
        "Perennial: how people answer what waits",
        table(&[
            ("lent_roles?", list(words(tiers()))),
            ("ask_next?", table(&times)),
            ("together?", table(&rows)),
        ]),
    )
}

fn scoring() -> Value {
    let mut card = vec![
        ("name", text("name")),
        ("per", text("what it is computed for")),
        ("roll_up", text("how it is summed up")),
    ];
    card.extend(index());
    let input = table(&[
        ("fact", facts()),
        ("equals?", text("the word that counts as one")),
        ("log_scale?", number("the fact is taken as ln(1 + fact / scale)")),
        ("at_least?", number("from this value on it counts as one")),
        ("mean", number("mean of the fact")),
        ("sd", number("its standard deviation")),
        ("weight", number("weight in the log odds")),
    ]);
    let part = table(&[
        ("scale", number("log odds of seats for a difference of 1")),
        ("weight", number("weight beside active seats, which have 1")),
    ]);
    let evidence = table(&[
        ("features?", part.clone()),
        ("events_per_user?", part),
        ("champion?", number("log odds for a champion who logs in no more")),
        ("agreement", number("correlation of the parts where nothing happens")),
    ]);
    let age = || whole("greatest age of the newest record of a source, days");
    let feeds = table(&[
        ("usage?", age()),
        ("ticket?", age()),
        ("invoice?", age()),
        ("survey?", age()),
        ("interaction?", age()),
        ("retired?", list(text("source that brings nothing any more"))),
    ]);
    let detector = table(&[
        ("evidence?", evidence),
        ("name", text("detector")),
        ("on", json!({ "type": "boolean" })),
        ("open", number("strength from which a signal opens")),
        ("clear", number("strength below which it clears")),
        ("half_life_weeks", number("after so many weeks half of it is left")),
    ]);
    with_head(
        "Perennial: weights, limits, prices",
        table(&[
            (
                "currency",
                table(&[
                    ("base", text("currency of comparison")),
                    ("rates", map(text("units of the base currency"))),
                ]),
            ),
            (
                "tiers",
                table(&[
                    ("mid_touch_from", text("yearly revenue")),
                    ("strategic_from", text("yearly revenue")),
                ]),
            ),
            (
                "history",
                table(&[("usage_days", whole("days of use that a decision looks at"))]),
            ),
            ("health", table(&index())),
            ("expansion", table(&index())),
            ("scorecard?", list(table(&card))),
            (
                "risk",
                table(&[
                    ("intercept", number("log odds of nothing special")),
                    ("input", list(input)),
                ]),
            ),
            (
                "posture",
                table(&[
                    ("windows", list(whole("days"))),
                    ("watch_from", number("probability of not renewing")),
                    ("at_risk_from", number("probability of not renewing")),
                ]),
            ),
            (
                "value",
                table(&[
                    ("margin", number("share of revenue")),
                    ("expansion_margin", number("share of revenue")),
                    ("cost_per_minute", text("amount")),
                    ("fatigue", text("amount")),
                    ("act_from", number("probability from which on it is acted")),
                ]),
            ),
            (
                "capacity",
                table(&[
                    ("default_minutes", whole("minutes a day")),
                    ("slot_minutes", whole("minutes")),
                ]),
            ),
            ("feeds?", feeds),
            (
                "rollup?",
                table(&[
                    ("health", text("mean, arr_weighted or worst")),
                    (
                        "unknown_below",
                        number("percent of the family's revenue that must be known"),
                    ),
                ]),
            ),
            (
                "exploration?",
                table(&[
                    ("on", json!({ "type": "boolean" })),
                    (
                        "share",
                        number("share of the choices between near-ties that is left to chance"),
                    ),
                    (
                        "worth_from",
                        number("share of the best from which on an action is a near-tie"),
                    ),
                    ("floor", number("least chance of a near-tie")),
                    ("rest_days", whole("days for which what was not drawn is not done")),
                    ("seed", whole("seed of all draws")),
                ]),
            ),
            (
                "signals?",
                table(&[
                    ("quiet_days", whole("days")),
                    ("shown_days", whole("days")),
                    ("detector", list(detector)),
                ]),
            ),
            ("trend", table(&[("days", whole("days"))])),
            (
                "coverage",
                table(&[
                    ("accounts_max", whole("most accounts of a person")),
                    ("touch_days", map(whole("days"))),
                    ("load", map(number("load of an account"))),
                ]),
            ),
        ]),
    )
}

fn playbook(named: &Vocabulary) -> Value {
    let fields: Vec<(String, Value)> = AccountField::ALL
        .iter()
        .map(|field| (format!("{field}?"), text("text with slots")))
        .collect();
    let fields: Vec<(&str, Value)> = fields.iter().map(|(name, of)| (name.as_str(), of.clone())).collect();
    let effect = table(&[
        ("shift", number("shift of the log odds of renewing")),
        ("shift_sd", number("its standard deviation")),
        ("expansion", number("share of the yearly revenue")),
        ("decay", number("share of the effect that is left at the next review")),
        ("minutes", whole("minutes of a person")),
        ("observed_shift?", number("shift that was observed")),
        ("observed_se?", number("its standard error")),
        ("discount?", number("share of the yearly revenue")),
        ("accept?", number("probability that the customer takes it")),
    ]);
    let step = table(&[
        ("write", text("what is written")),
        ("subject?", text("one line, with slots")),
        ("body?", text("text with slots")),
        ("priority?", text("urgency")),
        ("title?", text("one line, with slots")),
        ("fields?", table(&fields)),
        ("which?", text("kind of the deal")),
        ("next_step?", text("text with slots")),
        ("stage?", text("stage of the deal")),
    ]);
    let target = "a step, \"end\", or \"end: REASON\"";
    let branches = [
        "rejected?",
        "failed?",
        "unanswered?",
        "conflict?",
        "holds?",
        "cleared?",
        "improved?",
    ];
    let branches: Vec<(&str, Value)> = branches.iter().map(|name| (*name, text(target))).collect();
    let steps = table(&[
        ("id", text("name of the step")),
        ("action?", words(actions(named))),
        (
            "wait?",
            text("\"5 days\", \"5 business days\", \"until 2027-01-31\" or \"30 days before renewal_date\""),
        ),
        ("check?", text("condition over the facts of the account, in Cedar")),
        ("task?", text("what a person does and marks as done, with slots")),
        ("until?", text("condition that ends the wait early, in Cedar")),
        ("title?", text("one line, with slots; else that of the playbook")),
        ("because?", text("a sentence, with slots; else that of the playbook")),
        (
            "approve?",
            json!({ "type": "boolean", "description": "ask a person, whatever the table says" }),
        ),
        ("due_days?", whole("days; else those of the playbook")),
        (
            "expires_days?",
            whole("days after which nobody has answered; else those of the playbook"),
        ),
        ("minutes?", whole("minutes of a person; else those of the playbook")),
        ("within?", text("\"5 days\" or \"5 business days\" for the task")),
        (
            "sla?",
            text("\"5 days\" or \"5 business days\" until the step is overdue"),
        ),
        ("next?", text(target)),
        ("on?", table(&branches)),
        (
            "improved_by?",
            number("points of health by which it must be better for `improved`"),
        ),
        ("step?", list(step.clone())),
    ]);
    let exit = table(&[
        ("when", text("condition that ends the play, in Cedar")),
        ("reason", text("why it ended")),
    ]);
    with_head(
        "Perennial: a playbook",
        table(&[
            ("name", text("name for people")),
            ("owner", text("who answers for it")),
            ("when", text("condition over the facts of the account, in Cedar")),
            ("action", words(actions(named))),
            ("subject", text("what the action is about")),
            ("cooldown_days", whole("days")),
            ("excludes?", list(text("playbook that must not run in the same days"))),
            ("excludes_days?", whole("days")),
            ("due_days", whole("days")),
            ("expires_days", whole("days")),
            ("title", text("one line, with slots")),
            ("because", text("a sentence, with slots")),
            ("evidence", list(facts())),
            ("document?", text("document to draft")),
            ("effect", effect),
            ("step?", list(step)),
            ("steps?", list(steps)),
            ("exits?", list(exit)),
        ]),
    )
}

fn tests(named: &Vocabulary) -> Value {
    let facts = |place: Place| {
        let terms = TERMS.iter().filter(|term| term.place == place);
        let mut facts: Map<String, Value> = terms
            .map(|term| {
                let known = match term.kind {
                    Kind::Flag => json!({ "type": "boolean" }),
                    Kind::Number { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
                    Kind::Word | Kind::Moment => json!({ "type": "string" }),
                    Kind::Tier => words(named.tiers().iter().map(|tier| tier.as_str())),
                };
                let unknown = json!({ "const": "unknown" });
                let of = json!({ "anyOf": [known, unknown], "description": term.meaning });
                (term.name.to_owned(), of)
            })
            .collect();
        if place == Place::Context {
            facts.insert("last_editor".to_owned(), text("who changed the draft last"));
        }
        json!({ "type": "object", "additionalProperties": false, "properties": facts })
    };
    let approval = table(&[
        ("by?", text("who gives it")),
        ("roles?", list(words(roles(named)))),
        ("active?", json!({ "type": "boolean" })),
        ("draft_hash?", text("hash of what they saw")),
        ("expires_at?", text("until when it counts")),
    ]);
    let answers: Vec<String> = ["auto", "advise", "never", "allowed", "refused"]
        .into_iter()
        .map(str::to_owned)
        .chain(roles(named).map(|role| format!("approve:{role}")))
        .collect();
    let test = table(&[
        ("name", text("what it says, as a sentence")),
        ("action", words(actions(named))),
        ("account?", facts(Place::Account)),
        ("context?", facts(Place::Context)),
        ("approval?", approval),
        ("expect", words(answers.iter().map(String::as_str))),
        ("because?", text("name of a rule that led to it")),
    ]);
    let play = table(&[
        ("name", text("what it says, as a sentence")),
        ("playbook", text("playbook with steps")),
        (
            "events",
            list(text(
                "an outcome such as \"executed\", or a time such as \"5 business days\"",
            )),
        ),
        ("expect", text("a step, \"end\", or \"end: REASON\"")),
    ]);
    with_head(
        "Perennial: tests of the rules",
        table(&[("test?", list(test)), ("play?", list(play))]),
    )
}
