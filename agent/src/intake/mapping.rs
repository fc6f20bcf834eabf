//! A mapping: which columns of which files and queries say what. Read from TOML, checked as a whole before anything is imported.
//!
//! Promises: every problem of a mapping is found at once, each with its place and a remedy; after a mapping has loaded,
//! nothing about it can fail while rows are read. Deliberately not here: the files and the other databases, see `folder` and `pull`.

mod fields;
mod format;
mod read;
mod toml;
mod writes;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perennial_core::action::{AccountField, DealField};
use perennial_core::ids::SourceId;
use perennial_core::policy::gate::Vocabulary;
use perennial_core::signal::{ContactRole, FactKind, Grain};
use perennial_tools::{FieldRule, WriteMap};

use super::problem::Problem;
use super::value::{Converter, Format, Value};

/// A mapping that has been checked.
#[derive(Debug, Clone)]
pub struct Mapping {
    pub(super) source: SourceId,
    pub(super) file: PathBuf,
    pub(super) text: Arc<str>,
    pub(super) entries: Vec<Entry>,
    pub(super) queries: Vec<Entry>,
    pub(super) objects: Vec<Entry>,
    pub(super) writes: Option<Writes>,
    pub(super) ignored: Vec<String>,
}

impl Mapping {
    /// Reads a mapping file; tiers and roles are the built-in ones.
    ///
    /// # Errors
    /// Every problem of the file, in the order of its lines.
    pub fn load(path: &Path) -> Result<Mapping, Vec<Problem>> {
        Mapping::load_with(path, &Vocabulary::default())
    }

    /// Reads a mapping file, with the tiers and roles that the policies know.
    ///
    /// # Errors
    /// Every problem of the file, in the order of its lines.
    pub fn load_with(path: &Path, named: &Vocabulary) -> Result<Mapping, Vec<Problem>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Problem::of_file(
                path,
                format!("the mapping cannot be read: {error}"),
                Some("name a TOML file that this user may read; examples are in examples/mappings".to_owned()),
            )]
        })?;
        read::mapping(path, Arc::from(text.as_str()), named)
    }

    /// Reads the text of a mapping; `path` names it in problems.
    ///
    /// # Errors
    /// Every problem of the text, in the order of its lines.
    pub fn parse(path: &Path, text: &str) -> Result<Mapping, Vec<Problem>> {
        read::mapping(path, Arc::from(text), &Vocabulary::default())
    }

    /// The source that the signals of this mapping come from.
    #[must_use]
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// The objects of a CRM that are read, each with its columns.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, Vec<String>)> {
        let of = |entry: &Entry| (entry.path.clone(), entry.bind_all().1);
        self.objects.iter().map(of).collect()
    }

    /// Where our fields go, as this mapping says it; none where it does not.
    #[must_use]
    pub fn writes(&self) -> Option<WriteMap> {
        self.writes.as_ref().map(|writes| WriteMap {
            account: writes.account.clone(),
            deal: writes.deal.clone(),
            roles: writes.roles.clone(),
        })
    }

    pub(super) fn problem(&self, span: Range<usize>, message: impl Into<String>, help: Option<String>) -> Problem {
        Problem::at(&self.file, &self.text, span, message, help)
    }
}

/// What `[write]` says: where our fields go in a CRM, and who owns them. A field that is not named is not written.
#[derive(Debug, Clone, Default)]
pub(super) struct Writes {
    pub account: BTreeMap<AccountField, FieldRule>,
    pub deal: BTreeMap<DealField, FieldRule>,
    pub roles: BTreeMap<ContactRole, String>,
}

/// One `[[file]]`, `[[query]]` or `[[object]]` of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Path of the file, or name of the query or of the object of a CRM.
    pub path: String,
    pub query: Option<Query>,
    /// How far each reading of an object goes back, in seconds.
    pub overlap_s: i64,
    pub span: Range<usize>,
    pub kind: FactKind,
    pub format: Arc<Format>,
    pub key: Vec<Column>,
    pub belongs: Belonging,
    pub event: Option<Spec>,
    pub observed: Option<Spec>,
    pub skips: Vec<Skip>,
    pub slots: Vec<Slot>,
    pub usage: Option<UsageSpec>,
}

/// What is asked for in another database.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub sql: String,
    pub span: Range<usize>,
    /// Column that says how far the rows have been read.
    pub watermark: Option<Column>,
    /// How far each reading goes back: seconds, or units of a number.
    pub overlap: i64,
}

/// A column by name; `index` is filled in when a file's header is known.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    pub span: Range<usize>,
    pub index: usize,
}

/// Whom the records of a file are about.
#[derive(Debug, Clone)]
pub(super) enum Belonging {
    Portfolio,
    Account(Spec),
    Via { kind: FactKind, columns: Vec<Column> },
}

/// Rows that are deliberately not imported.
#[derive(Debug, Clone)]
pub(super) struct Skip {
    pub column: Column,
    pub equals: Vec<String>,
    pub reason: String,
}

/// What fills one field of the catalogue.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    Nothing,
    One(Spec),
    Attributes(Vec<(String, Spec)>),
}

/// What fills a usage record.
#[derive(Debug, Clone)]
pub(super) struct UsageSpec {
    pub grain: Grain,
    pub start: Spec,
    pub product: Option<Spec>,
    pub metrics: Vec<(String, Spec)>,
}

/// Where a value comes from and how it is read.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub from: From,
    pub converter: Converter,
    /// Texts that stand for other values.
    pub values: BTreeMap<String, Value>,
    /// Whether only the texts in `values` are known.
    pub closed: bool,
    /// The value of an empty cell.
    pub default: Option<Value>,
    /// Column with the currency of the row.
    pub currency: Option<Column>,
}

#[derive(Debug, Clone)]
pub(super) enum From {
    Column(Column),
    Constant(Value),
}

impl Entry {
    /// This entry for a file with these columns.
    ///
    /// # Errors
    /// The columns that the file does not have.
    pub(super) fn bind(&self, header: &[String]) -> Result<Entry, Vec<Column>> {
        let mut bound = self.clone();
        let mut missing: Vec<Column> = Vec::new();
        bound.each_column(
            &mut |column| match header.iter().position(|name| *name == column.name) {
                Some(index) => column.index = index,
                // Usage takes its event from `start`, which is then met twice.
                None if missing.iter().any(|other| other.span == column.span) => {}
                None => missing.push(column.clone()),
            },
        );
        if missing.is_empty() { Ok(bound) } else { Err(missing) }
    }

    /// This entry with a place for each name it asks for, and the names in the order of their places.
    pub(super) fn bind_all(&self) -> (Entry, Vec<String>) {
        let mut bound = self.clone();
        let mut names: Vec<String> = Vec::new();
        bound.each_column(&mut |column| {
            column.index = match names.iter().position(|name| *name == column.name) {
                Some(index) => index,
                None => {
                    names.push(column.name.clone());
                    names.len() - 1
                }
            };
        });
        (bound, names)
    }

    /// All columns that are asked for.
    pub(super) fn columns(&self) -> Vec<Column> {
        let mut columns = Vec::new();
        self.clone().each_column(&mut |column| columns.push(column.clone()));
        columns
    }

    fn each_column(&mut self, visit: &mut dyn FnMut(&mut Column)) {
        self.key.iter_mut().for_each(&mut *visit);
        match &mut self.belongs {
            Belonging::Portfolio => {}
            Belonging::Account(spec) => spec.each_column(visit),
            Belonging::Via { columns, .. } => columns.iter_mut().for_each(&mut *visit),
        }
        for spec in self.event.iter_mut().chain(&mut self.observed) {
            spec.each_column(visit);
        }
        if let Some(watermark) = self.query.as_mut().and_then(|query| query.watermark.as_mut()) {
            visit(watermark);
        }
        self.skips.iter_mut().for_each(|skip| visit(&mut skip.column));
        for slot in &mut self.slots {
            match slot {
                Slot::Nothing => {}
                Slot::One(spec) => spec.each_column(visit),
                Slot::Attributes(all) => all.iter_mut().for_each(|(_, spec)| spec.each_column(visit)),
            }
        }
        if let Some(usage) = &mut self.usage {
            usage.start.each_column(visit);
            usage.product.iter_mut().for_each(|spec| spec.each_column(visit));
            usage.metrics.iter_mut().for_each(|(_, spec)| spec.each_column(visit));
        }
    }
}

impl Spec {
    fn each_column(&mut self, visit: &mut dyn FnMut(&mut Column)) {
        if let From::Column(column) = &mut self.from {
            visit(column);
        }
        if let Some(column) = &mut self.currency {
            visit(column);
        }
    }

    /// Name of the column the value comes from; empty for a constant.
    pub(super) fn column_name(&self) -> &str {
        match &self.from {
            From::Column(column) => &column.name,
            From::Constant(_) => "",
        }
    }
}
