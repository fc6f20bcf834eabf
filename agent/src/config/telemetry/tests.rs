use std::collections::BTreeMap;

use super::*;

/// What a file and an environment come to, as one line.
#[track_caller]
fn check(file: &str, environment: &[(&str, &str)], built_in: bool) -> String {
    let table: Option<TelemetryTable> = (!file.is_empty()).then(|| toml::from_str(file).expect("reads"));
    let given: BTreeMap<&str, &str> = environment.iter().copied().collect();
    let mut problems = Vec::new();
    let mut wrong = |span: std::ops::Range<usize>, message: String, help: &str| {
        problems.push(format!("{span:?} {message}: {help}"));
    };
    let read = |name: &str| given.get(name).map(|text| (*text).to_owned());
    let found = telemetry(table, built_in, &read, &mut wrong);
    match (found, problems.is_empty()) {
        (_, false) => problems.join("; "),
        (Err(error), true) => error.to_string(),
        (Ok(None), true) => "nothing".to_owned(),
        (Ok(Some(access)), true) => {
            let names: Vec<&String> = access.headers.keys().collect();
            format!("{} {} {} {names:?}", access.endpoint, access.service, access.share)
        }
    }
}

#[test]
fn the_environment_goes_before_the_file_and_the_file_before_the_defaults() {
    assert_eq!(check("", &[], true), "nothing");
    let file = "otlp = \"http://127.0.0.1:4318\"";
    assert_eq!(check(file, &[], true), "http://127.0.0.1:4318/v1/traces perennial 1 []");
    let file = "otlp = \"https://otlp.example.com/base/\"\nservice = \"cs\"\nsample = 0.25\n\
                headers = { Authorization = \"OTLP_AUTH\" }";
    assert_eq!(
        check(file, &[], true),
        "https://otlp.example.com/base/v1/traces cs 0.25 [\"authorization\"]"
    );
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://10.0.0.1:4318"),
        ("OTEL_SERVICE_NAME", "cs-2"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%2Cb, x-other=1"),
    ];
    assert_eq!(
        check(file, &environment, true),
        "http://10.0.0.1:4318/v1/traces cs-2 0.5 [\"authorization\", \"x-key\", \"x-other\"]"
    );
    let exact = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://10.0.0.2:4318/spans"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://10.0.0.1:4318"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
    ];
    assert_eq!(check("", &exact, true), "http://10.0.0.2:4318/spans perennial 0 []");
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(check(file, &[off], true), "nothing");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_no_secret() {
    let without = check("otlp = \"http://127.0.0.1:4318\"", &[], false);
    assert!(
        without.contains("built without OTLP") && without.contains("--features otlp"),
        "{without}"
    );
    assert_eq!(
        check("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")], false),
        "nothing",
        "a variable for other programs too does not stop this one"
    );
    for (file, expected) in [
        ("otlp = \"127.0.0.1:4318\"", "begins with neither http"),
        ("otlp = \"http://me:hush@collector:4318\"", "belong into a header"),
        ("otlp = \"http://\"", "is no address"),
        ("otlp = \"http://c:4318\"\nsample = 1.5", "is no share"),
        (
            "otlp = \"http://c:4318\"\nheaders = { \"a b\" = \"X\" }",
            "cannot name a header",
        ),
        (
            "otlp = \"http://c:4318\"\nheaders = { authorization = \"Bearer hush\" }",
            "does not name an environment variable",
        ),
    ] {
        let said = check(file, &[], true);
        assert!(said.contains(expected), "{file}: {said}");
        assert!(!said.contains("hush"), "{said}");
    }
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for (variable, value, expected) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "write http/protobuf"),
        ("OTEL_TRACES_SAMPLER_ARG", "many", "is no share"),
        ("OTEL_TRACES_SAMPLER", "xray", "names no sampler"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush", "is no list of headers"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hush%2", "is no list of headers"),
    ] {
        let said = check("", &[endpoint, (variable, value)], true);
        assert!(said.starts_with(variable) && said.contains(expected), "{said}");
        assert!(!said.contains("hush"), "{said}");
    }
}
