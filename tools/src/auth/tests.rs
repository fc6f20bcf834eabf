use std::sync::Mutex as Plain;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use perennial_core::signal::Crm;
use serde_json::json;

use super::*;
use crate::http::{Call, Dialect, Http};
use crate::test_kit::{Say, Seen, Server};

const DIALECT: Dialect = Dialect {
    crm: Crm::HubSpot,
    fault: |_, _| None,
    remedy: |_| "",
    token_remedy: "sign in again",
    sign_in: "/oauth/2026-09/token",
};

#[derive(Debug, Default)]
struct Keeper {
    kept: Plain<Option<Kept>>,
}

impl TokenKeeper for Keeper {
    fn now_s(&self) -> i64 {
        1_796_000_000
    }

    fn load(&self) -> BoxFuture<'_, Option<Kept>> {
        Box::pin(async { self.kept.lock().expect("a lock").clone() })
    }

    fn keep(&self, kept: Kept) -> BoxFuture<'_, ()> {
        Box::pin(async { *self.kept.lock().expect("a lock") = Some(kept) })
    }
}

fn refresh() -> Credentials {
    Credentials::Refresh {
        client_id: "app".to_owned(),
        client_secret: SecretString::from("s3cret-of-app"),
        refresh_token: SecretString::from("first refresh+token"),
    }
}

/// A server that gives tokens `t1`, `t2`, .. and takes only those in `good`.
async fn server(good: &'static [&'static str], expires_in: Option<u64>) -> Server {
    let given = Plain::new(0);
    Server::start(move |seen: &Seen| {
        if seen.path == DIALECT.sign_in {
            let mut given = given.lock().expect("a lock");
            *given += 1;
            let token = format!("t{given}");
            return Say::Json(
                200,
                json!({"access_token": token, "expires_in": expires_in, "refresh_token": "next"}),
            );
        }
        let token = seen.headers["authorization"].trim_start_matches("Bearer ").to_owned();
        if good.contains(&token.as_str()) {
            Say::Json(200, json!({}))
        } else {
            Say::Json(401, json!({"status": "error", "category": "EXPIRED_AUTHENTICATION"}))
        }
    })
    .await
}

fn http(server: &Server, credentials: Credentials, keeper: Option<Arc<dyn TokenKeeper>>) -> Http {
    let connection = crate::Connection {
        credentials,
        keeper,
        ..server.connection()
    };
    Http::new(&connection, DIALECT).expect("a client")
}

fn sign_ins(server: &Server) -> usize {
    server.seen().iter().filter(|seen| seen.path == DIALECT.sign_in).count()
}

#[tokio::test]
async fn many_calls_that_wait_ask_for_one_token() {
    let server = server(&["t1"], Some(1_800)).await;
    let http = http(&server, refresh(), None);
    let call = Call::get("companies", "/x".to_owned());
    let calls = (0..20).map(|_| http.send(&call));
    for reply in futures_util::future::join_all(calls).await {
        reply.expect("an answer");
    }
    assert_eq!(sign_ins(&server), 1);
    let asked = server.seen().into_iter().find(|seen| seen.path == DIALECT.sign_in);
    let asked = asked.expect("a sign-in");
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    assert!(!asked.headers.contains_key("authorization") && !asked.path.contains('?'));
}

#[tokio::test]
async fn a_token_that_ended_is_renewed_once_for_all_and_the_call_repeated() {
    let server = server(&["t2"], None).await;
    let http = http(&server, refresh(), None);
    let write = || Call::write(Method::POST, "notes", "/x".to_owned(), json!({}));
    let (a, b) = (write(), write());
    let (one, two) = tokio::join!(http.send(&a), http.send(&b));
    one.expect("an answer");
    two.expect("an answer");
    assert_eq!(sign_ins(&server), 2, "one at the start and one for both");
}

#[tokio::test]
async fn a_second_refusal_is_final() {
    let server = server(&[], None).await;
    let http = http(&server, refresh(), None);
    let refused = http.send(&Call::get("companies", "/x".to_owned())).await;
    assert!(matches!(refused, Err(SendError::Unauthorised { .. })), "{refused:?}");
    assert_eq!(sign_ins(&server), 2);
    // A token that somebody else renews is tried once.
    let fixed = Credentials::Token(SecretString::from("fixed"));
    let http = self::http(&server, fixed, None);
    let refused = http.send(&Call::get("companies", "/x".to_owned())).await;
    assert!(matches!(refused, Err(SendError::Unauthorised { .. })));
    assert_eq!(sign_ins(&server), 2);
}

#[tokio::test]
async fn a_token_about_to_end_is_renewed_before_it_is_sent() {
    let server = server(&["t1", "t2", "t3"], Some(60)).await;
    let http = http(&server, refresh(), None);
    for _ in 0..2 {
        http.send(&Call::get("companies", "/x".to_owned()))
            .await
            .expect("an answer");
    }
    assert_eq!(sign_ins(&server), 2, "sixty seconds are too few to send it again");
    let refused = server.seen().iter().filter(|seen| seen.path == "/x").count();
    assert_eq!(refused, 2, "no call was refused");
}

#[tokio::test]
async fn a_kept_token_spares_the_sign_in_and_a_new_refresh_token_is_kept() {
    let server = server(&["t1"], Some(1_800)).await;
    let keeper = Arc::new(Keeper::default());
    let call = Call::get("companies", "/x".to_owned());
    http(&server, refresh(), Some(keeper.clone()))
        .send(&call)
        .await
        .expect("an answer");
    http(&server, refresh(), Some(keeper.clone()))
        .send(&call)
        .await
        .expect("an answer");
    assert_eq!(sign_ins(&server), 1);
    let kept = keeper.kept.lock().expect("a lock").clone().expect("a token");
    assert_eq!(kept.refresh.expect("a token").expose_secret(), "next");
}

#[tokio::test]
async fn a_refused_sign_in_names_its_code_and_no_secret() {
    let server = Server::start(|_| {
        let body = json!({"error": "invalid_grant", "error_description": "token first refresh+token is dead"});
        Say::Json(400, body)
    })
    .await;
    let http = http(&server, refresh(), None);
    let Err(SendError::Unauthorised { remedy }) = http.send(&Call::get("x", "/x".to_owned())).await else {
        panic!("refused");
    };
    assert!(
        remedy.contains("invalid_grant") && !remedy.contains("first"),
        "{remedy}"
    );
    assert!(!format!("{:?}", refresh()).contains("s3cret"));
}

#[test]
fn an_assertion_is_signed_and_short_lived() {
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("a key");
    let body = STANDARD.encode(der.as_ref());
    let pem = SecretString::from(format!(
        "-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
    ));
    let text = assertion(&pem, "app", "me@one.example", "https://one.my.salesforce.com", 1_000).expect("one");
    let parts: Vec<&str> = text.split('.').collect();
    let [head, claims, signature] = &parts[..] else {
        panic!("three parts")
    };
    let read = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64");
    let claims_read: serde_json::Value = serde_json::from_slice(&read(claims)).expect("json");
    assert_eq!(
        claims_read,
        json!({"iss": "app", "sub": "me@one.example", "aud": "https://one.my.salesforce.com", "exp": 1_180})
    );
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
        .verify(format!("{head}.{claims}").as_bytes(), &read(signature))
        .expect("signed with the key");
    assert!(private_key(&SecretString::from("nonsense")).is_err());
}
