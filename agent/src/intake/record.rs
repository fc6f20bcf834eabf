//! One row to one signal, or the reason why not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use perennial_core::ids::{AccountId, ExternalId, SourceId};
use perennial_core::money::Currency;
use perennial_core::signal::{Fact, Grain, Signal, SignalKey, Usage};
use perennial_core::time::Timestamp;
use perennial_store::{Belongs, NewSignal};

use super::bounds;
use super::catalog::{self, Source};
use super::mapping::{Belonging, Column, Entry, From, Slot, Spec, UsageSpec};
use super::rows::Rows;
use super::text::{Encoding, cut};
use super::value::{Held, Shape, Value, checked_id};

/// Most characters of a value that a reject repeats.
const VALUE_CHARACTERS: usize = 80;

/// Why a row is not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    /// Column, or field where no column is to blame.
    pub field: String,
    /// What stands there, cut.
    pub value: String,
    pub reason: String,
}

impl Reject {
    pub(crate) fn new(field: &str, value: &str, reason: impl Into<String>) -> Reject {
        Reject {
            field: field.to_owned(),
            value: cut(value, VALUE_CHARACTERS),
            reason: reason.into(),
        }
    }

    /// A reject of the row as a whole.
    pub(super) fn of_row(reason: impl Into<String>) -> Reject {
        Reject::new("", "", reason)
    }
}

/// What all rows of one file have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub entry: &'a Entry,
    pub source: &'a SourceId,
    pub revision_at: Timestamp,
    /// Number of columns of the header.
    pub width: usize,
}

/// The cells of one row, whatever it was read from.
pub(super) trait Cells {
    /// How many there are.
    fn width(&self) -> usize;

    /// The text of a column, without white space around it; empty where nothing stands.
    fn text(&self, column: &Column, encoding: Encoding) -> Result<Cow<'_, str>, Reject>;
}

impl<R: Read> Cells for Rows<R> {
    fn width(&self) -> usize {
        Rows::width(self)
    }

    fn text(&self, column: &Column, encoding: Encoding) -> Result<Cow<'_, str>, Reject> {
        let decoded = match self.cell(column.index) {
            Cow::Borrowed(bytes) => encoding.decode(bytes),
            Cow::Owned(bytes) => encoding.decode(&bytes).map(|text| Cow::Owned(text.into_owned())),
        };
        decoded.map_err(|reason| {
            let bytes = self.cell(column.index);
            Reject::new(&column.name, &String::from_utf8_lossy(&bytes), reason)
        })
    }
}

/// The signal of the present row.
pub(super) fn read<C: Cells>(context: Context<'_>, rows: &C) -> Result<NewSignal, Reject> {
    if rows.width() != context.width {
        return Err(Reject::of_row(format!(
            "{} columns instead of the {} of the header",
            rows.width(),
            context.width
        )));
    }
    let row = Row { context, rows };
    let entry = context.entry;
    row.skipped()?;
    let external_id = ExternalId::new(row.joined(&entry.key)?);
    let owner = row.owner()?;
    let usage = entry.usage.as_ref();
    let event_at = match &entry.event {
        Some(spec) => row.required_moment(spec)?,
        None => Timestamp::EPOCH,
    };
    let fact = match usage {
        Some(usage) => row.usage(usage)?,
        None => {
            let mut fields = row;
            catalog::build(entry.kind, &mut fields)?.ok_or_else(|| Reject::of_row("usage without [file.usage]"))?
        }
    };
    bounds::check(&fact).map_err(|(field, reason)| row.out_of_bounds(&field, reason))?;
    let observed_at = match &entry.observed {
        Some(spec) => row.moment(spec)?,
        None => None,
    };
    // What a day or week brought is known when it is over; anything else when it happens.
    let observed_at = observed_at.unwrap_or(match &fact {
        Fact::Usage(usage) => usage.start.plus(period_days(usage.grain)).start(),
        _ => event_at,
    });
    Ok(NewSignal {
        owner,
        signal: Signal {
            source: context.source.clone(),
            external_id,
            event_at,
            observed_at,
            revision_at: context.revision_at,
            fact,
        },
    })
}

/// The id of the record of the present row, also where nothing else of it can be read.
pub(super) fn external_id<C: Cells>(context: Context<'_>, rows: &C) -> Result<ExternalId, Reject> {
    let row = Row { context, rows };
    Ok(ExternalId::new(row.joined(&context.entry.key)?))
}

fn period_days(grain: Grain) -> i64 {
    match grain {
        Grain::Day => 1,
        Grain::Week => 7,
    }
}

struct Row<'a, C> {
    context: Context<'a>,
    rows: &'a C,
}

impl<C> Clone for Row<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Row<'_, C> {}

impl<C: Cells> Row<'_, C> {
    fn text(&self, column: &Column) -> Result<Cow<'_, str>, Reject> {
        self.rows.text(column, self.context.entry.format.encoding)
    }

    fn skipped(&self) -> Result<(), Reject> {
        for skip in &self.context.entry.skips {
            let text = self.text(&skip.column)?;
            if skip.equals.iter().any(|other| *other == text) {
                return Err(Reject::new(
                    &skip.column.name,
                    &text,
                    format!("left out: {}", skip.reason),
                ));
            }
        }
        Ok(())
    }

    /// The id made of these columns. A single one stands as it is; several are joined by `|` so that no two different
    /// lists give the same id.
    fn joined(&self, columns: &[Column]) -> Result<String, Reject> {
        let mut id = String::new();
        for (place, column) in columns.iter().enumerate() {
            let text = self.text(column)?;
            if self.context.entry.format.empty.iter().any(|empty| *empty == text) {
                return Err(Reject::new(&column.name, &text, "an id is empty"));
            }
            checked_id(&text).map_err(|reason| Reject::new(&column.name, &text, reason))?;
            if place > 0 {
                id.push('|');
            }
            if columns.len() > 1 && text.contains(['%', '|']) {
                id.push_str(&text.replace('%', "%25").replace('|', "%7C"));
            } else {
                id.push_str(&text);
            }
        }
        Ok(id)
    }

    fn owner(&self) -> Result<Belongs, Reject> {
        match &self.context.entry.belongs {
            Belonging::Portfolio => Ok(Belongs::Portfolio),
            Belonging::Account(spec) => match self.value(spec)?.and_then(AccountId::from_value) {
                Some(account) => Ok(Belongs::Account(account)),
                None => Err(Reject::new(spec.column_name(), "", "the account is empty")),
            },
            Belonging::Via { kind, columns } => {
                let id = ExternalId::new(self.joined(columns)?);
                Ok(Belongs::Via(SignalKey::of(self.context.source, *kind, &id)))
            }
        }
    }

    fn value(&self, spec: &Spec) -> Result<Option<Value>, Reject> {
        let column = match &spec.from {
            From::Constant(value) => return Ok(Some(value.clone())),
            From::Column(column) => column,
        };
        let text = self.text(column)?;
        if spec.converter.format.empty.iter().any(|empty| *empty == text) {
            return Ok(spec.default.clone());
        }
        let refused = |reason: String| Reject::new(&column.name, &text, reason);
        if matches!(spec.converter.shape, Shape::DealRoles) {
            return spec.converter.deal_roles(&text, &spec.values).map_err(refused);
        }
        if !spec.values.is_empty()
            && let Some(value) = spec.values.get(text.as_ref())
        {
            return Ok(Some(value.clone()));
        }
        if spec.closed {
            let known = spec.values.keys().map(String::as_str).collect::<Vec<_>>();
            return Err(refused(format!("not one of: {}", known.join(", "))));
        }
        let value = match &spec.currency {
            Some(currency) => {
                let money = spec.converter.money(&text, self.currency(currency)?);
                money.map(Value::Money)
            }
            None => spec.converter.convert(&text),
        };
        value.map(Some).map_err(refused)
    }

    fn currency(&self, column: &Column) -> Result<Currency, Reject> {
        let code = self.text(column)?;
        code.to_ascii_uppercase()
            .parse::<Currency>()
            .map_err(|_| Reject::new(&column.name, &code, "not an ISO 4217 currency code such as USD or EUR"))
    }

    fn moment(&self, spec: &Spec) -> Result<Option<Timestamp>, Reject> {
        Ok(match self.value(spec)? {
            Some(Value::Day(day)) => Some(day.start()),
            Some(value) => Timestamp::from_value(value),
            None => None,
        })
    }

    fn required_moment(&self, spec: &Spec) -> Result<Timestamp, Reject> {
        self.moment(spec)?
            .ok_or_else(|| Reject::new(spec.column_name(), "", "the time it happened is empty"))
    }

    fn usage(&self, spec: &UsageSpec) -> Result<Fact, Reject> {
        let start = self.required_moment(&spec.start)?.day();
        let product = match &spec.product {
            Some(spec) => self.value(spec)?.and_then(String::from_value),
            None => None,
        };
        let mut values = BTreeMap::new();
        for (metric, spec) in &spec.metrics {
            if let Some(Value::Number(number)) = self.value(spec)? {
                values.insert(metric.clone(), number);
            }
        }
        Ok(Fact::Usage(Usage {
            product,
            grain: spec.grain,
            start,
            values,
        }))
    }

    /// The reject of a value that can be read but cannot be.
    fn out_of_bounds(&self, field: &str, reason: String) -> Reject {
        let entry = self.context.entry;
        let spec = match &entry.usage {
            Some(usage) => usage
                .metrics
                .iter()
                .find(|(name, _)| name == field)
                .map(|(_, spec)| spec),
            None => catalog::fields(entry.kind)
                .iter()
                .position(|known| known.name == field)
                .and_then(|index| match entry.slots.get(index) {
                    Some(Slot::One(spec)) => Some(spec),
                    Some(Slot::Nothing | Slot::Attributes(_)) | None => None,
                }),
        };
        match spec.map(|spec| &spec.from) {
            Some(From::Column(column)) => {
                let text = self.text(column).unwrap_or_default();
                Reject::new(&column.name, &text, reason)
            }
            Some(From::Constant(_)) | None => Reject::new(field, "", reason),
        }
    }
}

impl<C: Cells> Source for Row<'_, C> {
    type Error = Reject;

    fn take<T: Held>(&mut self, index: usize) -> Result<Option<T>, Reject> {
        match self.context.entry.slots.get(index) {
            Some(Slot::One(spec)) => Ok(self.value(spec)?.and_then(T::from_value)),
            Some(Slot::Attributes(all)) => {
                let mut attributes = BTreeMap::new();
                for (name, spec) in all {
                    if let Some(text) = self.value(spec)?.and_then(String::from_value) {
                        attributes.insert(name.clone(), text);
                    }
                }
                let attributes = Some(attributes).filter(|attributes| !attributes.is_empty());
                Ok(attributes.map(Value::Attributes).and_then(T::from_value))
            }
            Some(Slot::Nothing) | None => Ok(None),
        }
    }
}
