//! The standard objects. Lengths, types and the marks of fields are those of real describe answers, as far as the sandbox
//! has the field; the custom fields are those Perennial asks an admin to create.

use std::sync::LazyLock;

use super::{Field, Key, Kind, Object, Preset, Restricted, field, text};

/// Length of a standard name or subject field.
const NAME: usize = 255;
/// Length of a plain custom text field, the vendor's largest.
pub(super) const TEXT: usize = 255;
/// Length of the name of a custom object's record.
pub(super) const CUSTOM_NAME: usize = 80;
/// Length of a standard description.
const DESCRIPTION: usize = 32_000;
/// Length of our long text field, the vendor's largest.
const LONG: usize = 131_072;

const USER: Kind = Kind::Reference(&["User"]);

static FIRST: &[Field] = &[
    field("Id", "Record ID", Kind::Id).read_only(),
    field("IsDeleted", "Deleted", Kind::Boolean).read_only(),
];

static OWNER: Field = field("OwnerId", "Owner ID", USER);

static LAST: &[Field] = &[
    field("CreatedDate", "Created Date", Kind::DateTime).read_only(),
    field("CreatedById", "Created By ID", USER).read_only(),
    field("LastModifiedDate", "Last Modified Date", Kind::DateTime).read_only(),
    field("LastModifiedById", "Last Modified By ID", USER).read_only(),
    field("SystemModstamp", "System Modstamp", Kind::DateTime).read_only(),
];

/// Which system fields an object has around its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owned {
    /// All.
    Yes,
    /// All but the owner.
    No,
    /// Neither an owner nor a recycle bin: objects of the setup.
    Setup,
}

/// The fields of an object with those every object has around them.
pub(super) fn whole(owned: Owned, own: &[Field]) -> Vec<Field> {
    let owner = (owned == Owned::Yes).then_some(OWNER);
    let first = if owned == Owned::Setup { &FIRST[..1] } else { FIRST };
    let parts = first.iter().chain(own).copied();
    parts.chain(owner).chain(LAST.iter().copied()).collect()
}

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
const FORECAST: &[&str] = &["Omitted", "Pipeline", "Best Case", "Commit", "Closed"];
const ACCOUNT_TYPES: &[&str] = &[
    "Prospect",
    "Customer - Direct",
    "Customer - Channel",
    "Partner",
    "Other",
];
const INDUSTRIES: &[&str] = &[
    "Banking",
    "Education",
    "Healthcare",
    "Manufacturing",
    "Retail",
    "Technology",
];
const RATINGS: &[&str] = &["Hot", "Warm", "Cold"];
const OWNERSHIPS: &[&str] = &["Public", "Private", "Subsidiary", "Other"];
const SOURCES: &[&str] = &["Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other"];
const ACCURACIES: &[&str] = &[
    "Address",
    "NearAddress",
    "Block",
    "Street",
    "Zip",
    "City",
    "State",
    "Unknown",
];
const CLEAN_STATES: &[&str] = &[
    "Matched",
    "Different",
    "Acknowledged",
    "NotFound",
    "Inactive",
    "Pending",
    "Skipped",
];
const SALUTATIONS: &[&str] = &["Mr.", "Ms.", "Mrs.", "Dr.", "Prof."];
const ROLES: &[&str] = &[
    "Business User",
    "Decision Maker",
    "Economic Buyer",
    "Economic Decision Maker",
    "Evaluator",
    "Executive Sponsor",
    "Influencer",
    "Technical Buyer",
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
const SHOWN_AS: &[&str] = &["Busy", "OutOfOffice", "Free"];
const CASE_STATES: &[&str] = &["New", "Working", "Escalated", "Closed"];
const CASE_PRIORITIES: &[&str] = &["High", "Medium", "Low"];
const CASE_ORIGINS: &[&str] = &["Phone", "Email", "Web"];
const CASE_REASONS: &[&str] = &["Installation", "Performance", "Breakdown", "Feedback", "Other"];
const CONTRACT_STATES: &[&str] = &["Draft", "In Approval Process", "Activated"];
const LEAD_STATES: &[&str] = &[
    "Open - Not Contacted",
    "Working - Contacted",
    "Closed - Converted",
    "Closed - Not Converted",
];

/// What a task or an event may be related to.
const RELATED: Kind = Kind::Reference(&["Account", "Opportunity", "Case", "Contract"]);
const PERSON: Kind = Kind::Reference(&["Contact", "Lead"]);

const fn choice(name: &'static str, label: &'static str, values: &'static [&'static str]) -> Field {
    field(name, label, Kind::Picklist(values, Restricted::Yes))
}

const fn open_choice(name: &'static str, label: &'static str, values: &'static [&'static str]) -> Field {
    field(name, label, Kind::Picklist(values, Restricted::No))
}

const fn to(name: &'static str, label: &'static str, target: &'static [&'static str]) -> Field {
    field(name, label, Kind::Reference(target))
}

const fn flag(name: &'static str, label: &'static str) -> Field {
    field(name, label, Kind::Boolean).or(Preset::False)
}

const fn seen(name: &'static str, label: &'static str, kind: Kind) -> Field {
    field(name, label, kind).read_only()
}

/// The parts of an address and the compound of them.
macro_rules! address {
    ($prefix:literal, $compound:literal) => {
        [
            field(concat!($prefix, "Street"), concat!($prefix, " Street"), Kind::Long(255)),
            text(concat!($prefix, "City"), concat!($prefix, " City"), 40),
            text(concat!($prefix, "State"), concat!($prefix, " State/Province"), 80),
            text(concat!($prefix, "PostalCode"), concat!($prefix, " Zip/Postal Code"), 20),
            text(concat!($prefix, "Country"), concat!($prefix, " Country"), 80),
            field(
                concat!($prefix, "Latitude"),
                concat!($prefix, " Latitude"),
                Kind::Number,
            ),
            field(
                concat!($prefix, "Longitude"),
                concat!($prefix, " Longitude"),
                Kind::Number,
            ),
            choice(
                concat!($prefix, "GeocodeAccuracy"),
                concat!($prefix, " Geocode Accuracy"),
                ACCURACIES,
            ),
            seen($compound, concat!($prefix, " Address"), Kind::Address($prefix)),
        ]
    };
}

static ACCOUNT: &[&[Field]] = &[
    &[
        seen("MasterRecordId", "Master Record ID", Kind::Reference(&["Account"])),
        text("Name", "Account Name", NAME).required(),
        open_choice("Type", "Account Type", ACCOUNT_TYPES),
        to("RecordTypeId", "Record Type ID", &["RecordType"]),
        to("ParentId", "Parent Account ID", &["Account"]).children("ChildAccounts"),
    ],
    &address!("Billing", "BillingAddress"),
    &address!("Shipping", "ShippingAddress"),
    &[
        field("Phone", "Account Phone", Kind::Phone),
        field("Fax", "Account Fax", Kind::Phone),
        text("AccountNumber", "Account Number", 40),
        field("Website", "Website", Kind::Url),
        text("Sic", "SIC Code", 20),
        open_choice("Industry", "Industry", INDUSTRIES),
        field("AnnualRevenue", "Annual Revenue", Kind::Currency),
        field("NumberOfEmployees", "Employees", Kind::Integer),
        open_choice("Ownership", "Ownership", OWNERSHIPS),
        text("TickerSymbol", "Ticker Symbol", 20),
        field("Description", "Account Description", Kind::Long(DESCRIPTION)),
        open_choice("Rating", "Account Rating", RATINGS),
        text("Site", "Account Site", 80),
        seen("LastActivityDate", "Last Activity", Kind::Date),
        text("Jigsaw", "Data.com Key", 20),
        choice("CleanStatus", "Clean Status", CLEAN_STATES),
        open_choice("AccountSource", "Account Source", SOURCES),
        text("DunsNumber", "D-U-N-S Number", 9),
        text("Tradestyle", "Tradestyle", 255),
        text("NaicsCode", "NAICS Code", 8),
        text("NaicsDesc", "NAICS Description", 120),
        text("YearStarted", "Year Started", 4),
        text("SicDesc", "SIC Description", 80),
        text("Perennial_Account_Id__c", "Perennial Account Id", TEXT).key(Key::ExternalUnique),
        field("Perennial_Health__c", "Perennial Health", Kind::Number),
        field("Perennial_Renewal_Risk__c", "Perennial Renewal Risk", Kind::Number),
        text("Perennial_Next_Step__c", "Perennial Next Step", TEXT),
        text("Perennial_Posture__c", "Perennial Posture", TEXT),
        field("Perennial_Summary__c", "Perennial Summary", Kind::Long(LONG)),
    ],
];

static CONTACT: &[&[Field]] = &[
    &[
        to("AccountId", "Account ID", &["Account"]).children("Contacts"),
        text("LastName", "Last Name", 80).required(),
        text("FirstName", "First Name", 40),
        open_choice("Salutation", "Salutation", SALUTATIONS),
        text("Name", "Full Name", 121).read_only(),
    ],
    &address!("Other", "OtherAddress"),
    &address!("Mailing", "MailingAddress"),
    &[
        field("Phone", "Business Phone", Kind::Phone),
        field("Fax", "Business Fax", Kind::Phone),
        field("MobilePhone", "Mobile Phone", Kind::Phone),
        field("HomePhone", "Home Phone", Kind::Phone),
        field("OtherPhone", "Other Phone", Kind::Phone),
        field("AssistantPhone", "Asst. Phone", Kind::Phone),
        to("ReportsToId", "Reports To ID", &["Contact"]),
        field("Email", "Email", Kind::Email).key(Key::Lookup),
        text("Title", "Title", 128),
        text("Department", "Department", 80),
        text("AssistantName", "Assistant's Name", 40),
        open_choice("LeadSource", "Lead Source", SOURCES),
        field("Birthdate", "Birthdate", Kind::Date),
        flag("HasOptedOutOfEmail", "Email Opt Out"),
        flag("DoNotCall", "Do Not Call"),
        field("Description", "Contact Description", Kind::Long(DESCRIPTION)),
        seen("LastActivityDate", "Last Activity", Kind::Date),
        text("EmailBouncedReason", "Email Bounced Reason", 255),
        field("EmailBouncedDate", "Email Bounced Date", Kind::DateTime),
        flag("IsEmailBounced", "Is Email Bounced").read_only(),
        text("Jigsaw", "Data.com Key", 20),
        choice("CleanStatus", "Clean Status", CLEAN_STATES),
    ],
];

static OPPORTUNITY: &[&[Field]] = &[&[
    to("AccountId", "Account ID", &["Account"]).children("Opportunities"),
    flag("IsPrivate", "Private"),
    text("Name", "Name", 120).required(),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
    // Not restricted: real orgs take a stage that is on no list (recorded).
    open_choice("StageName", "Stage", STAGES).required(),
    field("Amount", "Amount", Kind::Currency),
    field("Probability", "Probability (%)", Kind::Percent),
    field("TotalOpportunityQuantity", "Quantity", Kind::Number),
    field("CloseDate", "Close Date", Kind::Date).required(),
    open_choice("Type", "Opportunity Type", OPPORTUNITY_TYPES),
    text("NextStep", "Next Step", 255),
    open_choice("LeadSource", "Lead Source", SOURCES),
    field("IsClosed", "Closed", Kind::Boolean).read_only(),
    field("IsWon", "Won", Kind::Boolean).read_only(),
    choice("ForecastCategoryName", "Forecast Category", FORECAST),
    to("ContactId", "Contact ID", &["Contact"])
        .on_create()
        .children("Opportunities"),
    seen("LastActivityDate", "Last Activity", Kind::Date),
    text("Perennial_Opportunity_Id__c", "Perennial Opportunity Id", TEXT).key(Key::External),
]];

static OPPORTUNITY_CONTACT_ROLE: &[&[Field]] = &[&[
    to("OpportunityId", "Opportunity ID", &["Opportunity"])
        .required()
        .on_create()
        .children("OpportunityContactRoles"),
    to("ContactId", "Contact ID", &["Contact"])
        .required()
        .children("OpportunityContactRoles"),
    open_choice("Role", "Role", ROLES),
    flag("IsPrimary", "Primary"),
]];

static OPPORTUNITY_STAGE: &[&[Field]] = &[&[
    text("MasterLabel", "Master Label", 255).read_only(),
    text("ApiName", "API Name", 255).read_only(),
    field("IsActive", "Is Active", Kind::Boolean).read_only(),
    field("SortOrder", "Sort Order", Kind::Integer).read_only(),
    field("IsClosed", "Closed", Kind::Boolean).read_only(),
    field("IsWon", "Won", Kind::Boolean).read_only(),
    text("ForecastCategoryName", "Forecast Category", 40).read_only(),
    field("DefaultProbability", "Probability (%)", Kind::Percent).read_only(),
    text("Description", "Description", 255).read_only(),
]];

/// The stages every new org has: name, chance of winning, forecast category.
pub(in crate::salesforce) const STAGES_AT_START: &[(&str, u32, &str)] = &[
    ("Prospecting", 10, "Pipeline"),
    ("Qualification", 10, "Pipeline"),
    ("Needs Analysis", 20, "Pipeline"),
    ("Value Proposition", 50, "Pipeline"),
    ("Proposal/Price Quote", 75, "Best Case"),
    ("Negotiation/Review", 90, "Commit"),
    ("Closed Won", 100, "Closed"),
    ("Closed Lost", 0, "Omitted"),
];

static TASK: &[&[Field]] = &[&[
    field("WhoId", "Name ID", PERSON).children("Tasks"),
    field("WhatId", "Related To ID", RELATED).children("Tasks"),
    text("Subject", "Subject", 255),
    field("ActivityDate", "Due Date Only", Kind::Date),
    open_choice("Status", "Status", TASK_STATES).or(Preset::Text("Not Started")),
    open_choice("Priority", "Priority", TASK_PRIORITIES).or(Preset::Text("Normal")),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
    seen("AccountId", "Account ID", Kind::Reference(&["Account"])),
    field("IsClosed", "Closed", Kind::Boolean).read_only(),
    flag("IsArchived", "Archived").read_only(),
    text("Perennial_Key__c", "Perennial Key", TEXT).key(Key::ExternalUnique),
]];

static EVENT: &[&[Field]] = &[&[
    field("WhoId", "Name ID", PERSON).children("Events"),
    field("WhatId", "Related To ID", RELATED).children("Events"),
    text("Subject", "Subject", 255),
    text("Location", "Location", 255),
    flag("IsAllDayEvent", "All-Day Event"),
    field("ActivityDateTime", "Due Date Time", Kind::DateTime),
    field("ActivityDate", "Due Date Only", Kind::Date),
    field("DurationInMinutes", "Duration", Kind::Integer),
    field("StartDateTime", "Start Date Time", Kind::DateTime),
    field("EndDateTime", "End Date Time", Kind::DateTime),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
    seen("AccountId", "Account ID", Kind::Reference(&["Account"])),
    flag("IsPrivate", "Private"),
    choice("ShowAs", "Show Time As", SHOWN_AS),
    flag("IsArchived", "Archived").read_only(),
]];

static CASE: &[&[Field]] = &[&[
    text("CaseNumber", "Case Number", 30).read_only(),
    to("ContactId", "Contact ID", &["Contact"]).children("Cases"),
    to("AccountId", "Account ID", &["Account"]).children("Cases"),
    to("ParentId", "Parent Case ID", &["Case"]).children("Cases"),
    text("SuppliedName", "Name", 80),
    field("SuppliedEmail", "Email Address", Kind::Email),
    text("SuppliedCompany", "Company", 80),
    open_choice(
        "Type",
        "Case Type",
        &["Mechanical", "Electrical", "Electronic", "Structural", "Other"],
    ),
    open_choice("Status", "Status", CASE_STATES).or(Preset::Text("New")),
    open_choice("Reason", "Case Reason", CASE_REASONS),
    open_choice("Origin", "Case Origin", CASE_ORIGINS),
    text("Subject", "Subject", 255),
    open_choice("Priority", "Priority", CASE_PRIORITIES).or(Preset::Text("Medium")),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
    field("IsClosed", "Closed", Kind::Boolean).read_only(),
    field("ClosedDate", "Closed Date", Kind::DateTime).read_only(),
    flag("IsEscalated", "Escalated"),
]];

static CONTRACT: &[&[Field]] = &[&[
    text("ContractNumber", "Contract Number", 30).read_only(),
    to("AccountId", "Account ID", &["Account"])
        .required()
        .children("Contracts"),
    choice("Status", "Status", CONTRACT_STATES).or(Preset::Text("Draft")),
    field("StartDate", "Contract Start Date", Kind::Date),
    field("ContractTerm", "Contract Term", Kind::Integer),
    field("EndDate", "Contract End Date", Kind::Date).read_only(),
    field("Description", "Description", Kind::Long(DESCRIPTION)),
]];

static NOTE: &[&[Field]] = &[&[
    field(
        "ParentId",
        "Parent ID",
        Kind::Reference(&["Account", "Contact", "Opportunity", "Case", "Contract"]),
    )
    .required()
    .on_create()
    .children("Notes"),
    text("Title", "Title", 80).required(),
    field("Body", "Body", Kind::Long(DESCRIPTION)),
    flag("IsPrivate", "Private"),
    text("Perennial_Key__c", "Perennial Key", TEXT).key(Key::ExternalUnique),
]];

static LEAD: &[&[Field]] = &[
    &[
        text("LastName", "Last Name", 80).required(),
        text("FirstName", "First Name", 40),
        text("Name", "Full Name", 121).read_only(),
        text("Title", "Title", 128),
        text("Company", "Company", 255).required(),
    ],
    &address!("", "Address"),
    &[
        field("Phone", "Phone", Kind::Phone),
        field("Email", "Email", Kind::Email).key(Key::Lookup),
        field("Website", "Website", Kind::Url),
        field("Description", "Description", Kind::Long(DESCRIPTION)),
        open_choice("LeadSource", "Lead Source", SOURCES),
        open_choice("Status", "Status", LEAD_STATES).or(Preset::Text("Open - Not Contacted")),
        flag("IsConverted", "Converted").read_only(),
    ],
];

static RECORD_TYPE: &[&[Field]] = &[&[
    text("Name", "Record Type Name", 80).required(),
    text("DeveloperName", "Record Type Name", 80).required(),
    text("SobjectType", "SObject Type Name", 40).required(),
    flag("IsActive", "Active"),
]];

static USER_FIELDS: &[&[Field]] = &[&[
    text("Username", "Username", 80).required(),
    text("LastName", "Last Name", 80).required(),
    text("FirstName", "First Name", 40),
    text("Name", "Full Name", 121).read_only(),
    field("Email", "Email", Kind::Email),
    text("Title", "Title", 80),
    text("Department", "Department", 80),
    field("IsActive", "Active", Kind::Boolean),
    text("TimeZoneSidKey", "Time Zone", 40),
    text("UserType", "User Type", 40),
    to("ManagerId", "Manager ID", &["User"]),
]];

/// One field of Organization that nobody may write.
const fn of_org(name: &'static str, kind: Kind) -> Field {
    field(name, name, kind).read_only()
}

const SHORT: Kind = Kind::Text(80);

static ORGANIZATION: &[&[Field]] = &[
    &[of_org("Name", SHORT), of_org("Division", SHORT)],
    &address!("", "Address"),
    &[
        of_org("Phone", Kind::Phone),
        of_org("Fax", Kind::Phone),
        of_org("PrimaryContact", SHORT),
        of_org("DefaultLocaleSidKey", SHORT),
        of_org("TimeZoneSidKey", SHORT),
        of_org("LanguageLocaleKey", SHORT),
        of_org("ReceivesInfoEmails", Kind::Boolean),
        of_org("ReceivesAdminInfoEmails", Kind::Boolean),
        of_org("PreferencesRequireOpportunityProducts", Kind::Boolean),
        of_org("PreferencesTransactionSecurityPolicy", Kind::Boolean),
        of_org("PreferencesTerminateOldestSession", Kind::Boolean),
        of_org("PreferencesConsentManagementEnabled", Kind::Boolean),
        of_org("PreferencesAutoSelectIndividualOnMerge", Kind::Boolean),
        of_org("PreferencesLightningLoginEnabled", Kind::Boolean),
        of_org("PreferencesOnlyLLPermUserAllowed", Kind::Boolean),
        of_org("FiscalYearStartMonth", Kind::Integer),
        of_org("UsesStartDateAsFiscalYearName", Kind::Boolean),
        of_org("DefaultAccountAccess", SHORT),
        of_org("DefaultContactAccess", SHORT),
        of_org("DefaultOpportunityAccess", SHORT),
        of_org("DefaultLeadAccess", SHORT),
        of_org("DefaultCaseAccess", SHORT),
        of_org("DefaultCalendarAccess", SHORT),
        of_org("DefaultPricebookAccess", SHORT),
        of_org("DefaultCampaignAccess", SHORT),
        of_org("DelegatedAuthenticationServiceUrl", Kind::Url),
        of_org("ComplianceBccEmail", Kind::Email),
        of_org("UiSkin", SHORT),
        of_org("SignupCountryIsoCode", SHORT),
        of_org("TrialExpirationDate", Kind::DateTime),
        of_org("NumKnowledgeService", Kind::Integer),
        of_org("OrganizationType", SHORT),
        of_org("NamespacePrefix", SHORT),
        of_org("InstanceName", SHORT),
        of_org("IsSandbox", Kind::Boolean),
        of_org("WebToCaseDefaultOrigin", SHORT),
        of_org("MonthlyPageViewsUsed", Kind::Integer),
        of_org("MonthlyPageViewsEntitlement", Kind::Integer),
        of_org("IsReadOnly", Kind::Boolean),
    ],
];

/// How an object is made: names, prefix of its ids, who owns a record, whether it can be written, fields.
type Made = (
    (&'static str, &'static str, &'static str),
    &'static str,
    Owned,
    bool,
    &'static [&'static [Field]],
);

const MADE: &[Made] = &[
    (("Account", "Account", "Accounts"), "001", Owned::Yes, true, ACCOUNT),
    (("Contact", "Contact", "Contacts"), "003", Owned::Yes, true, CONTACT),
    (
        ("Opportunity", "Opportunity", "Opportunities"),
        "006",
        Owned::Yes,
        true,
        OPPORTUNITY,
    ),
    (
        (
            "OpportunityContactRole",
            "Opportunity Contact Role",
            "Opportunity Contact Role",
        ),
        "00K",
        Owned::No,
        true,
        OPPORTUNITY_CONTACT_ROLE,
    ),
    (
        ("OpportunityStage", "Opportunity Stage", "Opportunity Stage"),
        "01J",
        Owned::Setup,
        false,
        OPPORTUNITY_STAGE,
    ),
    (("Task", "Task", "Tasks"), "00T", Owned::Yes, true, TASK),
    (("Event", "Event", "Events"), "00U", Owned::Yes, true, EVENT),
    (("Case", "Case", "Cases"), "500", Owned::Yes, true, CASE),
    (("Contract", "Contract", "Contracts"), "800", Owned::Yes, true, CONTRACT),
    (("Note", "Note", "Notes"), "002", Owned::Yes, true, NOTE),
    (("Lead", "Lead", "Leads"), "00Q", Owned::Yes, true, LEAD),
    (
        ("RecordType", "Record Type", "Record Types"),
        "012",
        Owned::Setup,
        false,
        RECORD_TYPE,
    ),
    (("User", "User", "Users"), "005", Owned::Setup, false, USER_FIELDS),
    (
        ("Organization", "Organization", "Organizations"),
        "00D",
        Owned::Setup,
        false,
        ORGANIZATION,
    ),
];

/// Every standard object.
pub(super) fn objects() -> &'static [&'static Object] {
    static OBJECTS: LazyLock<Vec<&'static Object>> = LazyLock::new(|| {
        let made = MADE.iter().map(|(names, prefix, owned, writable, parts)| {
            let fields = whole(*owned, &parts.concat());
            &*Box::leak(Box::new(Object::new(*names, prefix, *writable, fields)))
        });
        made.collect()
    });
    &OBJECTS
}

#[cfg(test)]
mod tests {
    use super::objects;

    #[test]
    fn ids_tell_objects_apart_and_no_field_is_there_twice() {
        let mut prefixes: Vec<&str> = objects().iter().map(|object| object.prefix).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        assert_eq!(prefixes.len(), objects().len());
        for object in objects() {
            assert_eq!(object.by_name.len(), object.fields.len(), "{}", object.name);
        }
    }
}
