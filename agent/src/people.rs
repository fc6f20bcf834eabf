//! Our people: who they are, which roles they have now, and which roles others lent them.

use std::collections::BTreeMap;

use perennial_core::approval::{Lent, Person};
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{Fact, OwnerRole};
use perennial_core::time::Timestamp;
use perennial_store::{DelegationRow, LedgerDraft, Store, StoreError};

use crate::config::Config;

/// How many names an unknown person's error lists.
const NAMES_SHOWN: usize = 8;
/// Digits of a delegation's id.
const ID_DIGITS: usize = 12;

/// Why a person cannot be told, or a delegation is refused.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody said who it is.
    #[error("who decides? give --as NAME, set `user` in the configuration, or PERENNIAL_USER")]
    NoPerson,
    /// Nobody is known by this name.
    #[error(
        "`{name}` is nobody we know: use the id or name of an owner record, or add them to [people] in the configuration; known: {known}"
    )]
    Unknown {
        /// Who was named.
        name: String,
        /// Some who are known.
        known: String,
    },
    /// Roles lent to oneself.
    #[error("{0} cannot lend roles to themselves")]
    ToOneself(String),
    /// Nothing to lend.
    #[error("{0} has no role to lend")]
    NoRole(String),
    /// The time is empty or over.
    #[error("a delegation ends after it begins, and after now: from {from} until {until} it would hold at no time")]
    NoTime {
        /// From when on.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// A reason is missing.
    #[error("lending roles needs a reason")]
    Reason,
    /// There is no such delegation.
    #[error("there is no delegation `{0}` that could be taken back: `perennial queue delegations` lists them")]
    NoDelegation(String),
    /// Somebody else's delegation.
    #[error("{person} may not take back what {giver} lent: {giver} may, and whoever it was lent to")]
    NotTheirs {
        /// Who tried.
        person: String,
        /// Whose roles they are.
        giver: String,
    },
}

/// Everybody who is known, read at one moment.
#[derive(Debug, Clone, Default)]
pub struct People {
    roles: BTreeMap<String, Vec<OwnerRole>>,
    /// Ids by name and mail address.
    aliases: BTreeMap<String, String>,
    names: Vec<String>,
}

impl People {
    /// Reads the people of the records and of the configuration, which comes first.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn read(config: &Config, store: &Store) -> Result<People, StoreError> {
        let mut people = People::default();
        for signal in store.portfolio_signals().await? {
            let Fact::Owner(owner) = signal.fact else { continue };
            let id = signal.external_id.as_str().to_owned();
            for alias in [&owner.name, &owner.email].into_iter().flatten() {
                people.aliases.insert(alias.clone(), id.clone());
            }
            people.names.push(owner.name.clone().unwrap_or_else(|| id.clone()));
            people.roles.insert(id, owner.role.into_iter().collect());
        }
        for (name, roles) in &config.people {
            people.names.push(name.clone());
            people.roles.insert(name.clone(), roles.clone());
            // What the configuration calls a person wins over a record of the same name.
            people.aliases.remove(name);
        }
        people.names.sort();
        people.names.dedup();
        Ok(people)
    }

    /// The id of whom a name, an id or a mail address means.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`].
    pub fn id(&self, name: &str) -> Result<String, PeopleError> {
        if self.roles.contains_key(name) {
            return Ok(name.to_owned());
        }
        if let Some(id) = self.aliases.get(name) {
            return Ok(id.clone());
        }
        let more = self.names.len().saturating_sub(NAMES_SHOWN);
        let shown: Vec<&str> = self.names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
        let mut known = shown.join(", ");
        if more > 0 {
            known.push_str(&format!(" and {more} more"));
        }
        Err(PeopleError::Unknown {
            name: name.to_owned(),
            known: if known.is_empty() { "nobody".to_owned() } else { known },
        })
    }

    /// Roles of somebody now; none where they are not known any more.
    #[must_use]
    pub fn roles(&self, id: &str) -> Option<&[OwnerRole]> {
        self.roles.get(id).map(Vec::as_slice)
    }

    /// Everybody with one of these roles, by id.
    pub fn with(&self, sufficient: &std::collections::BTreeSet<OwnerRole>) -> impl Iterator<Item = &str> {
        self.roles
            .iter()
            .filter(|(_, roles)| roles.iter().any(|role| sufficient.contains(role)))
            .map(|(id, _)| id.as_str())
    }

    /// A person who decides, with what others lent them for now.
    ///
    /// # Errors
    /// [`PeopleError::NoPerson`], [`PeopleError::Unknown`]; what reading brings.
    pub async fn person(&self, config: &Config, store: &Store, name: Option<&str>) -> Result<Person, PeopleError> {
        let name = name.or(config.user.as_deref()).ok_or(PeopleError::NoPerson)?;
        let id = self.id(name)?;
        let lent = store.delegations_to(&id, config.clock.now()).await?;
        Ok(Person {
            roles: self.roles(&id).unwrap_or_default().to_vec(),
            lent: lent
                .into_iter()
                .map(|lent| Lent {
                    roles: self.roles(&lent.giver).unwrap_or_default().to_vec(),
                    giver: lent.giver,
                })
                .collect(),
            id,
        })
    }
}

/// The person who decides, with the roles that records and configuration give now.
///
/// # Errors
/// [`PeopleError::NoPerson`], [`PeopleError::Unknown`]; what reading brings.
pub async fn person(config: &Config, store: &Store, name: Option<&str>) -> Result<Person, PeopleError> {
    People::read(config, store).await?.person(config, store, name).await
}

/// Lends the roles of `giver` to `receiver` for a time. What counts then are the roles that the giver has at that moment.
///
/// # Errors
/// [`PeopleError`]; nothing changes then.
pub async fn delegate(
    store: &Store,
    people: &People,
    (giver, receiver): (&str, &str),
    (from, until): (Timestamp, Timestamp),
    reason: &str,
    now: Timestamp,
) -> Result<DelegationRow, PeopleError> {
    let receiver = people.id(receiver)?;
    if receiver == giver {
        return Err(PeopleError::ToOneself(receiver));
    }
    if people.roles(giver).is_none_or(<[OwnerRole]>::is_empty) {
        return Err(PeopleError::NoRole(giver.to_owned()));
    }
    if until <= from || until <= now {
        return Err(PeopleError::NoTime { from, until });
    }
    if reason.trim().is_empty() {
        return Err(PeopleError::Reason);
    }
    let key = canonical(&(giver, &receiver, from, until));
    let digest = Hash::of(key.as_bytes()).to_string();
    let row = DelegationRow {
        id: format!("del_{}", &digest[..ID_DIGITS]),
        giver: giver.to_owned(),
        receiver,
        from,
        until,
        reason: reason.to_owned(),
        at: now,
        revoked_at: None,
    };
    let body = serde_json::json!({ "by": row.giver, "from": row.from, "to": row.receiver, "until": row.until });
    store.delegate(&row, &entry("delegate", &row.id, &body)).await?;
    Ok(row)
}

/// Takes a delegation back: whoever gave it may, and whoever got it.
///
/// # Errors
/// [`PeopleError`]; nothing changes then.
pub async fn revoke(store: &Store, person: &str, id: &str, now: Timestamp) -> Result<DelegationRow, PeopleError> {
    let known = store.delegations(now, u32::MAX).await?;
    let row = known
        .into_iter()
        .find(|row| row.id == id && row.revoked_at.is_none())
        .ok_or_else(|| PeopleError::NoDelegation(id.to_owned()))?;
    if person != row.giver && person != row.receiver {
        return Err(PeopleError::NotTheirs {
            person: person.to_owned(),
            giver: row.giver,
        });
    }
    let body = serde_json::json!({ "by": person, "from": row.giver, "to": row.receiver });
    if !store
        .revoke_delegation(id, now, &entry("undelegate", id, &body))
        .await?
    {
        return Err(PeopleError::NoDelegation(id.to_owned()));
    }
    Ok(DelegationRow {
        revoked_at: Some(now),
        ..row
    })
}

fn entry(kind: &str, reference: &str, body: &serde_json::Value) -> LedgerDraft {
    LedgerDraft {
        kind: kind.to_owned(),
        reference: reference.to_owned(),
        body: canonical(body),
    }
}
