//! Verdicts of the shipped table, from the facts of an account.

use super::*;
use crate::action::{AccountField, ActionKind, Priority, Write};
use crate::signal::OwnerRole;

fn account(tier: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("tier", Value::Text(tier.to_owned())),
        ("do_not_contact", Value::Flag(false)),
        ("legal_hold", Value::Flag(false)),
        ("health_confidence", Value::Number(Micro::whole(90))),
        ("arr", Value::Money(Money::new(900_000, Currency::USD))),
        ("usage_age_days", Value::Number(Micro::whole(3))),
    ]
}

/// A request for a task on an account of which these facts are known.
fn asked(features: &Features) -> Request<'_> {
    static ACCOUNT: std::sync::LazyLock<AccountId> = std::sync::LazyLock::new(|| AccountId::new("a"));
    Request {
        account: &ACCOUNT,
        kind: ActionKind::CREATE_TASK,
        writes: Vec::new(),
        features,
        playbook: None,
        local: None,
        contacts_7_days: 0,
        contact_role: None,
        before: None,
        discount: None,
        draft: crate::replay::Hash::of(b"draft"),
        now: Timestamp::EPOCH,
        last_editor: None,
        earned: &[],
    }
}

#[track_caller]
fn verdict(kind: ActionKind, writes: &[Write], facts_of: &[(&str, Value)]) -> Verdict {
    let policies = Policies::compile(&shipped()).unwrap_or_else(|p| panic!("{p:?}"));
    let features = facts(facts_of);
    let request = Request {
        kind,
        writes: writes.iter().collect(),
        features: &features,
        ..asked(&features)
    };
    policies.gate.verdict(&request, &policies.settings)
}

fn field(field: AccountField) -> Write {
    Write::UpdateAccount {
        fields: [(field, "1".to_owned())].into(),
    }
}

fn task() -> Write {
    Write::CreateTask {
        subject: "s".to_owned(),
        body: "b".to_owned(),
        due: crate::time::Day::from_number(0),
        priority: Priority::Normal,
        assignee: None,
    }
}

#[test]
fn the_table_decides_by_action_and_tier() {
    assert_eq!(
        verdict(ActionKind::CREATE_TASK, &[task()], &account("low_touch")).word(),
        "auto"
    );
    assert_eq!(
        verdict(ActionKind::SEND_RENEWAL, &[task()], &account("strategic")).word(),
        "approve:vp_cs"
    );
    assert_eq!(
        verdict(ActionKind::SEND_QBR, &[task()], &account("low_touch")).word(),
        "advise"
    );
}

#[test]
fn the_strictest_write_decides_for_the_action() {
    let verdict = verdict(
        ActionKind::CREATE_TASK,
        &[task(), field(AccountField::Health)],
        &account("strategic"),
    );
    assert_eq!(verdict.word(), "approve:csm");
    assert_eq!(verdict.rules[0].id, "updateField:strategic");
    assert_eq!(
        (verdict.rules[0].file.as_str(), verdict.rules[0].line),
        ("autonomy.toml", 9)
    );
}

#[test]
fn guard_rails_beat_the_table_and_an_unknown_fact_fails_closed() {
    let mut asked = account("low_touch");
    asked[1].1 = Value::Flag(true);
    let denied = verdict(ActionKind::SEND_EMAIL, &[], &asked);
    assert_eq!(
        (denied.level, denied.rules[0].id.as_str()),
        (Level::Never, "do-not-contact")
    );
    let silent: Vec<_> = account("low_touch")
        .into_iter()
        .filter(|f| f.0 != "do_not_contact")
        .collect();
    assert_eq!(verdict(ActionKind::SEND_EMAIL, &[], &silent).level, Level::Never);
    let nameless: Vec<_> = account("low_touch").into_iter().filter(|f| f.0 != "tier").collect();
    assert_eq!(
        verdict(ActionKind::CREATE_TASK, &[task()], &nameless).level,
        Level::Never
    );
}

#[test]
fn auto_towards_a_customer_needs_confidence_small_revenue_and_fresh_data() {
    assert_eq!(
        verdict(ActionKind::SEND_EMAIL, &[], &account("low_touch")).word(),
        "auto"
    );
    for (i, worse) in [
        (3, Value::Number(Micro::whole(79))),
        (4, Value::Money(Money::new(2_700_001, Currency::USD))),
        (5, Value::Number(Micro::whole(15))),
    ] {
        let mut facts = account("low_touch");
        facts[i].1 = worse;
        assert_eq!(
            verdict(ActionKind::SEND_EMAIL, &[], &facts).word(),
            "approve:csm",
            "{}",
            facts[i].0
        );
    }
}

#[test]
fn contact_limit_and_field_list_hold() {
    let policies = Policies::compile(&shipped()).unwrap_or_else(|p| panic!("{p:?}"));
    let features = facts(&account("low_touch"));
    let request = Request {
        kind: ActionKind::SEND_EMAIL,
        writes: vec![],
        features: &features,
        playbook: None,
        local: None,
        contacts_7_days: 3,
        contact_role: None,
        before: None,
        ..asked(&features)
    };
    assert_eq!(
        policies.gate.verdict(&request, &policies.settings).rules[0].id,
        "limit:contacts"
    );
    let mut narrow = shipped();
    let text = narrow.policies.get_mut("autonomy.toml").expect("shipped");
    *text = text.replace("\"health\", ", "");
    let policies = Policies::compile(&narrow).unwrap_or_else(|p| panic!("{p:?}"));
    let write = field(AccountField::Health);
    let request = Request {
        kind: ActionKind::UPDATE_FIELD,
        writes: vec![&write],
        features: &features,
        ..asked(&features)
    };
    assert_eq!(
        policies.gate.verdict(&request, &policies.settings).rules[0].id,
        "limit:fields"
    );
}

#[test]
fn deal_desk_and_manager_together_need_the_head() {
    let mut content = shipped();
    let text = content.policies.get_mut("autonomy.toml").expect("shipped");
    *text = text.replace(
        "updateField       = { low_touch = \"auto\"",
        "updateField       = { low_touch = \"approve:csm_manager\"",
    );
    let policies = Policies::compile(&content).unwrap_or_else(|p| panic!("{p:?}"));
    let features = facts(&account("low_touch"));
    let write = field(AccountField::Health);
    let request = Request {
        kind: ActionKind::OFFER_DISCOUNT,
        writes: vec![&write],
        features: &features,
        discount: Some(0.1),
        ..asked(&features)
    };
    let verdict = policies.gate.verdict(&request, &policies.settings);
    assert_eq!(verdict.role, Some(OwnerRole::VP_CS));
}
