//! HubSpot refusals, for a whole request and for one input of a batch.

use serde_json::{Value, json};

use crate::wire::Reply;
use crate::world::World;

/// One refusal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) category: &'static str,
    pub(crate) message: String,
    /// Details: message, code, context.
    pub(crate) errors: Vec<Value>,
    pub(crate) extra: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub(crate) fn new(status: u16, category: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            category,
            message: message.into(),
            errors: Vec::new(),
            extra: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "VALIDATION_ERROR", message)
    }

    /// One bad property value.
    pub(crate) fn property(name: &str, code: &str, message: impl Into<String>) -> Refusal {
        let message = message.into();
        let detail = json!([{ "isValid": false, "message": message, "error": code, "name": name }]);
        let mut refusal = Refusal::invalid(format!("Property values were not valid: {detail}"));
        refusal.errors = vec![json!({ "message": message, "code": code, "context": { "propertyName": [name] } })];
        refusal
    }

    pub(crate) fn not_found() -> Refusal {
        Refusal::new(404, "OBJECT_NOT_FOUND", "resource not found")
    }

    pub(crate) fn reply(&self, world: &mut World) -> Reply {
        let mut body = json!({
            "status": "error", "message": self.message, "correlationId": correlation(world), "category": self.category,
        });
        if !self.errors.is_empty() {
            body["errors"] = json!(self.errors);
        }
        if self.status == 429 {
            // The name of the key is unverified.
            body["errorType"] = json!("RATE_LIMIT");
        }
        if let Some((key, value)) = self.extra {
            body[key] = json!(value);
        }
        Reply::json(self.status, body)
    }

    /// The refusal as one entry of a batch's `errors`.
    pub(crate) fn entry(&self, context: Value) -> Value {
        let mut entry = json!({
            "status": "error", "category": self.category, "message": self.message, "context": context,
        });
        if !self.errors.is_empty() {
            entry["errors"] = json!(self.errors);
        }
        entry
    }
}

/// An id for people to quote, counted up so that a test sees the same one twice.
fn correlation(world: &mut World) -> String {
    world.correlation += 1;
    format!("00000000-0000-4000-8000-{:012x}", world.correlation)
}
