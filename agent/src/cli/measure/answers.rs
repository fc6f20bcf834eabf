//! `perennial measure answers`.

use std::collections::BTreeMap;

use clap::Args;
use perennial_core::earned::wilson_lower;
use perennial_core::time::Timestamp;
use perennial_store::{Answer, CAUGHT, MISSED};
use serde_json::json;

use crate::cli::output::{Need, open};
use crate::cli::{Failure, Output};
use crate::config::Config;

/// Share of canaries that should be caught, in percent.
const CAUGHT_AIM: u64 = 95;

#[derive(Debug, Args)]
pub(in crate::cli) struct AnswersArgs {
    /// Answers of so many days
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=3_660))]
    days: i64,
}

/// How a person answered.
#[derive(Debug, Default)]
struct Person {
    yes: u64,
    /// Of these, without an edit before.
    unedited: u64,
    edited: u64,
    no: u64,
    caught: u64,
    missed: u64,
    /// Minutes that it had waited, of each answer where that is known.
    waited: Vec<i64>,
}

impl Person {
    fn hear(&mut self, answer: &Answer) {
        match answer.verb.as_str() {
            "approve" => {
                self.yes += 1;
                self.unedited += u64::from(!answer.edited);
            }
            "edit" => self.edited += 1,
            "reject" => self.no += 1,
            CAUGHT => self.caught += 1,
            MISSED => self.missed += 1,
            _ => return,
        }
        self.waited.extend(answer.waited_us.map(|us| us / 60_000_000));
    }

    /// The median of the minutes that it had waited.
    fn waited(&self) -> Option<i64> {
        let mut sorted = self.waited.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// Canaries caught in percent, rounded down; none where there were none.
    fn caught_percent(&self) -> Option<u64> {
        (self.caught * 100).checked_div(self.caught + self.missed)
    }

    /// The least that the share of caught ones is with 95 % confidence, in percent.
    fn caught_least(&self) -> Option<i64> {
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        wilson_lower(count(self.caught), count(self.caught + self.missed)).map(|share| share.0 / 10_000)
    }
}

pub(super) async fn run(config: &Config, args: &AnswersArgs, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let since = Timestamp::from_us(config.clock.now().us().saturating_sub(args.days * 86_400_000_000));
    let answers = store.answers_since(since).await?;
    store.close().await;
    let mut people: BTreeMap<&str, Person> = BTreeMap::new();
    for answer in &answers {
        people.entry(&answer.person).or_default().hear(answer);
    }
    if output.json() {
        let of = |(who, person): (&&str, &Person)| {
            json!({
                "person": who,
                "yes": person.yes,
                "yes_unedited": person.unedited,
                "edits": person.edited,
                "no": person.no,
                "waited_minutes_median": person.waited(),
                "canaries_caught": person.caught,
                "canaries_missed": person.missed,
                "canaries_caught_least_percent": person.caught_least(),
            })
        };
        let people: Vec<_> = people.iter().map(of).collect();
        output.document(&json!({ "since": since, "people": people }));
        return Ok(());
    }
    if people.is_empty() {
        output.line(&format!("nobody answered anything within {} days", args.days));
        return Ok(());
    }
    let columns = [
        "person",
        "yes",
        "unedited",
        "edits",
        "no",
        "waited (median)",
        "canaries caught",
    ];
    output.table(
        &columns,
        people.iter().map(|(who, person)| {
            let canaries = match person.caught_percent() {
                None => String::new(),
                Some(percent) => {
                    let least = person.caught_least().unwrap_or(0);
                    let all = person.caught + person.missed;
                    format!("{} of {all} ({percent} %, at least {least})", person.caught)
                }
            };
            vec![
                (*who).to_owned(),
                person.yes.to_string(),
                person.unedited.to_string(),
                person.edited.to_string(),
                person.no.to_string(),
                person.waited().map_or_else(String::new, hours),
                canaries,
            ]
        }),
    );
    for (who, person) in &people {
        if person.caught_percent().is_some_and(|percent| percent < CAUGHT_AIM) {
            output.line(&format!(
                "! {who} caught less than {CAUGHT_AIM} % of the drafts that were planted to be refused"
            ));
        }
    }
    Ok(())
}

fn hours(minutes: i64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}
