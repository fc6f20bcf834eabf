//! The token endpoint: JWT bearer, client credentials, refresh token. Form-encoded, errors as `{error, error_description}`.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{ORGANIZATION_ID_NUMBER, ids, user_id};
use crate::token::App;
use crate::wire::{Call, Reply};
use crate::world::World;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The latest end of a JWT from now, in seconds (unverified: 3 to 5 minutes).
const JWT_S: i64 = 5 * 60;

type Refused = (&'static str, &'static str);

/// `POST /services/oauth2/token`.
pub(super) fn issue(world: &mut World, call: &Call) -> Reply {
    let is_form = call
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let form = if is_form { call.form() } else { Vec::new() };
    let said = |name: &str| {
        let found = form.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or("")
    };
    let app = world.salesforce_app.as_ref();
    let client = || {
        let basic = call.basic();
        let (id, secret) = match &basic {
            Some((id, secret)) => (id.as_str(), secret.as_str()),
            None => (said("client_id"), said("client_secret")),
        };
        if id.is_empty() || app.is_some_and(|app| app.client_id != id) {
            return Err(("invalid_client_id", "client identifier invalid"));
        }
        // A refresh may come from an app without a secret.
        let needs = said("grant_type") == "client_credentials" || !secret.is_empty();
        if needs && app.is_some_and(|app| app.client_secret != secret) {
            return Err(("invalid_client", "invalid client credentials"));
        }
        Ok(())
    };
    let granted: Result<(), Refused> = match said("grant_type") {
        "client_credentials" => client(),
        "refresh_token" => client().and_then(|()| {
            let token = said("refresh_token");
            if token.is_empty() || app.is_some_and(|app| app.refresh_token != token) {
                return Err(("invalid_grant", "expired access/refresh token"));
            }
            Ok(())
        }),
        JWT_BEARER => jwt(said("assertion"), app, &call.base_url, world.now().as_second()),
        _ => Err(("unsupported_grant_type", "grant type not supported")),
    };
    if let Err((error, why)) = granted {
        return Reply::json(400, json!({ "error": error, "error_description": why }));
    }
    let now = world.now();
    let token = world.salesforce_tokens.issue(now);
    // There is no `expires_in`: how long a session lives is a setting of the org.
    let mut body = json!({
        "access_token": token, "scope": "api refresh_token", "instance_url": call.base_url,
        "id": format!("{}/id/{}/{}", call.base_url, ids::make("00D", ORGANIZATION_ID_NUMBER), user_id()),
        "token_type": "Bearer",
    });
    if said("grant_type") != JWT_BEARER {
        body["signature"] = json!("c2FuZGJveA==");
        body["issued_at"] = json!(now.as_millisecond().to_string());
    }
    Reply::json(200, body)
}

fn jwt(assertion: &str, app: Option<&App>, domain: &str, now: i64) -> Result<(), Refused> {
    const INVALID: Refused = ("invalid_grant", "invalid assertion");
    let (signed, signature) = assertion.rsplit_once('.').ok_or(INVALID)?;
    let (head, claims) = signed.split_once('.').ok_or(INVALID)?;
    let part = |text: &str| -> Result<Value, Refused> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| INVALID)?;
        serde_json::from_slice(&bytes).map_err(|_| INVALID)
    };
    let (head, claims) = (part(head)?, part(claims)?);
    let said = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or("");
    if head.get("alg").and_then(Value::as_str) != Some("RS256") {
        return Err(INVALID);
    }
    if said("iss").is_empty() || app.is_some_and(|app| app.client_id != said("iss")) {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    if said("sub").is_empty() || app.is_some_and(|app| app.username != said("sub")) {
        return Err(("invalid_grant", "user hasn't approved this consumer"));
    }
    // The audience is My Domain, which here is the address of this server (unverified).
    if said("aud").trim_end_matches('/') != domain {
        return Err(("invalid_grant", "audience is invalid"));
    }
    let ends = claims.get("exp").and_then(Value::as_i64).ok_or(INVALID)?;
    if ends <= now || ends > now + JWT_S {
        return Err(("invalid_grant", "assertion expired or exp is too far in the future"));
    }
    if let Some(key) = app.and_then(|app| app.public_key.as_ref()) {
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| INVALID)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| INVALID)?;
    }
    Ok(())
}
