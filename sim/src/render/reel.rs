//! A recorded run as a film.

use mujoco_rs::prelude::{MjModel, MjtObjBase};

use super::{Film, FilmFiles, RenderError, Renderer, circles_scene};
use crate::{
    robot::Recording,
    task::{Modes, Task},
};

/// What a film's frames should last.
const FRAME_S: f64 = 0.04;

/// States of a recorded run, to be drawn.
pub struct Reel {
    model: MjModel,
    /// `[frames, positions]`.
    states: Vec<f64>,
    positions: usize,
    /// Time between frames.
    frame_s: f64,
}

impl Reel {
    /// The states of a recording at about 25 frames a second; `goal` is marked where the scene
    /// has a mark for it.
    pub fn of(task: &dyn Task, recording: &Recording, goal: &[f64]) -> Self {
        let stride = stride(task.info().dt_s);
        let frame_s = task.info().dt_s * stride as f64;
        let Some(physics) = task.physics() else {
            let radii: Vec<f64> = match &task.info().modes {
                Modes::Discrete(modes) => modes.iter().map(|m| m.value).collect(),
                Modes::Continuous(_) => Vec::new(),
            };
            let states = recording.probes.iter().step_by(stride);
            let states = states.flat_map(|p| [p.position_m[0], p.position_m[1]]).collect();
            return Self { model: circles_scene(&radii), states, positions: 2, frame_s };
        };
        let mut model = physics.model().clone();
        if let Modes::Continuous(_) = task.info().modes {
            mark_goal(&mut model, goal);
        }
        let positions = model.nq() as usize;
        let states = recording.qpos.chunks_exact(positions).step_by(stride);
        let states = states.flatten().copied().collect();
        Self { model, states, positions, frame_s }
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.states.len() / self.positions
    }

    /// Number of frames of a run of so many steps of `dt_s` seconds, if it is not ended before.
    pub fn frames_of(steps: usize, dt_s: f64) -> usize {
        // The state before the first step is drawn too.
        (steps + 1).div_ceil(stride(dt_s))
    }

    /// Draws the film; says what was written. `drawn` is called after each frame.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn draw(
        &self,
        files: &FilmFiles,
        size: (u32, u32),
        caption: &str,
        drawn: &mut dyn FnMut(),
    ) -> Result<String, RenderError> {
        let mut renderer = Renderer::new(&self.model, size)?;
        let mut film = Film::create(files, size, self.frame_s)?;
        for (i, qpos) in self.states.chunks_exact(self.positions).enumerate() {
            let caption = format!("{caption}\n{:.1} s", i as f64 * self.frame_s);
            film.add(&renderer.draw(qpos, &caption)?)?;
            drawn();
        }
        film.finish()
    }
}

/// Steps from one frame to the next.
fn stride(dt_s: f64) -> usize {
    ((FRAME_S / dt_s).round() as usize).max(1)
}

/// Puts the goal's mark where the goal is, or hides it.
fn mark_goal(model: &mut MjModel, goal: &[f64]) {
    let Some(site) = model.name_to_id(MjtObjBase::mjOBJ_SITE, "target0") else { return };
    let Some(floor) = model.name_to_id(MjtObjBase::mjOBJ_BODY, "floor0") else { return };
    match goal {
        [x, y, z, ..] => {
            let [fx, fy, fz] = model.body_pos()[floor];
            model.site_pos_mut()[site] = [x - fx, y - fy, z - fz];
        }
        _ => model.site_rgba_mut()[site][3] = 0.0,
    }
}
