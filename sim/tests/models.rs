//! Every number of every compiled robot is the reference's, to 1e-12.
#![allow(clippy::unwrap_used)]

use mujoco_rs::prelude::{MjModel, MjtObjBase};
use serde_json::Value;
use sog_sim::tasks::{TaskOptions, make};

/// Of the largest number of a field.
const TOLERANCE: f64 = 1e-12;

#[test]
fn ant() {
    compare("ant-dir-6", include_str!("data/models/ant.json"), 970);
}

#[test]
fn half_cheetah() {
    compare("halfcheetah-vel", include_str!("data/models/half_cheetah.json"), 679);
}

#[test]
fn walker2d() {
    compare("walker2d-vel-6", include_str!("data/models/walker2d.json"), 651);
}

#[test]
fn hopper() {
    compare("hopper-vel-6", include_str!("data/models/hopper.json"), 420);
}

#[test]
fn humanoid() {
    compare("humanoid-dir-6", include_str!("data/models/humanoid.json"), 1352);
}

#[test]
fn fetch() {
    compare("fetchreach", include_str!("data/models/fetch_reach.json"), 1463);
}

/// Compares every field of a reference, `numbers` numbers in all.
fn compare(task: &str, reference: &str, numbers: usize) {
    let reference: Value = serde_json::from_str(reference).unwrap();
    let task = make(task, &TaskOptions::default()).unwrap();
    let model = task.physics().unwrap().model();
    let mut comparison = Comparison { model, numbers: 0 };
    for (section, content) in reference.as_object().unwrap() {
        comparison.section(section, content);
    }
    assert_eq!(comparison.numbers, numbers, "numbers compared");
}

struct Comparison<'a> {
    model: &'a MjModel,
    numbers: usize,
}

impl Comparison<'_> {
    fn section(&mut self, section: &str, content: &Value) {
        match content {
            // What belongs to the task or was derived for readers; the task's tests check it.
            _ if [
                "n_substeps",
                "initial_gripper_xpos",
                "goal_range",
                "success_distance",
                "action_scale",
                "gripper_quat",
                "exclude_body_pairs",
            ]
            .contains(&section) => {}
            Value::Object(fields) => {
                for (field, value) in fields {
                    self.field(&format!("{section}.{field}"), value, &self.whole(section, field));
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (i, item) in items.iter().enumerate() {
                    self.item(section, i, item);
                }
            }
            list => {
                let found = self.whole(section, "");
                self.field(section, list, &found);
            }
        }
    }

    /// Body, joint, geom, site, actuator or equality number `i`.
    fn item(&mut self, section: &str, i: usize, item: &Value) {
        let is_mesh = item.get("type").is_some_and(|kind| kind == "mesh");
        for (field, value) in item.as_object().unwrap() {
            let name = format!("{section} {i} {field}");
            // Primitives stand in for the Fetch arm's meshes: their shape and place are ours.
            let ours = ["type", "size", "pos", "quat", "aabb_center_halfsize"];
            if is_mesh && ours.contains(&field.as_str()) {
                continue;
            }
            if field == "name" {
                assert_eq!(self.name(section, i), value.as_str().unwrap(), "{name}");
                continue;
            }
            self.field(&name, value, &self.part(section, i, field));
        }
    }

    fn field(&mut self, name: &str, reference: &Value, found: &[f64]) {
        let reference = numbers(reference);
        assert_eq!(found.len(), reference.len(), "{name}: {found:?}, need {reference:?}");
        let scale = reference.iter().fold(0.0f64, |m, r| m.max(r.abs()));
        for (f, r) in found.iter().zip(&reference) {
            assert!((f - r).abs() <= TOLERANCE * scale, "{name}: {found:?}, need {reference:?}");
        }
        self.numbers += reference.len();
    }

    fn name(&self, section: &str, i: usize) -> String {
        let kind = match section {
            "body" => MjtObjBase::mjOBJ_BODY,
            "joint" => MjtObjBase::mjOBJ_JOINT,
            "geom" => MjtObjBase::mjOBJ_GEOM,
            "site" => MjtObjBase::mjOBJ_SITE,
            "actuator" => MjtObjBase::mjOBJ_ACTUATOR,
            other => panic!("names of {other}"),
        };
        let name = self.model.id_to_name(kind, i).unwrap_or_default();
        if name.is_empty() { format!("#{i}") } else { name.to_string() }
    }

    /// A field of the whole model.
    fn whole(&self, section: &str, field: &str) -> Vec<f64> {
        let (m, o) = (self.model, self.model.opt());
        match (section, field) {
            ("option", "timestep") => vec![o.timestep],
            ("option", "gravity") => o.gravity.to_vec(),
            ("option", "density") => vec![o.density],
            ("option", "viscosity") => vec![o.viscosity],
            ("option", "integrator") => vec![f64::from(o.integrator)],
            ("option", "iterations") => vec![f64::from(o.iterations)],
            ("option", "solver") => vec![f64::from(o.solver)],
            ("option", "cone") => vec![f64::from(o.cone)],
            ("option", "disableflags") => vec![f64::from(o.disableflags)],
            ("size", name) => vec![size(m, name) as f64],
            ("dof", "armature") => m.dof_armature().to_vec(),
            ("dof", "damping") => m.dof_damping().to_vec(),
            ("dof", "frictionloss") => m.dof_frictionloss().to_vec(),
            ("qpos0", _) => m.qpos0().to_vec(),
            ("qpos_spring", _) => m.qpos_spring().to_vec(),
            ("exclude", _) => {
                let mut pairs: Vec<f64> =
                    m.exclude_signature().iter().map(|&s| f64::from(s)).collect();
                pairs.sort_by(f64::total_cmp);
                pairs
            }
            ("actuator", _) if m.nu() == 0 => Vec::new(),
            other => panic!("field {other:?}"),
        }
    }

    /// A field of one body, joint, geom, site, actuator or equality.
    fn part(&self, section: &str, i: usize, field: &str) -> Vec<f64> {
        let m = self.model;
        let one = |x: i32| vec![f64::from(x)];
        match (section, field) {
            ("body", "parent") => one(m.body_parentid()[i]),
            ("body", "mass") => vec![m.body_mass()[i]],
            ("body", "inertia") => m.body_inertia()[i].to_vec(),
            ("body", "pos") => m.body_pos()[i].to_vec(),
            ("body", "quat") => m.body_quat()[i].to_vec(),
            ("body", "ipos") => m.body_ipos()[i].to_vec(),
            ("body", "iquat") => m.body_iquat()[i].to_vec(),
            ("body", "mocap") => one(i32::from(m.body_mocapid()[i] >= 0)),
            ("joint", "type") => one(m.jnt_type()[i] as i32),
            ("joint", "body") => one(m.jnt_bodyid()[i]),
            ("joint", "axis") => m.jnt_axis()[i].to_vec(),
            ("joint", "pos") => m.jnt_pos()[i].to_vec(),
            ("joint", "range") => m.jnt_range()[i].to_vec(),
            ("joint", "limited") => one(i32::from(m.jnt_limited()[i])),
            ("joint", "stiffness") => vec![m.jnt_stiffness()[i]],
            ("joint", "margin") => vec![m.jnt_margin()[i]],
            ("joint", "solref") => m.jnt_solref()[i].to_vec(),
            ("joint", "solimp") => m.jnt_solimp()[i].to_vec(),
            ("geom", "type") => one(m.geom_type()[i] as i32),
            ("geom", "body") => one(m.geom_bodyid()[i]),
            ("geom", "size") => m.geom_size()[i].to_vec(),
            ("geom", "pos") => m.geom_pos()[i].to_vec(),
            ("geom", "quat") => m.geom_quat()[i].to_vec(),
            ("geom", "aabb_center_halfsize") => m.geom_aabb()[i].to_vec(),
            ("geom", "friction") => m.geom_friction()[i].to_vec(),
            ("geom", "condim") => one(m.geom_condim()[i]),
            ("geom", "contype") => one(m.geom_contype()[i]),
            ("geom", "conaffinity") => one(m.geom_conaffinity()[i]),
            ("geom", "margin") => vec![m.geom_margin()[i]],
            ("geom", "gap") => vec![m.geom_gap()[i]],
            ("geom", "solref") => m.geom_solref()[i].to_vec(),
            ("geom", "solimp") => m.geom_solimp()[i].to_vec(),
            ("geom", "priority") => one(m.geom_priority()[i]),
            ("site", "body") => one(m.site_bodyid()[i]),
            ("site", "pos") => m.site_pos()[i].to_vec(),
            ("actuator", "gear") => m.actuator_gear()[i][..1].to_vec(),
            ("actuator", "ctrlrange") => m.actuator_ctrlrange()[i].to_vec(),
            ("actuator", "limited") => one(i32::from(m.actuator_ctrllimited()[i])),
            ("actuator", "joint") => one(m.actuator_trnid()[i][0]),
            ("equality", "type") => one(m.eq_type()[i] as i32),
            ("equality", "body1") => one(m.eq_obj1id()[i]),
            ("equality", "body2") => one(m.eq_obj2id()[i]),
            ("equality", "solref") => m.eq_solref()[i].to_vec(),
            ("equality", "solimp") => m.eq_solimp()[i].to_vec(),
            // One number has been added since the reference was taken.
            ("equality", "data") => m.eq_data()[i][..11].to_vec(),
            other => panic!("field {other:?}"),
        }
    }
}

fn size(m: &MjModel, name: &str) -> usize {
    let n = match name {
        "nq" => m.nq(),
        "nv" => m.nv(),
        "nu" => m.nu(),
        "nbody" => m.nbody(),
        "ngeom" => m.ngeom(),
        "njnt" => m.njnt(),
        "ntendon" => m.ntendon(),
        "neq" => m.neq(),
        "nexclude" => m.nexclude(),
        "nmocap" => m.nmocap(),
        other => panic!("size {other}"),
    };
    n as usize
}

/// All numbers of a field; names of geom types count as MuJoCo's numbers for them.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Bool(b) => vec![f64::from(u8::from(*b))],
        Value::String(kind) => vec![match kind.as_str() {
            "plane" => 0.0,
            "box" => 6.0,
            other => panic!("geom type {other}"),
        }],
        number => vec![number.as_f64().unwrap()],
    }
}
