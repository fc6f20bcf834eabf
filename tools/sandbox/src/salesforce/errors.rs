//! Salesforce refusals. The same refusal reads `errorCode` on a request and `statusCode` on a row of a collection.

use serde_json::{Value, json};

use crate::wire::Reply;

/// One refusal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) fields: Vec<String>,
    /// What else the error tells, under which key.
    pub(crate) more: Option<(&'static str, Value)>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            code,
            message: message.into(),
            fields: Vec::new(),
            more: None,
        }
    }

    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal::new(400, code, message)
    }

    #[must_use]
    pub(crate) fn on(mut self, field: &str) -> Refusal {
        self.fields.push(field.to_owned());
        self
    }

    pub(crate) fn not_found() -> Refusal {
        Refusal::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub(crate) fn reply(&self) -> Reply {
        let mut body = json!({ "message": self.message, "errorCode": self.code });
        if !self.fields.is_empty() {
            body["fields"] = json!(self.fields);
        }
        if let Some((key, value)) = &self.more {
            body[*key] = value.clone();
        }
        Reply::json(self.status, json!([body]))
    }

    /// The refusal as one row of a collection's answer.
    pub(crate) fn row(&self) -> Value {
        let mut error = json!({ "statusCode": self.code, "message": self.message, "fields": self.fields });
        if let Some((key, value)) = &self.more {
            error[*key] = value.clone();
        }
        json!({ "success": false, "errors": [error] })
    }
}
