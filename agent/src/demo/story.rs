//! What the demo says at its end: what was found, done, drafted, and what waits for whom.

use std::collections::BTreeMap;

use perennial_core::action::{Effect, EffectState, Write};
use perennial_core::decide::Proposal;
use perennial_core::replay::read;
use perennial_store::{ActionRow, EffectRow};
use serde_json::json;

use super::Told;
use crate::cli::{Output, amount_text};

/// Lines a section shows before it says how many more there are.
const SHOWN: usize = 6;

pub(super) fn tell(told: &Told, stay: bool, output: &Output) {
    if output.json() {
        output.document(&json!({
            "dir": told.dir,
            "import": told.imported,
            "run": told.run,
            "documents": told.documents,
            "crms": told.crms.iter().map(|(crm, a)| (crm.as_str().to_owned(), json!(a.url))).collect::<serde_json::Map<_, _>>(),
        }));
        return;
    }
    let as_of = told.run.as_of.day();
    output.line(
        &output.bold("PERENNIAL DEMO — made-up customers, CRM servers on this machine, the clock stands at 08:00 on"),
    );
    output.line(&output.bold(&format!("{as_of}. Nothing leaves this computer.")));
    came_in(told, output);
    found(told, output);
    days(told, output);
    done(told, output);
    waits(told, output);
    drafted(told, output);
    next(told, stay, output);
}

fn came_in(told: &Told, output: &Output) {
    let i = &told.imported;
    output.heading("1. What came in");
    output.line(&format!(
        "{} rows of {} files = {} stored + {} duplicate + {} rejected (they are dirty on purpose)",
        i.read,
        i.files.len(),
        i.stored,
        i.duplicate,
        i.rejected
    ));
    for row in told.summary.rejects.iter().take(SHOWN) {
        output.line(&format!("  rejected {} line {}: {}", row.file, row.line, row.reason));
    }
    if let Some(file) = &i.rejects_file {
        output.line(&output.dim(&format!("  each with line, field and reason in {}", file.display())));
    }
}

fn found(told: &Told, output: &Output) {
    let r = &told.run;
    output.heading("2. What was found");
    let health: Vec<String> = r.health.iter().map(|(band, n)| format!("{n} {band}")).collect();
    output.line(&format!("{} accounts, health: {}", r.accounts, health.join(", ")));
    let mut examples: BTreeMap<&str, (u64, &ActionRow)> = BTreeMap::new();
    for action in &told.actions {
        examples.entry(action.playbook.as_str()).or_insert((0, action)).0 += 1;
    }
    let mut rows: Vec<_> = r.playbooks.iter().collect();
    rows.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), (*name).clone()));
    output.table(
        &["accounts", "signal", "for example"],
        rows.into_iter().map(|(playbook, n)| {
            let example = examples.get(playbook.as_str()).map_or_else(String::new, |(_, action)| {
                let because = read::<Proposal>("card", &action.card)
                    .map(|p| p.because)
                    .unwrap_or_default();
                format!("{}: {because}", name_of(action))
            });
            vec![n.to_string(), playbook.replace('-', " "), example]
        }),
    );
}

fn name_of(action: &ActionRow) -> String {
    let effects: Result<Vec<Effect>, _> = read("list of effects", &action.effects);
    effects
        .ok()
        .and_then(|e| e.first().map(|e| e.target.account_name.clone()))
        .unwrap_or_else(|| action.account.as_str().to_owned())
}

fn days(told: &Told, output: &Output) {
    output.heading("3. The top of each person's day (what is lost by waiting, per minute; it fits their hours)");
    for day in told.run.days.iter().filter(|d| d.planned > 0).take(8) {
        let owner = day.owner.as_ref();
        let name = day.name.clone().or_else(|| owner.map(|o| o.as_str().to_owned()));
        let left = if day.left_over > 0 {
            format!(", {} more would not fit", day.left_over)
        } else {
            String::new()
        };
        output.line(&format!(
            "{} — {} in {} of {} minutes{left}",
            output.bold(&name.unwrap_or_else(|| "accounts that nobody owns".to_owned())),
            if day.planned == 1 {
                "1 thing".to_owned()
            } else {
                format!("{} things", day.planned)
            },
            day.planned_minutes,
            day.capacity_minutes
        ));
        let mut of_day: Vec<&ActionRow> = told
            .actions
            .iter()
            .filter(|a| a.day_position.is_some() && a.owner.as_ref() == owner)
            .collect();
        of_day.sort_by_key(|a| a.day_position);
        output.table(
            &["", "value", "minutes", "what to do"],
            of_day.iter().take(3).map(|a| {
                vec![
                    "  ".to_owned(),
                    amount_text(a.value_minor, a.currency.as_deref()),
                    a.minutes.to_string(),
                    a.title.clone(),
                ]
            }),
        );
    }
}

fn done(told: &Told, output: &Output) {
    let (r, e) = (&told.run, &told.run.effects);
    output.heading("4. What was done without a person, and where it can be seen");
    output.line(&format!(
        "{} actions on low-touch accounts: {} changes in CRMs done, {} refused, {} still waiting",
        r.actions.auto, e.done, e.failed, e.waiting
    ));
    let lines: Vec<Vec<String>> = told.effects.iter().filter_map(done_line).collect();
    let more = lines.len().saturating_sub(SHOWN);
    output.table(&["", "account", "what", "record"], lines.into_iter().take(SHOWN));
    if more > 0 {
        output.line(&output.dim(&format!("  and {more} more")));
    }
    for effect in told.effects.iter().filter(|f| f.state == EffectState::Failed).take(3) {
        let why = effect.error.as_deref().unwrap_or("no reason given");
        output.line(&format!("  ! {}: {why}", effect.effect.target.account_name));
    }
}

fn done_line(effect: &EffectRow) -> Option<Vec<String>> {
    let receipt = effect.receipt.as_ref()?;
    let what = match &effect.effect.write {
        Write::UpdateAccount { fields } => format!(
            "set {}",
            fields.keys().map(|f| f.as_str()).collect::<Vec<_>>().join(", ")
        ),
        Write::CreateTask { subject, .. } => format!("task “{subject}”"),
        Write::CreateNote { title, .. } => format!("note “{title}”"),
        Write::UpdateOpportunity { .. } => "next step of the deal".to_owned(),
        Write::SetContactRole { role, .. } => format!("{role} of the deal"),
    };
    Some(vec![
        "  ".to_owned(),
        effect.effect.target.account_name.clone(),
        what,
        receipt.url.clone(),
    ])
}

fn waits(told: &Told, output: &Output) {
    output.heading("5. What waits for whom, and why");
    let waiting: Vec<&ActionRow> = told.actions.iter().filter(|a| a.state.waits()).collect();
    let mut by_role: BTreeMap<String, u64> = BTreeMap::new();
    for action in &waiting {
        *by_role.entry(action.verdict.replace("approve:", "")).or_default() += 1;
    }
    let roles: Vec<String> = by_role.iter().map(|(role, n)| format!("{n} for a {role}")).collect();
    output.line(&format!("{} actions: {}", waiting.len(), roles.join(", ")));
    output.table(
        &["", "id", "value", "what to do", "policy"],
        waiting.iter().take(SHOWN).map(|a| {
            let rule = read::<Proposal>("card", &a.card).ok().and_then(|p| {
                p.verdict
                    .rules
                    .first()
                    .map(|r| format!("{} ({}:{})", r.why, r.file, r.line))
            });
            vec![
                "  ".to_owned(),
                a.id.as_str().chars().take(12).collect(),
                amount_text(a.value_minor, a.currency.as_deref()),
                a.title.clone(),
                rule.unwrap_or_default(),
            ]
        }),
    );
    if waiting.len() > SHOWN {
        output.line(&output.dim(&format!("  and {} more", waiting.len() - SHOWN)));
    }
}

fn drafted(told: &Told, output: &Output) {
    output.heading("6. Drafts written, every figure with its evidence");
    let Some(first) = told.documents.first() else {
        output.line("none were due");
        return;
    };
    let folder = first.parent().map_or_else(String::new, |p| p.display().to_string());
    output.line(&format!(
        "{} documents in {folder}, as Markdown and HTML:",
        told.documents.len()
    ));
    for path in told.documents.iter().take(SHOWN) {
        output.line(&format!("  {}", path.display()));
    }
}

fn next(told: &Told, stay: bool, output: &Output) {
    let top = told.actions.iter().find(|a| a.state.waits());
    let id = top.map_or("ID", |a| a.id.as_str());
    let id = &id[..id.len().min(12)];
    let dir = told.dir.display();
    let config = format!("--config {dir}/perennial.toml");
    let me = program();
    output.heading("Try next");
    if stay {
        for (crm, address) in &told.crms {
            output.line(&format!("  {crm} is at {} until you press Ctrl-C", address.url));
        }
        output.line("  in another terminal:");
    }
    output.line(&format!("  {me} queue show {id} {config}"));
    output.line("      the whole card: who, why, evidence, each field before and after, the draft, the rule");
    output.line(&format!("  {me} explain {id} {config}"));
    output.line("      why it stands where it stands, and what was left out");
    if stay {
        output.line(&format!(
            "  {me} queue approve {id} --as {} {config}",
            approver(told, top)
        ));
        output.line("      say yes, and look at the record in the CRM");
    } else {
        output.line(&format!("  {me} sandbox --records {dir}/crm.json {config}"));
        output.line(&format!(
            "      the CRMs with all records; then, in another terminal, `{me} queue approve {id} --as {} {config}`",
            approver(told, top)
        ));
    }
}

/// Somebody who may approve the first item.
fn approver(told: &Told, top: Option<&ActionRow>) -> String {
    let needed = top.and_then(|a| a.role);
    told.people
        .iter()
        .find(|(_, person)| {
            needed
                .zip(person.role)
                .is_some_and(|(n, has)| told.named.covers(has, n))
        })
        .map_or_else(|| "NAME".to_owned(), |(id, _)| id.clone())
}

/// The program as it was started, so that the commands can be copied as they stand.
fn program() -> String {
    std::env::args()
        .next()
        .filter(|name| name.contains('/'))
        .unwrap_or_else(|| "perennial".to_owned())
}
