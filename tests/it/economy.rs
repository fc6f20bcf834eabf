//! API calls of a first reading, counted exactly, and what follows from the count for a large book.

use perennial_core::signal::Crm;
use perennial_tests::economy::{Book, Shelf};

use crate::crms::wait;

#[test]
fn a_first_reading_makes_the_calls_that_are_counted_and_a_large_one_is_within_a_tenth_of_the_least() {
    wait(async {
        // One object by pages and one by a job in Salesforce; pages that are full, and a last one that is not.
        for (crm, book) in [
            (
                Crm::Salesforce,
                Book {
                    accounts: 4_000,
                    contacts: 20_500,
                },
            ),
            (
                Crm::HubSpot,
                Book {
                    accounts: 400,
                    contacts: 2_300,
                },
            ),
        ] {
            let shelf = Shelf::of(crm, book).await;
            let read = shelf.read().await;
            assert_eq!(read.report.stored, book.accounts + book.contacts, "{crm}: {read:?}");
            assert_eq!(read.report.unlinked, 0, "{crm}: {read:?}");
            let made: u64 = shelf.calls().values().sum();
            assert_eq!(made, book.ours(crm), "{crm}: {:?}", shelf.calls());
            let beyond = match crm {
                Crm::Salesforce => 1,
                Crm::HubSpot => 2,
            };
            assert_eq!(made - book.least(crm), beyond, "{crm}");
            // Nothing that is known is asked for again: only what may have changed within the overlap.
            let again = shelf.read().await;
            assert_eq!(again.report.stored, 0, "{crm}: {again:?}");
        }
        let large = Book {
            accounts: 100_000,
            contacts: 400_000,
        };
        for crm in Crm::ALL {
            let (ours, least) = (large.ours(*crm), large.least(*crm));
            println!("{crm}: {ours} calls, least {least}");
            assert!(ours * 10 <= least * 11, "{crm}: {ours} of {least}");
        }
    });
}
