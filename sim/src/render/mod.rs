//! Pictures of robots, drawn off-screen.
//!
//! * [`Renderer`]: one robot, one camera that follows it, a caption;
//! * [`Reel`]: a recorded run, drawn to a file;
//! * [`Film`]: a file that frames go to: GIF, numbered PNGs, or MP4 through `ffmpeg`;
//! * [`FilmFiles`]: where a film goes, looked at before anything is drawn.
//!
//! Drawing needs EGL: a graphics card's, or Mesa's software (Debian: `libegl1`,
//! `libgl1-mesa-dri`). It works on copies of the states, so that it disturbs no simulation.

mod egl;
mod film;
mod plane;
mod reel;

use std::sync::Arc;

use mujoco_rs::prelude::{
    MjData, MjModel, MjrContext, MjrRectangle, MjtFont, MjtGridPos, MjtObjBase, MjvCamera,
    MjvOption, MjvPerturb, MjvScene,
};

pub use film::{Film, FilmFiles, FilmKind};
pub use plane::circles_scene;
pub use reel::Reel;
use sog_runtime::os::files::OutputError;

use crate::physics::Data;

/// Camera that the robots' files have: it follows the robot.
const CAMERA: &str = "track";
/// Side of the shadow map in pixels: more is drawn in software at a fraction of the speed.
const SHADOW_SIDE: i32 = 1024;
/// Things that a scene may hold besides the robot's own.
const MORE_GEOMS: usize = 1000;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// There is no libEGL.
    #[error(
        "drawing needs EGL, which cannot be loaded ({reason}); install it (Debian, Ubuntu: \
         `apt-get install libegl1 libgl1-mesa-dri`; Fedora: `dnf install mesa-libEGL \
         mesa-dri-drivers`)"
    )]
    NoEgl {
        /// What the loader said.
        reason: String,
    },
    /// EGL gives no context.
    #[error(
        "EGL gives no OpenGL context ({reason}); without a graphics card install Mesa's software \
         drawing (Debian, Ubuntu: `apt-get install libgl1-mesa-dri`)"
    )]
    Egl {
        /// What was tried.
        reason: String,
    },
    /// The size of the picture is not possible.
    #[error("a picture of {width} × {height} pixels, need 16 to {MAX_SIDE} each, and even")]
    Size {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The state is not this robot's.
    #[error("a state of {found} positions, the robot has {needed}")]
    State {
        /// Positions given.
        found: usize,
        /// Positions of the robot.
        needed: usize,
    },
    /// The file's name says no format.
    #[error("`{found}` names no format: need a name in .gif, .png (numbered frames) or .mp4")]
    Format {
        /// The name.
        found: String,
    },
    /// A file must not be written to.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Encoding or writing failed.
    #[error("cannot write {file}: {reason}")]
    Write {
        /// The file.
        file: String,
        /// What went wrong.
        reason: String,
    },
}

/// Largest side of a picture, in pixels.
pub const MAX_SIDE: u32 = 4096;

/// Whether pictures can be of a size.
///
/// # Errors
/// [`RenderError::Size`].
pub fn check_size((width, height): (u32, u32)) -> Result<(), RenderError> {
    let good = |side: u32| (16..=MAX_SIDE).contains(&side) && side.is_multiple_of(2);
    if good(width) && good(height) { Ok(()) } else { Err(RenderError::Size { width, height }) }
}

/// A picture: rows from the top, RGB.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// `[height, width, 3]`.
    pub rgb: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} x {})", self.width, self.height)
    }
}

/// Draws one robot.
pub struct Renderer {
    // Dropped in this order: the drawing context needs the OpenGL context.
    drawing: MjrContext,
    _gl: egl::OffscreenGl,
    scene: MjvScene,
    camera: MjvCamera,
    data: Data,
    viewport: MjrRectangle,
    size: (u32, u32),
}

impl Renderer {
    /// Draws robots of `model`, `size` pixels across and down.
    ///
    /// # Errors
    /// [`RenderError::NoEgl`], [`RenderError::Egl`], [`RenderError::Size`].
    pub fn new(model: &MjModel, size: (u32, u32)) -> Result<Self, RenderError> {
        check_size(size)?;
        let (width, height) = size;
        let gl = egl::OffscreenGl::open()?;
        let model = Arc::new(prepare(model, size));
        let drawing = gl.drawing_context(&model);
        let camera = match model.name_to_id(MjtObjBase::mjOBJ_CAMERA, CAMERA) {
            Some(id) => MjvCamera::new_fixed(id),
            None => MjvCamera::new_free(&model),
        };
        let mut renderer = Self {
            drawing,
            _gl: gl,
            scene: MjvScene::new(&model, model.ngeom() as usize + MORE_GEOMS),
            camera,
            data: MjData::new(model),
            viewport: MjrRectangle {
                left: 0,
                bottom: 0,
                width: width as i32,
                height: height as i32,
            },
            size,
        };
        renderer.drawing.offscreen();
        Ok(renderer)
    }

    /// Draws the robot at positions `qpos` with a caption; characters outside ASCII are spelt out
    /// or left out.
    ///
    /// # Errors
    /// [`RenderError::State`].
    pub fn draw(&mut self, qpos: &[f64], caption: &str) -> Result<Frame, RenderError> {
        let needed = self.data.qpos().len();
        if qpos.len() != needed {
            return Err(RenderError::State { found: qpos.len(), needed });
        }
        self.data.qpos_mut().copy_from_slice(qpos);
        self.data.fwd_position();
        let (option, perturb) = (MjvOption::default(), MjvPerturb::default());
        self.scene.update(&mut self.data, &option, &perturb, &mut self.camera);
        self.scene.render(&self.viewport, &self.drawing);
        let caption = ascii(caption);
        self.drawing.overlay(
            MjtFont::mjFONT_NORMAL,
            MjtGridPos::mjGRID_TOPLEFT,
            self.viewport,
            &caption,
            None,
        );
        let (width, height) = self.size;
        let mut rgb = vec![0; (width * height * 3) as usize];
        self.drawing
            .read_pixels(Some(&mut rgb), None, &self.viewport)
            .expect("the buffer has the viewport's size");
        flip(&mut rgb, width as usize * 3);
        Ok(Frame { width, height, rgb })
    }
}

/// A copy of the model with an endless floor and room for pictures of this size.
fn prepare(model: &MjModel, (width, height): (u32, u32)) -> MjModel {
    let mut model = model.clone();
    let global = &mut model.vis_mut().global;
    global.offwidth = width as i32;
    global.offheight = height as i32;
    let shadows = &mut model.vis_mut().quality.shadowsize;
    *shadows = (*shadows).min(SHADOW_SIDE);
    for geom in 0..model.ngeom() as usize {
        if model.geom_type()[geom] as i32 == 0 {
            model.geom_size_mut()[geom][..2].fill(0.0);
        }
    }
    model
}

/// Rows from the bottom to rows from the top.
fn flip(rgb: &mut [u8], row: usize) {
    let rows = rgb.len() / row;
    let (top, bottom) = rgb.split_at_mut(rows / 2 * row);
    for (a, b) in top.chunks_exact_mut(row).zip(bottom.rchunks_exact_mut(row)) {
        a.swap_with_slice(b);
    }
}

/// MuJoCo's font has printable ASCII; lines are kept.
fn ascii(text: &str) -> String {
    text.replace('°', " deg").chars().filter(|c| matches!(c, '\n' | ' '..='~')).collect()
}
