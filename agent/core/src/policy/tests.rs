//! The shipped policies compile, and what is wrong is said with its place.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::feature::{Features, Found, State, Value};
use crate::ids::AccountId;
use crate::number::Micro;
use crate::time::Timestamp;

mod earned;
mod limits;
mod plays;
mod verdict;

fn folder(path: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(path).expect("a folder of the repository") {
        let entry = entry.expect("an entry").path();
        let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
        if entry.is_dir() {
            if name != "cases" {
                folder(&entry, &format!("{prefix}{name}/"), files);
            }
        } else {
            files.insert(
                format!("{prefix}{name}"),
                std::fs::read_to_string(&entry).expect("text"),
            );
        }
    }
}

/// The shipped policies and prompts.
pub(crate) fn shipped() -> Content {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut content = Content {
        policies: BTreeMap::new(),
        prompts: BTreeMap::new(),
    };
    folder(&root.join("policies"), "", &mut content.policies);
    folder(&root.join("prompts"), "", &mut content.prompts);
    content
}

/// The problems of the shipped content after one edit, as people see them.
#[track_caller]
fn after(file: &str, from: &str, to: &str) -> Vec<String> {
    let mut content = shipped();
    let text = content.policies.get_mut(file).expect("a shipped file");
    assert!(text.contains(from), "`{from}` stands in {file}");
    *text = text.replacen(from, to, 1);
    match Policies::compile(&content) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

#[test]
fn the_shipped_policies_compile_and_have_the_ten_playbooks() {
    let problems = Policies::compile(&shipped()).map(|p| p.playbooks.into_keys().collect::<Vec<_>>());
    let names = problems.expect("no problem");
    assert_eq!(
        names,
        [
            "advocacy-ask",
            "onboarding-stalled",
            "open-escalation",
            "qbr-due",
            "renewal-at-risk",
            "renewal-proposal-due",
            "seat-expansion",
            "silent-account",
            "sponsor-left",
            "usage-drop"
        ]
    );
}

#[test]
fn an_edit_changes_the_name_of_the_content() {
    let (one, mut two) = (shipped(), shipped());
    assert_eq!(one.hash(), two.hash());
    two.policies
        .get_mut("scoring.toml")
        .expect("shipped")
        .push_str("# a comment\n");
    assert_ne!(one.hash(), two.hash());
}

#[test]
fn each_mistake_is_named_with_file_line_column_and_remedy() {
    let cases = [
        (
            "scoring.toml",
            "unknown_below = 45",
            "unknwn_below = 45",
            "scoring.toml:24:1: unknown field `unknwn_below`",
            "did you mean `unknown_below`?",
        ),
        (
            "scoring.toml",
            "weight = 20",
            "weight = 25",
            "scoring.toml:24:17: the weights of this index add up to 105, not to 100",
            "change the weights",
        ),
        (
            "scoring.toml",
            "fact = \"seat_utilisation\"",
            "fact = \"seat_utilization\"",
            "scoring.toml:31:8: unknown fact `seat_utilization`",
            "did you mean `seat_utilisation`?",
        ),
        (
            "scoring.toml",
            "base = \"USD\"",
            "base = \"USDOLLAR\"",
            "scoring.toml:5:8: `USDOLLAR` is no ISO 4217 currency code",
            "write a code such as USD",
        ),
        (
            "scoring.toml",
            "EUR = \"1.08\"",
            "EUR = \"about one\"",
            "scoring.toml:8:7: `about one` is no exchange rate",
            "how many USD one EUR is",
        ),
        (
            "scoring.toml",
            "windows = [180, 120",
            "windows = [120, 180",
            "`windows` must be falling numbers of days",
            "[180, 120, 90, 60, 30]",
        ),
        (
            "scoring.toml",
            "points = [[10, 0], [50, 50]",
            "points = [[50, 0], [10, 50]",
            "`points` of `seat_utilisation` do not make a curve",
            "rising values",
        ),
        (
            "autonomy.toml",
            "low_touch = \"auto\", mid_touch = \"auto\", strategic = \"auto\" }",
            "low_touch = \"auto\", mid_touch = \"auto\" }",
            "`createTask` says nothing about the tier `strategic`",
            "strategic = \"never\"",
        ),
        (
            "autonomy.toml",
            "createTask ",
            "creatTask ",
            "unknown action `creatTask`",
            "did you mean `createTask`?",
        ),
        (
            "scoring.toml",
            "worth_from = 0.80 ",
            "worth_from = 0.70 ",
            "`worth_from` is 0.7, which is out of range",
            "give a number from 0.8 to 1",
        ),
        (
            "scoring.toml",
            "floor = 0.05 ",
            "floor = 0.01 ",
            "`floor` is 0.01, which is out of range",
            "give a number from 0.05 to 0.5",
        ),
        (
            "scoring.toml",
            "quiet_days = 14",
            "quite_days = 14",
            "scoring.toml:286:1: unknown field `quite_days`",
            "did you mean `quiet_days`?",
        ),
        (
            "scoring.toml",
            "name = \"usage_drop\"",
            "name = \"usage_dorp\"",
            "scoring.toml:290:8: unknown detector `usage_dorp`",
            "did you mean `usage_drop`?",
        ),
        (
            "scoring.toml",
            "open = -0.74",
            "open = -0.34",
            "scoring.toml:292:8: `open` of `usage_drop` must be below `clear`",
            "lower values are worse here",
        ),
        (
            "scoring.toml",
            "name = \"breadth_loss\"",
            "name = \"usage_drop\"",
            "detector `usage_drop` stands here twice",
            "keep one of the two",
        ),
        (
            "autonomy.toml",
            "approve:csm_manager\"",
            "approve:csm_manger\"",
            "is no level",
            "did you mean `csm_manager`?",
        ),
        (
            "autonomy.toml",
            "\"posture\", ",
            "\"postur\", ",
            "unknown field `postur`",
            "did you mean `posture`?",
        ),
        (
            "autonomy.toml",
            "25k EUR",
            "25k",
            "`25k` is no amount with a currency",
            "25000 EUR",
        ),
        (
            "scoring.toml",
            "band_width = 2.5",
            "band_width = 12",
            "`band_width` is 12, so that no score would be yellow for certain",
            "give at most half",
        ),
        (
            "scoring.toml",
            "[expansion]\n",
            "[expansion]\nband_width = 2.5\n",
            "`band_width` is for health alone",
            "remove it here",
        ),
        (
            "scoring.toml",
            "health = \"arr_weighted\"",
            "health = \"median\"",
            "`health` cannot be `median`",
            "write one of mean, arr_weighted, worst",
        ),
        (
            "autonomy.toml",
            "max_discount_percent        = 20",
            "[[never]]\nid = \"x\"\nactions = [\"sendQbr\"]\nwhen = \"health\"\nwhy = \"y\"",
            "`health` is no yes/no fact",
            "docs/reference/facts",
        ),
        (
            "playbooks/usage-drop.toml",
            "resource.usage_drop_open",
            "resource.usage_drp_open",
            "playbooks/usage-drop.toml:3:",
            "did you mean",
        ),
        (
            "playbooks/usage-drop.toml",
            "resource.active_users_change <= -10",
            "resource.active_users_change <= \"much\"",
            "playbooks/usage-drop.toml:3:",
            "facts",
        ),
        (
            "playbooks/usage-drop.toml",
            "&& resource",
            "&& && resource",
            "`when` is not a condition",
            "write it like",
        ),
        (
            "playbooks/usage-drop.toml",
            "{active_users_before}",
            "{active_users_befor}",
            "unknown slot `active_users_befor`",
            "did you mean `active_users_before`?",
        ),
        (
            "playbooks/usage-drop.toml",
            "{active_users_before}",
            "{active_users_before",
            "a `{` without its `}`",
            "a slot is written {name}",
        ),
        (
            "playbooks/usage-drop.toml",
            "shift_sd  = 0.20",
            "shift_sd  = 0.90",
            "the prior says the effect is good with a chance of 0.59",
            "never acts",
        ),
        (
            "playbooks/usage-drop.toml",
            "shift_sd  = 0.20",
            "shift_sd  = 0.20\nobserved_shift = -0.4\nobserved_se = 0.1",
            "the prior and what was observed say the effect is good with a chance of 0.",
            "take the playbook away",
        ),
        (
            "playbooks/usage-drop.toml",
            "shift_sd  = 0.20",
            "shift_sd  = 0.20\nobserved_shift = 0.4",
            "an observation needs `observed_shift` and `observed_se`",
            "give both, or neither",
        ),
        (
            "playbooks/usage-drop.toml",
            "shift_sd  = 0.20",
            "shift_sd  = 0.20\nobserved_shift = 0.4\nobserved_se = 0.0",
            "nothing can be learned from what was observed",
            "must be above 0",
        ),
        (
            "playbooks/usage-drop.toml",
            "shift_sd  = 0.20",
            "shift_sd  = 0.20\ndiscount = 0.1\naccept = 0.5",
            "only an `offerDiscount` gives a discount",
            "leave `discount` and `accept` out",
        ),
        (
            "playbooks/usage-drop.toml",
            "action  = \"createTask\"",
            "action  = \"offerDiscount\"",
            "an `offerDiscount` needs `discount` and `accept`",
            "the chance that the customer takes it",
        ),
        (
            "playbooks/usage-drop.toml",
            "write    = \"createTask\"",
            "write    = \"createTsk\"",
            "unknown write `createTsk`",
            "did you mean `createTask`?",
        ),
        (
            "playbooks/usage-drop.toml",
            "minutes   = 30",
            "minutes   = -30",
            "`minutes` is -30",
            "from 1 to 480",
        ),
        (
            "playbooks/usage-drop.toml",
            "priority = \"normal\"",
            "priority = \"urgent\"",
            "unknown priority `urgent`",
            "high, normal, low",
        ),
        (
            "playbooks/qbr-due.toml",
            "document = \"qbr\"",
            "document = \"qbrr\"",
            "unknown document `qbrr`",
            "did you mean `qbr`?",
        ),
    ];
    for (file, from, to, place, remedy) in cases {
        let problems = after(file, from, to).join("\n");
        assert!(
            problems.contains(place),
            "{file}: {from} -> {to} should say `{place}`, says:\n{problems}"
        );
        assert!(
            problems.contains(remedy),
            "{file}: {from} -> {to} should advise `{remedy}`, says:\n{problems}"
        );
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut content = shipped();
    content
        .policies
        .insert("scoring.toml".to_owned(), "nonsense = 1\n".to_owned());
    content
        .policies
        .insert("playbooks/extra.toml".to_owned(), "name = 'x'\n".to_owned());
    content.policies.insert("notes.txt".to_owned(), String::new());
    content.policies.remove("autonomy.toml");
    let problems = Policies::compile(&content).err().expect("problems");
    let files: Vec<&str> = problems.iter().map(|p| p.file.as_str()).collect();
    assert_eq!(
        files,
        ["autonomy.toml", "notes.txt", "playbooks/extra.toml", "scoring.toml"]
    );
}

fn facts(list: &[(&str, Value)]) -> Features {
    let mut features = Features::default();
    for (name, value) in list {
        let found = Found::computed(State::Known(value.clone()), Timestamp::EPOCH);
        features.insert(&AccountId::new("a"), name, found);
    }
    features
}

#[test]
fn a_playbook_expects_what_outcomes_showed_drawn_towards_its_prior() {
    let mut content = shipped();
    let text = content.policies.get_mut("playbooks/usage-drop.toml").expect("shipped");
    let prior = "shift     = 0.15\nshift_sd  = 0.20\nobserved_shift = 0.50\nobserved_se = 0.25\n";
    let at = text.find("\nshift ").expect("the prior") + 1;
    let end = text.find("\nexpansion").expect("the next key") + 1;
    text.replace_range(at..end, prior);
    let policies = Policies::compile(&content).unwrap_or_else(|p| panic!("{p:?}"));
    let economics = policies.playbooks["usage-drop"].economics;
    assert!((economics.shift - 0.286_585).abs() < 5e-7, "{economics:?}");
    assert!((economics.shift_sd - 0.156_174).abs() < 5e-7, "{economics:?}");
    assert_eq!(economics.prior_shift, Some(0.15));
}

#[test]
fn a_condition_on_an_unknown_fact_does_not_hold_and_names_the_gap() {
    let policies = Policies::compile(&shipped()).unwrap_or_else(|p| panic!("{p:?}"));
    let mut features = facts(&[("escalations_open", Value::Number(Micro::whole(1)))]);
    let gap = Found::computed(State::Unknown("ticket.opened".to_owned()), Timestamp::EPOCH);
    features.insert(&AccountId::new("a"), "escalation_days", gap);
    let matched = policies.triggers.matches(&features);
    assert!(!matched.holds.contains("open-escalation"));
    assert_eq!(
        matched.cannot_assess["open-escalation"],
        ["escalation_days (missing: ticket.opened)"]
    );
    let mut features = facts(&[("escalations_open", Value::Number(Micro::whole(1)))]);
    features.insert(
        &AccountId::new("a"),
        "escalation_days",
        Found::computed(State::Known(Value::Number(Micro::whole(2))), Timestamp::EPOCH),
    );
    assert!(policies.triggers.matches(&features).holds.contains("open-escalation"));
}

#[test]
fn a_scorecard_that_cannot_be_weighed_is_named_with_its_place() {
    let one = |from: &str, to: &str| {
        let problems = after("scoring.toml", from, to);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    };
    let both = after("scoring.toml", "group = \"use/breadth\"", "group = \"use/bredth\"");
    assert_eq!(
        both,
        [
            "scoring.toml:134:42: no measure is in the group `use/breadth`; remove it, or put a measure into it",
            "scoring.toml:144:9: the group `use/bredth` has no weight; did you mean `use/breadth`?"
        ]
    );
    let wrong = one("per = \"product\"\nroll", "per = \"team\"\nroll");
    assert!(
        wrong.contains("`per` cannot be `team`") && wrong.contains("account, product"),
        "{wrong}"
    );
    let wrong = one("roll_up = \"arr_weighted\"", "roll_up = \"median\"");
    assert!(wrong.contains("mean, arr_weighted, worst"), "{wrong}");
    let wrong = one("\"trend\" = 30 }", "\"trend\" = 30, \"mood\" = 5 }");
    assert!(wrong.contains("no measure is in the group `mood`"), "{wrong}");
    let wrong = one("load = { strategic", "load = { strategc");
    assert!(
        wrong.contains("unknown tier `strategc`") && wrong.contains("strategic"),
        "{wrong}"
    );
    let text = "group = \"use/breadth\"\nfact = \"features_used\"";
    let wrong = one(text, "group = \"use/breadth\"\nfact = \"nps\"");
    assert!(wrong.contains("`nps` is not known by product"), "{wrong}");
}
