//! What a sandbox has beside the vendors' standard objects, and who may do what with a field.

/// A custom object, or custom fields of a standard one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomObject {
    /// API name: `Invoice__c` or `Account` in Salesforce, `invoices` or `companies` in HubSpot.
    pub name: String,
    /// Label for people.
    pub label: String,
    /// Its custom fields.
    pub fields: Vec<CustomField>,
}

/// One custom field or property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomField {
    /// API name: `Region__c` in Salesforce, `region` in HubSpot.
    pub name: String,
    /// Label for people.
    pub label: String,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether a record must have it.
    pub required: bool,
    /// Whether it finds a record: a unique external id in Salesforce, `hasUniqueValue` in HubSpot.
    pub unique: bool,
}

/// What a custom field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    /// A text of at most so many characters.
    Text(usize),
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// A time.
    DateTime,
    /// One of these values.
    Choice(Vec<String>),
    /// A record of this object (Salesforce only).
    Reference(String),
}

impl CustomObject {
    /// An object of this name, labelled the same, without fields.
    pub fn new(name: impl Into<String>) -> CustomObject {
        let name = name.into();
        CustomObject {
            label: name.trim_end_matches("__c").replace('_', " "),
            name,
            fields: Vec::new(),
        }
    }

    /// The same object with one more field, labelled by its name.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, kind: FieldKind) -> CustomObject {
        let name = name.into();
        self.fields.push(CustomField {
            label: name.trim_end_matches("__c").replace('_', " "),
            name,
            kind,
            required: false,
            unique: false,
        });
        self
    }

    /// The same object, with its latest field finding a record.
    #[must_use]
    pub fn unique(mut self) -> CustomObject {
        if let Some(field) = self.fields.last_mut() {
            field.unique = true;
        }
        self
    }

    /// The same object, with its latest field being required.
    #[must_use]
    pub fn required(mut self) -> CustomObject {
        if let Some(field) = self.fields.last_mut() {
            field.required = true;
        }
        self
    }
}

/// What the integration user may do with a field, when not everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read, not write.
    ReadOnly,
    /// Nothing: the field looks as if it did not exist.
    Hidden,
}

/// A rule of the org that refuses writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Salesforce `FIELD_CUSTOM_VALIDATION_EXCEPTION` when a record would meet this condition.
    Validation {
        /// The object.
        object: String,
        /// The condition of the error, as it would stand behind `WHERE`.
        condition: String,
        /// The message of the admin, in the admin's language.
        message: String,
    },
    /// Salesforce `DUPLICATES_DETECTED` when another record has the same values in all these fields.
    Duplicate {
        /// The object.
        object: String,
        /// The fields that are compared, without case.
        fields: Vec<String>,
    },
    /// HubSpot 2026-09: a record that has this value in this property must have the other one too.
    ConditionalRequired {
        /// The object type.
        object: String,
        /// The property that decides.
        property: String,
        /// Its deciding value.
        value: String,
        /// The property that is then required.
        required: String,
    },
}
