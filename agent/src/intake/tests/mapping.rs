//! Problems of mappings: all of them, each at its place, each with a remedy.

use super::{parsed, problems_of};

const GOOD: &str = r#"
source = "test"
[defaults]
currency = "EUR"
[[file]]
path = "a.csv"
kind = "account"
key = "id"
[file.fields]
name = "name"
tier = { column = "plan", values = { A = "low_touch" } }
"#;

#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let seen = problems_of(text)
        .iter()
        .map(|problem| match &problem.help {
            Some(help) => format!("{problem} / {help}"),
            None => problem.to_string(),
        })
        .collect::<Vec<_>>();
    for (seen, expect) in seen.iter().zip(expect) {
        assert!(seen.starts_with(expect), "\n{seen}\n{expect}");
    }
    assert_eq!(seen.len(), expect.len(), "{seen:#?}");
}

#[test]
fn a_good_mapping_loads() {
    assert_eq!(parsed(GOOD).source().as_str(), "test");
}

#[test]
fn an_unknown_key_names_the_one_that_was_meant() {
    check(
        &GOOD.replace("kind =", "knid ="),
        &[
            "map.toml:5:1: [[file]] has no `kind` / known: `account`",
            "map.toml:7:1: unknown key `knid` in [[file]] / did you mean `kind`?",
        ],
    );
    check(
        &GOOD.replace("currency =", "curency ="),
        &["map.toml:4:1: unknown key `curency` in [defaults] / did you mean `currency`?"],
    );
    check(
        &GOOD.replace("name = \"name\"", "nmae = \"name\""),
        &["map.toml:10:1: records of kind `account` have no field `nmae` / did you mean `name`?"],
    );
}

#[test]
fn all_problems_are_found_at_once() {
    check(
        r#"
source = "Test Source"
[defaults]
currency = "EURO"
dates = ["%Y-%m-%d", "%Y", "%K"]
encoding = "utf-16"
delimiter = ",,"
booleans = { true = ["1"], false = ["1"] }
numbers = { decimal = ",", thousands = "," }
[[file]]
path = "../a.csv"
kind = "acount"
key = []
[[file]]
path = "b.csv"
kind = "movement"
key = "id"
[file.fields]
kind = { value = "expand" }
delta = { column = "d", times = 0 }
"#,
        &[
            "map.toml:2:10: `Test Source` cannot name a source",
            "map.toml:4:12: `EURO` is not an ISO 4217 currency code such as USD or EUR / did you mean \"EUR\"?",
            "map.toml:5:22: the format `%Y` does not name a day",
            "map.toml:5:28: the format `%K` not a format",
            "map.toml:6:12: unknown encoding `utf-16` / known: `utf-8`",
            "map.toml:7:13: `delimiter` must be one ASCII character",
            "map.toml:8:12: `1` stands for both true and false",
            "map.toml:9:11: `decimal` and `thousands` are the same mark",
            "map.toml:11:8: `../a.csv` leaves the folder",
            "map.toml:12:8: unknown kind `acount` / did you mean `account`?",
            "map.toml:13:7: `key` names no column",
            "map.toml:14:1: [[file]] has no `account`",
            "map.toml:14:1: [[file]] has no `event`",
            "map.toml:19:18: `expand` is no word: not one of: opening",
            "map.toml:20:9: the amount `delta` has no currency",
        ],
    );
}

#[test]
fn constants_are_checked_like_values() {
    check(
        &GOOD.replace("\"low_touch\"", "\"lowtouch\""),
        &[
            "map.toml:11:42: `lowtouch` is no word: not one of: low_touch, mid_touch, strategic / did you mean `low_touch`?",
        ],
    );
    check(
        &format!("{GOOD}since = {{ value = \"31.01.2026\" }}\nseats = {{ column = \"s\", value = 3 }}\nchurned = 3\n"),
        &[
            "map.toml:12:19: `31.01.2026` is no date: fits none of the formats",
            "map.toml:13:9: field `seats` must have either `column` or `value`",
            "map.toml:14:11: `churned` must name a column",
        ],
    );
}

#[test]
fn options_without_effect_are_refused() {
    check(
        &format!(
            "{GOOD}industry = {{ column = \"i\", times = 12 }}\ncrm = {{ column = \"c\" }}\nchurned = {{ value = true, default = false }}\n"
        ),
        &[
            "map.toml:12:36: `times` has no meaning for `industry`, which is a text",
            "map.toml:13:7: field `crm` does not say which CRM",
            "map.toml:14:11: `default` has no effect on a constant",
        ],
    );
}

#[test]
fn what_a_kind_needs_must_be_there() {
    check(
        "source = \"t\"\n[[file]]\npath = \"a.csv\"\nkind = \"survey\"\nkey = \"id\"\naccount = \"a\"\nevent = \"d\"\n",
        &[
            "map.toml:2:1: records of kind `survey` need the field `kind`",
            "map.toml:2:1: records of kind `survey` need the field `score`",
        ],
    );
    check(
        "source = \"t\"\n[[file]]\npath = \"a.csv\"\nkind = \"usage\"\nkey = \"id\"\naccount = { via = \"owner\", column = \"o\" }\n[file.usage]\ngrain = \"month\"\n",
        &[
            "map.toml:6:19: `owner` is no kind of record that knows an account",
            "map.toml:7:1: [file.usage] has no `start`",
            "map.toml:7:1: [file.usage] has no `values`",
            "map.toml:8:9: unknown grain `month`",
        ],
    );
    check(
        "source = \"t\"\n[[file]]\npath = \"a.csv\"\nkind = \"owner\"\nkey = \"id\"\naccount = \"a\"\n[file.usage]\n",
        &[
            "map.toml:6:11: records of kind `owner` belong to no account",
            "map.toml:7:1: records of kind `owner` have no `usage`",
        ],
    );
}

#[test]
fn a_text_that_is_no_toml_and_a_missing_file_are_named() {
    check("source = \n", &["map.toml:1:"]);
    check(
        "",
        &[
            "map.toml:1:1: the mapping has no `source`",
            "map.toml:1:1: the mapping has no `file`",
        ],
    );
    let problems = super::Mapping::load(std::path::Path::new("/no/such/map.toml")).expect_err("no file");
    assert!(
        problems[0]
            .to_string()
            .starts_with("/no/such/map.toml: the mapping cannot be read")
    );
}

#[test]
fn problems_show_the_line_they_are_about() {
    let error = super::ImportError::NotReady {
        problems: problems_of(&GOOD.replace("kind =", "knid =")),
    };
    let mut shown = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .render_report(&mut shown, &error)
        .expect("memory can be written");
    assert!(shown.contains("knid = \"account\""), "{shown}");
    assert!(shown.contains("did you mean `kind`?"), "{shown}");
    assert!(shown.contains("map.toml:7:1"), "{shown}");
}

const ROLES: &str = r#"
source = "test"
[write.role]
economic_buyer = "Economic Buyer"
champion = "Champion"
[[object]]
name = "Contact"
kind = "contact"
key = "Id"
account = "AccountId"
[object.fields]
deal_roles = { column = "roles.deals", values = { Buyer = "economic_buyer", Fan = "champion" } }
"#;

#[test]
fn roles_have_words_of_their_own_and_mistakes_are_named() {
    use perennial_core::signal::ContactRole;
    let writes = parsed(ROLES).writes().expect("a table");
    assert_eq!(writes.roles[&ContactRole::EconomicBuyer], "Economic Buyer");
    assert!(writes.account.is_empty(), "what is not named is not written");
    check(
        &ROLES.replace("champion =", "champoin ="),
        &["map.toml:5:1: unknown key `champoin` in [write.role] / did you mean `champion`?"],
    );
    check(
        &ROLES.replace("\"Champion\"", "\"economic buyer\""),
        &["map.toml:5:12: two of our roles are `economic buyer` / give each a word of its own"],
    );
    check(
        &ROLES.replace("\"Champion\"", "\" \""),
        &["map.toml:5:12: `champion` has no usable word / write it as people see it"],
    );
    check(&ROLES.replace("Fan = \"champion\"", "Fan = \"fan\""), &["map.toml:12:"]);
    check(
        &ROLES.replace("column = \"roles.deals\", values", "value = \"champion\", values"),
        &[
            "map.toml:12:14: `deal_roles` cannot be the same for everybody / name the column",
            "map.toml:12:14: `values` has no effect on a constant",
        ],
    );
}
