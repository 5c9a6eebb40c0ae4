//! The report finds what was put into a clean recording, where it was put, and nothing else.
#![allow(clippy::unwrap_used)] // a test may panic

use std::fmt::Write as _;

use sog_formats::{
    Recording,
    inspect::{Bounds, Finding, FindingKind, STILL, inspect, moving},
    read,
};

const STEPS: usize = 120;

/// `[t, x, y, u]` of every step of every episode.
type Rows = Vec<Vec<[f64; 4]>>;

/// Eight smooth episodes that differ.
fn clean() -> Rows {
    let row = |n: usize, t: usize| {
        // In no order, as people demonstrate.
        let (time, n) = (t as f64 * 0.02, [0.0, 5.0, 2.0, 7.0, 4.0, 1.0, 6.0, 3.0][n]);
        let phase = 2.0 * time + 0.3 * n;
        [time, phase.sin(), 0.5 * phase.cos() + 0.1 * n, (1.3 * phase).sin()]
    };
    (0..8).map(|n| (0..STEPS).map(|t| row(n, t)).collect()).collect()
}

fn recording(rows: &Rows) -> Recording {
    let folder = tempfile::tempdir().unwrap();
    for (n, episode) in rows.iter().enumerate() {
        let mut text = String::from("t,obs.x,obs.y,action\n");
        for [t, x, y, u] in episode {
            writeln!(text, "{t},{x},{y},{u}").unwrap();
        }
        std::fs::write(folder.path().join(format!("e_{n}.csv")), text).unwrap();
    }
    read(folder.path(), None).unwrap()
}

fn findings(change: impl FnOnce(&mut Rows)) -> Vec<Finding> {
    let mut rows = clean();
    change(&mut rows);
    inspect(&recording(&rows), &[]).findings
}

fn only(kind: FindingKind, change: impl FnOnce(&mut Rows)) -> Finding {
    let found = findings(change);
    assert!(!found.is_empty(), "{kind:?} is not found");
    assert!(found.iter().all(|f| f.kind == kind), "{found:#?}");
    found[0].clone()
}

#[test]
fn a_clean_recording_gives_numbers_and_no_finding() {
    let report = inspect(&recording(&clean()), &[]);
    assert_eq!(report.findings, []);
    assert_eq!((report.episodes, report.steps, report.lengths), (8, 8 * STEPS, [STEPS; 3]));
    let rate = report.rate.unwrap();
    assert!((rate.dt_s - 0.02).abs() < 1e-9 && rate.jitter_s < 1e-9, "{rate:?}");
    let text = report.to_string();
    assert!(text.contains("50.0 Hz") && text.contains("nothing out of line"), "{text}");
}

#[test]
fn each_fault_is_found_where_it_is() {
    let jump = only(FindingKind::Jump, |rows| rows[3][50][1] += 2.0);
    assert_eq!((jump.episode, jump.step), (Some(3), Some(50)));

    let glued = only(FindingKind::Jump, |rows| {
        let mut second = rows.remove(7);
        for row in &mut second {
            row[0] += STEPS as f64 * 0.02;
            row[1] += 3.0;
            row[2] += 3.0;
            row[3] -= 3.0;
        }
        rows[6].extend(second);
    });
    assert_eq!((glued.episode, glued.step), (Some(6), Some(STEPS)));
    assert!(glued.advice.contains("an episode may end there"), "{glued}");

    let wrap = only(FindingKind::Jump, |rows| {
        for (t, row) in rows[2].iter_mut().enumerate() {
            row[1] += if t >= 70 { -std::f64::consts::TAU } else { 0.0 };
        }
    });
    assert!(wrap.advice.contains("wraps"), "{wrap}");

    let twice = only(FindingKind::Duplicate, |rows| rows[5] = rows[1].clone());
    assert_eq!((twice.episode, twice.what.as_str()), (Some(5), "the same as episode 1"));

    let back = only(FindingKind::TimeRunsBack, |rows| rows[4][9][0] = 0.05);
    assert_eq!((back.episode, back.step), (Some(4), Some(9)));

    let gap = only(FindingKind::TimeGap, |rows| {
        rows[4][60..].iter_mut().for_each(|row| row[0] += 0.5);
    });
    assert_eq!((gap.episode, gap.step), (Some(4), Some(59)));

    let short = only(FindingKind::Short, |rows| rows[6].truncate(12));
    assert_eq!(short.episode, Some(6));

    let idle = only(FindingKind::Idle, |rows| {
        let [_, x, y, _] = rows[0][80];
        for row in &mut rows[0][80..] {
            (row[1], row[2]) = (x, y);
        }
    });
    assert_eq!(idle.episode, Some(0));
    assert!(idle.what.contains("last 39 of 120") || idle.what.contains("last 40"), "{idle}");

    let constant = only(FindingKind::Constant, |rows| {
        rows.iter_mut().flatten().for_each(|row| row[2] = 0.7);
    });
    assert_eq!(constant.column.as_deref(), Some("obs.y[0]"));

    let nearly = only(FindingKind::NearlyConstant, |rows| {
        rows.iter_mut().flatten().for_each(|row| row[2] = 0.7 + 1e-5 * row[1]);
    });
    assert_eq!(nearly.column.as_deref(), Some("obs.y[0]"));

    let nan = only(FindingKind::NotFinite, |rows| rows[1][7][3] = f64::NAN);
    assert_eq!((nan.episode, nan.step), (Some(1), Some(7)));
}

#[test]
fn shuffled_steps_and_turned_axes_are_found() {
    let shuffled = findings(|rows| {
        for episode in rows.iter_mut() {
            // 37 and 120 have no common factor: every step once.
            let from = episode.clone();
            for (t, row) in episode.iter_mut().enumerate() {
                let time = row[0];
                *row = from[t * 37 % STEPS];
                row[0] = time;
            }
        }
    });
    assert!(shuffled.iter().any(|f| f.kind == FindingKind::NoOrder), "{shuffled:#?}");
    let turned = findings(|rows| {
        let from = rows.clone();
        for (n, episode) in rows.iter_mut().enumerate() {
            for (t, row) in episode.iter_mut().enumerate() {
                let at = n * STEPS + t;
                let time = row[0];
                *row = from[at % 8][at / 8];
                row[0] = time;
            }
        }
    });
    assert!(turned.iter().any(|f| f.kind == FindingKind::NoOrder), "{turned:#?}");
}

#[test]
fn bounds_are_held_against_the_numbers() {
    let mut rows = clean();
    rows.iter_mut().flatten().for_each(|row| row[3] = row[3].clamp(-0.8, 0.8));
    let bounds = |high: f64| {
        vec![Bounds { column: "action".to_string(), low: vec![-high], high: vec![high] }]
    };
    let report = inspect(&recording(&rows), &bounds(0.8));
    let [found] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!(found.kind, FindingKind::AtBound);
    let component = report.components.iter().find(|c| c.column == "action").unwrap();
    assert!(component.at_bound > 0.3 && component.beyond == 0.0, "{component:?}");
    let report = inspect(&recording(&rows), &bounds(0.5));
    let [found] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!(found.kind, FindingKind::BeyondBounds);
}

#[test]
fn idle_ends_are_measured() {
    let mut rows = clean();
    let [_, x, y, _] = rows[2][30];
    rows[2][..30].iter_mut().for_each(|row| (row[1], row[2]) = (x, y));
    let ranges = moving(&recording(&rows), STILL);
    assert!((28..=31).contains(&ranges[2].start) && ranges[2].end >= STEPS - 1, "{ranges:?}");
    rows[5].iter_mut().for_each(|row| (row[1], row[2]) = (0.1, 0.2));
    assert_eq!(moving(&recording(&rows), STILL)[5], 0..1);
}
