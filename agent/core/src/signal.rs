//! Signals: what the world told us, one fact each.
//!
//! Long because it is one vocabulary: every kind of fact with its fields stands here, and nothing else does.
//!
//! A signal is unique by source, kind and external id (and revision, below). Facts may come in any order and any number of times; the set of
//! signals, and with it everything we conclude, is the same.
//!
//! Three times: `event_at`, when it happened; `observed_at`, when one could first know it (a snapshot as of T reads
//! only what was observed by T); `revision_at`, when the export was taken that this version of the record comes from
//! (the epoch where the import was given none). Dates *inside* a fact that lie after T (`ended`, `closed`, `paid`) are hidden by the snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, ExternalId, OwnerId, SourceId};
use crate::money::Money;
use crate::number::Micro;
use crate::replay::Hash;
use crate::time::{Day, Timestamp};

/// One fact from one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Where it comes from.
    pub source: SourceId,
    /// Its record there.
    pub external_id: ExternalId,
    /// When it happened.
    pub event_at: Timestamp,
    /// When one could first know it.
    pub observed_at: Timestamp,
    /// When the export that carries this version was taken; the epoch when not said.
    pub revision_at: Timestamp,
    /// What it says.
    pub fact: Fact,
}

impl Signal {
    /// Key of the record: the same for all its revisions.
    #[must_use]
    pub fn key(&self) -> SignalKey {
        SignalKey::of(&self.source, self.fact.kind(), &self.external_id)
    }
}

/// Compact key of a record: 22 characters that stand for source, kind and external id. The first six follow from the
/// external id without its last three characters, so that records which are neighbours in an export mostly are
/// neighbours in an index too; the others are 96 bits of the hash of all three.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignalKey(String);

impl SignalKey {
    /// The key of a record.
    #[must_use]
    pub fn of(source: &SourceId, kind: FactKind, external_id: &ExternalId) -> SignalKey {
        let (source, kind, id) = (source.as_str(), kind.as_str(), external_id.as_str());
        let cut = id.char_indices().rev().nth(2).map_or(0, |(at, _)| at);
        let mut key = Hash::of_parts(&[source, kind, &id[..cut]]).short();
        key.truncate(6);
        key.push_str(&Hash::of_parts(&[source, kind, id]).short()[..16]);
        SignalKey(key)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word for it in files, JSON and SQL.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word),+
                }
            }

            /// The value that a word stands for.
            #[must_use]
            pub fn from_word(word: &str) -> Option<$name> {
                match word {
                    $($word => Some($name::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use word_enum;

use crate::word::open_words;

word_enum! {
    /// What a fact is about.
    FactKind {
        /// A customer.
        Account = "account",
        /// One of our people.
        Owner = "owner",
        /// Something we sell.
        Product = "product",
        /// An agreement with a term.
        Contract = "contract",
        /// A product bought for a time.
        Subscription = "subscription",
        /// A change of recurring revenue.
        Movement = "movement",
        /// A person at the customer.
        Contact = "contact",
        /// Measured use of a product in a day or week.
        Usage = "usage",
        /// A support case.
        Ticket = "ticket",
        /// A touch between us and the customer.
        Interaction = "interaction",
        /// An answer to a survey.
        Survey = "survey",
        /// A bill.
        Invoice = "invoice",
        /// A deal.
        Opportunity = "opportunity",
        /// The customer said that it leaves, or left.
        ChurnEvent = "churn_event",
        /// Arm of an experiment that an account is in.
        Assignment = "assignment",
        /// An action that an earlier tool logged.
        Treatment = "treatment",
        /// A score set by a person until a day.
        ScoreOverride = "score_override",
    }
}

impl FactKind {
    /// Whether facts of this kind belong to the whole portfolio and not to one account.
    #[must_use]
    pub fn is_portfolio(self) -> bool {
        matches!(self, FactKind::Owner | FactKind::Product)
    }
}

open_words! {
    /// How a customer is served.
    Tier {
        /// Mostly automatic.
        LOW_TOUCH = "low_touch",
        /// Shared.
        MID_TOUCH = "mid_touch",
        /// A named CSM; people approve.
        STRATEGIC = "strategic",
    }
}

open_words! {
    /// What one of our people is.
    OwnerRole {
        /// Customer success manager.
        CSM = "csm",
        /// Manages CSMs.
        CSM_MANAGER = "csm_manager",
        /// Approves prices and terms.
        DEAL_DESK = "deal_desk",
        /// Heads customer success.
        VP_CS = "vp_cs",
    }
}

word_enum! {
    /// What a contact is to us.
    ContactRole {
        /// Wants us there and has influence.
        Champion = "champion",
        /// Senior person who owns the relationship.
        ExecutiveSponsor = "executive_sponsor",
        /// Signs.
        EconomicBuyer = "economic_buyer",
        /// Runs the product.
        Admin = "admin",
        /// Uses the product.
        User = "user",
        /// Speaks against us.
        Detractor = "detractor",
    }
}

word_enum! {
    /// Kind of a change of recurring revenue.
    MovementKind {
        /// Balance at the start of the history.
        Opening = "opening",
        /// New customer.
        New = "new",
        /// Pays more.
        Expansion = "expansion",
        /// Pays less.
        Contraction = "contraction",
        /// Leaves.
        Churn = "churn",
        /// Contractual rise.
        PriceEscalator = "price_escalator",
        /// Renewed at the same price.
        Renewal = "renewal",
        /// Came back.
        Reactivation = "reactivation",
    }
}

word_enum! {
    /// Length of the period a usage fact covers.
    Grain {
        /// One day.
        Day = "day",
        /// Seven days.
        Week = "week",
    }
}

word_enum! {
    /// Kind of a touch.
    InteractionKind {
        /// Telephone or video call.
        Call = "call",
        /// Mail.
        Email = "email",
        /// Meeting.
        Meeting = "meeting",
        /// Quarterly business review.
        Qbr = "qbr",
        /// Executive business review.
        Ebr = "ebr",
        /// Training or onboarding session.
        Training = "training",
        /// Reference, case study or review given by the customer.
        Advocacy = "advocacy",
    }
}

word_enum! {
    /// Kind of a survey.
    SurveyKind {
        /// Net promoter score, 0 to 10.
        Nps = "nps",
        /// Customer satisfaction, 1 to 5.
        Csat = "csat",
    }
}

word_enum! {
    /// Kind of a deal.
    OpportunityKind {
        /// Renews what is there.
        Renewal = "renewal",
        /// Sells more.
        Expansion = "expansion",
        /// First sale.
        New = "new",
    }
}

word_enum! {
    /// Where a deal stands.
    OpportunityState {
        /// Not decided.
        Open = "open",
        /// Won.
        Won = "won",
        /// Lost.
        Lost = "lost",
    }
}

word_enum! {
    /// A score that a person may set.
    ScoreName {
        /// Health index.
        Health = "health",
        /// Renewal risk.
        Risk = "risk",
        /// Expansion index.
        Expansion = "expansion",
    }
}

word_enum! {
    /// Arm of an experiment.
    Arm {
        /// Served by the engine.
        Engine = "engine",
        /// Left untreated.
        Holdout = "holdout",
    }
}

word_enum! {
    /// A CRM.
    Crm {
        /// Salesforce.
        Salesforce = "salesforce",
        /// HubSpot.
        HubSpot = "hubspot",
    }
}

/// Where a record lives in a CRM.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CrmRef {
    /// Which CRM.
    pub crm: Crm,
    /// Record id there.
    pub id: String,
}

/// A fact, with what its source said. Everything a source may leave out is an `Option`: missing is unknown, never zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A customer.
    Account(Account),
    /// One of our people.
    Owner(Owner),
    /// Something we sell.
    Product(Product),
    /// An agreement with a term.
    Contract(Contract),
    /// A product bought for a time.
    Subscription(Subscription),
    /// A change of recurring revenue.
    Movement(Movement),
    /// A person at the customer.
    Contact(Contact),
    /// Measured use.
    Usage(Usage),
    /// A support case.
    Ticket(Ticket),
    /// A touch.
    Interaction(Interaction),
    /// An answer to a survey.
    Survey(Survey),
    /// A bill.
    Invoice(Invoice),
    /// A deal.
    Opportunity(Opportunity),
    /// The customer leaves.
    ChurnEvent(ChurnEvent),
    /// Arm of an experiment.
    Assignment(Assignment),
    /// An action logged by an earlier tool.
    Treatment(Treatment),
    /// A score set by a person.
    ScoreOverride(ScoreOverride),
    /// The record of this kind was deleted at its source: from this version on there is none.
    Gone(FactKind),
}

impl Fact {
    /// What the fact is about.
    #[must_use]
    pub fn kind(&self) -> FactKind {
        match self {
            Fact::Account(_) => FactKind::Account,
            Fact::Owner(_) => FactKind::Owner,
            Fact::Product(_) => FactKind::Product,
            Fact::Contract(_) => FactKind::Contract,
            Fact::Subscription(_) => FactKind::Subscription,
            Fact::Movement(_) => FactKind::Movement,
            Fact::Contact(_) => FactKind::Contact,
            Fact::Usage(_) => FactKind::Usage,
            Fact::Ticket(_) => FactKind::Ticket,
            Fact::Interaction(_) => FactKind::Interaction,
            Fact::Survey(_) => FactKind::Survey,
            Fact::Invoice(_) => FactKind::Invoice,
            Fact::Opportunity(_) => FactKind::Opportunity,
            Fact::ChurnEvent(_) => FactKind::ChurnEvent,
            Fact::Assignment(_) => FactKind::Assignment,
            Fact::Treatment(_) => FactKind::Treatment,
            Fact::ScoreOverride(_) => FactKind::ScoreOverride,
            Fact::Gone(kind) => *kind,
        }
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $type:ty),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
            pub struct $name {
                $(
                    $(#[$fdoc])*
                    #[serde(default, skip_serializing_if = "Option::is_none")]
                    pub $field: Option<$type>
                ),+
            }
        )+
    };
}

facts! {
    /// A customer account.
    Account {
        /// Name as the customer writes it.
        name: String,
        /// Account it belongs to.
        parent: AccountId,
        /// How it is served; where unknown the scoring policy derives it from the recurring revenue.
        tier: Tier,
        /// Market segment in the words of the source.
        segment: String,
        /// Industry.
        industry: String,
        /// Region or country.
        region: String,
        /// First day as a customer.
        since: Day,
        /// Our person in charge.
        owner: OwnerId,
        /// Seats bought, where no subscription says so.
        seats: i64,
        /// Record in the CRM.
        crm: CrmRef,
        /// Asked not to be contacted.
        do_not_contact: bool,
        /// Under a legal hold.
        legal_hold: bool,
        /// Left as a customer, as the account record says.
        churned: bool,
        /// Is on trial.
        trial: bool,
        /// Anything else worth showing to a person, by name.
        attributes: BTreeMap<String, String>,
    }
    /// One of our people.
    Owner {
        /// Name.
        name: String,
        /// Mail address.
        email: String,
        /// Role.
        role: OwnerRole,
        /// Person they report to.
        manager: OwnerId,
        /// Team or office.
        team: String,
        /// Minutes a working day for customers; where unknown the scoring policy has a default.
        capacity_minutes: i64,
    }
    /// Something we sell.
    Product {
        /// Name.
        name: String,
        /// Family or series.
        family: String,
        /// List price.
        list_price: Money,
    }
    /// An agreement with a term.
    Contract {
        /// First day.
        start: Day,
        /// Last day of the present term, known from the start.
        end: Day,
        /// Days before `end` by which notice must be given.
        notice_days: i64,
        /// Length of the term.
        term_months: i64,
        /// Yearly recurring revenue.
        arr: Money,
        /// Renews by itself without notice.
        auto_renew: bool,
        /// Contractual rise a year, in millionths (0.03 = 30,000).
        escalator: Micro,
        /// Day on which it really ended; hidden before that day.
        ended: Day,
    }
    /// A product bought for a time.
    Subscription {
        /// Product or plan.
        product: String,
        /// External id of the contract it belongs to.
        contract: String,
        /// First day.
        start: Day,
        /// Last day of the present term, known from the start.
        end: Day,
        /// Day on which it really ended; hidden before that day.
        ended: Day,
        /// Length of the term.
        term_months: i64,
        /// Yearly recurring revenue.
        arr: Money,
        /// Seats.
        seats: i64,
        /// Renews by itself without notice.
        auto_renew: bool,
        /// A trial without revenue.
        trial: bool,
    }
    /// A change of recurring revenue.
    Movement {
        /// Kind.
        kind: MovementKind,
        /// Change of the yearly recurring revenue.
        delta: Money,
    }
    /// A person at the customer.
    Contact {
        /// Name.
        name: String,
        /// Mail address.
        email: String,
        /// Job title.
        title: String,
        /// What they are to us.
        role: ContactRole,
        /// What they are in single deals, by the deal's id in the same source.
        deal_roles: BTreeMap<String, ContactRole>,
        /// First day we knew them in this role.
        since: Day,
        /// Day on which they left; hidden before that day.
        left: Day,
        /// Wants no mail.
        opted_out: bool,
        /// Mail to them bounced on this day; hidden before that day.
        bounced: Day,
        /// IANA time zone.
        time_zone: String,
        /// Record in the CRM.
        crm: CrmRef,
    }
    /// A support case.
    Ticket {
        /// Opened.
        opened: Timestamp,
        /// Closed; hidden before that moment.
        closed: Timestamp,
        /// 1 is the worst, 4 the mildest.
        severity: i64,
        /// Was escalated.
        escalated: bool,
        /// Satisfaction with the answer, 1 to 5; hidden before `closed`.
        csat: Micro,
        /// Minutes to the first answer.
        first_response_minutes: Micro,
        /// Mood of the customer as the source judges it, -1 (worst) to 1.
        sentiment: Micro,
    }
    /// A touch between us and the customer.
    Interaction {
        /// Kind.
        kind: InteractionKind,
        /// External id of the contact.
        contact: String,
        /// One of our people.
        by: OwnerId,
        /// True when the customer took the step.
        inbound: bool,
        /// Mood of the customer as the source judges it, -1 (worst) to 1.
        sentiment: Micro,
    }
    /// An answer to a survey.
    Survey {
        /// Kind.
        kind: SurveyKind,
        /// Score on the survey's own scale.
        score: Micro,
        /// External id of the contact.
        contact: String,
    }
    /// A bill.
    Invoice {
        /// Issued.
        issued: Day,
        /// Due.
        due: Day,
        /// Paid; hidden before that day.
        paid: Day,
        /// Amount.
        amount: Money,
    }
    /// A deal.
    Opportunity {
        /// Name.
        name: String,
        /// Kind.
        kind: OpportunityKind,
        /// Stage in the words of the source.
        stage: String,
        /// Open, won or lost; won and lost are hidden before `closed`.
        state: OpportunityState,
        /// Product.
        product: String,
        /// Amount.
        amount: Money,
        /// Opened.
        opened: Day,
        /// Decided; hidden before that day.
        closed: Day,
        /// Our person in charge.
        owner: OwnerId,
        /// Next step as it stands in the CRM.
        next_step: String,
        /// Record in the CRM.
        crm: CrmRef,
    }
    /// The customer said that it leaves, or left.
    ChurnEvent {
        /// Day.
        date: Day,
        /// Coded reason in the words of the source.
        reason: String,
        /// What the customer said; personal data.
        feedback: String,
        /// Money given back.
        refund: Money,
        /// The customer came back.
        reactivation: bool,
    }
    /// Arm of an experiment.
    Assignment {
        /// Arm.
        arm: Arm,
        /// Recurring revenue when it was fixed.
        arr: Money,
        /// Contract end when it was fixed.
        contract_end: Day,
        /// Market segment when it was fixed, a stratum of the draw.
        segment: String,
        /// Parent account that was drawn; the account shares its arm.
        unit: AccountId,
        /// Number of the cohort it came with, from 1.
        cohort: i64,
        /// Seed of the draw.
        seed: i64,
        /// Share of the units that was held out, in millionths.
        share: Micro,
        /// Hash of the arms of the whole cohort.
        hash: String,
    }
    /// An action that an earlier tool logged.
    Treatment {
        /// Name of the action there.
        action: String,
        /// Whether it was carried out.
        executed: bool,
        /// Probability of the draw, in millionths.
        propensity: Micro,
        /// Whether the account was in the engine's arm.
        engine_arm: bool,
    }

    /// A score set by a person. It holds through every run until its day has passed.
    ScoreOverride {
        /// Which score.
        score: ScoreName,
        /// Its value: points of 100; for risk percent.
        value: Micro,
        /// Why.
        reason: String,
        /// Who.
        by: OwnerId,
        /// Last day on which it holds.
        until: Day,
    }
}

impl Contact {
    /// Whether they have a role, to us or in a deal.
    #[must_use]
    pub fn has_role(&self, role: ContactRole) -> bool {
        self.role == Some(role) || self.roles_in_deals().any(|(_, of)| of == role)
    }

    /// What they are in single deals.
    pub fn roles_in_deals(&self) -> impl Iterator<Item = (&str, ContactRole)> {
        let roles = self.deal_roles.iter().flatten();
        roles.map(|(deal, role)| (deal.as_str(), *role))
    }

    /// What they are to us, where no record says it: the first of their roles in those of the deals that count, in the order in which
    /// roles are listed; in any deal where they have none in those.
    pub(crate) fn settle_role(&mut self, counts: impl Fn(&str) -> bool) {
        if self.role.is_none() {
            let among = |all: bool| {
                let roles = self.roles_in_deals().filter(|(deal, _)| all || counts(deal));
                roles.map(|(_, role)| role).min()
            };
            self.role = among(false).or_else(|| among(true));
        }
    }
}

/// Measured use of a product in one day or week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Product; none for the account as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Length of the period.
    pub grain: Grain,
    /// First day of the period.
    pub start: Day,
    /// Values by metric, such as `active_users`, `seats`, `core_events`. A metric that was not measured is absent.
    pub values: BTreeMap<String, Micro>,
}

/// One record that a conclusion came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordRef {
    /// What it is about.
    pub kind: FactKind,
    /// Where it comes from.
    pub source: SourceId,
    /// Its id there.
    pub external_id: ExternalId,
}

impl std::fmt::Display for RecordRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}/{}", self.kind, self.source, self.external_id)
    }
}
