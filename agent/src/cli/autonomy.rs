//! `perennial autonomy`.

use clap::{Args, Subcommand};
use perennial_core::action::ActionKind;
use perennial_core::earned::{Finding, Segment, Standing, percent};
use perennial_core::number::Micro;
use perennial_core::signal::Tier;
use serde_json::{Value, json};

use super::output::{Need, open};
use super::{Failure, Output};
use crate::bundles;
use crate::config::Config;
use crate::earned::{self, EarnedError, Looked, Saying};
use crate::people::person;

#[derive(Debug, Args)]
pub(super) struct AutonomyArgs {
    #[command(subcommand)]
    command: Option<AutonomyCommand>,
}

#[derive(Debug, Subcommand)]
enum AutonomyCommand {
    /// What became of the actions of each kind and tier, and where promotions stand; the same without a word
    List,
    /// Say yes to a promotion that is proposed: from then on the action runs by itself where the table says `if earned`
    Grant(SayArgs),
    /// Say no to a promotion that is proposed; decisions of people are counted anew
    Refuse(SayArgs),
    /// Take a promotion back; decisions of people are counted anew
    Withdraw(SayArgs),
}

#[derive(Debug, Args)]
struct SayArgs {
    /// Kind of action, such as updateField
    #[arg(value_parser = kind)]
    action: ActionKind,
    /// Tier, such as low_touch
    #[arg(value_parser = tier)]
    tier: Tier,
    /// Why; needed to refuse and to withdraw
    #[arg(long, default_value = "")]
    reason: String,
    /// Who decides: id, name or mail address [default: `user` of the configuration, or PERENNIAL_USER]
    #[arg(long = "as", visible_alias = "by", value_name = "PERSON")]
    person: Option<String>,
}

const FORM: &str = "it is a small letter, then letters, digits and `_`";

fn kind(word: &str) -> Result<ActionKind, String> {
    ActionKind::from_word(word).ok_or_else(|| FORM.to_owned())
}

fn tier(word: &str) -> Result<Tier, String> {
    Tier::from_word(&word.replace('-', "_")).ok_or_else(|| FORM.to_owned())
}

pub(super) async fn autonomy(config: &Config, args: &AutonomyArgs, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let (_, policies) = bundles::in_force(config, &store).await?;
    let now = config.clock.now();
    let done = match args.command.as_ref().unwrap_or(&AutonomyCommand::List) {
        AutonomyCommand::List => {
            for moved in earned::review(&store, &policies, now).await? {
                eprintln!("! {}", moved.sentence());
            }
            list(&earned::look(&store, &policies, now).await?, output);
            Ok(())
        }
        AutonomyCommand::Grant(args) => say(config, &store, &policies, Saying::Grant, args, output).await,
        AutonomyCommand::Refuse(args) => say(config, &store, &policies, Saying::Refuse, args, output).await,
        AutonomyCommand::Withdraw(args) => say(config, &store, &policies, Saying::Withdraw, args, output).await,
    };
    store.close().await;
    done
}

async fn say(
    config: &Config,
    store: &perennial_store::Store,
    policies: &perennial_core::policy::Policies,
    saying: Saying,
    args: &SayArgs,
    output: &Output,
) -> Result<(), Failure> {
    let who = person(config, store, args.person.as_deref()).await?;
    let segment = Segment {
        action: args.action,
        tier: args.tier,
    };
    let now = config.clock.now();
    let row = earned::say(store, policies, (segment, saying), &who, &args.reason, now).await?;
    if output.json() {
        output.document(&json!({
            "action": segment.action,
            "tier": segment.tier,
            "standing": row.promotion.standing,
            "since": row.promotion.since,
            "by": row.person,
            "figures": row.figures,
            "content": row.content,
        }));
        return Ok(());
    }
    let Segment { action, tier } = segment;
    output.line(&format!(
        "the promotion of `{action}` for {tier} accounts is {} (by {})",
        row.promotion.standing, who.id
    ));
    output.line(match row.promotion.standing {
        Standing::Granted => "what is proposed from now on runs by itself; what waits already waits for its answer",
        Standing::Open | Standing::Proposed | Standing::Refused | Standing::Demoted | Standing::Withdrawn => {
            "people are asked; what they decide from now on counts for the next promotion"
        }
    });
    Ok(())
}

fn list(all: &[Looked], output: &Output) {
    if output.json() {
        let cells: Vec<Value> = all.iter().map(document).collect();
        output.document(&cells);
        return;
    }
    if all.is_empty() {
        output.line("nothing has ended yet, and no cell of autonomy.toml says `if earned`");
        return;
    }
    let share = |share: Option<Micro>| share.map_or_else(String::new, percent);
    output.table(
        &[
            "action",
            "tier",
            "decided",
            "accepted",
            "unedited",
            "surely",
            "ran",
            "undone",
            "promotion",
        ],
        all.iter().map(|cell| {
            let figures = &cell.judged.figures;
            vec![
                cell.segment.action.to_string(),
                cell.segment.tier.to_string(),
                figures.decided.to_string(),
                share(figures.acceptance()),
                share(figures.unedited_share()),
                share(figures.unedited_lower()),
                figures.executed.to_string(),
                share(figures.undone_share()),
                standing(cell),
            ]
        }),
    );
    for cell in all.iter().filter(|cell| cell.earning.is_some()) {
        let Segment { action, tier } = cell.segment;
        for missing in &cell.judged.missing {
            output.line(&format!("{action} {tier}: {missing}"));
        }
        if cell.promotion.standing == Standing::Proposed {
            output.line(&format!("! perennial autonomy grant {action} {tier}, or refuse"));
        }
    }
}

fn standing(cell: &Looked) -> String {
    match (&cell.earning, &cell.row) {
        (None, _) => "nothing to earn".to_owned(),
        (Some(_), None) => "not earned".to_owned(),
        (Some(_), Some(row)) => {
            let by = row.person.as_ref().map_or_else(String::new, |who| format!(" by {who}"));
            let why = match (row.promotion.standing, &row.reason) {
                (Standing::Demoted | Standing::Refused | Standing::Withdrawn, Some(why)) => format!(": {why}"),
                _ => String::new(),
            };
            format!(
                "{} since {}{by}{why}",
                row.promotion.standing,
                row.promotion.since.day()
            )
        }
    }
}

fn document(cell: &Looked) -> Value {
    let figures = &cell.judged.figures;
    let row = cell.row.as_ref();
    json!({
        "action": cell.segment.action,
        "tier": cell.segment.tier,
        "earnable": cell.earning.is_some(),
        "figures": figures,
        "acceptance_micro": figures.acceptance(),
        "unedited_micro": figures.unedited_share(),
        "unedited_lower_micro": figures.unedited_lower(),
        "undone_micro": figures.undone_share(),
        "standing": cell.promotion.standing,
        "since": row.map(|row| row.promotion.since),
        "by": row.and_then(|row| row.person.as_ref()),
        "reason": row.and_then(|row| row.reason.as_ref()),
        "missing": cell.judged.missing,
        "regression": match &cell.judged.finding {
            Finding::Demote(why) => Some(why),
            Finding::Stays | Finding::Propose | Finding::Lapse => None,
        },
    })
}

impl From<EarnedError> for Failure {
    fn from(error: EarnedError) -> Failure {
        match error {
            EarnedError::Store(error) => Failure::from(error),
            EarnedError::NotEarnable(_) | EarnedError::Reason(_) => Failure::input(error),
            EarnedError::Standing { .. }
            | EarnedError::NotMet { .. }
            | EarnedError::Role { .. }
            | EarnedError::Stale(_) => Failure::failed(error),
        }
    }
}
