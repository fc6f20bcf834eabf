//! Whether a change of the rules allows anything that was not allowed.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy_symcc::CompiledPolicySet;
use perennial_core::action::ActionKind;
use perennial_core::policy::gate::{Budgeted, Earning, Gate, Table};
use perennial_core::signal::Tier;
use perennial_core::time::Day;

use crate::Prover;
use crate::solver::{Unproved, Worker};

/// Why a change of the rules is not proved to be narrowing.
#[derive(Debug, thiserror::Error)]
pub enum NotNarrower {
    /// Some request of this kind is allowed now and was not before.
    #[error("some request of the kind {kind} is allowed that was not")]
    Wider {
        /// Kind of request.
        kind: String,
    },
    /// Tiers, roles, actions or their groups differ: the two speak of different things.
    #[error("tiers, roles or actions are changed, so that the rules before and after speak of different things")]
    Named,
    /// A limit that is counted or that has to do with time differs: these are kept beside the rules.
    #[error(
        "delays, what is needed to earn autonomy, budgets, contact hours, holidays or a limit of contacts are changed, and these are no matter of proof"
    )]
    Counted,
    /// It could not be found out.
    #[error("it is not proved that requests of the kind {kind} are allowed only where they were: {why}")]
    Unproved {
        /// Kind of request.
        kind: String,
        /// Why.
        #[source]
        why: Unproved,
    },
}

impl Prover {
    /// Proves, for every kind of request, that whatever the new rules allow the former ones allowed too. The first thing that
    /// stands against it is the error. What the table keeps beside the rules must be the same.
    ///
    /// # Errors
    /// [`NotNarrower`].
    pub fn narrower(&self, former: &Gate, new: &Gate) -> Result<(), NotNarrower> {
        if former.vocabulary() != new.vocabulary() {
            return Err(NotNarrower::Named);
        }
        if Counted::of(former.table()) != Counted::of(new.table()) {
            return Err(NotNarrower::Counted);
        }
        // A thread of its own: the caller may be in the middle of other work that must not wait for itself.
        let asked = std::thread::scope(|scope| scope.spawn(|| self.ask_narrower(former, new)).join());
        asked.unwrap_or_else(|_| {
            Err(NotNarrower::Unproved {
                kind: "any".to_owned(),
                why: Unproved::Stopped {
                    said: "the thread that asked it ended".to_owned(),
                },
            })
        })
    }

    fn ask_narrower(&self, former: &Gate, new: &Gate) -> Result<(), NotNarrower> {
        let mut worker = Worker::new(&self.program, self.timeout_ms);
        for env in new.schema().request_envs() {
            let kind = env.action().id().unescaped().to_owned();
            // Both in the words of the new schema, which is the former one.
            let compiled = |gate: &Gate| {
                CompiledPolicySet::compile(gate.policies(), &env, new.schema()).map_err(|error| NotNarrower::Unproved {
                    kind: kind.clone(),
                    why: Unproved::Inexpressible {
                        said: error.to_string(),
                    },
                })
            };
            let (was, now) = (compiled(former)?, compiled(new)?);
            match worker.ask(async |s| s.check_implies_opt(&now, &was).await) {
                Ok(true) => {}
                Ok(false) => return Err(NotNarrower::Wider { kind }),
                Err(why) => return Err(NotNarrower::Unproved { kind, why }),
            }
        }
        Ok(())
    }
}

/// What the table says beside the rules.
#[derive(PartialEq)]
struct Counted<'t> {
    delays: &'t BTreeMap<(ActionKind, Tier), i64>,
    earned: BTreeMap<(ActionKind, Tier), Earning>,
    contacts: u32,
    per_person: Option<u32>,
    hours: Option<(i64, i64)>,
    zone: Option<&'t str>,
    holidays: &'t BTreeMap<String, BTreeSet<Day>>,
    budgets: BTreeMap<Budgeted, u32>,
}

impl Counted<'_> {
    fn of(table: &Table) -> Counted<'_> {
        let calendar = &table.calendar;
        Counted {
            delays: &table.delays,
            // Where it stands in the file makes no difference.
            earned: table
                .earned
                .iter()
                .map(|(at, how)| (*at, Earning { line: 0, ..how.clone() }))
                .collect(),
            contacts: table.contacts_7_days.value,
            per_person: table.person_7_days.as_ref().map(|limit| limit.value),
            hours: calendar.hours.as_ref().map(|h| (h.from_minute, h.to_minute)),
            zone: calendar.default_zone.as_deref(),
            holidays: &calendar.holidays,
            budgets: table.budgets.iter().map(|(by, limit)| (*by, limit.value)).collect(),
        }
    }
}
