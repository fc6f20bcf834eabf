//! The calls that a CRM allows: one row a CRM, shared by all processes.
//!
//! INVARIANT (never exceeded): calls are taken under the lock of the row, from what is left of the day and of the bucket; who takes
//! none sends nothing.
//!
//! A CRM that says that its calls are used up leaves the bucket so far below nothing that it fills when the wait is over: until
//! then nobody takes a call.

use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{time, unsigned, word};
use crate::db::{Durability, Row, Statement, args};
use crate::error::Result;

/// Length of a day's window, in microseconds: it begins with the first call.
const DAY_US: i64 = 86_400_000_000;
/// Share of the day from which a warning is due, in percent.
const WARN_PERCENT: u64 = 80;

pub(crate) static MAKE: Statement = Statement::same(
    "beginning to count calls",
    "insert into crm_budget (tenant_id, tool, limit_n, used, resets_us, warned_us, tokens_micro, refilled_us)
     values ($1, $2, 0, 0, $3, null, $4, $5) on conflict (tenant_id, tool) do nothing",
);
pub(crate) static LOCK: Statement = Statement::differ(
    "locking the count of calls",
    "select tool, limit_n, used, resets_us, warned_us, tokens_micro, refilled_us from crm_budget
     where tenant_id = $1 and tool = $2",
    "select tool, limit_n, used, resets_us, warned_us, tokens_micro, refilled_us from crm_budget
     where tenant_id = $1 and tool = $2 for update",
);
pub(crate) static PUT: Statement = Statement::same(
    "counting calls",
    "update crm_budget set limit_n = $3, used = $4, resets_us = $5, warned_us = $6, tokens_micro = $7, refilled_us = $8
     where tenant_id = $1 and tool = $2",
);
pub(crate) static ALL_OF: Statement = Statement::same(
    "reading the counts of calls",
    "select tool, limit_n, used, resets_us, warned_us, tokens_micro, refilled_us from crm_budget
     where tenant_id = $1 and tool >= '' order by tool",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&MAKE, &LOCK, &PUT, &ALL_OF];

/// What holds for a CRM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRules {
    /// Calls a day that we allow ourselves, where somebody said so.
    pub daily: Option<u64>,
    /// Calls a day to go by until the CRM says how many it allows.
    pub assumed: u64,
    /// Calls a second, of all processes together.
    pub per_second: u32,
    /// Calls at once beyond that.
    pub burst: u32,
}

impl CallRules {
    /// Calls of a day, by what we allow ourselves and what the CRM says, where it has said something.
    #[must_use]
    pub fn of_day(&self, told: Option<u64>) -> u64 {
        match (told, self.daily) {
            (None, daily) => daily.unwrap_or(self.assumed),
            (Some(told), daily) => daily.map_or(told, |daily| daily.min(told)),
        }
    }
}

/// What taking calls brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallsTaken {
    /// Calls given; none when there is no room.
    pub calls: u32,
    /// Used of the day, these included.
    pub used: u64,
    /// What the day allows.
    pub limit: u64,
    /// Whether a warning is due now; it is due once a day.
    pub warn: bool,
    /// When there may be room again, where none was given.
    pub wait_us: i64,
    /// Whether it is the day that has no room, and not the moment.
    pub day_spent: bool,
    /// Whether the CRM itself has said that its calls are used up.
    pub refused: bool,
}

/// How the calls to a CRM stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBudget {
    /// CRM.
    pub tool: Crm,
    /// Used of the day.
    pub used: u64,
    /// What the CRM says it allows a day; none where it has not said.
    pub told: Option<u64>,
    /// When the day ends.
    pub resets_at: Timestamp,
    /// When 80 % were used, where they were.
    pub warned_at: Option<Timestamp>,
    /// Calls that the bucket lacks, in millionths, and since when: the CRM has said that its calls are used up.
    lacks: Option<(i64, Timestamp)>,
}

impl CallBudget {
    /// Until when nobody calls the CRM because it has said that its calls are used up.
    #[must_use]
    pub fn refused_until(&self, rules: &CallRules) -> Option<Timestamp> {
        let (micro, since) = self.lacks?;
        Some(Timestamp::from_us(
            since.us().saturating_add(micro / i64::from(rules.per_second.max(1))),
        ))
    }

    /// What the day still has, by what we allow ourselves and what the CRM says.
    #[must_use]
    pub fn left(&self, rules: &CallRules) -> u64 {
        self.left_within(rules, 100)
    }

    /// What the day still has for calls that may use this share of it, in percent.
    #[must_use]
    pub fn left_within(&self, rules: &CallRules, share_percent: u64) -> u64 {
        (rules.of_day(self.told).saturating_mul(share_percent) / 100).saturating_sub(self.used)
    }
}

#[derive(Clone, Copy)]
struct Count {
    told: i64,
    used: i64,
    resets_us: i64,
    warned_us: Option<i64>,
    tokens_micro: i64,
    refilled_us: i64,
}

impl Count {
    fn of(row: &Row) -> Result<Count> {
        Ok(Count {
            told: row.int(1)?,
            used: row.int(2)?,
            resets_us: row.int(3)?,
            warned_us: row.opt_int(4)?,
            tokens_micro: row.int(5)?,
            refilled_us: row.int(6)?,
        })
    }

    /// The count at `now`: a day that is over begins anew, and the bucket has filled.
    fn at(self, now: i64, rules: &CallRules) -> Count {
        let day = if now >= self.resets_us {
            Count {
                used: 0,
                resets_us: now.saturating_add(DAY_US),
                warned_us: None,
                ..self
            }
        } else {
            self
        };
        let passed = now.saturating_sub(self.refilled_us).clamp(0, DAY_US);
        // Calls a second are millionths of a call a microsecond.
        let grown = passed.saturating_mul(i64::from(rules.per_second));
        let cap = i64::from(rules.burst).saturating_mul(1_000_000);
        Count {
            tokens_micro: self.tokens_micro.saturating_add(grown).min(cap),
            refilled_us: now.max(self.refilled_us),
            ..day
        }
    }

    fn limit(&self, rules: &CallRules) -> u64 {
        rules.of_day(Some(unsigned(self.told)).filter(|told| *told > 0))
    }

    fn take(self, share_percent: u64, most: u32, rules: &CallRules, now: i64) -> (Count, CallsTaken) {
        let limit = self.limit(rules);
        let room = (limit.saturating_mul(share_percent) / 100).saturating_sub(unsigned(self.used));
        let tokens = u32::try_from(self.tokens_micro / 1_000_000).unwrap_or(0);
        let calls = u32::try_from(room).unwrap_or(u32::MAX).min(tokens).min(most);
        let used = self.used + i64::from(calls);
        let warn = self.warned_us.is_none() && unsigned(used).saturating_mul(100) >= limit.saturating_mul(WARN_PERCENT);
        let wait_us = if room == 0 {
            self.resets_us.saturating_sub(now)
        } else {
            let missing = 1_000_000_i64.saturating_sub(self.tokens_micro).max(1);
            missing / i64::from(rules.per_second.max(1)) + 1
        };
        let next = Count {
            used,
            warned_us: if warn { Some(now) } else { self.warned_us },
            tokens_micro: self.tokens_micro - i64::from(calls) * 1_000_000,
            ..self
        };
        let taken = CallsTaken {
            calls,
            used: unsigned(used),
            limit,
            warn,
            wait_us: if calls > 0 { 0 } else { wait_us },
            day_spent: room == 0,
            refused: self.tokens_micro < 0,
        };
        (next, taken)
    }
}

impl Store {
    /// Takes up to `most` calls to a CRM, while at most `share_percent` of the day is used.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn take_calls(
        &self,
        tool: Crm,
        share_percent: u64,
        most: u32,
        rules: &CallRules,
        now: Timestamp,
    ) -> Result<CallsTaken> {
        let take = |count: Count| count.at(now.us(), rules).take(share_percent, most, rules, now.us());
        self.count(tool, rules, now, take).await
    }

    /// Notes what a CRM says about its day: everyone's calls, and what it allows.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn hear_calls(&self, tool: Crm, used: u64, limit: u64, rules: &CallRules, now: Timestamp) -> Result<()> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let hear = |count: Count| {
            let count = count.at(now.us(), rules);
            let heard = Count {
                told: signed(limit),
                // Blocks that are taken and not used yet are not in the CRM's count.
                used: count.used.max(signed(used)),
                ..count
            };
            (heard, ())
        };
        self.count(tool, rules, now, hear).await
    }

    /// Notes that a CRM has said that its calls are used up: nobody takes one before `wait_us` microseconds have passed.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn refuse_calls(&self, tool: Crm, wait_us: i64, rules: &CallRules, now: Timestamp) -> Result<()> {
        let refuse = |count: Count| {
            let count = count.at(now.us(), rules);
            // Below one, so that the first call after the wait is one.
            let lacking = wait_us.max(0).saturating_mul(i64::from(rules.per_second));
            let refused = Count {
                tokens_micro: count.tokens_micro.min(1_000_000_i64.saturating_sub(lacking)).min(0),
                ..count
            };
            (refused, ())
        };
        self.count(tool, rules, now, refuse).await
    }

    /// How the calls to the CRMs stand.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn call_budgets(&self) -> Result<Vec<CallBudget>> {
        let rows = self.db.fetch(&ALL_OF, args![self.tenant.0], None).await?;
        rows.iter()
            .map(|row| {
                let count = Count::of(row)?;
                Ok(CallBudget {
                    tool: word("CRM", &row.text(0)?, Crm::from_word)?,
                    used: unsigned(count.used),
                    told: Some(unsigned(count.told)).filter(|told| *told > 0),
                    resets_at: time(count.resets_us),
                    warned_at: count.warned_us.map(time),
                    lacks: (count.tokens_micro < 0).then(|| (-count.tokens_micro, time(count.refilled_us))),
                })
            })
            .collect()
    }

    async fn count<T>(
        &self,
        tool: Crm,
        rules: &CallRules,
        now: Timestamp,
        change: impl FnOnce(Count) -> (Count, T),
    ) -> Result<T> {
        // A power cut may forget some calls of this block; the CRM's own count says them again.
        let mut tx = self.db.write(Durability::Normal).await?;
        let cap = i64::from(rules.burst).saturating_mul(1_000_000);
        let fresh = Count {
            told: 0,
            used: 0,
            resets_us: now.us().saturating_add(DAY_US),
            warned_us: None,
            tokens_micro: cap,
            refilled_us: now.us(),
        };
        let key = tool.as_str();
        let make = args![
            self.tenant.0,
            key,
            fresh.resets_us,
            fresh.tokens_micro,
            fresh.refilled_us
        ];
        tx.execute(&MAKE, make, None).await?;
        let rows = tx.fetch(&LOCK, args![self.tenant.0, key], None).await?;
        let count = rows.first().map_or(Ok(fresh), Count::of)?;
        let (next, answer) = change(count);
        let put = args![
            self.tenant.0,
            key,
            next.told,
            next.used,
            next.resets_us,
            next.warned_us,
            next.tokens_micro,
            next.refilled_us
        ];
        tx.execute(&PUT, put, None).await?;
        tx.commit().await?;
        Ok(answer)
    }
}
