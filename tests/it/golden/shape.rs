//! What a JSON value looks like: keys and types, without the values.

use std::collections::BTreeMap;

use serde_json::Value;

/// Keys and types. Null fits every type, because it says nothing about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Null,
    Bool,
    Number,
    Text,
    /// The shape of all elements together; nothing when there are none.
    List(Option<Box<Shape>>),
    Map(BTreeMap<String, Shape>),
}

pub(super) fn of(value: &Value) -> Shape {
    match value {
        Value::Null => Shape::Null,
        Value::Bool(_) => Shape::Bool,
        Value::Number(_) => Shape::Number,
        Value::String(_) => Shape::Text,
        Value::Array(all) => Shape::List(all.iter().map(of).reduce(together).map(Box::new)),
        Value::Object(map) => Shape::Map(map.iter().map(|(key, value)| (key.clone(), of(value))).collect()),
    }
}

fn together(one: Shape, other: Shape) -> Shape {
    match (one, other) {
        (Shape::Null, shape) | (shape, Shape::Null) => shape,
        (Shape::Map(mut one), Shape::Map(other)) => {
            for (key, shape) in other {
                let merged = match one.remove(&key) {
                    Some(own) => together(own, shape),
                    None => shape,
                };
                one.insert(key, merged);
            }
            Shape::Map(one)
        }
        (Shape::List(Some(one)), Shape::List(Some(other))) => Shape::List(Some(Box::new(together(*one, *other)))),
        (Shape::List(None), list @ Shape::List(_)) | (list @ Shape::List(_), Shape::List(None)) => list,
        (one, _) => one,
    }
}

/// Where two shapes differ: `- path` is missing in the second, `+ path` is more than in the first, `~ path` has another type.
pub(super) fn differences(want: &Shape, have: &Shape) -> Vec<String> {
    let mut found = Vec::new();
    compare("", want, have, &mut found);
    found
}

fn compare(path: &str, want: &Shape, have: &Shape, found: &mut Vec<String>) {
    match (want, have) {
        (Shape::Null, _)
        | (_, Shape::Null)
        | (Shape::List(None), Shape::List(_))
        | (Shape::List(_), Shape::List(None)) => {}
        (Shape::List(Some(want)), Shape::List(Some(have))) => compare(&format!("{path}[]"), want, have, found),
        (Shape::Map(want), Shape::Map(have)) => {
            for (key, shape) in want {
                let path = format!("{path}.{key}");
                match have.get(key) {
                    Some(own) => compare(&path, shape, own, found),
                    None => found.push(format!("- {path}")),
                }
            }
            let more = have.keys().filter(|key| !want.contains_key(*key));
            found.extend(more.map(|key| format!("+ {path}.{key}")));
        }
        (want, have) if want == have => {}
        (want, have) => found.push(format!("~ {path}: {want:?} is {have:?}")),
    }
}

#[test]
fn differences_name_what_is_missing_what_is_more_and_what_is_another_type() {
    let want = of(&serde_json::json!({ "a": 1, "b": [{ "c": "x" }, { "d": null }], "e": null }));
    let have = of(&serde_json::json!({ "a": "1", "b": [{ "c": "y" }], "e": 7, "f": 1 }));
    assert_eq!(differences(&want, &have), ["~ .a: Number is Text", "- .b[].d", "+ .f"]);
    assert_eq!(differences(&want, &want), Vec::<String>::new());
}
