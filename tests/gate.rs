//! Random facts and questions for the gate, rules that use every form of the language, and the comparison of both evaluators:
//! shared by the tests and the benchmark.

use std::collections::BTreeMap;

use perennial::content::{POLICIES, PROMPTS};
use perennial_core::action::{AccountField, ActionKind};
use perennial_core::draw::Stream;
use perennial_core::ids::AccountId;
use perennial_core::policy::gate::{
    Approval, Ask, Engine, Facts, Gate, Human, Kind, Place, Presence, TERMS, Term, Value, Vocabulary,
};
use perennial_core::policy::{Content, Level, Policies};
use perennial_core::signal::OwnerRole;

/// Rules for a time that use every form of the language that people write.
pub const LANGUAGE: &str = r#"
@id("l1") @why("w") @owner("o") @until("2026-11-30")
permit (principal == Agent::"perennial", action in [Action::"CrmWrite", Action::"sendQbr"], resource)
when { if resource has health then resource.health >= 50 else false };
@id("l2") @why("w") @owner("o") @until("2030-12-31")
permit (principal, action, resource == Account::"a1");
@id("l3") @why("w") @owner("o") @until("2030-12-31")
forbid (principal is Agent, action, resource is Account)
when { resource has churned && resource.churned == true && resource has tier }
when { resource has tier && [Tier::"strategic", Tier::"mid_touch"].contains(resource.tier) };
@id("l4") @why("w") @owner("o") @until("2030-12-31")
permit (principal, action == Action::"updateField", resource is Account)
when { ["health", "posture"].contains(context.field) || context.field like "next*" };
@id("l5") @why("w") @owner("o") @until("2030-12-31")
forbid (principal, action in Action::"Commercial", resource is Account)
when { context has approval && context.approval.by.roles.containsAll([Role::"csm", Role::"deal_desk"]) };
@id("l6") @why("w") @owner("o") @until("2030-12-31")
permit (principal, action in Action::"CustomerFacing", resource is Account)
when { context has approval && context.approval.by.roles.contains(Role::"csm_manager") &&
       context.now < datetime("2026-06-30T12:00:00Z") };
@id("l7") @why("w") @owner("o") @until("2030-12-31")
forbid (principal, action, resource is Account)
when { context.draft_hash like "h*2*" };
@id("l8") @why("w") @owner("o") @until("2030-12-31")
permit (principal, action, resource is Account)
when { [0, 1, 2].contains(context.contacts_last_7d) && action != Action::"createNote" && resource in Account::"a2" };
@id("l9") @why("w") @owner("o") @until("2030-12-31")
forbid (principal, action, resource is Account)
when { resource has days_to_renewal && resource has days_to_notice &&
       resource.days_to_renewal <= resource.days_to_notice && resource.days_to_notice > -5 };
@id("l10") @why("w") @owner("o") @until("2030-12-31")
forbid (principal, action, resource is Account)
when { (resource has sponsor_gap && resource.sponsor_gap) != (resource has trial && resource.trial) &&
       resource has nps && [9, 10].contains(resource.nps) };
@id("l11") @why("w") @owner("o") @until("2030-12-31")
permit (principal, action, resource is Account)
when { !(context has last_editor) && resource has tier && resource.tier in [Tier::"low_touch"] }
unless { !(resource has tenure_days) || context.contacts_last_7d > 100 };
@id("l12") @why("w") @owner("o") @until("2030-12-31")
forbid (principal, action, resource is Account)
when { context has approval && context.approval.expires_at < datetime("2026-03-01") };
@id("l13") @why("w") @owner("o") @until("2030-12-31")
forbid (principal, action == Action::"offerDiscount", resource is Account)
when { context has discount_pm && context.discount_pm == 150 };
@id("l14") @why("w") @owner("o") @until("2030-12-31")
forbid (principal, action, resource is Account)
when { resource has tier && resource.tier != Tier::"low_touch" && context has last_editor && context has approval &&
       context.last_editor != context.approval.by && resource has seats && resource.seats < 3 };
@id("l15") @why("w") @owner("o") @until("2030-12-31")
forbid (principal, action, resource is Account)
when { context has approval && Human::"kim" == context.approval.by && resource has seats && resource.seats == 9 ||
       context has last_editor && context.last_editor == Human::"lee" && resource has seats && resource.seats == 10 };
"#;

/// The built-in policies and prompts.
#[must_use]
pub fn built_in() -> Content {
    let texts = |files: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        owned.collect()
    };
    Content {
        policies: texts(POLICIES),
        prompts: texts(PROMPTS),
    }
}

/// The built-in policies with a tier, two roles and two actions added.
///
/// # Panics
/// When the shipped table is no longer as this edit expects it.
#[must_use]
pub fn extended() -> Content {
    let mut content = built_in();
    let table = content.policies.get_mut("autonomy.toml").expect("built in");
    let rows = table.lines().map(|line| match line.strip_suffix(" }") {
        Some(row) if row.contains("low_touch = \"") => {
            let low = row
                .split("low_touch = ")
                .nth(1)
                .and_then(|rest| rest.split(", mid_touch").next());
            format!("{row}, self_serve = {} }}\n", low.expect("a row of the table"))
        }
        _ => format!("{line}\n"),
    });
    let rows: String = rows.collect();
    let with_actions = rows.replacen(
        "[matrix]\n",
        "[matrix]\n\
         sendSurvey = { low_touch = \"auto, else approve:legal\", mid_touch = \"auto\", strategic = \"approve:cfo\", self_serve = \"auto\" }\n\
         checkLicence = { low_touch = \"auto\", mid_touch = \"approve:legal\", strategic = \"approve:legal\", self_serve = \"never\" }\n",
        1,
    );
    *table = format!(
        "[tiers]\nself_serve = \"Customers who buy on the site.\"\n\n[roles]\nlegal = []\nvp_cs = [\"legal\"]\ncfo = [\"vp_cs\"]\n\n\
         [actions]\nsendSurvey = [\"CustomerFacing\", \"Surveys\"]\nsendQbr = [\"Surveys\"]\ncheckLicence = [\"Internal\"]\n\n{with_actions}"
    );
    content
}

/// Compiles content that is known to be right.
///
/// # Panics
/// Where it is not.
#[must_use]
pub fn compiled(content: &Content) -> Policies {
    Policies::compile(content).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The built-in policies with guard rails added, or cells and then rule files taken away, until there are exactly so many rules.
///
/// # Panics
/// Where the smallest table alone has more rules.
#[must_use]
pub fn with_rules(count: usize) -> Content {
    let mut content = built_in();
    if count < compiled(&content).gate.rules().len() {
        let table = content.policies.get_mut("autonomy.toml").expect("built in");
        let start = table.find("[matrix]").expect("the table");
        let end = table.find("[auto]").expect("the needs");
        let rows = ActionKind::BUILT_IN.iter().map(|kind| match *kind {
            ActionKind::CREATE_TASK => {
                format!("{kind} = {{ low_touch = \"auto\", mid_touch = \"auto\", strategic = \"auto\" }}\n")
            }
            ActionKind::SEND_EMAIL => {
                format!("{kind} = {{ low_touch = \"approve:csm\", mid_touch = \"never\", strategic = \"never\" }}\n")
            }
            _ => format!("{kind} = {{ low_touch = \"never\", mid_touch = \"never\", strategic = \"never\" }}\n"),
        });
        let matrix = format!("[matrix]\n{}\n", rows.collect::<String>());
        table.replace_range(start..end, &matrix);
    }
    if count < compiled(&content).gate.rules().len() {
        content.policies.retain(|name, _| !name.starts_with("rules/"));
    }
    let missing = count.checked_sub(compiled(&content).gate.rules().len());
    let added = (0..missing.expect("fewer rules than the smallest table has")).map(|i| {
        format!(
            "@id(\"bench-{i}\") @why(\"w\")\nforbid (principal, action == Action::\"{}\", resource is Account)\n\
             when {{ resource has health && resource.health < {} && resource has days_to_renewal && \
             resource.days_to_renewal > {} }};\n",
            ActionKind::BUILT_IN[i % ActionKind::BUILT_IN.len()],
            i % 40,
            300 + i
        )
    });
    content
        .policies
        .insert("rules/90-bench.cedar".to_owned(), added.collect());
    assert_eq!(compiled(&content).gate.rules().len(), count);
    content
}

/// Values around which rules change their answer.
const EDGES: &[i64] = &[-5, -4, 0, 1, 2, 3, 9, 10, 15, 30, 49, 50, 100, 365];

/// The same for facts that the table reads.
fn edges(name: &str) -> &'static [i64] {
    match name {
        "arr_minor" => &[900_000, 2_700_000, 2_700_001],
        "confidence" => &[799, 800, 801],
        "contacts_last_7d" => &[0, 1, 2, 3, 4],
        "local_minute" => &[0, 479, 480, 481, 1079, 1080, 1081],
        "local_weekday" => &[1, 4, 5, 6, 7],
        "sev1_open" => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        "discount_pm" => &[0, 150, 200, 201],
        "usage_age_days" => &[3, 14, 15],
        _ => EDGES,
    }
}
/// 2026-01-01 in milliseconds since the epoch.
const YEAR_START: i64 = 1_767_225_600_000;
/// Milliseconds in a day.
const DAY: i64 = 86_400_000;

fn pick<'a, T>(draw: &mut Stream, list: &'a [T]) -> &'a T {
    &list[draw.below(list.len())]
}

fn value(draw: &mut Stream, term: &Term, named: &Vocabulary) -> Value {
    if term.presence == Presence::MayBeUnknown && draw.below(5) == 0 {
        return Value::Unknown;
    }
    match term.kind {
        Kind::Flag => Value::Flag(draw.below(3) == 0),
        Kind::Number { min, max } => Value::Number(match draw.below(20) {
            0 => min,
            1 => max,
            _ => (*pick(draw, edges(term.name))).clamp(min, max),
        }),
        Kind::Word if term.name == "playbook" => {
            Value::Word((*pick(draw, &["seat-expansion", "qbr-due", "advocacy-ask"])).to_owned())
        }
        Kind::Word => Value::Word((*pick(draw, &["h1", "h12", "x2", "h", ""])).to_owned()),
        Kind::Tier => Value::Tier(*pick(draw, named.tiers())),
        Kind::Moment => Value::Moment(YEAR_START + draw.below(400) as i64 * DAY),
    }
}

/// Facts that are drawn, each in its range, with values around which rules change their answer.
///
/// # Panics
/// When a drawn value is out of range, which would be a fault of the drawing.
#[must_use]
pub fn facts(draw: &mut Stream, named: &Vocabulary) -> Facts {
    let mut facts = Facts::unknown(AccountId::new(*pick(draw, &["a1", "a2", "a3", "a4", "a5"])));
    for term in TERMS.iter() {
        let value = match (term.name, draw.below(10)) {
            // Mostly harmless, so that the other rules have a say.
            ("do_not_contact" | "legal_hold" | "injection_suspected" | "churned", 0..=7) => Value::Flag(false),
            _ => value(draw, term, named),
        };
        facts.set(term.place, term.name, value).expect("a value in range");
    }
    facts.last_editor = (draw.below(3) == 0).then(|| (*pick(draw, &["kim", "lee"])).to_owned());
    facts
}

/// A question that is drawn.
#[must_use]
pub fn ask(draw: &mut Stream, named: &Vocabulary) -> Ask {
    let actions: Vec<ActionKind> = named.actions().collect();
    let action = *pick(draw, &actions);
    let field = (action == ActionKind::UPDATE_FIELD && draw.below(10) > 0).then(|| *pick(draw, AccountField::ALL));
    Ask { action, field }
}

/// An approval that is drawn: mostly one that counts.
#[must_use]
pub fn approval(draw: &mut Stream, facts: &Facts, named: &Vocabulary) -> Approval {
    // One that the policies do not name may be held, and counts for nothing.
    let gone = OwnerRole::from_word("gone");
    let roles = named.roles().chain(gone).filter(|_| draw.below(2) == 0).collect();
    let same = match facts.get(Place::Context, "draft_hash") {
        Value::Word(hash) if draw.below(6) > 0 => hash.clone(),
        _ => "h1".to_owned(),
    };
    let now = match facts.get(Place::Context, "now") {
        Value::Moment(now) => *now,
        _ => 0,
    };
    Approval {
        by: Human {
            id: (*pick(draw, &["kim", "lee"])).to_owned(),
            roles,
            active: draw.below(6) > 0,
        },
        draft_hash: same,
        expires_at: now + pick(draw, &[0, 1, DAY, DAY, DAY]),
    }
}

/// What a comparison saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Questions that were allowed, forbidden by a rule, and not permitted by any.
    pub allowed: u64,
    /// Forbidden by a rule.
    pub forbidden: u64,
    /// Permitted by none.
    pub unpermitted: u64,
    /// Verdicts by level.
    pub levels: BTreeMap<Level, u64>,
    /// Rules that led to at least one answer.
    pub rules: std::collections::BTreeSet<usize>,
}

/// Asks the direct evaluator of one gate and Cedar of another the same random questions.
///
/// # Errors
/// The first question that they answer differently.
///
/// # Panics
/// When a question cannot be asked, which would be a fault of the drawing.
pub fn compare(direct: &Gate, cedar: &Gate, seed: u64, count: u64) -> Result<Seen, String> {
    let mut draw = Stream::new(seed, &["gate"]);
    let named = direct.vocabulary();
    let mut seen = Seen::default();
    for number in 0..count {
        let facts = facts(&mut draw, named);
        let ask = ask(&mut draw, named);
        let approval = (draw.below(2) == 0).then(|| approval(&mut draw, &facts, named));
        let one = direct
            .answer(&facts, ask, approval.as_ref(), Engine::Direct)
            .expect("asked");
        let other = cedar.ask_cedar(&facts, ask, approval.as_ref()).expect("asked");
        if one != other {
            return Err(format!(
                "question {number}: direct {one:?}, Cedar {other:?}: {ask:?} {approval:?} {facts:?}"
            ));
        }
        match (one.allowed, one.rules.is_empty()) {
            (true, _) => seen.allowed += 1,
            (false, false) => seen.forbidden += 1,
            (false, true) => seen.unpermitted += 1,
        }
        seen.rules.extend(one.rules);
        // A verdict asks up to five times.
        if number % 10 == 0 {
            let one = direct.route(&facts, ask, Engine::Direct).expect("routed");
            let other = cedar.route(&facts, ask, Engine::Cedar).expect("routed");
            // Rules that cannot match by their scope are left out there.
            let sliced = cedar.route(&facts, ask, Engine::CedarSliced).expect("routed");
            if other != sliced {
                return Err(format!(
                    "verdict {number}: all rules {other:?}, a slice of them {sliced:?}: {ask:?} {facts:?}"
                ));
            }
            if one != other {
                return Err(format!(
                    "verdict {number}: direct {one:?}, Cedar {other:?}: {ask:?} {facts:?}"
                ));
            }
            *seen.levels.entry(one.level).or_default() += 1;
        }
    }
    Ok(seen)
}
