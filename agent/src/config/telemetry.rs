//! Where spans go: the collector, what is sent of them, and under which name. Secrets stand in the environment only.
//!
//! The variables of OpenTelemetry count as they do for its SDKs, and before the file.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use super::access::Wrong;

/// Name under which spans are sent where nobody gives another.
const SERVICE: &str = "perennial";
/// Where a collector takes spans, below its address.
const TRACES: &str = "/v1/traces";

/// A collector, and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryAccess {
    /// Address to which spans are sent.
    pub endpoint: String,
    /// Name of the service.
    pub service: String,
    /// Share of decisions, from 0 to 1, that are sent with all that follows from them.
    pub share: f64,
    /// Headers, by name, and where their values stand.
    headers: BTreeMap<String, HeaderValue>,
}

#[derive(Debug, Clone, PartialEq)]
enum HeaderValue {
    /// In this environment variable.
    Variable(String),
    /// Among the values of `OTEL_EXPORTER_OTLP_HEADERS`, which are read when they are needed.
    Given,
}

/// `[telemetry]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TelemetryTable {
    otlp: Spanned<String>,
    service: Option<String>,
    sample: Option<Spanned<f64>>,
    #[serde(default)]
    headers: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// What the environment says, by the name of the variable; nothing where it says nothing.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether this program can send spans.
pub(crate) const BUILT_IN: bool = cfg!(feature = "otlp");

/// The collector of the environment, else of the file.
pub(super) fn telemetry(
    raw: Option<TelemetryTable>,
    built_in: bool,
    environment: Environment<'_>,
    wrong: Wrong<'_>,
) -> Result<Option<TelemetryAccess>, ConfigError> {
    if let (Some(raw), false) = (&raw, built_in) {
        let help = "build it with `--features otlp`, or take [telemetry] out";
        wrong(raw.otlp.span(), "this program was built without OTLP".to_owned(), help);
        return Ok(None);
    }
    let read = |name: &str| environment(name).filter(|text| !text.is_empty());
    let is_off = read("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"))
        || read("OTEL_TRACES_EXPORTER").is_some_and(|text| text == "none");
    let mut headers = BTreeMap::new();
    let (mut endpoint, mut service, mut share) = (None, None, 1.0);
    if let Some(raw) = raw {
        match address(raw.otlp.get_ref()) {
            Ok(address) => endpoint = Some(address),
            Err(why) => wrong(
                raw.otlp.span(),
                format!("`otlp` {why}"),
                "write it like http://127.0.0.1:4318",
            ),
        }
        service = raw.service;
        if let Some(sample) = raw.sample {
            share = *sample.get_ref();
            if !(0.0..=1.0).contains(&share) {
                let message = format!("`sample` is {share}, which is no share");
                wrong(
                    sample.span(),
                    message,
                    "write a number from 0.0 to 1.0, such as 0.1 for a tenth",
                );
            }
        }
        for (name, variable) in raw.headers {
            if !is_token(name.get_ref()) {
                let message = format!("`{}` cannot name a header", name.get_ref());
                wrong(
                    name.span(),
                    message,
                    "use letters, digits and `-`, such as authorization",
                );
            }
            let is_variable = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if variable.get_ref().is_empty() || !variable.get_ref().chars().all(is_variable) {
                // INVARIANT (no secret is shown): somebody may have written the value itself here.
                let message = format!("`{}` does not name an environment variable", name.get_ref());
                let help = "write the name of the variable that holds the value, such as OTLP_AUTHORIZATION";
                wrong(variable.span(), message, help);
            }
            let value = HeaderValue::Variable(variable.into_inner());
            headers.insert(name.into_inner().to_ascii_lowercase(), value);
        }
    }
    if !built_in || is_off {
        return Ok(None);
    }
    let of_traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let of_all = "OTEL_EXPORTER_OTLP_ENDPOINT";
    for (variable, given) in [
        // The address of one signal is taken as it stands.
        (of_traces, read(of_traces)),
        (of_all, read(of_all).map(|base| with_path(&base))),
    ] {
        let Some(given) = given else { continue };
        let found =
            address(&given).map_err(|why| environment_error(variable, why, "write it like http://127.0.0.1:4318"))?;
        endpoint = Some(if variable == of_traces { given } else { found });
        break;
    }
    let Some(endpoint) = endpoint else { return Ok(None) };
    for variable in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        let Some(protocol) = read(variable) else { continue };
        if protocol != "http/protobuf" {
            return Err(environment_error(
                variable,
                "is not a way in which we can send",
                "write http/protobuf",
            ));
        }
        break;
    }
    for name in given_headers(environment)?.into_keys() {
        headers.insert(name, HeaderValue::Given);
    }
    if let Some(given) = sampled(environment)? {
        share = given;
    }
    Ok(Some(TelemetryAccess {
        endpoint,
        service: read("OTEL_SERVICE_NAME")
            .or(service)
            .unwrap_or_else(|| SERVICE.to_owned()),
        share,
        headers,
    }))
}

impl TelemetryAccess {
    /// Headers with their values.
    ///
    /// # Errors
    /// [`ConfigError::Header`] where a variable is not set.
    pub fn headers(&self) -> Result<Vec<(String, SecretString)>, ConfigError> {
        let environment = |name: &str| std::env::var(name).ok();
        let mut given = given_headers(&environment)?;
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let text = match value {
                HeaderValue::Given => given.remove(name),
                HeaderValue::Variable(variable) => environment(variable).filter(|text| !text.is_empty()),
            };
            let variable = match value {
                HeaderValue::Given => GIVEN.to_owned(),
                HeaderValue::Variable(variable) => variable.clone(),
            };
            match text {
                Some(text) if text.bytes().all(|b| (b' '..=b'~').contains(&b)) => {
                    headers.push((name.clone(), SecretString::from(text.trim().to_owned())));
                }
                Some(_) => {
                    let why = "holds what no header can: letters, digits and signs of ASCII only";
                    return Err(environment_error(&variable, why, "set it anew, without a line break"));
                }
                None => {
                    let header = name.clone();
                    return Err(ConfigError::Header { header, variable });
                }
            }
        }
        Ok(headers)
    }
}

const GIVEN: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Headers of the environment: `name=value`, with commas between them, values percent-encoded.
fn given_headers(environment: Environment<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let variable = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", GIVEN];
    let found = variable.iter().find_map(|name| Some((*name, environment(name)?)));
    let Some((variable, text)) = found else {
        return Ok(BTreeMap::new());
    };
    let mut headers = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (name.trim(), decoded(value.trim()));
        match value {
            Some(value) if is_token(name) && pair.contains('=') => {
                headers.insert(name.to_ascii_lowercase(), value);
            }
            Some(_) | None => {
                let help = "write name=value, with commas between several and %2C for a comma in a value";
                return Err(environment_error(variable, "is no list of headers", help));
            }
        }
    }
    Ok(headers)
}

/// The share that the variables of sampling ask for.
fn sampled(environment: Environment<'_>) -> Result<Option<f64>, ConfigError> {
    let (sampler, argument) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
    let share = environment(argument).filter(|text| !text.is_empty());
    let share = share.map(|text| match text.trim().parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err(environment_error(
            argument,
            "is no share",
            "write a number from 0.0 to 1.0",
        )),
    });
    match environment(sampler).as_deref() {
        None | Some("") => share.transpose(),
        Some("traceidratio" | "parentbased_traceidratio") => Ok(Some(share.transpose()?.unwrap_or(1.0))),
        Some("always_on" | "parentbased_always_on") => Ok(Some(1.0)),
        Some("always_off" | "parentbased_always_off") => Ok(Some(0.0)),
        Some(_) => {
            let help = "write always_on, always_off, traceidratio, or one of them after parentbased_";
            Err(environment_error(sampler, "names no sampler that we know", help))
        }
    }
}

fn environment_error(variable: &str, why: &str, help: &'static str) -> ConfigError {
    ConfigError::Variable {
        variable: variable.to_owned(),
        why: why.to_owned(),
        help,
    }
}

fn with_path(base: &str) -> String {
    format!("{}{TRACES}", base.trim_end_matches('/'))
}

/// The address to which spans are sent, of a collector's address.
fn address(base: &str) -> Result<String, &'static str> {
    let Some(rest) = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://")) else {
        return Err("is no address: it begins with neither http:// nor https://");
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err("holds a name or a password: those belong into a header");
    }
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\' | '"' | '<' | '>');
    if host.is_empty() || !rest.chars().all(is_plain) {
        return Err("is no address");
    }
    if base.trim_end_matches('/').ends_with(TRACES) {
        return Ok(base.trim_end_matches('/').to_owned());
    }
    Ok(with_path(base))
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// A percent-encoded text; nothing where it is not one.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
