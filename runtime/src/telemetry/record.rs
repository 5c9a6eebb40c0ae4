//! The record of one tick: its layout in 32-bit words, in the ring as in the file.

use crate::{
    control::{CommandKind, Faults, Limited, Requests, State, TickReport},
    io::{Guidance, Homing, IoError, Reading},
    time::Wake,
};

/// Words before the numbers.
const FIXED: usize = 20;
/// The same in logs of version 3, which say nothing of what a person did.
const FIXED_3: usize = 18;

/// Flags of the last of them.
const APPLIED: u32 = 1;
const TAKEN_OVER: u32 = 2;
/// Above them, whether the robot stood where its policy starts from.
const HOMING_SHIFT: u32 = 8;

/// What happened in one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// How the period began.
    pub wake: Wake,
    /// When the tick was done, ns.
    pub end_ns: u64,
    /// What it did.
    pub tick: TickReport,
    /// What the robot gave, `[S]`; meaningful where it gave anything.
    pub obs: Vec<f32>,
    /// What the policy last asked for, `[A]`.
    pub raw_action: Vec<f32>,
    /// What the actuators were told, `[A]`.
    pub action: Vec<f32>,
    /// The selected code, `[Z]`.
    pub latent: Vec<f32>,
    /// What the robot sent to its adapter, `[channels]`; empty without one.
    pub readings: Vec<f32>,
    /// What the adapter last told the robot by an action, `[commands]`; empty without one.
    pub command: Vec<f32>,
    /// The action that the robot applied in the step that led here, `[A]`, whoever chose it; empty
    /// where it does not tell.
    pub applied: Vec<f32>,
    /// Bit n is button n of the robot, set while it is pressed.
    pub buttons: u32,
    /// Whether a person led the robot.
    pub taken_over: bool,
}

/// Widths S, A and Z of what a record holds, and those of the adapter's robot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub(super) obs: usize,
    pub(super) action: usize,
    pub(super) latent: usize,
    pub(super) readings: usize,
    pub(super) command: usize,
    /// Whether it says what a person did, as it does from version 4 on.
    pub(super) guided: bool,
}

impl Widths {
    /// Words of a record.
    pub(super) fn words(self) -> usize {
        let numbers = self.obs + 2 * self.action + self.latent + self.readings + self.command;
        numbers + if self.guided { FIXED + self.action } else { FIXED_3 }
    }
}

/// Writes a record of observation, raw action, action, code, readings and command, and of what a
/// person did; `out` has [`Widths::words`].
pub(super) fn encode(
    wake: &Wake,
    tick: &TickReport,
    end_ns: u64,
    numbers: [&[f32]; 6],
    guidance: Guidance<'_>,
    out: &mut [u32],
) {
    let reading = tick.read.unwrap_or_default();
    let (read, written) = (code_of_read(&tick.read), code_of_write(tick.written));
    let bytes = [tick.state as u8, tick.command as u8, read, written];
    let fixed: [u32; FIXED] = [
        tick.tick as u32,
        (tick.tick >> 32) as u32,
        wake.deadline_ns as u32,
        (wake.deadline_ns >> 32) as u32,
        wake.woke_ns as u32,
        (wake.woke_ns >> 32) as u32,
        end_ns as u32,
        (end_ns >> 32) as u32,
        wake.missed,
        tick.requests.bits(),
        tick.faults.bits(),
        u32::from_le_bytes(bytes),
        u32::from(tick.code),
        reading.step as u32,
        (reading.step >> 32) as u32,
        reading.reward.unwrap_or(0.0).to_bits() as u32,
        (reading.reward.unwrap_or(0.0).to_bits() >> 32) as u32,
        tick.limited.bits(),
        guidance.buttons,
        guidance.applied.map_or(0, |_| APPLIED)
            | if guidance.taken_over { TAKEN_OVER } else { 0 }
            | u32::from(tick.homing as u8) << HOMING_SHIFT,
    ];
    let applied = guidance.applied.into_iter().flatten();
    let numbers = numbers.into_iter().flatten().chain(applied).map(|v| v.to_bits());
    // A sheet is used again: what is not told must not stand there from before.
    out.fill(0);
    for (word, value) in out.iter_mut().zip(fixed.into_iter().chain(numbers)) {
        *word = value;
    }
}

/// Number of the tick of a record, and when it began, ns.
pub(super) fn when(words: &[u32]) -> (u64, u64) {
    let long = |at: usize| {
        let word = |at| words.get(at).copied().map_or(0, u64::from);
        word(at) | word(at + 1) << 32
    };
    (long(0), long(4))
}

/// Reads a record; `None` if it is none.
pub(super) fn decode(words: &[u32], widths: Widths) -> Option<Record> {
    let (guide, fixed, numbers) = if widths.guided {
        let (fixed, numbers) = words.split_first_chunk::<FIXED>()?;
        let (old, guide) = fixed.split_first_chunk::<FIXED_3>()?;
        (guide, old, numbers)
    } else {
        let (fixed, numbers) = words.split_first_chunk::<FIXED_3>()?;
        (&[][..], fixed, numbers)
    };
    let &[buttons, flags] = guide.first_chunk().unwrap_or(&[0; 2]);
    let long = |at: usize| u64::from(fixed[at]) | u64::from(fixed[at + 1]) << 32;
    let [state, command, read, written] = fixed[11].to_le_bytes();
    let (step, reward) = (long(13), f64::from_bits(long(15)));
    let mut numbers = numbers.iter().map(|&bits| f32::from_bits(bits));
    let mut take = |n: usize| -> Vec<f32> { numbers.by_ref().take(n).collect() };
    let record = Record {
        wake: Wake { deadline_ns: long(2), woke_ns: long(4), missed: fixed[8] },
        end_ns: long(6),
        tick: TickReport {
            tick: long(0),
            state: State::from_u8(state)?,
            code: u16::try_from(fixed[12]).ok()?,
            requests: Requests::from_bits_retain(fixed[9]),
            read: read_of_code(read, step, reward)?,
            command: CommandKind::from_u8(command)?,
            homing: Homing::from_u8((flags >> HOMING_SHIFT) as u8)?,
            written: write_of_code(written)?,
            faults: Faults::from_bits_retain(fixed[10]),
            limited: Limited::from_bits_retain(fixed[17]),
        },
        obs: take(widths.obs),
        raw_action: take(widths.action),
        action: take(widths.action),
        latent: take(widths.latent),
        readings: take(widths.readings),
        command: take(widths.command),
        applied: take(if flags & APPLIED != 0 { widths.action } else { 0 }),
        buttons,
        taken_over: flags & TAKEN_OVER != 0,
    };
    let complete = words.len() == widths.words();
    complete.then_some(record)
}

const REWARD: u8 = 1;
const TERMINATED: u8 = 2;
const ERRORS: u8 = 16;

fn code_of_error(error: IoError) -> u8 {
    match error {
        IoError::Stale => ERRORS,
        IoError::Closed => ERRORS + 1,
        IoError::Width { .. } => ERRORS + 2,
        IoError::Robot(_) => ERRORS + 3,
    }
}

fn error_of_code(code: u8) -> Option<IoError> {
    match code.checked_sub(ERRORS)? {
        0 => Some(IoError::Stale),
        1 => Some(IoError::Closed),
        2 => Some(IoError::Width { found: 0, needed: 0 }),
        3 => Some(IoError::Robot("as recorded")),
        _ => None,
    }
}

fn code_of_read(read: &Result<Reading, IoError>) -> u8 {
    match read {
        Ok(reading) => {
            let reward = if reading.reward.is_some() { REWARD } else { 0 };
            reward | if reading.terminated { TERMINATED } else { 0 }
        }
        Err(error) => code_of_error(*error),
    }
}

fn read_of_code(code: u8, step: u64, reward: f64) -> Option<Result<Reading, IoError>> {
    if code <= REWARD | TERMINATED {
        let reward = (code & REWARD != 0).then_some(reward);
        return Some(Ok(Reading { step, reward, terminated: code & TERMINATED != 0 }));
    }
    error_of_code(code).map(Err)
}

fn code_of_write(written: Result<(), IoError>) -> u8 {
    written.err().map_or(0, code_of_error)
}

fn write_of_code(code: u8) -> Option<Result<(), IoError>> {
    if code == 0 { Some(Ok(())) } else { error_of_code(code).map(Err) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_a_round_trip() {
        let tick = |read, written| TickReport {
            tick: 1 << 40,
            state: State::Policy,
            code: 65_535,
            requests: Requests::from_bits_retain(7 << 16 | 5),
            read,
            command: CommandKind::Act,
            homing: Homing::Late,
            written,
            faults: Faults::from_bits_retain(0b1010),
            limited: Limited::ACTION_RATE,
        };
        let reading = Reading { step: u64::MAX, reward: Some(-0.25), terminated: true };
        let ticks = [
            tick(Ok(reading), Ok(())),
            tick(Ok(Reading { reward: None, ..reading }), Err(IoError::Closed)),
            tick(Err(IoError::Stale), Err(IoError::Robot("as recorded"))),
            tick(Err(IoError::Width { found: 0, needed: 0 }), Ok(())),
        ];
        for tick in ticks {
            let wake = Wake { deadline_ns: u64::MAX, woke_ns: 1 << 33, missed: 3 };
            let (obs, raw, action) = ([1.0, f32::INFINITY, -0.0], [2.0, 3.0], [4.0, 5.0]);
            let (latent, readings, command) = ([6.0], [7.0, 8.0], [9.0]);
            let widths =
                Widths { obs: 3, action: 2, latent: 1, readings: 2, command: 1, guided: true };
            let mut out = vec![7; widths.words()];
            let numbers: [&[f32]; 6] = [&obs, &raw, &action, &latent, &readings, &command];
            let applied = tick.read.is_ok().then_some(&[-0.5, 0.25][..]);
            let guidance = Guidance { applied, buttons: 1 << 31 | 1, taken_over: true };
            encode(&wake, &tick, 77, numbers, guidance, &mut out);
            let expected = Record {
                wake,
                end_ns: 77,
                tick,
                obs: obs.to_vec(),
                raw_action: raw.to_vec(),
                action: action.to_vec(),
                latent: latent.to_vec(),
                readings: readings.to_vec(),
                command: command.to_vec(),
                applied: applied.unwrap_or_default().to_vec(),
                buttons: 1 << 31 | 1,
                taken_over: true,
            };
            assert_eq!(decode(&out, widths), Some(expected.clone()));
            // The same as version 3 had it, which knew of no start pose.
            let old: Vec<u32> =
                [&out[..FIXED_3], &out[FIXED..widths.words() - widths.action]].concat();
            let tick = TickReport { homing: Homing::Unable, ..tick };
            let unguided =
                Record { tick, applied: vec![], buttons: 0, taken_over: false, ..expected };
            assert_eq!(decode(&old, Widths { guided: false, ..widths }), Some(unguided));
            assert_eq!(decode(&out, Widths { latent: 2, ..widths }), None);
            out[11] = 0xff;
            assert_eq!(decode(&out, widths), None);
        }
    }
}
