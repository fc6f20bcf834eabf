//! The gate as a whole: the direct evaluator equals Cedar, and both equal the table as a person reads it.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::{AccountField, ActionKind};
use perennial_core::ids::AccountId;
use perennial_core::policy::gate::{Ask, Engine, Facts, Place, Value};
use perennial_core::policy::{Content, Level, Policies};
use perennial_core::signal::{OwnerRole, Tier};
use perennial_tests::gate::{LANGUAGE, built_in, compare, compiled, extended};

/// Questions of one comparison; the benchmark `policy` asks more.
const QUESTIONS: u64 = 30_000;

fn with_language() -> Content {
    let mut content = built_in();
    content
        .policies
        .insert("rules/50-language.cedar".to_owned(), LANGUAGE.to_owned());
    content
}

#[test]
fn the_direct_evaluator_answers_what_cedar_answers() {
    let policies = compiled(&with_language());
    let gate = &policies.gate;
    assert_eq!(
        gate.direct_kinds().count(),
        ActionKind::BUILT_IN.len(),
        "all of it is compiled"
    );
    let seen = compare(gate, gate, 1, QUESTIONS).unwrap();
    let least = QUESTIONS / 50;
    assert!(
        seen.allowed > least && seen.forbidden > least && seen.unpermitted > least,
        "{seen:?}"
    );
    let unused: Vec<&str> = (0..gate.rules().len())
        .filter(|at| !seen.rules.contains(at))
        .map(|at| gate.rules()[at].id.as_str())
        .collect();
    assert!(unused.is_empty(), "these rules led to no answer: {unused:?}");
    for level in [Level::Auto, Level::Approve, Level::Never] {
        assert!(seen.levels.get(&level).is_some_and(|n| *n > 50), "{seen:?}");
    }
}

#[test]
fn the_built_in_rules_are_answered_alike_too() {
    let policies = compiled(&built_in());
    let seen = compare(&policies.gate, &policies.gate, 2, QUESTIONS / 4).unwrap();
    assert!(seen.levels.contains_key(&Level::Advise), "{seen:?}");
}

/// The built-in table with cells that are to be earned, for what a customer sees too.
fn with_earned() -> Content {
    let mut content = built_in();
    let table = content.policies.get_mut("autonomy.toml").unwrap();
    for (from, to) in [
        (
            "createNote        = { low_touch = \"auto\"",
            "createNote        = { low_touch = \"auto if earned, else approve:csm\"",
        ),
        (
            "sendEmail         = { low_touch = \"auto, else approve:csm\"",
            "sendEmail         = { low_touch = \"auto after 2h if earned, else approve:csm\"",
        ),
    ] {
        assert!(table.contains(from), "{from}");
        *table = table.replacen(from, to, 1);
    }
    table.push_str(
        "\n[[earned]]\nactions = [\"createNote\", \"sendEmail\"]\ntiers = [\"low_touch\"]\ndecisions = 50\nunedited = 0.95\n\
         undone_at_most = 0.02\nwindow_days = 90\ndemote_unedited = 0.85\ndemote_undone = 0.05\nby = \"csm_manager\"\n",
    );
    content
}

#[test]
fn what_is_earned_is_answered_alike_by_both_evaluators_and_decides() {
    let policies = compiled(&with_earned());
    let gate = &policies.gate;
    assert_eq!(gate.direct_kinds().count(), ActionKind::BUILT_IN.len());
    let seen = compare(gate, gate, 5, QUESTIONS / 4).unwrap();
    for id in [
        "createNote:low_touch",
        "createNote:low_touch:else",
        "sendEmail:low_touch",
        "sendEmail:low_touch:else",
    ] {
        let at = gate.rules().iter().position(|rule| rule.id == id).unwrap();
        assert!(seen.rules.contains(&at), "{id}");
    }
    let differs = compare(gate, &compiled(&built_in()).gate, 5, QUESTIONS);
    assert!(differs.is_err(), "a table without the condition answers otherwise");
}

/// The built-in table with every limit of time that it can have.
fn with_time() -> Content {
    let mut content = built_in();
    let table = content.policies.get_mut("autonomy.toml").unwrap();
    let limit = "[limits]                           # hold even with an approval\n";
    assert!(table.contains(limit));
    *table = table.replacen(limit, "[limits]\ncontact_hours = \"08:00-18:00\"\n", 1);
    content
}

#[test]
fn limits_of_time_are_answered_alike_by_both_evaluators_and_each_of_them_decides() {
    let policies = compiled(&with_time());
    let gate = &policies.gate;
    assert_eq!(gate.direct_kinds().count(), ActionKind::BUILT_IN.len());
    let seen = compare(gate, gate, 4, QUESTIONS / 4).unwrap();
    for id in ["limit:hours", "limit:zone", "open-sev1", "open-sev1-expansion"] {
        let at = gate.rules().iter().position(|rule| rule.id == id).unwrap();
        assert!(seen.rules.contains(&at), "{id}");
    }
    let mut other = with_time();
    let table = other.policies.get_mut("autonomy.toml").unwrap();
    *table = table.replacen("08:00-18:00", "08:01-18:00", 1);
    assert!(
        compare(gate, &compiled(&other).gate, 3, QUESTIONS).is_err(),
        "a minute is a difference"
    );
}

#[test]
fn the_comparison_finds_a_rule_that_differs_by_one() {
    let one = compiled(&built_in());
    for (from, to) in [
        ("min_confidence     = 80 ", "min_confidence     = 80.1 "),
        ("contacts_per_account_7_days = 3", "contacts_per_account_7_days = 4"),
        ("max_discount_percent        = 20", "max_discount_percent        = 20.1"),
        (
            "sendRenewal       = { low_touch = \"approve:csm\"",
            "sendRenewal       = { low_touch = \"approve:vp_cs\"",
        ),
    ] {
        let mut content = built_in();
        let table = content.policies.get_mut("autonomy.toml").unwrap();
        assert!(table.contains(from), "{from}");
        *table = table.replacen(from, to, 1);
        let other = compiled(&content);
        assert!(compare(&one.gate, &other.gate, 3, QUESTIONS).is_err(), "{to}");
    }
}

/// What one account is like.
#[derive(Debug, Clone, Copy)]
struct Case {
    kind: ActionKind,
    tier: Option<Tier>,
    confidence: Option<i64>,
    arr: Option<i64>,
    age: Option<i64>,
    contacts: i64,
    do_not_contact: Option<bool>,
    legal_hold: Option<bool>,
    suspected: bool,
    field: Option<AccountField>,
    discount: Option<i64>,
}

/// The table as a person reads it: no Cedar, no rules, only the words in its cells and the text of the guard rails.
fn by_hand(levels: &BTreeMap<(String, String), String>, case: &Case) -> String {
    let facing = matches!(
        case.kind,
        ActionKind::SEND_EMAIL | ActionKind::SEND_QBR | ActionKind::SEND_RENEWAL | ActionKind::OFFER_DISCOUNT
    );
    let held = facing || matches!(case.kind, ActionKind::UPDATE_FIELD | ActionKind::UPDATE_OPPORTUNITY);
    let forbidden = (facing && case.do_not_contact != Some(false))
        || (held && case.legal_hold != Some(false))
        || (facing && case.contacts >= 3)
        || (case.kind == ActionKind::UPDATE_FIELD && matches!(case.field, None | Some(AccountField::Health)))
        || (case.kind == ActionKind::OFFER_DISCOUNT && case.discount.is_none_or(|d| d > 200));
    let Some(tier) = case.tier else {
        return "never".to_owned();
    };
    if forbidden {
        return "never".to_owned();
    }
    // What is suspect and leaves the house needs somebody who reads it, and a csm may always read.
    let waits = case.suspected && case.kind != ActionKind::CREATE_TASK;
    let by_itself = if waits { "approve:csm" } else { "auto" };
    let needs = !facing
        || (case.confidence.is_some_and(|c| c >= 800)
            && case.arr.is_some_and(|a| a <= 2_700_000)
            && case.age.is_some_and(|a| a <= 14));
    let level = &levels[&(case.kind.to_string(), tier.to_string())];
    match level.as_str() {
        "advise" if waits => "never".to_owned(),
        "auto" if needs => by_itself.to_owned(),
        "auto" => "never".to_owned(),
        other => match other.strip_prefix("auto, else ") {
            Some(_) if needs => by_itself.to_owned(),
            Some(role) => role.to_owned(),
            None => other.to_owned(),
        },
    }
}

fn facts(case: &Case) -> Facts {
    let number = |n: Option<i64>| n.map_or(Value::Unknown, Value::Number);
    let flag = |f: Option<bool>| f.map_or(Value::Unknown, Value::Flag);
    let mut facts = Facts::unknown(AccountId::new("a"));
    let known = [
        (Place::Account, "tier", case.tier.map_or(Value::Unknown, Value::Tier)),
        (Place::Account, "arr_minor", number(case.arr)),
        (Place::Account, "usage_age_days", number(case.age)),
        (Place::Account, "do_not_contact", flag(case.do_not_contact)),
        (Place::Account, "legal_hold", flag(case.legal_hold)),
        (Place::Context, "confidence", number(case.confidence)),
        (Place::Context, "contacts_last_7d", Value::Number(case.contacts)),
        (Place::Context, "discount_pm", number(case.discount)),
        (Place::Context, "draft_hash", Value::Word("h".to_owned())),
        (Place::Context, "injection_suspected", Value::Flag(case.suspected)),
        (Place::Context, "now", Value::Moment(0)),
    ];
    for (place, name, value) in known {
        facts.set(place, name, value).unwrap();
    }
    facts
}

#[test]
fn every_action_tier_and_boundary_is_decided_as_the_table_reads() {
    let mut content = built_in();
    let table = content.policies.get_mut("autonomy.toml").unwrap();
    *table = table
        .replace("\"health\", ", "")
        .replace(
            "createNote        = { low_touch = \"auto\"",
            "createNote        = { low_touch = \"never\"",
        )
        .replace(
            "sendQbr           = { low_touch = \"advise\", mid_touch = \"approve:csm\"",
            "sendQbr           = { low_touch = \"advise\", mid_touch = \"auto\"",
        );
    let parsed: toml::Table = table.parse().unwrap();
    let mut levels = BTreeMap::new();
    for (kind, row) in parsed["matrix"].as_table().unwrap() {
        for (tier, level) in row.as_table().unwrap() {
            levels.insert((kind.clone(), tier.clone()), level.as_str().unwrap().to_owned());
        }
    }
    assert_eq!(levels.len(), 24);
    let policies = compiled(&content);
    let tiers: Vec<Option<Tier>> = Tier::BUILT_IN.iter().copied().map(Some).chain([None]).collect();
    let flags = [None, Some(false), Some(true)];
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    let mut number = 0_u64;
    let mut check = |case: Case| {
        let ask = Ask {
            action: case.kind,
            field: case.field,
        };
        let facts = facts(&case);
        let expected = by_hand(&levels, &case);
        // Cedar takes a hundred times as long, and equals the direct evaluator by another test.
        let engines: &[Engine] = if number.is_multiple_of(61) {
            &[Engine::Direct, Engine::Cedar]
        } else {
            &[Engine::Direct]
        };
        for engine in engines {
            let verdict = policies.gate.verdict_on(&facts, &[ask], &policies.settings, *engine);
            assert_eq!(verdict.word(), expected, "{engine:?} {case:?}: {:?}", verdict.rules);
            assert!(!verdict.rules.is_empty());
        }
        *words.entry(expected).or_default() += 1;
        number += 1;
    };
    for kind in ActionKind::BUILT_IN {
        for tier in &tiers {
            for needs in 0..27_usize {
                for rest in 0..36_usize {
                    let case = Case {
                        kind: *kind,
                        tier: *tier,
                        confidence: [None, Some(799), Some(800)][needs % 3],
                        arr: [None, Some(2_700_000), Some(2_700_001)][needs / 3 % 3],
                        age: [None, Some(14), Some(15)][needs / 9],
                        contacts: [2, 3][rest % 2],
                        do_not_contact: flags[rest / 2 % 3],
                        legal_hold: flags[rest / 6 % 3],
                        suspected: rest / 18 == 1,
                        field: Some(AccountField::Posture),
                        discount: Some(200),
                    };
                    match *kind {
                        ActionKind::UPDATE_FIELD => {
                            for field in [Some(AccountField::Posture), Some(AccountField::Health), None] {
                                check(Case { field, ..case });
                            }
                        }
                        ActionKind::OFFER_DISCOUNT => {
                            for discount in [None, Some(0), Some(200), Some(201)] {
                                check(Case { discount, ..case });
                            }
                        }
                        _ => check(case),
                    }
                }
            }
        }
    }
    assert!(number > 40_000, "{number}");
    for word in [
        "auto",
        "approve:csm",
        "approve:csm_manager",
        "approve:deal_desk",
        "approve:vp_cs",
        "advise",
        "never",
    ] {
        assert!(words.contains_key(word), "{words:?}");
    }
}

/// An account against which nothing stands.
fn harmless(kind: ActionKind, tier: Option<Tier>) -> Case {
    Case {
        kind,
        tier,
        confidence: Some(900),
        arr: Some(100_000),
        age: Some(1),
        contacts: 0,
        do_not_contact: Some(false),
        legal_hold: Some(false),
        suspected: false,
        field: None,
        discount: Some(100),
    }
}

/// The verdict on one action at a tier, where nothing stands against it.
fn of_tier(policies: &Policies, action: &str, tier: &str) -> String {
    let named = policies.gate.vocabulary();
    let case = harmless(named.action(action).unwrap(), named.tier(tier));
    let ask = Ask {
        action: case.kind,
        field: None,
    };
    let verdict = policies
        .gate
        .verdict_on(&facts(&case), &[ask], &policies.settings, Engine::Direct);
    verdict.word()
}

#[test]
fn added_tiers_roles_and_actions_are_decided_by_their_rows_and_alike_by_both_evaluators() {
    let policies = compiled(&extended());
    let gate = &policies.gate;
    let kinds: BTreeSet<ActionKind> = gate.direct_kinds().collect();
    assert_eq!(kinds, gate.vocabulary().actions().collect());
    let seen = compare(gate, gate, 5, QUESTIONS).unwrap_or_else(|difference| panic!("{difference}"));
    assert!(seen.allowed > 100 && seen.forbidden > 100, "{seen:?}");
    // Junior roles are asked first; a role comes after all that it includes.
    let roles: Vec<&str> = gate.vocabulary().roles().map(|role| role.as_str()).collect();
    assert_eq!(roles, ["csm", "csm_manager", "deal_desk", "legal", "vp_cs", "cfo"]);
    for (action, tier, expected) in [
        ("sendSurvey", "low_touch", "auto"),
        ("sendSurvey", "strategic", "approve:cfo"),
        ("sendSurvey", "self_serve", "auto"),
        ("checkLicence", "mid_touch", "approve:legal"),
        ("checkLicence", "self_serve", "never"),
        ("createTask", "self_serve", "auto"),
        ("sendRenewal", "self_serve", "approve:csm"),
    ] {
        assert_eq!(of_tier(&policies, action, tier), expected, "{action} {tier}");
    }
    // What a customer sees stays under the guard rails and limits, whatever it is called.
    let survey = gate.vocabulary().action("sendSurvey").unwrap();
    let facing = gate.policies_for(survey).unwrap();
    let about: Vec<String> = facing.policies().map(|p| p.id().to_string()).collect();
    for rule in ["do-not-contact", "legal-hold", "limit:contacts", "suspected-injection"] {
        assert!(about.iter().any(|id| id == rule), "{rule}");
    }
}

#[test]
fn a_role_that_no_other_includes_decides_alone_and_two_that_nobody_includes_end_in_no() {
    let mut content = extended();
    let table = content.policies.get_mut("autonomy.toml").unwrap();
    *table = table
        .replace("vp_cs = [\"legal\"]\n", "")
        .replace(
            "createNote        = { low_touch = \"auto\"",
            "createNote        = { low_touch = \"approve:csm\"",
        )
        .replace(
            "sendSurvey = { low_touch = \"auto, else approve:legal\"",
            "sendSurvey = { low_touch = \"approve:legal\"",
        );
    content.policies.retain(|path, _| !path.starts_with("tests/"));
    let policies = compiled(&content);
    let named = policies.gate.vocabulary();
    assert!(!named.covers(OwnerRole::VP_CS, named.role("legal").unwrap()));
    let case = harmless(named.action("sendSurvey").unwrap(), Some(Tier::LOW_TOUCH));
    let ask = |action| Ask { action, field: None };
    let verdict = |asks: &[Ask]| {
        policies
            .gate
            .verdict_on(&facts(&case), asks, &policies.settings, Engine::Direct)
    };
    assert_eq!(verdict(&[ask(case.kind)]).word(), "approve:legal");
    let both = verdict(&[ask(case.kind), ask(ActionKind::CREATE_NOTE)]);
    assert_eq!(both.word(), "never");
    assert!(
        both.rules[0].why.contains("no role includes all of csm, legal"),
        "{both:?}"
    );
}

#[test]
fn mistakes_in_added_names_are_named_with_their_line_and_a_remedy() {
    for (from, to, at, says) in [
        (
            "self_serve = \"auto\" }\ncheck",
            "}\ncheck",
            "",
            "says nothing about the tier `self_serve`",
        ),
        (
            "checkLicence = {",
            "checkLicense = {",
            "checkLicense",
            "did you mean `checkLicence`?",
        ),
        ("approve:cfo", "approve:cfoo", "\"approve:cfoo", "did you mean `cfo`?"),
        (
            "cfo = [\"vp_cs\"]",
            "cfo = [\"vp_ks\"]",
            "\"vp_ks",
            "did you mean `vp_cs`?",
        ),
        (
            "vp_cs = [\"legal\"]",
            "vp_cs = [\"legal\", \"cfo\"]",
            "",
            "include each other in a circle",
        ),
        (
            "[\"Internal\"]",
            "[\"Inside\"]",
            "[\"Inside",
            "exactly one of the engine's groups",
        ),
        (
            "sendQbr = [\"Surveys\"]",
            "sendQbr = [\"Internal\"]",
            "[\"Internal\"]",
            "`sendQbr` is in CustomerFacing and stays there",
        ),
        (
            "\"Surveys\"]\nsendQbr",
            "\"surveys\"]\nsendQbr",
            "\"surveys",
            "cannot name a group",
        ),
        (
            "[tiers]\n",
            "[tiers]\nstrategic = \"x\"\n",
            "strategic",
            "is there already",
        ),
        (
            "[tiers]\n",
            "[tiers]\nhubspot = \"x\"\n",
            "hubspot",
            "is the name of a CRM",
        ),
        (
            "[tiers]\n",
            "[tiers]\n\"Big Ones\" = \"x\"\n",
            "\"Big Ones",
            "cannot name a tier",
        ),
    ] {
        let mut content = extended();
        let table = content.policies.get_mut("autonomy.toml").unwrap();
        assert!(table.contains(from), "{from}");
        *table = table.replacen(from, to, 1);
        let text = table.clone();
        let problems = match Policies::compile(&content) {
            Ok(_) => panic!("{to} is taken"),
            Err(problems) => problems,
        };
        let found = problems
            .iter()
            .find(|p| format!("{} {}", p.message, p.help).contains(says));
        let found = found.unwrap_or_else(|| panic!("{says} is not in {problems:#?}"));
        assert!(found.file == "autonomy.toml" && !found.help.is_empty(), "{found:?}");
        let line = text.lines().nth(found.line - 1).unwrap();
        assert!(line[found.column - 1..].starts_with(at), "{found:?} in `{line}`");
    }
}
