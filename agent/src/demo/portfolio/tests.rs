use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use perennial_core::ids::{AccountId, TenantId};
use perennial_core::signal::Fact;
use perennial_core::time::Day;
use perennial_sandbox::{Sandbox, SeedRecord, System};
use perennial_store::{DatabaseUrl, Options, Store};
use serde_json::Value;

use super::table::FILES;
use super::tier::Tier;
use super::{PortfolioOptions, Story, Summary, crm_seed, write_csv};
use crate::intake::{ImportOptions, ImportReport, Mapping, import};

type Row = BTreeMap<String, String>;

fn portfolio(accounts: u32) -> (tempfile::TempDir, Summary) {
    let dir = tempfile::tempdir().unwrap();
    let options = PortfolioOptions {
        accounts,
        ..PortfolioOptions::default()
    };
    let summary = write_csv(&options, dir.path()).unwrap();
    (dir, summary)
}

/// The rows of a file, or of both files where each CRM has one.
fn rows(dir: &Path, file: &str) -> Vec<Row> {
    let read = |file: &str| -> Vec<Row> {
        let mut reader = csv::Reader::from_path(dir.join(file)).unwrap();
        reader.deserialize().collect::<Result<_, _>>().unwrap()
    };
    match file {
        "accounts" | "contacts" | "opportunities" => [
            read(&format!("{file}_salesforce.csv")),
            read(&format!("{file}_hubspot.csv")),
        ]
        .concat(),
        _ => read(file),
    }
}

fn account_of(summary: &Summary, story: Story) -> String {
    summary
        .stories
        .iter()
        .find(|planted| planted.story == story)
        .unwrap()
        .account
        .clone()
}

#[track_caller]
fn of_account(dir: &Path, file: &str, account: &str) -> Vec<Row> {
    let found: Vec<Row> = rows(dir, file)
        .into_iter()
        .filter(|row| row["account_id"] == account)
        .collect();
    assert!(!found.is_empty(), "no row of {account} in {file}");
    found
}

fn as_of() -> Day {
    PortfolioOptions::default().as_of
}

/// Days from the day in `cell` to the clock.
fn ago(cell: &str) -> i64 {
    cell[..10].parse::<Day>().unwrap().days_until(as_of())
}

#[test]
fn the_clock_of_the_demo_is_15_september_2026() {
    assert_eq!(as_of().to_string(), "2026-09-15");
}

#[test]
fn the_same_options_give_the_same_bytes_and_another_seed_gives_others() {
    let (first, first_summary) = portfolio(60);
    let (second, second_summary) = portfolio(60);
    assert_eq!(first_summary, second_summary);
    for (file, _) in FILES {
        let bytes = std::fs::read(first.path().join(file)).unwrap();
        assert_eq!(bytes, std::fs::read(second.path().join(file)).unwrap(), "{file}");
    }
    let other = tempfile::tempdir().unwrap();
    write_csv(
        &PortfolioOptions {
            seed: 7,
            ..PortfolioOptions::default()
        },
        other.path(),
    )
    .unwrap();
    assert_ne!(
        std::fs::read(first.path().join("contracts.csv")).unwrap(),
        std::fs::read(other.path().join("contracts.csv")).unwrap()
    );
}

#[test]
fn an_account_is_the_same_in_a_portfolio_of_any_size() {
    let (small, _) = portfolio(40);
    let (large, _) = portfolio(130);
    for (file, _) in FILES {
        let small = std::fs::read(small.path().join(file)).unwrap();
        let large = std::fs::read(large.path().join(file)).unwrap();
        assert!(large.starts_with(&small), "{file}");
    }
}

#[test]
fn every_story_is_planted_among_the_first_forty() {
    let (_dir, summary) = portfolio(40);
    for &story in Story::ALL {
        assert!(summary.story_counts.contains_key(story.word()), "{}", story.word());
    }
    assert!(summary.story_counts["calm"] >= 20);
    assert_eq!(
        summary.accounts_by_tier,
        BTreeMap::from([(Tier::LowTouch, 24), (Tier::MidTouch, 11), (Tier::Strategic, 5)])
    );
}

#[test]
fn the_files_tell_the_stories() {
    let (dir, summary) = portfolio(40);
    let dir = dir.path();

    let at_risk = account_of(&summary, Story::RenewalAtRisk);
    let contracts = of_account(dir, "contracts.csv", &at_risk);
    assert!(contracts.iter().any(|row| ago(&row["end_date"]) == -75));
    let invoices = of_account(dir, "invoices.csv", &at_risk);
    assert!(
        invoices
            .iter()
            .any(|row| row["paid_on"].is_empty() && ago(&row["due_on"]) > 20)
    );

    let stalled = account_of(&summary, Story::OnboardingStalled);
    assert!(
        of_account(dir, "accounts", &stalled)
            .iter()
            .all(|row| ago(&row["customer_since"]) == 50)
    );

    let silent = account_of(&summary, Story::Silent);
    assert_eq!(
        of_account(dir, "interactions.csv", &silent)
            .iter()
            .map(|row| ago(&row["at"]))
            .min(),
        Some(150)
    );

    let contacts = of_account(dir, "contacts", &account_of(&summary, Story::SponsorLeft));
    let champions: Vec<&Row> = contacts.iter().filter(|row| row["role"] == "champion").collect();
    assert_eq!(champions.len(), 1);
    assert_eq!(ago(&champions[0]["left_on"]), 12);

    let usage = of_account(dir, "usage_weekly.csv", &account_of(&summary, Story::SeatExpansion));
    let last = usage.last().unwrap();
    assert!(last["active_users"].parse::<f64>().unwrap() >= 0.95 * last["seats"].parse::<f64>().unwrap());

    let touches = of_account(dir, "interactions.csv", &account_of(&summary, Story::QbrDue));
    assert_eq!(
        touches
            .iter()
            .filter(|row| row["kind"] == "qbr")
            .map(|row| ago(&row["at"]))
            .min(),
        Some(112)
    );

    let due = of_account(dir, "contracts.csv", &account_of(&summary, Story::RenewalProposalDue));
    assert!(
        due.iter()
            .any(|row| ago(&row["end_date"]) == -100 && row["notice_days"] == "30")
    );

    let tickets = of_account(dir, "tickets.csv", &account_of(&summary, Story::EscalationOpen));
    let open = tickets
        .iter()
        .find(|row| row["severity"] == "1" && row["closed_at"].is_empty())
        .unwrap();
    assert_eq!((ago(&open["opened_at"]), open["escalated"].as_str()), (6, "true"));

    let surveys = of_account(dir, "surveys.csv", &account_of(&summary, Story::AdvocacyAsk));
    assert_eq!(surveys.last().unwrap()["score"], "10");

    let endless = of_account(dir, "contracts.csv", &account_of(&summary, Story::NoContractEnd));
    assert!(endless.iter().any(|row| row["end_date"].is_empty()));

    let opted_out = of_account(dir, "contacts", &account_of(&summary, Story::ChampionOptedOut));
    assert_eq!(
        (opted_out[0]["role"].as_str(), opted_out[0]["opted_out"].as_str()),
        ("champion", "true")
    );

    for (story, column) in [
        (Story::DoNotContact, "do_not_contact"),
        (Story::LegalHold, "legal_hold"),
        (Story::Churned, "churned"),
    ] {
        assert_eq!(
            of_account(dir, "accounts", &account_of(&summary, story))[0][column],
            "true"
        );
    }
}

#[test]
fn nothing_happens_after_the_clock() {
    let (dir, _) = portfolio(200);
    let dated = [
        ("contacts", "since"),
        ("contacts", "left_on"),
        ("contacts", "bounced_on"),
        ("usage_weekly.csv", "week_start"),
        ("tickets.csv", "opened_at"),
        ("tickets.csv", "closed_at"),
        ("interactions.csv", "at"),
        ("surveys.csv", "answered_on"),
        ("invoices.csv", "issued_on"),
        ("invoices.csv", "paid_on"),
        ("opportunities", "opened_on"),
        ("opportunities", "closed_on"),
        ("contracts.csv", "start_date"),
        ("contracts.csv", "ended_on"),
    ];
    for (file, column) in dated {
        for row in rows(dir.path(), file) {
            let cell = &row[column];
            assert!(cell.is_empty() || ago(cell) >= 0, "{file}: {row:?}");
        }
    }
}

#[test]
fn revenue_fits_the_tier_and_subscriptions_add_up_to_their_contract() {
    let (dir, summary) = portfolio(400);
    for (tier, low, high) in [
        (Tier::LowTouch, 3_000, 20_000),
        (Tier::MidTouch, 25_000, 90_000),
        (Tier::Strategic, 120_000, 600_000),
    ] {
        let mean = summary.arr_usd_by_tier[&tier] / i64::from(summary.accounts_by_tier[&tier]);
        assert!((low..=high).contains(&mean), "{tier}: {mean}");
    }
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for row in rows(dir.path(), "subscriptions.csv") {
        if summary.rejects.iter().all(|bad| bad.id != row["subscription_id"]) {
            *sums.entry(row["contract_id"].clone()).or_default() += row["arr"].parse::<f64>().unwrap();
        }
    }
    for row in rows(dir.path(), "contracts.csv") {
        if let Some(sum) = sums.get(&row["contract_id"]) {
            assert!((sum - row["arr"].parse::<f64>().unwrap()).abs() < 0.005, "{row:?}");
        }
    }
    assert_eq!(sums.len() + 1, rows(dir.path(), "contracts.csv").len());
}

#[test]
fn every_id_that_is_named_exists_except_the_planted_ones() {
    let (dir, summary) = portfolio(900);
    let ids = |file: &str, column: &str| -> BTreeSet<String> {
        rows(dir.path(), file)
            .into_iter()
            .map(|row| row[column].clone())
            .collect()
    };
    let accounts = ids("accounts", "account_id");
    let owners = ids("owners.csv", "owner_id");
    let contacts = ids("contacts", "contact_id");
    let contracts = ids("contracts.csv", "contract_id");
    let products = ids("products.csv", "product_id");
    for (file, columns) in FILES {
        for row in rows(dir.path(), file) {
            if summary
                .rejects
                .iter()
                .chain(&summary.orphans)
                .any(|bad| bad.file == file && bad.id == row[columns[0]])
            {
                continue;
            }
            for (column, known) in [
                ("account_id", &accounts),
                ("parent_id", &accounts),
                ("owner_id", &owners),
                ("manager_id", &owners),
                ("contact_id", &contacts),
                ("contract_id", &contracts),
                ("product_id", &products),
            ] {
                if let Some(cell) = row.get(column).filter(|cell| !cell.is_empty()) {
                    assert!(known.contains(cell), "{file}: {column} {cell}");
                }
            }
        }
    }
    assert_eq!(accounts.len(), 900);
}

#[test]
fn the_rows_to_refuse_stand_where_the_summary_says() {
    let (dir, summary) = portfolio(40);
    assert_eq!((summary.rejects.len(), summary.orphans.len()), (6, 1));
    for reject in summary.rejects.iter().chain(&summary.orphans) {
        let text = std::fs::read_to_string(dir.path().join(reject.file)).unwrap();
        let line = text.lines().nth(reject.line as usize - 1).unwrap();
        assert!(line.starts_with(reject.id), "{line}");
    }
}

#[test]
fn calm_accounts_look_calm_and_falling_ones_fall() {
    let (dir, summary) = portfolio(40);
    let mut series: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for row in rows(dir.path(), "usage_weekly.csv") {
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        series
            .entry(row["account_id"].clone())
            .or_default()
            .push(number("active_users") / number("seats"));
    }
    let ratio = |shares: &[f64]| {
        let (before, last) = shares.split_at(shares.len() - 4);
        let before = &before[before.len().saturating_sub(12)..];
        (last.iter().sum::<f64>() / 4.0) / (before.iter().sum::<f64>() / before.len() as f64)
    };
    for (account, shares) in series.iter().filter(|(_, shares)| shares.len() > 40) {
        let story = summary
            .stories
            .iter()
            .find(|planted| planted.account == *account)
            .map(|planted| planted.story);
        match story {
            Some(Story::RenewalAtRisk | Story::UsageDrop | Story::LegalHold) => {
                assert!(ratio(shares) < 0.65, "{account} {}", ratio(shares));
            }
            Some(Story::Churned) => {}
            _ => assert!(ratio(shares) > 0.85, "{account} {}", ratio(shares)),
        }
    }
}

#[test]
fn the_crm_records_match_the_files() {
    let (dir, _) = portfolio(40);
    let seed = crm_seed(&PortfolioOptions::default());
    let all: BTreeMap<&str, _> = seed
        .salesforce
        .iter()
        .chain(&seed.hubspot)
        .map(|record| (record.id.as_deref().unwrap(), record))
        .collect();
    assert_eq!(
        all.len(),
        seed.salesforce.len() + seed.hubspot.len(),
        "an id is there twice"
    );
    for record in &seed.salesforce {
        let prefix = match record.object.as_str() {
            "Account" => "001",
            "Contact" => "003",
            _ => "006",
        };
        assert!(
            record
                .id
                .as_deref()
                .is_some_and(|id| id.starts_with(prefix) && id.len() == 18),
            "{record:?}"
        );
    }
    for record in &seed.hubspot {
        assert!(record.id.as_deref().unwrap().parse::<u64>().unwrap() > u64::from(u32::MAX));
    }
    let mut placed = 0;
    for file in ["accounts", "contacts", "opportunities"] {
        for row in rows(dir.path(), file).iter().filter(|row| !row["crm_id"].is_empty()) {
            assert!(all.contains_key(row["crm_id"].as_str()), "{file}: {row:?}");
            placed += 1;
        }
    }
    assert!(placed > 150);

    let without_our_id = |object: &str, field: &str| {
        let records = seed
            .salesforce
            .iter()
            .chain(&seed.hubspot)
            .filter(|record| record.object == object);
        records.filter(|record| !record.fields.contains_key(field)).count()
    };
    assert_eq!(without_our_id("Account", "Perennial_Account_Id__c"), 1);
    assert_eq!(without_our_id("companies", "perennial_account_id"), 1);
    let locked: Vec<&Value> = seed
        .salesforce
        .iter()
        .filter(|record| record.locked)
        .map(|record| &record.fields["Name"])
        .collect();
    assert_eq!(locked, ["Ironwood Construction"]);
}

#[test]
fn salesforce_ids_carry_the_checksum_of_their_capitals() {
    let seed = crm_seed(&PortfolioOptions::default());
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    for record in &seed.salesforce {
        let id = record.id.as_deref().unwrap();
        for (group, check) in id[15..].chars().enumerate() {
            let pattern = id[group * 5..group * 5 + 5].chars().rev().fold(0, |pattern, letter| {
                pattern * 2 + usize::from(letter.is_ascii_uppercase())
            });
            assert_eq!(letters.chars().nth(pattern), Some(check), "{id}");
        }
    }
}

#[test]
fn ten_thousand_accounts_have_all_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let options = PortfolioOptions {
        accounts: 10_000,
        usage_weeks: 20,
        ..PortfolioOptions::default()
    };
    let summary = write_csv(&options, dir.path()).unwrap();
    assert_eq!(
        summary.rows["accounts_salesforce.csv"] + summary.rows["accounts_hubspot.csv"],
        10_000
    );
    assert_eq!(summary.rows["owners.csv"], 2 + 25 * 8);
    assert!(
        (180_000..=200_000).contains(&summary.rows["usage_weekly.csv"]),
        "{:?}",
        summary.rows
    );
    assert_eq!(summary.stories.len(), 20);
    let calm = summary.story_counts["calm"];
    assert!((4_700..=6_000).contains(&calm), "{:?}", summary.story_counts);
    for (story, count) in &summary.story_counts {
        assert!((200..=900).contains(count) || *story == "calm", "{story}: {count}");
    }
    let strategic = summary.accounts_by_tier[&Tier::Strategic];
    assert!((1_050..=1_350).contains(&strategic));
}

#[tokio::test]
async fn the_sandbox_takes_every_record_of_the_seed() {
    let seed = crm_seed(&PortfolioOptions::default());
    let count = |records: &[SeedRecord], object: &str| records.iter().filter(|record| record.object == object).count();
    let expected = [
        (System::Salesforce, "Account", count(&seed.salesforce, "Account")),
        (System::Salesforce, "Contact", count(&seed.salesforce, "Contact")),
        (
            System::Salesforce,
            "Opportunity",
            count(&seed.salesforce, "Opportunity"),
        ),
        (System::Hubspot, "companies", count(&seed.hubspot, "companies")),
        (System::Hubspot, "contacts", count(&seed.hubspot, "contacts")),
        (System::Hubspot, "deals", count(&seed.hubspot, "deals")),
    ];
    let options = perennial_sandbox::Options {
        seed,
        ..perennial_sandbox::Options::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    for (system, object, records) in expected {
        assert!(records > 0, "{object}");
        assert_eq!(sandbox.records(system, object).len(), records, "{object}");
    }
    sandbox.shutdown().await;
}

async fn import_portfolio(accounts: u32) -> (Summary, ImportReport, Vec<BTreeMap<String, String>>, usize) {
    let (dir, summary) = portfolio(accounts);
    let work = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", work.path().join("demo.db").display())
        .parse::<DatabaseUrl>()
        .unwrap();
    let store = Store::open(&url, TenantId::DEFAULT, &Options::default()).await.unwrap();
    store.migrate().await.unwrap();
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mappings/demo.toml");
    let mapping = Mapping::load(&mapping).unwrap();
    let options = ImportOptions::new(work.path());
    let report = import(&store, dir.path(), &mapping, &options, |_| {}).await.unwrap();
    let mut refused = csv::Reader::from_path(report.rejects_file.as_ref().unwrap()).unwrap();
    let refused = refused.deserialize().collect::<Result<_, _>>().unwrap();
    let ids: Vec<AccountId> = (1..=accounts)
        .map(|number| AccountId::new(format!("ACC-{number:06}")))
        .collect();
    let known = store.account_signals(&ids).await.unwrap();
    let placed = known
        .values()
        .flatten()
        .filter(|signal| matches!(&signal.fact, Fact::Account(account) if account.crm.is_some()))
        .count();
    store.close().await;
    (summary, report, refused, placed)
}

#[tokio::test]
async fn the_mapping_imports_everything_but_the_planted_rows() {
    let (summary, report, refused, placed) = import_portfolio(40).await;
    assert_eq!(report.rejected, summary.rejects.len() as u64, "{refused:?}");
    assert_eq!((report.duplicate, report.conflicts, report.unlinked), (1, 0, 0));
    assert_eq!(report.orphans, summary.orphans.len() as u64);
    assert_eq!(report.read, summary.rows.values().sum::<u64>());
    assert_eq!(placed, 39, "one account does not say where it is in the CRM");
    for planted in &summary.rejects {
        let found = refused
            .iter()
            .any(|row| row["file"] == planted.file && row["line"] == planted.line.to_string());
        assert!(found, "{planted:?} is not among {refused:?}");
    }
}
