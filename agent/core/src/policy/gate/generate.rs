//! The table as rules: Cedar text that carries the line each rule comes from.
//!
//! What is not known fails closed: a permit asks for a fact behind `has`, and a forbid holds `unless` the fact is known and right.
//! (Cedar's validator does not follow `!(x has a) || x.a`, so that form is not used.)

use super::table::{Cell, Guard, Table};
use crate::action::{AccountField, ActionKind};
use crate::signal::{OwnerRole, Tier};

/// A rule in Cedar's words, before it is parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Name, unique among all rules.
    pub id: String,
    /// Line of the table it comes from.
    pub line: usize,
    /// What it says, for people.
    pub why: String,
    /// The cell it belongs to; none for limits and guard rails.
    pub cell: Option<(ActionKind, Tier)>,
    /// Cedar text with `@id`, `@source` and `@why`.
    pub text: String,
}

/// A text as a Cedar string.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The roles that may approve where `needed` is asked for: itself and those that include it.
fn roles(table: &Table, needed: OwnerRole) -> String {
    let covering = table.vocabulary.covering(needed);
    let covering = covering.iter().map(|role| format!("Role::\"{role}\""));
    covering.collect::<Vec<_>>().join(", ")
}

struct Writer<'a> {
    table: &'a Table,
    rules: Vec<Generated>,
}

impl Writer<'_> {
    fn push(&mut self, id: String, line: usize, why: String, cell: Option<(ActionKind, Tier)>, body: &str) {
        let source = format!("{}:{line}", self.table.file);
        let text = format!(
            "@id({}) @source({}) @why({})\n{body}",
            quote(&id),
            quote(&source),
            quote(&why)
        );
        self.rules.push(Generated {
            id,
            line,
            why,
            cell,
            text,
        });
    }

    fn permit(&mut self, id: String, line: usize, why: String, at: (ActionKind, Tier), conditions: &[String]) {
        let mut all = vec![format!("resource has tier && resource.tier == Tier::\"{}\"", at.1)];
        all.extend_from_slice(conditions);
        let body = format!(
            "permit (principal is Agent, action == Action::\"{}\", resource is Account)\nwhen {{ {} }};",
            at.0,
            all.join(" && ")
        );
        self.push(id, line, why, Some(at), &body);
    }

    fn needs(&self, kind: ActionKind) -> Vec<String> {
        if !self.table.vocabulary.is_customer_facing(kind) {
            return Vec::new();
        }
        let auto = &self.table.auto;
        let mut needs = vec![
            format!(
                "context has confidence && context.confidence >= {}",
                auto.min_confidence_pm
            ),
            format!("resource has arr_minor && resource.arr_minor <= {}", auto.max_arr.minor),
            format!(
                "resource has usage_age_days && resource.usage_age_days <= {}",
                auto.max_usage_age_days
            ),
        ];
        needs.extend(
            auto.max_stale_feeds
                .map(|most| format!("resource has stale_feeds && resource.stale_feeds <= {most}")),
        );
        needs
    }

    fn cell(&mut self, at: (ActionKind, Tier), cell: Cell, line: usize) {
        let (kind, tier) = at;
        let approved = |role: OwnerRole| {
            vec![format!(
                "context has approval && context.approval.by.roles.containsAny([{}])",
                roles(self.table, role)
            )]
        };
        let id = format!("{kind}:{tier}");
        let by_itself = format!("{kind} runs by itself for {tier} accounts");
        let with = |role| format!("{kind} for {tier} accounts needs a {role}");
        let needs = self.needs(kind);
        match cell {
            Cell::Never | Cell::Advise => {}
            Cell::Approve(role) => self.permit(id, line, with(role), at, &approved(role)),
            Cell::Auto => self.permit(id, line, by_itself, at, &needs),
            Cell::EarnedElse(role) => {
                let earned = "context has earned && context.earned".to_owned();
                let conditions: Vec<String> = needs.into_iter().chain([earned]).collect();
                self.permit(
                    id.clone(),
                    line,
                    format!("{by_itself}, which was earned"),
                    at,
                    &conditions,
                );
                let why = format!("until it is earned, a {role} approves");
                self.permit(format!("{id}:else"), line, why, at, &approved(role));
            }
            Cell::AutoElse(role) => {
                self.permit(id.clone(), line, by_itself, at, &needs);
                // Without needs there is no else.
                if !needs.is_empty() {
                    let why = format!("otherwise a {role} approves");
                    self.permit(format!("{id}:else"), line, why, at, &approved(role));
                }
            }
        }
    }

    fn guard(&mut self, guard: &Guard) {
        let actions: Vec<String> = guard.actions.iter().map(|a| format!("Action::\"{a}\"")).collect();
        if actions.is_empty() {
            return;
        }
        let body = format!(
            "forbid (principal, action in [{}], resource is Account)\nunless {{ resource has {f} && !resource.{f} }};",
            actions.join(", "),
            f = guard.fact
        );
        self.push(guard.id.clone(), guard.line, guard.why.clone(), None, &body);
    }

    fn limits(&mut self) {
        let table = self.table;
        let contacts = &table.contacts_7_days;
        let body = format!(
            "forbid (principal, action in Action::\"CustomerFacing\", resource is Account)\n\
             when {{ context.contacts_last_7d >= {} }};",
            contacts.value
        );
        let why = format!("at most {} contacts in 7 days", contacts.value);
        self.push("limit:contacts".to_owned(), contacts.line, why, None, &body);
        if let Some(hours) = &table.calendar.hours {
            let scope = "forbid (principal, action in Action::\"CustomerFacing\", resource is Account)";
            let body = format!(
                "{scope}\nwhen {{\n    (context has local_minute && (context.local_minute < {} || context.local_minute >= {})) ||\n    \
                 (context has local_weekday && context.local_weekday > 5) ||\n    \
                 (context has local_holiday && context.local_holiday)\n}};",
                hours.from_minute, hours.to_minute
            );
            let why = format!("customers hear from us on working days, {} their time", hours.text());
            self.push("limit:hours".to_owned(), hours.line, why, None, &body);
            let body = format!("{scope}\nunless {{ context has local_minute || context has approval }};");
            let why = "the customer's time zone is not known, so a person decides when".to_owned();
            self.push("limit:zone".to_owned(), hours.line, why, None, &body);
        }
        let fields: Vec<String> = table
            .fields
            .value
            .iter()
            .map(|f| quote(AccountField::as_str(*f)))
            .collect();
        let scope = "forbid (principal, action == Action::\"updateField\", resource is Account)";
        let body = if fields.is_empty() {
            format!("{scope};")
        } else {
            format!("{scope}\nunless {{ [{}].contains(context.field) }};", fields.join(", "))
        };
        let why = "the agent may write only the fields that are listed".to_owned();
        self.push("limit:fields".to_owned(), table.fields.line, why, None, &body);
        if let Some(limit) = &table.max_discount_pm {
            let body = format!(
                "forbid (principal, action == Action::\"offerDiscount\", resource is Account)\n\
                 unless {{ context has discount_pm && context.discount_pm <= {} }};",
                limit.value
            );
            let why = format!("a discount is at most {}", percent(limit.value));
            self.push("limit:discount".to_owned(), limit.line, why, None, &body);
        }
    }
}

/// Per mille as people read it.
pub(super) fn percent(per_mille: i64) -> String {
    if per_mille % 10 == 0 {
        format!("{} %", per_mille / 10)
    } else {
        format!("{}.{} %", per_mille / 10, per_mille % 10)
    }
}

/// The rules of a table: guard rails, limits, then the cells by action and tier.
#[must_use]
pub fn generate(table: &Table) -> Vec<Generated> {
    let rules = Vec::new();
    let mut writer = Writer { table, rules };
    for guard in &table.never {
        writer.guard(guard);
    }
    writer.limits();
    for (at, cell) in &table.cells {
        writer.cell(*at, cell.value, cell.line);
    }
    writer.rules
}
