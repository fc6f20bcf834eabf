//! Copying a tenant from one database into another, of either kind.
//!
//! Promises: all or nothing; what was copied is counted and the chain of the ledger is followed before it is committed. The
//! tables and columns are read from the source's schema, so that a table that comes later is copied too.

use perennial_core::replay::Hash;

use crate::Store;
use crate::convert::{hash, limit};
use crate::db::{Arg, Col, Column, Durability, Row, Statement, Tx, args};
use crate::error::{Result, StoreError};
use crate::health::TABLES;
use crate::ledger::entry_hash;
use crate::rows::LedgerEntry;

/// Rows that are read and written at once.
const PAGE: u32 = 500;
/// What lives only where it was written: processes and their lead.
const LEFT: &[&str] = &["leader", "worker"];
/// Columns of bytes. SQLite does not say so itself: it keeps bytes in a column of text as they are.
const BYTES: &[(&str, &str)] = &[("decision", "inputs"), ("decision", "output")];

pub(crate) static COLUMNS: Statement = Statement::differ(
    "reading the columns of a table",
    "select name, lower(type), pk from pragma_table_info($1) order by cid",
    "select c.column_name::text, c.data_type::text, coalesce(k.ordinal_position, 0)::bigint
     from information_schema.columns c
     left join information_schema.key_column_usage k on k.table_schema = c.table_schema and k.table_name = c.table_name
         and k.column_name = c.column_name
     where c.table_schema = current_schema() and c.table_name = $1 order by c.ordinal_position",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&COLUMNS];

/// How many rows of a table were copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Table.
    pub table: &'static str,
    /// Rows.
    pub rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Text,
    Bytes,
}

struct TableColumn {
    name: &'static str,
    kind: Kind,
    /// Place in the primary key, from 1; 0 for none.
    key: i64,
}

/// A value on its way.
enum Cell {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

impl Store {
    /// Copies everything of `from`'s tenant into this database, which must hold nothing of it. `tell` hears of each table.
    ///
    /// Nothing else should write to either meanwhile: what comes later is not copied, and what changes the count of a table
    /// ends the copy.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] when there is something; [`StoreError::Corrupt`] when a count or the chain is not that of the
    /// source. What reading and writing bring. Nothing is copied then.
    pub async fn copy_from(&self, from: &Store, tell: &mut (dyn FnMut(&Copied) + Send)) -> Result<Vec<Copied>> {
        from.check_version().await?;
        self.check_version().await?;
        let there = self.stats().await?.rows;
        if let Some((table, rows)) = there.iter().find(|(table, rows)| *rows > 0 && !LEFT.contains(table)) {
            return Err(StoreError::NotEmpty {
                place: self.db.place.clone(),
                table,
                rows: *rows,
            });
        }
        let mut tx = self.db.write(Durability::Full).await?;
        let mut all = Vec::new();
        for table in TABLES.iter().copied().filter(|table| !LEFT.contains(table)) {
            let rows = copy_table(from, self.tenant.0, &mut tx, table).await?;
            let copied = Copied { table, rows };
            tell(&copied);
            all.push(copied);
        }
        verify(from, self.tenant.0, &mut tx, &all).await?;
        tx.commit().await?;
        Ok(all)
    }
}

async fn copy_table(from: &Store, tenant: i64, tx: &mut Tx<'_>, table: &'static str) -> Result<u64> {
    let columns = columns(from, table).await?;
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let mut key: Vec<usize> = (0..columns.len()).filter(|i| columns[*i].key > 0).collect();
    key.sort_by_key(|i| columns[*i].key);
    let key_names: Vec<&str> = key.iter().map(|i| columns[*i].name).collect();
    let places: Vec<String> = (0..key.len()).map(|i| format!("${}", i + 3)).collect();
    let (list, order) = (names.join(", "), key_names.join(", "));
    let first = statement(format!(
        "select {list} from {table} where tenant_id = $1 order by {order} limit $2"
    ));
    let next = statement(format!(
        "select {list} from {table} where tenant_id = $1 and ({order}) > ({}) order by {order} limit $2",
        places.join(", ")
    ));
    // The tenant of the copy is that of this store.
    let others: &'static [Col] = Vec::leak(columns.iter().skip(1).map(|c| c.col()).collect());
    let values: Vec<String> = others.iter().map(|column| format!("e.{}", column.name())).collect();
    let insert = leaked(format!(
        "insert into {table} ({list}) select $1, {} from {{rows}}",
        values.join(", ")
    ));
    let insert: &'static Statement = Box::leak(Box::new(Statement::rows("copying rows", insert, 2, others)));
    let mut copied = 0;
    let mut last: Option<Vec<Cell>> = None;
    loop {
        let rows = match &last {
            None => from.db.fetch(first, args![from.tenant.0, limit(PAGE)], None).await?,
            Some(last) => {
                let mut args = vec![Arg::Int(from.tenant.0), Arg::Int(limit(PAGE))];
                args.extend(key.iter().map(|i| last[*i].arg()));
                from.db.fetch(next, &args, None).await?
            }
        };
        if rows.is_empty() {
            return Ok(copied);
        }
        let rows: Vec<Vec<Cell>> = rows.iter().map(|row| cells(row, &columns)).collect::<Result<_>>()?;
        let batch: Vec<Column<'_>> = (1..columns.len()).map(|i| column(&rows, i, columns[i].kind)).collect();
        copied += tx.execute(insert, args![tenant], Some(&batch)).await?;
        last = rows.into_iter().last();
    }
}

/// Counts and chain of what was copied, as this transaction sees them.
async fn verify(from: &Store, tenant: i64, tx: &mut Tx<'_>, all: &[Copied]) -> Result<()> {
    let source = from.stats().await?.rows;
    for copied in all {
        let there = source
            .iter()
            .find(|(table, _)| *table == copied.table)
            .map_or(0, |(_, n)| *n);
        if there != copied.rows {
            return Err(StoreError::Corrupt {
                what: "copy",
                detail: format!(
                    "{} has {there} rows, {} were copied: does something write?",
                    copied.table, copied.rows
                ),
            });
        }
    }
    let (mut seq, mut previous) = (0, Hash::ZERO);
    loop {
        let rows = tx
            .fetch(&crate::ledger::PAGE, args![tenant, seq, limit(PAGE)], None)
            .await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let entry: LedgerEntry = crate::ledger::entry(row)?;
            if entry.seq != seq + 1 || entry.previous != previous || entry_hash(&entry) != entry.hash {
                return Err(broken(entry.seq));
            }
            (seq, previous) = (entry.seq, entry.hash);
        }
    }
    let head = tx.fetch(&crate::ledger::HEAD, args![tenant], None).await?;
    let head = head
        .first()
        .map(|row| Ok((row.int(0)?, hash(&row.text(1)?)?)))
        .transpose()?;
    if head.unwrap_or((0, Hash::ZERO)) != (seq, previous) {
        return Err(broken(seq + 1));
    }
    Ok(())
}

fn broken(seq: i64) -> StoreError {
    StoreError::Corrupt {
        what: "copy",
        detail: format!("the chain of the ledger is broken at entry {seq}: see `perennial audit verify` of the source"),
    }
}

async fn columns(from: &Store, table: &'static str) -> Result<Vec<TableColumn>> {
    let rows = from.db.fetch(&COLUMNS, args![table], None).await?;
    rows.iter()
        .map(|row| {
            let name = leaked(row.text(0)?);
            let kind = match row.text(1)?.as_str() {
                _ if BYTES.contains(&(table, name)) => Kind::Bytes,
                "bigint" => Kind::Int,
                "text" => Kind::Text,
                other => {
                    return Err(StoreError::Corrupt {
                        what: "schema",
                        detail: format!("{table}.{name} has the type `{other}`, which cannot be copied"),
                    });
                }
            };
            Ok(TableColumn {
                name,
                kind,
                key: row.int(2)?,
            })
        })
        .collect()
}

impl TableColumn {
    fn col(&self) -> Col {
        match self.kind {
            Kind::Int => Col::Int(self.name),
            Kind::Text => Col::Text(self.name),
            Kind::Bytes => Col::Bytes(self.name),
        }
    }
}

impl Cell {
    fn int(&self) -> Option<i64> {
        if let Cell::Int(value) = self { *value } else { None }
    }

    fn text(&self) -> Option<&str> {
        if let Cell::Text(value) = self {
            value.as_deref()
        } else {
            None
        }
    }

    fn bytes(&self) -> &[u8] {
        if let Cell::Bytes(value) = self { value } else { &[] }
    }

    fn arg(&self) -> Arg<'_> {
        match self {
            Cell::Int(value) => Arg::OptInt(*value),
            Cell::Text(value) => Arg::OptText(value.as_deref()),
            Cell::Bytes(value) => Arg::Bytes(value),
        }
    }
}

fn cells(row: &Row, columns: &[TableColumn]) -> Result<Vec<Cell>> {
    let cell = |(i, column): (usize, &TableColumn)| {
        Ok(match column.kind {
            Kind::Int => Cell::Int(row.opt_int(i)?),
            Kind::Text => Cell::Text(row.opt_text(i)?),
            Kind::Bytes => Cell::Bytes(row.bytes(i)?),
        })
    };
    columns.iter().enumerate().map(cell).collect()
}

fn column(rows: &[Vec<Cell>], i: usize, kind: Kind) -> Column<'_> {
    let cells = rows.iter().filter_map(|row| row.get(i));
    match kind {
        Kind::Int => Column::OptInt(cells.map(Cell::int).collect()),
        Kind::Text => Column::OptText(cells.map(Cell::text).collect()),
        Kind::Bytes => Column::Bytes(cells.map(Cell::bytes).collect()),
    }
}

/// Statements are constant texts; those of a copy are made once for each table, for a program that ends after it.
fn statement(text: String) -> &'static Statement {
    Box::leak(Box::new(Statement::same("reading rows to copy", leaked(text))))
}

fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}
