//! Restate's server with its Rust SDK: a handler of one durable step, called over its ingress; by service, and by an object for each
//! account, which runs one call of a key at a time.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use restate_sdk::prelude::*;

use crate::pace::{Size, in_flight};
use crate::row::Of;
use crate::{EACH, WORKERS};

struct Plain;

#[service]
impl Plain {
    #[handler]
    async fn act(&self, ctx: Context<'_>, n: u64) -> HandlerResult<u64> {
        ctx.run(|| async { Ok(()) }).name("nothing").await?;
        Ok(n)
    }
}

struct Account;

#[object]
impl Account {
    #[handler]
    async fn act(&self, ctx: ObjectContext<'_>, n: u64) -> HandlerResult<u64> {
        ctx.run(|| async { Ok(()) }).name("nothing").await?;
        Ok(n)
    }
}

/// Ports that nobody uses now.
fn ports<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| StdListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|port| port.local_addr().expect("an address"))
}

/// Starts the server and calls it.
pub async fn all(program: &Path, version: &'static str, folder: &Path, size: Size) {
    let of = Of {
        system: "Restate",
        version,
        on: "its own store (RocksDB, log synced)",
    };
    let [node, ingress, admin] = ports();
    let log = std::fs::File::create(folder.join("restate.log")).expect("a log");
    let mut server = tokio::process::Command::new(program)
        .args(["--no-logo", "--listen-mode", "tcp", "--base-dir"])
        .arg(folder.join("restate"))
        .arg("--bind-address")
        .arg(node.to_string())
        .args(["--advertised-address", &format!("http://{node}")])
        .env("RESTATE_INGRESS__BIND_ADDRESS", ingress.to_string())
        .env("RESTATE_INGRESS__ADVERTISED_ADDRESS", format!("http://{ingress}"))
        .env("RESTATE_ADMIN__BIND_ADDRESS", admin.to_string())
        .env("RESTATE_ADMIN__ADVERTISED_ADDRESS", format!("http://{admin}"))
        .env("RESTATE_DISABLE_TELEMETRY", "true")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the server of Restate starts");
    let services = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = services.local_addr().expect("an address");
    let endpoint = Endpoint::builder().bind(Plain).bind(Account).build();
    let serving = tokio::spawn(async move {
        HttpServer::new(endpoint)
            .serve_with_cancel(services, std::future::pending::<()>())
            .await;
    });
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    register(&client, admin, address).await;
    for (arm, work) in [
        ("restate", "handler of one step, called and awaited"),
        (
            "restate.ordered",
            "the same, an object for each account, one call of an account at a time",
        ),
    ] {
        for workers in WORKERS {
            let many = workers * 8;
            let (done, took) = in_flight(size, many, |n| {
                let (client, ordered) = (&client, arm == "restate.ordered");
                async move {
                    let path = match ordered {
                        true => format!("Account/A-{}/act", n / EACH),
                        false => "Plain/act".to_owned(),
                    };
                    let answer = client
                        .post(format!("http://{ingress}/{path}"))
                        .json(&n)
                        .send()
                        .await
                        .expect("answers");
                    assert!(answer.status().is_success(), "{answer:?}");
                    let said: u64 = answer.json().await.expect("a number");
                    assert_eq!(said, n);
                }
            })
            .await;
            of.rate(arm, work, &format!("{many} in flight, 1 server, 1 service"), done, took);
        }
    }
    serving.abort();
    server.kill().await.expect("ends");
}

/// Tells the server where the services are, as soon as it listens.
async fn register(client: &reqwest::Client, admin: SocketAddr, services: SocketAddr) {
    let asked = serde_json::json!({ "uri": format!("http://{services}") });
    for _ in 0..600 {
        let answer = client
            .post(format!("http://{admin}/deployments"))
            .json(&asked)
            .send()
            .await;
        match answer {
            Ok(answer) if answer.status().is_success() => return,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("the server of Restate does not take the services");
}
