//! `perennial account list --families`, and the family in `perennial account show`.

use perennial_core::ids::AccountId;
use perennial_core::number::Micro;
use perennial_core::policy::{Policies, RollUp};
use perennial_core::score::{Band, Family, FamilyFault, FamilyFaultKind, FamilyTree};
use perennial_core::time::Timestamp;
use perennial_store::Store;
use serde_json::json;

use super::{Failure, Output, amount, points};
use crate::config::Config;
use crate::content;
use crate::families::{read_all, read_one};

/// What an account's family says.
pub(super) struct OfAccount {
    /// Its own, where others belong to it; else that of the topmost account it belongs to.
    pub(super) score: Option<Family>,
    /// Why its parent cannot be followed.
    pub(super) fault: Option<FamilyFault>,
}

/// The family of an account; `None` where the policy has no `[rollup]`.
pub(super) async fn of_account(
    store: &Store,
    id: &AccountId,
    as_of: Timestamp,
    policies: &Policies,
) -> Result<Option<OfAccount>, Failure> {
    let Some(terms) = &policies.scoring.rollup else {
        return Ok(None);
    };
    let members = read_one(store, id, as_of).await.map_err(Failure::failed)?;
    let tree = FamilyTree::of(&members);
    let bands = policies.scoring.health.bands;
    let score = tree
        .family(id, terms, bands)
        .or_else(|| tree.family(tree.top(id), terms, bands));
    let fault = tree.faults().iter().find(|f| f.account == *id).cloned();
    Ok(Some(OfAccount { score, fault }))
}

pub(super) async fn list(config: &Config, store: &Store, limit: usize, output: &Output) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let Some(terms) = &policies.scoring.rollup else {
        return Err(Failure::input(
            "there are no scores of families: scoring.toml has no table [rollup]; the documentation of scoring shows one",
        ));
    };
    let Some(book) = read_all(store).await.map_err(Failure::failed)? else {
        return Err(Failure::input("nothing was decided yet: `perennial run --once`"));
    };
    let tree = FamilyTree::of(&book.members);
    let mut families: Vec<Family> = tree
        .heads()
        .filter_map(|head| tree.family(head, terms, policies.scoring.health.bands))
        .collect();
    // What cannot be said comes last; ties by id.
    families.sort_by(|a, b| {
        let key = |f: &Family| (f.score_micro.is_none(), f.score_micro, f.account.clone());
        key(a).cmp(&key(b))
    });
    let total = families.len();
    families.truncate(limit);
    let currency = policies.settings.base.code();
    if output.json() {
        output.document(&json!({
            "as_of": book.as_of,
            "currency": currency,
            "not_decided": book.not_decided,
            "families": families,
            "faults": tree.faults(),
        }));
    } else {
        output.table(
            &[
                "family of",
                "health",
                "band",
                "accounts",
                "known",
                "revenue a year",
                "least healthy",
            ],
            families.iter().map(|f| {
                vec![
                    f.account.as_str().to_owned(),
                    points(f.score_micro),
                    f.band.map_or_else(String::new, |b: Band| b.as_str().to_owned()),
                    f.coverage.accounts.to_string(),
                    known(f),
                    amount(f.coverage.arr_minor, Some(currency)),
                    lowest(f),
                ]
            }),
        );
        for fault in tree.faults() {
            output.line(&format!("! {}", said(fault)));
        }
    }
    if total > limit {
        eprintln!("! the first {limit} of {total}; --limit shows more");
    }
    Ok(())
}

fn known(family: &Family) -> String {
    format!("{} %", Micro(family.coverage.share_micro.0 * 100).display(0))
}

/// The least healthy account.
fn lowest(family: &Family) -> String {
    let live = family.parts.iter().filter(|p| !p.churned);
    let lowest = live.filter_map(|p| Some((p.health_micro?, &p.account))).min();
    lowest.map_or_else(String::new, |(health, account)| {
        format!("{account} ({})", health.display(0))
    })
}

fn said(fault: &FamilyFault) -> String {
    let FamilyFault { account, parent, kind } = fault;
    match kind {
        FamilyFaultKind::ParentMissing => {
            format!(
                "{account} names {parent} as its parent, of which there is no record: import it, or mend the parent"
            )
        }
        FamilyFaultKind::Circle => {
            format!("{account} is its own parent by way of {parent}: it counts in no family until the parent is mended")
        }
        FamilyFaultKind::BelowCircle => {
            format!(
                "{account} belongs to {parent}, whose parents form a circle: it counts in no family until they are mended"
            )
        }
    }
}

/// The family of one account, for people.
pub(super) fn print(of: &OfAccount, currency: Option<&str>, output: &Output) {
    if let Some(fault) = &of.fault {
        output.line(&format!("! {}", said(fault)));
    }
    let Some(family) = &of.score else { return };
    output.heading(&format!("family of {}", family.account));
    let how = match family.roll_up {
        RollUp::Mean => "the mean of its accounts",
        RollUp::ArrWeighted => "its accounts by their revenue",
        RollUp::Worst => "its least healthy account",
    };
    let why = family
        .missing
        .as_ref()
        .map_or_else(String::new, |m| format!(" (missing: {m})"));
    output.line(&format!(
        "health {}{why}: {how}; {} of {} accounts known, {} by revenue",
        points(family.score_micro),
        family.coverage.known,
        family.coverage.accounts,
        known(family),
    ));
    output.table(
        &["adds", "health", "revenue a year", "account"],
        family.parts.iter().map(|p| {
            let left = if p.churned { " (has left)" } else { "" };
            vec![
                super::signed(p.adds_micro, 2),
                points(p.health_micro),
                amount(p.arr_minor, currency),
                format!("{}{left}", p.account),
            ]
        }),
    );
}
