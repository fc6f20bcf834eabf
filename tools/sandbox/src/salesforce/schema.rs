//! The Salesforce objects the sandbox knows: one table of fields per object drives describe, checks and queries.
//!
//! Does not: hold every standard field. A field that is not here does not exist, as for a user who may not see it.

/// Length of a standard name or subject field.
const NAME: usize = 255;
/// Length of a plain custom text field, the vendor's largest.
const TEXT: usize = 255;
/// Length of a standard description.
const DESCRIPTION: usize = 32_000;
/// Length of our long text field, the vendor's largest.
const LONG: usize = 131_072;

/// The type of a field, with what its values are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Id,
    Reference(&'static [&'static str]),
    Text(usize),
    Long(usize),
    Email,
    Phone,
    Url,
    /// Values of a picklist, and whether others are refused.
    Picklist(&'static [&'static str], Restricted),
    Number,
    Integer,
    Currency,
    Percent,
    Boolean,
    Date,
    DateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restricted {
    Yes,
    No,
}

/// Who may write a field, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writable {
    Always,
    OnCreate,
    Never,
}

/// What a field must hold to find a record by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    No,
    External,
    ExternalUnique,
}

/// A value a record gets when a create does not say one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preset {
    No,
    Text(&'static str),
    False,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) writable: Writable,
    pub(crate) key: Key,
    pub(crate) default: Preset,
}

impl Field {
    const fn required(mut self) -> Field {
        self.required = true;
        self
    }

    const fn read_only(mut self) -> Field {
        self.writable = Writable::Never;
        self
    }

    const fn on_create(mut self) -> Field {
        self.writable = Writable::OnCreate;
        self
    }

    const fn key(mut self, key: Key) -> Field {
        self.key = key;
        self
    }

    const fn or(mut self, default: Preset) -> Field {
        self.default = default;
        self
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.name.ends_with("__c")
    }

    /// The name under which the record that a reference points to is reached in a query.
    pub(crate) fn relationship(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Reference(_) => self.name.strip_suffix("Id"),
            Kind::Id
            | Kind::Text(_)
            | Kind::Long(_)
            | Kind::Email
            | Kind::Phone
            | Kind::Url
            | Kind::Picklist(..)
            | Kind::Number
            | Kind::Integer
            | Kind::Currency
            | Kind::Percent
            | Kind::Boolean
            | Kind::Date
            | Kind::DateTime => None,
        }
    }
}

const fn field(name: &'static str, label: &'static str, kind: Kind) -> Field {
    Field {
        name,
        label,
        kind,
        required: false,
        writable: Writable::Always,
        key: Key::No,
        default: Preset::No,
    }
}

const fn text(name: &'static str, label: &'static str, length: usize) -> Field {
    field(name, label, Kind::Text(length))
}

#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) prefix: &'static str,
    pub(crate) fields: &'static [Field],
    pub(crate) writable: bool,
}

impl Object {
    /// The field of this name in any case, among the object's own and those every object has.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.all().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Every field, `Id` first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Field> {
        SYSTEM_FIRST.iter().chain(self.fields).chain(SYSTEM_LAST)
    }

    pub(crate) fn indexed(&self) -> Vec<&'static str> {
        self.fields
            .iter()
            .filter(|field| field.key != Key::No)
            .map(|field| field.name)
            .collect()
    }
}

/// The object of this name in any case.
pub(crate) fn object(name: &str) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| object.name.eq_ignore_ascii_case(name))
}

/// The object whose ids start like this id.
pub(crate) fn object_of_id(id: &str) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| id.starts_with(object.prefix))
}

static SYSTEM_FIRST: &[Field] = &[
    field("Id", "Record ID", Kind::Id).read_only(),
    field("IsDeleted", "Deleted", Kind::Boolean).read_only(),
];

const USER: Kind = Kind::Reference(&["User"]);

static SYSTEM_LAST: &[Field] = &[
    field("OwnerId", "Owner ID", USER),
    field("CreatedById", "Created By ID", USER).read_only(),
    field("CreatedDate", "Created Date", Kind::DateTime).read_only(),
    field("LastModifiedById", "Last Modified By ID", USER).read_only(),
    field("LastModifiedDate", "Last Modified Date", Kind::DateTime).read_only(),
    field("SystemModstamp", "System Modstamp", Kind::DateTime).read_only(),
];

const STAGES: &[&str] = &[
    "Prospecting",
    "Qualification",
    "Needs Analysis",
    "Value Proposition",
    "Proposal/Price Quote",
    "Negotiation/Review",
    "Closed Won",
    "Closed Lost",
];
const OPPORTUNITY_TYPES: &[&str] = &[
    "New Customer",
    "Existing Customer - Upgrade",
    "Existing Customer - Renewal",
];
const ACCOUNT_TYPES: &[&str] = &[
    "Prospect",
    "Customer - Direct",
    "Customer - Channel",
    "Partner",
    "Other",
];
const TASK_STATES: &[&str] = &[
    "Not Started",
    "In Progress",
    "Completed",
    "Waiting on someone else",
    "Deferred",
];
const TASK_PRIORITIES: &[&str] = &["High", "Normal", "Low"];
const CASE_STATES: &[&str] = &["New", "Working", "Escalated", "Closed"];
const CASE_PRIORITIES: &[&str] = &["High", "Medium", "Low"];
const CASE_ORIGINS: &[&str] = &["Phone", "Email", "Web"];
const CONTRACT_STATES: &[&str] = &["Draft", "In Approval Process", "Activated"];

const fn choice(name: &'static str, label: &'static str, values: &'static [&'static str]) -> Field {
    field(name, label, Kind::Picklist(values, Restricted::Yes))
}

const fn open_choice(name: &'static str, label: &'static str, values: &'static [&'static str]) -> Field {
    field(name, label, Kind::Picklist(values, Restricted::No))
}

static ACCOUNT: &[Field] = &[
    text("Name", "Account Name", NAME).required(),
    open_choice("Type", "Account Type", ACCOUNT_TYPES),
    field("ParentId", "Parent Account ID", Kind::Reference(&["Account"])),
    text("AccountNumber", "Account Number", 40),
    field("Website", "Website", Kind::Url),
    field("Phone", "Account Phone", Kind::Phone),
    open_choice(
        "Industry",
        "Industry",
        &[
            "Banking",
            "Education",
            "Healthcare",
            "Manufacturing",
            "Retail",
            "Technology",
        ],
    ),
    field("AnnualRevenue", "Annual Revenue", Kind::Currency),
    field("NumberOfEmployees", "Employees", Kind::Integer),
    field("Description", "Account Description", Kind::Long(DESCRIPTION)),
    text("BillingCity", "Billing City", 40),
    text("BillingCountry", "Billing Country", 80),
    text("Perennial_Account_Id__c", "Perennial Account Id", TEXT).key(Key::ExternalUnique),
    field("Perennial_Health__c", "Perennial Health", Kind::Number),
    field("Perennial_Renewal_Risk__c", "Perennial Renewal Risk", Kind::Number),
    text("Perennial_Next_Step__c", "Perennial Next Step", TEXT),
    text("Perennial_Posture__c", "Perennial Posture", TEXT),
    field("Perennial_Summary__c", "Perennial Summary", Kind::Long(LONG)),
];

static CONTACT: &[Field] = &[
    field("AccountId", "Account ID", Kind::Reference(&["Account"])),
    text("FirstName", "First Name", 40),
    text("LastName", "Last Name", 80).required(),
    text("Name", "Full Name", 121).read_only(),
    field("Email", "Email", Kind::Email),
    field("Phone", "Business Phone", Kind::Phone),
    text("Title", "Title", 128),
    text("Department", "Department", 80),
    field("HasOptedOutOfEmail", "Email Opt Out", Kind::Boolean).or(Preset::False),
    field("DoNotCall", "Do Not Call", Kind::Boolean).or(Preset::False),
    field("Description", "Contact Description", Kind::Long(DESCRIPTION)),
];

static OPPORTUNITY: &[Field] = &[
    field("AccountId", "Account ID", Kind::Reference(&["Account"])),
    text("Name", "Name", 120).required(),
    choice("StageName", "Stage", STAGES).required(),
    field("CloseDate", "Close Date", Kind::Date).required(),
    field("Amount", "Amount", Kind::Currency),
    field("Probability", "Probability (%)", Kind::Percent),
    open_choice("Type", "Opportunity Type", OPPORTUNITY_TYPES),
    text("NextStep", "Next Step", 255),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
    field("IsClosed", "Closed", Kind::Boolean).read_only(),
    field("IsWon", "Won", Kind::Boolean).read_only(),
    text("Perennial_Opportunity_Id__c", "Perennial Opportunity Id", TEXT).key(Key::External),
];

static TASK: &[Field] = &[
    field("WhoId", "Name ID", Kind::Reference(&["Contact"])),
    field(
        "WhatId",
        "Related To ID",
        Kind::Reference(&["Account", "Opportunity", "Case", "Contract"]),
    ),
    text("Subject", "Subject", 255),
    field("ActivityDate", "Due Date Only", Kind::Date),
    open_choice("Status", "Status", TASK_STATES).or(Preset::Text("Not Started")),
    open_choice("Priority", "Priority", TASK_PRIORITIES).or(Preset::Text("Normal")),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
    field("IsClosed", "Closed", Kind::Boolean).read_only(),
    text("Perennial_Key__c", "Perennial Key", TEXT).key(Key::ExternalUnique),
];

static CASE: &[Field] = &[
    text("CaseNumber", "Case Number", 30).read_only(),
    field("AccountId", "Account ID", Kind::Reference(&["Account"])),
    field("ContactId", "Contact ID", Kind::Reference(&["Contact"])),
    text("Subject", "Subject", 255),
    open_choice("Status", "Status", CASE_STATES).or(Preset::Text("New")),
    open_choice("Priority", "Priority", CASE_PRIORITIES).or(Preset::Text("Medium")),
    open_choice("Origin", "Case Origin", CASE_ORIGINS),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
    field("IsClosed", "Closed", Kind::Boolean).read_only(),
    field("ClosedDate", "Closed Date", Kind::DateTime).read_only(),
];

static CONTRACT: &[Field] = &[
    text("ContractNumber", "Contract Number", 30).read_only(),
    field("AccountId", "Account ID", Kind::Reference(&["Account"])).required(),
    choice("Status", "Status", CONTRACT_STATES).or(Preset::Text("Draft")),
    field("StartDate", "Contract Start Date", Kind::Date),
    field("ContractTerm", "Contract Term", Kind::Integer),
    field("EndDate", "Contract End Date", Kind::Date).read_only(),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
];

static NOTE: &[Field] = &[
    field(
        "ParentId",
        "Parent ID",
        Kind::Reference(&["Account", "Contact", "Opportunity", "Case", "Contract"]),
    )
    .required()
    .on_create(),
    text("Title", "Title", 80).required(),
    field("Body", "Body", Kind::Long(DESCRIPTION)),
    field("IsPrivate", "Private", Kind::Boolean).or(Preset::False),
    text("Perennial_Key__c", "Perennial Key", TEXT).key(Key::ExternalUnique),
];

static USER_FIELDS: &[Field] = &[
    text("Username", "Username", 80).required(),
    text("FirstName", "First Name", 40),
    text("LastName", "Last Name", 80).required(),
    text("Name", "Full Name", 121).read_only(),
    field("Email", "Email", Kind::Email),
    field("IsActive", "Active", Kind::Boolean),
];

static ORGANIZATION: &[Field] = &[
    text("Name", "Name", 80).read_only(),
    field("IsSandbox", "Is Sandbox", Kind::Boolean).read_only(),
    text("InstanceName", "Instance Name", 5).read_only(),
    text("OrganizationType", "Edition", 40).read_only(),
    text("DefaultLocaleSidKey", "Locale", 40).read_only(),
];

/// Every object. Contact comes after Account because its records refer to those.
pub(crate) static OBJECTS: &[Object] = &[
    Object {
        name: "Account",
        label: "Account",
        prefix: "001",
        fields: ACCOUNT,
        writable: true,
    },
    Object {
        name: "Contact",
        label: "Contact",
        prefix: "003",
        fields: CONTACT,
        writable: true,
    },
    Object {
        name: "Opportunity",
        label: "Opportunity",
        prefix: "006",
        fields: OPPORTUNITY,
        writable: true,
    },
    Object {
        name: "Task",
        label: "Task",
        prefix: "00T",
        fields: TASK,
        writable: true,
    },
    Object {
        name: "Case",
        label: "Case",
        prefix: "500",
        fields: CASE,
        writable: true,
    },
    Object {
        name: "Contract",
        label: "Contract",
        prefix: "800",
        fields: CONTRACT,
        writable: true,
    },
    Object {
        name: "Note",
        label: "Note",
        prefix: "002",
        fields: NOTE,
        writable: true,
    },
    Object {
        name: "User",
        label: "User",
        prefix: "005",
        fields: USER_FIELDS,
        writable: false,
    },
    Object {
        name: "Organization",
        label: "Organization",
        prefix: "00D",
        fields: ORGANIZATION,
        writable: false,
    },
];
