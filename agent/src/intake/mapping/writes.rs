//! `[write]`: where our fields go in a CRM, and who owns them.

use std::collections::BTreeMap;

use perennial_core::action::{AccountField, DealField};
use perennial_core::signal::ContactRole;
use perennial_tools::{FieldOwner, FieldRule};

use super::super::problem::{help_with_words, quoted};
use super::Writes;
use super::toml::{Node, Reading};

/// Longest word for a role in a CRM: what a picklist value of Salesforce or a label of HubSpot may have.
const WORD_MAX: usize = 255;

/// Reads `[write.account]`, `[write.deal]` and `[write.role]`.
pub(super) fn read(reading: &mut Reading<'_>, node: &Node<'_>) -> Writes {
    let Some(section) = reading.table(node, "write", "[write]".to_owned()) else {
        return Writes::default();
    };
    reading.only(&section, &["account", "deal", "role"]);
    Writes {
        account: rules(reading, section.get("account"), "account", AccountField::ALL, |f| {
            f.as_str()
        }),
        deal: rules(reading, section.get("deal"), "deal", DealField::ALL, |f| f.as_str()),
        roles: roles(reading, section.get("role")),
    }
}

/// The CRM's words for roles of people in deals.
fn roles(reading: &mut Reading<'_>, node: Option<&Node<'_>>) -> BTreeMap<ContactRole, String> {
    let mut roles: BTreeMap<ContactRole, String> = BTreeMap::new();
    let Some(section) = node.and_then(|node| reading.table(node, "role", "[write.role]".to_owned())) else {
        return roles;
    };
    let words: Vec<&str> = ContactRole::ALL.iter().map(|role| role.as_str()).collect();
    reading.only(&section, &words);
    for (name, _, node) in section.pairs() {
        let (Some(role), Some(text)) = (ContactRole::from_word(name), reading.text(node, name)) else {
            continue;
        };
        let word = text.trim();
        if word.is_empty() || word.len() > WORD_MAX || word.chars().any(char::is_control) {
            let help = "write it as people see it in the CRM, such as \"Economic Buyer\"";
            reading.problem(node.span(), format!("`{name}` has no usable word"), help);
            continue;
        }
        if roles.values().any(|other| other.eq_ignore_ascii_case(word)) {
            let message = format!("two of our roles are `{word}`");
            reading.problem(node.span(), message, "give each a word of its own");
            continue;
        }
        roles.insert(role, word.to_owned());
    }
    roles
}

fn rules<F: Copy + Ord>(
    reading: &mut Reading<'_>,
    node: Option<&Node<'_>>,
    what: &str,
    all: &[F],
    word: impl Fn(F) -> &'static str,
) -> BTreeMap<F, FieldRule> {
    let mut rules: BTreeMap<F, FieldRule> = BTreeMap::new();
    let Some(section) = node.and_then(|node| reading.table(node, what, format!("[write.{what}]"))) else {
        return rules;
    };
    let words: Vec<&str> = all.iter().map(|field| word(*field)).collect();
    reading.only(&section, &words);
    for (name, _, node) in section.pairs() {
        let Some(field) = all.iter().copied().find(|field| word(*field) == name) else {
            continue;
        };
        let Some(rule) = rule(reading, node, name) else {
            continue;
        };
        if rules.values().any(|other| other.field == rule.field) {
            let message = format!("two of our fields go into `{}`", rule.field);
            reading.problem(node.span(), message, "give each a field of its own");
        }
        rules.insert(field, rule);
    }
    rules
}

fn rule(reading: &mut Reading<'_>, node: &Node<'_>, name: &str) -> Option<FieldRule> {
    let section = reading.table(node, name, format!("`{name}`"))?;
    reading.only(&section, &["field", "owner"]);
    let words: Vec<&str> = FieldOwner::ALL.iter().map(|owner| owner.as_str()).collect();
    let field_node = reading.required(&section, "field", "name the field of the CRM")?;
    let field = reading.text(field_node, "field")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if field.is_empty() || field.len() > 255 || !field.chars().all(plain) {
        let help = "use the API name of the field: letters, digits and `_`";
        reading.problem(field_node.span(), format!("`{field}` cannot name a field"), help);
        return None;
    }
    let node = reading.required(&section, "owner", &format!("say who owns it: {}", quoted(&words)))?;
    let text = reading.text(node, "owner")?;
    let owner = FieldOwner::from_word(&text);
    if owner.is_none() {
        reading.problem(
            node.span(),
            format!("unknown owner `{text}`"),
            help_with_words(&text, &words),
        );
    }
    Some(FieldRule { field, owner: owner? })
}
