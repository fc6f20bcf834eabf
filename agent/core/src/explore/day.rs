//! The day of a person in which near-ties of an account are drawn.

use std::collections::{BTreeMap, BTreeSet};

use super::{Chances, Choice, Forbidden, chances, executed};
use crate::draw::Stream;
use crate::ids::{AccountId, ActionId, OwnerId};
use crate::policy::Exploration;
use crate::rank::{self, DayItem, plan_items};
use crate::replay::Hash;
use crate::time::Day;

/// Something that would take a person's time, and whether chance may have a say in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayOption {
    /// What it needs and brings.
    pub item: DayItem,
    /// Why it may not be drawn; `None` where it may.
    pub forbidden: Option<Forbidden>,
}

/// Whose day, and what its draws come from.
#[derive(Debug, Clone)]
pub struct DayTerms<'a> {
    /// Person; `None` for accounts that nobody owns.
    pub owner: Option<OwnerId>,
    /// Minutes there are.
    pub capacity_minutes: i64,
    /// Planning slot, minutes.
    pub slot_minutes: i64,
    /// The day.
    pub day: Day,
    /// Hash of the policies and prompts.
    pub content: Hash,
    /// How to explore; `None` where nothing is.
    pub exploration: Option<&'a Exploration>,
}

/// The chance of one option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptionChance {
    /// Chance of a place in the day: after the draws of all accounts, one action an account, and the minutes there are.
    pub executed: f64,
    /// The outcome of its account's draw: it was drawn, or another; `None` where it took part in no draw.
    pub drawn: Option<bool>,
}

/// The plan of a day with the chances it came about by.
#[derive(Debug, Clone, PartialEq)]
pub struct ExploredDay {
    /// The plan.
    pub day: rank::Day,
    /// Of every option, by action.
    pub chances: BTreeMap<ActionId, OptionChance>,
}

/// Plans a day. Where an account has near-ties that may be explored one of them is drawn, the others have no part in the
/// plan, and then the plan is the best there is. An option counts by what the plan maximises: what is lost by waiting.
///
/// The draw of an account comes from the seed, the account, the day and the content alone, so that a plan which is made
/// again on the day, with other accounts beside it, draws the same. The chance of an option is the share of
/// [`super::DRAWS`] repeated plans that have a place for it; where nothing is drawn it is 1 or 0.
#[must_use]
pub fn explored_day(terms: &DayTerms<'_>, options: &[DayOption]) -> ExploredDay {
    let draws = terms.exploration.map_or_else(BTreeMap::new, |e| draws(options, e));
    let day = terms.day.to_string();
    let content = terms.content.to_string();
    let Some(exploration) = terms.exploration.filter(|_| !draws.is_empty()) else {
        let day = plan(terms, options, &BTreeSet::new());
        let planned: BTreeSet<&ActionId> = day.actions.iter().collect();
        let chance = |o: &DayOption| OptionChance {
            executed: f64::from(u8::from(planned.contains(&o.item.action))),
            drawn: None,
        };
        let chances = options.iter().map(|o| (o.item.action.clone(), chance(o))).collect();
        return ExploredDay { day, chances };
    };
    let mut lost = BTreeSet::new();
    for (account, chances) in &draws {
        let stream = &mut Stream::new(exploration.seed, &["explore", account.as_str(), &day, &content]);
        losers(chances, stream, &mut lost);
    }
    let person = terms.owner.as_ref().map_or("", OwnerId::as_str);
    let found = executed(exploration.seed, &["explore day", person, &day, &content], |stream| {
        let mut lost = BTreeSet::new();
        for chances in draws.values() {
            losers(chances, stream, &mut lost);
        }
        plan(terms, options, &lost).actions
    });
    let took_part: BTreeSet<&ActionId> = draws.values().flat_map(|c| c.by_action.keys()).collect();
    let chances = options.iter().map(|o| {
        let id = &o.item.action;
        let chance = OptionChance {
            executed: found.get(id).copied().unwrap_or(0.0),
            drawn: took_part.contains(id).then(|| !lost.contains(id)),
        };
        (id.clone(), chance)
    });
    let chances = chances.collect();
    ExploredDay {
        day: plan(terms, options, &lost),
        chances,
    }
}

/// The chances of the draw of one account's options, by action; empty where nothing is drawn.
#[must_use]
pub fn account_chances<'a>(
    options: impl Iterator<Item = &'a DayOption>,
    terms: &Exploration,
) -> BTreeMap<ActionId, f64> {
    let options: Vec<Choice> = options.filter_map(choice).collect();
    let found = chances(&options, terms).by_action;
    if found.len() > 1 { found } else { BTreeMap::new() }
}

/// What a draw sees of an option; `None` where nothing would be lost by waiting.
fn choice(option: &DayOption) -> Option<Choice> {
    let gain = option.item.gain_minor.filter(|g| *g > 0)?;
    Some(Choice {
        action: option.item.action.clone(),
        value: gain as f64,
        forbidden: option.forbidden,
    })
}

/// The draws of the accounts that have near-ties.
fn draws<'a>(options: &'a [DayOption], terms: &Exploration) -> BTreeMap<&'a AccountId, Chances> {
    let mut by_account: BTreeMap<&AccountId, Vec<Choice>> = BTreeMap::new();
    for option in options {
        if let Some(choice) = choice(option) {
            by_account.entry(&option.item.account).or_default().push(choice);
        }
    }
    let drawn = by_account
        .into_iter()
        .map(|(account, list)| (account, chances(&list, terms)));
    drawn.filter(|(_, chances)| chances.by_action.len() > 1).collect()
}

/// Draws, and adds those that were not drawn.
fn losers<'c>(chances: &'c Chances, stream: &mut Stream, lost: &mut BTreeSet<&'c ActionId>) {
    let drawn = chances.draw(stream);
    lost.extend(chances.by_action.keys().filter(|id| Some(*id) != drawn));
}

fn plan(terms: &DayTerms<'_>, options: &[DayOption], lost: &BTreeSet<&ActionId>) -> rank::Day {
    let items = options.iter().map(|o| &o.item);
    let items: Vec<&DayItem> = items.filter(|i| !lost.contains(&i.action)).collect();
    plan_items(terms.owner.clone(), terms.capacity_minutes, terms.slot_minutes, &items)
}

#[cfg(test)]
mod tests;
