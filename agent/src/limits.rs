//! Limits that hold across actions, and time: when the effects of a permitted action are due, and the places it takes.
//!
//! The gate judges an action by what is known about it; here the same limits become rows that the store counts and takes in
//! the transaction that permits. What is due later is asked about again when it is sent ([`Sender`]).

use perennial_core::action::{ActionKind, Effect, Ground};
use perennial_core::decide::{Decision, Inputs, contacts, sending};
use perennial_core::policy::gate::limits::{Asked, across};
use perennial_core::policy::gate::{Addressee, Before, LocalTime, Vocabulary};
use perennial_core::policy::{Level, Policies, Request, RuleRef};
use perennial_core::replay::{UnreadableText, read};
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, EffectResult, Hold, LeasedEffect, Store, StoreError};

use crate::bundles::in_force;
use crate::config::Config;

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
    pub(crate) decision: Decision,
    pub(crate) whom: Addressee,
    before: Before,
    contacts_7_days: u32,
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
        let decision: Decision = read("decision", &stored.output.text()?)?;
        let inputs: Inputs = read("inputs", &stored.inputs.text()?)?;
        let prior = store.prior_actions(std::slice::from_ref(&row.account)).await?;
        let prior = prior.get(&row.account).map(Vec::as_slice).unwrap_or_default();
        Ok(Known {
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
        }
    }
}

/// Asks once more before something is sent that a customer sees or that was to wait: whether this is a moment for it, and
/// whether what nobody approved may still run by itself. It reads the policies when there is first something to ask.
pub(crate) struct Sender<'a> {
    config: &'a Config,
    store: &'a Store,
    policies: Option<Policies>,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(config: &'a Config, store: &'a Store) -> Sender<'a> {
        Sender {
            config,
            store,
            policies: None,
        }
    }

    /// What is to happen instead of sending; none: send it.
    pub(crate) async fn instead(&mut self, leased: &LeasedEffect, now: Timestamp) -> Option<EffectResult> {
        let waited = leased.verdict.starts_with("auto after");
        // What the built-in actions are is no question of policies.
        let built_in = ActionKind::BUILT_IN.contains(&leased.kind);
        if built_in && !waited && !Vocabulary::default().is_customer_facing(leased.kind) {
            return None;
        }
        let not_now = |why: String, due_at| Some(EffectResult::NotNow { why, due_at });
        let later = minutes_later(now, UNREAD_MINUTES);
        if self.policies.is_none() {
            match in_force(self.config, self.store).await {
                Ok((_, policies)) => self.policies = Some(policies),
                Err(error) => return not_now(format!("the policies cannot be asked: {error}"), later),
            }
        }
        let policies = self.policies.as_ref()?;
        if !waited && !policies.gate.vocabulary().is_customer_facing(leased.kind) {
            return None;
        }
        let known = match self.known(leased, policies, now).await {
            Ok(known) => known,
            Err(error) => return not_now(format!("the policies cannot be asked: {error}"), later),
        };
        let (row, known) = known;
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
        // What was begun is finished; what a person approved was asked about when they did.
        let first = leased.all.first().is_some_and(|e| e.id == leased.effect.id) && leased.attempts <= 1;
        if !first || !matches!(leased.permit.ground(), Ground::Verdict { .. }) {
            return None;
        }
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

    async fn known(
        &self,
        leased: &LeasedEffect,
        policies: &Policies,
        now: Timestamp,
    ) -> Result<(ActionRow, Known), KnownError> {
        let row = self.store.action(leased.effect.action.as_str()).await?;
        let known = Known::of(self.store, &row, policies, now).await?;
        Ok((row, known))
    }
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
