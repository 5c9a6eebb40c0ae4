//! Columns become terms: names, stretches, units, rates, resampling, and what is refused.
#![allow(clippy::unwrap_used)] // a test may panic

use std::path::{Path, PathBuf};

use sog_formats::{
    Recording,
    mapping::{MapOptions, Mapped, Mapping, Term, map},
    read,
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn terms(terms: &[(&str, usize)]) -> Vec<Term> {
    terms.iter().map(|&(name, width)| Term { name: name.to_string(), width }).collect()
}

const OPTIONS: MapOptions<'_> = MapOptions { dt_s: 0.05, resample: false, labels: None };

fn mapped(
    recording: &Recording,
    obs: &[(&str, usize)],
    act: &[(&str, usize)],
    mappings: &[&str],
    options: MapOptions<'_>,
) -> Result<Mapped, String> {
    let mappings: Result<Vec<Mapping>, _> = mappings.iter().map(|m| m.parse()).collect();
    let mappings = mappings.map_err(|e| e.to_string())?;
    map(recording, &terms(obs), &terms(act), &mappings, &options).map_err(|e| e.to_string())
}

/// A table of one episode, sampled every 0.05 s: t, q0, q1 = 0.1 t, 2 t in degrees, way.
fn table(folder: &Path, rows: &str) -> Recording {
    let path = folder.join("arm.csv");
    std::fs::write(&path, format!("t,q0,q1,way\n{rows}")).unwrap();
    read(&path, None).unwrap()
}

#[test]
fn without_a_mapping_the_only_columns_of_each_side_are_taken() {
    let recording = read(&data("stacked.npz"), None).unwrap();
    let found = mapped(&recording, &[("pos", 3), ("vel", 2)], &[("force", 2)], &[], OPTIONS);
    let found = found.unwrap();
    let rows: Vec<usize> = found.episodes.iter().map(|e| e.length).collect();
    assert_eq!(rows, [6, 4, 5]);
    for (episode, from) in found.episodes.iter().zip(&recording.episodes) {
        let narrow = |data: &[f64]| data.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let at = |name: &str| recording.columns.iter().position(|c| c.name == name).unwrap();
        assert_eq!(episode.observations, narrow(&from.data[at("observations")]));
        assert_eq!(episode.actions, narrow(&from.data[at("actions")]));
    }
    assert!(found.notes.iter().any(|n| n.contains("after their last action")), "{found:?}");
}

#[test]
fn a_term_takes_no_column_of_the_other_side_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    // What fills the observation term and the action term `arm`, by the number of the column.
    let found = |columns: &str| {
        let path = folder.path().join("arm.csv");
        let count = columns.split(',').count();
        let row: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let rows = format!("{0}\n{0}\n", row.join(","));
        std::fs::write(&path, format!("{columns}\n{rows}")).unwrap();
        let recording = read(&path, None).unwrap();
        let one = |obs: &str, act: &str, map: &[&str]| {
            let found = mapped(&recording, &[(obs, 1)], &[(act, 1)], map, OPTIONS)?;
            Ok((found.episodes[0].observations[0], found.episodes[0].actions[0]))
        };
        let first = recording.columns[0].name.clone();
        let seen = one("arm", "u", &[&format!("u={first}")]).map(|(seen, _)| seen);
        let done = one("x", "arm", &[&format!("x={first}")]).map(|(_, done)| done);
        (seen, done)
    };
    for (columns, seen, done) in [
        ("actions/arm,observations/arm", 1.0, 0.0),
        ("observation.state.arm,action.arm", 0.0, 1.0),
        ("next_obs/arm,obs/arm,act/arm", 1.0, 2.0),
        // A side of its own comes before none, and the whole name before its end.
        ("arm,obs/arm,act/arm", 1.0, 2.0),
        ("robot/arm,act/arm,arm", 2.0, 1.0),
        ("robot/arm,q", 0.0, 0.0),
    ] {
        assert_eq!(found(columns), (Ok(seen), Ok(done)), "{columns}");
    }
    let unmapped = |side: &str, found: Result<f32, String>| {
        let needle = format!("nothing fills the {side} term `arm`");
        let error = found.unwrap_err();
        assert!(error.contains(&needle), "{error}");
    };
    unmapped("observation", found("q,act/arm").0);
    unmapped("observation", found("q,next_obs/arm").0);
    unmapped("action", found("q,next_obs/arm,obs/arm").1);
    let (seen, done) = found("obs/left/arm,act/arm,obs/right/arm");
    let error = seen.unwrap_err();
    let needle = "may be any of the columns `obs/left/arm`, `obs/right/arm`; say which";
    assert!(error.contains(needle) && error.contains("--map arm=COLUMN"), "{error}");
    assert_eq!(done, Ok(1.0));
}

#[test]
fn columns_that_nothing_is_made_of_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let recording = table(folder.path(), "0.00,0.0,0.0,1\n0.05,0.1,2.0,1\n0.10,0.2,4.0,1\n");
    let found = |labels| {
        let options = MapOptions { labels, ..OPTIONS };
        let found = mapped(&recording, &[("a", 1)], &[("b", 1)], &["a=q0", "b=q0"], options);
        found.unwrap().notes.join("\n")
    };
    assert!(found(None).contains("not used: `q1`, `way`;"), "{}", found(None));
    assert!(found(Some("way")).contains("not used: `q1`;"), "{}", found(Some("way")));
}

#[test]
fn columns_are_taken_by_name_by_stretch_and_by_number() {
    let recording = read(&data("csv"), None).unwrap();
    let found = mapped(
        &recording,
        &[("pos", 3), ("vel", 2)],
        &[("act", 2)],
        &["pos=obs[0..3]", "vel=obs_4,obs_3"],
        OPTIONS,
    );
    // `act` is filled by `act_0` and `act_1` only when it is said so.
    let message = found.unwrap_err();
    assert!(message.contains("action term `act`") && message.contains("--map act=COLUMN"));
    let maps = ["pos=obs[0..3]", "vel=obs_4,obs_3", "act=act"];
    let found =
        mapped(&recording, &[("pos", 3), ("vel", 2)], &[("act", 2)], &maps, OPTIONS).unwrap();
    let at = |name: &str| recording.columns.iter().position(|c| c.name == name).unwrap();
    let value = |name: &str| recording.episodes[2].data[at(name)][1] as f32;
    let row = ["obs_0", "obs_1", "obs_2", "obs_4", "obs_3"].map(value);
    assert_eq!(found.episodes[2].observations[5..10], row);
    assert_eq!(found.episodes[2].actions[2..4], [value("act_0"), value("act_1")]);
}

#[test]
fn units_next_steps_and_rates() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "0,1,0,3\n0.05,2,90,3\n0.1,4,180,3\n";
    let recording = table(folder.path(), rows);
    let found = mapped(
        &recording,
        &[("angle", 1), ("mm", 1)],
        &[("speed", 1), ("target", 1)],
        &["angle=q1:deg", "mm=q0:*0.001", "speed=rate(q0)", "target=next(q1)"],
        MapOptions { labels: Some("way"), ..OPTIONS },
    )
    .unwrap();
    let episode = &found.episodes[0];
    // The last step has no next one.
    assert_eq!((episode.length, episode.label), (2, Some(3)));
    assert_eq!(episode.observations, [0.0, 0.001, std::f32::consts::FRAC_PI_2, 0.002]);
    for (found, want) in episode.actions.iter().zip([20.0, 90.0, 40.0, 180.0]) {
        assert!((found - want).abs() < 1e-4, "{episode:?}");
    }
}

#[test]
fn several_steps_on() {
    let folder = tempfile::tempdir().unwrap();
    let recording = table(folder.path(), "0,1,0,3\n0.05,2,90,3\n0.1,4,180,3\n0.15,8,270,3\n");
    let found = |map: &str| mapped(&recording, &[("a", 1)], &[("b", 2)], &["a=q0", map], OPTIONS);
    let episode = &found("b=next(q0, 2),next( q1 ):*0.1").unwrap().episodes[0];
    assert_eq!(
        (&*episode.observations, &*episode.actions),
        (&[1.0, 2.0][..], &[4.0, 9.0, 8.0, 18.0][..])
    );
    // None is left where the episode is shorter.
    assert!(found("b=next(q0, 4),q1").unwrap().episodes[0].actions.is_empty());
    for wrong in ["0", "-1", "two", ""] {
        let error = found(&format!("b=next(q0, {wrong}),q1")).unwrap_err();
        assert!(error.contains(&format!("`{wrong}` steps on: need a whole number")), "{error}");
    }
}

#[test]
fn the_observation_after_the_last_action_gives_the_last_rate() {
    let recording = read(&data("stacked.npz"), None).unwrap();
    let maps = ["act=next(observations[0..2])"];
    let found = mapped(&recording, &[("obs", 5)], &[("act", 2)], &maps, OPTIONS).unwrap();
    assert_eq!(found.episodes[0].length, 6);
}

#[test]
fn resampling_follows_the_time_stamps() {
    let folder = tempfile::tempdir().unwrap();
    // q0 = 3 t with uneven stamps.
    let times = [0.0, 0.011, 0.019, 0.032, 0.04];
    let rows: String = times.iter().map(|t| format!("{t},{},{},1\n", 3.0 * t, -t)).collect();
    let recording = table(folder.path(), &rows);
    let maps = ["x=q0", "u=q1"];
    let refused = mapped(&recording, &[("x", 1)], &[("u", 1)], &maps, OPTIONS).unwrap_err();
    assert!(refused.contains("--resample"), "{refused}");
    let options = MapOptions { dt_s: 0.005, resample: true, labels: None };
    let found = mapped(&recording, &[("x", 1)], &[("u", 1)], &maps, options).unwrap();
    assert_eq!(found.episodes[0].length, 9);
    for (k, x) in found.episodes[0].observations.iter().enumerate() {
        assert!((x - 0.015 * k as f32).abs() < 1e-6);
    }
}

#[test]
fn an_episode_of_another_rate_is_refused_or_resampled() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, times: &[f64]| {
        let rows: String = times.iter().map(|t| format!("{t},{t}\n")).collect();
        std::fs::write(folder.path().join(name), format!("t,q\n{rows}")).unwrap();
    };
    let even = |n: u32, dt_s: f64| (0..n).map(|k| f64::from(k) * dt_s).collect::<Vec<f64>>();
    write("a_1.csv", &even(20, 0.05));
    // Neither jitter nor a gap is another rate.
    write("a_2.csv", &[0.0, 0.04, 0.1, 0.14, 0.2, 0.24, 0.3, 0.34, 0.4]);
    write("a_3.csv", &[0.0, 0.05, 0.1, 0.15, 0.65, 0.7, 0.75, 0.8]);
    let maps = ["x=q", "u=q"];
    let found = |resample| {
        let recording = read(folder.path(), None).unwrap();
        mapped(&recording, &[("x", 1)], &[("u", 1)], &maps, MapOptions { resample, ..OPTIONS })
    };
    assert_eq!(found(false).unwrap().episodes.len(), 3);
    write("a_4.csv", &even(5, 0.1));
    let error = found(false).unwrap_err();
    assert!(error.contains("episode `a_4`: a step takes 0.1 s, in the task 0.05 s"), "{error}");
    assert_eq!(found(true).unwrap().episodes[3].length, 9);

    // Stamps that count steps, beside the rate that the file states.
    let path = folder.path().join("counted.csv");
    std::fs::write(&path, "t,q\n0,1\n1,2\n2,3\n").unwrap();
    let mut recording = read(&path, None).unwrap();
    recording.dt_s = Some(0.05);
    assert!(mapped(&recording, &[("x", 1)], &[("u", 1)], &maps, OPTIONS).is_ok());
}

/// A file of one column `q` of 0, 1, 2 that states its period, or does not.
fn stated(folder: &Path, name: &str, dt: Option<&str>) {
    let bytes: Vec<u8> = [0.0_f64, 1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = safetensors::tensor::TensorView::new(safetensors::Dtype::F64, vec![3, 1], &bytes);
    let metadata = dt.map(|dt| [("dt".to_string(), dt.to_string())].into_iter().collect());
    let file = safetensors::serialize([("q", tensor.unwrap())], metadata).unwrap();
    std::fs::write(folder.join(name).with_extension("safetensors"), file).unwrap();
}

#[test]
fn files_that_say_other_rates_keep_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let found = |resample| {
        let recording = read(folder.path(), None).unwrap();
        let options = MapOptions { resample, ..OPTIONS };
        mapped(&recording, &[("x", 1)], &[("u", 1)], &["x=q", "u=q"], options)
    };
    let rows = || -> Vec<Vec<f32>> {
        found(true).unwrap().episodes.into_iter().map(|e| e.observations).collect()
    };
    let (same, twice) = (vec![0.0, 1.0, 2.0], vec![0.0, 0.5, 1.0, 1.5, 2.0]);
    stated(folder.path(), "a", Some("0.05"));
    stated(folder.path(), "b", Some("0.1"));
    let error = found(false).unwrap_err();
    assert!(error.contains("a step takes 0.1 s, in the task 0.05 s"), "{error}");
    assert_eq!(rows(), [same, twice.clone()]);
    // One that does not say it has that of the others.
    stated(folder.path(), "a", None);
    let error = found(false).unwrap_err();
    assert!(error.contains("a step takes 0.1 s, in the task 0.05 s"), "{error}");
    assert_eq!(rows(), [twice.clone(), twice]);
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = table(folder.path(), "0,1,2,3\n0.05,2,3,3\n0.1,4,5,4\n");
    let cases: [(&[&str], &str); 10] = [
        (&["x=q7", "u=q1"], "no column `q7`; columns and widths: `t` 1, `q0` 1"),
        (&["x=q[0..3]", "u=q1"], "column `q` has 2 components, 0..3 goes beyond"),
        (&["x=q", "u=q1"], "term `x` has 1 components, its source 2"),
        (&["y=q0", "u=q1"], "no term `y`, it has `x`, `u`"),
        (&["x=q0", "x=q1"], "mapped twice"),
        (&["x:q0"], "no `=`"),
        (&["x=q0[2..1]"], "nothing is in"),
        (&["x=q0[a]"], "no stretch"),
        (&["x=q0:inch"], "`:inch` is none of"),
        (&["x=q0:quat", "u=q1"], "4 components, its source 1"),
    ];
    for (maps, needle) in cases {
        let message = mapped(&good, &[("x", 1)], &[("u", 1)], maps, OPTIONS).unwrap_err();
        assert!(message.contains(needle), "`{needle}` is not in: {message}");
    }
    let maps = ["x=q0", "u=q1"];
    let labels = MapOptions { labels: Some("way"), ..OPTIONS };
    let message = mapped(&good, &[("x", 1)], &[("u", 1)], &maps, labels).unwrap_err();
    assert!(message.contains("column `way`: label 4 in step 2"), "{message}");

    let nan = table(folder.path(), "0,1,2,3\n0.05,NaN,3,3\n0.1,4,5,3\n");
    let message = mapped(&nan, &[("x", 1)], &[("u", 1)], &maps, OPTIONS).unwrap_err();
    let needle = "episode `arm`, column `q0`: NaN in step 1";
    assert!(message.contains(needle), "{message}");

    let back = table(folder.path(), "0,1,2,3\n0.05,1,3,3\n0.04,4,5,3\n0.1,4,5,3\n");
    let options = MapOptions { dt_s: 0.01, resample: true, labels: None };
    let message = mapped(&back, &[("x", 1)], &[("u", 1)], &maps, options).unwrap_err();
    assert!(message.contains("episode `arm`: time 0.04 s in row 2 follows 0.05 s"), "{message}");

    let nanoseconds = table(folder.path(), "0,1,2,3\n50000000,1,3,3\n100000000,4,5,3\n");
    let message = mapped(&nanoseconds, &[("x", 1)], &[("u", 1)], &maps, options).unwrap_err();
    let needle = "episode `arm`: 3 rows span 100000000 s, more than a hundred steps of 0.01 s";
    assert!(message.contains(needle) && message.contains("--time"), "{message}");

    let quaternion = ["x=q0,q1,q0,q1", "u=q1"];
    let message = mapped(&good, &[("x", 4)], &[("u", 1)], &quaternion, OPTIONS);
    assert!(message.is_ok(), "{message:?}");
    let recording = read(&data("savetxt.txt"), None).unwrap();
    let maps = ["x=data[0..4]:xyzw", "u=data[5]"];
    let message = mapped(&recording, &[("x", 4)], &[("u", 1)], &maps, OPTIONS).unwrap_err();
    assert!(message.contains("step 0 has a quaternion of length"), "{message}");
}

#[test]
fn a_number_becomes_its_sine_or_cosine() {
    let folder = tempfile::tempdir().unwrap();
    let recording = table(folder.path(), "0.0,0.5,30,0\n0.05,1.0,60,0\n0.1,1.5,90,0\n");
    let maps = ["wave=q1:deg:sin,q1:deg:cos", "u=q0"];
    let found = mapped(&recording, &[("wave", 2)], &[("u", 1)], &maps, OPTIONS).unwrap();
    let half = 0.75_f32.sqrt();
    let expected = [0.5, half, half, 0.5, 1.0, 0.0];
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
    assert!(found.episodes[0].observations.iter().zip(&expected).all(near), "{found:?}");
}
