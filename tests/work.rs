//! Permitted actions for tests of execution and for benchmarks, as a run would have committed them: with permit, outbox rows and
//! the intents of the ledger, in one transaction.

use perennial_core::action::{ActionKind, ActionState, Effect, PermitRecord, Target, Write, effects_hash};
use perennial_core::ids::{AccountId, ActionId, DecisionId, EffectId, PlaybookId, RunId, TenantId};
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{Crm, Tier};
use perennial_core::time::{Day, Timestamp};
use perennial_store::{ActionRow, DecisionCommit, DecisionRow, LedgerDraft, NewAction, OutboxRow, Packed};

/// The run that committed them.
#[must_use]
pub fn run() -> RunId {
    RunId::derive(Timestamp::from_us(0), Timestamp::from_us(0))
}

/// The account with a number.
#[must_use]
pub fn account(number: usize) -> AccountId {
    AccountId::new(format!("A-{number:06}"))
}

/// One action of an account, a note for each of `tools`, permitted and due at `due`.
///
/// # Panics
/// When a permit is written otherwise than here.
#[must_use]
pub fn permitted(number: usize, subject: &str, tools: &[Crm], kind: ActionKind, due: Timestamp) -> DecisionCommit {
    let note = |tool: &Crm| {
        let write = Write::CreateNote {
            title: "Note".to_owned(),
            body: subject.to_owned(),
        };
        (*tool, None, write)
    };
    writing(number, subject, tools.iter().map(note).collect(), kind, due)
}

/// One action of an account with these writes, each in a CRM and on the record with this id there, permitted and due at `due`.
///
/// # Panics
/// When a permit is written otherwise than here.
#[must_use]
pub fn writing(
    number: usize,
    subject: &str,
    writes: Vec<(Crm, Option<String>, Write)>,
    kind: ActionKind,
    due: Timestamp,
) -> DecisionCommit {
    let account = account(number);
    let playbook = PlaybookId::new("adoption");
    let id = ActionId::derive(
        TenantId::DEFAULT,
        &account,
        &playbook,
        subject,
        Day::from_number(20_000),
    );
    let effects: Vec<Effect> = (0_u32..)
        .zip(writes)
        .map(|(step, (tool, crm_id, write))| Effect {
            id: EffectId::derive(&id, step),
            action: id.clone(),
            step,
            tool,
            target: Target {
                account: account.clone(),
                account_name: format!("Customer {number}"),
                crm_id,
            },
            write,
        })
        .collect();
    let permit: PermitRecord = serde_json::from_value(serde_json::json!({
        "action": id,
        "effects": effects_hash(&effects),
        "ground": { "verdict": { "content": Hash::ZERO, "rule": "autonomy.toml:1" } },
    }))
    .unwrap_or_else(|error| panic!("a permit: {error}"));
    let outbox: Vec<OutboxRow> = effects
        .iter()
        .map(|effect| OutboxRow {
            effect: effect.clone(),
            permit: permit.clone(),
            due_at: due,
        })
        .collect();
    let intents = outbox.iter().map(|row| LedgerDraft {
        kind: "intent".to_owned(),
        reference: row.effect.id.as_str().to_owned(),
        body: canonical(&serde_json::json!({
            "action": row.effect.action,
            "effect": Hash::of(canonical(&row.effect).as_bytes()),
            "ground": row.permit.ground(),
        })),
    });
    let inputs = format!("{{\"subject\":\"{subject}\"}}");
    let decision = DecisionId::derive(&account, &Hash::of(inputs.as_bytes()));
    let entry = LedgerDraft {
        kind: "decision".to_owned(),
        reference: decision.as_str().to_owned(),
        body: "{}".to_owned(),
    };
    DecisionCommit {
        plays: Vec::new(),
        ledger: std::iter::once(entry).chain(intents).collect(),
        decision: DecisionRow {
            account: account.clone(),
            id: decision.clone(),
            run: run(),
            as_of: due,
            inputs_hash: Hash::of(inputs.as_bytes()),
            inputs: Packed::of(&inputs),
            output: Packed::of("{}"),
            output_hash: Hash::of(b"{}"),
            content: Hash::ZERO,
            engine: "0.1.0".to_owned(),
        },
        actions: vec![NewAction {
            play: None,
            row: ActionRow {
                account,
                id,
                decision,
                kind,
                playbook,
                subject: subject.to_owned(),
                state: ActionState::Permitted,
                version: 1,
                title: format!("Do {subject}"),
                owner: None,
                tier: Some(if number.is_multiple_of(2) {
                    Tier::LOW_TOUCH
                } else {
                    Tier::STRATEGIC
                }),
                role: None,
                verdict: "auto".to_owned(),
                value_minor: None,
                currency: None,
                minutes: 0,
                rank_micro: None,
                due: Day::from_number(20_003),
                as_of: due,
                expires_at: None,
                snoozed_until: None,
                last_editor: None,
                asked_role: None,
                asked_since: None,
                day_position: None,
                card: "{}".to_owned(),
                effects: canonical(&effects),
                updated_at: due,
            },
            outbox,
            holds: Vec::new(),
        }],
        supersede: Vec::new(),
    }
}
