//! CRMs in the process of a test: what they do is one function, and nothing is ever lost on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use perennial_core::action::{Done, Effect, Permit, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_tools::{Answer, Known, LookUp, SendError, Tool};

/// What such a CRM does.
pub trait CarryOut: Send + Sync {
    /// Does it, or says why not.
    ///
    /// # Errors
    /// As the test wants it.
    fn carry_out(&self, effect: &Effect, at: Timestamp) -> Result<Receipt, SendError>;
}

/// A Salesforce in the process.
pub struct InProcess<T>(pub Arc<T>);

impl<T: CarryOut> Tool for InProcess<T> {
    fn crm(&self) -> Crm {
        Crm::Salesforce
    }

    crate::carries_out_only!();

    fn execute<'a>(
        &'a self,
        _permit: Permit,
        effect: &'a Effect,
        _known: &'a Known,
        at: Timestamp,
    ) -> Answer<'a, Receipt> {
        let answer = self.0.carry_out(effect, at);
        Box::pin(async move { answer })
    }

    fn look_up<'a>(&'a self, _effect: &'a Effect, _at: Timestamp) -> Answer<'a, LookUp> {
        Box::pin(async { Ok(LookUp::Absent) })
    }
}

/// The receipt for a record that an effect made.
#[must_use]
pub fn created(effect: &Effect, object: &str, at: Timestamp) -> Receipt {
    Receipt {
        tool: Crm::Salesforce,
        done: Done::Created,
        object: object.to_owned(),
        record: effect.id.to_string(),
        url: String::new(),
        before: BTreeMap::new(),
        after: BTreeMap::new(),
        at,
    }
}
