//! From a stream of observations to episodes: a machine without input or output.

use alloc::{vec, vec::Vec};

use crate::io::{Guidance, Reading};

/// The button that starts and ends an episode.
pub const EPISODE_BUTTON: u32 = 1;
/// The button that discards the episode under way, or the last one.
pub const DISCARD_BUTTON: u32 = 1 << 1;

/// One demonstration: pairs of an observation and the action that was applied there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Episode {
    /// `[T, S]`.
    pub observations: Vec<f32>,
    /// `[T, A]`.
    pub actions: Vec<f32>,
    /// Steps from the first to the last pair that have no pair: lost on the way, told without an
    /// action, or with a number that is not finite.
    pub missing: u64,
    /// Whether the robot ended it (it had fallen, say).
    pub terminated: bool,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// An episode begins with the next observation.
    Start,
    /// The episode ends with the last action.
    End,
    /// The last episode stays, whatever is discarded later.
    Keep,
    /// The episode under way is dropped, or else the last one that has not been kept.
    Discard,
}

/// Why it cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantError {
    /// An episode is under way.
    #[error("an episode is under way; end or discard it first")]
    UnderWay,
    /// None is.
    #[error("no episode is under way; start one first")]
    NotUnderWay,
    /// There is nothing to keep or to discard.
    #[error("there is no episode that is not kept for good already")]
    Nothing,
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// An episode has begun, or begins with the next observation.
    Started,
    /// An episode has ended; it has one pair at least.
    Ended(Episode),
    /// The episode under way is dropped, or has ended without a pair: so many pairs are gone.
    Dropped(usize),
    /// The last episode is kept for good.
    Kept,
    /// The last episode shall be removed again.
    Removed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is recorded; whether the last episode may still be discarded.
    Waiting {
        removable: bool,
    },
    Recording,
}

/// Pairs what a robot showed with what it applied, and cuts episodes where operator, button or
/// robot say.
///
/// A press of [`EPISODE_BUTTON`] starts an episode with the observation that shows it, and ends it
/// with the action that led to the one that shows the next press; a press of [`DISCARD_BUTTON`] is
/// [`Want::Discard`]. A robot that ends its own episode ends the recorded one.
#[derive(Clone, Debug)]
pub struct Recorder {
    state: State,
    episode: Episode,
    /// The last observation, which waits for its action; its step where it is good.
    waiting: Vec<f32>,
    waiting_step: Option<u64>,
    /// Step of the last observation, and of the last pair's.
    last_step: Option<u64>,
    last_pair: Option<u64>,
    buttons: u32,
}

impl Recorder {
    /// A recorder of observations `[S]` and actions `[A]`; buttons that are pressed from the
    /// beginning do nothing until they are pressed anew.
    pub fn new(obs_dim: usize, action_dim: usize) -> Self {
        debug_assert!(obs_dim > 0 && action_dim > 0);
        Self {
            state: State::Waiting { removable: false },
            episode: Episode::default(),
            waiting: vec![0.0; obs_dim],
            waiting_step: None,
            last_step: None,
            last_pair: None,
            buttons: u32::MAX,
        }
    }

    /// Whether an episode is under way.
    pub fn is_recording(&self) -> bool {
        self.state == State::Recording
    }

    /// Whether the observation that comes with this guidance will be the first of an episode.
    pub fn starts_with(&self, guidance: Guidance<'_>) -> bool {
        match self.state {
            State::Recording => self.last_pair.is_none() && self.waiting_step.is_none(),
            State::Waiting { .. } => guidance.buttons & !self.buttons & EPISODE_BUTTON != 0,
        }
    }

    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.waiting.len()
    }

    /// Pairs of the episode under way.
    pub fn pairs(&self) -> usize {
        self.episode.observations.len() / self.waiting.len()
    }

    /// Does what an operator wants.
    ///
    /// # Errors
    /// [`WantError`].
    pub fn want(&mut self, want: Want) -> Result<Happened, WantError> {
        match (want, self.state) {
            (Want::Start, State::Recording) => Err(WantError::UnderWay),
            (Want::Start, State::Waiting { .. }) => Ok(self.start()),
            (Want::End, State::Recording) => Ok(self.end(false)),
            (Want::End, State::Waiting { .. }) => Err(WantError::NotUnderWay),
            (Want::Keep, State::Recording) => Err(WantError::UnderWay),
            (Want::Keep | Want::Discard, State::Waiting { removable: false }) => {
                Err(WantError::Nothing)
            }
            (Want::Keep, State::Waiting { .. }) => {
                self.state = State::Waiting { removable: false };
                Ok(Happened::Kept)
            }
            (Want::Discard, State::Recording) => Ok(self.drop_episode()),
            (Want::Discard, State::Waiting { .. }) => {
                self.state = State::Waiting { removable: false };
                Ok(Happened::Removed)
            }
        }
    }

    /// Takes an observation `[S]` and what the robot says of the step that led there; observations
    /// come in the order of their steps.
    pub fn see(
        &mut self,
        reading: Reading,
        obs: &[f32],
        guidance: Guidance<'_>,
    ) -> Option<Happened> {
        if self.last_step.is_some_and(|last| reading.step <= last) {
            return None;
        }
        self.last_step = Some(reading.step);
        let pressed = guidance.buttons & !self.buttons;
        self.buttons = guidance.buttons;
        if self.is_recording() {
            self.pair(reading.step, guidance.applied);
        }
        let mut happened = None;
        if pressed & DISCARD_BUTTON != 0 {
            happened = self.want(Want::Discard).ok();
        } else if pressed & EPISODE_BUTTON != 0 {
            let want = if self.is_recording() { Want::End } else { Want::Start };
            happened = self.want(want).ok();
        } else if reading.terminated && self.is_recording() {
            happened = Some(self.end(true));
        }
        if self.is_recording() {
            let good = obs.len() == self.waiting.len() && obs.iter().all(|v| v.is_finite());
            self.waiting_step = good.then_some(reading.step);
            if good {
                self.waiting.copy_from_slice(obs);
            }
        }
        happened
    }

    /// The action of the observation that waits for it.
    fn pair(&mut self, step: u64, applied: Option<&[f32]>) {
        let good = applied.filter(|applied| applied.iter().all(|v| v.is_finite()));
        let Some((before, action)) = self.waiting_step.take().zip(good) else { return };
        if before + 1 != step {
            return;
        }
        self.episode.observations.extend_from_slice(&self.waiting);
        self.episode.actions.extend_from_slice(action);
        let follows = self.last_pair.map_or(before, |last| last + 1);
        self.episode.missing += before - follows;
        self.last_pair = Some(before);
    }

    fn start(&mut self) -> Happened {
        self.state = State::Recording;
        self.episode = Episode::default();
        (self.waiting_step, self.last_pair) = (None, None);
        Happened::Started
    }

    fn end(&mut self, terminated: bool) -> Happened {
        if self.pairs() == 0 {
            return self.drop_episode();
        }
        self.state = State::Waiting { removable: true };
        let episode = core::mem::take(&mut self.episode);
        Happened::Ended(Episode { terminated, ..episode })
    }

    fn drop_episode(&mut self) -> Happened {
        let pairs = self.pairs();
        self.state = State::Waiting { removable: false };
        self.episode = Episode::default();
        Happened::Dropped(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn see(recorder: &mut Recorder, step: u64, buttons: u32) -> Option<Happened> {
        let applied = [step as f32, -(step as f32)];
        let guidance = Guidance { applied: Some(&applied), buttons, taken_over: true };
        recorder.see(Reading { step, ..Reading::default() }, &[step as f32 + 0.5], guidance)
    }

    fn expected(steps: core::ops::Range<u64>) -> Episode {
        Episode {
            observations: steps.clone().map(|t| t as f32 + 0.5).collect(),
            actions: steps.flat_map(|t| [(t + 1) as f32, -((t + 1) as f32)]).collect(),
            ..Episode::default()
        }
    }

    #[test]
    fn a_button_starts_and_ends_and_another_discards() {
        let mut recorder = Recorder::new(1, 2);
        // Held down from the beginning, it says nothing.
        assert_eq!(see(&mut recorder, 0, EPISODE_BUTTON), None);
        assert_eq!(see(&mut recorder, 1, 0), None);
        assert_eq!(see(&mut recorder, 2, EPISODE_BUTTON), Some(Happened::Started));
        for step in 3..9 {
            assert_eq!(see(&mut recorder, step, u32::from(step < 5)), None);
        }
        assert_eq!(see(&mut recorder, 9, 1), Some(Happened::Ended(expected(2..9))));
        assert_eq!(see(&mut recorder, 10, DISCARD_BUTTON), Some(Happened::Removed));
        assert_eq!(see(&mut recorder, 11, 0), None);
        assert_eq!(see(&mut recorder, 12, DISCARD_BUTTON), None, "there is nothing left");
        assert_eq!(see(&mut recorder, 13, EPISODE_BUTTON), Some(Happened::Started));
        assert_eq!(see(&mut recorder, 14, EPISODE_BUTTON), None);
        assert_eq!(see(&mut recorder, 15, DISCARD_BUTTON), Some(Happened::Dropped(2)));
    }

    #[test]
    fn an_operator_is_told_what_cannot_be_done() {
        let mut recorder = Recorder::new(1, 2);
        assert_eq!(recorder.want(Want::End), Err(WantError::NotUnderWay));
        assert_eq!(recorder.want(Want::Keep), Err(WantError::Nothing));
        assert_eq!(recorder.want(Want::Discard), Err(WantError::Nothing));
        assert_eq!(recorder.want(Want::Start), Ok(Happened::Started));
        assert_eq!(recorder.want(Want::Start), Err(WantError::UnderWay));
        assert_eq!(recorder.want(Want::Keep), Err(WantError::UnderWay));
        assert_eq!(recorder.want(Want::End), Ok(Happened::Dropped(0)), "it has no pair");
        recorder.want(Want::Start).unwrap();
        (20..23).for_each(|step| assert_eq!(see(&mut recorder, step, 0), None));
        assert_eq!(recorder.want(Want::End), Ok(Happened::Ended(expected(20..22))));
        assert_eq!(recorder.want(Want::Keep), Ok(Happened::Kept));
        assert_eq!(recorder.want(Want::Discard), Err(WantError::Nothing));
    }

    #[test]
    fn what_is_not_whole_is_left_out_and_counted() {
        let mut recorder = Recorder::new(1, 2);
        recorder.want(Want::Start).unwrap();
        see(&mut recorder, 0, 0);
        see(&mut recorder, 1, 0);
        // Steps 2 and 3 are lost, 5 tells no action, 7 shows no number.
        see(&mut recorder, 4, 0);
        recorder.see(Reading { step: 5, ..Reading::default() }, &[5.5], Guidance::default());
        see(&mut recorder, 6, 0);
        let applied = Guidance { applied: Some(&[7.0, -7.0]), ..Guidance::default() };
        recorder.see(Reading { step: 7, ..Reading::default() }, &[f32::NAN], applied);
        see(&mut recorder, 8, 0);
        assert_eq!(see(&mut recorder, 8, 1), None, "a step that has not grown is none");
        let end = Reading { step: 9, terminated: true, ..Reading::default() };
        let applied = Guidance { applied: Some(&[9.0, -9.0]), ..Guidance::default() };
        let Some(Happened::Ended(episode)) = recorder.see(end, &[9.5], applied) else {
            panic!("the robot ended it")
        };
        assert_eq!(episode.observations, [0.5, 5.5, 6.5, 8.5]);
        assert_eq!(episode.actions, [1.0, -1.0, 6.0, -6.0, 7.0, -7.0, 9.0, -9.0]);
        assert!(episode.terminated && episode.missing == 5, "1 to 4, and 7");
    }

    proptest! {
        /// Whatever is lost, pressed and wanted: every pair is one of the robot's, in order.
        #[test]
        fn pairs_are_the_robots_and_in_order(
            steps in proptest::collection::vec((any::<bool>(), 0u32..4, 0u8..12), 1..200),
        ) {
            let mut recorder = Recorder::new(1, 2);
            let mut episodes = vec![];
            for (step, (lost, buttons, want)) in (0..).zip(steps) {
                let want = [Want::Start, Want::End, Want::Keep, Want::Discard].get(usize::from(want));
                let mut happened = vec![];
                happened.extend(want.and_then(|&want| recorder.want(want).ok()));
                if !lost {
                    happened.extend(see(&mut recorder, step, buttons));
                }
                for what in happened {
                    match what {
                        Happened::Ended(episode) => episodes.push(episode),
                        Happened::Removed => drop(episodes.pop()),
                        _ => {}
                    }
                }
            }
            let mut last = -1.0;
            for episode in &episodes {
                let first = episode.observations[0];
                let pairs = episode.observations.iter().zip(episode.actions.as_chunks::<2>().0);
                for (&obs, action) in pairs {
                    prop_assert_eq!(action, &[obs + 0.5, -(obs + 0.5)]);
                    prop_assert!(obs > last);
                    last = obs;
                }
                let span = last - first + 1.0;
                prop_assert_eq!(span, episode.observations.len() as f32 + episode.missing as f32);
            }
        }
    }
}
