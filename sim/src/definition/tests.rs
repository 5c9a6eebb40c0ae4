//! Files that are faulty get an error with file, line and key; nothing panics.

use proptest::prelude::*;

use super::*;

/// A small task without faults.
pub(crate) const GOOD: &str = r#"schema = "sog.task/1"
name = "reacher-detour"
dt = 0.02
horizon = 150

[[observation]]
name = "joint_pos"
width = 2
qpos = ["shoulder", "elbow"]

[[action]]
name = "joint_torque"
width = 2
low = -1.0
high = [1.0, 2.0]
unit = "N m"
actuator = ["shoulder_motor", "elbow_motor"]

[sim]
model = "robot.xml"
frame_skip = 10
keyframe = "home"
[sim.reset]
qpos = [{ uniform = 0.05 }, { joint = "elbow", uniform = 0.2 }]
qvel = { normal = 0.01 }

[[sim.terminate]]
of = "torso.z"
below = 0.2

[[mode]]
name = "left"
reward = "-distance(tip, goal)"
success = { of = "distance(tip, goal)", below = 0.05 }

[plot]
path = ["tip.x", "tip.y"]
[train]
"network.hidden" = 128
"#;

fn parse(text: &str) -> Result<Definition, DefinitionError> {
    Definition::parse("arm/task.toml", text)
}

#[test]
fn a_good_file_is_read() {
    let task = parse(GOOD).unwrap();
    assert_eq!(task.obs_terms().unwrap().to_string(), "joint_pos:2");
    assert_eq!((task.action_low(), task.action_high()), (vec![-1.0; 2], vec![1.0, 2.0]));
    let sim = task.sim.as_ref().unwrap();
    assert_eq!(sim.frame_skip, 10);
    assert_eq!(sim.reset_qpos[1].kind, NoiseKind::Uniform(0.2));
    assert_eq!(sim.terminate[0].low, Some(0.2));
    let success = task.modes[0].success.as_ref().unwrap();
    assert_eq!((success.low, success.high), (None, Some(0.05)));
    assert_eq!(task.train["network.hidden"].as_integer(), Some(128));
}

/// What is replaced by what, the line of the fault, and what the message says.
#[rustfmt::skip]
const FAULTS: &[(&str, &str, usize, &[&str])] = &[
    ("schema = \"sog.task/1\"\n", "", 1, &["`schema`", "is missing"]),
    ("sog.task/1", "sog.task/2", 1, &["`schema`", "need \"sog.task/1\""]),
    ("reacher-detour", "Reacher Detour", 2, &["`name`", "a-z, 0-9 and -"]),
    ("dt = 0.02", "dt = 0", 3, &["`dt`", "a number above 0"]),
    ("dt = 0.02", "dt = nan", 3, &["`dt`", "a number above 0"]),
    ("horizon = 150", "horizon = -3", 4, &["`horizon`", "found -3", "a whole number"]),
    ("horizon = 150", "horizon = \"long\"", 4, &["`horizon`", "the text \"long\""]),
    ("horizon = 150", "horizont = 150", 4, &["`horizont`", "did you mean `horizon`?"]),
    ("width = 2\nqpos", "widht = 2\nqpos", 8, &["`observation[0].widht`", "did you mean `width`?"]),
    ("width = 2\nqpos", "width = 3.5\nqpos", 8, &["`observation[0].width`", "found 3.5"]),
    ("width = 2\nqpos = [\"shoulder\", \"elbow\"]", "width = 3\nqpos = \"0..2\"", 6,
        &["`observation[0]`", "width 3", "gives 2"]),
    ("qpos = [\"shoulder\", \"elbow\"]", "qpos = []", 9, &["`observation[0].qpos`", "empty"]),
    ("qpos = [\"shoulder\", \"elbow\"]", "qpos = \"3..1\"", 9, &["`observation[0].qpos`", "3..1 is empty"]),
    ("qpos = [\"shoulder\", \"elbow\"]", "qpos = \"a..b\"", 9, &["`observation[0].qpos`", "no index"]),
    ("qpos = [\"shoulder\", \"elbow\"]", "", 6, &["`observation[0]`", "has no source"]),
    ("qpos = [\"shoulder\", \"elbow\"]", "qpos = \"all\"\nqvel = \"all\"", 10,
        &["`observation[0].qvel`", "already has the source `qpos`"]),
    ("qpos = [\"shoulder\", \"elbow\"]", "qpos = \"all\"\nframe = \"body\"", 10, &["`observation[0].frame`", "no vector"]),
    ("name = \"joint_pos\"", "name = \"joint pos\"", 7, &["`observation[0].name`", "a blank"]),
    ("name = \"joint_pos\"", "name = 3", 7, &["`observation[0].name`", "found 3"]),
    ("low = -1.0", "low = 1.5", 14, &["`action[0].low`", "component 0", "not below"]),
    ("low = -1.0", "low = [-1.0, -1.0, -1.0]", 14, &["`action[0].low`", "3 numbers"]),
    ("low = -1.0", "low = -inf", 14, &["`action[0].low`", "need a number"]),
    ("low = -1.0\n", "", 11, &["`action[0].low`", "is missing"]),
    ("actuator = [\"shoulder_motor\", \"elbow_motor\"]", "actuator = [\"shoulder_motor\"]", 17,
        &["`action[0].actuator`", "names 1 actuators, the term is 2 wide"]),
    ("actuator = [\"shoulder_motor\", \"elbow_motor\"]", "", 11, &["`action[0]`", "moves nothing"]),
    ("model = \"robot.xml\"", "", 19, &["`sim`", "need one of `model`"]),
    ("model = \"robot.xml\"", "model = \"robot.xml\"\nexternal = \"udp://127.0.0.1:1\"", 19, &["`sim`", "need one of `model`"]),
    ("frame_skip = 10", "frame_skip = 0", 21, &["`sim.frame_skip`", "found 0"]),
    ("{ joint = \"elbow\", uniform = 0.2 }", "{ joint = \"elbow\" }", 24, &["`sim.reset.qpos[1]`", "`uniform` and `normal`"]),
    ("{ normal = 0.01 }", "{ gaussian = 0.01 }", 25, &["`sim.reset.qvel`"]),
    ("below = 0.2", "outside = [3, 1]", 29, &["`sim.terminate[0].outside`", "low below high"]),
    ("below = 0.2", "under = 0.2", 27, &["`sim.terminate[0]`", "`below`"]),
    ("name = \"left\"", "", 31, &["`mode[0].name`", "is missing"]),
    ("reward = \"-distance(tip, goal)\"", "reward = { degrees = 60 }", 33, &["`mode[0].reward.rust`", "is missing"]),
    ("path = [\"tip.x\", \"tip.y\"]", "path = [\"tip.x\"]", 37, &["`plot.path`", "need two"]),
    ("[train]", "[trian]", 38, &["`trian`", "did you mean `train`?"]),
    ("[train]", "[train", 38, &["not TOML"]),
    ("[plot]", "[[mode]]\nname = \"left\"\n[plot]", 36, &["`mode[1]`", "two modes are called `left`"]),
    ("[[action]]", "[[observation]]\nname = \"joint_pos\"\nqvel = \"all\"\n[[action]]", 11,
        &["`observation[1]`", "two terms are called `joint_pos`"]),
];

#[test]
fn a_fault_is_told_with_file_line_and_key() {
    for (what, by, line, needed) in FAULTS {
        assert!(GOOD.contains(what), "{what}");
        let text = GOOD.replacen(what, by, 1);
        let error = parse(&text).expect_err(by);
        let message = error.to_string();
        assert!(message.starts_with("arm/task.toml:"), "{message}");
        assert_eq!(error.at.line, *line, "{message}");
        for part in *needed {
            assert!(message.contains(part), "`{message}` should contain `{part}` ({by})");
        }
    }
}

#[test]
fn empty_lists_and_a_missing_part_are_faults() {
    for (text, needed) in [
        ("", "`schema`: is missing"),
        (
            "schema = \"sog.task/1\"\nname = \"a\"\ndt = 1\nhorizon = 1\n",
            "`observation`: is missing",
        ),
        (
            "schema = \"sog.task/1\"\nname = \"a\"\ndt = 1\nhorizon = 1\nobservation = []\n",
            "`observation`: the list is empty",
        ),
        (
            "schema = \"sog.task/1\"\nname = \"a\"\ndt = 1\nhorizon = 1\naction = []\n\
             [[observation]]\nname = \"x\"\nwidth = 1\n",
            "task.toml:5: `action`: the list is empty",
        ),
        (
            "schema = \"sog.task/1\"\nname = \"a\"\ndt = 1\nhorizon = 1\n\
             [[observation]]\nname = \"x\"\n[[action]]\nname = \"u\"\nlow = 0\nhigh = 1\n",
            "task.toml:5: `observation[0]`: `x` needs a width",
        ),
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(needed), "`{message}` should contain `{needed}`");
    }
}

#[test]
fn a_task_without_a_simulator_has_terms_and_bounds() {
    let text = "schema = \"sog.task/1\"\nname = \"own\"\ndt = 0.05\nhorizon = 100\n\
        [[observation]]\nname = \"pose\"\nwidth = 3\n[[observation]]\nname = \"last\"\n\
        previous_action = true\nhistory = 2\n[[action]]\nname = \"twist\"\nwidth = 2\n\
        low = -0.5\nhigh = 0.5\n";
    let task = parse(text).unwrap();
    assert_eq!(task.obs_terms().unwrap().to_string(), "pose:3,last:4");
    assert_eq!((task.sim.clone(), task.action_dim()), (None, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damage_anywhere_is_an_error_or_another_task(at in 0..GOOD.len(), byte in 0u8..128) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[at] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Err(error) = parse(&text) {
            prop_assert!(error.at.line <= 1 + GOOD.lines().count());
        }
    }
}
