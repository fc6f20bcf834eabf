//! Cells that say `if earned`, and the rows that say how.

use super::*;
use crate::action::{AccountField, ActionKind, Priority, Write};
use crate::decide::decide;
use crate::earned::Segment;
use crate::policy::gate::{Ask, Engine, Facts, Place};
use crate::replay::{UnreadableText, canonical, read};
use crate::signal::{OwnerRole, Tier};
use crate::time::Day;

const NOTE: &str = "createNote        = { low_touch = \"auto\"";
const NOTE_EARNED: &str = "createNote        = { low_touch = \"auto if earned, else approve:csm\"";
const FIELD: &str = "updateField       = { low_touch = \"auto\"";
const FIELD_EARNED: &str = "updateField       = { low_touch = \"auto after 4h if earned, else approve:csm\"";
const ROW: &str = "[[earned]]
actions         = [\"createNote\", \"updateField\"]
tiers           = [\"low_touch\"]
decisions       = 50
unedited        = 0.95
undone_at_most  = 0.02
window_days     = 90
demote_unedited = 0.85
demote_undone   = 0.05
by              = \"csm_manager\"
";

/// The shipped policies, where notes and fields of low touch accounts are to be earned, with other edits.
fn edited(edits: &[(&str, &str)]) -> Content {
    let mut content = shipped();
    let text = content.policies.get_mut("autonomy.toml").unwrap();
    // The shipped example is a comment; its words must not be taken for those of the row.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    *text = format!("{}\n\n{ROW}", lines.join("\n"));
    for (from, to) in [(NOTE, NOTE_EARNED), (FIELD, FIELD_EARNED)].iter().chain(edits) {
        assert!(text.contains(from), "{from}");
        *text = text.replacen(from, to, 1);
    }
    content
}

/// The first line with a text.
fn line_of(content: &Content, text: &str) -> usize {
    let lines = content.policies["autonomy.toml"].lines();
    1 + lines.take_while(|line| !line.contains(text)).count()
}

fn compiled(content: &Content) -> Policies {
    Policies::compile(content).unwrap_or_else(|p| panic!("{p:#?}"))
}

fn facts_of_low_touch() -> Features {
    facts(&[
        ("tier", Value::Text("low_touch".to_owned())),
        ("do_not_contact", Value::Flag(false)),
        ("legal_hold", Value::Flag(false)),
    ])
}

fn note() -> Write {
    Write::CreateNote {
        title: "t".to_owned(),
        body: "b".to_owned(),
    }
}

fn field() -> Write {
    Write::UpdateAccount {
        fields: [(AccountField::Posture, "calm".to_owned())].into(),
    }
}

fn task() -> Write {
    Write::CreateTask {
        subject: "s".to_owned(),
        body: "b".to_owned(),
        due: Day::from_number(20_000),
        priority: Priority::Normal,
        assignee: None,
    }
}

/// The verdict by both evaluators, which agree.
#[track_caller]
fn verdict(policies: &Policies, kind: ActionKind, writes: &[Write], earned: &[ActionKind]) -> Verdict {
    let (features, account) = (facts_of_low_touch(), AccountId::new("a"));
    let request = Request {
        account: &account,
        kind,
        writes: writes.iter().collect(),
        features: &features,
        playbook: None,
        local: None,
        contacts_7_days: 0,
        contact_role: None,
        before: None,
        discount: None,
        draft: crate::replay::Hash::of(b"draft"),
        now: Timestamp::EPOCH,
        last_editor: None,
        earned,
    };
    let facts = Facts::of(&request, &policies.settings, policies.gate.vocabulary()).expect("facts");
    let [direct, cedar, sliced] = [Engine::Direct, Engine::Cedar, Engine::CedarSliced].map(|engine| {
        policies
            .gate
            .verdict_on(&facts, &request.asks(), &policies.settings, engine)
    });
    assert_eq!(direct, cedar);
    assert_eq!(direct, sliced);
    assert_eq!(direct, policies.gate.verdict(&request, &policies.settings));
    direct
}

#[test]
fn what_says_if_earned_runs_by_itself_only_where_that_very_kind_is_promoted() {
    let content = edited(&[]);
    let policies = compiled(&content);
    let word = |kind, writes: &[Write], earned: &[ActionKind]| verdict(&policies, kind, writes, earned).word();
    let (note_kind, field_kind) = (ActionKind::CREATE_NOTE, ActionKind::UPDATE_FIELD);
    assert_eq!(word(note_kind, &[note()], &[]), "approve:csm");
    assert_eq!(word(note_kind, &[note()], &[note_kind]), "auto");
    assert_eq!(word(note_kind, &[note()], &[field_kind]), "approve:csm", "borrowed");
    assert_eq!(word(field_kind, &[field()], &[field_kind]), "auto after 4h");
    assert_eq!(word(field_kind, &[field()], &[note_kind]), "approve:csm", "borrowed");
    // Each thing that an action writes is asked about by itself.
    let both = [task(), note(), field()];
    assert_eq!(word(ActionKind::CREATE_TASK, &both, &[]), "approve:csm");
    assert_eq!(word(ActionKind::CREATE_TASK, &both, &[note_kind]), "approve:csm");
    assert_eq!(
        word(ActionKind::CREATE_TASK, &both, &[note_kind, field_kind]),
        "auto after 4h"
    );
    // What is promoted where the table has nothing to earn makes no difference.
    assert_eq!(
        word(ActionKind::SEND_RENEWAL, &[], &[ActionKind::SEND_RENEWAL]),
        "approve:csm"
    );
    let unearned = verdict(&policies, note_kind, &[note()], &[]);
    assert_eq!(
        (unearned.rules[0].id.as_str(), unearned.rules[0].line),
        ("earned", line_of(&content, NOTE_EARNED))
    );
    assert!(
        unearned.rules[0].why.contains("nobody has promoted it yet"),
        "{unearned:?}"
    );
}

#[test]
fn what_is_earned_stays_under_guard_rails_limits_and_needs() {
    let email = "sendEmail         = { low_touch = \"auto, else approve:csm\"";
    let earned_email = "sendEmail         = { low_touch = \"auto if earned, else approve:csm\"";
    let row = (
        "[\"createNote\", \"updateField\"]",
        "[\"createNote\", \"updateField\", \"sendEmail\"]",
    );
    let policies = compiled(&edited(&[(email, earned_email), row]));
    let gate = &policies.gate;
    let mut facts = Facts::unknown(AccountId::new("a"));
    let known = [
        (Place::Account, "tier", gate::Value::Tier(Tier::LOW_TOUCH)),
        (Place::Account, "do_not_contact", gate::Value::Flag(false)),
        (Place::Account, "legal_hold", gate::Value::Flag(false)),
        (Place::Account, "arr_minor", gate::Value::Number(900_000)),
        (Place::Account, "usage_age_days", gate::Value::Number(3)),
        (Place::Context, "confidence", gate::Value::Number(900)),
        (Place::Context, "contacts_last_7d", gate::Value::Number(0)),
        (Place::Context, "draft_hash", gate::Value::Word("h1".to_owned())),
        (Place::Context, "injection_suspected", gate::Value::Flag(false)),
        (Place::Context, "now", gate::Value::Moment(0)),
    ];
    for (place, name, value) in known {
        facts.set(place, name, value).expect("a fact");
    }
    facts.earned = vec![ActionKind::SEND_EMAIL];
    let word = |facts: &Facts| {
        let ask = Ask {
            action: ActionKind::SEND_EMAIL,
            field: None,
        };
        let [direct, cedar] =
            [Engine::Direct, Engine::Cedar].map(|engine| gate.verdict_on(facts, &[ask], &policies.settings, engine));
        assert_eq!(direct, cedar);
        direct.word()
    };
    let with = |place, name, value| {
        let mut facts = facts.clone();
        facts.set(place, name, value).expect("a fact");
        word(&facts)
    };
    assert_eq!(word(&facts), "auto");
    assert_eq!(with(Place::Account, "do_not_contact", gate::Value::Flag(true)), "never");
    assert_eq!(
        with(Place::Context, "contacts_last_7d", gate::Value::Number(3)),
        "never"
    );
    assert_eq!(
        with(Place::Context, "confidence", gate::Value::Number(700)),
        "approve:csm"
    );
    assert_eq!(
        with(Place::Context, "injection_suspected", gate::Value::Flag(true)),
        "approve:csm"
    );
    let mut unearned = facts.clone();
    unearned.earned = Vec::new();
    assert_eq!(word(&unearned), "approve:csm", "a fact that is not known is not true");
}

#[test]
fn a_row_is_read_into_what_each_cell_needs() {
    let policies = compiled(&edited(&[(
        "demote_undone   = 0.05",
        "demote_undone = 0.05\ndemote_last = 20\nunedited_lower = 0.9",
    )]));
    let table = policies.gate.table();
    assert_eq!(table.earned.len(), 2);
    let earning = &table.earned[&(ActionKind::UPDATE_FIELD, Tier::LOW_TOUCH)];
    assert_eq!(
        (earning.decisions, earning.demote_last, earning.window_days),
        (50, 20, 90)
    );
    assert_eq!(
        (earning.unedited, earning.unedited_lower),
        (Micro(950_000), Some(Micro(900_000)))
    );
    assert_eq!(
        (earning.undone_at_most, earning.demote_undone),
        (Micro(20_000), Micro(50_000))
    );
    assert_eq!(
        (earning.demote_unedited, earning.by),
        (Micro(850_000), OwnerRole::CSM_MANAGER)
    );
    assert_eq!(table.delays[&(ActionKind::UPDATE_FIELD, Tier::LOW_TOUCH)], 240);
    assert!(compiled(&shipped()).gate.table().earned.is_empty());
}

#[test]
fn mistakes_about_earning_are_named_with_their_line_and_a_remedy() {
    let second = format!("{ROW}\n{}", ROW.replace("\"updateField\"", "\"createTask\""));
    let task = "createTask        = { low_touch = \"auto\"";
    for (from, to, at, message, help) in [
        (
            "unedited        = 0.95",
            "unedited = 95.0",
            "unedited = 95.0",
            "no share",
            "0.95 for 95 %",
        ),
        (
            "demote_undone   = 0.05",
            "demote_undone = 0.01",
            "demote_undone = 0.01",
            "would end at once",
            "at least 0.02",
        ),
        (
            "demote_unedited = 0.85",
            "demote_unedited = 0.99",
            "demote_unedited = 0.99",
            "would end at once",
            "at most 0.95",
        ),
        (
            "decisions       = 50",
            "decisions = 0",
            "decisions = 0",
            "`decisions` is 0",
            "such as 50",
        ),
        (
            "window_days     = 90",
            "window_days = 0",
            "window_days = 0",
            "`window_days` is 0",
            "from 1 to 730",
        ),
        (
            "\"csm_manager\"\n",
            "\"csm_manger\"\n",
            "by  ",
            "unknown role `csm_manger`",
            "`csm_manager`",
        ),
        (
            "\"csm_manager\"\n",
            "\"deal_desk\"\n",
            "by  ",
            "may not approve it",
            "csm or a role",
        ),
        (
            "[\"low_touch\"]",
            "[\"low_tuch\"]",
            "tiers  ",
            "`low_tuch` is none of the tiers",
            "`low_touch`",
        ),
        (
            "[\"createNote\", ",
            "[\"creatNote\", ",
            "[\"creatNote\"",
            "`creatNote` is none of the actions",
            "`createNote`",
        ),
        ("[\"low_touch\"]", "[]", "tiers  ", "`tiers` is empty", "at least one"),
        (
            "[\"createNote\", ",
            "[\"createTask\", \"createNote\", ",
            "[\"createTask\"",
            "nothing to earn",
            "if earned, else",
        ),
        (
            ", \"updateField\"]",
            "]",
            FIELD_EARNED,
            "no row of [[earned]] says how `updateField`",
            "add one",
        ),
        (
            ROW,
            second.as_str(),
            "[\"createNote\", \"createTask\"",
            "a second row about `createNote`",
            "keep one",
        ),
        (
            NOTE_EARNED,
            "createNote = { low_touch = \"auto if earned\"",
            "auto if earned\"",
            "is no level",
            "else approve:ROLE",
        ),
        (
            task,
            "createTask = { low_touch = \"never if earned, else approve:csm\"",
            "never if earned",
            "is no level",
            "levels are",
        ),
        (
            "demote_undone   = 0.05",
            "demote_undnoe = 0.05",
            "demote_undnoe",
            "unknown field",
            "`demote_undone`",
        ),
    ] {
        let content = edited(&[(from, to)]);
        let line = line_of(&content, at);
        let problems = Policies::compile(&content).err();
        let problems = problems.unwrap_or_else(|| panic!("{to} is taken"));
        let found = problems.iter().find(|p| p.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{message}: {problems:#?}"));
        assert!(found.help.contains(help), "{message}: {}", found.help);
        assert_eq!(
            (found.file.as_str(), found.line),
            ("autonomy.toml", line),
            "{message}: {problems:#?}"
        );
        assert!(found.column > 0);
    }
}

#[test]
fn what_a_promise_excludes_cannot_be_earned() {
    let strategic = (
        "strategic = \"approve:csm\" }",
        "strategic = \"auto if earned, else approve:csm\" }",
    );
    let rows = ("[\"low_touch\"]", "[\"low_touch\", \"strategic\"]");
    // The first such cell is that of notes; the row then has nothing to earn for fields.
    let alone = (
        "[\"createNote\", \"updateField\"]\ntiers           = [\"low_touch\", \"strategic\"]",
        "[\"createNote\"]\ntiers = [\"low_touch\", \"strategic\"]",
    );
    let back = (FIELD_EARNED, FIELD);
    let content = edited(&[strategic, rows, alone, back]);
    let line = line_of(&content, NOTE_EARNED);
    let problems = Policies::compile(&content).err().expect("refused");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let said = problems[0].to_string();
    assert!(
        said.starts_with(&format!(
            "autonomy.toml:{line}:1: `createNote` for strategic accounts would run by itself once it is earned"
        )),
        "{said}"
    );
    assert!(
        said.contains("promises/") && said.contains("strategic customer"),
        "{said}"
    );
    // Without the promise it is the admin's to say.
    let mut without = content;
    without
        .policies
        .retain(|file, _| !file.starts_with("promises/") || !said.contains(file.as_str()));
    compiled(&without);
}

#[test]
fn a_decision_runs_what_is_earned_and_replays_with_what_was_earned_then() {
    let mid = "mid_touch = \"approve:csm\", strategic";
    let earned_mid = "mid_touch = \"auto after 4h if earned, else approve:csm\", strategic";
    let more = ROW.replace("\"createNote\", ", "").replace("low_touch", "mid_touch");
    let rows = format!("{ROW}\n{more}");
    let policies = compiled(&edited(&[(mid, earned_mid), (ROW, rows.as_str())]));
    let inputs = |earned: Vec<Segment>| crate::decide::Inputs {
        earned,
        ..crate::decide::tests::mid_touch_inputs(&policies)
    };
    let segment = |tier| Segment {
        action: ActionKind::UPDATE_FIELD,
        tier,
    };
    let none = inputs(Vec::new());
    let text = canonical(&none);
    assert!(
        !text.contains("\"earned\""),
        "decisions from before read back to the byte"
    );
    // What the cards say that write a task and fields, and nothing else.
    let of = |inputs: &crate::decide::Inputs| {
        let decision = decide(inputs, &policies);
        let (stored, given) = (canonical(&decision), canonical(inputs));
        let again: crate::decide::Inputs = read("inputs", &given).expect("reads");
        assert_eq!(canonical(&decide(&again, &policies)), stored, "replays");
        let asked = crate::decide::verdicts_again(&stored, || Ok::<_, UnreadableText>(given), &policies);
        for again in asked.expect("reads") {
            assert_eq!(again.was, again.now, "asked again it is the same");
        }
        let about = |p: &&crate::decide::Proposal| {
            let kinds: Vec<ActionKind> = p.effects.iter().map(|e| e.write.kind()).collect();
            let plain = |kind: &ActionKind| matches!(*kind, ActionKind::UPDATE_FIELD | ActionKind::CREATE_TASK);
            p.kind == ActionKind::CREATE_TASK && kinds.contains(&ActionKind::UPDATE_FIELD) && kinds.iter().all(plain)
        };
        let words: Vec<String> = decision
            .proposals
            .iter()
            .filter(about)
            .map(|p| p.verdict.word())
            .collect();
        assert!(!words.is_empty(), "a card that writes a field");
        words
    };
    assert!(of(&none).iter().all(|word| word == "approve:csm"));
    let other = of(&inputs(vec![segment(Tier::LOW_TOUCH)]));
    assert!(
        other.iter().all(|word| word == "approve:csm"),
        "another tier's: {other:?}"
    );
    let earned = of(&inputs(vec![segment(Tier::MID_TOUCH)]));
    assert!(earned.iter().all(|word| word == "auto after 4h"), "{earned:?}");
}
