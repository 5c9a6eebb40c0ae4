//! Robustness: returns over λ_S with and without random actions (paper, Fig. 7), and paths of an ant
//! whose code is switched (Fig. 6).

use std::path::{Path, PathBuf};

use plotters::{prelude::IntoLogRange, series::LineSeries};

use super::{
    Area, Drawn, Figure, FigureError, INK, Key, LABEL_PX, alike, axes, chart, colour, dashes, dot,
    legend, line, mark, number, save, titled,
};

/// Width and height of a panel in pixels.
const PANEL_PX: (u32, u32) = (620, 600);

/// One policy of a task, to be drawn at its λ_S.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRow {
    /// Task.
    pub task: String,
    /// λ_S; `None` for SOG-BC, whose returns are drawn as lines.
    pub lambda_s: Option<f64>,
    /// Mean return without and with random actions.
    pub returns: [f64; 2],
}

/// One task in both panels, scaled.
struct Curve {
    task: String,
    /// λ_S with the scores without and with random actions.
    points: Vec<(f64, [f64; 2])>,
    /// SOG-BC's scores.
    cloned: Option<[f64; 2]>,
}

struct Sweep {
    perturb: f64,
    curves: Vec<Curve>,
}

/// Draws returns over λ_S as `DIR/robustness.png` and `.svg`: 1 is a task's best return without
/// random actions, 0 what random actions alone get (`random`, task by task). Actions were random
/// with probability `perturb`.
///
/// # Errors
/// [`FigureError`].
pub fn draw_sweep(
    rows: &[SweepRow],
    random: &[(String, f64)],
    perturb: f64,
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    let curves = random
        .iter()
        .map(|(task, random)| {
            let rows = || rows.iter().filter(|r| r.task == *task);
            let best = rows().map(|r| r.returns[0]).fold(f64::NEG_INFINITY, f64::max);
            let scale = if best > *random { 1.0 / (best - random) } else { 0.0 };
            let score = |of: f64| (of - random) * scale;
            let both = |r: &SweepRow| r.returns.map(score);
            Curve {
                task: task.clone(),
                points: rows().filter_map(|r| Some((r.lambda_s?, both(r)))).collect(),
                cloned: rows().find(|r| r.lambda_s.is_none()).map(both),
            }
        })
        .collect();
    save(&Sweep { perturb, curves }, dir, "robustness")
}

impl Figure for Sweep {
    fn size(&self) -> (u32, u32) {
        (2 * PANEL_PX.0, PANEL_PX.1)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let task = |(i, curve): (usize, &Curve)| (curve.task.clone(), Key::Line(line(colour(i))));
        let mut entries: Vec<_> = self.curves.iter().enumerate().map(task).collect();
        if self.curves.iter().any(|curve| curve.cloned.is_some()) {
            entries.push(("SOG-BC".to_string(), Key::Dashes(line(INK))));
        }
        let area = legend(area, &entries)?;
        let random = format!("{:.0} % random actions", 100.0 * self.perturb);
        for (which, (panel, title)) in
            area.split_evenly((1, 2)).iter().zip(["its own actions", &random]).enumerate()
        {
            let panel = titled(panel, title, LABEL_PX)?;
            let mut chart =
                chart(&panel).build_cartesian_2d((0.008..1.25).log_scale(), -0.05..1.1)?;
            axes(&mut chart)
                .y_labels(7)
                .x_desc("λ_S")
                .y_desc("return, random 0, best without random actions 1")
                .x_label_formatter(&|x| format!("{x}"))
                .draw()?;
            for (i, curve) in self.curves.iter().enumerate() {
                let points = || curve.points.iter().map(|(l, scores)| (*l, scores[which]));
                chart.draw_series(LineSeries::new(points(), line(colour(i))))?;
                chart.draw_series(points().map(|at| dot(at, colour(i))))?;
                if let Some(cloned) = curve.cloned {
                    let level = [(0.01, cloned[which]), (1.0, cloned[which])];
                    chart.draw_series(dashes(level, line(colour(i))))?;
                }
            }
        }
        Ok(())
    }
}

/// The path of one episode, `(x, y)` in metres.
#[derive(Clone, Debug, PartialEq)]
pub struct Path2d {
    /// Start, and after each step.
    pub points: Vec<(f64, f64)>,
    /// Whether it ended too early.
    pub failed: bool,
}

/// Paths of each policy.
struct Switching<'a>(&'a [(String, Vec<Path2d>)]);

/// Draws the paths of episodes that switch codes, a panel for each policy, as `DIR/switching.png`
/// and `.svg`.
///
/// # Errors
/// [`FigureError`].
pub fn draw_switching(
    policies: &[(String, Vec<Path2d>)],
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    save(&Switching(policies), dir, "switching")
}

impl Figure for Switching<'_> {
    fn size(&self) -> (u32, u32) {
        (PANEL_PX.0 * self.0.len() as u32, PANEL_PX.1)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let all = || self.0.iter().flat_map(|(_, paths)| paths).flat_map(|p| p.points.clone());
        let reach = all().map(|(x, y)| x.abs().max(y.abs())).fold(1.0, f64::max);
        let failed = self.0.iter().flat_map(|(_, paths)| paths).any(|path| path.failed);
        let entries = failed.then(|| ("ended too early".to_string(), Key::Mark));
        let area = legend(area, entries.as_slice())?;
        for (panel, (title, paths)) in area.split_evenly((1, self.0.len())).iter().zip(self.0) {
            let panel = titled(panel, title, LABEL_PX)?;
            let (x, y) = alike(&panel, (-reach, reach), (-reach, reach));
            let mut chart = chart(&panel).build_cartesian_2d(x, y)?;
            axes(&mut chart)
                .x_desc("x / m")
                .y_desc("y / m")
                .x_label_formatter(&number)
                .y_label_formatter(&number)
                .draw()?;
            for (i, path) in paths.iter().enumerate() {
                let end = path.points.last().copied();
                let points = path.points.iter().copied();
                chart.draw_series(LineSeries::new(points, line(colour(i))))?;
                // A filled end is one that came too early.
                if let (Some(end), true) = (end, path.failed) {
                    chart.draw_series([mark(end)])?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_named_beside_both_panels() {
        let curve = |task: &str| Curve {
            task: task.to_string(),
            points: [0.01, 0.1, 1.0].map(|l| (l, [l, 0.5 * l])).to_vec(),
            cloned: Some([0.9, 0.4]),
        };
        let curves = ["ant-dir-6", "ant-fwd-back", "halfcheetah-fwd-back"].map(curve).into();
        crate::figures::look::check(&Sweep { perturb: 0.2, curves });
    }

    #[test]
    fn ends_that_came_too_early_are_marked_and_said() {
        let policies = |failed| {
            let points = vec![(0.0, 0.0), (3.0, -20.0), (12.0, 7.0)];
            vec![("SOG-BC".to_string(), vec![Path2d { points, failed }])]
        };
        for (failed, marks) in [(true, 2), (false, 0)] {
            let policies = policies(failed);
            crate::figures::look::check(&Switching(&policies));
            let svg = crate::figures::svg(&Switching(&policies)).unwrap();
            assert_eq!(svg.matches("<circle").count(), marks);
        }
    }
}
