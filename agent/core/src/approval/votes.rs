//! Whose yes is needed, whose was said, and what is still open between the two.

use std::collections::BTreeSet;

use crate::replay::Hash;
use crate::signal::OwnerRole;

/// Somebody whose yes is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The least role that may say it.
    pub role: OwnerRole,
    /// The roles that suffice: itself and those that include it, as the policies in force say.
    pub sufficient: BTreeSet<OwnerRole>,
}

/// A yes that was said before, where more than one is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Who said it.
    pub by: String,
    /// Whose roles they used; mostly their own.
    pub authority: String,
    /// Roles of `authority`, read fresh.
    pub roles: Vec<OwnerRole>,
    /// Hash of the effects that the person saw.
    pub seen: Hash,
}

/// What a person did with an action, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub by: String,
    /// Whose roles they used, where not their own.
    pub authority: Option<String>,
    /// What, in a word.
    pub verb: String,
    /// Hash of the effects that they saw.
    pub seen: Option<Hash>,
    /// Version of the action after it.
    pub version: i64,
}

/// Who has said yes to an action in this version, from all that was done with it, in order: the yeses since anything else was done.
/// `roles` gives what somebody is now. A question, its answer and a new owner leave them; facts that were brought up to date meanwhile
/// (which leaves a gap in the versions), and a snooze, make people look again.
#[must_use]
pub fn votes(history: &[Said], version: i64, roles: impl Fn(&str) -> Vec<OwnerRole>) -> Vec<Vote> {
    let mut votes = Vec::new();
    let mut expected = version;
    for said in history.iter().rev() {
        if said.version != expected {
            break;
        }
        match (said.verb.as_str(), said.seen) {
            ("approve", Some(seen)) => {
                let authority = said.authority.clone().unwrap_or_else(|| said.by.clone());
                votes.push(Vote {
                    by: said.by.clone(),
                    roles: roles(&authority),
                    authority,
                    seen,
                });
            }
            ("ask" | "answer" | "reassign", _) => {}
            _ => break,
        }
        expected -= 1;
    }
    votes.reverse();
    votes
}

/// The roles that nobody has said yes for, where each yes counts for one need: as few as can be left, and of those the ones that most roles
/// suffice for. `votes` are the roles of each who said it.
#[must_use]
pub fn unmet(needs: &[Need], votes: &[&[OwnerRole]]) -> Vec<OwnerRole> {
    /// Finds a vote for a need, giving others another one where they have it (Kuhn's augmenting paths).
    fn place(need: usize, fits: &[Vec<bool>], given: &mut [Option<usize>], tried: &mut [bool]) -> bool {
        for vote in 0..given.len() {
            if !fits[need][vote] || tried[vote] {
                continue;
            }
            tried[vote] = true;
            if given[vote].is_none_or(|other| place(other, fits, given, tried)) {
                given[vote] = Some(need);
                return true;
            }
        }
        false
    }
    let fits: Vec<Vec<bool>> = needs
        .iter()
        .map(|need| {
            let fit = |roles: &&[OwnerRole]| roles.iter().any(|role| need.sufficient.contains(role));
            votes.iter().map(fit).collect()
        })
        .collect();
    let mut given: Vec<Option<usize>> = vec![None; votes.len()];
    // Once placed a need stays placed, so whoever comes first has the first right to a vote.
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|need| needs[*need].sufficient.len());
    let mut open: Vec<usize> = Vec::new();
    for need in order {
        if !place(need, &fits, &mut given, &mut vec![false; votes.len()]) {
            open.push(need);
        }
    }
    open.sort_unstable();
    open.into_iter().map(|need| needs[need].role).collect()
}
