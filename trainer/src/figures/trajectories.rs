//! What each code does: paths in the plane, or speed over time.

use std::{
    f64::consts::TAU,
    path::{Path, PathBuf},
};

use plotters::{
    backend::DrawingBackend,
    chart::{ChartBuilder, LabelAreaPosition, SeriesLabelPosition},
    coord::Shift,
    drawing::DrawingArea,
    element::{DashedPathElement, PathElement},
    series::{DashedLineSeries, LineSeries},
    style::{Color, IntoFont},
};
use sog_sim::task::{Modes, TaskId, TaskInfo};

use super::{FAINT, Figure, FigureError, INK, LABEL_PX, TICK_PX, TITLE_PX, colour, save};
use crate::evaluate::modes::ModeReport;

/// Rollouts drawn of each code; one of circles goes round ten times already (as in the paper).
fn drawn(task: TaskId) -> usize {
    if matches!(task, TaskId::Circles | TaskId::Circles6) { 1 } else { 3 }
}

/// What the axes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Paths in the plane, metres, both axes alike.
    Plane,
    /// Forward speed in m/s over time in seconds.
    Speed,
}

impl View {
    /// The view that tells a task's modes apart.
    pub fn of(task: TaskId) -> Self {
        match task {
            TaskId::HalfCheetahFwdBack
            | TaskId::HalfCheetahVel
            | TaskId::Walker2dVel6
            | TaskId::HopperVel6 => Self::Speed,
            _ => Self::Plane,
        }
    }
}

/// One code's rollouts as lines.
struct Lines {
    label: String,
    code: usize,
    lines: Vec<Vec<(f64, f64)>>,
}

struct Trajectories {
    title: String,
    view: View,
    codes: Vec<Lines>,
    /// Reference lines: the three circles, or the goal speeds.
    references: Vec<Vec<(f64, f64)>>,
}

/// Draws a few rollouts of each code as `DIR/trajectories.png` and `.svg`. The report must
/// have been made with probes captured.
///
/// # Errors
/// [`FigureError`].
pub fn draw(
    report: &ModeReport,
    task: &TaskInfo,
    title: &str,
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    let view = View::of(task.id);
    let codes = report
        .episodes
        .iter()
        .enumerate()
        .map(|(code, episodes)| {
            let matched = report.per_mode.iter().find(|m| m.code == Some(code));
            let label = matched.map_or_else(
                || format!("code {code}"),
                |m| format!("code {code}: {}, return {:.0}", m.label, m.mean),
            );
            let lines = episodes.iter().take(drawn(task.id)).map(|e| line(view, task, e)).collect();
            Lines { label, code, lines }
        })
        .collect();
    let references = references(view, task);
    save(&Trajectories { title: title.to_string(), view, codes, references }, dir, "trajectories")
}

fn line(view: View, task: &TaskInfo, episode: &sog_sim::rollout::Episode) -> Vec<(f64, f64)> {
    let probes = episode.trace.probes.iter();
    match view {
        View::Plane => probes.map(|p| (p.position_m[0], p.position_m[1])).collect(),
        View::Speed => {
            probes.enumerate().map(|(t, p)| (t as f64 * task.dt_s, p.velocity_m_s[0])).collect()
        }
    }
}

fn references(view: View, task: &TaskInfo) -> Vec<Vec<(f64, f64)>> {
    let Modes::Discrete(modes) = &task.modes else { return vec![] };
    match (view, task.id) {
        (View::Plane, TaskId::Circles | TaskId::Circles6) => modes
            .iter()
            .map(|mode| {
                let radius = mode.value.abs();
                (0..=360)
                    .map(|degree| f64::from(degree) / 360.0 * TAU)
                    .map(|a| (radius * a.cos(), mode.value + radius * a.sin()))
                    .collect()
            })
            .collect(),
        (View::Speed, TaskId::Walker2dVel6 | TaskId::HopperVel6) => {
            let end = task.horizon as f64 * task.dt_s;
            modes.iter().map(|mode| vec![(0.0, mode.value), (end, mode.value)]).collect()
        }
        _ => vec![],
    }
}

impl Trajectories {
    /// The ranges of both axes; in the plane one metre is as long on either.
    fn ranges(&self, (width, height): (f64, f64)) -> ((f64, f64), (f64, f64)) {
        let all = || {
            let lines = self.codes.iter().flat_map(|c| &c.lines).chain(&self.references);
            lines.flatten().copied().filter(|p| p.0.is_finite() && p.1.is_finite())
        };
        let range = |of: fn((f64, f64)) -> f64| {
            let low = all().map(of).fold(f64::INFINITY, f64::min);
            let high = all().map(of).fold(f64::NEG_INFINITY, f64::max);
            if low < high { (low, high) } else { (-1.0, 1.0) }
        };
        let ((x0, x1), (y0, y1)) = (range(|p| p.0), range(|p| p.1));
        let wide = |low: f64, high: f64, span: f64| {
            let centre = 0.5 * (low + high);
            (centre - 0.5 * span, centre + 0.5 * span)
        };
        match self.view {
            View::Speed => ((x0, x1), wide(y0, y1, 1.1 * (y1 - y0))),
            View::Plane => {
                let scale = 1.08 * ((x1 - x0) / width).max((y1 - y0) / height);
                (wide(x0, x1, scale * width), wide(y0, y1, scale * height))
            }
        }
    }
}

/// Space around the chart in pixels: left, bottom, top, right.
const MARGINS: (u32, u32, u32, u32) = (80, 60, 70, 20);

impl Figure for Trajectories {
    fn size(&self) -> (u32, u32) {
        match self.view {
            View::Plane => (1100, 900),
            View::Speed => (1100, 620),
        }
    }

    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        DB::ErrorType: 'static,
    {
        let (left, bottom, top, right) = MARGINS;
        let (width, height) = self.size();
        let inner = (f64::from(width - left - right), f64::from(height - bottom - top));
        let ((x0, x1), (y0, y1)) = self.ranges(inner);
        let (x_desc, y_desc) = match self.view {
            View::Plane => ("x / m", "y / m"),
            View::Speed => ("time / s", "forward speed / (m/s)"),
        };
        let title = area.titled(&self.title, ("sans-serif", TITLE_PX).into_font().color(&INK))?;
        let mut chart = ChartBuilder::on(&title)
            .margin_right(right)
            .margin_top(10)
            .set_label_area_size(LabelAreaPosition::Left, left)
            .set_label_area_size(LabelAreaPosition::Bottom, bottom)
            .build_cartesian_2d(x0..x1, y0..y1)?;
        chart
            .configure_mesh()
            .light_line_style(plotters::style::TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .x_labels(8)
            .y_labels(8)
            .x_desc(x_desc)
            .y_desc(y_desc)
            .x_label_formatter(&|v| format!("{}", (v * 100.0).round() / 100.0))
            .y_label_formatter(&|v| format!("{}", (v * 100.0).round() / 100.0))
            .label_style(("sans-serif", TICK_PX).into_font().color(&INK))
            .axis_desc_style(("sans-serif", LABEL_PX).into_font().color(&INK))
            .draw()?;
        for code in &self.codes {
            let style = colour(code.code).mix(0.8).stroke_width(2);
            for (i, line) in code.lines.iter().enumerate() {
                let drawn = chart.draw_series(LineSeries::new(line.iter().copied(), style))?;
                if i == 0 {
                    let thick = colour(code.code).stroke_width(4);
                    drawn
                        .label(code.label.clone())
                        .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], thick));
                }
            }
        }
        for (i, line) in self.references.iter().enumerate() {
            let dashes = DashedLineSeries::new(line.iter().copied(), 9, 7, INK.stroke_width(2));
            let drawn = chart.draw_series(dashes)?;
            if i == 0 {
                drawn.label("reference").legend(|(x, y)| {
                    DashedPathElement::new([(x, y), (x + 24, y)], 5, 4, INK.stroke_width(2))
                });
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(plotters::style::WHITE.mix(0.85))
            .border_style(FAINT)
            .label_font(("sans-serif", TICK_PX).into_font().color(&INK))
            .draw()?;
        Ok(())
    }
}
