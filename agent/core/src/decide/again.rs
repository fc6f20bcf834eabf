//! The gate asked again about a stored decision, without deciding anew.
//!
//! What is proposed does not depend on the gate: it only says what may happen with it. So where nothing but the gate's own files
//! changed, the stored proposals are those that a new decision would make, and only their verdicts have to be found. Most of
//! a stored decision is then never looked at, which is what makes a long past quick to go through.

use serde::Deserialize;

use super::{Decision, contacts, verdict_of};
use crate::action::{ActionKind, Effect};
use crate::earned::{Segment, kinds_of};
use crate::feature::Features;
use crate::ids::{AccountId, ActionId, PlaybookId};
use crate::play::OfPlay;
use crate::policy::gate::{Addressee, Before};
use crate::policy::{Policies, Verdict};
use crate::replay::{UnreadableText, read};
use crate::signal::{Account, Contact, Opportunity};
use crate::snapshot::{Held, PriorAction, Snapshot};
use crate::time::Timestamp;

/// A proposal with its verdict then and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Which.
    pub action: ActionId,
    /// Playbook it comes from.
    pub playbook: PlaybookId,
    /// What to do.
    pub title: String,
    /// Verdict that is stored.
    pub was: Verdict,
    /// Verdict of these policies.
    pub now: Verdict,
}

#[derive(Deserialize)]
struct StoredProposals {
    proposals: Vec<StoredProposal>,
    features: Features,
}

#[derive(Deserialize)]
struct StoredProposal {
    action: ActionId,
    playbook: PlaybookId,
    kind: ActionKind,
    title: String,
    verdict: Verdict,
    effects: Vec<Effect>,
    #[serde(default)]
    rule: String,
    #[serde(default)]
    play: Option<OfPlay>,
}

#[derive(Deserialize)]
struct StoredInputs {
    snapshot: StoredSnapshot,
    #[serde(default)]
    earned: Vec<Segment>,
}

/// What the gate needs of a snapshot.
#[derive(Deserialize)]
struct StoredSnapshot {
    account_id: AccountId,
    as_of: Timestamp,
    account: Option<Held<Account>>,
    contacts: Vec<Held<Contact>>,
    opportunities: Vec<Held<Opportunity>>,
    prior: Vec<PriorAction>,
}

/// How the stored text of a decision says that nothing is proposed. Inside a text the quotes would be escaped.
const NOTHING: &str = "\"proposals\":[]";

/// The verdicts of `policies` on the proposals of a stored decision. Right only where `policies` differ from those that made it in
/// nothing but the files of the gate.
///
/// # Errors
/// [`UnreadableText`] when a text is not that of a decision or of its inputs.
pub fn verdicts_again<E: From<UnreadableText>>(
    output: &str,
    inputs: impl FnOnce() -> Result<String, E>,
    policies: &Policies,
) -> Result<Vec<Again>, E> {
    if output.contains(NOTHING) {
        return Ok(Vec::new());
    }
    let stored: StoredProposals = read("decision", output)?;
    if stored.proposals.is_empty() {
        return Ok(Vec::new());
    }
    let StoredInputs { snapshot, earned } = read("inputs", &inputs()?)?;
    let snapshot = Snapshot {
        account: snapshot.account,
        contacts: snapshot.contacts,
        opportunities: snapshot.opportunities,
        prior: snapshot.prior,
        ..Snapshot::of(snapshot.account_id, snapshot.as_of, Vec::new(), Vec::new(), 0)
    };
    let contacts_7_days = contacts(snapshot.prior.iter(), snapshot.as_of.day(), policies.gate.vocabulary());
    let (whom, before) = (Addressee::of(&snapshot), Before::of(&snapshot));
    let earned = kinds_of(&earned, &stored.features, policies.gate.vocabulary());
    let again = stored.proposals.into_iter().map(|proposal| {
        let discount = policies.playbooks.get(proposal.playbook.as_str());
        let mut now = verdict_of(
            &super::Asking {
                kind: proposal.kind,
                playbook: proposal.playbook.as_str(),
                discount: discount.and_then(|p| p.economics.discount).map(|d| d.share),
                effects: &proposal.effects,
                features: &stored.features,
                snapshot: &snapshot,
                whom: &whom,
                before: &before,
                contacts_7_days,
                earned: &earned,
            },
            policies,
        );
        if proposal.play.is_some_and(|of| of.approve) {
            let (file, line) = proposal.rule.rsplit_once(':').unwrap_or((&proposal.rule, ""));
            super::ask_a_person(&mut now, &(file.to_owned(), line.parse().unwrap_or(0)));
        }
        Again {
            action: proposal.action,
            playbook: proposal.playbook,
            title: proposal.title,
            was: proposal.verdict,
            now,
        }
    });
    Ok(again.collect())
}

impl Decision {
    /// Whether the file of a policies folder is one of the gate's: what may happen depends on it, and nothing else does.
    #[must_use]
    pub fn is_of_gate(path: &str) -> bool {
        matches!(path, "autonomy.toml" | "schema.cedarschema")
            || path.ends_with(".md")
            || ["rules/", "promises/", "tests/"]
                .iter()
                .any(|folder| path.starts_with(folder))
    }
}
