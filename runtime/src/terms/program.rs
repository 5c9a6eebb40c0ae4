//! The terms of one observation, compiled: checked once, then computed without allocation.

use alloc::{string::ToString, vec, vec::Vec};
use core::ops::Range;

use super::{MOST_NUMBERS, ObserveError, Source, TermError, TermProblem, TermSpec, frame};
use crate::policy::{Term, Terms};

/// How wide the inputs of an observation are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TermWidths {
    /// Raw readings.
    pub raw: usize,
    /// Numbers of an action.
    pub action: usize,
    /// Command slots.
    pub commands: usize,
}

/// What the terms of one control step are computed from.
#[derive(Clone, Copy, Debug)]
pub struct TermInputs<'a> {
    /// Raw readings, `[TermWidths::raw]`.
    pub raw: &'a [f64],
    /// The action of the control step before, `[TermWidths::action]`; zeros in the first.
    pub previous_action: &'a [f64],
    /// What the operator has set, `[TermWidths::commands]`.
    pub commands: &'a [f64],
    /// Number of the control step since the start of the episode, from 0.
    pub step: u64,
}

/// The terms of one observation.
///
/// Holds no state: one program serves any number of environments, each with its own
/// [`TermState`].
#[derive(Clone, Debug, PartialEq)]
pub struct TermProgram {
    terms: Terms,
    widths: TermWidths,
    /// Numbers of an observation.
    width: usize,
    ops: Vec<Op>,
    /// Of gathers and commands.
    indices: Vec<usize>,
    /// (minus, scale) of components.
    affine: Vec<(f64, f64)>,
    /// Numbers that all histories remember.
    memory: usize,
}

/// One step of the computation: fetch, shift and scale, clip, remember.
#[derive(Clone, Debug, PartialEq)]
struct Op {
    fetch: Fetch,
    /// Components of the source.
    width: usize,
    /// Where all of it goes in the observation, history included.
    out: Range<usize>,
    /// Where (minus, scale) of its components begin, unless it takes none.
    affine: Option<usize>,
    clip: Option<[f64; 2]>,
    /// What it remembers in the state's memory, where it has a history: as wide as `out`.
    memory: Option<Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fetch {
    /// Neighbouring raw readings from here on.
    Copy {
        from: usize,
    },
    /// Raw readings by index; indices begin here.
    Gather {
        indices: usize,
    },
    InBody {
        vector: [usize; 3],
        quaternion: [usize; 4],
    },
    InWorld {
        vector: [usize; 3],
        quaternion: [usize; 4],
    },
    Gravity {
        quaternion: [usize; 4],
    },
    Previous,
    /// Commands by slot; indices begin here.
    Command {
        indices: usize,
    },
    /// Turns a control step.
    Phase {
        turns: f64,
    },
}

/// When an observation is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    First,
    Again,
    Next,
}

/// What an observation's terms remember from control step to control step.
#[derive(Clone, Debug, PartialEq)]
pub struct TermState {
    memory: Vec<f64>,
    /// The last step observed since the reset.
    last: Option<u64>,
}

impl TermState {
    /// Forgets everything: an episode begins.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

impl TermProgram {
    /// Compiles terms, in their order, for inputs of these widths and a control period.
    ///
    /// # Errors
    /// [`TermError`], which names the term and what is wrong with it.
    pub fn compile(specs: &[TermSpec], widths: TermWidths, dt_s: f64) -> Result<Self, TermError> {
        if !(dt_s > 0.0 && dt_s.is_finite()) {
            return Err(TermError {
                term: "".to_string(),
                problem: TermProblem::Period { found: dt_s },
            });
        }
        let mut program = Self {
            terms: Terms::default(),
            widths,
            width: 0,
            ops: vec![],
            indices: vec![],
            affine: vec![],
            memory: 0,
        };
        for spec in specs {
            program
                .add(spec, dt_s)
                .map_err(|problem| TermError { term: spec.name.clone(), problem })?;
        }
        Ok(program)
    }

    /// Names and widths of the terms, as in the policy file.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Numbers of an observation.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Widths of the inputs.
    pub fn widths(&self) -> TermWidths {
        self.widths
    }

    /// A state that remembers nothing yet.
    pub fn state(&self) -> TermState {
        TermState { memory: vec![0.0; self.memory], last: None }
    }

    /// Writes the observation of a control step, `[width]`.
    ///
    /// A step that is observed again (the same number as before) takes the place of itself in
    /// the histories.
    ///
    /// # Errors
    /// [`ObserveError`] for a buffer or a state of another width than compiled for; nothing is
    /// written and nothing remembered then.
    pub fn observe(
        &self,
        state: &mut TermState,
        inputs: &TermInputs<'_>,
        out: &mut [f64],
    ) -> Result<(), ObserveError> {
        for (what, found, needed) in [
            ("raw readings", inputs.raw.len(), self.widths.raw),
            ("previous action", inputs.previous_action.len(), self.widths.action),
            ("commands", inputs.commands.len(), self.widths.commands),
            ("observation", out.len(), self.width),
            ("state of the terms", state.memory.len(), self.memory),
        ] {
            if found != needed {
                return Err(ObserveError { what, found, needed });
            }
        }
        let moment = match state.last {
            None => Moment::First,
            Some(last) if last == inputs.step => Moment::Again,
            Some(_) => Moment::Next,
        };
        for op in &self.ops {
            let out = &mut out[op.out.clone()];
            match &op.memory {
                None => self.compute(op, inputs, out),
                Some(memory) => {
                    let memory = &mut state.memory[memory.clone()];
                    if moment == Moment::Next {
                        memory.copy_within(op.width.., 0);
                    }
                    let (older, newest) = memory.split_at_mut(memory.len() - op.width);
                    self.compute(op, inputs, newest);
                    if moment == Moment::First {
                        older.chunks_exact_mut(op.width).for_each(|o| o.copy_from_slice(newest));
                    }
                    out.copy_from_slice(memory);
                }
            }
        }
        state.last = Some(inputs.step);
        Ok(())
    }

    /// The components of an op, after scale and clip, `[op.width]`.
    fn compute(&self, op: &Op, inputs: &TermInputs<'_>, out: &mut [f64]) {
        let raw = inputs.raw;
        let indices = |from: usize| &self.indices[from..from + op.width];
        match op.fetch {
            Fetch::Copy { from } => out.copy_from_slice(&raw[from..from + op.width]),
            Fetch::Gather { indices: from } => {
                out.iter_mut().zip(indices(from)).for_each(|(o, &i)| *o = raw[i]);
            }
            Fetch::InBody { vector, quaternion } => {
                let (v, q) = (vector.map(|i| raw[i]), quaternion.map(|i| raw[i]));
                out.copy_from_slice(&frame::in_body(q, v));
            }
            Fetch::InWorld { vector, quaternion } => {
                let (v, q) = (vector.map(|i| raw[i]), quaternion.map(|i| raw[i]));
                out.copy_from_slice(&frame::in_world(q, v));
            }
            Fetch::Gravity { quaternion } => {
                out.copy_from_slice(&frame::projected_gravity(quaternion.map(|i| raw[i])));
            }
            Fetch::Previous => out.copy_from_slice(inputs.previous_action),
            Fetch::Command { indices: from } => {
                out.iter_mut().zip(indices(from)).for_each(|(o, &i)| *o = inputs.commands[i]);
            }
            Fetch::Phase { turns } => out.copy_from_slice(&phase(turns, inputs.step)),
        }
        if let Some(from) = op.affine {
            let affine = &self.affine[from..from + op.width];
            out.iter_mut().zip(affine).for_each(|(o, (minus, scale))| *o = (*o - minus) * scale);
        }
        if let Some([low, high]) = op.clip {
            out.iter_mut().for_each(|o| *o = o.clamp(low, high));
        }
    }

    fn add(&mut self, spec: &TermSpec, dt_s: f64) -> Result<(), TermProblem> {
        check(spec, self.widths)?;
        if self.terms.0.iter().any(|term| term.name == spec.name) {
            return Err(TermProblem::Twice);
        }
        let width = spec.source.width(self.widths.action);
        let shown = width.saturating_mul(spec.history);
        let end = self.width.saturating_add(shown);
        if end > MOST_NUMBERS {
            return Err(TermProblem::TooWide { found: end });
        }
        let fetch = self.fetch(&spec.source, dt_s);
        let affine =
            (!spec.minus.is_empty() || !spec.scale.is_empty()).then_some(self.affine.len());
        if affine.is_some() {
            let (minus, scale) = (component(&spec.minus, 0.0), component(&spec.scale, 1.0));
            self.affine.extend((0..width).map(|i| (minus(i), scale(i))));
        }
        let memory = (spec.history > 1).then(|| self.memory..self.memory + shown);
        self.memory += memory.as_ref().map_or(0, Range::len);
        let op = Op { fetch, width, out: self.width..end, affine, clip: spec.clip, memory };
        if !self.ops.last_mut().is_some_and(|last| last.absorb(&op)) {
            self.ops.push(op);
        }
        self.terms.0.push(Term { name: spec.name.clone(), width: shown });
        self.width = end;
        Ok(())
    }

    fn fetch(&mut self, source: &Source, dt_s: f64) -> Fetch {
        let keep = |all: &mut Vec<usize>, these: &[usize]| {
            let from = all.len();
            all.extend_from_slice(these);
            from
        };
        match source {
            Source::Raw(these) => {
                if these.windows(2).all(|pair| pair[0] + 1 == pair[1]) {
                    return Fetch::Copy { from: these[0] };
                }
                Fetch::Gather { indices: keep(&mut self.indices, these) }
            }
            Source::InBody { vector, quaternion } => {
                Fetch::InBody { vector: *vector, quaternion: *quaternion }
            }
            Source::InWorld { vector, quaternion } => {
                Fetch::InWorld { vector: *vector, quaternion: *quaternion }
            }
            Source::ProjectedGravity { quaternion } => Fetch::Gravity { quaternion: *quaternion },
            Source::PreviousAction => Fetch::Previous,
            Source::Command(slots) => Fetch::Command { indices: keep(&mut self.indices, slots) },
            Source::Phase { hz } => Fetch::Phase { turns: hz * dt_s },
        }
    }
}

impl Op {
    /// Takes in what follows, where both together are one plain copy.
    fn absorb(&mut self, next: &Self) -> bool {
        let plain = |op: &Self| op.affine.is_none() && op.clip.is_none() && op.memory.is_none();
        match (self.fetch, next.fetch) {
            (Fetch::Copy { from }, Fetch::Copy { from: then })
                if plain(self) && plain(next) && from + self.width == then =>
            {
                self.width += next.width;
                self.out.end = next.out.end;
                true
            }
            _ => false,
        }
    }
}

/// The component of numbers that are given once for all, or one by one, or not at all.
fn component(given: &[f64], otherwise: f64) -> impl Fn(usize) -> f64 {
    move |i| match given {
        [] => otherwise,
        [one] => *one,
        many => many[i],
    }
}

/// Sine and cosine of 2π·turns·step. The computation is the same on every machine.
fn phase(turns: f64, step: u64) -> [f64; 2] {
    let turned = turns * step as f64;
    let (sin, cos) = libm::sincos(core::f64::consts::TAU * (turned - libm::floor(turned)));
    [sin, cos]
}

fn check(spec: &TermSpec, widths: TermWidths) -> Result<(), TermProblem> {
    if spec.name.is_empty() || spec.name.contains(|c: char| c == ',' || c.is_whitespace()) {
        return Err(TermProblem::Name);
    }
    check_source(&spec.source, widths)?;
    let needed = spec.source.width(widths.action);
    if needed == 0 {
        return Err(TermProblem::Empty);
    }
    for (key, numbers) in [("minus", &spec.minus), ("scale", &spec.scale)] {
        let found = numbers.len();
        if found > 1 && found != needed {
            return Err(TermProblem::Components { key, found, needed });
        }
        if let Some(&found) = numbers.iter().find(|v| !v.is_finite()) {
            return Err(TermProblem::NotFinite { key, found });
        }
    }
    if let Some([low, high]) = spec.clip {
        if let Some(found) = [low, high].into_iter().find(|v| v.is_nan()) {
            return Err(TermProblem::NotFinite { key: "clip", found });
        }
        if low > high {
            return Err(TermProblem::Clip { low, high });
        }
    }
    if spec.history == 0 { Err(TermProblem::History) } else { Ok(()) }
}

fn check_source(source: &Source, widths: TermWidths) -> Result<(), TermProblem> {
    let reading = |indices: &[usize]| {
        let bad = indices.iter().find(|&&i| i >= widths.raw);
        bad.map_or(Ok(()), |&found| Err(TermProblem::NoSuchReading { found, count: widths.raw }))
    };
    match source {
        Source::Raw(indices) => reading(indices),
        Source::InBody { vector, quaternion } | Source::InWorld { vector, quaternion } => {
            reading(vector).and_then(|()| reading(quaternion))
        }
        Source::ProjectedGravity { quaternion } => reading(quaternion),
        Source::Command(slots) => match slots.iter().find(|&&slot| slot >= widths.commands) {
            Some(&found) => Err(TermProblem::NoSuchCommand { found, count: widths.commands }),
            None => Ok(()),
        },
        Source::Phase { hz } if !(*hz > 0.0 && hz.is_finite()) => {
            Err(TermProblem::Phase { found: *hz })
        }
        Source::Phase { .. } | Source::PreviousAction => Ok(()),
    }
}

#[cfg(test)]
mod tests;
