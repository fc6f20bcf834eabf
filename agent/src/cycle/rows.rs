//! From decisions to rows.

use std::collections::BTreeMap;

use perennial_core::action::ActionState;
use perennial_core::decide::{Decision, Proposal};
use perennial_core::ids::{DecisionId, RunId};
use perennial_core::policy::gate::Addressee;
use perennial_core::policy::gate::limits::Asked;
use perennial_core::policy::{Level, Policies, RuleRef, Verdict};
use perennial_core::replay::{Hash, UnreadableText, canonical, read};
use perennial_core::signal::Tier;
use perennial_core::time::Timestamp;
use perennial_store::{
    ActionRow, DecisionCommit, DecisionRow, DraftRow, LedgerDraft, NewAction, OutboxRow, PlayChange,
};

use super::Decided;
use crate::limits::{Permitting, permitting};

/// A decision with its actions and the entries of the ledger that go with them.
pub(super) fn commit_of(
    run: &RunId,
    decided: Decided,
    actions: Vec<NewAction>,
    plays: Vec<PlayChange>,
) -> DecisionCommit {
    let decision = &decided.decision;
    let id = DecisionId::derive(&decision.account, &decided.inputs_hash);
    let body = BTreeMap::from([
        ("content", decision.content.to_string()),
        ("inputs", decided.inputs_hash.to_string()),
        ("output", decided.output_hash.to_string()),
    ]);
    let mut ledger = vec![LedgerDraft {
        kind: "decision".to_owned(),
        reference: id.as_str().to_owned(),
        body: canonical(&body),
    }];
    for action in &actions {
        ledger.extend(action.outbox.iter().map(intent));
    }
    DecisionCommit {
        decision: DecisionRow {
            account: decision.account.clone(),
            id,
            run: run.clone(),
            as_of: decision.as_of,
            inputs: decided.inputs,
            inputs_hash: decided.inputs_hash,
            output: decided.output,
            output_hash: decided.output_hash,
            content: decision.content,
            engine: decision.engine.clone(),
        },
        actions,
        supersede: decided.gone,
        ledger,
        plays,
    }
}

/// INVARIANT (intent before effect): the ledger entry that stands before every effect, written in the transaction that
/// puts it into the outbox.
pub(crate) fn intent(row: &OutboxRow) -> LedgerDraft {
    let body = BTreeMap::from([
        ("action", row.effect.action.as_str().to_owned()),
        ("effect", Hash::of(canonical(&row.effect).as_bytes()).to_string()),
        ("ground", canonical(row.permit.ground())),
    ]);
    LedgerDraft {
        kind: "intent".to_owned(),
        reference: row.effect.id.as_str().to_owned(),
        body: canonical(&body),
    }
}

/// An action as it is stored, with its effects where it may run at once.
pub(super) fn new_action(
    decision: &Decision,
    inputs_hash: Hash,
    proposal: &Proposal,
    permitting: &Permitting,
    now: Timestamp,
) -> NewAction {
    let permit = proposal
        .verdict
        .permit(&proposal.action, &proposal.effects, decision.content);
    let outbox = permit.map_or_else(Vec::new, |permit| {
        proposal
            .effects
            .iter()
            .map(|effect| OutboxRow {
                effect: effect.clone(),
                permit: permit.record().clone(),
                due_at: permitting.due_at,
            })
            .collect()
    });
    let state = match proposal.state {
        // An action without a step that has somewhere to write to is done when it is decided.
        ActionState::Permitted if outbox.is_empty() => ActionState::Executed,
        state => state,
    };
    NewAction {
        row: ActionRow {
            account: decision.account.clone(),
            id: proposal.action.clone(),
            decision: DecisionId::derive(&decision.account, &inputs_hash),
            kind: proposal.kind,
            playbook: proposal.playbook.clone(),
            subject: proposal.subject.clone(),
            state,
            version: 1,
            title: proposal.title.clone(),
            owner: proposal.owner.clone(),
            tier: tier_of(decision),
            role: proposal.verdict.role,
            verdict: proposal.verdict.word(),
            value_minor: proposal.worth.as_ref().map(|w| w.value_minor),
            currency: proposal.worth.as_ref().map(|w| w.currency.code().to_owned()),
            minutes: proposal.minutes,
            rank_micro: proposal.worth.as_ref().map(|w| w.per_minute_micro.0),
            due: proposal.due,
            as_of: decision.as_of,
            expires_at: Some(now.plus_days(proposal.expires_days)),
            snoozed_until: None,
            last_editor: None,
            asked_role: None,
            asked_since: None,
            day_position: None,
            card: canonical(proposal),
            effects: canonical(&proposal.effects),
            updated_at: now,
        },
        holds: if outbox.is_empty() {
            Vec::new()
        } else {
            permitting.holds.clone()
        },
        outbox,
        play: None,
    }
}

/// When a proposal that runs by itself is due, and what it takes; `now` where it does not run by itself.
pub(super) fn permitting_of(
    policies: &Policies,
    decision: &Decision,
    proposal: &Proposal,
    whom: &Addressee,
    now: Timestamp,
) -> Permitting {
    let asked = Asked {
        account: &decision.account,
        kind: proposal.kind,
        playbook: &proposal.playbook,
        tier: tier_of(decision),
        effects: &proposal.effects,
        whom,
    };
    permitting(policies, &asked, proposal.verdict.delay_minutes, now)
}

pub(crate) fn tier_of(decision: &Decision) -> Option<Tier> {
    decision.features.text("tier").and_then(Tier::from_word)
}

/// An action that found no room, as it is stored instead: denied by the rule of the limit, with nothing to carry out.
pub(super) fn denied(action: &NewAction, rule: &RuleRef) -> Result<(NewAction, LedgerDraft), UnreadableText> {
    let mut proposal: Proposal = read("proposal", &action.row.card)?;
    proposal.verdict = Verdict {
        level: Level::Never,
        role: None,
        delay_minutes: None,
        rules: vec![rule.clone()],
    };
    proposal.state = ActionState::Denied;
    let body = BTreeMap::from([
        ("rule", format!("{}:{}", rule.file, rule.line)),
        ("limit", rule.id.clone()),
    ]);
    let entry = LedgerDraft {
        kind: "no_room".to_owned(),
        reference: action.row.id.as_str().to_owned(),
        body: canonical(&body),
    };
    let row = ActionRow {
        state: proposal.state,
        verdict: proposal.verdict.word(),
        role: None,
        card: canonical(&proposal),
        ..action.row.clone()
    };
    let (outbox, holds) = (Vec::new(), Vec::new());
    // A play does not go on with what may not happen: it stays where it is, or does not begin.
    let play = None;
    Ok((
        NewAction {
            row,
            outbox,
            holds,
            play,
        },
        entry,
    ))
}

/// The drafted document of an action, in both formats.
pub(super) fn draft_rows(decision: &Decision, proposal: &Proposal) -> Vec<DraftRow> {
    let Some(draft) = decision.drafts.get(&proposal.action) else {
        return Vec::new();
    };
    let row = |format: &str, text: &str| DraftRow {
        account: decision.account.clone(),
        action: proposal.action.clone(),
        kind: draft.kind.as_str().to_owned(),
        format: format.to_owned(),
        text: text.to_owned(),
        hash: Hash::of(text.as_bytes()),
    };
    vec![row("md", &draft.markdown), row("html", &draft.html)]
}
