//! What a document is made of. Everything here was decided elsewhere; a draft adds no fact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figure::{Figure, FigureSlot, day_text};
use super::text::clean;
use crate::signal::{Tier, word_enum};
use crate::time::Day;

word_enum! {
    /// Kind of a document.
    DocumentKind {
        /// Quarterly business review.
        Qbr = "qbr",
        /// Offer to renew.
        RenewalProposal = "renewal_proposal",
    }
}

impl DocumentKind {
    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            DocumentKind::Qbr => "Quarterly business review",
            DocumentKind::RenewalProposal => "Renewal proposal",
        }
    }
}

/// The days a document looks at, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// First day.
    pub from: Day,
    /// Last day.
    pub to: Day,
}

impl Period {
    /// `Q3 2026` for a calendar quarter, else `1 July 2026 to 15 August 2026`.
    #[must_use]
    pub fn name(&self) -> String {
        let (year, month, day) = self.from.ymd();
        if day == 1 && month % 3 == 1 && self.from.plus_months(3).plus(-1) == self.to {
            return format!("Q{} {year}", (month + 2) / 3);
        }
        format!("{} to {}", day_text(self.from), day_text(self.to))
    }
}

/// A person at the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactLine {
    /// Name.
    pub name: String,
    /// Job title.
    #[serde(default)]
    pub title: Option<String>,
}

/// Part of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// Our own words. No digits: a number is a figure or part of a name.
    Words(String),
    /// A name as a record has it: a product, a person, a deal. Shown as text.
    Name(String),
    /// A figure of [`DraftInput::figures`], by name.
    Figure(String),
}

/// A sentence with its figures. The pieces are joined as they are, spaces included.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Statement {
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
}

impl Statement {
    /// A sentence of our own words only.
    #[must_use]
    pub fn words(words: impl Into<String>) -> Statement {
        Statement {
            pieces: vec![Piece::Words(words.into())],
        }
    }
}

/// One agreement, or one product of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractLine {
    /// Product or plan; else the name of the agreement.
    pub product: String,
    /// Seats.
    pub seats: FigureSlot,
    /// Yearly price today.
    pub arr: FigureSlot,
    /// Yearly price we propose.
    pub arr_proposed: FigureSlot,
    /// First day of the present term.
    pub start: FigureSlot,
    /// Last day of the present term.
    pub end: FigureSlot,
    /// Last day to give notice.
    pub notice_date: FigureSlot,
    /// Contractual rise a year.
    pub escalator: FigureSlot,
    /// Length of the term.
    pub term: FigureSlot,
    /// Whether it renews by itself without notice; none when the record does not say.
    #[serde(default)]
    pub auto_renew: Option<bool>,
}

impl ContractLine {
    pub(super) fn figures(&self) -> [(&'static str, &FigureSlot); 8] {
        [
            ("seats", &self.seats),
            ("arr", &self.arr),
            ("arr_proposed", &self.arr_proposed),
            ("start", &self.start),
            ("end", &self.end),
            ("notice_date", &self.notice_date),
            ("escalator", &self.escalator),
            ("term", &self.term),
        ]
    }
}

/// Something the customer wants to reach with us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoalLine {
    /// The goal.
    pub text: Statement,
    /// Where it stands, in words: `on track`.
    #[serde(default)]
    pub state: Option<String>,
}

/// Something that stands in the way, and what we propose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskLine {
    /// What we see.
    pub text: Statement,
    /// What we propose.
    pub proposal: Statement,
}

/// A coming date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DateLine {
    /// What happens.
    pub text: Statement,
    /// When.
    pub on: FigureSlot,
}

/// A next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepLine {
    /// What will be done.
    pub text: Statement,
    /// By whom.
    #[serde(default)]
    pub who: Option<String>,
    /// By when.
    pub due: FigureSlot,
}

/// Everything a document may say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftInput {
    /// Name of the customer.
    pub account_name: String,
    /// How the customer is served.
    #[serde(default)]
    pub tier: Option<Tier>,
    /// The days looked at.
    pub period: Period,
    /// Day of the document.
    pub prepared_on: Day,
    /// Last day on which the offer stands.
    #[serde(default)]
    pub valid_until: Option<Day>,
    /// Name of our company.
    #[serde(default)]
    pub our_name: Option<String>,
    /// Our person in charge.
    #[serde(default)]
    pub owner_name: Option<String>,
    /// Whom the document is for.
    #[serde(default)]
    pub contact: Option<ContactLine>,
    /// Figures by name; see [`super::slots::FIGURES`] for the names templates know. Statements may use others.
    #[serde(default)]
    pub figures: BTreeMap<String, FigureSlot>,
    /// Products in use.
    #[serde(default)]
    pub products: Vec<String>,
    /// Agreements.
    #[serde(default)]
    pub contracts: Vec<ContractLine>,
    /// What stood out in the period, best first.
    #[serde(default)]
    pub highlights: Vec<Statement>,
    /// Goals of the customer.
    #[serde(default)]
    pub goals: Vec<GoalLine>,
    /// Risks with what we propose.
    #[serde(default)]
    pub risks: Vec<RiskLine>,
    /// Coming dates.
    #[serde(default)]
    pub dates: Vec<DateLine>,
    /// Steps agreed or proposed.
    #[serde(default)]
    pub next_steps: Vec<StepLine>,
    /// What we would like to hear from the customer.
    #[serde(default)]
    pub questions: Vec<Statement>,
}

impl DraftInput {
    /// Every statement with the key it has in a document.
    pub(super) fn statements(&self) -> Vec<(String, &Statement)> {
        let mut all = Vec::new();
        for (i, s) in self.highlights.iter().enumerate() {
            all.push((format!("highlights.{i}.text"), s));
        }
        for (i, g) in self.goals.iter().enumerate() {
            all.push((format!("goals.{i}.text"), &g.text));
        }
        for (i, r) in self.risks.iter().enumerate() {
            all.push((format!("risks.{i}.text"), &r.text));
            all.push((format!("risks.{i}.proposal"), &r.proposal));
        }
        for (i, d) in self.dates.iter().enumerate() {
            all.push((format!("dates.{i}.text"), &d.text));
        }
        for (i, s) in self.next_steps.iter().enumerate() {
            all.push((format!("next_steps.{i}.text"), &s.text));
        }
        for (i, s) in self.questions.iter().enumerate() {
            all.push((format!("questions.{i}.text"), s));
        }
        all
    }

    /// Every figure slot with its key (`arr`, `contracts.0.arr`).
    pub(super) fn slots(&self) -> Vec<(String, &FigureSlot)> {
        let mut all: Vec<(String, &FigureSlot)> =
            self.figures.iter().map(|(name, slot)| (name.clone(), slot)).collect();
        for (i, contract) in self.contracts.iter().enumerate() {
            all.extend(
                contract
                    .figures()
                    .map(|(field, slot)| (format!("contracts.{i}.{field}"), slot)),
            );
        }
        for (i, line) in self.dates.iter().enumerate() {
            all.push((format!("dates.{i}.on"), &line.on));
        }
        for (i, step) in self.next_steps.iter().enumerate() {
            all.push((format!("next_steps.{i}.due"), &step.due));
        }
        all
    }

    /// Every known figure.
    pub(super) fn known(&self) -> impl Iterator<Item = &Figure> {
        self.slots().into_iter().filter_map(|(_, slot)| slot.known())
    }

    /// The texts that may hold digits without being figures: names from records, the days of the input, and the
    /// words for what is missing. Cleaned, as a document shows them.
    pub(super) fn closed_list(&self) -> Vec<String> {
        let mut all = vec![
            clean(&self.account_name),
            self.period.name(),
            day_text(self.period.from),
            day_text(self.period.to),
            day_text(self.prepared_on),
        ];
        all.extend(self.valid_until.map(day_text));
        all.extend(self.our_name.as_deref().map(clean));
        all.extend(self.owner_name.as_deref().map(clean));
        if let Some(contact) = &self.contact {
            all.push(clean(&contact.name));
            all.extend(contact.title.as_deref().map(clean));
        }
        all.extend(self.products.iter().map(|p| clean(p)));
        all.extend(self.contracts.iter().map(|c| clean(&c.product)));
        all.extend(self.goals.iter().filter_map(|g| g.state.as_deref()).map(clean));
        all.extend(self.next_steps.iter().filter_map(|s| s.who.as_deref()).map(clean));
        for (_, statement) in self.statements() {
            for piece in &statement.pieces {
                match piece {
                    Piece::Name(name) => all.push(clean(name)),
                    Piece::Words(_) | Piece::Figure(_) => {}
                }
            }
        }
        for (_, slot) in self.slots() {
            if let FigureSlot::Unknown { missing } = slot {
                all.push(not_known(missing));
            }
        }
        all.retain(|text| text.chars().any(char::is_numeric));
        all.sort();
        all.dedup();
        all
    }
}

/// How a figure that is not known is written.
pub(super) fn not_known(missing: &str) -> String {
    let missing = clean(missing);
    if missing.is_empty() {
        "not known".to_owned()
    } else {
        format!("not known (missing: {missing})")
    }
}
