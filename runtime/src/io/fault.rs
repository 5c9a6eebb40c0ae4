//! Faults on purpose: a [`RobotIo`] around a [`RobotIo`] whose observations go wrong.
//!
//! Faults come at random, at a rate each, from a seed; or where a script says so:
//!
//! ```
//! use sog_runtime::io::{FaultKind, FaultPlan};
//!
//! let plan: FaultPlan = "
//!     seed 7                            # one thing a line; ticks count readings from 0
//!     rate drop 0.01                    # each reading is lost with this probability
//!     rate spike 0.001 value 50         # something of this size is added to one number
//!     at 200 freeze for 30              # 30 readings repeat the numbers of the one before
//!     at 300 nan channel 4              # one number becomes NaN
//!     at 400 delay for 2                # a reading comes two ticks late
//! ".parse().expect("a good script");
//! assert_eq!(plan.rate(FaultKind::Drop), 0.01);
//! assert!("at 3 explode".parse::<FaultPlan>().unwrap_err().to_string().contains("line 1"));
//! ```

use alloc::{string::String, string::ToString, vec, vec::Vec};
use core::str::FromStr;

use super::{Command, Guidance, Homing, IoError, Reading, RobotIo, RobotSpec};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FaultKind {
    /// The reading is lost.
    Drop,
    /// The reading comes `for N` ticks late, behind newer ones.
    Delay,
    /// The reading before comes once more instead.
    Duplicate,
    /// The reading changes places with the next one.
    Reorder,
    /// One bit of one number is flipped.
    BitFlip,
    /// The numbers stay as they were for `for N` ticks, while steps go on.
    Freeze,
    /// One number becomes NaN.
    Nan,
    /// `value` is added to one number.
    Spike,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Drop,
        Self::Delay,
        Self::Duplicate,
        Self::Reorder,
        Self::BitFlip,
        Self::Freeze,
        Self::Nan,
        Self::Spike,
    ];

    /// Name as in scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Delay => "delay",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::BitFlip => "bit-flip",
            Self::Freeze => "freeze",
            Self::Nan => "nan",
            Self::Spike => "spike",
        }
    }
}

/// A fault and its size.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fault {
    kind: FaultKind,
    /// For how many ticks.
    ticks: u32,
    /// Which number; any if not said.
    channel: Option<usize>,
    value: f32,
}

impl Fault {
    fn new(kind: FaultKind) -> Self {
        let ticks = if kind == FaultKind::Freeze { 10 } else { 1 };
        Self { kind, ticks, channel: None, value: 1000.0 }
    }
}

/// Which faults come, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    seed: u64,
    rates: Vec<(f64, Fault)>,
    script: Vec<(u64, Fault)>,
}

impl FaultPlan {
    /// A plan without faults.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Adds a random fault that befalls each reading with this probability.
    #[must_use]
    pub fn with_rate(mut self, kind: FaultKind, probability: f64) -> Self {
        self.rates.push((probability, Fault::new(kind)));
        self
    }

    /// Probability of a random fault.
    pub fn rate(&self, kind: FaultKind) -> f64 {
        self.rates.iter().filter(|(_, fault)| fault.kind == kind).map(|(p, _)| p).sum()
    }
}

/// A line of a fault script that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: `{text}`; need `seed N`, `rate KIND P [OPTIONS]` or `at TICK KIND [OPTIONS]` \
     with KIND one of drop, delay, duplicate, reorder, bit-flip, freeze, nan, spike and OPTIONS \
     `for N`, `channel C`, `value V`"
)]
pub struct ParseFaultError {
    line: usize,
    text: String,
}

impl FromStr for FaultPlan {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, ParseFaultError> {
        let mut plan = Self::default();
        for (i, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                plan.read_line(line)
                    .ok_or_else(|| ParseFaultError { line: i + 1, text: line.to_string() })?;
            }
        }
        Ok(plan)
    }
}

impl FaultPlan {
    /// The first channel that is not one of so many.
    pub fn channel_beyond(&self, channels: usize) -> Option<usize> {
        let faults = self.rates.iter().map(|(_, fault)| fault);
        let mut faults = faults.chain(self.script.iter().map(|(_, fault)| fault));
        faults.find_map(|fault| fault.channel.filter(|&channel| channel >= channels))
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        match words.next()? {
            "seed" => self.seed = words.next()?.parse().ok()?,
            "rate" => {
                let kind = words.next()?;
                let probability = words.next()?.parse().ok().filter(|p| (0.0..=1.0).contains(p))?;
                self.rates.push((probability, read_fault(kind, words)?));
                return Some(());
            }
            "at" => {
                let tick = words.next()?.parse().ok()?;
                let kind = words.next()?;
                self.script.push((tick, read_fault(kind, words)?));
                return Some(());
            }
            _ => return None,
        }
        words.next().is_none().then_some(())
    }
}

fn read_fault<'a>(kind: &str, mut words: impl Iterator<Item = &'a str>) -> Option<Fault> {
    let kind = FaultKind::ALL.into_iter().find(|k| k.name() == kind)?;
    let mut fault = Fault::new(kind);
    while let Some(option) = words.next() {
        let value = words.next()?;
        match option {
            "for" => fault.ticks = value.parse().ok().filter(|&n| n > 0)?,
            "channel" => fault.channel = Some(value.parse().ok()?),
            "value" => fault.value = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(fault)
}

/// A small seedable generator (SplitMix64), the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether an event of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        ((self.bits() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// A number below `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}

/// A robot whose readings go wrong as a [`FaultPlan`] says. Commands pass unchanged.
pub struct FaultyRobot<R> {
    robot: R,
    plan: FaultPlan,
    random: Random,
    tick: u64,
    /// Readings under way: when they come, and what they are. Fixed in number.
    late: Vec<(u64, Reading, Vec<f32>)>,
    late_used: usize,
    frozen_until: u64,
    last: Option<Reading>,
    last_obs: Vec<f32>,
    injected: [u64; FaultKind::ALL.len()],
}

/// Readings that can be under way at once; more are lost.
const MOST_LATE: usize = 16;

impl<R: RobotIo> FaultyRobot<R> {
    /// Puts faults around a robot.
    pub fn new(robot: R, plan: FaultPlan) -> Self {
        let width = robot.spec().obs_dim();
        Self {
            random: Random::new(plan.seed),
            plan,
            tick: 0,
            late: vec![(0, Reading::default(), vec![0.0; width]); MOST_LATE],
            late_used: 0,
            frozen_until: 0,
            last: None,
            last_obs: vec![0.0; width],
            injected: [0; FaultKind::ALL.len()],
            robot,
        }
    }

    /// How many faults of a kind were injected.
    pub fn injected(&self, kind: FaultKind) -> u64 {
        self.injected[kind as usize]
    }

    /// The robot inside.
    pub fn into_inner(self) -> R {
        self.robot
    }

    /// The robot inside.
    pub fn inner(&self) -> &R {
        &self.robot
    }

    fn draw(&mut self) -> Option<Fault> {
        if let Some((_, fault)) = self.plan.script.iter().find(|(tick, _)| *tick == self.tick) {
            return Some(*fault);
        }
        let Self { plan, random, .. } = self;
        plan.rates.iter().find(|(p, _)| random.happens(*p)).map(|(_, fault)| *fault)
    }

    /// Sends a reading on its way, to come after `ticks`.
    fn hold(&mut self, ticks: u32, reading: Reading, obs: &[f32]) {
        if let Some(slot) = self.late.get_mut(self.late_used) {
            (slot.0, slot.1) = (self.tick + u64::from(ticks), reading);
            slot.2.copy_from_slice(obs);
            self.late_used += 1;
        }
    }

    /// The first reading under way that is due.
    fn take_due(&mut self, obs: &mut [f32]) -> Option<Reading> {
        let due = self.late[..self.late_used].iter().position(|(at, ..)| *at <= self.tick)?;
        let (_, reading, values) = &self.late[due];
        let reading = *reading;
        obs.copy_from_slice(values);
        self.late[due..self.late_used].rotate_left(1);
        self.late_used -= 1;
        Some(reading)
    }

    fn apply(&mut self, fault: Fault, reading: Reading, obs: &mut [f32]) -> Option<Reading> {
        self.injected[fault.kind as usize] += 1;
        let any = self.random.below(obs.len());
        let channel = fault.channel.unwrap_or(any).min(obs.len() - 1);
        match fault.kind {
            FaultKind::Drop => return None,
            FaultKind::Delay => {
                self.hold(fault.ticks, reading, obs);
                return None;
            }
            FaultKind::Reorder => {
                // One tick later the next reading is taken first, because that tick reads anew.
                self.hold(2, reading, obs);
                return None;
            }
            FaultKind::Duplicate => {
                self.hold(1, reading, obs);
                obs.copy_from_slice(&self.last_obs);
                return self.last;
            }
            FaultKind::BitFlip => {
                let bit = self.random.below(32);
                obs[channel] = f32::from_bits(obs[channel].to_bits() ^ 1 << bit);
            }
            FaultKind::Freeze => {
                self.frozen_until = self.tick + u64::from(fault.ticks);
                obs.copy_from_slice(&self.last_obs);
            }
            FaultKind::Nan => obs[channel] = f32::NAN,
            FaultKind::Spike => obs[channel] += fault.value,
        }
        Some(reading)
    }
}

impl<R: RobotIo> RobotIo for FaultyRobot<R> {
    fn spec(&self) -> &RobotSpec {
        self.robot.spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        let read = self.robot.read(obs);
        let frozen = self.tick < self.frozen_until;
        let result = match read {
            Ok(reading) if frozen => {
                obs.copy_from_slice(&self.last_obs);
                Some(reading)
            }
            Ok(reading) => match self.draw() {
                Some(fault) => self.apply(fault, reading, obs),
                None => Some(reading),
            },
            Err(IoError::Stale) => None,
            Err(error) => return Err(error),
        };
        let result = result.or_else(|| self.take_due(obs));
        self.tick += 1;
        match result {
            Some(reading) => {
                self.last = Some(reading);
                self.last_obs.copy_from_slice(obs);
                Ok(reading)
            }
            None => Err(IoError::Stale),
        }
    }

    fn guidance(&self) -> Guidance<'_> {
        self.robot.guidance()
    }

    fn homing(&self) -> Homing {
        self.robot.homing()
    }

    fn home_action(&self) -> Option<&[f32]> {
        self.robot.home_action()
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        self.robot.write(command)
    }
}
