use super::super::{Ask, Engine, Gate, Request};
use super::*;
use crate::action::ActionKind;
use crate::feature::{Features, Found, State, Value as Known};
use crate::ids::AccountId;
use crate::policy::Policies;
use crate::policy::tests::shipped;
use crate::replay::Hash;
use crate::signal::ContactRole;
use crate::time::Timestamp;

fn euros(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().expect("a currency"))
}

fn features(known: &[(&str, Known)]) -> Features {
    let mut features = Features::default();
    for (name, value) in known {
        let found = Found::computed(State::Known(value.clone()), Timestamp::EPOCH);
        features.insert(&AccountId::new("a"), name, found);
    }
    features
}

fn fields(list: &[(AccountField, &str)]) -> BTreeMap<AccountField, String> {
    list.iter().map(|(field, text)| (*field, (*text).to_owned())).collect()
}

fn deal(id: &str, stage: Option<&str>) -> Write {
    Write::UpdateOpportunity {
        opportunity: id.to_owned(),
        crm_id: None,
        next_step: Some("call".to_owned()),
        stage: stage.map(str::to_owned),
        seen: BTreeMap::new(),
    }
}

fn facts_of(
    policies: &Policies,
    features: &Features,
    writes: &[Write],
    before: &Before,
    discount: Option<f64>,
) -> Result<Facts, FactError> {
    let account = AccountId::new("a");
    let request = Request {
        account: &account,
        kind: ActionKind::UPDATE_FIELD,
        writes: writes.iter().collect(),
        features,
        playbook: None,
        local: None,
        contacts_7_days: 0,
        contact_role: Some(ContactRole::EconomicBuyer),
        before: Some(before),
        discount,
        draft: Hash::ZERO,
        now: Timestamp::EPOCH,
        last_editor: None,
        earned: &[],
    };
    Facts::of(&request, &policies.settings, policies.gate.vocabulary())
}

fn policies(rule: &str) -> Policies {
    let mut content = shipped();
    content
        .policies
        .insert("rules/90-size.cedar".to_owned(), rule.to_owned());
    Policies::compile(&content).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[track_caller]
fn context(facts: &Facts, name: &str, expected: &Value) {
    assert_eq!(facts.get(Place::Context, name), expected, "{name}");
}

#[test]
fn the_size_of_a_change_is_the_largest_rounded_up_and_unknown_where_one_is() {
    let policies = policies("");
    let health = |old: &str, new: &str| {
        let before = Before::new(
            fields(&[(AccountField::Health, old), (AccountField::NextStep, "call")]),
            BTreeMap::new(),
        );
        let writes = [Write::UpdateAccount {
            fields: fields(&[(AccountField::Health, new), (AccountField::NextStep, "write")]),
        }];
        facts_of(&policies, &Features::default(), &writes, &before, None).expect("facts")
    };
    let facts = health("62", "49.9");
    context(&facts, "change_points", &Value::Number(13));
    context(&facts, "change_pm", &Value::Number(196));
    context(&facts, "overwrites", &Value::Flag(true));
    context(&facts, "contact_role", &Value::Word("economic_buyer".to_owned()));
    // What is no number has no size, and from nothing there is no share.
    context(&health("red", "49"), "change_points", &Value::Unknown);
    context(&health("0", "49"), "change_pm", &Value::Unknown);
    context(&health("0", "49"), "change_points", &Value::Number(49));
    let two = [Write::UpdateAccount {
        fields: fields(&[(AccountField::Health, "50"), (AccountField::RenewalRisk, "9")]),
    }];
    let before = Before::new(fields(&[(AccountField::Health, "49")]), BTreeMap::new());
    let facts = facts_of(&policies, &Features::default(), &two, &before, None).expect("facts");
    context(&facts, "change_points", &Value::Unknown);
    context(&facts, "overwrites", &Value::Unknown);
}

#[test]
fn deals_discounts_and_contracts_are_known_in_the_currency_of_the_policy() {
    let policies = policies("");
    let base = policies.settings.base;
    let money = |minor| Known::Money(Money::new(minor, base));
    let known = features(&[("arr", money(1_000_001)), ("contract_value", money(3_000_000))]);
    let before = Before::new(
        BTreeMap::new(),
        [
            ("o1".to_owned(), Money::new(500, base)),
            ("o2".to_owned(), Money::new(700, base)),
        ]
        .into(),
    );
    let writes = [deal("o1", None), deal("o2", Some("Closed"))];
    let facts = facts_of(&policies, &known, &writes, &before, Some(0.1)).expect("facts");
    context(&facts, "deal_minor", &Value::Number(700));
    context(&facts, "stage_changes", &Value::Flag(true));
    context(&facts, "discount_minor", &Value::Number(100_001));
    assert_eq!(facts.get(Place::Account, "contract_minor"), &Value::Number(3_000_000));
    let facts = facts_of(&policies, &known, &[deal("o1", None), deal("o3", None)], &before, None).expect("facts");
    context(&facts, "deal_minor", &Value::Unknown);
    context(&facts, "stage_changes", &Value::Flag(false));
    assert_eq!(facts.get(Place::Context, "discount_minor"), &Value::Unknown);
}

#[test]
fn a_size_that_cannot_be_is_no_fact_and_is_named() {
    let policies = policies("");
    let base = policies.settings.base;
    let wrong = |known: &[(&str, Known)], writes: &[Write], before: &Before| {
        let found = facts_of(&policies, &features(known), writes, before, None);
        found.expect_err("out of range").fact().map(str::to_owned)
    };
    let none = Before::default();
    let negative = Known::Money(Money::new(-1, base));
    assert_eq!(
        wrong(&[("contract_value", negative)], &[], &none).as_deref(),
        Some("contract_minor")
    );
    let months = Known::Number(Micro::whole(-12));
    assert_eq!(
        wrong(&[("term_months", months)], &[], &none).as_deref(),
        Some("term_months")
    );
    let before = Before::new(BTreeMap::new(), [("o1".to_owned(), euros(-5))].into());
    if policies.settings.in_base(euros(1)).is_ok() {
        assert_eq!(wrong(&[], &[deal("o1", None)], &before).as_deref(), Some("deal_minor"));
    }
    let before = Before::new(fields(&[(AccountField::Health, "-9000000000")]), BTreeMap::new());
    let writes = [Write::UpdateAccount {
        fields: fields(&[(AccountField::Health, "50")]),
    }];
    assert!(wrong(&[], &writes, &before).is_some());
}

/// What the rules say to writing the health over another value, by both evaluators.
fn answer(gate: &Gate, policies: &Policies, old: Option<&str>) -> bool {
    let before = Before::new(
        old.map(|old| fields(&[(AccountField::Health, old)]))
            .unwrap_or_default(),
        BTreeMap::new(),
    );
    let writes = [Write::UpdateAccount {
        fields: fields(&[(AccountField::Health, "50")]),
    }];
    let known = features(&[
        ("tier", Known::Text("low_touch".to_owned())),
        ("legal_hold", Known::Flag(false)),
    ]);
    let facts = facts_of(policies, &known, &writes, &before, None).expect("facts");
    let ask = Ask {
        action: ActionKind::UPDATE_FIELD,
        field: Some(AccountField::Health),
    };
    let direct = gate.answer(&facts, ask, None, Engine::Direct).expect("an answer");
    let cedar = gate.answer(&facts, ask, None, Engine::Cedar).expect("an answer");
    assert_eq!(direct, cedar);
    assert!(gate.direct_kinds().any(|kind| kind == ActionKind::UPDATE_FIELD));
    direct.allowed
}

#[test]
fn a_rule_about_the_size_of_a_change_fails_closed() {
    let policies = policies(
        "@id(\"size\") @why(\"A large change needs a person.\")\n\
         forbid (principal, action == Action::\"updateField\", resource is Account)\n\
         unless { context has approval || context has change_points && context.change_points <= 20 };\n",
    );
    assert!(answer(&policies.gate, &policies, Some("70")));
    assert!(!answer(&policies.gate, &policies, Some("70.1")));
    assert!(!answer(&policies.gate, &policies, None));
}
