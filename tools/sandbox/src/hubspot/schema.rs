//! The HubSpot object types the sandbox knows, their properties, pipelines and association types.

/// Length of a single-line text, the vendor's largest.
const TEXT: usize = 65_536;
/// Length of a note's body. Documented second hand.
const NOTE_BODY: usize = 65_536;

/// The type of a property, with what its values are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text(usize),
    Number,
    Boolean,
    DateTime,
    /// One of these values.
    Options(&'static [&'static str]),
    /// One of these values, and never an earlier one than before.
    Lifecycle,
    Owner,
    Email,
    Pipeline,
    Stage,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unique: bool,
    pub(crate) required: bool,
    pub(crate) read_only: bool,
}

impl Property {
    const fn unique(mut self) -> Property {
        self.unique = true;
        self
    }

    const fn required(mut self) -> Property {
        self.required = true;
        self
    }

    const fn read_only(mut self) -> Property {
        self.read_only = true;
        self
    }
}

const fn property(name: &'static str, label: &'static str, kind: Kind) -> Property {
    Property {
        name,
        label,
        kind,
        unique: false,
        required: false,
        read_only: false,
    }
}

const fn text(name: &'static str, label: &'static str) -> Property {
    property(name, label, Kind::Text(TEXT))
}

#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) type_id: &'static str,
    /// The property with the time of the last change.
    pub(crate) modified: &'static str,
    /// The property with the time of creation.
    pub(crate) created: &'static str,
    /// What a read shows when it does not ask for properties.
    pub(crate) shown: &'static [&'static str],
    pub(crate) properties: &'static [Property],
    /// Property of the pipeline, of the stage, the pipeline and its stages.
    pub(crate) pipeline: Option<&'static Pipeline>,
}

impl Type {
    pub(crate) fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties
            .iter()
            .chain(COMMON)
            .find(|property| property.name == name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Property> {
        self.properties.iter().chain(COMMON)
    }

    pub(crate) fn indexed(&self) -> Vec<&'static str> {
        self.properties
            .iter()
            .filter(|property| property.unique)
            .map(|property| property.name)
            .collect()
    }
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) property: &'static str,
    pub(crate) stage_property: &'static str,
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) stages: &'static [Stage],
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) closed: bool,
    /// Chance of winning, deals only.
    pub(crate) probability: Option<&'static str>,
}

const fn stage(id: &'static str, label: &'static str, closed: bool, probability: Option<&'static str>) -> Stage {
    Stage {
        id,
        label,
        closed,
        probability,
    }
}

static DEAL_PIPELINE: Pipeline = Pipeline {
    property: "pipeline",
    stage_property: "dealstage",
    id: "default",
    label: "Sales Pipeline",
    stages: &[
        stage("appointmentscheduled", "Appointment Scheduled", false, Some("0.2")),
        stage("qualifiedtobuy", "Qualified To Buy", false, Some("0.4")),
        stage("presentationscheduled", "Presentation Scheduled", false, Some("0.6")),
        stage("decisionmakerboughtin", "Decision Maker Bought-In", false, Some("0.8")),
        stage("contractsent", "Contract Sent", false, Some("0.9")),
        stage("closedwon", "Closed Won", true, Some("1.0")),
        stage("closedlost", "Closed Lost", true, Some("0.0")),
    ],
};

static TICKET_PIPELINE: Pipeline = Pipeline {
    property: "hs_pipeline",
    stage_property: "hs_pipeline_stage",
    id: "0",
    label: "Support Pipeline",
    stages: &[
        stage("1", "New", false, None),
        stage("2", "Waiting on contact", false, None),
        stage("3", "Waiting on us", false, None),
        stage("4", "Closed", true, None),
    ],
};

/// Lifecycle stages from the first to the last.
pub(crate) const LIFECYCLE: &[&str] = &[
    "subscriber",
    "lead",
    "marketingqualifiedlead",
    "salesqualifiedlead",
    "opportunity",
    "customer",
    "evangelist",
    "other",
];

static COMMON: &[Property] = &[
    text("hs_object_id", "Record ID").read_only(),
    property("createdate", "Create Date", Kind::DateTime).read_only(),
    property("hs_createdate", "Object Create Date", Kind::DateTime).read_only(),
    property("lastmodifieddate", "Last Modified Date", Kind::DateTime).read_only(),
    property("hs_lastmodifieddate", "Last Modified Date", Kind::DateTime).read_only(),
    property("hubspot_owner_id", "Owner", Kind::Owner),
];

static COMPANIES: &[Property] = &[
    text("name", "Company name"),
    text("domain", "Company Domain Name"),
    text("website", "Website URL"),
    text("phone", "Phone Number"),
    text("city", "City"),
    text("country", "Country/Region"),
    text("industry", "Industry"),
    text("description", "Description"),
    property("annualrevenue", "Annual Revenue", Kind::Number),
    property("numberofemployees", "Number of Employees", Kind::Number),
    property("lifecyclestage", "Lifecycle Stage", Kind::Lifecycle),
    text("perennial_account_id", "Perennial account id").unique(),
    property("perennial_health", "Perennial health", Kind::Number),
    property("perennial_renewal_risk", "Perennial renewal risk", Kind::Number),
    text("perennial_next_step", "Perennial next step"),
    text("perennial_posture", "Perennial posture"),
    text("perennial_summary", "Perennial summary"),
];

static CONTACTS: &[Property] = &[
    property("email", "Email", Kind::Email).unique(),
    text("firstname", "First Name"),
    text("lastname", "Last Name"),
    text("jobtitle", "Job Title"),
    text("phone", "Phone Number"),
    text("company", "Company Name"),
    property("lifecyclestage", "Lifecycle Stage", Kind::Lifecycle),
    property("hs_email_optout", "Unsubscribed from all email", Kind::Boolean).read_only(),
];

static DEALS: &[Property] = &[
    text("dealname", "Deal Name"),
    property("dealstage", "Deal Stage", Kind::Stage),
    property("pipeline", "Pipeline", Kind::Pipeline),
    property("amount", "Amount", Kind::Number),
    property("closedate", "Close Date", Kind::DateTime),
    property(
        "dealtype",
        "Deal Type",
        Kind::Options(&["newbusiness", "existingbusiness"]),
    ),
    text("description", "Deal Description"),
    text("hs_next_step", "Next Step"),
    text("perennial_opportunity_id", "Perennial opportunity id").unique(),
];

static TICKETS: &[Property] = &[
    text("subject", "Ticket name"),
    text("content", "Ticket description"),
    property("hs_pipeline", "Pipeline", Kind::Pipeline),
    property("hs_pipeline_stage", "Ticket status", Kind::Stage).required(),
    property(
        "hs_ticket_priority",
        "Priority",
        Kind::Options(&["LOW", "MEDIUM", "HIGH", "URGENT"]),
    ),
    text("hs_ticket_category", "Category"),
    property("closed_date", "Close date", Kind::DateTime),
];

static NOTES: &[Property] = &[
    property("hs_timestamp", "Activity date", Kind::DateTime).required(),
    property("hs_note_body", "Note body", Kind::Text(NOTE_BODY)),
    text("perennial_key", "Perennial key").unique(),
];

static TASKS: &[Property] = &[
    property("hs_timestamp", "Due date", Kind::DateTime).required(),
    text("hs_task_subject", "Task Title"),
    property("hs_task_body", "Notes", Kind::Text(NOTE_BODY)),
    property(
        "hs_task_status",
        "Task Status",
        Kind::Options(&["NOT_STARTED", "IN_PROGRESS", "WAITING", "COMPLETED", "DEFERRED"]),
    ),
    property(
        "hs_task_priority",
        "Priority",
        Kind::Options(&["NONE", "LOW", "MEDIUM", "HIGH"]),
    ),
    property("hs_task_type", "Task Type", Kind::Options(&["EMAIL", "CALL", "TODO"])),
    text("perennial_key", "Perennial key").unique(),
];

const MODIFIED: &str = "hs_lastmodifieddate";

pub(crate) static TYPES: &[Type] = &[
    Type {
        name: "companies",
        singular: "company",
        type_id: "0-2",
        modified: MODIFIED,
        created: "createdate",
        shown: &["domain", "name"],
        properties: COMPANIES,
        pipeline: None,
    },
    Type {
        name: "contacts",
        singular: "contact",
        type_id: "0-1",
        modified: "lastmodifieddate",
        created: "createdate",
        shown: &["email", "firstname", "lastname"],
        properties: CONTACTS,
        pipeline: None,
    },
    Type {
        name: "deals",
        singular: "deal",
        type_id: "0-3",
        modified: MODIFIED,
        created: "createdate",
        shown: &["amount", "closedate", "dealname", "dealstage", "pipeline"],
        properties: DEALS,
        pipeline: Some(&DEAL_PIPELINE),
    },
    Type {
        name: "tickets",
        singular: "ticket",
        type_id: "0-5",
        modified: MODIFIED,
        created: "createdate",
        shown: &[
            "content",
            "hs_pipeline",
            "hs_pipeline_stage",
            "hs_ticket_category",
            "hs_ticket_priority",
            "subject",
        ],
        properties: TICKETS,
        pipeline: Some(&TICKET_PIPELINE),
    },
    Type {
        name: "notes",
        singular: "note",
        type_id: "0-46",
        modified: MODIFIED,
        created: "hs_createdate",
        shown: &[],
        properties: NOTES,
        pipeline: None,
    },
    Type {
        name: "tasks",
        singular: "task",
        type_id: "0-27",
        modified: MODIFIED,
        created: "hs_createdate",
        shown: &[],
        properties: TASKS,
        pipeline: None,
    },
];

/// The type of this name, plural or singular, or number.
pub(crate) fn type_named(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|one| {
        one.name.eq_ignore_ascii_case(name) || one.singular.eq_ignore_ascii_case(name) || one.type_id == name
    })
}

/// Association types: from, to, number there, number back. The first of a pair is the default, others are primary ties.
const ASSOCIATIONS: &[(&str, &str, u32, u32)] = &[
    ("contacts", "companies", 279, 280),
    ("contacts", "companies", 1, 2),
    ("deals", "companies", 341, 342),
    ("deals", "companies", 5, 6),
    ("deals", "contacts", 3, 4),
    ("deals", "tickets", 27, 28),
    ("tickets", "companies", 339, 340),
    ("tickets", "companies", 26, 25),
    ("tickets", "contacts", 16, 15),
    ("notes", "companies", 190, 189),
    ("notes", "contacts", 202, 201),
    ("notes", "deals", 214, 213),
    ("notes", "tickets", 228, 227),
    ("tasks", "companies", 192, 191),
    ("tasks", "contacts", 204, 203),
    ("tasks", "deals", 216, 215),
    ("tasks", "tickets", 230, 229),
];

/// The numbers of one kind of association, as seen from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tie {
    pub(crate) there: u32,
    pub(crate) back: u32,
}

/// Every kind of association from one type to another, the default first.
pub(crate) fn ties(from: &Type, to: &Type) -> Vec<Tie> {
    ASSOCIATIONS
        .iter()
        .filter_map(|(one, other, there, back)| {
            if *one == from.name && *other == to.name {
                Some(Tie {
                    there: *there,
                    back: *back,
                })
            } else if *one == to.name && *other == from.name {
                Some(Tie {
                    there: *back,
                    back: *there,
                })
            } else {
                None
            }
        })
        .collect()
}

/// Owners: id, e-mail, first and last name.
pub(crate) const OWNERS: &[(&str, &str, &str, &str)] = &[
    ("88842095", "ada.meyer@sandbox.example", "Ada", "Meyer"),
    ("88842096", "ben.okafor@sandbox.example", "Ben", "Okafor"),
    ("88842097", "chloe.dubois@sandbox.example", "Chloe", "Dubois"),
];
