//! Fields that an effect wants, compared with what the record holds. Pure, and the same for every system.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Change;
use crate::ownership::{FieldOwner, FieldRule};
use crate::text::{Fitted, same, shown};

/// Fields of a live record by name.
pub(crate) type Live = Map<String, Value>;

/// One field as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) name: Cow<'static, str>,
    /// Who owns it.
    pub(crate) owner: FieldOwner,
    /// What goes into the request.
    pub(crate) send: Value,
    /// What a person reads.
    pub(crate) text: String,
    /// Length before and after, when the text was cut.
    pub(crate) cut: Option<(usize, usize)>,
}

impl Wanted {
    /// A text as it stands.
    pub(crate) fn text(name: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Wanted {
        let text = text.into();
        Wanted {
            name: name.into(),
            owner: FieldOwner::Ours,
            send: Value::String(text.clone()),
            text,
            cut: None,
        }
    }

    /// A text cut to `limit`.
    pub(crate) fn fitted(name: impl Into<Cow<'static, str>>, fitted: Fitted, limit: usize) -> Wanted {
        let cut = fitted.was.map(|was| (was, limit));
        Wanted {
            cut,
            ..Wanted::text(name, fitted.text)
        }
    }

    /// The same value, for the field that a mapping names.
    pub(crate) fn ruled(self, rule: &FieldRule) -> Wanted {
        Wanted {
            name: Cow::Owned(rule.field.clone()),
            owner: rule.owner,
            ..self
        }
    }

    fn live(&self, live: &Live) -> Option<String> {
        live.get(self.name.as_ref()).and_then(shown)
    }
}

/// The wanted fields that the record does not have yet. INVARIANT (left to the CRM): a field that the CRM owns is never among
/// them.
pub(crate) fn differing<'a>(wanted: &'a [Wanted], live: &Live) -> Vec<&'a Wanted> {
    let differs =
        |field: &&Wanted| field.owner != FieldOwner::Crm && !same(&field.live(live).unwrap_or_default(), &field.text);
    wanted.iter().filter(differs).collect()
}

/// The values to send.
pub(crate) fn body<'a>(fields: impl IntoIterator<Item = &'a Wanted>) -> Live {
    let pair = |field: &Wanted| (field.name.clone().into_owned(), field.send.clone());
    fields.into_iter().map(pair).collect()
}

/// The before-image: empty fields are absent.
pub(crate) fn before<'a>(fields: impl IntoIterator<Item = &'a Wanted>, live: &Live) -> BTreeMap<String, String> {
    let pair = |field: &Wanted| Some((field.name.clone().into_owned(), field.live(live)?));
    fields.into_iter().filter_map(pair).collect()
}

/// The values written, exactly as written. A cut text has a second entry, `<field> (cut)`, which says so; a field that the
/// CRM owns has only `<field> (not written)`.
pub(crate) fn after<'a>(fields: impl IntoIterator<Item = &'a Wanted>) -> BTreeMap<String, String> {
    let mut after = BTreeMap::new();
    for field in fields {
        if field.owner == FieldOwner::Crm {
            let note = "the mapping leaves it to the CRM".to_owned();
            after.insert(format!("{} (not written)", field.name), note);
            continue;
        }
        after.insert(field.name.clone().into_owned(), field.text.clone());
        if let Some((was, limit)) = field.cut {
            let note = format!("the field holds {limit} characters, the text has {was}");
            after.insert(format!("{} (cut)", field.name), note);
        }
    }
    after
}

/// Before and after of every wanted field.
pub(crate) fn changes(wanted: &[Wanted], live: Option<&Live>) -> BTreeMap<String, Change> {
    let pair = |field: &Wanted| {
        let before = live.and_then(|live| field.live(live));
        let after = match field.owner {
            FieldOwner::Ours | FieldOwner::Shared => field.text.clone(),
            FieldOwner::Crm => before.clone().unwrap_or_default(),
        };
        (field.name.clone().into_owned(), Change { before, after })
    };
    wanted.iter().map(pair).collect()
}

/// Names, separated by commas, with those that address or name the record first.
pub(crate) fn names(first: &[&str], wanted: &[Wanted]) -> String {
    let rest = wanted.iter().map(|field| field.name.as_ref());
    first.iter().copied().chain(rest).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_written_and_empty_is_absent() {
        let wanted = [Wanted::text("a", "1"), Wanted::text("b", "new"), Wanted::text("c", "")];
        let Value::Object(live) = json!({"a": 1.0, "b": null, "c": null}) else {
            unreachable!("an object");
        };
        let differing = differing(&wanted, &live);
        assert_eq!(
            differing.iter().map(|field| field.name.as_ref()).collect::<Vec<_>>(),
            ["b"]
        );
        assert!(before(differing, &live).is_empty());
        let changes = changes(&wanted, Some(&live));
        assert_eq!(changes.values().filter(|change| change.is_change()).count(), 1);
        assert_eq!(changes["a"].before.as_deref(), Some("1"));
    }

    #[test]
    fn a_cut_is_said_beside_the_value() {
        let fitted = Fitted {
            text: "abc…".to_owned(),
            was: Some(9),
        };
        let after = after(&[Wanted::fitted("Subject", fitted, 4)]);
        assert_eq!(after["Subject"], "abc…");
        assert_eq!(after["Subject (cut)"], "the field holds 4 characters, the text has 9");
    }
}
