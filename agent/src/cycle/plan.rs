//! Each person's day: what of the proposed work fits, by core's exact plan, and the release of what runs by itself.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::decide::Decision;
use perennial_core::ids::{ActionId, DecisionId, OwnerId};
use perennial_core::rank::{DayItem, plan_day};
use perennial_core::replay::read;
use perennial_store::{DecisionCommit, LedgerDraft};
use serde::Serialize;

use super::{Cycle, RunError, draft_rows, intent, new_action};

/// Something that would take a person's time.
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
    /// Plans every person's day over today's proposals and what still waits from earlier days, then commits what runs
    /// by itself and fits.
    pub(super) async fn plan(&mut self, today: Vec<Deferred>) -> Result<(), RunError> {
        let mut by_owner: BTreeMap<Option<OwnerId>, Vec<DayItem>> = BTreeMap::new();
        let known: BTreeSet<&ActionId> = today.iter().map(|d| &d.item.action).collect();
        for waiting in self.engine.store.waiting().await? {
            if !known.contains(&waiting.action) {
                let item = waiting.day_item(self.policies.settings.base);
                by_owner.entry(waiting.owner).or_default().push(item);
            }
        }
        for d in &today {
            by_owner.entry(d.owner.clone()).or_default().push(d.item.clone());
        }
        let slot = self.policies.scoring.capacity.slot_minutes;
        let mut planned: BTreeMap<ActionId, (String, u32)> = BTreeMap::new();
        for (owner, items) in by_owner {
            let person = owner.as_ref().and_then(|o| self.portfolio.owners.get(o.as_str()));
            let capacity = person
                .and_then(|p| p.capacity_minutes)
                .unwrap_or(self.policies.scoring.capacity.default_minutes);
            let day = plan_day(owner.clone(), capacity, slot, &items);
            self.days.push(DaySummary {
                name: person.and_then(|p| p.name.clone()),
                capacity_minutes: capacity,
                planned_minutes: day.planned_minutes,
                planned: day.actions.len(),
                left_over: items.len() - day.actions.len(),
                owner: owner.clone(),
            });
            let name = owner.as_ref().map_or_else(String::new, |o| o.as_str().to_owned());
            for (place, action) in day.actions.into_iter().enumerate() {
                planned.insert(action, (name.clone(), u32::try_from(place).unwrap_or(u32::MAX)));
            }
        }
        self.release(today, &planned).await?;
        if !self.options.dry_run {
            let rows: Vec<(String, ActionId, u32)> = planned
                .into_iter()
                .map(|(action, (owner, place))| (owner, action, place))
                .collect();
            self.engine
                .store
                .set_day_plan(&self.run, self.options.as_of, &rows)
                .await?;
        }
        Ok(())
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
                .commit_decisions(&self.run, &commits, self.engine.config.clock.now())
                .await?;
            if !drafts.is_empty() {
                self.engine.store.put_drafts(&drafts).await?;
            }
        }
        Ok(())
    }
}
