//! Recorded bodies through the wire types and back.

use perennial_tools::{hubspot, salesforce};
use serde_json::Value;

use super::recorded::{self, Exchange};

/// Kind of a Salesforce answer, or why no adapter reads it.
fn salesforce_shape(exchange: &Exchange) -> Result<salesforce::wire::Shape, &'static str> {
    use salesforce::wire::Shape;
    let path = exchange.path.split('?').next().unwrap().trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).skip(3).collect();
    if path.contains("/services/async/") {
        return Err("Bulk v1 (XML and its CSV): the adapters speak Bulk 2.0 only");
    }
    if exchange.body.as_deref().is_none_or(str::is_empty) {
        return Err("the recorded body is empty");
    }
    Ok(match (exchange.method.as_str(), parts.as_slice()) {
        ("GET", ["query" | "queryAll", ..]) => Shape::Query,
        ("GET", ["limits", "recordCount"]) => Shape::Counts,
        ("GET", ["sobjects"]) => Shape::Objects,
        ("GET", ["sobjects", _, "describe"]) => Shape::Describe,
        ("GET", ["sobjects", _, _]) => Shape::Record,
        ("POST", ["sobjects", _]) => Shape::Save,
        ("POST", ["composite"]) => Shape::Composite,
        (_, ["composite", "sobjects", ..]) => Shape::Saves,
        _ => return Err("no adapter asks this"),
    })
}

/// Kind of a bare Salesforce body by its file, or why no adapter reads it.
fn fixture_shape(file: &str) -> Result<salesforce::wire::Shape, &'static str> {
    use salesforce::wire::Shape;
    Ok(match file {
        "auth_success_response.json" | "reauth_success_response.json" | "refresh_success_response.json" => Shape::Token,
        "auth_error_response.json" | "refresh_error_response.json" => Shape::SignInError,
        "services_data_success_response.json" => Shape::Versions,
        "create_success_response.json" | "upsert_created_success_response.json" => Shape::Save,
        "upsert_updated_success_response.json" => return Err("the recorded body is empty"),
        "upsert_multiple_error_response.json" => Shape::Choices,
        "get_updated_success_response.json" => Shape::Updated,
        "get_deleted_success_response.json" => Shape::Deleted,
        "sobject_describe_success_response.json" => Shape::Describe,
        "list_sobjects_success_response.json" | "describe_sobjects_success_response.json" => Shape::Objects,
        "sobject_find_success_response.json" | "sobject_select_success_response.json" => Shape::Record,
        "list_view_results_success_response.json" => return Err("list views: no adapter asks for them"),
        "recent_success_response.json" => return Err("recently viewed records: no adapter asks for them"),
        "search_success_response.json" => return Err("SOSL: no adapter searches"),
        name if name.starts_with("query_") && !name.contains("error") => Shape::Query,
        "org_query_response.json" => Shape::Query,
        name if name.contains("error") || name == "expired_session_response.json" => Shape::Errors,
        _ => return Err("no adapter reads this"),
    })
}

fn hubspot_shape(exchange: &Exchange) -> Result<hubspot::wire::Shape, &'static str> {
    use hubspot::wire::Shape;
    if exchange.body.is_none() {
        return Err("the recorded body is empty");
    }
    let path = exchange.path.split('?').next().unwrap();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).skip(2).collect();
    Ok(match (exchange.method.as_str(), parts.as_slice()) {
        ("GET", ["objects", _]) | ("POST", ["objects", _, "search"]) => Shape::Page,
        ("POST", ["objects", _]) | ("GET" | "PATCH", ["objects", _, _]) => Shape::Record,
        ("POST", ["objects", _, "batch", _]) => Shape::Batch,
        (_, ["associations", ..]) => Shape::NamedTies,
        ("GET", ["properties", _]) => Shape::Properties,
        ("GET", ["pipelines", _] | ["owners"]) => Shape::Rows,
        _ => return Err("no adapter asks this"),
    })
}

/// Key paths of the first that the second lacks or has as another type.
fn lost(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in one {
                let path = format!("{path}.{key}");
                match other.get(key) {
                    Some(own) => lost(value, own, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (at, (value, own)) in one.iter().zip(other).enumerate() {
                lost(value, own, &format!("{path}[{at}]"), found);
            }
        }
        // Numbers may be written in another way; the value is what counts.
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        (one, other) if one == other => {}
        _ => found.push(path.to_owned()),
    }
}

#[derive(Default)]
struct Tally {
    good: usize,
    all: usize,
    explained: Vec<String>,
    failed: Vec<String>,
}

impl Tally {
    fn add(&mut self, source: &str, body: &str, again: Result<Result<Value, serde_json::Error>, &'static str>) {
        self.all += 1;
        let problem = match again {
            Err(reason) => {
                self.explained.push(format!("{source}: {reason}"));
                return;
            }
            Ok(Err(source)) => source.to_string(),
            Ok(Ok(after)) => {
                let mut found = Vec::new();
                lost(&serde_json::from_str(body).unwrap(), &after, "", &mut found);
                if found.is_empty() {
                    self.good += 1;
                    return;
                }
                format!("lost {}", found.join(", "))
            }
        };
        self.failed.push(format!("{source}: {problem}"));
    }

    fn say(&self, what: &str) {
        println!(
            "{what}: {} of {} decode and re-encode without losing a key",
            self.good, self.all
        );
        super::grouped("not read", &self.explained);
    }
}

#[test]
fn recorded_bodies_decode_and_encode_again_without_losing_a_key() {
    let Some(folder) = super::folder("golden decode") else {
        return;
    };
    let (mut cassettes, mut fixtures, mut hubspots) = (Tally::default(), Tally::default(), Tally::default());
    for exchange in recorded::cassettes(&folder).0 {
        let body = exchange.body.clone().unwrap_or_default();
        let again = salesforce_shape(&exchange).map(|shape| salesforce::wire::reencoded(shape, body.as_bytes()));
        cassettes.add(&exchange.source, &body, again);
    }
    for (file, body) in recorded::fixtures(&folder) {
        let again = fixture_shape(&file).map(|shape| salesforce::wire::reencoded(shape, body.as_bytes()));
        fixtures.add(&file, &body, again);
    }
    for exchange in recorded::hubspot(&folder) {
        let body = exchange.body.clone().unwrap_or_default();
        let again = hubspot_shape(&exchange).map(|shape| hubspot::wire::reencoded(shape, body.as_bytes()));
        hubspots.add(&exchange.source, &body, again);
    }
    cassettes.say("Salesforce cassettes");
    fixtures.say("Salesforce bodies");
    hubspots.say("HubSpot exchanges");
    let failed = [&cassettes, &fixtures, &hubspots]
        .map(|tally| tally.failed.clone())
        .concat();
    assert_eq!(failed, Vec::<String>::new());
    let counts = [&cassettes, &fixtures, &hubspots].map(|tally| (tally.good, tally.all));
    assert_eq!(counts, DECODED);
}

/// How many of how many: cassettes, bodies, HubSpot. A smaller number is a regression.
const DECODED: [(usize, usize); 3] = [(89, 146), (30, 34), (19, 20)];
