//! The files of a portfolio: names, columns, and writers that hold no more than a buffer.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use perennial_core::signal::Crm;

use super::PortfolioError;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

// What lives in a CRM is exported from that CRM, so these files are there once for each.
const ACCOUNTS: &[&str] = &[
    "account_id",
    "name",
    "parent_id",
    "tier",
    "segment",
    "industry",
    "region",
    "customer_since",
    "owner_id",
    "seats",
    "crm",
    "crm_id",
    "do_not_contact",
    "legal_hold",
    "churned",
    "website",
];
const CONTACTS: &[&str] = &[
    "contact_id",
    "account_id",
    "name",
    "email",
    "title",
    "role",
    "since",
    "left_on",
    "opted_out",
    "bounced_on",
    "time_zone",
    "crm",
    "crm_id",
];
const OPPORTUNITIES: &[&str] = &[
    "opportunity_id",
    "account_id",
    "name",
    "kind",
    "stage",
    "state",
    "product_id",
    "amount",
    "currency",
    "opened_on",
    "closed_on",
    "owner_id",
    "next_step",
    "crm",
    "crm_id",
];

/// Every file with its columns, in the order in which an import reads best.
pub(super) const FILES: [(&str, &[&str]); 15] = [
    (
        "owners.csv",
        &[
            "owner_id",
            "name",
            "email",
            "role",
            "manager_id",
            "team",
            "capacity_minutes",
        ],
    ),
    (
        "products.csv",
        &["product_id", "name", "family", "list_price", "currency"],
    ),
    ("accounts_salesforce.csv", ACCOUNTS),
    ("accounts_hubspot.csv", ACCOUNTS),
    (
        "contracts.csv",
        &[
            "contract_id",
            "account_id",
            "start_date",
            "end_date",
            "ended_on",
            "notice_days",
            "term_months",
            "arr",
            "currency",
            "auto_renew",
            "escalator",
        ],
    ),
    (
        "subscriptions.csv",
        &[
            "subscription_id",
            "account_id",
            "contract_id",
            "product_id",
            "start_date",
            "end_date",
            "ended_on",
            "term_months",
            "arr",
            "currency",
            "seats",
            "auto_renew",
        ],
    ),
    ("contacts_salesforce.csv", CONTACTS),
    ("contacts_hubspot.csv", CONTACTS),
    (
        "usage_weekly.csv",
        &[
            "account_id",
            "week_start",
            "seats",
            "active_users",
            "core_events",
            "features_used",
        ],
    ),
    (
        "tickets.csv",
        &[
            "ticket_id",
            "account_id",
            "opened_at",
            "closed_at",
            "severity",
            "escalated",
            "csat",
            "first_response_minutes",
            "subject",
        ],
    ),
    (
        "interactions.csv",
        &[
            "interaction_id",
            "account_id",
            "at",
            "kind",
            "contact_id",
            "owner_id",
            "inbound",
        ],
    ),
    (
        "surveys.csv",
        &["survey_id", "account_id", "answered_on", "kind", "score", "contact_id"],
    ),
    (
        "invoices.csv",
        &[
            "invoice_id",
            "account_id",
            "issued_on",
            "due_on",
            "paid_on",
            "amount",
            "currency",
        ],
    ),
    ("opportunities_salesforce.csv", OPPORTUNITIES),
    ("opportunities_hubspot.csv", OPPORTUNITIES),
];

/// One file being written.
pub(super) struct Table {
    path: PathBuf,
    writer: csv::Writer<File>,
    rows: u64,
    number: String,
}

impl Table {
    fn create(dir: &Path, name: &'static str, columns: &[&str]) -> Result<Table, PortfolioError> {
        let path = dir.join(name);
        let file = File::create(&path).map_err(|source| PortfolioError::Write {
            path: path.clone(),
            source,
        })?;
        let writer = csv::WriterBuilder::new()
            .buffer_capacity(BUFFER_BYTES)
            .from_writer(file);
        let mut table = Table {
            path,
            writer,
            rows: 0,
            number: String::new(),
        };
        table.row(columns)?;
        table.rows = 0;
        Ok(table)
    }

    /// Writes one row.
    pub(super) fn row(&mut self, cells: &[&str]) -> Result<(), PortfolioError> {
        let written = self.writer.write_record(cells);
        self.rows += 1;
        written.map_err(|source| self.failed(source.into()))
    }

    /// Writes a row of a text, a text and numbers, without making texts of the numbers first.
    pub(super) fn row_of_numbers(&mut self, texts: [&str; 2], numbers: [Option<i64>; 4]) -> Result<(), PortfolioError> {
        self.rows += 1;
        let mut write = || -> csv::Result<()> {
            for text in texts {
                self.writer.write_field(text)?;
            }
            for number in numbers {
                self.number.clear();
                if let Some(number) = number {
                    // Writing to a String cannot fail.
                    let _ = write!(self.number, "{number}");
                }
                self.writer.write_field(&self.number)?;
            }
            self.writer.write_record(None::<&[u8]>)
        };
        write().map_err(|source| self.failed(source.into()))
    }

    /// Rows below the header.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Line of the newest row; no cell holds a line break.
    pub(super) fn line(&self) -> u64 {
        self.rows + 1
    }

    fn finish(&mut self) -> Result<(), PortfolioError> {
        self.writer.flush().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> PortfolioError {
        PortfolioError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

/// Two files of the same columns, one for each CRM.
pub(super) struct CrmTables {
    salesforce: Table,
    hubspot: Table,
}

impl CrmTables {
    /// The file for records of this CRM.
    pub(super) fn of(&mut self, crm: Crm) -> &mut Table {
        match crm {
            Crm::Salesforce => &mut self.salesforce,
            Crm::HubSpot => &mut self.hubspot,
        }
    }
}

/// All files of a portfolio.
pub(super) struct Tables {
    pub(super) owners: Table,
    pub(super) products: Table,
    pub(super) accounts: CrmTables,
    pub(super) contracts: Table,
    pub(super) subscriptions: Table,
    pub(super) contacts: CrmTables,
    pub(super) usage: Table,
    pub(super) tickets: Table,
    pub(super) interactions: Table,
    pub(super) surveys: Table,
    pub(super) invoices: Table,
    pub(super) opportunities: CrmTables,
}

impl Tables {
    pub(super) fn create(dir: &Path) -> Result<Tables, PortfolioError> {
        std::fs::create_dir_all(dir).map_err(|source| PortfolioError::Write {
            path: dir.to_owned(),
            source,
        })?;
        let open = |at: usize| Table::create(dir, FILES[at].0, FILES[at].1);
        Ok(Tables {
            owners: open(0)?,
            products: open(1)?,
            accounts: CrmTables {
                salesforce: open(2)?,
                hubspot: open(3)?,
            },
            contracts: open(4)?,
            subscriptions: open(5)?,
            contacts: CrmTables {
                salesforce: open(6)?,
                hubspot: open(7)?,
            },
            usage: open(8)?,
            tickets: open(9)?,
            interactions: open(10)?,
            surveys: open(11)?,
            invoices: open(12)?,
            opportunities: CrmTables {
                salesforce: open(13)?,
                hubspot: open(14)?,
            },
        })
    }

    /// The tables in the order of [`FILES`].
    pub(super) fn all(&mut self) -> [&mut Table; 15] {
        [
            &mut self.owners,
            &mut self.products,
            &mut self.accounts.salesforce,
            &mut self.accounts.hubspot,
            &mut self.contracts,
            &mut self.subscriptions,
            &mut self.contacts.salesforce,
            &mut self.contacts.hubspot,
            &mut self.usage,
            &mut self.tickets,
            &mut self.interactions,
            &mut self.surveys,
            &mut self.invoices,
            &mut self.opportunities.salesforce,
            &mut self.opportunities.hubspot,
        ]
    }

    /// The table of a file.
    pub(super) fn named(&mut self, file: &str) -> Option<&mut Table> {
        let at = FILES.iter().position(|(name, _)| *name == file)?;
        self.all().into_iter().nth(at)
    }

    /// Writes out what is still held.
    pub(super) fn finish(&mut self) -> Result<(), PortfolioError> {
        self.all().into_iter().try_for_each(Table::finish)
    }
}
