//! Random sequences of everything that can happen to an action between its proposal and its sending, held against a judge that keeps
//! its own books: nothing is sent on a yes that was stale, borrowed, or not one of enough.
//!
//! `PERENNIAL_SEQUENCES` says how many; without it fewer, which is said.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::draw::Stream;

const FEW: u64 = 20_000;
const STEPS: usize = 24;
const PEOPLE: [&str; 5] = ["ana", "bob", "cyd", "dan", "eve"];
const ROLES: [&[OwnerRole]; 5] = [&[CSM], &[MANAGER], &[DESK], &[HEAD], &[CSM, DESK]];
const POLICIES: [&[OwnerRole]; 5] = [&[CSM], &[MANAGER], &[DESK, MANAGER], &[CSM, CSM], &[HEAD]];

/// One yes in the books of the judge.
#[derive(Debug, Clone)]
struct Yes {
    by: &'static str,
    authority: &'static str,
    title: String,
}

/// The world around one action, as the program would keep it.
struct World {
    now: i64,
    effects: Vec<Effect>,
    text: u32,
    state: ActionState,
    version: i64,
    last_editor: Option<String>,
    history: Vec<Said>,
    roles: BTreeMap<&'static str, Vec<OwnerRole>>,
    /// Receiver, giver.
    lent: BTreeSet<(&'static str, &'static str)>,
    own_roles_only: bool,
    policy: usize,
    permit: Option<Permit>,
    expires_at: i64,
    // The judge's books.
    yeses: Vec<Yes>,
    changed_by: Option<&'static str>,
    sent: u32,
    permits: u32,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_us(seconds * 1_000_000)
}

impl World {
    fn new(draw: &mut Stream) -> World {
        World {
            now: 0,
            effects: note("0"),
            text: 0,
            state: ActionState::Pending,
            version: 1,
            last_editor: None,
            history: Vec::new(),
            roles: PEOPLE
                .iter()
                .zip(ROLES)
                .map(|(id, roles)| (*id, roles.to_vec()))
                .collect(),
            lent: BTreeSet::new(),
            own_roles_only: draw.below(4) == 0,
            policy: draw.below(POLICIES.len()),
            permit: None,
            expires_at: 40 + i64::try_from(draw.below(40)).unwrap(),
            yeses: Vec::new(),
            changed_by: None,
            sent: 0,
            permits: 0,
        }
    }

    fn item(&self) -> Item {
        Item {
            action: ActionId::new("act_1"),
            state: self.state,
            effects: self.effects.clone(),
            needs: needs(POLICIES[self.policy]),
            votes: votes(&self.history, self.version, |id| self.roles[id].clone()),
            own_roles_only: self.own_roles_only,
            asks: Asks::default(),
            last_editor: self.last_editor.clone(),
            expires_at: Some(at(self.expires_at)),
            content: Hash::ZERO,
        }
    }

    fn person(&self, id: &'static str) -> Person {
        let lent = self.lent.iter().filter(|(receiver, _)| *receiver == id);
        Person {
            id: id.to_owned(),
            roles: self.roles[id].clone(),
            lent: lent
                .map(|(_, giver)| Lent {
                    giver: (*giver).to_owned(),
                    roles: self.roles[giver].clone(),
                })
                .collect(),
        }
    }

    fn title(&self) -> String {
        match &self.effects[0].write {
            Write::CreateNote { title, .. } => title.clone(),
            _ => unreachable!("a note"),
        }
    }

    fn next_text(&mut self) -> Vec<Effect> {
        self.text += 1;
        note(&self.text.to_string())
    }

    /// A person does something; whether it was let.
    fn does(&mut self, who: &'static str, verb: &str, event: &Event) -> bool {
        let person = self.person(who);
        let Ok(step) = apply(&self.item(), event, Some(&person), at(self.now)) else {
            return false;
        };
        self.version += 1;
        let seen = match event {
            Event::Approve { seen, .. } => Some(*seen),
            _ => None,
        };
        self.history.push(Said {
            by: who.to_owned(),
            authority: step.authority.clone().filter(|whose| whose != who),
            verb: verb.to_owned(),
            seen,
            version: self.version,
        });
        match event {
            Event::Approve { .. } => {
                let whose = step.authority.clone().expect("a yes uses somebody's roles");
                let authority = PEOPLE.iter().find(|id| **id == whose).expect("one of ours");
                assert!(
                    *authority == who || (!self.own_roles_only && self.lent.contains(&(who, authority))),
                    "{who} used roles of {authority} that were not lent"
                );
                let yes = Yes {
                    by: who,
                    authority,
                    title: self.title(),
                };
                self.yeses.push(yes);
            }
            Event::Edit { .. } => {
                self.yeses.clear();
                self.changed_by = Some(who);
                self.last_editor = Some(who.to_owned());
            }
            Event::Ask { .. } | Event::Answer { .. } | Event::Reassign { .. } => {}
            _ => self.yeses.clear(),
        }
        if let Some(effects) = step.effects {
            self.effects = effects;
        }
        if step.withdraw {
            self.permit = None;
        }
        if let Some(permit) = step.permit {
            self.permits += 1;
            self.permit = Some(permit);
        }
        self.state = step.state;
        true
    }

    /// The engine does something.
    fn engine(&mut self, event: &Event) -> bool {
        let Ok(step) = apply(&self.item(), event, None, at(self.now)) else {
            return false;
        };
        self.version += 1;
        self.state = step.state;
        self.yeses.clear();
        true
    }

    /// The record changes, and with it what would be written; only what nobody has touched follows.
    fn record_changes(&mut self) {
        if self.state == ActionState::Pending && self.last_editor.is_none() {
            self.effects = self.next_text();
            self.version += 1;
            self.yeses.clear();
        }
    }

    /// As dispatch does it: the stored permit is verified, and whose yes is needed is asked with the policy and the roles of now.
    fn sends(&mut self) {
        if self.state != ActionState::Permitted {
            return;
        }
        let Some(permit) = self.permit.take() else { return };
        let record = permit.record().clone();
        let Ground::Approval {
            by, authority, with, ..
        } = record.ground().clone()
        else {
            unreachable!("nothing runs by itself here")
        };
        let whose = std::iter::once(authority.unwrap_or(by)).chain(with);
        let roles: Vec<Vec<OwnerRole>> = whose.map(|id| self.roles[id.as_str()].clone()).collect();
        let roles: Vec<&[OwnerRole]> = roles.iter().map(Vec::as_slice).collect();
        let enough = unmet(&needs(POLICIES[self.policy]), &roles).is_empty() && self.now < self.expires_at;
        let verified = record.verify(&self.effects[0], &self.effects).is_ok();
        if enough && verified {
            self.judge();
            self.sent += 1;
            assert!(self.engine(&Event::Executed));
        } else {
            assert!(self.engine(&Event::Return));
        }
    }

    /// The judge looks at its own books only.
    fn judge(&self) {
        let wanted = POLICIES[self.policy];
        let title = self.title();
        assert_eq!(self.sent, 0, "sent twice");
        assert!(self.now < self.expires_at, "sent after its end");
        for yes in &self.yeses {
            assert_eq!(yes.title, title, "a yes to something else");
            assert_ne!(Some(yes.by), self.changed_by, "whoever changed it approved it");
            assert_ne!(
                Some(yes.authority),
                self.changed_by,
                "approved in the place of whoever changed it"
            );
        }
        let people: BTreeSet<&str> = self.yeses.iter().flat_map(|yes| [yes.by, yes.authority]).collect();
        let borrowed = self.yeses.iter().filter(|yes| yes.by != yes.authority).count();
        assert_eq!(
            people.len(),
            self.yeses.len() + borrowed,
            "one person said two yeses: {:?}",
            self.yeses
        );
        assert!(
            self.seated(wanted, &mut vec![false; self.yeses.len()]),
            "not enough: {:?} for {wanted:?}",
            self.yeses
        );
    }

    /// Whether every role that is wanted has a yes of its own, by trying all ways.
    fn seated(&self, wanted: &[OwnerRole], taken: &mut Vec<bool>) -> bool {
        let Some((role, rest)) = wanted.split_first() else {
            return true;
        };
        for (number, yes) in self.yeses.iter().enumerate() {
            let covers = |held: &OwnerRole| held == role || (*held == HEAD) || (*held == MANAGER && *role == CSM);
            if !taken[number] && self.roles[yes.authority].iter().any(covers) {
                taken[number] = true;
                if self.seated(rest, taken) {
                    return true;
                }
                taken[number] = false;
            }
        }
        false
    }

    fn happens(&mut self, draw: &mut Stream) {
        self.now += i64::try_from(draw.below(4)).unwrap();
        let who = PEOPLE[draw.below(PEOPLE.len())];
        let reason = || "because".to_owned();
        match draw.below(26) {
            0..=9 => {
                let shown = if draw.below(8) == 0 {
                    note("something else")
                } else {
                    self.effects.clone()
                };
                let seen = crate::action::effects_hash(&shown);
                self.does(who, "approve", &Event::Approve { seen, reason: None });
            }
            10 | 11 => {
                let effects = self.next_text();
                self.does(who, "edit", &Event::Edit { effects });
            }
            12 => {
                self.does(who, "hold", &Event::Hold { reason: reason() });
            }
            13 => {
                let until = at(self.now + 5);
                self.does(
                    who,
                    "snooze",
                    &Event::Snooze {
                        until,
                        reason: reason(),
                    },
                );
            }
            14 => {
                self.engine(&Event::Wake);
            }
            15 => {
                self.does(who, "ask", &Event::Ask { question: reason() });
            }
            16 => {
                self.does(who, "answer", &Event::Answer { text: reason() });
            }
            17 => {
                let to = Assignee::Role(HEAD);
                self.does(who, "reassign", &Event::Reassign { to, reason: reason() });
            }
            18 => {
                let roles = self.roles.get_mut(who).unwrap();
                if roles.is_empty() {
                    let number = PEOPLE.iter().position(|id| *id == who).unwrap();
                    *roles = ROLES[number].to_vec();
                } else {
                    roles.clear();
                }
            }
            19 => self.policy = draw.below(POLICIES.len()),
            20 => self.record_changes(),
            21 => {
                let giver = PEOPLE[draw.below(PEOPLE.len())];
                if giver != who && !self.lent.remove(&(who, giver)) {
                    self.lent.insert((who, giver));
                }
            }
            22 => {
                if self.now >= self.expires_at {
                    self.engine(&Event::Expire);
                }
            }
            23 => {
                if draw.below(6) == 0 {
                    self.does(who, "reject", &Event::Reject { reason: reason() });
                }
            }
            _ => self.sends(),
        }
    }
}

#[test]
fn no_stale_borrowed_or_lonely_yes_sends_anything_in_random_sequences() {
    let wanted = std::env::var("PERENNIAL_SEQUENCES").ok().and_then(|n| n.parse().ok());
    let sequences = wanted.unwrap_or(FEW);
    let (mut sent, mut returned, mut lent) = (0_u64, 0_u64, 0_u64);
    for number in 0..sequences {
        let mut draw = Stream::new(number, &["approval sequences"]);
        let mut world = World::new(&mut draw);
        for _ in 0..STEPS {
            world.happens(&mut draw);
        }
        sent += u64::from(world.sent);
        returned += u64::from(world.permits.saturating_sub(world.sent));
        lent += u64::from(world.history.iter().any(|said| said.authority.is_some()));
    }
    println!("{sequences} sequences: {sent} sent, {returned} permits not used, {lent} with lent roles");
    // A judge that nothing comes before has judged nothing.
    assert!(sent > sequences / 20 && returned > sequences / 20 && lent > sequences / 100);
}
