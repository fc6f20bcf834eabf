//! The tiers of the made-up company: the built-in ones, so that the generator can be exhaustive.

/// How a made-up customer is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Mostly automatic.
    LowTouch,
    /// Shared.
    MidTouch,
    /// A named CSM.
    Strategic,
}

impl Tier {
    /// The word for it in the files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        perennial_core::signal::Tier::from(self).as_str()
    }
}

impl From<Tier> for perennial_core::signal::Tier {
    fn from(tier: Tier) -> perennial_core::signal::Tier {
        match tier {
            Tier::LowTouch => perennial_core::signal::Tier::LOW_TOUCH,
            Tier::MidTouch => perennial_core::signal::Tier::MID_TOUCH,
            Tier::Strategic => perennial_core::signal::Tier::STRATEGIC,
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
