//! Reading texts that a statement put together from many rows: numbers end with `:`, texts have their length before them.

use crate::convert::corrupt;
use crate::error::Result;

/// What is left of a text.
pub(crate) struct Fields<'a> {
    what: &'static str,
    rest: &'a str,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(what: &'static str, text: &'a str) -> Fields<'a> {
        Fields { what, rest: text }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `bytes` bytes.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a str> {
        let (taken, rest) = self
            .rest
            .split_at_checked(bytes)
            .ok_or_else(|| corrupt(self.what, self.rest))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number and its colon.
    pub(crate) fn number(&mut self) -> Result<i64> {
        let (number, rest) = self.rest.split_once(':').ok_or_else(|| corrupt(self.what, self.rest))?;
        self.rest = rest;
        number.parse().map_err(|_| corrupt(self.what, number))
    }

    /// A length and its colon.
    pub(crate) fn length(&mut self) -> Result<usize> {
        let number = self.number()?;
        usize::try_from(number).map_err(|_| corrupt(self.what, self.rest))
    }
}
