//! A tool for tests that has nothing but a marker: no idempotency key, no unique field. It opens a task in the local Salesforce by a
//! plain POST, which makes a second record when it is sent twice, and finds its work again only by the marker in the subject.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use perennial::config::{Config, Overrides};
use perennial::cycle::Engine;
use perennial::worker;
use perennial_core::action::{Done, Effect, Permit, Receipt};
use perennial_core::ids::TenantId;
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_store::Store;
use perennial_tools::{Answer, Credentials, Known, LookUp, Lost, SendError, Tool};
use serde_json::{Value, json};

/// Set, it makes the program under test a worker with this tool.
pub const SINK: &str = "PERENNIAL_TEST_SINK";
/// What such a worker says on standard output when it begins to work.
pub const WORKING: &str = "working";

/// The tool.
pub struct MarkerSink {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl MarkerSink {
    /// A sink in the Salesforce server at an address.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn new(url: &str, token: &str) -> MarkerSink {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build();
        MarkerSink {
            client: client.unwrap_or_else(|error| panic!("a client: {error}")),
            url: url.to_owned(),
            token: token.to_owned(),
        }
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<Value, SendError> {
        let lost = |source| SendError::Unknown {
            source: Lost::Transport(source),
            image: None,
        };
        let answer = request.bearer_auth(&self.token).send().await.map_err(lost)?;
        let status = answer.status();
        if status.as_u16() == 503 {
            return Err(SendError::Busy {
                retry_after: Duration::from_millis(50),
                why: "unavailable".to_owned(),
            });
        }
        if !status.is_success() {
            return Err(SendError::Unknown {
                source: Lost::Status {
                    status: status.as_u16(),
                },
                image: None,
            });
        }
        answer.json().await.map_err(lost)
    }

    /// Opens a task.
    ///
    /// # Errors
    /// Whatever became of the call.
    pub async fn post(&self, marker: &str) -> Result<String, SendError> {
        let url = format!("{}/services/data/v68.0/sobjects/Task", self.url);
        let answer = self
            .call(self.client.post(url).json(&json!({ "Subject": marker })))
            .await?;
        Ok(answer["id"].as_str().unwrap_or_default().to_owned())
    }

    async fn find(&self, marker: &str) -> Result<Option<String>, SendError> {
        let url = format!("{}/services/data/v68.0/query", self.url);
        let query = format!("SELECT Id FROM Task WHERE Subject = '{marker}'");
        let answer = self.call(self.client.get(url).query(&[("q", query.as_str())])).await?;
        Ok(answer["records"][0]["Id"].as_str().map(str::to_owned))
    }

    fn receipt(done: Done, record: String, at: Timestamp) -> Receipt {
        Receipt {
            tool: Crm::Salesforce,
            done,
            object: "Task".to_owned(),
            url: String::new(),
            record,
            before: std::collections::BTreeMap::new(),
            after: std::collections::BTreeMap::new(),
            at,
        }
    }
}

impl Tool for MarkerSink {
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
        Box::pin(async move {
            let record = self.post(effect.id.as_str()).await?;
            Ok(MarkerSink::receipt(Done::Created, record, at))
        })
    }

    fn look_up<'a>(&'a self, effect: &'a Effect, at: Timestamp) -> Answer<'a, LookUp> {
        Box::pin(async move {
            let found = self.find(effect.id.as_str()).await?;
            Ok(found.map_or(LookUp::Absent, |record| {
                LookUp::Done(MarkerSink::receipt(Done::AlreadyDone, record, at))
            }))
        })
    }
}

/// A worker as `perennial worker`, with the sink in place of the tool for Salesforce. It ends by SIGTERM.
#[must_use]
pub fn work() -> ExitCode {
    let worked = || -> Result<(), Box<dyn std::error::Error>> {
        let config = Config::load(&Overrides::default())?;
        let access = config.salesforce.as_ref().ok_or("no Salesforce")?;
        let Credentials::Token(token) = &access.credentials else {
            return Err("the sink needs a token".into());
        };
        let token = secrecy::ExposeSecret::expose_secret(token);
        let tools = config.tools()?.with(Arc::new(MarkerSink::new(&access.base_url, token)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let store = Store::open_migrated(&config.database, TenantId::DEFAULT, &config.limits.store()).await?;
            let (stop, stopped) = tokio::sync::watch::channel(false);
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            let engine = Engine {
                config: &config,
                store: &store,
                tools: &tools,
                stop: stopped,
            };
            println!("{WORKING}");
            let ending = async {
                terminate.recv().await;
                let _ = stop.send(true);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                worked = worker::work(&engine) => worked?,
                () = ending => return Ok(()),
            };
            store.close().await;
            Ok(())
        })
    };
    match worked() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
