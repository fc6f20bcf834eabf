//! What exists when the sandbox starts.

use std::collections::BTreeMap;

use serde_json::Value;

/// Records that exist at the start.
#[derive(Debug, Clone, Default)]
pub struct Seed {
    /// Salesforce records. A record may refer only to records of the seed.
    pub salesforce: Vec<SeedRecord>,
    /// HubSpot records.
    pub hubspot: Vec<SeedRecord>,
}

/// One record of a [`Seed`].
#[derive(Debug, Clone, Default)]
pub struct SeedRecord {
    /// `Account`, `Contact`, .. or `companies`, `contacts`, ..
    pub object: String,
    /// The id; made up when absent. Salesforce ids need the right prefix; 15 characters are completed to 18.
    pub id: Option<String>,
    /// Fields by their API names. Read-only fields may be set here. HubSpot numbers and booleans become strings.
    pub fields: BTreeMap<String, Value>,
    /// Associations of a HubSpot record. Both directions are made.
    pub associations: Vec<SeedAssociation>,
    /// Whether every write to this record is refused for good (Salesforce `ENTITY_IS_LOCKED`, HubSpot 423).
    pub locked: bool,
}

/// An association of a seeded record with another seeded record, of the vendor's default type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedAssociation {
    /// Type of the other record, such as `companies`.
    pub object: String,
    /// Id of the other record.
    pub id: String,
}

impl SeedRecord {
    /// A record of this object without fields.
    pub fn new(object: impl Into<String>) -> SeedRecord {
        SeedRecord {
            object: object.into(),
            ..SeedRecord::default()
        }
    }

    /// The same record with this id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> SeedRecord {
        self.id = Some(id.into());
        self
    }

    /// The same record with one more field.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> SeedRecord {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// The same record with one more association.
    #[must_use]
    pub fn associated_with(mut self, object: impl Into<String>, id: impl Into<String>) -> SeedRecord {
        self.associations.push(SeedAssociation {
            object: object.into(),
            id: id.into(),
        });
        self
    }

    /// The same record, locked.
    #[must_use]
    pub fn locked(mut self) -> SeedRecord {
        self.locked = true;
        self
    }
}
