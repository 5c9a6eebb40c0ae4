//! Pictures: drawn where EGL is to be had, and a clear refusal where it is not.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use sog_runtime::{
    io::{Command, RobotIo},
    os::files::Outputs,
};
use sog_sim::{
    render::{FilmFiles, FilmKind, Frame, Reel, RenderError, Renderer, circles_scene},
    robot::{Recording, SimRobot},
    tasks::{TaskOptions, make},
};

/// What a result is where there is EGL; `None`, checked to say what to do, where there is not.
fn with_egl<T>(result: Result<T, RenderError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error @ (RenderError::NoEgl { .. } | RenderError::Egl { .. })) => {
            assert!(error.to_string().contains("libgl1-mesa-dri"), "{error}");
            eprintln!("not drawn: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn recorded(id: &str, steps: usize) -> (SimRobot, Recording) {
    let mut robot = SimRobot::new(make(id, &TaskOptions::default()).unwrap(), 3).unwrap();
    robot.record(steps);
    let action = vec![0.3; robot.spec().action_dim()];
    for _ in 0..steps {
        robot.write(Command::Act(&action)).unwrap();
    }
    let recording = robot.take_recording().unwrap();
    (robot, recording)
}

/// How many pixels of these rows look different.
fn changed(a: &Frame, b: &Frame, rows: std::ops::Range<usize>) -> usize {
    let rows = rows.start * a.width as usize * 3..rows.end * a.width as usize * 3;
    let differ = |(a, b): &(&[u8], &[u8])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 16);
    a.rgb[rows.clone()].chunks(3).zip(b.rgb[rows].chunks(3)).filter(differ).count()
}

fn colours(frame: &Frame) -> usize {
    let all: std::collections::HashSet<&[u8]> = frame.rgb.chunks(3).collect();
    all.len()
}

#[test]
fn a_robot_moves_in_its_picture_and_the_caption_is_there() {
    let task = make("ant-dir-6", &TaskOptions::default()).unwrap();
    let model = task.physics().unwrap().model();
    let Some(mut renderer) = with_egl(Renderer::new(model, (160, 120))) else { return };
    let mut qpos = model.qpos0().to_vec();
    let rest = renderer.draw(&qpos, "").unwrap();
    assert_eq!((rest.width, rest.height, rest.rgb.len()), (160, 120, 160 * 120 * 3));
    assert!(colours(&rest) > 50, "{} colours", colours(&rest));

    assert_eq!(changed(&renderer.draw(&qpos, "").unwrap(), &rest, 0..120), 0);

    let captioned = renderer.draw(&qpos, "code 3: 180°").unwrap();
    assert!(changed(&captioned, &rest, 0..20) > 200, "the caption is at the top");
    assert_eq!(changed(&captioned, &rest, 60..120), 0, "and not at the bottom");

    qpos[7] += 0.5;
    let stepped = renderer.draw(&qpos, "").unwrap();
    assert!(changed(&stepped, &rest, 0..120) > 100, "a leg has moved");
    // The camera follows: two tiles further it sees the same ant in the same place.
    (qpos[7], qpos[0]) = (qpos[7] - 0.5, 2.0);
    let further = renderer.draw(&qpos, "").unwrap();
    assert!(changed(&further, &rest, 50..70) < 200, "the torso is in the middle again");

    let error = renderer.draw(&[0.0; 3], "").unwrap_err().to_string();
    assert_eq!(error, "a state of 3 positions, the robot has 15");
}

#[test]
fn films_of_every_kind_of_robot_can_be_drawn() {
    let directory = tempfile::tempdir().unwrap();
    for id in ["circles", "walker2d-vel-6", "humanoid-dir-6", "fetchreach"] {
        let (robot, recording) = recorded(id, 6);
        let reel = Reel::of(robot.task(), &recording, &[1.3, 0.8, 0.5]);
        let path = directory.path().join(format!("{id}.gif"));
        let mut drawn = 0;
        let files = FilmFiles::claim(&mut Outputs::new(false), &path, 1).unwrap();
        let film = reel.draw(&files, (64, 48), "caption", &mut || drawn += 1);
        let Some(written) = with_egl(film) else { return };
        assert_eq!(written, path.display().to_string());
        let stride = (0.04 / robot.task().info().dt_s).round() as usize;
        assert_eq!(drawn, 7usize.div_ceil(stride.max(1)), "{id}");

        let file = fs::File::open(&path).unwrap();
        let mut gif = gif::DecodeOptions::new().read_info(file).unwrap();
        assert_eq!((gif.width(), gif.height()), (64, 48));
        let mut frames = 0;
        while let Some(frame) = gif.read_next_frame().unwrap() {
            assert!((2..=6).contains(&frame.delay), "{id}: {}", frame.delay);
            frames += 1;
        }
        assert_eq!(frames, drawn);
    }
}

#[test]
fn png_frames_are_numbered_and_right_side_up() {
    let directory = tempfile::tempdir().unwrap();
    let (robot, recording) = recorded("hopper-vel-6", 11);
    let reel = Reel::of(robot.task(), &recording, &[]);
    let path = directory.path().join("hop.png");
    let files = FilmFiles::claim(&mut Outputs::new(false), &path, Reel::frames_of(11, 0.008));
    let Some(_) = with_egl(reel.draw(&files.unwrap(), (64, 64), "", &mut || ())) else { return };
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    let file =
        std::io::BufReader::new(fs::File::open(directory.path().join("hop-0002.png")).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut rgb).unwrap();
    let blue = |row: usize| {
        let row = &rgb[row * 64 * 3..(row + 1) * 64 * 3];
        row.chunks(3).map(|p| i64::from(p[2]) - i64::from(p[0])).sum::<i64>()
    };
    assert!(blue(1) > blue(62), "the sky is above");
}

#[test]
fn the_scene_of_circles_shows_where_the_ball_is() {
    let Some(mut renderer) = with_egl(Renderer::new(&circles_scene(&[-10.0, 20.0]), (200, 200)))
    else {
        return;
    };
    let red_row = |frame: &Frame| {
        let red = |p: &[u8]| i32::from(p[0]) - i32::from(p[1]) > 60;
        let rows: Vec<usize> =
            frame.rgb.chunks(3).enumerate().filter(|(_, p)| red(p)).map(|(i, _)| i / 200).collect();
        assert!(!rows.is_empty());
        rows.iter().sum::<usize>() / rows.len()
    };
    let low = red_row(&renderer.draw(&[0.0, -20.0], "").unwrap());
    let high = red_row(&renderer.draw(&[0.0, 40.0], "").unwrap());
    assert!(high < 60 && low > 140, "{high} {low}");
}

#[test]
fn what_cannot_be_drawn_is_refused_by_name() {
    for name in ["film.avi", "film", ".gif.txt"] {
        let error = FilmKind::of(Path::new(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(".gif"), "{error}");
    }
    assert_eq!(FilmKind::of(Path::new("a/B.GIF")).unwrap(), FilmKind::Gif);
    let scene = circles_scene(&[10.0]);
    for size in [(0, 100), (100, 15), (101, 100), (100, 5000)] {
        let error = Renderer::new(&scene, size).err().unwrap();
        assert!(matches!(error, RenderError::Size { .. }), "{error}");
    }
    let nowhere = Path::new("/nowhere/film.gif");
    let error = FilmFiles::claim(&mut Outputs::new(true), nowhere, 1).unwrap_err();
    assert!(matches!(error, RenderError::Output(_)), "{error}");
    assert!(error.to_string().contains("/nowhere/film.gif"), "{error}");
}
