//! `perennial explain`: why an action was proposed, and why it stands where it stands.

use perennial_core::decide::Proposal;

use super::{Detail, evidence, history, others, scores, verdict};
use crate::cli::output::{Need, amount, open};
use crate::cli::{Failure, Output};
use crate::config::Config;

/// `perennial explain`.
pub(in crate::cli) async fn explain(config: &Config, action: &str, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let row = store.action(action).await?;
    let detail = Detail::read(config, &store, row, false).await?;
    if output.json() {
        output.document(&detail.json());
        return Ok(());
    }
    let p = &detail.proposal;
    output.line(&output.bold(&detail.row.title));
    output.heading("why it was proposed");
    output.line(&format!("playbook {} ({}) holds: {}", p.playbook, p.rule, p.because));
    evidence(p, output);
    output.heading("why it stands where it stands in the list");
    formula(p, output);
    verdict(p, output);
    scores(&detail.decision, output);
    history(&detail, output);
    others(&detail, output);
    if !detail.decision.notes.is_empty() {
        output.heading("what was left out for this account, and why");
        for note in &detail.decision.notes {
            let playbook = note.playbook.as_ref().map_or_else(String::new, |p| format!("{p}: "));
            output.line(&format!("{playbook}{}", note.text));
        }
    }
    Ok(())
}

fn formula(p: &Proposal, output: &Output) {
    let Some(w) = &p.worth else {
        output.line(&format!(
            "its worth cannot be said: {} is not known",
            p.worth_missing.as_deref().unwrap_or("a fact")
        ));
        return;
    };
    let code = Some(w.currency.code());
    let percent = |m: perennial_core::number::Micro| perennial_core::number::Micro(m.0.saturating_mul(100)).display(1);
    let risk = w
        .risk_micro
        .map_or_else(|| "not known".to_owned(), |r| format!("{} %", percent(r)));
    output.line(&format!(
        "yearly revenue {}, risk {risk}",
        amount(Some(w.arr_minor), code)
    ));
    output.line(&format!(
        "expected to lower the risk by {} points (log odds by {}), to expand by {} %",
        percent(w.risk_fall_micro),
        w.shift_micro.display(2),
        percent(w.expansion_micro)
    ));
    output.line(&format!(
        "less {} for {} minutes and {} because the customer has heard from us lately",
        amount(Some(w.cost_minor), code),
        w.minutes,
        amount(Some(w.fatigue_minor), code)
    ));
    if let Some(prior) = w.prior_shift_micro {
        output.line(&format!(
            "outcomes moved the log odds from the prior's {} to {}",
            prior.display(2),
            w.shift_micro.display(2)
        ));
    }
    if let Some(discount) = w.discount_minor {
        output.line(&format!(
            "less {} for the discount, as often as it is expected to be taken",
            amount(Some(discount), code)
        ));
    }
    output.line(&format!(
        "= {} now, {} at the next review: {} a minute is lost by waiting",
        amount(Some(w.value_minor), code),
        amount(Some(w.next_minor), code),
        w.per_minute_micro.display(2)
    ));
}
