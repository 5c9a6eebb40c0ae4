//! Every observation of a robot, in the order of its steps.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{LinkRobot, Transport, history::KEPT, robot::ASK_AGAIN};
use crate::io::{Command, Guidance, IoError, Reading, RobotIo, RobotSpec};

/// How long observations that were lost on the way are asked for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Questions in a row without an answer until a robot is no more asked.
const MOST_UNANSWERED: u32 = 100;
/// How often the robot is told that somebody is there.
const STAY_EVERY: Duration = Duration::from_millis(20);

/// A robot behind a link for who wants all that it showed, not only the newest: a recorder.
///
/// [`read`](RobotIo::read) gives one observation after the other, without a gap as long as the robot
/// numbers its steps by one and answers for what was lost on the way
/// ([`Again`](super::wire::Message::Again)); what stays lost is counted. It waits for as long as
/// said, and [`IoError::Stale`] means that nothing has come. Whoever reads is taken for present by
/// the robot. This is no control loop: it allocates.
pub struct ObservationStream<T: Transport> {
    robot: LinkRobot<T>,
    wait: Duration,
    /// Step of the observation that comes next.
    next: Option<u64>,
    /// What came before its turn.
    early: BTreeMap<u64, Taken>,
    /// Since when the next one is missing, and when it was last asked for.
    missing: Option<(Instant, Option<Instant>)>,
    unanswered: u32,
    lost: u64,
    stayed: Instant,
    given: Taken,
    obs: Vec<f32>,
}

/// An observation and what a person did.
#[derive(Clone, Debug, Default)]
struct Taken {
    reading: Reading,
    obs: Vec<f32>,
    applied: Option<Vec<f32>>,
    buttons: u32,
    taken_over: bool,
}

impl<T: Transport> ObservationStream<T> {
    /// The observations of a robot from the newest one on; a read waits at most `wait` for the next.
    pub fn new(robot: LinkRobot<T>, wait: Duration) -> Self {
        Self {
            obs: vec![0.0; robot.spec().obs_dim()],
            robot,
            wait,
            next: None,
            early: BTreeMap::new(),
            missing: None,
            unanswered: 0,
            lost: 0,
            stayed: Instant::now(),
            given: Taken::default(),
        }
    }

    /// The link.
    pub fn link(&self) -> &LinkRobot<T> {
        &self.robot
    }

    /// Steps that were lost on the way and stayed so.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes in what comes within `wait`, at most one observation.
    fn take_in(&mut self, wait: Duration) -> Result<bool, IoError> {
        let Some(reading) = self.robot.next(wait, &mut self.obs)? else { return Ok(false) };
        if self.next.is_none_or(|next| reading.step >= next) {
            if self.missing.is_some() && self.next == Some(reading.step) {
                self.unanswered = 0;
            }
            let Guidance { applied, buttons, taken_over } = self.robot.guidance();
            let (obs, applied) = (self.obs.clone(), applied.map(<[f32]>::to_vec));
            self.early.insert(reading.step, Taken { reading, obs, applied, buttons, taken_over });
        }
        Ok(true)
    }

    /// The observation whose turn it is, if it has come, or those before it are given up.
    fn take_next(&mut self) -> Option<Taken> {
        let first = self.early.first_entry()?;
        let step = *first.key();
        let Some(gap) = step.checked_sub(self.next.unwrap_or(step)) else {
            first.remove();
            return None;
        };
        if gap > 0 {
            let now = Instant::now();
            let (since, asked) = self.missing.get_or_insert((now, None));
            let answers = self.unanswered < MOST_UNANSWERED;
            if answers && now - *since < PATIENCE && self.early.len() < KEPT && gap < KEPT as u64 {
                if asked.is_none_or(|asked| now - asked >= ASK_EVERY) {
                    *asked = Some(now);
                    self.unanswered += 1;
                    let next = step - gap;
                    if !self.robot.ask_again(next, gap as u32) {
                        self.unanswered = MOST_UNANSWERED;
                    }
                }
                return None;
            }
            self.lost += gap;
        }
        self.missing = None;
        self.next = Some(step + 1);
        self.early.pop_first().map(|(_, taken)| taken)
    }
}

impl<T: Transport> RobotIo for ObservationStream<T> {
    fn spec(&self) -> &RobotSpec {
        self.robot.spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        let (found, needed) = (obs.len(), self.obs.len());
        if found != needed {
            return Err(IoError::Width { found, needed });
        }
        let deadline = Instant::now() + self.wait;
        loop {
            if let Some(taken) = self.take_next() {
                obs.copy_from_slice(&taken.obs);
                self.given = taken;
                return Ok(self.given.reading);
            }
            let now = Instant::now();
            if now - self.stayed >= STAY_EVERY {
                self.stayed = now;
                // If it cannot be sent, the next one may.
                if self.robot.lock_step() { self.robot.repeat() } else { self.robot.stay() }.ok();
            }
            let left = deadline.saturating_duration_since(now).min(ASK_AGAIN);
            if !self.take_in(left)? && Instant::now() >= deadline {
                return Err(IoError::Stale);
            }
        }
    }

    fn guidance(&self) -> Guidance<'_> {
        Guidance {
            applied: self.given.applied.as_deref(),
            buttons: self.given.buttons,
            taken_over: self.given.taken_over,
        }
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        self.robot.write(command)
    }
}
