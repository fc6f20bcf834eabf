use super::*;
use crate::action::ActionKind;
use crate::ids::{ExternalId, SourceId};
use crate::money::{Currency, Money};
use crate::policy::tests::shipped;
use crate::signal::{
    Account, Arm, Assignment, Fact, FactKind, Interaction, InteractionKind, Signal, Subscription, Tier,
};

const AS_OF: &str = "2026-03-02";

fn signal(id: &str, on: &str, fact: Fact) -> Signal {
    let at: Timestamp = format!("{on}T00:00:00Z").parse().unwrap();
    Signal {
        source: SourceId::new("test"),
        external_id: ExternalId::new(id),
        event_at: at,
        observed_at: at,
        revision_at: Timestamp::EPOCH,
        fact,
    }
}

/// A mid-touch account in the renewal window that nobody has spoken to for long, so that several playbooks hold.
fn signals(account: Account) -> Vec<Signal> {
    let account = Account {
        name: Some("Acme".to_owned()),
        tier: Some(Tier::MID_TOUCH),
        since: Some("2024-01-01".parse().unwrap()),
        ..account
    };
    let subscription = Subscription {
        start: Some("2025-05-01".parse().unwrap()),
        end: Some("2026-05-01".parse().unwrap()),
        term_months: Some(12),
        arr: Some(Money::new(6_000_000, Currency::USD)),
        seats: Some(50),
        auto_renew: Some(false),
        ..Subscription::default()
    };
    let call = Interaction {
        kind: Some(InteractionKind::Call),
        ..Interaction::default()
    };
    let mut list = vec![
        signal("a", "2024-01-01", Fact::Account(account)),
        signal("s", "2025-05-01", Fact::Subscription(subscription)),
        signal("i", "2025-06-01", Fact::Interaction(call)),
    ];
    for week in 0..20 {
        let start: Day = "2025-10-06".parse().unwrap();
        let start = start.plus(week * 7);
        let used = if week < 14 { 40 } else { 10 };
        let values = [
            ("seats", 50),
            ("active_users", used),
            ("champion_seen", 0),
            ("features_used", 3),
        ];
        let fact = crate::signal::Usage {
            product: None,
            grain: crate::signal::Grain::Week,
            start,
            values: values.map(|(n, v)| (n.to_owned(), Micro::whole(v))).into(),
        };
        list.push(signal(&format!("u{week}"), &start.to_string(), Fact::Usage(fact)));
    }
    list
}

fn decided(signals: Vec<Signal>, prior: Vec<PriorAction>) -> Decision {
    let policies = Policies::compile(&shipped()).unwrap_or_else(|p| panic!("{p:?}"));
    decide(&inputs(signals, prior, &policies), &policies)
}

/// A mid-touch account about which several things are proposed.
pub(crate) fn mid_touch_inputs(policies: &Policies) -> Inputs {
    inputs(signals(Account::default()), Vec::new(), policies)
}

fn inputs(signals: Vec<Signal>, prior: Vec<PriorAction>, policies: &Policies) -> Inputs {
    let as_of: Timestamp = format!("{AS_OF}T00:00:00Z").parse().unwrap();
    Inputs {
        plays: Vec::new(),
        earned: Vec::new(),
        tenant: TenantId::DEFAULT,
        content: policies.content,
        default_crm: Crm::Salesforce,
        our_name: None,
        snapshot: Snapshot::of(AccountId::new("A"), as_of, signals, prior, policies.settings.usage_days),
        owner: None,
        peers: crate::detect::Peers::default(),
        feeds: crate::feature::Feeds::default(),
        health_before: Vec::new(),
    }
}

fn texts(decision: &Decision, kind: NoteKind) -> Vec<(String, String)> {
    let notes = decision.notes.iter().filter(|n| n.kind == kind);
    let name = |n: &Note| n.playbook.as_ref().map_or_else(String::new, |p| p.as_str().to_owned());
    notes.map(|n| (name(n), n.text.clone())).collect()
}

#[test]
fn what_is_done_already_is_left_out_with_the_place_it_would_have_had() {
    let open = decided(signals(Account::default()), Vec::new());
    assert!(open.proposals.len() >= 3, "{:?}", open.notes);
    let order: Vec<&str> = open.proposals.iter().map(|p| p.playbook.as_str()).collect();
    let second = &open.proposals[1];
    let prior = PriorAction {
        action: ActionId::new("act_before"),
        kind: second.kind,
        playbook: second.playbook.clone(),
        subject: second.subject.clone(),
        day: "2026-02-27".parse().unwrap(),
        state: ActionState::Pending,
        snoozed_until: None,
    };
    let after = decided(signals(Account::default()), vec![prior]);
    let expected = "would have been second, left out: act_before of 2026-02-27 is still pending".to_owned();
    assert_eq!(texts(&after, NoteKind::Suppressed), [(order[1].to_owned(), expected)]);
    assert!(after.proposals.iter().all(|p| p.playbook != second.playbook));
}

#[test]
fn what_a_rule_forbids_names_the_rule_its_line_and_the_place_it_would_have_had() {
    let account = Account {
        do_not_contact: Some(true),
        ..Account::default()
    };
    let decision = decided(signals(account), Vec::new());
    let denied: Vec<(usize, &Proposal)> = decision
        .proposals
        .iter()
        .enumerate()
        .filter(|(_, p)| p.verdict.level == Level::Never)
        .collect();
    assert!(!denied.is_empty() && denied.len() < decision.proposals.len());
    let notes: BTreeMap<String, String> = texts(&decision, NoteKind::Denied).into_iter().collect();
    assert_eq!(notes.len(), denied.len());
    for (at, proposal) in denied {
        assert!(proposal.kind != ActionKind::CREATE_TASK);
        let allowed = decision.proposals[..at]
            .iter()
            .filter(|p| p.verdict.level != Level::Never);
        let place = ordinal(allowed.count() + 1);
        let line = proposal.verdict.rules[0].line;
        let begin = format!("would have been {place}, denied by rules/90-never.cedar:{line} (do-not-contact: ");
        let text = &notes[proposal.playbook.as_str()];
        assert!(text.starts_with(&begin), "`{text}` should begin `{begin}`");
    }
}

#[test]
fn an_account_of_the_holdout_gets_nothing_proposed() {
    let mut list = signals(Account::default());
    let fact = Assignment {
        arm: Some(Arm::Holdout),
        ..Assignment::default()
    };
    list.push(signal("h", "2026-01-01", Fact::Assignment(fact)));
    let decision = decided(list, Vec::new());
    assert!(decision.proposals.is_empty());
    assert_eq!(texts(&decision, NoteKind::Holdout).len(), 1);
}

/// An account of which enough is known that a mail to it needs nobody, its use measured up to `weeks` weeks before.
fn low_touch(weeks: usize) -> Vec<Signal> {
    let low_touch = Account {
        seats: Some(50),
        ..Account::default()
    };
    let mut list = signals(low_touch);
    for signal in &mut list {
        match &mut signal.fact {
            Fact::Account(fact) => fact.tier = Some(Tier::LOW_TOUCH),
            Fact::Subscription(fact) => fact.arr = Some(Money::new(600_000, Currency::USD)),
            _ => {}
        }
    }
    let contact = crate::signal::Contact {
        name: Some("Ada".to_owned()),
        ..Default::default()
    };
    let answer = crate::signal::Survey {
        kind: Some(crate::signal::SurveyKind::Nps),
        score: Some(Micro::whole(8)),
        contact: None,
    };
    list.push(signal("c", "2026-01-01", Fact::Contact(contact)));
    list.push(signal("n", "2026-01-01", Fact::Survey(answer)));
    let measured = list.iter().filter(|s| matches!(s.fact, Fact::Usage(_))).count();
    let mut kept = measured - weeks;
    list.retain(|s| {
        let is_use = matches!(s.fact, Fact::Usage(_));
        let keep = !is_use || kept > 0;
        kept -= usize::from(is_use && keep);
        keep
    });
    list
}

/// What policy says of a mail.
fn mail(decision: &Decision, policies: &Policies) -> Verdict {
    let request = Request {
        account: &decision.account,
        kind: ActionKind::SEND_EMAIL,
        writes: Vec::new(),
        features: &decision.features,
        contacts_7_days: 0,
        contact_role: None,
        before: None,
        discount: None,
        draft: Hash::of(b"a mail"),
        now: decision.as_of,
        last_editor: None,
        earned: &[],
        playbook: None,
        local: None,
    };
    policies.gate.verdict(&request, &policies.settings)
}

/// What policy says of a mail to an account whose use was measured up to `weeks` weeks before, and how much of its health is
/// known, in percent.
fn mail_after(weeks: usize) -> (Level, f64) {
    let policies = Policies::compile(&shipped()).unwrap_or_else(|p| panic!("{p:?}"));
    let decision = decided(low_touch(weeks), Vec::new());
    let confidence = decision.features.number("health_confidence").unwrap();
    (mail(&decision, &policies).level, confidence)
}

#[test]
fn a_feed_of_use_that_stands_still_lowers_confidence_and_takes_autonomy() {
    // The newest use is 8 days old: 3 of the last 4 weeks are there.
    assert_eq!(mail_after(0), (Level::Auto, 87.0));
    // 15 days: one more than `max_usage_age_days`, and without two of the four weeks half of the weight of health is gone.
    assert_eq!(mail_after(1), (Level::Approve, 37.0));
}

/// The decision where sources of a kind were last heard of so many days ago; the account has a case of each of some sources.
fn with_feeds(kind: FactKind, ages: &[(&str, i64)], own_cases: &[&str]) -> (Decision, Inputs, Policies) {
    let mut content = shipped();
    let scoring = content.policies.get_mut("scoring.toml").unwrap();
    scoring.push_str("\n[feeds]\nticket = 14\ninteraction = 14\nretired = [\"old-desk\"]\n");
    let autonomy = content.policies.get_mut("autonomy.toml").unwrap();
    *autonomy = autonomy.replace(
        "max_usage_age_days = 14",
        "max_usage_age_days = 14\nmax_stale_feeds = 0",
    );
    let policies = Policies::compile(&content).unwrap_or_else(|p| panic!("{p:?}"));
    let as_of: Timestamp = format!("{AS_OF}T00:00:00Z").parse().unwrap();
    let mut all = low_touch(0);
    all.extend(own_cases.iter().map(|source| {
        let ticket = crate::signal::Ticket {
            severity: Some(1),
            ..Default::default()
        };
        let mut case = signal("case", AS_OF, Fact::Ticket(ticket));
        case.source = SourceId::new(*source);
        case
    }));
    let newest = |age: i64| as_of.day().plus(-age);
    let sources = ages.iter().map(|(source, age)| ((*source).to_owned(), newest(*age)));
    let inputs = Inputs {
        plays: Vec::new(),
        earned: Vec::new(),
        tenant: TenantId::DEFAULT,
        content: policies.content,
        default_crm: Crm::Salesforce,
        our_name: None,
        snapshot: Snapshot::of(
            AccountId::new("A"),
            as_of,
            all,
            Vec::new(),
            policies.settings.usage_days,
        ),
        owner: None,
        peers: crate::detect::Peers::default(),
        feeds: feature::Feeds([(kind, sources.collect())].into()),
        health_before: Vec::new(),
    };
    let decision = decide(&inputs, &policies);
    (decision, inputs, policies)
}

#[test]
fn a_source_that_stands_still_lowers_confidence_and_a_quiet_account_does_not() {
    let of = |ages: &[(&str, i64)], own: &[&str]| {
        let (decision, ..) = with_feeds(FactKind::Ticket, ages, own);
        let facts = &decision.features;
        let missing = decision
            .scores
            .health
            .missing
            .iter()
            .find(|m| m.fact == "escalations_open");
        (
            facts.number("stale_feeds"),
            facts.number("escalations_open"),
            facts.number("health_confidence").unwrap(),
            missing.map(|m| m.field.clone()),
        )
    };
    let fresh = of(&[("desk", 14)], &[]);
    assert_eq!((fresh.0, fresh.1, fresh.3), (Some(0.0), Some(0.0), None));
    let frozen = of(&[("desk", 15)], &[]);
    let why = "newer ticket records: `desk` has sent none since 2026-02-15 (limit 14 days)";
    assert_eq!((frozen.0, frozen.3.as_deref()), (Some(1.0), Some(why)));
    assert_eq!(
        frozen.1,
        Some(0.0),
        "what is known stays known, and conditions can read it"
    );
    assert_eq!(fresh.2 - frozen.2, 10.0, "the weight of `escalations_open`");
    // An account without cases is told of by any source that still delivers; one with cases by its own.
    assert_eq!(of(&[("desk", 40), ("other", 2)], &[]).0, Some(0.0));
    assert_eq!(of(&[("desk", 40), ("other", 2)], &["desk"]).0, Some(1.0));
    assert_eq!(of(&[("desk", 40), ("other", 2)], &["other"]).0, Some(0.0));
    // What is retired is not missed.
    let retired = of(&[("old-desk", 400), ("other", 2)], &["old-desk"]);
    assert_eq!((retired.0, retired.3), (Some(0.0), None));
    // A kind that no source ever delivered is unknown as before, not stale.
    assert_eq!(of(&[], &[]).0, Some(0.0));
}

#[test]
fn a_stale_feed_takes_autonomy_and_the_decision_replays() {
    let level = |age: i64| {
        let (decision, inputs, policies) = with_feeds(FactKind::Interaction, &[("test", age)], &[]);
        let text = crate::replay::canonical(&inputs);
        let read: Inputs = crate::replay::read("inputs", &text).unwrap();
        let again = crate::replay::canonical(&decide(&read, &policies));
        assert_eq!(again, crate::replay::canonical(&decision));
        let verdict = mail(&decision, &policies);
        (
            verdict.level,
            verdict
                .rules
                .iter()
                .map(|r| r.why.clone())
                .collect::<Vec<_>>()
                .join("; "),
        )
    };
    assert_eq!(level(14).0, Level::Auto);
    let (frozen, why) = level(15);
    assert_eq!(frozen, Level::Approve);
    assert!(why.contains("1 of its feeds stand still, above 0"), "{why}");
}

#[test]
fn unknown_feeds_and_limits_out_of_range_are_named() {
    let said = |feeds: &str| {
        let mut content = shipped();
        let scoring = content.policies.get_mut("scoring.toml").unwrap();
        scoring.push_str(&format!("\n[feeds]\n{feeds}\n"));
        let problems = Policies::compile(&content).err().expect("a mistake");
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(
        said("tickets = 14").contains("unknown field `tickets`"),
        "{}",
        said("tickets = 14")
    );
    assert!(said("ticket = 0").contains("`ticket` is 0, which is out of range"));
}

#[test]
fn places_are_words_up_to_ten() {
    assert_eq!([ordinal(1), ordinal(10), ordinal(11)], ["first", "tenth", "number 11"]);
}
