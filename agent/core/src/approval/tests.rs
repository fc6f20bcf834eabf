//! Stopping what would run by itself later.

use super::*;
use crate::policy::gate::Vocabulary;

fn item(state: ActionState) -> Item {
    Item {
        action: ActionId::new("act_1"),
        state,
        effects: Vec::new(),
        role: OwnerRole::CSM,
        sufficient: Vocabulary::default().covering(OwnerRole::CSM),
        last_editor: None,
        expires_at: None,
        content: Hash::ZERO,
    }
}

fn step(state: ActionState, event: &Event) -> Result<(ActionState, bool), Refused> {
    let eva = Person {
        id: "eva".to_owned(),
        roles: Vec::new(),
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
