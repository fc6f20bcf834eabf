//! Each person's day: what of the proposed work fits, by core's exact plan, and the release of what runs by itself.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::ActionKind;
use perennial_core::decide::{Decision, Inputs, Proposal};
use perennial_core::explore::{
    DayOption, DayTerms, Forbidden, LoggedChoice, LoggedOption, OptionChance, account_chances, explored_day, forbids,
    resting,
};
use perennial_core::ids::{AccountId, ActionId, DecisionId, OwnerId, PlaybookId};
use perennial_core::number::Micro;
use perennial_core::policy::Policies;
use perennial_core::policy::gate::Addressee;
use perennial_core::policy::gate::Vocabulary;
use perennial_core::rank::{DayItem, slot_minutes};
use perennial_core::replay::read;
use perennial_core::signal::Tier;
use perennial_store::{DecisionCommit, LedgerDraft, WaitingItem};
use serde::Serialize;

use super::{Cycle, RunError, draft_rows, intent, is_deferrable, new_action, permitting_of};
use crate::limits::needs_addressee;
use crate::plays::Moves;

/// Something that would take a person's time.
#[derive(Clone)]
pub(super) struct Deferred {
    /// What it needs and brings.
    pub(super) item: DayItem,
    /// Whose time.
    pub(super) owner: Option<OwnerId>,
    /// Decision that proposed it.
    pub(super) decision: DecisionId,
    /// It runs by itself if it fits, and is not stored before that is known.
    pub(super) waits_for_plan: bool,
    /// Why chance may have no say in it.
    forbidden: Option<Forbidden>,
    /// What of it is kept in the log of choices.
    logged: Facts,
}

/// What the log of choices says of an option beside its chance.
#[derive(Clone)]
struct Facts {
    playbook: PlaybookId,
    kind: ActionKind,
    subject: String,
    tier: Option<Tier>,
    risk_micro: Option<Micro>,
}

impl Deferred {
    /// A proposal that takes time; `None` where it takes none or may not happen.
    pub(super) fn of(
        decision: &Decision,
        proposal: &Proposal,
        id: DecisionId,
        waits_for_plan: bool,
        named: &Vocabulary,
    ) -> Option<Deferred> {
        let item = proposal.day_item(&decision.account)?;
        // Whether a person approves is no draw of ours.
        let by_person = (!waits_for_plan).then_some(Forbidden::ByPerson);
        Some(Deferred {
            item,
            owner: proposal.owner.clone(),
            decision: id,
            waits_for_plan,
            forbidden: by_person.or_else(|| forbids(&decision.features, named.is_commercial(proposal.kind))),
            logged: Facts {
                playbook: proposal.playbook.clone(),
                kind: proposal.kind,
                subject: proposal.subject.clone(),
                tier: decision.features.text("tier").and_then(Tier::from_word),
                risk_micro: decision.scores.risk.probability_micro,
            },
        })
    }

    fn option(&self) -> DayOption {
        DayOption {
            item: self.item.clone(),
            forbidden: self.forbidden,
        }
    }
}

/// The chances of an account's draw among what would run by itself, by action; 1 where no draw is needed.
pub(crate) fn draw_chances(decision: &Decision, policies: &Policies) -> BTreeMap<ActionId, f64> {
    let (exploration, named) = (policies.scoring.exploration.as_ref(), policies.gate.vocabulary());
    let proposals = decision.proposals.iter();
    let options: Vec<(DayOption, bool)> = proposals
        .filter_map(|p| {
            let waits_for_plan = is_deferrable(p);
            let id = DecisionId::new("");
            let deferred = Deferred::of(decision, p, id, waits_for_plan, named)?;
            Some((deferred.option(), waits_for_plan))
        })
        .collect();
    let drawn = exploration.map_or_else(BTreeMap::new, |e| account_chances(options.iter().map(|(o, _)| o), e));
    let by_themselves = options.iter().filter(|(_, waits_for_plan)| *waits_for_plan);
    by_themselves
        .map(|(option, _)| {
            let id = &option.item.action;
            (id.clone(), drawn.get(id).copied().unwrap_or(1.0))
        })
        .collect()
}

/// The day of one person.
#[derive(Debug, Clone, Serialize)]
pub struct DaySummary {
    /// Person; `None` for accounts that nobody owns.
    pub owner: Option<OwnerId>,
    /// Name, where a record gives it.
    pub name: Option<String>,
    /// Minutes there are.
    pub capacity_minutes: i64,
    /// Minutes planned.
    pub planned_minutes: i64,
    /// Actions planned.
    pub planned: usize,
    /// Actions that did not fit.
    pub left_over: usize,
}

impl Cycle<'_> {
    /// Plans every person's day, or that of some people, over today's proposals and what still waits from earlier days,
    /// then commits what runs by itself and fits. What of the day is under way keeps its place and its minutes.
    pub(super) async fn plan(
        &mut self,
        today: Vec<Deferred>,
        whose: Option<&BTreeSet<Option<OwnerId>>>,
    ) -> Result<(), RunError> {
        let store = self.engine.store;
        let waiting = match whose {
            None => store.waiting().await?,
            Some(people) => store.waiting_of(people).await?,
        };
        let resting = self.resting(&today).await?;
        let mut by_owner: BTreeMap<Option<OwnerId>, Vec<DayOption>> = BTreeMap::new();
        for person in whose.into_iter().flatten() {
            by_owner.entry(person.clone()).or_default();
        }
        let known: BTreeSet<&ActionId> = today.iter().map(|d| &d.item.action).collect();
        for waiting in waiting.into_iter().filter(|w| !known.contains(&w.action)) {
            let option = DayOption {
                item: waiting.day_item(self.policies.settings.base),
                forbidden: Some(Forbidden::ByPerson),
            };
            by_owner.entry(waiting.owner).or_default().push(option);
        }
        for d in today.iter().filter(|d| !resting.contains(&d.item.action)) {
            by_owner.entry(d.owner.clone()).or_default().push(d.option());
        }
        if whose.is_none() {
            // Also people for whom there is nothing new: what they have begun stays in their day.
            for owner in self.portfolio.owners.keys() {
                by_owner.entry(Some(OwnerId::new(owner))).or_default();
            }
        }
        let people: BTreeSet<Option<OwnerId>> = by_owner.keys().cloned().collect();
        let mut under_way: BTreeMap<Option<OwnerId>, Vec<WaitingItem>> = BTreeMap::new();
        for item in store.under_way(&people, self.options.as_of.day()).await? {
            under_way.entry(item.owner.clone()).or_default().push(item);
        }
        let mut planned: BTreeMap<ActionId, (String, u32)> = BTreeMap::new();
        let mut chances: BTreeMap<ActionId, OptionChance> = BTreeMap::new();
        for (owner, items) in by_owner {
            let begun = under_way.remove(&owner).unwrap_or_default();
            if items.is_empty() && begun.is_empty() {
                continue;
            }
            let (summary, actions, of_day) = self.day(owner.clone(), &items, &begun);
            self.days.push(summary);
            chances.extend(of_day);
            let name = owner.as_ref().map_or_else(String::new, |o| o.as_str().to_owned());
            for (place, action) in actions.into_iter().enumerate() {
                planned.insert(action, (name.clone(), u32::try_from(place).unwrap_or(u32::MAX)));
            }
        }
        if !self.options.dry_run {
            // INVARIANT (logged before it runs): nothing of a choice is released before the choice is in the log.
            let choices = self.choices(&today, &planned, &chances);
            store.log_choices(&self.run, &choices).await?;
        }
        self.release(today, &planned).await?;
        if !self.options.dry_run {
            let rows: Vec<(String, ActionId, u32)> = planned
                .into_iter()
                .map(|(action, (owner, place))| (owner, action, place))
                .collect();
            let whose = whose.map(|people| {
                let name = |person: &Option<OwnerId>| person.as_ref().map_or("", OwnerId::as_str).to_owned();
                people.iter().map(name).collect()
            });
            store
                .set_day_plan(&self.run, self.options.as_of, whose.as_ref(), &rows)
                .await?;
        }
        Ok(())
    }

    /// One person's day: what is under way, then the best of the rest that fits beside it.
    fn day(
        &self,
        owner: Option<OwnerId>,
        items: &[DayOption],
        begun: &[WaitingItem],
    ) -> (DaySummary, Vec<ActionId>, BTreeMap<ActionId, OptionChance>) {
        let slot = self.policies.scoring.capacity.slot_minutes;
        let person = owner.as_ref().and_then(|o| self.portfolio.owners.get(o.as_str()));
        let capacity = person
            .and_then(|p| p.capacity_minutes)
            .unwrap_or(self.policies.scoring.capacity.default_minutes);
        let begun_minutes: i64 = begun.iter().map(|b| b.minutes).sum();
        let taken: i64 = begun.iter().map(|b| slot_minutes(b.minutes, slot)).sum();
        let accounts: BTreeSet<&AccountId> = begun.iter().map(|b| &b.account).collect();
        let rest: Vec<DayOption> = items
            .iter()
            .filter(|option| !accounts.contains(&option.item.account))
            .cloned()
            .collect();
        let terms = DayTerms {
            owner: owner.clone(),
            capacity_minutes: capacity - taken,
            slot_minutes: slot,
            day: self.options.as_of.day(),
            content: self.policies.content,
            exploration: self.policies.scoring.exploration.as_ref(),
        };
        let explored = explored_day(&terms, &rest);
        let day = explored.day;
        let mut actions: Vec<ActionId> = begun.iter().map(|b| b.action.clone()).collect();
        actions.extend(day.actions);
        let begun_items = items
            .iter()
            .filter(|i| begun.iter().any(|b| b.action == i.item.action))
            .count();
        let summary = DaySummary {
            name: person.and_then(|p| p.name.clone()),
            capacity_minutes: capacity,
            planned_minutes: begun_minutes + day.planned_minutes,
            planned: actions.len(),
            left_over: (items.len() + begun.len()).saturating_sub(begun_items + actions.len()),
            owner,
        };
        (summary, actions, explored.chances)
    }

    /// Of today's proposals, those that were lately not drawn.
    async fn resting(&self, today: &[Deferred]) -> Result<BTreeSet<ActionId>, RunError> {
        let Some(exploration) = &self.policies.scoring.exploration else {
            return Ok(BTreeSet::new());
        };
        let day = self.options.as_of.day();
        let accounts: BTreeSet<&AccountId> = today.iter().map(|d| &d.item.account).collect();
        let lately = self
            .engine
            .store
            .choices_of(&accounts, day.plus(-exploration.rest_days), day)
            .await?;
        let resting = resting(&lately);
        let rests = |d: &&Deferred| {
            let (account, facts) = (d.item.account.clone(), &d.logged);
            resting.contains(&(account, facts.playbook.clone(), facts.subject.clone()))
        };
        Ok(today
            .iter()
            .filter(rests)
            .filter(|d| d.waits_for_plan)
            .map(|d| d.item.action.clone())
            .collect())
    }

    /// What the log keeps of a plan: by account, what could have run by itself.
    fn choices(
        &self,
        today: &[Deferred],
        planned: &BTreeMap<ActionId, (String, u32)>,
        chances: &BTreeMap<ActionId, OptionChance>,
    ) -> Vec<LoggedChoice> {
        let mut found: BTreeMap<&AccountId, LoggedChoice> = BTreeMap::new();
        for d in today.iter().filter(|d| d.waits_for_plan) {
            // What is no part of a plan has no chance: it rests, or something else of its account is under way.
            let Some(chance) = chances.get(&d.item.action) else {
                continue;
            };
            let choice = found.entry(&d.item.account).or_insert_with(|| LoggedChoice {
                account: d.item.account.clone(),
                day: self.options.as_of.day(),
                owner: d.owner.clone(),
                as_of: self.options.as_of,
                content: self.policies.content,
                seed: self.policies.scoring.exploration.as_ref().map(|e| e.seed),
                tier: d.logged.tier,
                risk_micro: d.logged.risk_micro,
                options: Vec::new(),
            });
            choice.options.push(LoggedOption {
                action: d.item.action.clone(),
                playbook: d.logged.playbook.clone(),
                kind: d.logged.kind,
                subject: d.logged.subject.clone(),
                propensity_micro: Micro::from_f64(chance.executed),
                executed: planned.contains_key(&d.item.action),
                drawn: chance.drawn,
            });
        }
        let mut choices: Vec<LoggedChoice> = found.into_values().filter(LoggedChoice::tells).collect();
        for choice in &mut choices {
            choice.options.sort_by(|a, b| a.action.cmp(&b.action));
        }
        choices
    }

    /// Commits the actions that run by themselves and have a place in a day.
    async fn release(
        &mut self,
        today: Vec<Deferred>,
        planned: &BTreeMap<ActionId, (String, u32)>,
    ) -> Result<(), RunError> {
        let (chosen, left): (Vec<Deferred>, Vec<Deferred>) = today
            .into_iter()
            .filter(|d| d.waits_for_plan)
            .partition(|d| planned.contains_key(&d.item.action));
        self.actions.auto += chosen.len() as u64;
        self.actions.deferred += left.len() as u64;
        if self.options.dry_run {
            return Ok(());
        }
        let size = self.engine.config.limits.accounts_per_batch.max(1) as usize;
        for batch in chosen.chunks(size) {
            let mut commits: Vec<DecisionCommit> = Vec::new();
            let mut rules = BTreeMap::new();
            let mut drafts = Vec::new();
            let mut read_again = Vec::with_capacity(batch.len());
            for deferred in batch {
                let Some(row) = self.engine.store.decision(&deferred.decision).await? else {
                    continue;
                };
                let decision: Decision = read("decision", &row.output.text()?)?;
                read_again.push((deferred, row, decision));
            }
            let decisions = read_again.iter().map(|(.., decision)| decision);
            let plays = Moves::load(self.engine.store, &self.policies, decisions).await?;
            for (deferred, row, decision) in read_again {
                let Some(proposal) = decision.proposals.iter().find(|p| p.action == deferred.item.action) else {
                    continue;
                };
                let whom = if needs_addressee(&self.policies, proposal.kind) {
                    let inputs: Inputs = read("inputs", &row.inputs.text()?)?;
                    Addressee::of(&inputs.snapshot)
                } else {
                    Addressee::default()
                };
                let permitting = permitting_of(&self.policies, &decision, proposal, &whom, self.started);
                let action = new_action(&decision, row.inputs_hash, proposal, &permitting, self.started);
                let Some(action) = plays.with_play(&decision, proposal, action, self.started) else {
                    continue;
                };
                rules.insert(proposal.action.clone(), permitting.rules);
                let ledger: Vec<LedgerDraft> = action.outbox.iter().map(intent).collect();
                drafts.extend(draft_rows(&decision, proposal));
                commits.push(DecisionCommit {
                    decision: row,
                    actions: vec![action],
                    supersede: Vec::new(),
                    ledger,
                    plays: Vec::new(),
                });
            }
            let now = self.now();
            let report = self.engine.store.commit_decisions(&self.run, &commits, now).await?;
            self.deny(&commits, &report.no_room, &rules, now).await?;
            if !drafts.is_empty() {
                self.engine.store.put_drafts(&drafts).await?;
            }
        }
        Ok(())
    }
}
