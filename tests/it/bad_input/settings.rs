//! Wrong settings: perennial.toml, addresses and tokens of CRMs. No secret is ever repeated.

use super::{Case, Place};

const RUN: &[&str] = &["run", "--once"];

/// Two imported accounts and this configuration.
#[track_caller]
fn configured(name: &str, text: &str, says: &[&str]) {
    let place = Place::imported();
    place.write("perennial.toml", text);
    place.write("crm.token", "s3cret-token\n");
    let said = place.refuses(name, RUN, 2, says);
    for secret in ["s3cret", "hunter2"] {
        assert!(!said.err.contains(secret), "{name}: a secret is shown: {}", said.err);
    }
}

#[test]
fn a_wrong_line_of_the_configuration_is_named_with_its_remedy() {
    configured(
        "an unknown key",
        "our_nme = \"Ours\"\n",
        &[
            "perennial.toml:1:1",
            "unknown key `our_nme`",
            "did you mean `our_name`?",
        ],
    );
    configured(
        "an unknown table",
        "[limit]\nthreads = 1\n",
        &["perennial.toml:1:2", "unknown key `limit`", "did you mean `limits`?"],
    );
    configured(
        "an unknown limit",
        "[limits]\ndatabase_max_byte = 3\n",
        &[
            "perennial.toml:2:1",
            "unknown key `database_max_byte`",
            "did you mean `database_max_bytes`?",
        ],
    );
    configured(
        "an unknown key of a CRM",
        "[hubspot]\nbase_url = \"https://api.hubapi.com\"\ntoken = \"s3cret\"\n",
        &[
            "perennial.toml:3:1",
            "unknown key `token`",
            "known: `base_url`, `token_file`, `auth`",
        ],
    );
    configured(
        "a limit in words",
        "[limits]\nbusy_timeout_ms = \"5s\"\n",
        &["perennial.toml:2:19", "invalid type: string \"5s\"", "perennial init"],
    );
    configured(
        "not TOML",
        "our_name = \"Ours\n",
        &["perennial.toml:1:17", "perennial init"],
    );
    configured(
        "a clock that is no time",
        "clock = \"yesterday\"\n",
        &["perennial.toml:1:9", "`yesterday` is no time", "2026-09-15T08:00:00Z"],
    );
    configured(
        "a role that is none",
        "[people]\n\"dana@example.com\" = [\"boss\"]\n",
        &[
            "perennial.toml:2:23",
            "unknown role `boss`",
            "roles are csm, csm_manager, deal_desk, vp_cs",
        ],
    );
    configured(
        "a CRM that is none",
        "[crm]\ndefault = \"dynamics\"\n",
        &[
            "perennial.toml:2:11",
            "unknown CRM `dynamics`",
            "write salesforce or hubspot",
        ],
    );
    configured(
        "a database that is none",
        "database = \"mysql://me:hunter2@db/x\"\n",
        &[
            "perennial.toml:1:12",
            "is no database",
            "write sqlite:PATH or postgres://USER@HOST/NAME",
        ],
    );
    configured(
        "an address that is none, with credentials",
        "[hubspot]\nbase_url = \"ftp://me:hunter2@x\"\ntoken_file = \"crm.token\"\n",
        &["perennial.toml:2:12", "is no address", "write it like https://"],
    );
    configured(
        "a wrong line beside one that holds a password",
        "database = \"postgres://me:hunter2@db/x\"\nour_nme = \"Ours\"\n",
        &["perennial.toml:2:1", "did you mean `our_name`?"],
    );
    configured(
        "CRMs that would be read all the time",
        "[sync]\nevery_s = 1\n",
        &[
            "perennial.toml:2:11",
            "`every_s` is not between 10 and 604800 seconds",
            "write 300 for every five minutes",
        ],
    );
    configured(
        "webhooks for an address that is none, at a place that is none",
        "[webhook]\nlisten = \"here\"\npublic_url = \"http://hooks.example.com\"\n",
        &[
            "perennial.toml:2:10",
            "`here` is no address to listen at",
            "perennial.toml:3:14",
            "`public_url` is no https address",
        ],
    );
    configured(
        "two wrong lines, both are named",
        "clock = \"yesterday\"\n[crm]\ndefault = \"dynamics\"\n",
        &["perennial.toml:1:9", "perennial.toml:3:11"],
    );
}

#[test]
fn a_crm_that_cannot_be_used_is_refused_before_anything_is_decided() {
    configured(
        "no token",
        "[salesforce]\nbase_url = \"https://example.my.salesforce.com\"\n",
        &[
            "salesforce has a base_url and no token",
            "PERENNIAL_SALESFORCE_TOKEN, or token_file in [salesforce]",
        ],
    );
    configured(
        "a token file that is missing",
        "[hubspot]\nbase_url = \"https://api.hubapi.com\"\ntoken_file = \"hubspot.token\"\n",
        &[
            "the token of hubspot cannot be read from `hubspot.token`",
            "check token_file, or set PERENNIAL_HUBSPOT_TOKEN",
        ],
    );
    configured(
        "an address that is none",
        "[salesforce]\nbase_url = \"example\"\ntoken_file = \"crm.token\"\n",
        &[
            "perennial.toml:2:12",
            "`example` is no address",
            "write it like https://",
        ],
    );
    configured(
        "an address without a host",
        "[salesforce]\nbase_url = \"https://\"\ntoken_file = \"crm.token\"\n",
        &["base_url `https://` is not usable", "write it like https://"],
    );
    configured(
        "plain http to another machine",
        "[hubspot]\nbase_url = \"http://crm.example.com\"\ntoken_file = \"crm.token\"\n",
        &[
            "base_url `http://crm.example.com` is not usable",
            "plain http would show the token",
            "use https",
        ],
    );
    configured(
        "credentials inside the address",
        "[hubspot]\nbase_url = \"https://me:hunter2@crm.example.com\"\ntoken_file = \"crm.token\"\n",
        &[
            "base_url `(hidden)` is not usable",
            "put the token where secrets are kept",
        ],
    );
}

#[test]
fn a_token_that_no_header_can_carry_is_not_repeated() {
    let place = Place::imported();
    place.write(
        "perennial.toml",
        "[hubspot]\nbase_url = \"https://api.hubapi.com\"\ntoken_file = \"crm.token\"\n",
    );
    place.write("crm.token", "s3cret\u{1}token");
    let said = place.refuses("a token with a control character", RUN, 2, &["the token is not usable"]);
    assert!(!said.err.contains("s3cret"), "{}", said.err);
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_named() {
    let cases = [
        Case {
            name: "there is none",
            files: &[],
            args: &["--config", "other.toml", "run", "--once"],
            code: 2,
            says: &["`other.toml` cannot be read", "check the path given with --config"],
        },
        Case {
            name: "it is a folder",
            files: &[("folder/x", "")],
            args: &["--config", "folder", "doctor"],
            code: 2,
            says: &["`folder` cannot be read", "check the path given with --config"],
        },
    ];
    for case in &cases {
        case.check();
    }
}
