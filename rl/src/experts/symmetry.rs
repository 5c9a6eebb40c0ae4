//! Mirror images of a robot: an expert for one direction is an expert for its mirror image.
//!
//! A mirror maps an observation s to M s and an action a to N a, both signed permutations. If
//! policy π walks towards θ, then N⁻¹ π(M s) walks towards the mirror image of θ; applied to the
//! weights, the result is an ordinary policy again. The tests run mirrored pairs through the
//! simulator.
//!
//! Under the reflection of the y axis, vectors change the sign of y, and axial vectors (angular
//! velocities, the vector part of a quaternion) those of x and z; likewise for the x axis.

use sog_runtime::policy::PolicyFile;
use sog_sim::task::TaskId;

use crate::run::ConfigError;

/// Entry i of the image is `sign`·(entry `source` of the original).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Index in the original.
    pub source: usize,
    /// 1 or −1.
    pub sign: f32,
}

/// A mirror image of a robot.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// M, one entry an observation component.
    pub obs: Vec<Entry>,
    /// N, one entry an action component.
    pub action: Vec<Entry>,
}

/// A reflection of the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reflection {
    /// x → −x.
    X,
    /// y → −y.
    Y,
    /// Both: half a turn.
    Xy,
}

impl Mirror {
    /// The mirror images of a task's robot.
    ///
    /// # Errors
    /// [`ConfigError::Range`] if the robot has none.
    pub fn of(task: TaskId, reflection: Reflection) -> Result<Self, ConfigError> {
        match task {
            TaskId::AntFwdBack | TaskId::AntDir6 => Ok(Self::ant(reflection)),
            TaskId::HumanoidDir6 if reflection == Reflection::Y => Ok(Self::humanoid()),
            _ => Err(ConfigError::Range {
                key: "mirror".to_string(),
                found: format!("{reflection:?} for {task}"),
                needed: "the ant (x, y, xy) or the humanoid (y)".to_string(),
            }),
        }
    }

    /// The ant's mirror images, on the observation and action of the ant tasks.
    ///
    /// Legs 1 to 4 stand in the quadrants (+,+), (−,+), (−,−), (+,−). Hips turn about the
    /// vertical, so a reflection changes their sign. The ankles' axes (−1,1,0), (1,1,0),
    /// (−1,1,0), (1,1,0) go into each other under y, and into each other's negative under x.
    pub fn ant(reflection: Reflection) -> Self {
        // Leg that takes each leg's place, and the sign of the ankle.
        let (legs, ankle, vector, axial) = match reflection {
            Reflection::Y => ([3, 2, 1, 0], 1.0, [1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]),
            Reflection::X => ([1, 0, 3, 2], -1.0, [-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]),
            Reflection::Xy => return Self::ant(Reflection::X).then(&Self::ant(Reflection::Y)),
        };
        let mut obs = vec![Entry { source: 0, sign: 1.0 }, Entry { source: 1, sign: 1.0 }];
        let mut signs = |start: usize, signs: &[f32]| {
            obs.extend(
                signs.iter().enumerate().map(|(i, &sign)| Entry { source: start + i, sign }),
            );
        };
        signs(2, &axial);
        let joints = |start: usize| {
            legs.iter().flat_map(move |leg| {
                let hip = Entry { source: start + 2 * leg, sign: -1.0 };
                [hip, Entry { source: start + 2 * leg + 1, sign: ankle }]
            })
        };
        obs.extend(joints(5));
        let mut signs = |start: usize, signs: &[f32]| {
            obs.extend(
                signs.iter().enumerate().map(|(i, &sign)| Entry { source: start + i, sign }),
            );
        };
        signs(13, &vector);
        signs(16, &axial);
        obs.extend(joints(19));
        // Motors are in the order of legs 4, 1, 2, 3.
        let place = |leg: usize| (leg + 1) % 4;
        let action = [3, 0, 1, 2].iter().flat_map(|&leg| {
            let start = 2 * place(legs[leg]);
            [Entry { source: start, sign: -1.0 }, Entry { source: start + 1, sign: ankle }]
        });
        Self { action: action.collect(), obs }
    }

    /// The humanoid's mirror image under y → −y, left and right exchanged, on the observation and
    /// action of its task. Its legs differ a little (an armature, a knee's spring), so the image of
    /// a policy is a good start and not quite an equal.
    pub fn humanoid() -> Self {
        const VECTOR: [f32; 3] = [1.0, -1.0, 1.0];
        const AXIAL: [f32; 3] = [-1.0, 1.0, -1.0];
        // Waist (z, y, x), then right and left leg, right and left arm: partner and sign.
        const JOINTS: [(usize, f32); 17] = [
            (0, -1.0),
            (1, 1.0),
            (2, -1.0),
            (7, 1.0),
            (8, 1.0),
            (9, 1.0),
            (10, 1.0),
            (3, 1.0),
            (4, 1.0),
            (5, 1.0),
            (6, 1.0),
            (14, -1.0),
            (15, -1.0),
            (16, 1.0),
            (11, -1.0),
            (12, -1.0),
            (13, 1.0),
        ];
        const BODIES: [usize; 14] = [0, 1, 2, 3, 7, 8, 9, 4, 5, 6, 12, 13, 10, 11];
        // Inertia xx, yy, zz, xy, xz, yz; mass times position; mass.
        const INERTIA: [f32; 10] = [1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0];
        let spatial = [AXIAL, VECTOR].concat();
        let free = [VECTOR, AXIAL].concat();
        let mut obs = Vec::new();
        let fixed = |obs: &mut Vec<Entry>, signs: &[f32]| {
            let start = obs.len();
            obs.extend(
                signs.iter().enumerate().map(|(i, &sign)| Entry { source: start + i, sign }),
            );
        };
        let joints = |obs: &mut Vec<Entry>| {
            let start = obs.len();
            obs.extend(JOINTS.iter().map(|&(j, sign)| Entry { source: start + j, sign }));
        };
        let bodies = |obs: &mut Vec<Entry>, signs: &[f32]| {
            let start = obs.len();
            for body in BODIES {
                let at = start + body * signs.len();
                obs.extend(
                    signs.iter().enumerate().map(|(i, &sign)| Entry { source: at + i, sign }),
                );
            }
        };
        fixed(&mut obs, &[1.0, 1.0]);
        fixed(&mut obs, &AXIAL);
        joints(&mut obs);
        fixed(&mut obs, &free);
        joints(&mut obs);
        bodies(&mut obs, &INERTIA);
        bodies(&mut obs, &spatial);
        fixed(&mut obs, &free);
        joints(&mut obs);
        bodies(&mut obs, &spatial);
        // Motors are in the order of the joints but for the waist's first two.
        let mut action = JOINTS.map(|(source, sign)| Entry { source, sign }).to_vec();
        action[0] = Entry { source: 0, sign: 1.0 };
        action[1] = Entry { source: 1, sign: -1.0 };
        Self { obs, action }
    }

    /// This mirror, then another.
    pub fn then(&self, next: &Self) -> Self {
        let compose = |first: &[Entry], second: &[Entry]| {
            let entry = |e: &Entry| Entry {
                source: first[e.source].source,
                sign: e.sign * first[e.source].sign,
            };
            second.iter().map(entry).collect()
        };
        Self { obs: compose(&self.obs, &next.obs), action: compose(&self.action, &next.action) }
    }

    /// The policy N⁻¹ π(M s), sealed with golden vectors of its own.
    pub fn policy(&self, original: &PolicyFile) -> PolicyFile {
        let mut image = original.clone();
        let (first, image_first) = (&original.network.hidden[0], &mut image.network.hidden[0]);
        let inputs = first.inputs();
        for (i, e) in self.obs.iter().enumerate() {
            let rows = first.weight.chunks_exact(inputs);
            for (row, image) in rows.zip(image_first.weight.chunks_exact_mut(inputs)) {
                image[e.source] = e.sign * row[i];
            }
            image.normaliser.mean[e.source] = e.sign * original.normaliser.mean[i];
            image.normaliser.var[e.source] = original.normaliser.var[i];
        }
        let (last, image_last) = (&original.network.mean, &mut image.network.mean);
        let h = last.inputs();
        for (k, e) in self.action.iter().enumerate() {
            let from = &last.weight[k * h..(k + 1) * h];
            let to = &mut image_last.weight[e.source * h..(e.source + 1) * h];
            to.iter_mut().zip(from).for_each(|(to, w)| *to = e.sign * w);
            image_last.bias[e.source] = e.sign * last.bias[k];
            image.log_std[e.source] = original.log_std[k];
        }
        image.seal(original.golden.action.len() / original.action_dim().max(1));
        image
    }
}
