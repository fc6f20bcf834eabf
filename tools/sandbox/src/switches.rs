//! What a test or a demo can set on running servers: rules, tokens, faults by chance, webhooks, mutations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::custom::{Access, Rule};
use crate::fault::Chances;
use crate::mutation::Mutation;
use crate::record::System;
use crate::serve::lock;
use crate::token::{App, TokenRule};
use crate::webhook::{self, Delivery, Webhooks};
use crate::{EditError, Sandbox, hubspot, salesforce};

/// Why a rule was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule cannot be taken: {message}")]
pub struct RuleError {
    /// What is wrong.
    pub message: String,
}

impl Sandbox {
    /// Breaks a server on purpose, or mends it.
    pub fn mutate(&self, mutation: Option<Mutation>) {
        lock(&self.world).mutation = mutation;
    }

    /// Faults that come by chance from now on.
    pub fn set_chances(&self, chances: Option<Chances>) {
        lock(&self.world).chances = chances;
    }

    /// How long every answer takes at least.
    pub fn set_latency(&self, latency: Duration) {
        lock(&self.world).latency = latency;
    }

    /// When tokens end.
    pub fn set_tokens(&self, system: System, rule: TokenRule) {
        let mut world = lock(&self.world);
        let now = world.now();
        match system {
            System::Salesforce => world.salesforce_tokens.set_rule(rule, now),
            System::Hubspot => world.hubspot_tokens.set_rule(rule, now),
        }
    }

    /// Ends every token that is good now. The token endpoint gives new ones.
    pub fn expire_tokens(&self, system: System) {
        let mut world = lock(&self.world);
        match system {
            System::Salesforce => world.salesforce_tokens.expire(),
            System::Hubspot => world.hubspot_tokens.expire(),
        }
    }

    /// How many tokens were given.
    pub fn tokens_given(&self, system: System) -> u64 {
        let world = lock(&self.world);
        match system {
            System::Salesforce => world.salesforce_tokens.given,
            System::Hubspot => world.hubspot_tokens.given,
        }
    }

    /// The app whose credentials the token endpoint checks from now on.
    pub fn set_app(&self, system: System, app: App) {
        let mut world = lock(&self.world);
        match system {
            System::Salesforce => world.salesforce_app = Some(app),
            System::Hubspot => world.hubspot_app = Some(app),
        }
    }

    /// Adds a rule of the org.
    pub fn add_rule(&self, rule: Rule) -> Result<(), RuleError> {
        let mut world = lock(&self.world);
        let fits = match rule {
            Rule::Validation { .. } | Rule::Duplicate { .. } => salesforce::rule_fits(&world, &rule),
            Rule::ConditionalRequired { .. } => hubspot::rule_fits(&world, &rule),
        };
        fits.map_err(|message| RuleError { message })?;
        world.rules.push(rule);
        Ok(())
    }

    /// Changes what the integration user may do with a field. Answers whether there is such a field.
    pub fn set_access(&self, system: System, object: &str, field: &str, access: Access) -> bool {
        let mut world = lock(&self.world);
        match system {
            System::Salesforce => salesforce::allow(&mut world, object, field, access),
            System::Hubspot => hubspot::allow(&mut world, object, field, access),
        }
    }

    /// Lets the next writes of a record meet somebody else's lock: `UNABLE_TO_LOCK_ROW`, 423.
    pub fn set_busy(&self, system: System, object: &str, id: &str, times: u32) {
        lock(&self.world).set_busy(system, object, id, times);
    }

    /// Creates a record as a person in the CRM would, and answers its id.
    pub fn make(
        &self,
        system: System,
        object: &str,
        fields: &BTreeMap<String, Value>,
        by: &str,
    ) -> Result<String, EditError> {
        let mut world = lock(&self.world);
        let done = match system {
            System::Salesforce => salesforce::make(&mut world, object, fields, by),
            System::Hubspot => hubspot::make(&mut world, object, fields, by),
        };
        done.map_err(|message| refused(system, object, "", message))
    }

    /// Deletes a record as a person in the CRM would.
    pub fn remove(&self, system: System, object: &str, id: &str, by: &str) -> Result<(), EditError> {
        let mut world = lock(&self.world);
        let done = match system {
            System::Salesforce => salesforce::remove(&mut world, object, id, by),
            System::Hubspot => hubspot::remove(&mut world, object, id, by),
        };
        done.map_err(|message| refused(system, object, id, message))
    }

    /// API requests since the start by method and kind of path, ids left out.
    pub fn tally(&self, system: System) -> BTreeMap<String, u64> {
        let world = lock(&self.world);
        let own = world.tally.iter().filter(|((one, _), _)| *one == system);
        own.map(|((_, route), count)| (route.clone(), *count)).collect()
    }

    /// What was counted against the daily budget since the start.
    pub fn used(&self, system: System) -> u32 {
        let world = lock(&self.world);
        match system {
            System::Salesforce => world.salesforce_used,
            System::Hubspot => world.hubspot_used,
        }
    }

    /// Where HubSpot's webhooks go from now on. Addresses of other machines are refused.
    pub fn set_webhooks(&self, webhooks: Webhooks) -> Result<(), RuleError> {
        if !webhooks.target.starts_with("http://127.0.0.1:") {
            let message = format!(
                "webhooks go to http://127.0.0.1:PORT/.. only, not to {}",
                webhooks.target
            );
            return Err(RuleError { message });
        }
        lock(&self.world).hooks.rule = Some(webhooks);
        Ok(())
    }

    /// Events that wait for a delivery.
    pub fn webhooks_waiting(&self) -> usize {
        lock(&self.world).hooks.waiting()
    }

    /// Sends every event that waits, once. What was refused waits for the next call, up to ten times.
    pub async fn deliver_webhooks(&self) -> Vec<Delivery> {
        let packed = {
            let mut world = lock(&self.world);
            let (now, mutation) = (world.now().as_millisecond(), world.mutation);
            world.hooks.pack(now, mutation)
        };
        let Ok(client) = reqwest::Client::builder().no_proxy().build() else {
            return Vec::new();
        };
        let mut outcomes = Vec::with_capacity(packed.len());
        for one in packed {
            let (one, delivery) = webhook::send(&client, one).await;
            if !delivery.status.is_some_and(|status| (200..300).contains(&status)) {
                lock(&self.world).hooks.came_back(one);
            }
            outcomes.push(delivery);
        }
        outcomes
    }
}

fn refused(system: System, object: &str, id: &str, message: String) -> EditError {
    EditError {
        system,
        object: object.to_owned(),
        id: id.to_owned(),
        message,
    }
}
