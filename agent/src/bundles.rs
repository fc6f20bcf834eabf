//! Which policies and prompts runs decide by, and how others come into force.
//!
//! Two ways, chosen in the configuration. `folder`: what lies in the folders is in force, as soon as it is right. `applied`:
//! only what a person put in force is, and the folders are a draft.
//!
//! Promises: what does not compile, or fails its own tests, never comes into force; what may allow something that was not
//! allowed needs a second person; everything that was in force can be put back. Each step stands in the ledger.

use std::collections::BTreeSet;

use perennial_core::policy::{Content, Policies};
use perennial_core::replay::{Hash, UnreadableText, canonical, read};
use perennial_core::time::Timestamp;
use perennial_store::{LedgerDraft, LiveContent, OfferKind, OfferedContent, Store, StoreError};
use serde::Serialize;

use crate::config::{Config, PolicySource};
use crate::content::{self, ContentError};

/// Bundles that `rollback` looks through.
const HISTORY: u32 = 1_000;

/// Why there are no policies to decide by, or why others do not come into force.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The folder is not right.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the database holds cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableText),
    /// Nobody has put anything in force.
    #[error(
        "no policies are in force: the configuration says policy.source = \"applied\", so put some in force with \
         `perennial policy apply --why TEXT`"
    )]
    NothingInForce,
    /// The database does not hold a bundle that it names.
    #[error("the policies {0} are not in the database: put others in force with `perennial policy apply`")]
    Gone(Hash),
    /// A stored bundle does not compile with this program.
    #[error("the policies {hash} do not compile with this version of the program: {first}")]
    Outdated {
        /// Which.
        hash: Hash,
        /// The first problem.
        first: String,
    },
    /// A person who may not.
    #[error("{person} may not change policies: the configuration names {known} under policy.admins")]
    NotAnAdmin {
        /// Who.
        person: String,
        /// Who may.
        known: String,
    },
    /// The same person twice.
    #[error("{person} proposed this change, so somebody else has to confirm it")]
    SamePerson {
        /// Who.
        person: String,
    },
    /// There is nothing to confirm.
    #[error("no change of policies waits for a second person")]
    NothingProposed,
    /// The hash names another proposal.
    #[error("what waits for a second person is {waiting}, not {given}: look at it with `perennial policy status`")]
    OtherProposal {
        /// What waits.
        waiting: Hash,
        /// What was given.
        given: String,
    },
    /// What is to be put back never was in force.
    #[error("nothing that was in force begins with `{given}`: `perennial policy status` lists what was")]
    NeverInForce {
        /// What was given.
        given: String,
    },
    /// Several bundles begin so.
    #[error("several bundles begin with `{given}`: give more of the hash")]
    Ambiguous {
        /// What was given.
        given: String,
    },
    /// Somebody was faster.
    #[error("other policies were put in force meanwhile: look again with `perennial policy plan`")]
    Overtaken,
}

/// What runs decide by.
///
/// # Errors
/// [`BundleError`].
pub async fn in_force(config: &Config, store: &Store) -> Result<(Content, Policies), BundleError> {
    match config.policy.source {
        PolicySource::Folder => Ok(content::compile(config)?),
        PolicySource::Applied => {
            let live = store.live_content().await?.ok_or(BundleError::NothingInForce)?;
            stored(store, live.hash).await
        }
    }
}

/// The hash of what runs decide by, without compiling it.
///
/// # Errors
/// [`BundleError`].
pub async fn hash_in_force(config: &Config, store: &Store) -> Result<Hash, BundleError> {
    match config.policy.source {
        PolicySource::Folder => Ok(content::load(config)?.hash()),
        PolicySource::Applied => {
            let live = store.live_content().await?.ok_or(BundleError::NothingInForce)?;
            Ok(live.hash)
        }
    }
}

/// A bundle that the database holds.
///
/// # Errors
/// [`BundleError::Gone`], [`BundleError::Outdated`], what reading brings.
pub async fn stored(store: &Store, hash: Hash) -> Result<(Content, Policies), BundleError> {
    let text = store.content(&hash).await?.ok_or(BundleError::Gone(hash))?;
    let content: Content = read("policies", &text)?;
    let policies = Policies::compile(&content).map_err(|problems| BundleError::Outdated {
        hash,
        first: problems.first().map_or_else(String::new, ToString::to_string),
    })?;
    Ok((content, policies))
}

/// What a change of policies may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "width", content = "because")]
pub enum Width {
    /// The texts are the same.
    Same,
    /// Nothing becomes allowed that was not: why that is so.
    Narrower(String),
    /// Something may become allowed that was not: why that cannot be ruled out.
    Wider(Vec<String>),
}

/// Files that are of no account for what may happen: scoring holds numbers that order work, the rest is for people.
fn harmless(path: &str) -> bool {
    path == "scoring.toml" || path == "schema.cedarschema" || path.ends_with(".md")
}

/// Files that differ, by path.
#[must_use]
pub fn changed_files(former: &Content, new: &Content) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    for (folder, a, b) in [
        ("policies", &former.policies, &new.policies),
        ("prompts", &former.prompts, &new.prompts),
    ] {
        let paths: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        let differ = paths.into_iter().filter(|path| a.get(*path) != b.get(*path));
        changed.extend(differ.map(|path| format!("{folder}/{path}")));
    }
    changed
}

/// Whether a change can allow something that was not allowed. `proved` says whether it is proved that the rules of the new
/// bundle allow nothing that those of the former one did not; it is asked only where rules differ.
///
/// What is sent by itself is text too, so a change of a playbook or a prompt counts as wide; so does one of a promise or of a
/// test, because they hold the rules.
pub fn width(former: &Content, new: &Content, proved: impl FnOnce() -> Result<(), String>) -> Width {
    let changed = changed_files(former, new);
    if changed.is_empty() {
        return Width::Same;
    }
    let mut why = Vec::new();
    let mut rules = false;
    for file in &changed {
        match file.strip_prefix("policies/") {
            Some(path) if harmless(path) => {}
            Some(path) if path == "autonomy.toml" || path.starts_with("rules/") => rules = true,
            Some(path) if path.starts_with("promises/") || path.starts_with("tests/") => {
                why.push(format!("{file} is changed, and it holds the rules"));
            }
            _ => why.push(format!("{file} is changed, and it says what is written and sent")),
        }
    }
    if rules && let Err(reason) = proved() {
        why.push(reason);
    }
    match (why.is_empty(), rules) {
        (false, _) => Width::Wider(why),
        (true, true) => Width::Narrower("it is proved that the rules allow nothing new".to_owned()),
        (true, false) => Width::Narrower("only numbers and notes are changed".to_owned()),
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    InForce,
    /// It waits for a second person.
    Proposed,
    /// It was in force already.
    Unchanged,
}

/// Whether somebody may change policies.
///
/// # Errors
/// [`BundleError::NotAnAdmin`].
pub fn may_change(config: &Config, person: &str) -> Result<(), BundleError> {
    let admins = &config.policy.admins;
    if admins.is_empty() || admins.iter().any(|admin| admin == person) {
        return Ok(());
    }
    Err(BundleError::NotAnAdmin {
        person: person.to_owned(),
        known: admins.join(", "),
    })
}

/// Puts a bundle in force, or, where it may be wider, proposes it to a second person. The caller has made sure that it compiles
/// and passes its tests.
///
/// # Errors
/// [`BundleError`].
pub async fn apply(
    store: &Store,
    new: &Content,
    width: &Width,
    person: &str,
    why: &str,
    now: Timestamp,
) -> Result<Outcome, BundleError> {
    let former = store.live_content().await?.map(|live| live.hash);
    let hash = new.hash();
    if former == Some(hash) {
        return Ok(Outcome::Unchanged);
    }
    store.put_content(&hash, &canonical(new)).await?;
    // The first bundle takes nobody's rules away: there were none.
    if matches!(width, Width::Wider(_)) && former.is_some() {
        let offer = OfferedContent {
            hash,
            at: now,
            person: person.to_owned(),
            why: why.to_owned(),
            until: None,
        };
        let entry = entry("policy_proposed", hash, former, person, None, why);
        store.offer_content(OfferKind::Proposal, &offer, &entry).await?;
        return Ok(Outcome::Proposed);
    }
    put(store, former, hash, person, None, why, now).await?;
    Ok(Outcome::InForce)
}

/// A second person puts what was proposed in force.
///
/// # Errors
/// [`BundleError`].
pub async fn confirm(store: &Store, given: &str, person: &str, now: Timestamp) -> Result<Hash, BundleError> {
    let offer = store
        .offered_content(OfferKind::Proposal)
        .await?
        .ok_or(BundleError::NothingProposed)?;
    if given.is_empty() || !offer.hash.to_string().starts_with(given) {
        return Err(BundleError::OtherProposal {
            waiting: offer.hash,
            given: given.to_owned(),
        });
    }
    if offer.person == person {
        return Err(BundleError::SamePerson {
            person: person.to_owned(),
        });
    }
    // What compiled when it was proposed must compile now: the program may be another.
    stored(store, offer.hash).await?;
    let former = store.live_content().await?.map(|live| live.hash);
    put(store, former, offer.hash, &offer.person, Some(person), &offer.why, now).await?;
    Ok(offer.hash)
}

async fn put(
    store: &Store,
    former: Option<Hash>,
    hash: Hash,
    proposed_by: &str,
    confirmed_by: Option<&str>,
    why: &str,
    now: Timestamp,
) -> Result<(), BundleError> {
    let live = LiveContent {
        hash,
        at: now,
        proposed_by: proposed_by.to_owned(),
        confirmed_by: confirmed_by.map(str::to_owned),
        why: why.to_owned(),
    };
    let entry = entry("policy_in_force", hash, former, proposed_by, confirmed_by, why);
    if store.put_live(former, &live, &entry).await? {
        Ok(())
    } else {
        Err(BundleError::Overtaken)
    }
}

/// Who is named where the program itself refused a folder.
const PROGRAM: &str = "perennial";

/// Notes that policies were refused, for whoever looks: once for the same texts and the same reason.
///
/// # Errors
/// What writing brings.
pub async fn note_refused(
    store: &Store,
    hash: Hash,
    why: &str,
    person: Option<&str>,
    now: Timestamp,
) -> Result<(), BundleError> {
    let last = store.offered_content(OfferKind::Refused).await?;
    if last.is_some_and(|last| last.hash == hash && last.why == why) {
        return Ok(());
    }
    let person = person.unwrap_or(PROGRAM);
    let refused = OfferedContent {
        hash,
        at: now,
        person: person.to_owned(),
        why: why.to_owned(),
        until: None,
    };
    let entry = entry("policy_refused", hash, None, person, None, why);
    store.offer_content(OfferKind::Refused, &refused, &entry).await?;
    Ok(())
}

/// The last policies that were refused.
///
/// # Errors
/// What reading brings.
pub async fn last_refused(store: &Store) -> Result<Option<OfferedContent>, BundleError> {
    Ok(store.offered_content(OfferKind::Refused).await?)
}

/// The bundle that was in force and whose hash begins so.
///
/// # Errors
/// [`BundleError::NeverInForce`], [`BundleError::Ambiguous`], what reading brings.
pub async fn formerly(store: &Store, given: &str) -> Result<Hash, BundleError> {
    let history = store.live_history(HISTORY).await?;
    let hashes: BTreeSet<Hash> = history
        .into_iter()
        .map(|live| live.hash)
        .filter(|hash| hash.to_string().starts_with(given))
        .collect();
    let given = given.to_owned();
    match (hashes.first(), hashes.len()) {
        (Some(hash), 1) => Ok(*hash),
        (None, _) => Err(BundleError::NeverInForce { given }),
        (Some(_), _) => Err(BundleError::Ambiguous { given }),
    }
}

/// Begins to try a bundle out beside what is in force: see [`crate::whatif`] for what it would have decided since.
///
/// # Errors
/// What writing brings.
pub async fn try_out(
    store: &Store,
    new: &Content,
    person: &str,
    why: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<(), BundleError> {
    let hash = new.hash();
    store.put_content(&hash, &canonical(new)).await?;
    let offer = OfferedContent {
        hash,
        at: now,
        person: person.to_owned(),
        why: why.to_owned(),
        until: Some(until),
    };
    let entry = entry("policy_shadow", hash, None, person, None, why);
    store.offer_content(OfferKind::Shadow, &offer, &entry).await?;
    Ok(())
}

/// Withdraws what waits for a second person, or what is tried out.
///
/// # Errors
/// [`BundleError::NothingProposed`], what writing brings.
pub async fn withdraw(store: &Store, kind: OfferKind, person: &str, now: Timestamp) -> Result<Hash, BundleError> {
    let offer = store.offered_content(kind).await?.ok_or(BundleError::NothingProposed)?;
    let entry = entry("policy_withdrawn", offer.hash, None, person, None, "");
    store.withdraw_content(kind, &entry, now).await?;
    Ok(offer.hash)
}

fn entry(kind: &str, hash: Hash, former: Option<Hash>, person: &str, second: Option<&str>, why: &str) -> LedgerDraft {
    let body = serde_json::json!({
        "by": person,
        "confirmed_by": second,
        "former": former,
        "why": why,
    });
    LedgerDraft {
        kind: kind.to_owned(),
        reference: hash.to_string(),
        body: canonical(&body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(files: &[(&str, &str)]) -> Content {
        Content {
            policies: files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect(),
            prompts: Default::default(),
        }
    }

    #[test]
    fn numbers_alone_are_never_wide_and_are_not_proved() {
        let (a, b) = (content(&[("scoring.toml", "1")]), content(&[("scoring.toml", "2")]));
        let asked = std::cell::Cell::new(false);
        let found = width(&a, &b, || {
            asked.set(true);
            Err("asked".to_owned())
        });
        assert!(matches!(found, Width::Narrower(_)) && !asked.get());
        assert_eq!(width(&a, &a, || Err(String::new())), Width::Same);
    }

    #[test]
    fn rules_are_narrow_only_when_it_is_proved() {
        let (a, b) = (content(&[("autonomy.toml", "1")]), content(&[("autonomy.toml", "2")]));
        assert!(matches!(width(&a, &b, || Ok(())), Width::Narrower(_)));
        assert_eq!(
            width(&a, &b, || Err("not proved".to_owned())),
            Width::Wider(vec!["not proved".to_owned()])
        );
    }

    #[test]
    fn what_holds_the_rules_and_what_is_sent_is_always_wide() {
        for file in ["promises/a.cedar", "tests/a.toml", "playbooks/a.toml"] {
            let found = width(&content(&[]), &content(&[(file, "1")]), || Ok(()));
            assert!(
                matches!(&found, Width::Wider(why) if why.len() == 1 && why[0].contains(file)),
                "{found:?}"
            );
        }
    }
}
