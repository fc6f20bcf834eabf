//! Which fields a mapping can fill, for each kind of record: the one list that the check of mappings, the reading of
//! rows and the guide go by. It follows the types of `perennial_core::signal`.

use std::collections::BTreeMap;

use perennial_core::ids::{AccountId, OwnerId};
use perennial_core::money::Money;
use perennial_core::number::Micro;
use perennial_core::signal::{
    Account, Arm, Assignment, ChurnEvent, Contact, ContactRole, Contract, CrmRef, Fact, FactKind, Interaction,
    InteractionKind, Invoice, Movement, MovementKind, Opportunity, OpportunityKind, OpportunityState, Owner, OwnerRole,
    Product, ScoreName, ScoreOverride, Subscription, Survey, SurveyKind, Ticket, Tier, Treatment,
};
use perennial_core::time::{Day, Timestamp};

use super::value::{Held, Shape};

/// One field of a kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub name: &'static str,
    pub shape: Shape,
}

/// Hands out the values of a row in the order of the catalogue.
pub(super) trait Source {
    /// Why a row is refused.
    type Error;
    /// The next value, of field number `index`.
    fn take<T: Held>(&mut self, index: usize) -> Result<Option<T>, Self::Error>;
}

macro_rules! catalogue {
    ($($kind:ident { $($field:ident : $type:ty),+ $(,)? })+) => {
        /// The fields of a kind. Usage has none: it has a table of its own.
        pub(super) fn fields(kind: FactKind) -> &'static [Field] {
            match kind {
                $(FactKind::$kind => {
                    const FIELDS: &[Field] =
                        &[$(Field { name: stringify!($field), shape: <$type as Held>::SHAPE }),+];
                    FIELDS
                })+
                FactKind::Usage => &[],
            }
        }

        /// The fact of a row; nothing for usage, which has no fields.
        pub(super) fn build<S: Source>(kind: FactKind, source: &mut S) -> Result<Option<Fact>, S::Error> {
            match kind {
                $(FactKind::$kind => {
                    // A struct literal evaluates its fields in the order written, which is that of the catalogue.
                    let mut index = 0..;
                    Ok(Some(Fact::$kind($kind {
                        $($field: source.take::<$type>(index.next().unwrap_or_default())?),+
                    })))
                })+
                FactKind::Usage => Ok(None),
            }
        }
    };
}

catalogue! {
    Account {
        name: String, parent: AccountId, tier: Tier, segment: String, industry: String, region: String, since: Day,
        owner: OwnerId, seats: i64, crm: CrmRef, do_not_contact: bool, legal_hold: bool, churned: bool, trial: bool,
        attributes: BTreeMap<String, String>,
    }
    Owner { name: String, email: String, role: OwnerRole, manager: OwnerId, team: String, capacity_minutes: i64 }
    Product { name: String, family: String, list_price: Money }
    Contract {
        start: Day, end: Day, notice_days: i64, term_months: i64, arr: Money, auto_renew: bool, escalator: Micro,
        ended: Day,
    }
    Subscription {
        product: String, contract: String, start: Day, end: Day, ended: Day, term_months: i64, arr: Money, seats: i64,
        auto_renew: bool, trial: bool,
    }
    Movement { kind: MovementKind, delta: Money }
    Contact {
        name: String, email: String, title: String, role: ContactRole, deal_roles: BTreeMap<String, ContactRole>,
        since: Day, left: Day, opted_out: bool, bounced: Day, time_zone: String, crm: CrmRef,
    }
    Ticket {
        opened: Timestamp, closed: Timestamp, severity: i64, escalated: bool, csat: Micro,
        first_response_minutes: Micro, sentiment: Micro,
    }
    Interaction { kind: InteractionKind, contact: String, by: OwnerId, inbound: bool, sentiment: Micro }
    Survey { kind: SurveyKind, score: Micro, contact: String }
    Invoice { issued: Day, due: Day, paid: Day, amount: Money }
    Opportunity {
        name: String, kind: OpportunityKind, stage: String, state: OpportunityState, product: String, amount: Money,
        opened: Day, closed: Day, owner: OwnerId, next_step: String, crm: CrmRef,
    }
    ChurnEvent { date: Day, reason: String, feedback: String, refund: Money, reactivation: bool }
    Assignment {
        arm: Arm, arr: Money, contract_end: Day, segment: String, unit: AccountId, cohort: i64, seed: i64, share: Micro,
        hash: String,
    }
    Treatment { action: String, executed: bool, propensity: Micro, engine_arm: bool }
    ScoreOverride { score: ScoreName, value: Micro, reason: String, by: OwnerId, until: Day }
}

/// Fields without which a record of this kind says nothing: a mapping must fill them.
pub(super) fn needed(kind: FactKind) -> &'static [&'static str] {
    match kind {
        FactKind::Movement => &["kind", "delta"],
        FactKind::Ticket => &["opened"],
        FactKind::Interaction => &["kind"],
        FactKind::Survey => &["kind", "score"],
        FactKind::Invoice => &["amount"],
        FactKind::ChurnEvent => &["date"],
        FactKind::Assignment => &["arm"],
        FactKind::Treatment => &["action"],
        FactKind::ScoreOverride => &["score", "value", "reason", "by", "until"],
        FactKind::Account
        | FactKind::Owner
        | FactKind::Product
        | FactKind::Contract
        | FactKind::Subscription
        | FactKind::Contact
        | FactKind::Usage
        | FactKind::Opportunity => &[],
    }
}

/// Whether records of this kind may do without a date of their own and count as always known.
pub(super) fn dateless(kind: FactKind) -> bool {
    matches!(
        kind,
        FactKind::Account | FactKind::Owner | FactKind::Product | FactKind::Contact
    )
}

/// Every kind, in the words of a mapping.
pub(super) fn kind_words() -> Vec<&'static str> {
    FactKind::ALL.iter().map(|kind| kind.as_str()).collect()
}
