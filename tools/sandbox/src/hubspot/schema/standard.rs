//! The standard object types: their properties, pipelines and association types. Computed properties are those that real
//! answers to a create carry (recorded).

use super::{Computed, Kind, Pipeline, Property, Type, computed, property, stage, text};

/// Length of a single-line text, the vendor's largest.
pub(super) const TEXT: usize = 65_536;
/// Length of a note's body. Documented second hand.
const NOTE_BODY: usize = 65_536;

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

pub(super) static COMMON: &[Property] = &[
    text("hs_object_id", "Record ID").read_only(),
    property("createdate", "Create Date", Kind::DateTime).read_only(),
    property("hs_createdate", "Object Create Date", Kind::DateTime).read_only(),
    property("lastmodifieddate", "Last Modified Date", Kind::DateTime).read_only(),
    property("hs_lastmodifieddate", "Last Modified Date", Kind::DateTime).read_only(),
    property("hubspot_owner_id", "Owner", Kind::Owner),
    computed("hs_object_source", "Record source", Computed::Fixed("INTEGRATION")),
    computed("hs_object_source_id", "Record source ID", Computed::Fixed("18221010")),
    computed(
        "hs_object_source_label",
        "Record source label",
        Computed::Fixed("INTEGRATION"),
    ),
];

static COMPANIES: &[Property] = &[
    text("name", "Company name"),
    text("domain", "Company Domain Name"),
    text("website", "Website URL"),
    text("phone", "Phone Number"),
    text("city", "City"),
    text("state", "State/Region"),
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
    computed(
        "hs_annual_revenue_currency_code",
        "Annual revenue currency code",
        Computed::Fixed("USD"),
    ),
    computed("hs_num_blockers", "Num blockers", Computed::Fixed("0")),
    computed("hs_num_child_companies", "Num child companies", Computed::Fixed("0")),
    computed(
        "hs_num_contacts_with_buying_roles",
        "Num contacts with buying roles",
        Computed::Fixed("0"),
    ),
    computed("hs_num_decision_makers", "Num decision makers", Computed::Fixed("0")),
    computed("hs_num_open_deals", "Num open deals", Computed::Fixed("0")),
    computed(
        "hs_pipeline",
        "Pipeline",
        Computed::Fixed("companies-lifecycle-pipeline"),
    ),
    computed("hs_task_label", "Task label", Computed::Copy("name")),
    computed(
        "hs_v2_date_entered_current_stage",
        "V2 date entered current stage",
        Computed::Created,
    ),
    computed(
        "hs_v2_time_in_current_stage",
        "V2 time in current stage",
        Computed::Created,
    ),
    computed(
        "num_associated_contacts",
        "Num associated contacts",
        Computed::Fixed("0"),
    ),
    computed("num_notes", "Num notes", Computed::Fixed("0")),
];

static CONTACTS: &[Property] = &[
    property("email", "Email", Kind::Email).unique(),
    text("firstname", "First Name"),
    text("lastname", "Last Name"),
    text("jobtitle", "Job Title"),
    text("phone", "Phone Number"),
    text("company", "Company Name"),
    text("website", "Website URL"),
    computed("notes_last_updated", "Last activity date", Computed::Touched),
    property("lifecyclestage", "Lifecycle Stage", Kind::Lifecycle),
    property("hs_email_optout", "Unsubscribed from all email", Kind::Boolean).read_only(),
    computed("hs_all_contact_vids", "All contact vids", Computed::Id),
    computed(
        "hs_associated_target_accounts",
        "Associated target accounts",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_currently_enrolled_in_prospecting_agent",
        "Currently enrolled in prospecting agent",
        Computed::Fixed("false"),
    ),
    computed("hs_email_domain", "Email domain", Computed::Domain("email")),
    computed("hs_full_name_or_email", "Full name or email", Computed::FullName),
    computed("hs_is_contact", "Is contact", Computed::Fixed("true")),
    computed("hs_is_unworked", "Is unworked", Computed::Fixed("true")),
    computed(
        "hs_lifecyclestage_lead_date",
        "Lifecyclestage lead date",
        Computed::CreatedMs,
    ),
    computed(
        "hs_membership_has_accessed_private_content",
        "Membership has accessed private content",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_pipeline",
        "Pipeline",
        Computed::Fixed("contacts-lifecycle-pipeline"),
    ),
    computed(
        "hs_prospecting_agent_actively_enrolled_count",
        "Prospecting agent actively enrolled count",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_prospecting_agent_total_enrolled_count",
        "Prospecting agent total enrolled count",
        Computed::Fixed("0"),
    ),
    computed("hs_registered_member", "Registered member", Computed::Fixed("0")),
    computed(
        "hs_searchable_calculated_phone_number",
        "Searchable calculated phone number",
        Computed::Copy("phone"),
    ),
    computed(
        "hs_sequences_actively_enrolled_count",
        "Sequences actively enrolled count",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_v2_date_entered_current_stage",
        "V2 date entered current stage",
        Computed::Created,
    ),
    computed(
        "hs_v2_time_in_current_stage",
        "V2 time in current stage",
        Computed::Created,
    ),
    computed("num_notes", "Num notes", Computed::Fixed("0")),
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
    computed(
        "amount_in_home_currency",
        "Amount in home currency",
        Computed::Copy("amount"),
    ),
    computed("days_to_close", "Days to close", Computed::Fixed("0")),
    computed("hs_closed_amount", "Closed amount", Computed::Fixed("0")),
    computed(
        "hs_closed_amount_in_home_currency",
        "Closed amount in home currency",
        Computed::Fixed("0"),
    ),
    computed("hs_closed_won_count", "Closed won count", Computed::Fixed("0")),
    computed("hs_days_to_close_raw", "Days to close raw", Computed::Fixed("0")),
    computed(
        "hs_deal_stage_probability_shadow",
        "Deal stage probability shadow",
        Computed::Fixed("0"),
    ),
    computed("hs_forecast_amount", "Forecast amount", Computed::Copy("amount")),
    computed(
        "hs_has_last_conversation_follow_ups",
        "Has last conversation follow ups",
        Computed::Fixed("false"),
    ),
    computed(
        "hs_has_last_meeting_followups",
        "Has last meeting followups",
        Computed::Fixed("false"),
    ),
    computed("hs_is_closed_lost", "Is closed lost", Computed::Fixed("false")),
    computed("hs_is_closed_won", "Is closed won", Computed::Fixed("false")),
    computed("hs_is_deal_split", "Is deal split", Computed::Fixed("false")),
    computed(
        "hs_num_associated_active_deal_registrations",
        "Num associated active deal registrations",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_num_associated_deal_registrations",
        "Num associated deal registrations",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_num_associated_deal_splits",
        "Num associated deal splits",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_num_of_associated_line_items",
        "Num of associated line items",
        Computed::Fixed("0"),
    ),
    computed("hs_num_target_accounts", "Num target accounts", Computed::Fixed("0")),
    computed(
        "hs_number_of_call_engagements",
        "Number of call engagements",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_number_of_inbound_calls",
        "Number of inbound calls",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_number_of_outbound_calls",
        "Number of outbound calls",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_number_of_overdue_tasks",
        "Number of overdue tasks",
        Computed::Fixed("0"),
    ),
    computed("hs_projected_amount", "Projected amount", Computed::Fixed("0")),
    computed(
        "hs_projected_amount_in_home_currency",
        "Projected amount in home currency",
        Computed::Fixed("0"),
    ),
    computed(
        "num_associated_contacts",
        "Num associated contacts",
        Computed::Fixed("0"),
    ),
    computed("num_notes", "Num notes", Computed::Fixed("0")),
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
    computed("hs_all_owner_ids", "All owner ids", Computed::Copy("hubspot_owner_id")),
    computed("hs_body_preview", "Body preview", Computed::Copy("hs_note_body")),
    computed(
        "hs_body_preview_html",
        "Body preview html",
        Computed::Html("hs_note_body"),
    ),
    computed(
        "hs_body_preview_is_truncated",
        "Body preview is truncated",
        Computed::Fixed("false"),
    ),
    computed("hs_obj_coords", "Obj coords", Computed::Coordinates),
    computed(
        "hs_user_ids_of_all_owners",
        "User ids of all owners",
        Computed::Copy("hubspot_owner_id"),
    ),
    computed(
        "hubspot_owner_assigneddate",
        "Hubspot owner assigneddate",
        Computed::Created,
    ),
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
    computed(
        "hs_engagements_last_contacted",
        "Engagements last contacted",
        Computed::Copy("hs_timestamp"),
    ),
    computed("hs_obj_coords", "Obj coords", Computed::Coordinates),
    computed(
        "hs_start_date_with_fallback",
        "Start date with fallback",
        Computed::Created,
    ),
    computed(
        "hs_task_completion_count",
        "Task completion count",
        Computed::Fixed("0"),
    ),
    computed("hs_task_family", "Task family", Computed::Fixed("SALES")),
    computed(
        "hs_task_for_object_type",
        "Task for object type",
        Computed::Fixed("OWNER"),
    ),
    computed("hs_task_is_all_day", "Task is all day", Computed::Fixed("false")),
    computed("hs_task_is_completed", "Task is completed", Computed::Fixed("0")),
    computed(
        "hs_task_is_completed_call",
        "Task is completed call",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_task_is_completed_email",
        "Task is completed email",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_task_is_completed_linked_in",
        "Task is completed linked in",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_task_is_completed_sequence",
        "Task is completed sequence",
        Computed::Fixed("0"),
    ),
    computed(
        "hs_task_is_overdue",
        "Task is overdue",
        Computed::Past("hs_timestamp", "true", "false"),
    ),
    computed(
        "hs_task_is_past_due_date",
        "Task is past due date",
        Computed::Past("hs_timestamp", "true", "false"),
    ),
    computed("hs_task_is_sub_task", "Task is sub task", Computed::Fixed("false")),
    computed(
        "hs_task_missed_due_date",
        "Task missed due date",
        Computed::Past("hs_timestamp", "true", "false"),
    ),
    computed(
        "hs_task_missed_due_date_count",
        "Task missed due date count",
        Computed::Past("hs_timestamp", "1", "0"),
    ),
];

/// What emails, calls and meetings have in common with the sandbox.
static ENGAGEMENTS: &[Property] = &[
    property("hs_timestamp", "Activity date", Kind::DateTime).required(),
    text("hs_email_subject", "Email subject"),
    text("hs_email_direction", "Email direction"),
    text("hs_call_title", "Call title"),
    text("hs_meeting_title", "Meeting name"),
    property("hs_body", "Body", Kind::Text(NOTE_BODY)),
];

static LINE_ITEMS: &[Property] = &[
    text("name", "Name"),
    property("quantity", "Quantity", Kind::Number),
    property("price", "Unit price", Kind::Number),
    property("amount", "Net price", Kind::Number),
    text("hs_product_id", "Product ID"),
];

static QUOTES: &[Property] = &[
    text("hs_title", "Quote Name"),
    property("hs_expiration_date", "Expiration Date", Kind::DateTime),
    text("hs_status", "Quote Approval Status"),
];

const MODIFIED: &str = "hs_lastmodifieddate";

pub(super) static TYPES: &[Type] = &[
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
    Type {
        name: "emails",
        singular: "email",
        type_id: "0-49",
        modified: MODIFIED,
        created: "hs_createdate",
        shown: &[],
        properties: ENGAGEMENTS,
        pipeline: None,
    },
    Type {
        name: "calls",
        singular: "call",
        type_id: "0-48",
        modified: MODIFIED,
        created: "hs_createdate",
        shown: &[],
        properties: ENGAGEMENTS,
        pipeline: None,
    },
    Type {
        name: "meetings",
        singular: "meeting",
        type_id: "0-47",
        modified: MODIFIED,
        created: "hs_createdate",
        shown: &[],
        properties: ENGAGEMENTS,
        pipeline: None,
    },
    Type {
        name: "line_items",
        singular: "line_item",
        type_id: "0-8",
        modified: MODIFIED,
        created: "hs_createdate",
        shown: &["amount", "name", "price", "quantity"],
        properties: LINE_ITEMS,
        pipeline: None,
    },
    Type {
        name: "quotes",
        singular: "quote",
        type_id: "0-14",
        modified: MODIFIED,
        created: "hs_createdate",
        shown: &["hs_expiration_date", "hs_status", "hs_title"],
        properties: QUOTES,
        pipeline: None,
    },
];

/// Association types: from, to, number there, number back. The first of a pair is the default, others are primary ties.
pub(super) const ASSOCIATIONS: &[(&str, &str, u32, u32)] = &[
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
    ("emails", "companies", 186, 185),
    ("emails", "contacts", 198, 197),
    ("emails", "deals", 210, 209),
    ("calls", "companies", 182, 181),
    ("calls", "contacts", 194, 193),
    ("calls", "deals", 206, 205),
    ("meetings", "companies", 188, 187),
    ("meetings", "contacts", 200, 199),
    ("meetings", "deals", 212, 211),
    ("line_items", "deals", 20, 19),
    ("quotes", "deals", 64, 63),
];
