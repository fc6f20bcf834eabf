//! Wire tests: both servers asked over real HTTP, as the adapters ask them.
#![allow(clippy::unwrap_used)]

mod faults;
mod hubspot;
mod hubspot_batches;
mod hubspot_more;
mod pages;
mod salesforce;
mod salesforce_deals;
mod salesforce_jobs;
mod tokens;

use perennial_sandbox::{Clock, Fault, FaultKind, Options, RouteMatch, Sandbox, Seed, SeedRecord, System};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

/// The time of every test.
const NOW: &str = "2026-05-01T07:25:37Z";

/// An account and a company that every test finds.
const ACCOUNT: &str = "001Sb000000000AIAQ";
const COMPANY: &str = "421355332816";

/// What a server answered.
struct Answer {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|source| panic!("{source}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or("")
    }

    /// Status and code of a refused Salesforce request.
    fn refusal(&self) -> (u16, String) {
        (
            self.status.as_u16(),
            self.json()[0]["errorCode"].as_str().unwrap_or("").to_owned(),
        )
    }
}

/// Both servers and a client.
struct World {
    sandbox: Sandbox,
    client: reqwest::Client,
}

fn seed() -> Seed {
    Seed {
        salesforce: vec![
            SeedRecord::new("Account")
                .id("001Sb000000000A")
                .field("Name", "Umbrella")
                .field("Perennial_Account_Id__c", "umbrella"),
        ],
        hubspot: vec![
            SeedRecord::new("companies")
                .id(COMPANY)
                .field("name", "Umbrella")
                .field("perennial_account_id", "umbrella")
                .field("lifecyclestage", "customer"),
        ],
    }
}

impl World {
    async fn start() -> World {
        World::with(seed()).await
    }

    async fn with(seed: Seed) -> World {
        let options = Options {
            seed,
            clock: Clock::Fixed(NOW.parse().unwrap()),
            ..Options::default()
        };
        let client = reqwest::Client::builder()
            .user_agent("perennial/0.1.0")
            .no_proxy()
            .build()
            .unwrap();
        World {
            sandbox: Sandbox::start(options).await.unwrap(),
            client,
        }
    }

    /// A request to Salesforce below `/services/data/v68.0`.
    fn sf(&self, method: Method, path: &str) -> RequestBuilder {
        let address = self.sandbox.salesforce();
        self.client
            .request(method, format!("{}/services/data/v68.0{path}", address.url))
            .bearer_auth(&address.token)
    }

    /// A request to HubSpot.
    fn hs(&self, method: Method, path: &str) -> RequestBuilder {
        let address = self.sandbox.hubspot();
        self.client
            .request(method, format!("{}{path}", address.url))
            .bearer_auth(&address.token)
    }

    async fn sf_send(&self, method: Method, path: &str, body: Value) -> Answer {
        send(self.sf(method, path).json(&body)).await
    }

    async fn sf_get(&self, path: &str) -> Answer {
        send(self.sf(Method::GET, path)).await
    }

    async fn query(&self, soql: &str) -> Answer {
        send(self.sf(Method::GET, "/query").query(&[("q", soql)])).await
    }

    async fn hs_send(&self, method: Method, path: &str, body: Value) -> Answer {
        send(self.hs(method, path).json(&body)).await
    }

    async fn hs_get(&self, path: &str) -> Answer {
        send(self.hs(Method::GET, path)).await
    }

    fn fails(&self, system: System, route: RouteMatch, kind: FaultKind) {
        self.sandbox.inject(Fault {
            system,
            route,
            kind,
            times: 1,
        });
    }
}

async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer {
        status,
        headers,
        text: response.text().await.unwrap(),
    }
}
