//! Terms against formulas written out independently, and against each other.

use super::*;
use alloc::{format, string::String};
use proptest::prelude::*;

const DT_S: f64 = 0.02;

fn compile(specs: &[TermSpec], raw: usize) -> TermProgram {
    let widths = TermWidths { raw, action: 3, commands: 2 };
    TermProgram::compile(specs, widths, DT_S).unwrap()
}

fn inputs(raw: &[f64], step: u64) -> TermInputs<'_> {
    TermInputs { raw, previous_action: &[0.1, 0.2, 0.3], commands: &[7.0, -8.0], step }
}

/// One observation of a fresh state.
fn once(spec: TermSpec, raw: &[f64], step: u64) -> Vec<f64> {
    let program = compile(&[spec], raw.len());
    let mut out = vec![0.0; program.width()];
    program.observe(&mut program.state(), &inputs(raw, step), &mut out).unwrap();
    out
}

/// The rotation matrix of a quaternion of length one, from the textbook.
fn matrix([w, x, y, z]: [f64; 4]) -> [[f64; 3]; 3] {
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

fn transposed_times(m: [[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|j| m[0][j] * v[0] + m[1][j] * v[1] + m[2][j] * v[2])
}

/// IsaacGym's `quat_rotate_inverse`, here with w first:
/// v·(2w² − 1) − 2w·(q⃗ × v) + 2·q⃗·(q⃗·v).
fn isaac_rotate_inverse([w, x, y, z]: [f64; 4], v: [f64; 3]) -> [f64; 3] {
    let q = [x, y, z];
    let cross = [q[1] * v[2] - q[2] * v[1], q[2] * v[0] - q[0] * v[2], q[0] * v[1] - q[1] * v[0]];
    let dot = q[0] * v[0] + q[1] * v[1] + q[2] * v[2];
    [0, 1, 2].map(|i| v[i] * (2.0 * w * w - 1.0) - 2.0 * w * cross[i] + 2.0 * q[i] * dot)
}

fn quaternions() -> impl Strategy<Value = [f64; 4]> {
    prop::array::uniform4(-1.0..1.0f64)
        .prop_filter("long enough", |q| q.iter().map(|v| v * v).sum::<f64>() > 0.01)
}

fn unit(q: [f64; 4]) -> [f64; 4] {
    let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    q.map(|v| v / length)
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12 * (1.0 + b.abs()))
}

proptest! {
    #[test]
    fn plain_copies_are_the_same_bits(bits in prop::collection::vec(any::<u64>(), 1..40), split in 0usize..40) {
        let raw: Vec<f64> = bits.iter().map(|&b| f64::from_bits(b)).collect();
        let split = split.min(raw.len() - 1);
        let mut specs = vec![TermSpec::new("tail", Source::raw(split..raw.len()))];
        if split > 0 {
            specs.insert(0, TermSpec::new("head", Source::raw(0..split)));
        }
        let program = compile(&specs, raw.len());
        prop_assert_eq!(program.ops.len(), 1, "neighbours are one copy");
        let mut out = vec![0.0; program.width()];
        program.observe(&mut program.state(), &inputs(&raw, 0), &mut out).unwrap();
        prop_assert_eq!(out.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);
    }

    #[test]
    fn vectors_turn_into_the_body_as_the_textbook_says(q in quaternions(), v in prop::array::uniform3(-10.0..10.0f64)) {
        let raw: Vec<f64> = q.into_iter().chain(v).collect();
        let source = Source::InBody { vector: [4, 5, 6], quaternion: [0, 1, 2, 3] };
        let found = once(TermSpec::new("v", source), &raw, 0);
        prop_assert!(close(&found, &transposed_times(matrix(unit(q)), v)), "{:?}", found);
        let source = Source::InWorld { vector: [4, 5, 6], quaternion: [0, 1, 2, 3] };
        let raw: Vec<f64> = q.into_iter().chain(transposed_times(matrix(unit(q)), v)).collect();
        let found = once(TermSpec::new("v", source), &raw, 0);
        prop_assert!(close(&found, &v), "and back: {:?}", found);
    }

    #[test]
    fn gravity_is_as_isaac_gym_has_it(q in quaternions()) {
        let source = Source::ProjectedGravity { quaternion: [0, 1, 2, 3] };
        let found = once(TermSpec::new("g", source), &q, 0);
        prop_assert!(close(&found, &isaac_rotate_inverse(unit(q), [0.0, 0.0, -1.0])), "{:?}", found);
    }

    #[test]
    fn phases_turn_at_their_frequency(hz in 0.01..30.0f64, step in 0u64..100_000) {
        let found = once(TermSpec::new("phase", Source::Phase { hz }), &[], step);
        let angle = 2.0 * core::f64::consts::PI * hz * step as f64 * DT_S;
        prop_assert!((found[0] - angle.sin()).abs() < 1e-8 && (found[1] - angle.cos()).abs() < 1e-8);
    }

    #[test]
    fn a_history_shows_the_last_steps_oldest_first(
        rows in prop::collection::vec(prop::array::uniform2(-5.0..5.0f64), 1..12),
        history in 1usize..6,
    ) {
        let spec = TermSpec {
            minus: vec![1.0, -1.0],
            scale: vec![2.0],
            clip: Some([-6.0, 7.0]),
            history,
            ..TermSpec::new("x", Source::Raw(vec![1, 0]))
        };
        let program = compile(&[spec], 2);
        let mut state = program.state();
        let shown = |row: &[f64; 2]| {
            [(row[1] - 1.0) * 2.0, (row[0] + 1.0) * 2.0].map(|v| v.clamp(-6.0, 7.0))
        };
        let mut out = vec![0.0; program.width()];
        for episode in 0..2 {
            for (t, row) in rows.iter().enumerate() {
                // Observed twice: a step takes the place of itself.
                let step = (100 * episode + t) as u64;
                program.observe(&mut state, &inputs(&[0.0, 0.0], step), &mut out).unwrap();
                if t == 0 {
                    state.reset();
                }
                program.observe(&mut state, &inputs(row, step), &mut out).unwrap();
                let expected: Vec<f64> = (0..history)
                    .flat_map(|back| shown(&rows[t.saturating_sub(history - 1 - back)]))
                    .collect();
                prop_assert!(close(&out, &expected), "{:?} {:?}", out, expected);
            }
            state.reset();
        }
    }
}

#[test]
fn gravity_points_down_in_a_body_that_is_upright_or_lies_on_its_side() {
    let half = core::f64::consts::FRAC_1_SQRT_2;
    // Turned by 90° about x, the body's y axis points up in the world.
    for (q, expected) in [
        ([1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0]),
        ([half, half, 0.0, 0.0], [0.0, -1.0, 0.0]),
        ([half, 0.0, half, 0.0], [1.0, 0.0, 0.0]),
        ([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0]),
    ] {
        assert!(close(&frame::projected_gravity(q), &expected), "{q:?}");
    }
    assert!(frame::projected_gravity([0.0; 4]).iter().all(|v| v.is_nan()));
}

#[test]
fn order_is_minus_then_scale_then_clip_then_history() {
    let spec = TermSpec {
        minus: vec![1.0],
        scale: vec![10.0],
        clip: Some([-5.0, 15.0]),
        history: 2,
        ..TermSpec::new("x", Source::raw(0..2))
    };
    // (2 − 1)·10 = 10, (3 − 1)·10 = 20 → 15.
    assert_eq!(once(spec, &[2.0, 3.0], 0), [10.0, 15.0, 10.0, 15.0]);
}

#[test]
fn actions_and_commands_come_by_their_place() {
    assert_eq!(once(TermSpec::new("a", Source::PreviousAction), &[], 0), [0.1, 0.2, 0.3]);
    assert_eq!(once(TermSpec::new("c", Source::Command(vec![1, 0])), &[], 0), [-8.0, 7.0]);
}

#[test]
fn a_wrong_term_is_refused_by_name() {
    let good = TermSpec::new("x", Source::raw(0..2));
    let with = |change: fn(&mut TermSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        spec
    };
    let cases: [(TermSpec, &str); 16] = [
        (with(|s| s.name = String::new()), "name"),
        (with(|s| s.name = "a b".into()), "blanks"),
        (with(|s| s.name = "first".into()), "twice"),
        (with(|s| s.source = Source::raw(0..0)), "at least one"),
        (with(|s| s.source = Source::Raw(vec![0, 9])), "reading 9, but there are 7"),
        (with(|s| s.source = Source::Command(vec![2])), "slot 2, but there are 2"),
        (with(|s| s.source = Source::ProjectedGravity { quaternion: [4, 5, 6, 7] }), "reading 7"),
        (
            with(|s| {
                s.source = Source::InBody { vector: [0, 1, 8], quaternion: [0, 1, 2, 3] };
            }),
            "reading 8",
        ),
        (with(|s| s.source = Source::Phase { hz: 0.0 }), "0 Hz"),
        (with(|s| s.source = Source::Phase { hz: f64::NAN }), "NaN Hz"),
        (with(|s| s.minus = vec![0.0; 3]), "minus has 3"),
        (with(|s| s.scale = vec![1.0, f64::INFINITY]), "scale holds inf"),
        (with(|s| s.clip = Some([1.0, -1.0])), "clip = [1, -1]"),
        (with(|s| s.clip = Some([f64::NAN, 1.0])), "clip holds NaN"),
        (with(|s| s.history = 0), "history = 0"),
        (with(|s| s.history = usize::MAX), "65536"),
    ];
    let widths = TermWidths { raw: 7, action: 3, commands: 2 };
    for (spec, needle) in cases {
        let first = TermSpec::new("first", Source::raw(0..1));
        let error = TermProgram::compile(&[first, spec.clone()], widths, DT_S).unwrap_err();
        assert_eq!(error.term, spec.name);
        let text = format!("{error}");
        assert!(text.contains(&format!("term `{}`", spec.name)) && text.contains(needle), "{text}");
    }
    assert!(TermProgram::compile(&[good], widths, f64::NAN).is_err());
    let still = TermWidths { action: 0, ..widths };
    let none = TermSpec::new("a", Source::PreviousAction);
    assert_eq!(TermProgram::compile(&[none], still, DT_S).unwrap_err().problem, TermProblem::Empty);
}

#[test]
fn buffers_of_another_width_are_refused() {
    let program = compile(&[TermSpec { history: 2, ..TermSpec::new("x", Source::raw(0..2)) }], 2);
    let mut state = program.state();
    let mut out = [0.0; 4];
    let good = inputs(&[1.0, 2.0], 0);
    for (bad, what) in [
        (TermInputs { raw: &[1.0], ..good }, "raw readings: 1 numbers, need 2"),
        (TermInputs { previous_action: &[], ..good }, "previous action"),
        (TermInputs { commands: &[0.0; 3], ..good }, "commands"),
    ] {
        let error = program.observe(&mut state, &bad, &mut out).unwrap_err();
        assert!(format!("{error}").contains(what));
    }
    assert!(program.observe(&mut state, &good, &mut [0.0; 3]).is_err());
    let other = compile(&[TermSpec::new("x", Source::raw(0..2))], 2);
    assert!(program.observe(&mut other.state(), &good, &mut out).is_err());
    assert!(program.observe(&mut state, &good, &mut out).is_ok());
}
