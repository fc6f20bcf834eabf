//! Each person's day: what of the proposed work fits, by core's exact plan, and the release of what runs by itself.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::decide::Decision;
use perennial_core::ids::{AccountId, ActionId, DecisionId, OwnerId};
use perennial_core::rank::{DayItem, plan_day, slot_minutes};
use perennial_core::replay::read;
use perennial_store::{DecisionCommit, LedgerDraft, WaitingItem};
use serde::Serialize;

use super::{Cycle, RunError, draft_rows, intent, new_action};

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
        let mut by_owner: BTreeMap<Option<OwnerId>, Vec<DayItem>> = BTreeMap::new();
        for person in whose.into_iter().flatten() {
            by_owner.entry(person.clone()).or_default();
        }
        let known: BTreeSet<&ActionId> = today.iter().map(|d| &d.item.action).collect();
        for waiting in waiting.into_iter().filter(|w| !known.contains(&w.action)) {
            let item = waiting.day_item(self.policies.settings.base);
            by_owner.entry(waiting.owner).or_default().push(item);
        }
        for d in &today {
            by_owner.entry(d.owner.clone()).or_default().push(d.item.clone());
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
        for (owner, items) in by_owner {
            let begun = under_way.remove(&owner).unwrap_or_default();
            if items.is_empty() && begun.is_empty() {
                continue;
            }
            let (summary, actions) = self.day(owner.clone(), &items, &begun);
            self.days.push(summary);
            let name = owner.as_ref().map_or_else(String::new, |o| o.as_str().to_owned());
            for (place, action) in actions.into_iter().enumerate() {
                planned.insert(action, (name.clone(), u32::try_from(place).unwrap_or(u32::MAX)));
            }
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
    fn day(&self, owner: Option<OwnerId>, items: &[DayItem], begun: &[WaitingItem]) -> (DaySummary, Vec<ActionId>) {
        let slot = self.policies.scoring.capacity.slot_minutes;
        let person = owner.as_ref().and_then(|o| self.portfolio.owners.get(o.as_str()));
        let capacity = person
            .and_then(|p| p.capacity_minutes)
            .unwrap_or(self.policies.scoring.capacity.default_minutes);
        let begun_minutes: i64 = begun.iter().map(|b| b.minutes).sum();
        let taken: i64 = begun.iter().map(|b| slot_minutes(b.minutes, slot)).sum();
        let accounts: BTreeSet<&AccountId> = begun.iter().map(|b| &b.account).collect();
        let rest: Vec<DayItem> = items
            .iter()
            .filter(|item| !accounts.contains(&item.account))
            .cloned()
            .collect();
        let day = plan_day(owner.clone(), capacity - taken, slot, &rest);
        let mut actions: Vec<ActionId> = begun.iter().map(|b| b.action.clone()).collect();
        actions.extend(day.actions);
        let begun_items = items
            .iter()
            .filter(|i| begun.iter().any(|b| b.action == i.action))
            .count();
        let summary = DaySummary {
            name: person.and_then(|p| p.name.clone()),
            capacity_minutes: capacity,
            planned_minutes: begun_minutes + day.planned_minutes,
            planned: actions.len(),
            left_over: (items.len() + begun.len()).saturating_sub(begun_items + actions.len()),
            owner,
        };
        (summary, actions)
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
            let mut drafts = Vec::new();
            for deferred in batch {
                let Some(row) = self.engine.store.decision(&deferred.decision).await? else {
                    continue;
                };
                let decision: Decision = read("decision", &row.output.text()?)?;
                let Some(proposal) = decision.proposals.iter().find(|p| p.action == deferred.item.action) else {
                    continue;
                };
                let action = new_action(&decision, row.inputs_hash, proposal, self.started);
                let ledger: Vec<LedgerDraft> = action.outbox.iter().map(intent).collect();
                drafts.extend(draft_rows(&decision, proposal));
                commits.push(DecisionCommit {
                    decision: row,
                    actions: vec![action],
                    supersede: Vec::new(),
                    ledger,
                });
            }
            self.engine
                .store
                .commit_decisions(&self.run, &commits, self.now())
                .await?;
            if !drafts.is_empty() {
                self.engine.store.put_drafts(&drafts).await?;
            }
        }
        Ok(())
    }
}
