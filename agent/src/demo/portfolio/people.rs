//! Our people, and the people we know at a customer.

use perennial_core::signal::{ContactRole, OwnerRole};
use perennial_core::time::Day;

use super::customer::Customer;
use super::stories::Story;
use super::stream::{Purpose, Stream};
use super::tier::Tier;
use super::words::{Region, slug};
use super::{PortfolioOptions, dirt};

/// Accounts that one team looks after. The first team has the demo's people; larger portfolios have more teams alike.
pub(super) const TEAM_ACCOUNTS: u32 = 400;

/// One of our people; team `{team}` and its managers are told apart by number.
#[derive(Debug, Clone)]
pub(super) struct OwnerRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) role: OwnerRole,
    pub(super) manager: Option<String>,
    pub(super) team: &'static str,
    pub(super) capacity_minutes: i64,
}

struct Post {
    id: &'static str,
    name: &'static str,
    role: OwnerRole,
    manager: Option<&'static str>,
    team: &'static str,
    capacity_minutes: i64,
}

const VP: &str = "OWN-01";
const AMERICAS_LEAD: &str = "OWN-02";
const INTERNATIONAL_LEAD: &str = "OWN-03";
const AMERICAS_STRATEGIC: &str = "OWN-04";
const INTERNATIONAL_STRATEGIC: &str = "OWN-05";
const AMERICAS_MID: &str = "OWN-06";
const EMEA_MID: &str = "OWN-07";
const APAC_MID: &str = "OWN-08";
const DIGITAL: &str = "OWN-09";

/// The head and the deal desk serve everybody.
const SHARED: [Post; 2] = [
    Post {
        id: VP,
        name: "Marguerite Adeyemi",
        role: OwnerRole::VP_CS,
        manager: None,
        team: "Leadership",
        capacity_minutes: 30,
    },
    Post {
        id: "OWN-10",
        name: "Rosa Delgado",
        role: OwnerRole::DEAL_DESK,
        manager: Some(VP),
        team: "Deal Desk",
        capacity_minutes: 240,
    },
];

/// The posts of every team. A strategic CSM has 75 minutes a day, less than the stories of their accounts ask for.
const TEAM: [Post; 8] = [
    Post {
        id: AMERICAS_LEAD,
        name: "Tobias Lindqvist",
        role: OwnerRole::CSM_MANAGER,
        manager: Some(VP),
        team: "Americas",
        capacity_minutes: 60,
    },
    Post {
        id: INTERNATIONAL_LEAD,
        name: "Inês Carvalho",
        role: OwnerRole::CSM_MANAGER,
        manager: Some(VP),
        team: "International",
        capacity_minutes: 60,
    },
    Post {
        id: AMERICAS_STRATEGIC,
        name: "Priya Raman",
        role: OwnerRole::CSM,
        manager: Some(AMERICAS_LEAD),
        team: "Americas",
        capacity_minutes: 75,
    },
    Post {
        id: INTERNATIONAL_STRATEGIC,
        name: "Daniel Okafor",
        role: OwnerRole::CSM,
        manager: Some(INTERNATIONAL_LEAD),
        team: "International",
        capacity_minutes: 75,
    },
    Post {
        id: AMERICAS_MID,
        name: "Marcus Bell",
        role: OwnerRole::CSM,
        manager: Some(AMERICAS_LEAD),
        team: "Americas",
        capacity_minutes: 120,
    },
    Post {
        id: EMEA_MID,
        name: "Hannah Weiß",
        role: OwnerRole::CSM,
        manager: Some(INTERNATIONAL_LEAD),
        team: "International",
        capacity_minutes: 120,
    },
    Post {
        id: APAC_MID,
        name: "Yuki Tanaka",
        role: OwnerRole::CSM,
        manager: Some(INTERNATIONAL_LEAD),
        team: "International",
        capacity_minutes: 90,
    },
    Post {
        id: DIGITAL,
        name: "Digital Customer Success",
        role: OwnerRole::CSM,
        manager: Some(AMERICAS_LEAD),
        team: "Digital",
        capacity_minutes: 180,
    },
];

fn id_in_team(id: &str, team: u32) -> String {
    if team == 0 || id == VP {
        id.to_owned()
    } else {
        format!("{id}-T{:03}", team + 1)
    }
}

/// Who looks after this account.
pub(super) fn owner_of(number: u32, tier: Tier, region: Region) -> String {
    let post = match (tier, region) {
        (Tier::LowTouch, _) => DIGITAL,
        (Tier::MidTouch, Region::Americas) => AMERICAS_MID,
        (Tier::MidTouch, Region::Emea) => EMEA_MID,
        (Tier::MidTouch, Region::Apac) => APAC_MID,
        (Tier::Strategic, Region::Americas) => AMERICAS_STRATEGIC,
        (Tier::Strategic, Region::Emea | Region::Apac) => INTERNATIONAL_STRATEGIC,
    };
    id_in_team(post, number.saturating_sub(1) / TEAM_ACCOUNTS)
}

fn owner_row(post: &Post, team: u32) -> OwnerRow {
    let suffix = if team == 0 {
        String::new()
    } else {
        format!(" {}", team + 1)
    };
    OwnerRow {
        id: id_in_team(post.id, team),
        name: format!("{}{suffix}", post.name),
        email: format!(
            "{}{}@fieldstone.example",
            slug(post.name).replace('-', "."),
            if team == 0 {
                String::new()
            } else {
                (team + 1).to_string()
            }
        ),
        role: post.role,
        manager: post.manager.map(|manager| id_in_team(manager, team)),
        team: post.team,
        capacity_minutes: post.capacity_minutes,
    }
}

/// Everybody who works on a portfolio of `accounts` accounts, managers before their people.
pub(super) fn owners(accounts: u32) -> impl Iterator<Item = OwnerRow> {
    let teams = accounts.div_ceil(TEAM_ACCOUNTS).max(1);
    let shared = SHARED.iter().map(|post| owner_row(post, 0));
    shared.chain((0..teams).flat_map(|team| TEAM.iter().map(move |post| owner_row(post, team))))
}

/// A person at a customer.
#[derive(Debug, Clone)]
pub(super) struct Contact {
    /// Position at the account, from 1; part of the id.
    pub(super) position: u32,
    pub(super) given: String,
    pub(super) family: String,
    pub(super) email: String,
    pub(super) title: String,
    /// None where the source does not say.
    pub(super) role: Option<ContactRole>,
    pub(super) since: Day,
    pub(super) left: Option<Day>,
    pub(super) mail: Mail,
    pub(super) time_zone: &'static str,
}

/// Whether mail reaches a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mail {
    Welcome,
    OptedOut,
    Bounced(Day),
}

impl Contact {
    pub(super) fn id(&self, account: u32) -> String {
        format!("CT-{account:06}-{}", self.position)
    }

    pub(super) fn works_there_on(&self, day: Day) -> bool {
        self.since <= day && self.left.is_none_or(|left| left > day)
    }
}

const CHAMPION_TITLES: &[&str] = &[
    "Director of Operations",
    "Head of Customer Experience",
    "VP Operations",
    "Operations Manager",
];
const SMALL_CHAMPION_TITLES: &[&str] = &["Owner", "General Manager", "Office Manager", "Operations Lead"];
const SPONSOR_TITLES: &[&str] = &[
    "Chief Operating Officer",
    "Chief Information Officer",
    "Managing Director",
];
const BUYER_TITLES: &[&str] = &["Chief Financial Officer", "Head of Procurement", "Finance Director"];
const ADMIN_TITLES: &[&str] = &["Systems Administrator", "IT Manager", "Platform Administrator"];
const USER_TITLES: &[&str] = &["Analyst", "Team Lead", "Coordinator", "Project Manager"];
const DETRACTOR_TITLES: &[&str] = &["Head of IT", "Director of Finance Systems"];

fn titles(role: Option<ContactRole>, tier: Tier) -> &'static [&'static str] {
    match role {
        Some(ContactRole::Champion) if tier == Tier::LowTouch => SMALL_CHAMPION_TITLES,
        Some(ContactRole::Champion) => CHAMPION_TITLES,
        Some(ContactRole::ExecutiveSponsor) => SPONSOR_TITLES,
        Some(ContactRole::EconomicBuyer) => BUYER_TITLES,
        Some(ContactRole::Admin) => ADMIN_TITLES,
        Some(ContactRole::User) | None => USER_TITLES,
        Some(ContactRole::Detractor) => DETRACTOR_TITLES,
    }
}

/// Gives the customer its contacts: the present champion first, one who left before last.
pub(super) fn add(customer: &mut Customer, options: &PortfolioOptions) {
    use ContactRole::{Admin, Champion, Detractor, EconomicBuyer, ExecutiveSponsor, User};
    let as_of = options.as_of;
    let draw = &mut Stream::new(options.seed, customer.number, Purpose::People);
    let mut roles: Vec<Option<ContactRole>> = match customer.tier {
        Tier::LowTouch => vec![Some(Champion), Some(User)],
        Tier::MidTouch => vec![Some(Champion), Some(EconomicBuyer), Some(Admin), Some(User)],
        Tier::Strategic => {
            vec![
                Some(Champion),
                Some(ExecutiveSponsor),
                Some(EconomicBuyer),
                Some(Admin),
                Some(User),
                Some(User),
            ]
        }
    };
    if draw.chance(350) {
        roles.push(None);
    }
    if customer.tier == Tier::Strategic && draw.chance(150) {
        roles.push(Some(Detractor));
    }
    let domain = customer.domain();
    let zone = *draw.pick(customer.region.time_zones());
    for role in roles {
        let latest = (customer.since.days_until(as_of) * 2 / 3).max(0);
        let since = customer.since.plus(if role == Some(Champion) {
            0
        } else {
            draw.between(0, latest)
        });
        let mut contact = person(customer, role, since, &domain, zone, draw);
        if role != Some(Champion) {
            contact.mail = match draw.below(1000) {
                0..40 => Mail::OptedOut,
                40..60 => Mail::Bounced(as_of.plus(-draw.between(200, 400)).max(since)),
                60.. => Mail::Welcome,
            };
        }
        customer.contacts.push(contact);
    }

    match customer.story {
        Story::SponsorLeft => customer.contacts[0].left = Some(as_of.plus(-12)),
        Story::ChampionOptedOut => customer.contacts[0].mail = Mail::OptedOut,
        Story::Calm
        | Story::RenewalAtRisk
        | Story::UsageDrop
        | Story::OnboardingStalled
        | Story::Silent
        | Story::SeatExpansion
        | Story::QbrDue
        | Story::RenewalProposalDue
        | Story::EscalationOpen
        | Story::AdvocacyAsk
        | Story::NoContractEnd
        | Story::DoNotContact
        | Story::LegalHold
        | Story::Churned => {
            let long_known = customer.since.days_until(as_of) > 500;
            if long_known && draw.chance(120) {
                replace_champion(customer, as_of, &domain, zone, draw);
            }
        }
    }
    dirt::spoil_contacts(customer);
}

/// A champion who left long ago, before the present one.
fn replace_champion(customer: &mut Customer, as_of: Day, domain: &str, zone: &'static str, draw: &mut Stream) {
    let left = as_of.plus(-draw.between(230, 420));
    let mut earlier = person(
        customer,
        Some(ContactRole::Champion),
        customer.since,
        domain,
        zone,
        draw,
    );
    earlier.left = Some(left);
    customer.contacts[0].since = left.plus(draw.between(3, 25));
    customer.contacts.push(earlier);
}

fn person(
    customer: &Customer,
    role: Option<ContactRole>,
    since: Day,
    domain: &str,
    time_zone: &'static str,
    draw: &mut Stream,
) -> Contact {
    let given = *draw.pick(customer.region.given_names());
    let family = *draw.pick(customer.region.family_names());
    let position = u32::try_from(customer.contacts.len() + 1).unwrap_or(u32::MAX);
    let mut mailbox = format!("{}.{}", slug(given), slug(family));
    if customer
        .contacts
        .iter()
        .any(|known| known.email.starts_with(&format!("{mailbox}@")))
    {
        mailbox.push_str(&position.to_string());
    }
    Contact {
        position,
        given: given.to_owned(),
        family: family.to_owned(),
        email: format!("{mailbox}@{domain}"),
        title: (*draw.pick(titles(role, customer.tier))).to_owned(),
        role,
        since,
        left: None,
        mail: Mail::Welcome,
        time_zone,
    }
}
