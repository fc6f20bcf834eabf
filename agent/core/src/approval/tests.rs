//! Stopping what would run by itself later; several who have to say yes; lent roles; questions.

mod sequences;

use super::*;
use crate::action::Write;
use crate::ids::{AccountId, EffectId};
use crate::policy::gate::Vocabulary;
use crate::signal::Crm;

fn item(state: ActionState) -> Item {
    Item {
        action: ActionId::new("act_1"),
        state,
        effects: Vec::new(),
        needs: needs(&[OwnerRole::CSM]),
        votes: Vec::new(),
        own_roles_only: false,
        asks: Asks::default(),
        last_editor: None,
        expires_at: None,
        content: Hash::ZERO,
    }
}

fn needs(roles: &[OwnerRole]) -> Vec<Need> {
    let named = Vocabulary::default();
    roles
        .iter()
        .map(|role| Need {
            role: *role,
            sufficient: named.covering(*role),
        })
        .collect()
}

fn note(text: &str) -> Vec<Effect> {
    vec![Effect {
        id: EffectId::new("eff_1"),
        action: ActionId::new("act_1"),
        step: 0,
        tool: Crm::Salesforce,
        target: crate::action::Target {
            account: AccountId::new("A-1"),
            account_name: "Ashgrove".to_owned(),
            crm_id: None,
        },
        write: Write::CreateNote {
            title: text.to_owned(),
            body: String::new(),
        },
    }]
}

fn person(id: &str, roles: &[OwnerRole]) -> Person {
    Person {
        id: id.to_owned(),
        roles: roles.to_vec(),
        lent: Vec::new(),
    }
}

fn vote(by: &str, authority: &str, roles: &[OwnerRole], seen: Hash) -> Vote {
    Vote {
        by: by.to_owned(),
        authority: authority.to_owned(),
        roles: roles.to_vec(),
        seen,
    }
}

/// What a yes of `person` to the item as it stands comes to: the state, whose roles it used, whose yes is still needed.
fn yes(item: &Item, person: &Person) -> Result<(ActionState, Option<String>, Vec<OwnerRole>), Refused> {
    let event = Event::Approve {
        seen: crate::action::effects_hash(&item.effects),
        reason: None,
    };
    let step = apply(item, &event, Some(person), Timestamp::EPOCH)?;
    assert_eq!(
        step.permit.is_some(),
        step.still.is_empty(),
        "a permit comes with the last yes"
    );
    Ok((step.state, step.authority, step.still))
}

fn step(state: ActionState, event: &Event) -> Result<(ActionState, bool), Refused> {
    let eva = Person {
        id: "eva".to_owned(),
        roles: Vec::new(),
        lent: Vec::new(),
    };
    apply(&item(state), event, Some(&eva), Timestamp::EPOCH).map(|step| (step.state, step.withdraw))
}

#[test]
fn what_is_permitted_can_be_held_rejected_or_withdrawn_and_only_people_take_its_effects_back() {
    let reason = || "audit".to_owned();
    let hold = Event::Hold { reason: reason() };
    let reject = Event::Reject { reason: reason() };
    assert_eq!(step(ActionState::Permitted, &hold), Ok((ActionState::Pending, true)));
    assert_eq!(step(ActionState::Permitted, &reject), Ok((ActionState::Rejected, true)));
    assert_eq!(step(ActionState::Pending, &reject), Ok((ActionState::Rejected, false)));
    assert_eq!(
        step(ActionState::Permitted, &Event::Withdraw),
        Ok((ActionState::Denied, false))
    );
    for state in ActionState::ALL {
        if *state != ActionState::Permitted {
            assert!(step(*state, &hold).is_err(), "{state}");
            assert!(step(*state, &Event::Withdraw).is_err(), "{state}");
        }
    }
    let silent = Event::Hold { reason: " ".to_owned() };
    assert_eq!(
        step(ActionState::Permitted, &silent),
        Err(Refused::Reason { verb: "holding" })
    );
}

const CSM: OwnerRole = OwnerRole::CSM;
const MANAGER: OwnerRole = OwnerRole::CSM_MANAGER;
const DESK: OwnerRole = OwnerRole::DEAL_DESK;
const HEAD: OwnerRole = OwnerRole::VP_CS;

#[test]
fn where_two_have_to_say_yes_the_permit_comes_with_the_second() {
    let both = Item {
        needs: needs(&[DESK, MANAGER]),
        ..item(ActionState::Pending)
    };
    let seen = crate::action::effects_hash(&both.effects);
    let first = yes(&both, &person("max", &[MANAGER]));
    assert_eq!(first, Ok((ActionState::Pending, Some("max".to_owned()), vec![DESK])));
    let one = Item {
        votes: vec![vote("max", "max", &[MANAGER], seen)],
        ..both.clone()
    };
    assert_eq!(
        yes(&one, &person("dora", &[DESK])),
        Ok((ActionState::Permitted, Some("dora".to_owned()), Vec::new()))
    );
    // The head of both can stand for either, whoever said yes before.
    assert_eq!(
        yes(&one, &person("vera", &[HEAD])).map(|y| y.0),
        Ok(ActionState::Permitted)
    );
    let head_first = Item {
        votes: vec![vote("vera", "vera", &[HEAD], seen)],
        ..both.clone()
    };
    assert_eq!(
        yes(&head_first, &person("dora", &[DESK])).map(|y| y.0),
        Ok(ActionState::Permitted)
    );
    assert_eq!(
        yes(&head_first, &person("max", &[MANAGER])).map(|y| y.0),
        Ok(ActionState::Permitted)
    );
    // Another manager is of no use, nor is the same one again.
    let other = yes(&one, &person("mia", &[MANAGER]));
    let refused = Refused::Role {
        person: "mia".to_owned(),
        needs: DESK,
    };
    assert_eq!(other, Err(refused));
    let again = yes(&one, &person("max", &[MANAGER, DESK]));
    let refused = Refused::Twice {
        person: "max".to_owned(),
        needs: vec![DESK],
    };
    assert_eq!(again, Err(refused));
}

#[test]
fn a_yes_to_other_content_or_of_somebody_who_lost_the_role_does_not_count() {
    let both = Item {
        needs: needs(&[CSM, CSM]),
        effects: note("new"),
        ..item(ActionState::Pending)
    };
    let old = crate::action::effects_hash(&note("old"));
    let present = crate::action::effects_hash(&both.effects);
    let with = |votes| Item { votes, ..both.clone() };
    let eva = person("eva", &[CSM]);
    let state = |item: Item| yes(&item, &eva).map(|y| y.0);
    assert_eq!(
        state(with(vec![vote("ben", "ben", &[CSM], present)])),
        Ok(ActionState::Permitted)
    );
    assert_eq!(
        state(with(vec![vote("ben", "ben", &[CSM], old)])),
        Ok(ActionState::Pending)
    );
    assert_eq!(
        state(with(vec![vote("ben", "ben", &[], present)])),
        Ok(ActionState::Pending)
    );
    let edited = Item {
        last_editor: Some("ben".to_owned()),
        ..with(vec![vote("ben", "ben", &[CSM], present)])
    };
    assert_eq!(
        state(edited),
        Ok(ActionState::Pending),
        "whoever changed it last has not approved it"
    );
}

#[test]
fn lent_roles_stand_for_their_owner_and_for_nobody_else() {
    let ben = Person {
        lent: vec![Lent {
            giver: "max".to_owned(),
            roles: vec![MANAGER],
        }],
        ..person("ben", &[CSM])
    };
    let managers = Item {
        needs: needs(&[MANAGER]),
        ..item(ActionState::Pending)
    };
    let used = |item: &Item| yes(item, &ben).map(|y| y.1);
    assert_eq!(used(&managers), Ok(Some("max".to_owned())));
    assert_eq!(
        used(&item(ActionState::Pending)),
        Ok(Some("ben".to_owned())),
        "one's own come first"
    );
    let refused = Refused::Role {
        person: "ben".to_owned(),
        needs: MANAGER,
    };
    let own = Item {
        own_roles_only: true,
        ..managers.clone()
    };
    assert_eq!(used(&own), Err(refused.clone()));
    let by_max = Item {
        last_editor: Some("max".to_owned()),
        ..managers.clone()
    };
    assert_eq!(
        used(&by_max),
        Err(refused.clone()),
        "nobody approves in the place of whoever changed it"
    );
    // Two managers are two people: what max said himself ben cannot say for him again.
    let two = Item {
        needs: needs(&[MANAGER, MANAGER]),
        votes: vec![vote("max", "max", &[MANAGER], crate::action::effects_hash(&[]))],
        ..managers.clone()
    };
    assert_eq!(used(&two), Err(refused));
    // Nor can one person say both, once for themselves and once for another.
    let manager_twice = Person {
        roles: vec![MANAGER],
        ..ben.clone()
    };
    let said = Item {
        votes: vec![vote("ben", "ben", &[MANAGER], crate::action::effects_hash(&[]))],
        ..two.clone()
    };
    assert!(matches!(yes(&said, &manager_twice), Err(Refused::Twice { .. })));
}

#[test]
fn a_question_keeps_it_from_being_approved_until_it_is_answered() {
    let ask = Event::Ask {
        question: "which price list?".to_owned(),
    };
    let answer = Event::Answer {
        text: "the old one".to_owned(),
    };
    assert_eq!(step(ActionState::Pending, &ask), Ok((ActionState::Deferred, false)));
    assert_eq!(step(ActionState::Deferred, &answer), Ok((ActionState::Pending, false)));
    assert_eq!(
        step(ActionState::Deferred, &Event::Expire),
        Ok((ActionState::Expired, false))
    );
    assert!(step(ActionState::Pending, &answer).is_err());
    assert!(step(ActionState::Permitted, &ask).is_err());
    assert!(yes(&item(ActionState::Deferred), &person("eva", &[CSM])).is_err());
    let empty = Event::Ask {
        question: String::new(),
    };
    assert_eq!(
        step(ActionState::Pending, &empty),
        Err(Refused::Reason { verb: "asking" })
    );
}

#[test]
fn yeses_last_until_anything_but_talk_is_done() {
    let said = |version, by: &str, verb: &str| Said {
        by: by.to_owned(),
        authority: None,
        verb: verb.to_owned(),
        seen: Some(Hash::ZERO),
        version,
    };
    let count = |history: &[Said], version| votes(history, version, |_| vec![CSM]).len();
    let talk = [
        said(2, "eva", "approve"),
        said(3, "ben", "ask"),
        said(4, "eva", "answer"),
    ];
    assert_eq!(count(&talk, 4), 1);
    assert_eq!(count(&talk, 5), 0, "facts were brought up to date after it");
    let gap = [said(2, "eva", "approve"), said(4, "ben", "approve")];
    assert_eq!(count(&gap, 4), 1, "and in between");
    for verb in ["edit", "hold", "retry", "snooze"] {
        let history = [said(2, "eva", "approve"), said(3, "ben", verb)];
        assert_eq!(count(&history, 3), 0, "{verb}");
    }
}

#[test]
fn yeses_are_placed_where_they_help_most() {
    let left = |wanted: &[OwnerRole], said: &[&[OwnerRole]]| unmet(&needs(wanted), said);
    assert_eq!(left(&[CSM, HEAD], &[&[HEAD], &[CSM]]), []);
    assert_eq!(left(&[CSM, HEAD], &[&[HEAD], &[HEAD]]), []);
    assert_eq!(left(&[CSM, HEAD], &[&[CSM], &[CSM]]), [HEAD]);
    assert_eq!(left(&[DESK, MANAGER, CSM], &[&[HEAD], &[MANAGER], &[DESK]]), []);
    assert_eq!(left(&[CSM], &[]), [CSM]);
    assert_eq!(
        left(&[CSM, MANAGER], &[&[MANAGER]]),
        [CSM],
        "whoever is left to ask is the easiest to find"
    );
}
