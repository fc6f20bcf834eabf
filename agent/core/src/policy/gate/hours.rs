//! Contact hours: when a customer may hear from us, by the clock on their wall.
//!
//! Zones come from the copy of the IANA database that is built in, so that the same moment is the same local time on every
//! machine. A zone that is not known is not guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::candidate::addressee;
use crate::signal::ContactRole;
use crate::snapshot::Snapshot;
use crate::time::{Day, Timestamp};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Days that are looked at for the next allowed moment; a table that allows none of them allows none.
const DAYS_AHEAD: i64 = 370;

/// The key of holidays that hold everywhere.
pub const EVERYWHERE: &str = "all";

/// A zone by its IANA name, such as `Europe/Berlin`.
fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

/// Whether a zone is known by this name.
#[must_use]
pub fn is_zone(name: &str) -> bool {
    zone(name).is_some()
}

/// Where and who the person at the customer is whom an action addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addressee {
    /// The contact's record; none where no contact is known.
    pub contact: Option<String>,
    /// What they are to us; none where it is not known.
    pub role: Option<ContactRole>,
    /// Their IANA time zone; none where it is not known.
    pub time_zone: Option<String>,
    /// Region or country of the account, as the source writes it.
    pub region: Option<String>,
}

impl Addressee {
    /// The person whom actions about this account address.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Addressee {
        let contact = addressee(snapshot);
        Addressee {
            contact: contact.map(|c| c.record.external_id.as_str().to_owned()),
            role: contact.and_then(|c| c.fact.role),
            time_zone: contact.and_then(|c| c.fact.time_zone.clone()),
            region: snapshot.account_fact().and_then(|a| a.region.clone()),
        }
    }
}

/// The customer's clock at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Minutes since local midnight, 0 to 1439.
    pub minute: i64,
    /// Day of the week, 1 for Monday to 7 for Sunday.
    pub weekday: i64,
    /// The table calls this day a holiday there.
    pub holiday: bool,
}

/// When an action would reach the customer, and what their clock shows then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// The moment: the present, or the next one that contact hours allow.
    pub at: Timestamp,
    /// Their clock then; none where their zone is not known.
    pub local: Option<LocalTime>,
}

/// Contact hours of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactHours {
    /// Line from 1.
    pub line: usize,
    /// First minute of the day, local time.
    pub from_minute: i64,
    /// First minute after them, local time; at most 1440.
    pub to_minute: i64,
}

/// What the table says about time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calendar {
    /// Contact hours on working days; none: any time.
    pub hours: Option<ContactHours>,
    /// Zone of those whose own is not known; none: a person decides.
    pub default_zone: Option<String>,
    /// Holidays by region in the words of the source, and [`EVERYWHERE`].
    pub holidays: BTreeMap<String, BTreeSet<Day>>,
}

impl ContactHours {
    /// Whether a local time lies within them: on a weekday that is no holiday, from the first minute to before the last.
    #[must_use]
    pub fn allow(&self, local: LocalTime) -> bool {
        (self.from_minute..self.to_minute).contains(&local.minute) && local.weekday <= 5 && !local.holiday
    }

    /// `08:00-18:00` as people write it.
    #[must_use]
    pub fn text(&self) -> String {
        let clock = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{}-{}", clock(self.from_minute), clock(self.to_minute))
    }
}

impl Calendar {
    /// The zone of a person, or the default one; none where neither is known.
    fn zone_of(&self, whom: &Addressee) -> Option<TimeZone> {
        let own = whom.time_zone.as_deref().and_then(zone);
        own.or_else(|| self.default_zone.as_deref().and_then(zone))
    }

    /// The customer's clock at a moment; none where their zone is not known.
    #[must_use]
    pub fn local(&self, at: Timestamp, whom: &Addressee) -> Option<LocalTime> {
        self.read(at, &self.zone_of(whom)?, whom)
    }

    fn read(&self, at: Timestamp, zone: &TimeZone, whom: &Addressee) -> Option<LocalTime> {
        let moment = jiff::Timestamp::from_microsecond(at.us()).ok()?;
        let local = zone.to_datetime(moment);
        let weekday = match local.weekday() {
            Weekday::Monday => 1,
            Weekday::Tuesday => 2,
            Weekday::Wednesday => 3,
            Weekday::Thursday => 4,
            Weekday::Friday => 5,
            Weekday::Saturday => 6,
            Weekday::Sunday => 7,
        };
        Some(LocalTime {
            minute: i64::from(local.hour()) * 60 + i64::from(local.minute()),
            weekday,
            holiday: self.is_holiday(local.date(), whom),
        })
    }

    fn is_holiday(&self, date: Date, whom: &Addressee) -> bool {
        let Some(day) = Day::from_ymd(date.year(), date.month(), date.day()) else {
            return false;
        };
        let lists = [Some(EVERYWHERE), whom.region.as_deref()];
        let mut lists = lists.into_iter().flatten().filter_map(|key| self.holidays.get(key));
        lists.any(|days| days.contains(&day))
    }

    /// When an action that may run from `at` on reaches the customer: at once without contact hours and where the zone
    /// is not known, else at the first moment from then on that they allow. None where they allow none within a year.
    #[must_use]
    pub fn sending(&self, at: Timestamp, whom: &Addressee) -> Option<Sending> {
        let Some(zone) = self.zone_of(whom) else {
            return Some(Sending { at, local: None });
        };
        let now = self.read(at, &zone, whom)?;
        let Some(hours) = self.hours.as_ref() else {
            return Some(Sending { at, local: Some(now) });
        };
        if hours.allow(now) {
            return Some(Sending { at, local: Some(now) });
        }
        let first = zone
            .to_datetime(jiff::Timestamp::from_microsecond(at.us()).ok()?)
            .date();
        (0..=DAYS_AHEAD).find_map(|ahead| {
            let date = first.checked_add(jiff::Span::new().days(ahead)).ok()?;
            let hour = i8::try_from(hours.from_minute / 60).ok()?;
            let minute = i8::try_from(hours.from_minute % 60).ok()?;
            // A clock that is put forward over the hour opens when it has been; one that is put back, at the first pass.
            let opening = zone
                .to_ambiguous_timestamp(date.at(hour, minute, 0, 0))
                .compatible()
                .ok()?;
            let opening = Timestamp::from_us(opening.as_microsecond());
            let local = self.read(opening, &zone, whom)?;
            (opening >= at && hours.allow(local)).then_some(Sending {
                at: opening,
                local: Some(local),
            })
        })
    }
}

/// `08:00-18:00` as minutes of the day.
pub(super) fn parse_hours(text: &str) -> Option<(i64, i64)> {
    let clock = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
        let total = hour * 60 + minute;
        ((0..=24).contains(&hour) && (0..60).contains(&minute) && total <= 1440).then_some(total)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (clock(from)?, clock(to)?);
    (from < to).then_some((from, to))
}

#[cfg(test)]
mod tests;
