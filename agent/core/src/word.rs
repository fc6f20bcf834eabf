//! Words that admins may add to in `autonomy.toml`: tiers, roles and kinds of action.
//!
//! A word here is only well-formed. Whether it means anything says the vocabulary of the policies
//! ([`crate::policy::gate::Vocabulary`]); where it does not, nothing is permitted on it.
//!
//! Words are kept once for the life of the program, so that they are as cheap to copy as the variants of an enum. How many
//! there may be is limited, because records bring some.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Longest word.
const LETTERS_MAX: usize = 40;
/// Most words that are kept beside the built-in ones.
const WORDS_MAX: usize = 4096;

static WORDS: RwLock<BTreeSet<&'static str>> = RwLock::new(BTreeSet::new());

/// Whether a text has the form of a word: a small letter, then letters, digits and `_`, at most 40 in all.
#[must_use]
pub fn well_formed(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= LETTERS_MAX
}

/// The kept copy of a well-formed word; nothing for another text, and where too many are kept already.
pub(crate) fn kept(text: &str) -> Option<&'static str> {
    if !well_formed(text) {
        return None;
    }
    // A set that a panic left behind is whole: an insertion is one step.
    if let Some(word) = WORDS.read().unwrap_or_else(PoisonError::into_inner).get(text) {
        return Some(word);
    }
    let mut words = WORDS.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(word) = words.get(text) {
        return Some(word);
    }
    if words.len() >= WORDS_MAX {
        return None;
    }
    let word: &'static str = Box::leak(text.to_owned().into_boxed_str());
    words.insert(word);
    Some(word)
}

macro_rules! open_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $constant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(&'static str);

        impl $name {
            $($(#[$vdoc])* pub const $constant: $name = $name($word);)+

            /// The words that every vocabulary has, in the order of declaration.
            pub const BUILT_IN: &'static [$name] = &[$($name::$constant),+];

            /// The word for it in files, JSON and SQL.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                self.0
            }

            /// The word as such; none where it is not well-formed. That it means something says the vocabulary.
            #[must_use]
            pub fn from_word(word: &str) -> Option<$name> {
                match word {
                    $($word => Some($name::$constant),)+
                    _ => $crate::word::kept(word).map($name),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::from_word(&text).ok_or_else(|| {
                    serde::de::Error::custom(format!("`{text}` is no word: a small letter, then letters, digits and `_`"))
                })
            }
        }
    };
}
pub(crate) use open_words;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Tier;

    #[test]
    fn a_word_is_kept_once_and_compares_by_its_letters() {
        let first = kept("self_serve").unwrap();
        let again = kept(&String::from("self_serve")).unwrap();
        assert!(std::ptr::eq(first, again));
        assert_eq!(Tier::from_word("low_touch"), Some(Tier::LOW_TOUCH));
        assert!(Tier::from_word("self_serve").unwrap() > Tier::LOW_TOUCH);
    }

    #[test]
    fn what_is_no_word_is_refused() {
        for text in ["", "Big", "9lives", "a b", "a-b", "a\"b", "ä", &"a".repeat(41)] {
            assert_eq!(kept(text), None, "{text}");
            assert_eq!(serde_json::from_value::<Tier>(text.into()).ok(), None, "{text}");
        }
    }
}
