//! Many effects looked up in few requests.

use std::collections::BTreeMap;

use perennial_core::action::{Done, Effect, Receipt};
use perennial_core::time::Timestamp;

use super::gather::Found;
use super::many::names;
use super::map::{self, EFFECT_KEY, Place, Plan};
use super::{HubSpot, key_of};
use crate::fields::{self, Wanted};
use crate::many::{Fuse, Slots, lane, put_unless_refused};
use crate::{LookUp, SendError};

/// The place of an effect in the batch, where its record is found, and what is wanted of it.
type Asked = (usize, Place, Vec<Wanted>);

impl HubSpot {
    pub(super) async fn find_many<'a>(
        &'a self,
        effects: Vec<&'a Effect>,
        at: Timestamp,
    ) -> Vec<Result<LookUp, SendError>> {
        let mut slots = Slots::new(effects.len());
        let lane = lane(effects.iter().copied());
        let mut changes: BTreeMap<&'static str, Vec<Asked>> = BTreeMap::new();
        let mut makings: BTreeMap<&'static str, Vec<Asked>> = BTreeMap::new();
        for (slot, effect) in effects.iter().enumerate() {
            match map::plan(effect, &self.writes, at) {
                Err(error) => slots.put(slot, Err(error)),
                Ok(Plan::Change { object, place, wanted }) => {
                    changes.entry(object).or_default().push((slot, place, wanted));
                }
                Ok(Plan::Keyed { object, wanted }) => {
                    makings.entry(object).or_default().push((slot, key_of(effect), wanted));
                }
                Ok(Plan::Role(_)) => {}
            }
        }
        for (object, asked) in &changes {
            let names = names(asked.iter().flat_map(|(.., wanted)| wanted));
            let places: Vec<&Place> = asked.iter().map(|(_, place, _)| place).collect();
            let found = self.read_many(object, &places, &names, lane).await;
            for ((slot, _, wanted), found) in asked.iter().zip(found) {
                match found {
                    Found::One(record) if fields::differing(wanted, &record.properties).is_empty() => {
                        let receipt = self
                            .receipt(Done::AlreadyDone, object, &record.id, &record.id, at)
                            .await;
                        let after = fields::after(wanted);
                        slots.put(*slot, Ok(LookUp::Done(Receipt { after, ..receipt })));
                    }
                    Found::One(_) | Found::Absent => slots.put(*slot, Ok(LookUp::Absent)),
                    Found::Unsaid => {}
                    Found::Failed(error) => put_unless_refused(&mut slots, *slot, &error),
                }
            }
        }
        for (object, asked) in &makings {
            let of_slot = |slot: usize| effects.get(slot).copied();
            let companies = self
                .companies_of(asked.iter().filter_map(|(slot, ..)| of_slot(*slot)), lane)
                .await;
            let places: Vec<&Place> = asked.iter().map(|(_, place, _)| place).collect();
            let found = self
                .read_many(object, &places, &["hs_object_id", EFFECT_KEY], lane)
                .await;
            let mut there = Vec::new();
            for (((slot, _, wanted), found), company) in asked.iter().zip(found).zip(companies) {
                match (found, company) {
                    (Found::Absent, _) => slots.put(*slot, Ok(LookUp::Absent)),
                    (Found::One(record), Ok(Some(company))) => there.push((*slot, wanted, record.id, company)),
                    (Found::Failed(error), _) => put_unless_refused(&mut slots, *slot, &error),
                    (_, Err(error)) => put_unless_refused(&mut slots, *slot, &error),
                    (Found::Unsaid, _) | (Found::One(_), Ok(None)) => {}
                }
            }
            if there.is_empty() {
                continue;
            }
            let records: Vec<&str> = there.iter().map(|(.., record, _)| record.as_str()).collect();
            let on = self.associations(object, &records, lane).await;
            for (slot, wanted, record, company) in there {
                match &on {
                    Err(error) => put_unless_refused(&mut slots, slot, error),
                    Ok(on) if on.contains(&(record.clone(), company.clone())) => {
                        let receipt = self.receipt(Done::AlreadyDone, object, &record, &company, at).await;
                        let after = fields::after(wanted);
                        slots.put(slot, Ok(LookUp::Done(Receipt { after, ..receipt })));
                    }
                    Ok(_) => slots.put(slot, Ok(LookUp::Absent)),
                }
            }
        }
        let mut fuse = Fuse::default();
        for slot in slots.open() {
            let Some(effect) = effects.get(slot) else { continue };
            let answer = match fuse.refusal() {
                Some(refusal) => Err(refusal),
                None => self.find(effect, at).await,
            };
            fuse.hear(&answer);
            slots.put(slot, answer);
        }
        slots.close()
    }
}
