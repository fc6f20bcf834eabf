//! The same customers as records of the two CRMs.
//!
//! Promises: Salesforce ids have the prefix of their object and a valid checksum; HubSpot ids are larger than 32 bits
//! hold; a record's id follows from the account's number alone.

use perennial_core::signal::{Crm, OpportunityKind, OpportunityState};
use perennial_sandbox::{Seed, SeedRecord};

use super::agreements::minor;
use super::customer::Customer;
use super::deals::Deal;
use super::people::{Contact, Mail};
use super::{PortfolioOptions, dirt};

/// Letters of a Salesforce id, in ASCII order.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Letters of its checksum.
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
/// Where the numbers of each object begin, so that an id looks like one of an org with a past.
const SALESFORCE_FIRST: u64 = 62 * 62 * 62 * 62 * 41;
const HUBSPOT_COMPANY_FIRST: u64 = 18_400_000_000;
const HUBSPOT_CONTACT_FIRST: u64 = 96_500_000_000;
const HUBSPOT_DEAL_FIRST: u64 = 31_200_000_000;
/// Contacts or deals that one account may have before ids would meet.
const PER_ACCOUNT: u64 = 100;

fn salesforce_id(prefix: &str, number: u64) -> String {
    let mut tail = [b'0'; 9];
    let mut rest = SALESFORCE_FIRST + number;
    for slot in tail.iter_mut().rev() {
        *slot = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    let mut id = format!("{prefix}Hq0{}", String::from_utf8_lossy(&tail));
    let checksum: String = id
        .as_bytes()
        .chunks(5)
        .map(|chunk| {
            let capitals = chunk.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
            char::from(CHECK[capitals.fold(0, |pattern, (at, _)| pattern | (1 << at))])
        })
        .collect();
    id.push_str(&checksum);
    id
}

/// The id of the account's record in its CRM.
pub(super) fn account_record(customer: &Customer) -> String {
    account_record_of(customer.number, customer.crm())
}

fn account_record_of(number: u32, crm: Crm) -> String {
    match crm {
        Crm::Salesforce => salesforce_id("001", u64::from(number)),
        Crm::HubSpot => (HUBSPOT_COMPANY_FIRST + u64::from(number) * 37).to_string(),
    }
}

/// The id of a contact's record in the CRM of its account.
pub(super) fn contact_record(customer: &Customer, contact: &Contact) -> String {
    let number = u64::from(customer.number) * PER_ACCOUNT + u64::from(contact.position);
    match customer.crm() {
        Crm::Salesforce => salesforce_id("003", number),
        Crm::HubSpot => (HUBSPOT_CONTACT_FIRST + number).to_string(),
    }
}

/// The id of a deal's record in the CRM of its account.
pub(super) fn deal_record(customer: &Customer, deal: &Deal) -> String {
    let number = u64::from(customer.number) * PER_ACCOUNT + u64::from(deal.position);
    match customer.crm() {
        Crm::Salesforce => salesforce_id("006", number),
        Crm::HubSpot => (HUBSPOT_DEAL_FIRST + number).to_string(),
    }
}

/// The accounts, contacts and open deals of the portfolio as the CRMs hold them at the start.
///
/// Everything is held in memory: meant for a demo or a test, not for 100,000 accounts.
#[must_use]
pub fn crm_seed(options: &PortfolioOptions) -> Seed {
    let mut seed = Seed::default();
    for number in 1..=options.accounts {
        let customer = Customer::new(options, number);
        match customer.crm() {
            Crm::Salesforce => salesforce(&customer, &mut seed.salesforce),
            Crm::HubSpot => hubspot(&customer, &mut seed.hubspot),
        }
    }
    seed
}

fn open_deals(customer: &Customer) -> impl Iterator<Item = &Deal> {
    customer
        .deals
        .iter()
        .filter(|deal| deal.stage.state() == OpportunityState::Open)
}

fn amount(customer: &Customer, deal: &Deal) -> f64 {
    minor(deal.units, customer.coin) as f64 / 10_f64.powi(customer.coin.places() as i32)
}

fn salesforce(customer: &Customer, records: &mut Vec<SeedRecord>) {
    let account = account_record(customer);
    let mut record = SeedRecord::new("Account")
        .id(&account)
        .field("Name", customer.name.trim())
        .field("Type", "Customer - Direct")
        .field("AccountNumber", customer.id())
        .field("Website", format!("https://{}", customer.domain()));
    if let Some(industry) = customer.industry {
        record = record.field("Industry", industry);
    }
    if let Some(parent) = customer.parent.filter(|parent| parent.is_multiple_of(2)) {
        record = record.field("ParentId", account_record_of(parent, Crm::Salesforce));
    }
    if !dirt::unknown_to_crm(customer.number) {
        record = record.field("Perennial_Account_Id__c", customer.id());
    }
    if dirt::is_locked(customer.number) {
        record = record.locked();
    }
    records.push(record);

    for contact in &customer.contacts {
        let mut record = SeedRecord::new("Contact")
            .id(contact_record(customer, contact))
            .field("AccountId", account.as_str())
            .field("FirstName", contact.given.as_str())
            .field("LastName", contact.family.as_str())
            .field("Title", contact.title.as_str())
            .field("HasOptedOutOfEmail", contact.mail == Mail::OptedOut);
        if !contact.email.is_empty() {
            record = record.field("Email", contact.email.as_str());
        }
        records.push(record);
    }
    for deal in open_deals(customer) {
        let kind = match deal.kind {
            OpportunityKind::Renewal => "Existing Customer - Renewal",
            OpportunityKind::Expansion => "Existing Customer - Upgrade",
            OpportunityKind::New => "New Customer",
        };
        let mut record = SeedRecord::new("Opportunity")
            .id(deal_record(customer, deal))
            .field("AccountId", account.as_str())
            .field("Name", deal.name.as_str())
            .field("StageName", deal.stage.word(Crm::Salesforce))
            .field("CloseDate", deal.close.to_string())
            .field("Amount", amount(customer, deal))
            .field("Type", kind)
            .field("Perennial_Opportunity_Id__c", deal.id(customer.number));
        if !deal.next_step.is_empty() {
            record = record.field("NextStep", deal.next_step);
        }
        records.push(record);
    }
}

fn hubspot(customer: &Customer, records: &mut Vec<SeedRecord>) {
    let company = account_record(customer);
    let mut record = SeedRecord::new("companies")
        .id(&company)
        .field("name", customer.name.trim())
        .field("domain", customer.domain());
    if !dirt::unknown_to_crm(customer.number) {
        record = record.field("perennial_account_id", customer.id());
    }
    if dirt::is_locked(customer.number) {
        record = record.locked();
    }
    records.push(record);

    for contact in &customer.contacts {
        let mut record = SeedRecord::new("contacts")
            .id(contact_record(customer, contact))
            .field("firstname", contact.given.as_str())
            .field("lastname", contact.family.as_str())
            .field("jobtitle", contact.title.as_str())
            .associated_with("companies", &company);
        if !contact.email.is_empty() {
            record = record.field("email", contact.email.to_lowercase());
        }
        records.push(record);
    }
    for deal in open_deals(customer) {
        let mut record = SeedRecord::new("deals")
            .id(deal_record(customer, deal))
            .field("dealname", deal.name.as_str())
            .field("pipeline", "default")
            .field("dealstage", deal.stage.word(Crm::HubSpot))
            .field("amount", amount(customer, deal).to_string())
            .field("closedate", format!("{}T00:00:00Z", deal.close))
            .field("dealtype", "existingbusiness")
            .field("perennial_opportunity_id", deal.id(customer.number))
            .associated_with("companies", &company);
        if !deal.next_step.is_empty() {
            record = record.field("hs_next_step", deal.next_step);
        }
        records.push(record);
    }
}
