//! Candidates: what the playbooks that hold would do for an account, before policy judges them.
//!
//! Not here: the verdict (`policy`), the order (`rank`), and what a person's day holds.

mod due;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{AccountField, ActionKind, ActionState, DealField, Effect, Target, Write};
use crate::decide::{Inputs, Note, NoteKind};
use crate::draft::Draft;
use crate::feature::{Features, Renewal, label};
use crate::ids::{ActionId, EffectId, ExternalId};
use crate::play::{OfPlay, Running, Standing};
use crate::policy::gate::limits::excludes;
use crate::policy::{Pattern, Playbook, Policies, Step, Subject};
use crate::rank::{Worth, worth};
use crate::score::{PostureState, Scores};
use crate::signal::{Contact, ContactRole, Crm, Opportunity, OpportunityKind, OpportunityState, RecordRef};
use crate::snapshot::{Held, Snapshot};
use crate::time::Day;
pub(crate) use due::Due;

/// A fact on a card, with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// Feature.
    pub fact: String,
    /// Evidence id.
    pub evidence: String,
    /// Value as a person reads it.
    pub value: String,
    /// Time of the newest record behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<crate::time::Timestamp>,
    /// Records behind it, the newest first.
    pub records: Vec<RecordRef>,
    /// How many records in all.
    pub records_total: u32,
}

/// Something that could be done.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Its playbook.
    pub playbook: &'a Playbook,
    /// Kind of the action.
    pub kind: ActionKind,
    /// Its id.
    pub action: ActionId,
    /// What it is about.
    pub subject: String,
    /// File and line that it comes from.
    pub rule: (String, usize),
    /// Minutes of a person.
    pub minutes: i64,
    /// Day it is proposed for.
    pub today: Day,
    /// Unanswered, it ends after so many days.
    pub expires_days: i64,
    /// A person is asked, whatever the table says.
    pub approve: bool,
    /// The play it is a step of.
    pub play: Option<OfPlay>,
    /// One line.
    pub title: String,
    /// Why.
    pub because: String,
    /// What it is worth, or the fact without which that cannot be said.
    pub worth: Result<Worth, String>,
    /// Facts that speak for it.
    pub evidence: Vec<EvidenceLine>,
    /// What it writes.
    pub effects: Vec<Effect>,
    /// Its document.
    pub draft: Option<Draft>,
    /// Day by which it should be done.
    pub due: Day,
}

/// Everything about an account that candidates are made from.
pub(crate) struct Known<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) features: &'a Features,
    pub(crate) renewals: &'a [Renewal],
    pub(crate) scores: &'a Scores,
}

/// Days in which an earlier action makes the customer tired of us.
const TIRED_DAYS: i64 = 30;

/// A candidate that is not proposed.
pub(crate) struct LeftOut {
    /// Why.
    pub(crate) note: Note,
    /// What it would have been called.
    pub(crate) action: ActionId,
    /// What it would have been worth, where it would have been worth proposing.
    pub(crate) worth: Option<Result<Worth, String>>,
}

/// The candidates of what is due, in its order, and those that are left out. Writes that are left out go to `notes`.
pub(crate) fn candidates<'a>(
    known: &Known<'_>,
    due: Vec<Due<'a>>,
    policies: &Policies,
    notes: &mut Vec<Note>,
) -> (Vec<Candidate<'a>>, Vec<LeftOut>) {
    let snapshot = &known.inputs.snapshot;
    let today = snapshot.as_of.day();
    let slots = slots(known);
    let (mut list, mut left_out) = (Vec::new(), Vec::new());
    for due in due {
        let playbook = due.playbook;
        let id = playbook.id.as_str();
        let subject = match &due.goes_on {
            Some((running, _)) => running.subject.clone(),
            None => subject(playbook.subject, known),
        };
        let action = due.action(known, &subject, today);
        let tired = snapshot.prior.iter().any(|p| {
            !matches!(p.state, ActionState::Superseded | ActionState::Denied) && p.day.days_until(today) <= TIRED_DAYS
        });
        let arr = known.features.money("arr").map(|m| m.minor);
        let risk = known.scores.risk.probability_micro;
        let settings = &policies.settings;
        let economics = due.economics();
        let worth = worth(arr, settings.base, risk, &economics, &policies.scoring.value, tired);
        let worthless = worth.as_ref().is_ok_and(|w| w.value_minor <= 0);
        let again = match &due.goes_on {
            // A play that has begun is carried through.
            Some((_, standing)) => advised(snapshot, playbook, &subject, standing),
            None => suppressed(snapshot, playbook, &subject)
                .or_else(|| running(known, playbook, &subject))
                .or_else(|| excluded(snapshot, playbook, policies)),
        };
        if let Some(why) = again {
            left_out.push(LeftOut {
                note: Note::about(NoteKind::Suppressed, id, why),
                action,
                worth: (!worthless).then_some(worth),
            });
            continue;
        }
        if let Ok(worth) = &worth
            && worthless
            && due.goes_on.is_none()
        {
            let why = format!(
                "would cost more than it is expected to bring: {} minutes against {} a year",
                worth.minutes,
                known.features.display("arr")
            );
            left_out.push(LeftOut {
                note: Note::about(NoteKind::NotWorth, id, why),
                action,
                worth: None,
            });
            continue;
        }
        let draft = match playbook.document.filter(|_| due.has_document()) {
            None => None,
            Some(kind) => match crate::document::draft(kind, known, policies) {
                Ok(draft) => Some(draft),
                Err(why) => {
                    left_out.push(LeftOut {
                        note: Note::about(NoteKind::Draft, id, why),
                        action,
                        worth: Some(worth),
                    });
                    continue;
                }
            },
        };
        let text = due.text();
        let due_days = text.and_then(|text| text.due_days).unwrap_or(playbook.due_days);
        let written = (due.writes(), due_days);
        let effects = effects(known, playbook, written, &action, &slots, draft.as_ref(), notes);
        // A card about a role that stands there already would ask a person for nothing. The notes of its steps say why.
        let only_roles = written.0.iter().all(|step| matches!(step, Step::SetContactRole { .. }));
        if effects.is_empty() && only_roles && !written.0.is_empty() && due.step.is_none() {
            continue;
        }
        let title = text.and_then(|text| text.title.as_ref()).unwrap_or(&playbook.title);
        let because = text.and_then(|text| text.because.as_ref()).unwrap_or(&playbook.because);
        list.push(Candidate {
            playbook,
            kind: text.map_or(playbook.kind, |text| text.kind),
            play: due.of_play_at(known, &subject, today),
            rule: (
                playbook.file.clone(),
                due.step.map_or(playbook.line, |(_, _, line)| line),
            ),
            minutes: economics.minutes,
            today,
            expires_days: text.and_then(|text| text.expires_days).unwrap_or(playbook.expires_days),
            approve: text.is_some_and(|text| text.approve),
            action,
            subject,
            title: title.fill(&slots),
            because: because.fill(&slots),
            worth,
            evidence: playbook
                .evidence
                .iter()
                .filter_map(|fact| evidence(known.features, fact))
                .collect(),
            effects,
            draft,
            due: today.plus(due_days),
        });
    }
    (list, left_out)
}

/// A play of the same about the same runs already.
fn running(known: &Known<'_>, playbook: &Playbook, subject: &str) -> Option<String> {
    let same = |r: &&Running| r.playbook == playbook.id && r.subject == subject;
    let running = known.inputs.plays.iter().find(same)?;
    Some(format!("{} is at its step `{}`", running.play, running.standing.step))
}

/// The step of a play was given as advice, and nobody has to answer that.
fn advised(snapshot: &Snapshot, playbook: &Playbook, subject: &str, standing: &Standing) -> Option<String> {
    let today = snapshot.as_of.day();
    let since = standing.entered.day();
    let same = snapshot
        .prior
        .iter()
        .filter(|p| p.playbook == playbook.id && p.subject == subject);
    let mut advice = same.filter(|p| p.state == ActionState::Advised && p.day >= since);
    let found = advice.find(|p| p.day.days_until(today) < playbook.cooldown_days)?;
    Some(format!(
        "{} of {} was advised; the play waits at its step `{}`",
        found.action, found.day, standing.step
    ))
}

fn evidence(features: &Features, fact: &str) -> Option<EvidenceLine> {
    let feature = features.0.get(fact)?;
    Some(EvidenceLine {
        fact: fact.to_owned(),
        evidence: feature.evidence.clone(),
        value: match features.missing(fact) {
            Some(field) => format!("not known (missing: {field})"),
            None => features.display(fact),
        },
        as_of: feature.as_of,
        records: feature.records.clone(),
        records_total: feature.records_total,
    })
}

/// Why the same thing is not proposed again now.
fn suppressed(snapshot: &Snapshot, playbook: &Playbook, subject: &str) -> Option<String> {
    let today = snapshot.as_of.day();
    snapshot
        .prior
        .iter()
        .filter(|p| p.playbook == playbook.id && p.subject == subject)
        // What never ran does not stand in the way once what denied it is gone.
        .filter(|p| !matches!(p.state, ActionState::Superseded | ActionState::Denied))
        .find_map(|p| {
            let days = p.day.days_until(today);
            if p.state.is_open() {
                Some(format!("{} of {} is still {}", p.action, p.day, p.state))
            } else if days < playbook.cooldown_days {
                Some(format!(
                    "{} of {} was {}; again after {} days",
                    p.action, p.day, p.state, playbook.cooldown_days
                ))
            } else {
                None
            }
        })
}

/// Why it does not go together with what is open or was done.
fn excluded(snapshot: &Snapshot, playbook: &Playbook, policies: &Policies) -> Option<String> {
    let today = snapshot.as_of.day();
    let done = |state: ActionState| state.is_open() || state == ActionState::Executed;
    snapshot.prior.iter().filter(|p| done(p.state)).find_map(|p| {
        let days = excludes(policies, playbook.id.as_str(), p.playbook.as_str())?;
        (p.state.is_open() || p.day.days_until(today) < days).then(|| {
            format!(
                "{} of `{}` of {} is {}; not within {days} days of it",
                p.action, p.playbook, p.day, p.state
            )
        })
    })
}

/// The record or period that an action is about, as a stable word.
fn subject(subject: Subject, known: &Known<'_>) -> String {
    let first_record = |fact: &str| {
        known
            .features
            .0
            .get(fact)
            .and_then(|f| f.records.last())
            .map(RecordRef::to_string)
    };
    match subject {
        Subject::Account => "account".to_owned(),
        Subject::Quarter => known.inputs.snapshot.as_of.day().quarter(),
        Subject::Renewal => next_renewal(known.renewals)
            .and_then(|r| r.end.as_ref().ok().map(|end| format!("{}@{end}", r.record)))
            .unwrap_or_else(|| "renewal".to_owned()),
        Subject::Escalation => first_record("escalations_open").unwrap_or_else(|| "escalation".to_owned()),
        Subject::Sponsor => first_record("sponsor_gap").unwrap_or_else(|| "sponsor".to_owned()),
    }
}

/// The agreement with the next end of a term longer than a month.
pub(crate) fn next_renewal(renewals: &[Renewal]) -> Option<&Renewal> {
    renewals
        .iter()
        .find(|r| r.end.is_ok() && r.term_months.is_none_or(|months| months > 1))
}

/// The person at the customer to speak to: by role, then by record.
#[must_use]
pub fn addressee(snapshot: &Snapshot) -> Option<&Held<crate::signal::Contact>> {
    let order = |role: Option<ContactRole>| match role {
        Some(ContactRole::Champion) => 0,
        Some(ContactRole::ExecutiveSponsor) => 1,
        Some(ContactRole::EconomicBuyer) => 2,
        Some(ContactRole::Admin) => 3,
        Some(ContactRole::User) | None => 4,
        Some(ContactRole::Detractor) => 5,
    };
    snapshot
        .contacts
        .iter()
        .filter(|c| c.fact.left.is_none() && c.fact.bounced.is_none() && c.fact.name.is_some())
        .filter(|c| c.fact.opted_out != Some(true))
        .min_by_key(|c| (order(c.fact.role), &c.record))
}

/// Values of the slots that texts of playbooks may use.
pub(crate) fn slots(known: &Known<'_>) -> BTreeMap<String, String> {
    let snapshot = &known.inputs.snapshot;
    let mut slots: BTreeMap<String, String> = known
        .features
        .0
        .keys()
        .map(|name| (name.clone(), known.features.display(name)))
        .collect();
    let owner = known.inputs.owner.as_ref().and_then(|o| o.name.clone());
    let owner = owner.or_else(|| {
        snapshot
            .account_fact()
            .and_then(|a| a.owner.as_ref())
            .map(|o| o.as_str().to_owned())
    });
    let contact = addressee(snapshot).and_then(|c| c.fact.name.clone());
    let renewal = next_renewal(known.renewals).map(|r| r.label.clone());
    let drivers: Vec<String> = known
        .scores
        .risk
        .contributions
        .iter()
        .filter(|c| c.adds_micro.0 > 0)
        .take(3)
        .map(|c| format!("{} {}", label(&c.fact), c.value))
        .collect();
    let tickets: Vec<String> = known.features.0.get("escalations_open").map_or_else(Vec::new, |f| {
        f.records.iter().map(|r| r.external_id.as_str().to_owned()).collect()
    });
    let words = [
        ("account", Some(snapshot.name().trim().to_owned())),
        ("owner", Some(owner.unwrap_or_else(|| "nobody yet".to_owned()))),
        ("contact", Some(contact.unwrap_or_else(|| "the customer".to_owned()))),
        ("contract", renewal),
        ("quarter", Some(snapshot.as_of.day().quarter())),
        ("posture", Some(worst_posture(&known.scores.postures).replace('_', " "))),
        ("today", Some(snapshot.as_of.day().to_string())),
        ("drivers", (!drivers.is_empty()).then(|| drivers.join(", "))),
        ("tickets", (!tickets.is_empty()).then(|| tickets.join(", "))),
    ];
    slots.extend(
        words
            .into_iter()
            .filter_map(|(name, text)| text.map(|t| (name.to_owned(), t))),
    );
    slots
}

fn effects(
    known: &Known<'_>,
    playbook: &Playbook,
    (writes, due_days): (&[Step], i64),
    action: &ActionId,
    slots: &BTreeMap<String, String>,
    draft: Option<&Draft>,
    notes: &mut Vec<Note>,
) -> Vec<Effect> {
    let snapshot = &known.inputs.snapshot;
    let today = snapshot.as_of.day();
    let crm = snapshot.account_fact().and_then(|a| a.crm.as_ref());
    let tool = crm.map_or(known.inputs.default_crm, |c| c.crm);
    let target = Target {
        account: snapshot.account_id.clone(),
        account_name: snapshot.name().trim().to_owned(),
        crm_id: crm.map(|c| c.id.clone()),
    };
    let assignee = snapshot.account_fact().and_then(|a| a.owner.clone());
    let writes = writes.iter().filter_map(|step| match step {
        Step::UpdateField(fields) => {
            let fields: BTreeMap<AccountField, String> = fields
                .iter()
                .filter_map(|(field, text)| Some((*field, field_value(*field, text, known, slots)?)))
                .collect();
            (!fields.is_empty()).then_some(Write::UpdateAccount { fields })
        }
        Step::CreateTask {
            subject,
            body,
            priority,
        } => Some(Write::CreateTask {
            subject: subject.fill(slots),
            body: body.fill(slots),
            due: today.plus(due_days),
            priority: *priority,
            assignee: assignee.clone(),
        }),
        Step::CreateNote { title, body } => Some(Write::CreateNote {
            title: title.fill(slots),
            body: match (body, draft) {
                (Some(text), _) => text.fill(slots),
                (None, Some(draft)) => draft.markdown.clone(),
                (None, None) => String::new(),
            },
        }),
        Step::UpdateOpportunity {
            which,
            next_step,
            stage,
        } => {
            let deal = open_deal(snapshot, *which);
            if deal.is_none() {
                let why = format!("no open {which} deal: the step that updates it is left out");
                notes.push(Note::about(NoteKind::StepLeftOut, playbook.id.as_str(), why));
            }
            deal.map(|deal| Write::UpdateOpportunity {
                opportunity: deal.record.external_id.as_str().to_owned(),
                crm_id: deal.fact.crm.as_ref().filter(|c| c.crm == tool).map(|c| c.id.clone()),
                next_step: next_step.as_ref().map(|text| text.fill(slots)),
                stage: stage.clone(),
                seen: seen(&deal.fact),
            })
        }
        Step::SetContactRole { which, role } => {
            let found = role_in_deal(snapshot, *which, *role, tool);
            if let Err(why) = &found {
                let why = format!("{why}: the step that sets the role is left out");
                notes.push(Note::about(NoteKind::StepLeftOut, playbook.id.as_str(), why));
            }
            found.ok()
        }
    });
    writes
        .enumerate()
        .map(|(step, write)| {
            let step = u32::try_from(step).unwrap_or(u32::MAX);
            let id = EffectId::derive(action, step);
            Effect {
                id,
                action: action.clone(),
                step,
                tool,
                target: target.clone(),
                write,
            }
        })
        .collect()
}

/// Scores go to the CRM as plain numbers, texts as they read. A score that is not known is left out: writing nothing
/// must not clear what is there.
fn field_value(
    field: AccountField,
    text: &Pattern,
    known: &Known<'_>,
    slots: &BTreeMap<String, String>,
) -> Option<String> {
    let number = |name: &str| {
        known
            .features
            .number(name)
            .map(|n| format!("{}", libm::round(n) as i64))
    };
    match field {
        AccountField::Health => number("health"),
        AccountField::RenewalRisk => number("risk"),
        AccountField::Posture | AccountField::NextStep | AccountField::Summary => Some(text.fill(slots)),
    }
}

/// The worst judgement of the agreements that lie in a window.
#[must_use]
pub fn worst_posture(postures: &[crate::score::Posture]) -> &'static str {
    let in_window = postures
        .iter()
        .filter(|p| p.window.is_some() || p.state == PostureState::CannotAssess);
    in_window
        .map(|p| p.state)
        .max()
        .map_or("none due", PostureState::as_str)
}

/// What a deal said in the fields that a step may write.
fn seen(deal: &Opportunity) -> BTreeMap<DealField, String> {
    let next_step = deal.next_step.clone().map(|text| (DealField::NextStep, text));
    let stage = deal.stage.clone().map(|text| (DealField::Stage, text));
    next_step.into_iter().chain(stage).collect()
}

/// The write that says in an open deal who has a role: whoever is known to have it, where the deal itself names nobody.
///
/// # Errors
/// Why there is nothing to write.
fn role_in_deal(snapshot: &Snapshot, kind: OpportunityKind, role: ContactRole, tool: Crm) -> Result<Write, String> {
    let deal = open_deal(snapshot, kind).ok_or_else(|| format!("no open {kind} deal"))?;
    let id = deal.record.external_id.as_str();
    let in_deal = |person: &Held<Contact>| {
        let same_source = person.record.source == deal.record.source;
        let mut roles = person.fact.roles_in_deals().filter(|(of, _)| same_source && *of == id);
        roles.next().map(|(_, role)| role)
    };
    let live = || {
        let here = |person: &&Held<Contact>| person.fact.left.is_none() && person.fact.bounced.is_none();
        snapshot.contacts.iter().filter(here)
    };
    if let Some(there) = live().find(|person| in_deal(person) == Some(role)) {
        let name = there.fact.name.as_deref().unwrap_or(there.record.external_id.as_str());
        return Err(format!("the deal has a contact with the role {role} already, {name}"));
    }
    let record = |person: &Held<Contact>| person.fact.crm.clone().filter(|crm| crm.crm == tool);
    let (person, contact) = live()
        .filter(|person| person.fact.has_role(role))
        .find_map(|person| Some((person, record(person)?.id)))
        .ok_or_else(|| format!("nobody with a record in {tool} is known to have the role {role}"))?;
    Ok(Write::SetContactRole {
        opportunity: id.to_owned(),
        crm_id: deal.fact.crm.as_ref().filter(|c| c.crm == tool).map(|c| c.id.clone()),
        contact,
        contact_name: person.fact.name.clone(),
        role,
        seen: in_deal(person),
    })
}

/// The oldest open deal of a kind.
fn open_deal(snapshot: &Snapshot, kind: OpportunityKind) -> Option<&Held<Opportunity>> {
    snapshot
        .opportunities
        .iter()
        .filter(|o| o.fact.state == Some(OpportunityState::Open) && o.fact.kind == Some(kind))
        .min_by_key(|o| (o.fact.opened, ExternalId::clone(&o.record.external_id)))
}

#[cfg(test)]
mod tests;
