//! Drafts: a business review or a renewal proposal, made from templates and figures, without any model.
//!
//! Promises: every number in a document is a figure with an evidence id, or part of a name or day of the input; what is
//! not known is said to be not known and never zero; customer text shows as text and makes no markup; the same inputs
//! give the same bytes. A template is checked to the last name before the first document is made from it.
//!
//! One template per document, in Markdown. The page (HTML) is made from the Markdown and the list of evidence, so the
//! two cannot disagree, and an edited text gives a new page by the same way.
//!
//! Deliberately not here: reading templates from disk, computing figures, choosing when to draft, sending anything.

mod check;
mod figure;
mod input;
mod lint;
mod marks;
mod offer;
mod page;
mod render;
mod scan;
mod slots;
mod template;
mod text;
mod view;

#[cfg(test)]
mod tests;

pub use check::{Finding, FindingKind, check, check_stored};
pub use figure::{Figure, FigureKind, FigureSlot, FigureValue, Show, day_text};
pub use input::{
    ContactLine, ContractLine, DateLine, DocumentKind, DraftInput, GoalLine, Period, Piece, RiskLine, Statement,
    StepLine,
};
pub use offer::{proposed_arr, term_total, uplift};
pub use render::{Draft, DraftError, EvidenceLine, MARKDOWN_BYTES_MAX, render};
pub use slots::{Declaration, FIGURES, FigureLine, SLOTS, Slot, SlotKind};
pub use template::{TEMPLATE_BYTES_MAX, TemplateProblem, Templates};
pub use text::{clean, escape_html, escape_markdown};
