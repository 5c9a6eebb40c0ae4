//! A scene for `circles`, which has no MuJoCo of its own.

use std::fmt::Write as _;

use mujoco_rs::prelude::MjModel;

/// Short rods that make up one circle.
const RODS: usize = 90;

/// A plane seen from above, a ball that moves in it, and the circles of these signed radii. Its
/// positions are the ball's x and y.
///
/// # Panics
/// Never: the scene is a valid model whatever the radii.
pub fn circles_scene(radii: &[f64]) -> MjModel {
    let mut rods = String::new();
    for &radius in radii {
        let point = |i: usize| {
            let angle = std::f64::consts::TAU * i as f64 / RODS as f64;
            let (x, y) = (radius.abs() * angle.cos(), radius + radius.abs() * angle.sin());
            format!("{x} {y} 0.1")
        };
        for i in 0..RODS {
            let _ = write!(
                rods,
                r#"<geom type="capsule" fromto="{} {}" size="0.12" rgba=".45 .5 .55 1"/>"#,
                point(i),
                point(i + 1)
            );
        }
    }
    let (low, high) =
        radii.iter().fold((0.0f64, 0.0f64), |(l, h), &r| (l.min(2.0 * r), h.max(2.0 * r)));
    let (middle, height) = ((low + high) / 2.0, 1.3 * (high - low));
    let xml = format!(
        r#"<mujoco model="circles">
          <visual><headlight ambient=".6 .6 .6" diffuse=".4 .4 .4" specular="0 0 0"/></visual>
          <asset><texture type="skybox" builtin="flat" rgb1="1 1 1" width="8" height="8"/></asset>
          <worldbody>
            <camera name="track" pos="0 {middle} {height}" xyaxes="1 0 0 0 1 0" fovy="45"/>
            <geom type="plane" size="0 0 1" rgba=".97 .97 .97 1"/>
            {rods}
            <body pos="0 0 .8">
              <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/>
              <geom type="sphere" size=".8" rgba=".85 .2 .15 1"/>
            </body>
          </worldbody>
        </mujoco>"#
    );
    MjModel::from_xml_string(&xml).expect("a scene of fixed form compiles")
}
