//! `new`: a `task.toml` to start from, with the reason of each choice beside it.

use std::{
    fmt::Write as _,
    path::{Component, Path, PathBuf},
};

use mujoco_rs::prelude::{MjModel, MjtJoint, MjtObjBase};
use sog_runtime::os::files::{OutputError, Outputs};

use crate::{
    compiled::names::Names,
    definition::{Definition, FILE},
    error::SimError,
    physics,
};

/// Control period that is aimed at where none is asked for, s.
const USUAL_DT_S: f64 = 0.02;

/// What a new task is made from.
#[derive(Clone, Debug, Default)]
pub struct NewTask {
    /// The robot's model, if there is one.
    pub mjcf: Option<PathBuf>,
    /// Control period, s; about 0.02 s by default.
    pub dt_s: Option<f64>,
}

/// Writes a `task.toml` into `dir`, which is made if it is not there; the file's path.
///
/// # Errors
/// [`SimError::Write`] if there is a `task.toml` already or it cannot be written; what is there
/// stays as it was then. [`SimError::Robot`] if MuJoCo refuses the model or a control period is no multiple of its time
/// step.
pub fn new_task(dir: &Path, from: &NewTask) -> Result<PathBuf, SimError> {
    let path = dir.join(FILE);
    let failed = |path: &Path, reason: String| SimError::Write { path: path.to_path_buf(), reason };
    let dir = &full(dir);
    let name = task_name(dir);
    let text = match &from.mjcf {
        None => without_model(&name, from.dt_s.unwrap_or(USUAL_DT_S)),
        Some(mjcf) => {
            let model = physics::load_file(mjcf).map_err(|reason| SimError::Robot {
                task: name.clone(),
                reason: format!("{}: {reason}", mjcf.display()),
            })?;
            let refuse = |reason| SimError::Robot { task: name.clone(), reason };
            let skip = frame_skip(&model, from.dt_s).map_err(refuse)?;
            of_model(&name, &relative(dir, mjcf), &model, skip)
        }
    };
    // What is written here must be read: a model may have names that a file cannot hold.
    Definition::parse(&path.display().to_string(), &text)?;
    let is_new = !dir.exists();
    std::fs::create_dir_all(dir).map_err(|e| failed(dir, e.to_string()))?;
    let written = match Outputs::new(false).claim(&path) {
        Ok(output) => output.write(text.as_bytes()).map_err(|e| failed(&path, e.to_string())),
        Err(OutputError::Exists { .. }) => {
            Err(failed(&path, "it is there already; nothing was written".to_string()))
        }
        Err(OutputError::Io { source, .. }) => Err(failed(&path, source.to_string())),
        Err(error) => Err(failed(&path, error.to_string())),
    };
    if written.is_err() && is_new {
        // It is empty, or not ours.
        let _ = std::fs::remove_dir(dir);
    }
    written.map(|()| path)
}

/// A folder's path from the root, whether it is there or not.
fn full(dir: &Path) -> PathBuf {
    let (parent, name) = (dir.parent(), dir.file_name());
    dir.canonicalize().unwrap_or_else(|_| match (parent, name) {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => {
            full(Path::new(".")).join(name)
        }
        (Some(parent), Some(name)) => full(parent).join(name),
        _ => std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf()),
    })
}

/// A name made from the folder's.
fn task_name(dir: &Path) -> String {
    let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or("task").to_ascii_lowercase();
    let good = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = name.chars().map(good).take(100).collect();
    match name.trim_matches('-') {
        "" => "task".to_string(),
        name => name.to_string(),
    }
}

/// The path of a file as seen from a folder.
fn relative(dir: &Path, file: &Path) -> String {
    let Ok(file) = file.canonicalize() else { return file.display().to_string() };
    let same = dir.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    // Nothing in common but the root: the file's own path says it better.
    if same <= 1 {
        return file.display().to_string();
    }
    let up = dir.components().skip(same).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(file.components().skip(same)).collect();
    path.display().to_string()
}

/// Physics steps of a control step.
fn frame_skip(model: &MjModel, dt_s: Option<f64>) -> Result<usize, String> {
    let timestep = model.opt().timestep;
    let skip = (dt_s.unwrap_or(USUAL_DT_S) / timestep).round().max(1.0);
    match dt_s {
        Some(dt) if (skip * timestep - dt).abs() > 1e-9 => Err(format!(
            "a control period of {dt} s is no multiple of the model's time step of {timestep} s; \
             {} s would be",
            skip * timestep
        )),
        _ => Ok(skip as usize),
    }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn quote_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quote).collect();
    format!("[{}]", texts.join(", "))
}

/// A term's name made from a name in the model.
fn term_name(name: &str) -> String {
    let bad = |c: char| c == ',' || c == ':' || c.is_whitespace() || c.is_control();
    name.chars().map(|c| if bad(c) { '_' } else { c }).collect()
}

fn head(name: &str, dt_s: f64, reason: &str) -> String {
    format!(
        "# A task as data. `sog task check` reads it, compiles it and takes a hundred random steps.\n\
         schema = \"sog.task/1\"\n\
         # What files and the robot's handshake say.\n\
         name = {}\n\
         # Control period, s: {reason}\n\
         dt = {dt_s}\n\
         # Control steps to the time limit: ten seconds.\n\
         horizon = {}\n\n",
        quote(name),
        (10.0 / dt_s).round().max(1.0) as usize
    )
}

/// A task that nothing simulates.
fn without_model(name: &str, dt_s: f64) -> String {
    let mut text = head(name, dt_s, "fifty decisions a second suit most robots.");
    text += "# What the policy sees, in order. Without [sim] each term needs a width.\n\
             [[observation]]\n\
             name = \"joint_pos\"\n\
             width = 6\n\n\
             [[observation]]\n\
             name = \"joint_vel\"\n\
             width = 6\n\n\
             # What the policy does, in order, with its bounds: a number, or one a component.\n\
             [[action]]\n\
             name = \"joint_target\"\n\
             width = 6\n\
             low = -1.0\n\
             high = 1.0\n\
             unit = \"rad\"\n";
    text
}

/// A task on a model.
fn of_model(name: &str, file: &str, model: &MjModel, skip: usize) -> String {
    let timestep = model.opt().timestep;
    // As people write it: 10 × 0.002 is 0.02 and not 0.020000000000000004.
    let dt_s = (timestep * skip as f64 * 1e9).round() / 1e9;
    let reason = format!("{skip} of the model's time steps of {timestep} s.");
    let mut text = head(name, dt_s, &reason);
    text += "# What the policy sees, in order. Each term may have `minus`, `scale`, `clip` and\n\
             # `history`.\n\n";
    observations(&mut text, model);
    actions(&mut text, model);
    let _ = write!(
        text,
        "[sim]\n\
         model = {}\n\
         # timestep × frame_skip must be dt.\n\
         frame_skip = {skip}\n",
        quote(file)
    );
    if let Some(key) = model.id_to_name(MjtObjBase::mjOBJ_KEY, 0) {
        let _ = write!(
            text,
            "# The model's first keyframe is where episodes start.\nkeyframe = {}\n",
            quote(key)
        );
    }
    text += "\n# Noise about the start, so that no two episodes are alike.\n\
             [sim.reset]\n";
    if model.nq() > 0 {
        text += "qpos = { uniform = 0.01 }\nqvel = { uniform = 0.01 }\n";
    }
    let place = first_place(model);
    let word = place.map_or("step".to_string(), |name| format!("{}.z", word(name)));
    let _ = write!(
        text,
        "\n# What ends an episode as failed, any one of them; not finite always does.\n\
         # [[sim.terminate]]\n\
         # of = {}\n\
         # below = 0.2\n\n\
         # The ways of doing the task, for evaluation alone; no learner sees them.\n\
         # [[mode]]\n\
         # name = \"left\"\n\
         # reward = {}\n",
        quote(&word),
        quote("-0.1 * norm2(action)")
    );
    if let Some(place) = place {
        let _ = write!(
            text,
            "\n# What figures draw.\n[plot]\npath = [{}, {}]\nunits = [\"m\", \"m\"]\n",
            quote(&format!("{}.x", self::word(place))),
            quote(&format!("{}.y", self::word(place)))
        );
    }
    text
}

/// A name as expressions have it.
fn word(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let starts = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if starts && name.chars().all(plain) { name.to_string() } else { format!("'{name}'") }
}

/// The first named site that moves, else the first such body.
fn first_place(model: &MjModel) -> Option<&str> {
    let usable = |name: &&str| !name.contains('\'');
    // What is welded to the world stays where it is.
    let moves = |body: usize| model.body_weldid()[body] != 0;
    let sites = (0..model.nsite() as usize)
        .filter(|&id| moves(model.site_bodyid()[id] as usize))
        .filter_map(|id| model.id_to_name(MjtObjBase::mjOBJ_SITE, id));
    let bodies = (1..model.nbody() as usize)
        .filter(|&id| moves(id))
        .filter_map(|id| model.id_to_name(MjtObjBase::mjOBJ_BODY, id));
    sites.chain(bodies).find(usable)
}

fn term(text: &mut String, why: &str, name: &str, source: &str) {
    let _ =
        write!(text, "# {why}\n[[observation]]\nname = {}\n{source}\n\n", quote(&term_name(name)));
}

/// Bodies that move freely, joints, sensors.
fn observations(text: &mut String, model: &MjModel) {
    let names = Names(model);
    let (mut joints, mut unnamed) = (Vec::new(), false);
    let mut any = false;
    for id in 0..model.njnt() as usize {
        let name = model.id_to_name(MjtObjBase::mjOBJ_JOINT, id);
        if model.jnt_type()[id] == MjtJoint::mjJNT_FREE {
            any = true;
            let body = model.jnt_bodyid()[id] as usize;
            free_body(text, names, id, model.id_to_name(MjtObjBase::mjOBJ_BODY, body));
            continue;
        }
        match name {
            Some(name) => joints.push((id, name)),
            None => unnamed = true,
        }
    }
    if unnamed {
        any = true;
        let why = "All positions of the model: some joints have no name to pick them by.";
        term(text, why, "joint_pos", "qpos = \"all\"");
        term(text, "All velocities, likewise.", "joint_vel", "qvel = \"all\"");
    } else if !joints.is_empty() {
        any = true;
        let list = quote_all(joints.iter().map(|(_, name)| *name));
        let why = "Every joint's position (rad, m), in the model's order.";
        term(text, why, "joint_pos", &format!("qpos = {list}"));
        term(text, "Every joint's velocity (rad/s, m/s).", "joint_vel", &format!("qvel = {list}"));
    }
    let mut seen = vec!["joint_pos".to_string(), "joint_vel".to_string()];
    for id in 0..model.nsensor() as usize {
        let Some(name) = model.id_to_name(MjtObjBase::mjOBJ_SENSOR, id) else { continue };
        let mut own = term_name(name);
        while seen.contains(&own) {
            own.push('_');
        }
        seen.push(own.clone());
        any = true;
        let kind = format!("{:?}", model.sensor_type()[id]);
        let kind = kind.trim_start_matches("mjSENS_").to_ascii_lowercase();
        let why = format!("The model's sensor `{}` ({kind}).", name.replace(char::is_control, " "));
        term(text, &why, &own, &format!("sensor = {}", quote(name)));
    }
    if !any {
        let why = "The model has no joint and no sensor: a clock, until it has.";
        term(text, why, "clock", "phase = 1.0");
    }
}

/// A body that moves freely: which way is down, how fast it moves and turns, in its own axes.
fn free_body(text: &mut String, names: Names<'_>, joint: usize, body: Option<&str>) {
    let Some(body) = body else {
        let range = names.joint_of(joint);
        let (q, v) = (range.qpos, range.qvel);
        let why = "A body without a name that moves freely: height and orientation.";
        let source = format!("qpos = \"{}..{}\"", q.start + 2, q.end);
        term(text, why, &format!("free_{joint}_pose"), &source);
        let source = format!("qvel = \"{}..{}\"", v.start, v.end);
        term(
            text,
            "Its velocity and angular velocity.",
            &format!("free_{joint}_velocity"),
            &source,
        );
        return;
    };
    let named = quote(body);
    let why = "Where down is to the body, as an IMU tells it: heading and place left out, so that\n\
               # the policy is the same everywhere.";
    term(text, why, &format!("{body}_gravity"), &format!("projected_gravity = {named}"));
    let why = "Its velocity in its own axes, m/s.";
    let source = format!("body_linvel = {named}\nframe = \"body\"");
    term(text, why, &format!("{body}_linvel"), &source);
    let why = "Its angular velocity in its own axes, rad/s, as a gyroscope tells it.";
    let source = format!("body_angvel = {named}\nframe = \"body\"");
    term(text, why, &format!("{body}_angvel"), &source);
}

/// Actuators with their ranges.
fn actions(text: &mut String, model: &MjModel) {
    let names = Names(model);
    *text += "# What the policy does, in order.\n\n";
    let count = model.nu() as usize;
    let (mut actuators, mut low, mut high, mut made_up) = (vec![], vec![], vec![], false);
    for id in 0..count {
        let Some(name) = names.actuator_name(id) else {
            let _ =
                writeln!(text, "# Actuator {id} has no name, nor its joint: name it to use it.\n");
            continue;
        };
        let [l, h] = model.actuator_ctrlrange()[id];
        let limited = model.actuator_ctrllimited()[id] && l < h;
        made_up |= !limited;
        let (l, h) = if limited { (l, h) } else { (-1.0, 1.0) };
        actuators.push(name);
        low.push(format!("{l:?}"));
        high.push(format!("{h:?}"));
    }
    if actuators.is_empty() {
        *text += "# The model has no actuator: give it some (MJCF, <actuator>) and name them here.\n\
                  [[action]]\nname = \"action\"\nlow = -1.0\nhigh = 1.0\nactuator = [\"name-me\"]\n\n";
        return;
    }
    *text += "# All actuators of the model, with their ctrlrange as bounds";
    *text += if made_up {
        ";\n# where a motor has none, ±1 stands for it: look at its gear.\n"
    } else {
        ".\n"
    };
    let _ = write!(
        text,
        "[[action]]\nname = \"control\"\nwidth = {}\nlow = [{}]\nhigh = [{}]\nactuator = {}\n\n",
        actuators.len(),
        low.join(", "),
        high.join(", "),
        quote_all(actuators.iter().copied())
    );
}
