//! Salesforce tokens: their end, their grants, and who may have one.

use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perennial_sandbox::{App, System, TokenRule};
use serde_json::{Value, json};

use crate::{Answer, World, send};

async fn token(world: &World, form: &[(&str, &str)]) -> Answer {
    let url = format!("{}/services/oauth2/token", world.sandbox.salesforce().url);
    send(world.client.post(url).form(form)).await
}

#[tokio::test]
async fn a_token_ends_after_its_requests_and_the_endpoint_gives_another() {
    let world = World::start().await;
    let rule = TokenRule {
        requests: Some(2),
        ..TokenRule::default()
    };
    world.sandbox.set_tokens(System::Salesforce, rule);
    assert_eq!(world.sf_get("/limits").await.status, 200);
    assert_eq!(world.sf_get("/limits").await.status, 200);
    assert_eq!(
        world.sf_get("/limits").await.refusal(),
        (401, "INVALID_SESSION_ID".to_owned())
    );
    let grant = [
        ("grant_type", "client_credentials"),
        ("client_id", "a"),
        ("client_secret", "b"),
    ];
    let given = token(&world, &grant).await.json();
    assert!(given.get("expires_in").is_none());
    let fresh = given["access_token"].as_str().unwrap();
    assert_ne!(fresh, world.sandbox.salesforce().token);
    let url = format!("{}/services/data/v68.0/limits", world.sandbox.salesforce().url);
    assert_eq!(send(world.client.get(&url).bearer_auth(fresh)).await.status, 200);
    assert_eq!(world.sandbox.tokens_given(System::Salesforce), 1);
    let lifetime = TokenRule {
        lifetime: Some(Duration::from_secs(60)),
        ..TokenRule::default()
    };
    world.sandbox.set_tokens(System::Salesforce, lifetime);
    assert_eq!(send(world.client.get(&url).bearer_auth(fresh)).await.status, 200);
    world
        .sandbox
        .set_clock(perennial_sandbox::Clock::Fixed("2026-05-01T07:26:38Z".parse().unwrap()));
    assert_eq!(send(world.client.get(&url).bearer_auth(fresh)).await.status, 401);
}

#[tokio::test]
async fn the_token_endpoint_checks_app_form_and_claims() {
    let world = World::start().await;
    world.sandbox.set_app(
        System::Salesforce,
        App {
            client_id: "id".to_owned(),
            client_secret: "secret".to_owned(),
            refresh_token: "refresh".to_owned(),
            username: "ada@example.com".to_owned(),
            public_key: None,
        },
    );
    let good = [
        ("grant_type", "refresh_token"),
        ("client_id", "id"),
        ("refresh_token", "refresh"),
    ];
    assert_eq!(token(&world, &good).await.status, 200);
    let wrong = [
        ("grant_type", "refresh_token"),
        ("client_id", "id"),
        ("refresh_token", "old"),
    ];
    let refused = token(&world, &wrong).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()),
        (
            400,
            json!({ "error": "invalid_grant", "error_description": "expired access/refresh token" })
        )
    );
    let url = format!("{}/services/oauth2/token", world.sandbox.salesforce().url);
    let as_json = send(
        world
            .client
            .post(url)
            .json(&json!({ "grant_type": "client_credentials", "client_id": "id" })),
    )
    .await;
    assert_eq!(as_json.status, 400);
    let domain = world.sandbox.salesforce().url.clone();
    let assertion = |claims: Value| {
        let part = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(json!({ "alg": "RS256" })), part(claims))
    };
    let now = "2026-05-01T07:25:37Z".parse::<jiff::Timestamp>().unwrap().as_second();
    let jwt = async |claims: Value| {
        let assertion = assertion(claims);
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.as_str()),
        ];
        token(&world, &form).await
    };
    let claims = |aud: &str, exp: i64| json!({ "iss": "id", "sub": "ada@example.com", "aud": aud, "exp": exp });
    let given = jwt(claims(&domain, now + 180)).await;
    assert_eq!(given.status, 200);
    assert!(given.json().get("refresh_token").is_none());
    assert_eq!(
        jwt(claims("https://test.salesforce.com", now + 180)).await.json()["error"],
        "invalid_grant"
    );
    assert_eq!(jwt(claims(&domain, now - 1)).await.status, 400);
    assert_eq!(jwt(claims(&domain, now + 3_600)).await.status, 400);
}

#[tokio::test]
async fn a_jwt_is_checked_against_the_public_key_of_the_app() {
    let world = World::start().await;
    let (ours, other) = (key(), key());
    let public = ours.public_key();
    let info: Vec<u8> = public
        .as_der()
        .map(|info: aws_lc_rs::encoding::PublicKeyX509Der| info.as_ref().to_vec())
        .unwrap();
    world.sandbox.set_app(
        System::Salesforce,
        App {
            client_id: "id".to_owned(),
            username: "ada@example.com".to_owned(),
            public_key: Some(info),
            ..App::default()
        },
    );
    let now = "2026-05-01T07:25:37Z".parse::<jiff::Timestamp>().unwrap().as_second();
    let claims = json!({
        "iss": "id", "sub": "ada@example.com", "aud": world.sandbox.salesforce().url, "exp": now + 180,
    });
    let signed = |key: &RsaKeyPair| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({ "alg": "RS256" })), part(&claims));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let ask = async |assertion: String| {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.as_str()),
        ];
        token(&world, &form).await
    };
    assert_eq!(ask(signed(&ours)).await.status, 200);
    let refused = ask(signed(&other)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]),
        (400, &json!("invalid_grant"))
    );
}

fn key() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
}
