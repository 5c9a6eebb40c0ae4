//! Robustness: returns over λ_S with and without random actions (paper, Fig. 7), and paths of an ant
//! whose code is switched (Fig. 6).

use std::path::{Path, PathBuf};

use plotters::{
    backend::DrawingBackend,
    chart::SeriesLabelPosition,
    coord::Shift,
    drawing::DrawingArea,
    element::{Circle, PathElement},
    prelude::IntoLogRange,
    series::{DashedLineSeries, LineSeries},
    style::Color,
};

use super::{Figure, FigureError, INK, axes, colour, legend, save, titled};

/// Width and height of a panel in pixels.
const PANEL_PX: (u32, u32) = (620, 560);

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

    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        DB::ErrorType: 'static,
    {
        let random = format!("{:.0} % random actions", 100.0 * self.perturb);
        for (which, (panel, title)) in
            area.split_evenly((1, 2)).iter().zip(["its own actions", &random]).enumerate()
        {
            let mut chart = titled(panel, title, 70)
                .build_cartesian_2d((0.008..1.25).log_scale(), -0.05..1.3)?;
            axes(&mut chart)
                .y_labels(7)
                .x_desc("λ_S (dashes: SOG-BC)")
                .y_desc("return, random 0, best without random actions 1")
                .x_label_formatter(&|x| format!("{x}"))
                .draw()?;
            for (i, curve) in self.curves.iter().enumerate() {
                let style = colour(i).stroke_width(3);
                let points = || curve.points.iter().map(|(l, scores)| (*l, scores[which]));
                chart
                    .draw_series(LineSeries::new(points(), style))?
                    .label(curve.task.as_str())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
                chart.draw_series(points().map(|p| Circle::new(p, 4, style.filled())))?;
                if let Some(cloned) = curve.cloned {
                    let line = [(0.01, cloned[which]), (1.0, cloned[which])];
                    chart.draw_series(DashedLineSeries::new(
                        line,
                        8,
                        6,
                        colour(i).stroke_width(2),
                    ))?;
                }
            }
            legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
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

    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        DB::ErrorType: 'static,
    {
        let all = || self.0.iter().flat_map(|(_, paths)| paths).flat_map(|p| p.points.clone());
        let reach = all().map(|(x, y)| x.abs().max(y.abs())).fold(1.0, f64::max) * 1.05;
        for (panel, (title, paths)) in area.split_evenly((1, self.0.len())).iter().zip(self.0) {
            let mut chart =
                titled(panel, title, 64).build_cartesian_2d(-reach..reach, -reach..reach)?;
            axes(&mut chart)
                .x_desc("x / m")
                .y_desc("y / m")
                .x_label_formatter(&|v| format!("{v:.0}"))
                .y_label_formatter(&|v| format!("{v:.0}"))
                .draw()?;
            for (i, path) in paths.iter().enumerate() {
                let end = path.points.last().copied();
                chart.draw_series(LineSeries::new(
                    path.points.iter().copied(),
                    colour(i).stroke_width(3),
                ))?;
                // A filled end is one that came too early.
                if let (Some(end), true) = (end, path.failed) {
                    chart.draw_series([Circle::new(end, 7, INK.filled())])?;
                }
            }
        }
        Ok(())
    }
}
