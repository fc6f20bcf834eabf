//! Delays, contact hours, budgets and exclusions as they are read.

use super::*;
use crate::action::ActionKind;
use crate::policy::gate::Budgeted;
use crate::policy::gate::limits::excludes;
use crate::signal::{Crm, Tier};

fn with(file: &str, from: &str, to: &str) -> Content {
    let mut content = shipped();
    let text = content.policies.get_mut(file).unwrap();
    assert!(text.contains(from), "{from}");
    *text = text.replacen(from, to, 1);
    content
}

fn compiled(content: &Content) -> Policies {
    Policies::compile(content).unwrap_or_else(|p| panic!("{p:?}"))
}

const EMAIL: &str = "sendEmail         = { low_touch = \"auto, else approve:csm\"";

#[test]
fn a_delay_is_part_of_the_level_and_the_verdict_says_it() {
    for (written, minutes, word) in [("30m", 30, "30m"), ("4h", 240, "4h"), ("48h", 2880, "2d")] {
        let to = format!("sendEmail         = {{ low_touch = \"auto after {written}, else approve:csm\"");
        let policies = compiled(&with("autonomy.toml", EMAIL, &to));
        let at = (ActionKind::SEND_EMAIL, Tier::LOW_TOUCH);
        assert_eq!(policies.gate.table().delays.get(&at), Some(&minutes));
        let verdict = Verdict {
            level: Level::Auto,
            role: None,
            delay_minutes: Some(minutes),
            rules: Vec::new(),
        };
        assert_eq!(verdict.word(), format!("auto after {word}"));
    }
    assert!(compiled(&shipped()).gate.table().delays.is_empty());
}

#[test]
fn mistakes_in_limits_are_named_with_their_line_and_a_remedy() {
    let limit = "max_discount_percent        = 20\n";
    let after = |more: &str| format!("{limit}{more}\n");
    for (from, to, message, help) in [
        (
            EMAIL,
            "sendEmail = { low_touch = \"auto after 4\"".to_owned(),
            "is no level",
            "whole number",
        ),
        (
            EMAIL,
            "sendEmail = { low_touch = \"auto after 15d\"".to_owned(),
            "is no level",
            "14 days",
        ),
        (
            EMAIL,
            "sendEmail = { low_touch = \"never, else approve:csm\"".to_owned(),
            "is no level",
            "levels are",
        ),
        (
            limit,
            after("contact_hours = \"8-18\""),
            "no contact hours",
            "08:00-18:00",
        ),
        (
            limit,
            after("default_time_zone = \"Berlin\""),
            "no time zone `Berlin`",
            "Europe/Berlin",
        ),
        (
            limit,
            after("[budget]\nlow_tuch = 3"),
            "no budget for `low_tuch`",
            "low_touch",
        ),
        (
            limit,
            after("[holidays]\nall = [\"25.12.2026\"]"),
            "is no date",
            "2026-12-25",
        ),
    ] {
        let problems = Policies::compile(&with("autonomy.toml", from, &to)).err().unwrap();
        let found = problems.iter().find(|p| p.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{message}: {problems:?}"));
        assert!(found.help.contains(help), "{}", found.help);
        assert!(found.file == "autonomy.toml" && found.line > 1, "{found:?}");
    }
}

#[test]
fn budgets_are_for_tiers_and_systems() {
    let limit = "max_discount_percent        = 20\n";
    let policies = compiled(&with(
        "autonomy.toml",
        limit,
        &format!("{limit}[budget]\nlow_touch = 3\nhubspot = 7\n"),
    ));
    let found: Vec<_> = policies
        .gate
        .table()
        .budgets
        .iter()
        .map(|(by, most)| (*by, most.value))
        .collect();
    assert_eq!(
        found,
        [(Budgeted::Tier(Tier::LOW_TOUCH), 3), (Budgeted::Tool(Crm::HubSpot), 7)]
    );
}

#[test]
fn playbooks_exclude_each_other_both_ways_and_only_those_that_exist() {
    let file = "playbooks/seat-expansion.toml";
    let cooldown = "cooldown_days = ";
    let add = |more: &str| with(file, cooldown, &format!("{more}\n{cooldown}"));
    let policies = compiled(&add("excludes = [\"open-escalation\"]\nexcludes_days = 30"));
    assert_eq!(excludes(&policies, "seat-expansion", "open-escalation"), Some(30));
    assert_eq!(excludes(&policies, "open-escalation", "seat-expansion"), Some(30));
    assert_eq!(excludes(&policies, "open-escalation", "qbr-due"), None);
    for (more, message) in [
        (
            "excludes = [\"open-escalatoin\"]\nexcludes_days = 30",
            "no playbook `open-escalatoin`",
        ),
        (
            "excludes = [\"seat-expansion\"]\nexcludes_days = 30",
            "cannot exclude itself",
        ),
        ("excludes = [\"open-escalation\"]", "for how long"),
        ("excludes_days = 30", "does nothing"),
    ] {
        let problems = Policies::compile(&add(more)).err().unwrap();
        assert!(
            problems.iter().any(|p| p.file == file && p.message.contains(message)),
            "{problems:?}"
        );
    }
}
