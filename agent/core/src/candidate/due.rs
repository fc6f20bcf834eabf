//! What is due: what a playbook begins with, and the steps at which running plays stand.

use super::Known;
use crate::ids::{ActionId, PlayId};
use crate::number::Micro;
use crate::play::{Life, Move, OfPlay, Running, Standing, StepShape};
use crate::policy::{ActionText, Economics, Playbook, Step};
use crate::time::Day;

/// An action that is to be proposed: what a playbook begins with, or a later step of a running play.
pub(crate) struct Due<'a> {
    pub(super) playbook: &'a Playbook,
    /// Its step and the text of it; none where the playbook is one action.
    pub(super) step: Option<(&'a StepShape, &'a ActionText, usize)>,
    /// The play that goes on with it; none where it begins.
    pub(super) goes_on: Option<(&'a Running, Standing)>,
}

impl<'a> Due<'a> {
    /// What a playbook begins with whose condition holds.
    pub(crate) fn of_trigger(playbook: &'a Playbook) -> Option<Due<'a>> {
        let step = match &playbook.plan {
            None => None,
            Some(plan) => Some(action_of(playbook, plan.definition.shape.steps.first()?)?),
        };
        Some(Due {
            playbook,
            step,
            goes_on: None,
        })
    }

    /// The step at which a running play stands.
    pub(crate) fn of_play(
        playbook: &'a Playbook,
        step: &'a StepShape,
        running: &'a Running,
        standing: Standing,
    ) -> Option<Due<'a>> {
        Some(Due {
            playbook,
            step: Some(action_of(playbook, step)?),
            goes_on: Some((running, standing)),
        })
    }

    pub(super) fn text(&self) -> Option<&'a ActionText> {
        self.step.map(|(_, text, _)| text)
    }

    pub(super) fn writes(&self) -> &'a [Step] {
        self.text().map_or(&self.playbook.steps, |text| &text.writes)
    }

    /// Whether the playbook's document is part of it.
    pub(super) fn has_document(&self) -> bool {
        let noted = |step: &Step| matches!(step, Step::CreateNote { body: None, .. });
        self.text().is_none_or(|text| text.writes.iter().any(noted))
    }

    pub(super) fn economics(&self) -> Economics {
        let economics = self.playbook.economics;
        Economics {
            minutes: self.text().and_then(|text| text.minutes).unwrap_or(economics.minutes),
            ..economics
        }
    }

    /// The id of its action on a day. What a play begins with has the name that a playbook of one action gives it.
    pub(super) fn action(&self, known: &Known<'_>, subject: &str, today: Day) -> ActionId {
        let about = self.goes_on.as_ref().map_or_else(
            || subject.to_owned(),
            |(running, standing)| running.play.at_turn(subject, standing.turn),
        );
        let account = &known.inputs.snapshot.account_id;
        ActionId::derive(known.inputs.tenant, account, &self.playbook.id, &about, today)
    }

    pub(super) fn of_play_at(&self, known: &Known<'_>, subject: &str, today: Day) -> Option<OfPlay> {
        let plan = self.playbook.plan.as_ref()?;
        let (shape, text, _) = self.step?;
        let steps = u32::try_from(plan.definition.shape.steps.len()).unwrap_or(u32::MAX);
        let moves = match &self.goes_on {
            Some((running, standing)) => Move {
                play: running.play.clone(),
                playbook: running.playbook.clone(),
                subject: running.subject.clone(),
                from_turn: standing.turn,
                health: None,
                left: Vec::new(),
                life: Life::Running(standing.clone()),
            },
            None => {
                let snapshot = &known.inputs.snapshot;
                Move {
                    play: PlayId::derive(
                        known.inputs.tenant,
                        &snapshot.account_id,
                        &self.playbook.id,
                        subject,
                        today,
                    ),
                    playbook: self.playbook.id.clone(),
                    subject: subject.to_owned(),
                    from_turn: 0,
                    health: known.features.number("health").map(Micro::from_f64),
                    left: Vec::new(),
                    life: Life::Running(plan.definition.shape.begin(snapshot.as_of)?),
                }
            }
        };
        Some(OfPlay {
            step: shape.id.clone(),
            steps,
            approve: text.approve,
            moves,
        })
    }
}

fn action_of<'a>(playbook: &'a Playbook, step: &'a StepShape) -> Option<(&'a StepShape, &'a ActionText, usize)> {
    let text = playbook.plan.as_ref()?.steps.get(&step.id)?;
    Some((step, text.action.as_ref()?, text.line))
}
