//! Promises: what must never or always hold of the rules as a whole, one a file `promises/NAME.cedar`.
//!
//! A promise is a permit that describes cases. `@never("…")` says that none of them is allowed, `@always("…")` that each of them
//! is. Promises decide nothing: they are what a proof is about (the crate `perennial-prove` asks a solver), and
//! they are part of the content, so that its name says what was promised.
//!
//! A promise that can never fail says nothing, so it is read as strictly as a rule: an unknown word, an unguarded fact and a case that
//! cannot be are problems with file, line and column.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Policy, PolicyId, Validator};
use serde::{Deserialize, Serialize};

use super::super::file::{Problem, did_you_mean, place};
use super::named::Vocabulary;
use super::rules::{self, Reading};
use crate::action::ActionKind;
use crate::signal::word_enum;

word_enum! {
    /// What a promise says of its cases.
    PromiseKind {
        /// None of them is allowed.
        Never = "never",
        /// Each of them is allowed.
        Always = "always",
    }
}

/// One promise.
#[derive(Debug, Clone)]
pub struct Promise {
    /// Name: that of its file.
    pub id: String,
    /// What it says of its cases.
    pub kind: PromiseKind,
    /// The promise as people read it.
    pub sentence: String,
    /// File inside the policies folder.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// The Cedar text, without comments.
    pub text: String,
    policy: Policy,
    kinds: BTreeSet<ActionKind>,
}

impl Promise {
    /// The cases, as a permit; its id is the name of the promise.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The kinds of action that it can be about, by its scope alone.
    #[must_use]
    pub fn kinds(&self) -> &BTreeSet<ActionKind> {
        &self.kinds
    }
}

/// Annotations that a promise may have.
const KNOWN: [&str; 3] = ["never", "always", "why"];

/// Reads the promises by path, such as `promises/four-eyes.cedar`.
pub(super) fn read(
    files: &BTreeMap<&str, &str>,
    validator: &Validator,
    named: &Vocabulary,
    problems: &mut Vec<Problem>,
) -> Vec<Promise> {
    let mut found = Vec::with_capacity(files.len());
    for (file, text) in files {
        let name = file
            .strip_prefix("promises/")
            .and_then(|name| name.strip_suffix(".cedar"))
            .filter(|name| !name.contains('/') && !name.is_empty());
        let Some(name) = name else {
            problems.push(Problem::whole(
                file,
                "this file is not part of a policy".to_owned(),
                "promises are promises/NAME.cedar, one promise a file; move other files away",
            ));
            continue;
        };
        let mut reading = Reading::new(file, text);
        let promise = one(&mut reading, name, validator, named);
        if reading.problems.is_empty() {
            found.extend(promise);
        }
        problems.append(&mut reading.problems);
    }
    found
}

fn one(reading: &mut Reading<'_>, name: &str, validator: &Validator, named: &Vocabulary) -> Option<Promise> {
    let mut policies = reading.policies().into_iter();
    let Some((policy, written, start)) = policies.next() else {
        if reading.problems.is_empty() {
            reading.wrong(
                0,
                "this file holds no promise",
                "write a permit with @never(\"…\") or @always(\"…\")",
            );
        }
        return None;
    };
    if let Some((_, _, second)) = policies.next() {
        reading.wrong(
            second,
            "a second promise in one file",
            "give it a file of its own: the file is its name",
        );
    }
    let said = |key: &str| policy.annotation(key).map(str::trim).filter(|s| !s.is_empty());
    let kind = match (said("never"), said("always")) {
        (Some(sentence), None) => Some((PromiseKind::Never, sentence)),
        (None, Some(sentence)) => Some((PromiseKind::Always, sentence)),
        (None, None) => {
            let help = "add @never(\"…\") or @always(\"…\") with the promise as people read it";
            reading.wrong(start, "this promise says neither @never nor @always", help);
            None
        }
        (Some(_), Some(_)) => {
            let help = "keep one of the two, and write the other promise into another file";
            reading.wrong(start, "this promise says @never and @always", help);
            None
        }
    };
    for (key, _) in policy.annotations() {
        if !KNOWN.contains(&key) {
            let help = did_you_mean(key, KNOWN.into_iter()).unwrap_or_else(|| "remove it".to_owned());
            let at = written.find(&format!("@{key}")).unwrap_or(0);
            reading.wrong(start + at, format!("unknown annotation @{key}"), help);
        }
    }
    if policy.effect() == cedar_policy::Effect::Forbid {
        let at = written.find("forbid").unwrap_or(0);
        let help = "write `permit (…)`: it describes the cases, and @never or @always says what holds of them";
        reading.wrong(start + at, "a promise is written as a permit", help);
    }
    rules::sense(reading, &policy, &written, start, name, validator);
    let (kind, sentence) = kind?;
    Some(Promise {
        id: name.to_owned(),
        kind,
        sentence: sentence.to_owned(),
        file: reading.file.to_owned(),
        line: place(reading.text, start).0,
        kinds: rules::kinds(&policy, named),
        policy: policy.new_id(PolicyId::new(name)),
        text: written,
    })
}
