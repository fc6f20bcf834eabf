//! Limits that hold across actions, and time: when the effects of a permitted action are due, and the places it takes.
//!
//! The gate judges an action by what is known about it; here the same limits become rows that the store counts and takes in
//! the transaction that permits. What is due later is asked about again when it is sent ([`Sender`]).

use perennial_core::action::{ActionKind, Effect, Ground};
use perennial_core::approval::unmet;
use perennial_core::decide::{Decision, Inputs, contacts, sending};
use perennial_core::earned::kinds_of;
use perennial_core::policy::gate::limits::{Asked, across};
use perennial_core::policy::gate::{Addressee, Before, Human, LocalTime, Vocabulary};
use perennial_core::policy::{Level, Policies, Request, RuleRef};
use perennial_core::replay::{UnreadableText, read};
use perennial_core::signal::OwnerRole;
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, EffectResult, Hold, LeasedEffect, Store, StoreError};

use crate::bundles::{BundleError, hash_in_force, in_force};
use crate::config::Config;
use crate::earned::promoted;
use crate::people::People;
use crate::queue::{giver, holds, item_for_people};

/// Until when an effect waits for a moment that contact hours never allow.
const NEVER_DAYS: i64 = 366;
/// Until when it waits where the policies cannot be read.
const UNREAD_MINUTES: i64 = 5;

/// What goes with a permission.
#[derive(Debug, Clone)]
pub(crate) struct Permitting {
    /// Not before.
    pub(crate) due_at: Timestamp,
    /// Limits it needs room in, and places it takes.
    pub(crate) holds: Vec<Hold>,
    /// The rule of each hold.
    pub(crate) rules: Vec<RuleRef>,
}

/// When a permitted action may run, and what it takes. `delay_minutes` is the time in which a person can stop it.
pub(crate) fn permitting(
    policies: &Policies,
    asked: &Asked<'_>,
    delay_minutes: Option<i64>,
    now: Timestamp,
) -> Permitting {
    let from = minutes_later(now, delay_minutes.unwrap_or_default());
    let at = sending(policies, asked.kind, from, asked.whom).map(|s| s.at);
    let (holds, rules) = across(policies, asked)
        .into_iter()
        .map(|limit| {
            let hold = Hold {
                counter: limit.counter.to_owned(),
                subject: limit.subject,
                room: limit.room,
                window_us: limit.window_us,
            };
            (hold, limit.rule)
        })
        .unzip();
    Permitting {
        due_at: at.unwrap_or_else(|| now.plus_days(NEVER_DAYS)),
        holds,
        rules,
    }
}

fn minutes_later(at: Timestamp, minutes: i64) -> Timestamp {
    Timestamp::from_us(at.us().saturating_add(minutes.saturating_mul(60_000_000)))
}

/// The rule as people read it.
pub(crate) fn shown(rule: &RuleRef) -> String {
    format!("{} at {}:{}", rule.why, rule.file, rule.line)
}

/// What an action was decided from, and what has happened since.
pub(crate) struct Known {
    /// The decision that proposed it, with the facts of the latest one about its account.
    pub(crate) decision: Decision,
    pub(crate) whom: Addressee,
    before: Before,
    contacts_7_days: u32,
    earned: Vec<ActionKind>,
}

/// Why an action cannot be asked about again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnownError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableText),
}

impl Known {
    /// Reads what an action was decided from. Without it nothing can be judged, and what cannot be judged is refused.
    pub(crate) async fn of(
        store: &Store,
        row: &ActionRow,
        policies: &Policies,
        now: Timestamp,
    ) -> Result<Known, KnownError> {
        let missing = || StoreError::NotFound {
            what: "decision",
            name: row.decision.as_str().to_owned(),
        };
        let stored = store.decision(&row.decision).await?.ok_or_else(missing)?;
        let mut decision: Decision = read("decision", &stored.output.text()?)?;
        let inputs: Inputs = read("inputs", &stored.inputs.text()?)?;
        // What is known of the account by now decides, not what was known when the action was proposed.
        let latest = store.latest_decisions(std::slice::from_ref(&row.account)).await?;
        if let Some(latest) = latest.get(&row.account).filter(|latest| latest.id != stored.id) {
            let latest: Decision = read("decision", &latest.output.text()?)?;
            decision.features = latest.features;
        }
        let promoted = promoted(store, policies).await?;
        let prior = store.prior_actions(std::slice::from_ref(&row.account)).await?;
        let prior = prior.get(&row.account).map(Vec::as_slice).unwrap_or_default();
        Ok(Known {
            // What is promoted now decides, not what was when the action was proposed.
            earned: kinds_of(&promoted, &decision.features, policies.gate.vocabulary()),
            decision,
            whom: Addressee::of(&inputs.snapshot),
            before: Before::of(&inputs.snapshot),
            contacts_7_days: contacts(
                prior.iter().filter(|p| p.action != row.id),
                now.day(),
                policies.gate.vocabulary(),
            ),
        })
    }

    /// The question about the action as it stands, as of when it would be sent if it were permitted now.
    pub(crate) fn asked_now<'a>(
        &'a self,
        row: &'a ActionRow,
        effects: &'a [Effect],
        policies: &Policies,
        last_editor: Option<&'a str>,
        now: Timestamp,
    ) -> Request<'a> {
        let local = sending(policies, row.kind, now, &self.whom).and_then(|sending| sending.local);
        self.request(row, effects, policies, last_editor, (now, local))
    }

    /// The question about the action as it stands, with the customer's clock when it would reach them.
    pub(crate) fn request<'a>(
        &'a self,
        row: &'a ActionRow,
        effects: &'a [Effect],
        policies: &Policies,
        last_editor: Option<&'a str>,
        (now, local): (Timestamp, Option<LocalTime>),
    ) -> Request<'a> {
        let playbook = policies.playbooks.get(row.playbook.as_str());
        Request {
            account: &row.account,
            kind: row.kind,
            writes: effects.iter().map(|e| &e.write).collect(),
            features: &self.decision.features,
            playbook: Some(row.playbook.as_str()),
            local,
            contacts_7_days: self.contacts_7_days,
            contact_role: self.whom.role,
            before: Some(&self.before),
            discount: playbook.and_then(|p| p.economics.discount).map(|d| d.share),
            draft: perennial_core::action::effects_hash(effects),
            now,
            last_editor,
            earned: &self.earned,
        }
    }
}

/// Asks once more before something is sent: whether this is a moment for what a customer sees, whether what nobody approved may
/// still run by itself, and whether an approval still holds, by the policies, the facts and the roles of now.
pub(crate) struct Sender<'a> {
    config: &'a Config,
    store: &'a Store,
    present: Option<Present>,
}

/// What is asked by, read when there is first something to ask and then again and again.
struct Present {
    policies: Policies,
    people: People,
    read_at: Timestamp,
}

/// How old policies and people may be that something is asked by.
const FRESH_US: i64 = 1_000_000;

impl<'a> Sender<'a> {
    pub(crate) fn new(config: &'a Config, store: &'a Store) -> Sender<'a> {
        Sender {
            config,
            store,
            present: None,
        }
    }

    /// What is to happen instead of sending; none: send it.
    pub(crate) async fn instead(&mut self, leased: &LeasedEffect, now: Timestamp) -> Option<EffectResult> {
        let waited = leased.verdict.starts_with("auto after");
        // What was begun is finished: later steps are not asked about. A first step that comes once more was not sent, as a look-up
        // would have found it, and much may have changed since its first attempt.
        let first = leased.all.first().is_some_and(|e| e.id == leased.effect.id);
        let approved = matches!(leased.permit.ground(), Ground::Approval { .. });
        // What the built-in actions are is no question of policies.
        let built_in = ActionKind::BUILT_IN.contains(&leased.kind);
        let may_be_seen = !built_in || Vocabulary::default().is_customer_facing(leased.kind);
        if !(waited || may_be_seen || approved && first) {
            return None;
        }
        let not_now = |why: String, due_at| Some(EffectResult::NotNow { why, due_at });
        let later = minutes_later(now, UNREAD_MINUTES);
        let store = self.store;
        let (policies, people) = match self.present(now).await {
            Ok(present) => (&present.policies, &present.people),
            Err(error) => return not_now(format!("the policies cannot be asked: {error}"), later),
        };
        let timed = waited || policies.gate.vocabulary().is_customer_facing(leased.kind);
        if !(timed || approved && first) {
            return None;
        }
        let (row, known) = match known(store, leased, policies, now).await {
            Ok(known) => known,
            Err(error) => return not_now(format!("the policies cannot be asked: {error}"), later),
        };
        let local = policies.gate.table().calendar.local(now, &known.whom);
        match sending(policies, row.kind, now, &known.whom) {
            Some(sending) if sending.at > now => {
                let hours = policies.gate.table().calendar.hours.as_ref();
                let hours = hours.map_or_else(String::new, |h| {
                    format!(" ({} at {}:{})", h.text(), policies.gate.table().file, h.line)
                });
                return not_now(format!("not now: outside contact hours{hours}"), sending.at);
            }
            None => {
                return not_now(
                    "contact hours allow no moment within a year".to_owned(),
                    now.plus_days(1),
                );
            }
            Some(_) => {}
        }
        if !first {
            return None;
        }
        match leased.permit.ground() {
            Ground::Verdict { .. } => {
                let request = known.request(&row, &leased.all, policies, None, (now, local));
                let verdict = policies.gate.verdict(&request, &policies.settings);
                (verdict.level != Level::Auto).then(|| EffectResult::Withdrawn {
                    why: format!(
                        "not sent: when its time had come the policies said `{}` ({})",
                        verdict.word(),
                        verdict.rules.first().map_or_else(String::new, shown)
                    ),
                })
            }
            Ground::Approval {
                by, authority, with, ..
            } => {
                let whose = std::iter::once(authority.as_ref().unwrap_or(by)).chain(with);
                let givers: Vec<Human> = whose
                    .map(|id| giver(id, people.roles(id).unwrap_or_default()))
                    .collect();
                let held = still_approved(&known, &row, &leased.all, policies, &givers, now);
                held.err().map(|why| EffectResult::Withdrawn {
                    why: format!("not sent: the approval of {by} does not hold any more: {why}"),
                })
            }
        }
    }

    /// The policies in force and the people, as of now or a moment ago.
    async fn present(&mut self, now: Timestamp) -> Result<&Present, BundleError> {
        let old = match self.present.take() {
            Some(present) if now.us() - present.read_at.us() <= FRESH_US => return Ok(self.present.insert(present)),
            old => old,
        };
        let hash = hash_in_force(self.config, self.store).await?;
        let policies = match old {
            Some(present) if present.policies.content == hash => present.policies,
            _ => in_force(self.config, self.store).await?.1,
        };
        let people = People::read(self.config, self.store).await?;
        Ok(self.present.insert(Present {
            policies,
            people,
            read_at: now,
        }))
    }
}

/// The action of an effect, and what is known about it.
async fn known(
    store: &Store,
    leased: &LeasedEffect,
    policies: &Policies,
    now: Timestamp,
) -> Result<(ActionRow, Known), KnownError> {
    let row = store.action(leased.effect.action.as_str()).await?;
    let known = Known::of(store, &row, policies, now).await?;
    Ok((row, known))
}

/// Whether everybody who has to say yes has, with the roles they have now, and whether the rules still accept it; if not, why.
fn still_approved(
    known: &Known,
    row: &ActionRow,
    effects: &[Effect],
    policies: &Policies,
    givers: &[Human],
    now: Timestamp,
) -> Result<(), String> {
    let item = item_for_people(row, policies, Vec::new()).map_err(|error| error.to_string())?;
    let roles: Vec<Vec<OwnerRole>> = givers.iter().map(|by| by.roles.iter().copied().collect()).collect();
    let roles: Vec<&[OwnerRole]> = roles.iter().map(Vec::as_slice).collect();
    if let Some(role) = unmet(&item.needs, &roles).first() {
        return Err(format!("nobody with the role {role} has approved it as of now"));
    }
    holds(known, row, effects, policies, givers, now).map_err(|error| error.to_string())
}

/// What the limits need to know of a stored action.
pub(crate) fn asked<'a>(row: &'a ActionRow, effects: &'a [Effect], whom: &'a Addressee) -> Asked<'a> {
    Asked {
        account: &row.account,
        kind: row.kind,
        playbook: &row.playbook,
        tier: row.tier,
        effects,
        whom,
    }
}

/// Whether limits of an action of this kind need to know whom it addresses.
pub(crate) fn needs_addressee(policies: &Policies, kind: ActionKind) -> bool {
    policies.gate.vocabulary().is_customer_facing(kind)
}
