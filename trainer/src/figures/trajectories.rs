//! What each code does, or what each mode's demonstrations do: paths in the plane, speed over time,
//! or reached targets.

use std::{
    f64::consts::TAU,
    ops::Range,
    path::{Path, PathBuf},
};

use plotters::{series::LineSeries, style::Color};
use sog_sim::{
    rollout::Episode,
    task::{Mode, Modes, TaskInfo},
    tasks::TaskFolder,
};

use super::{
    Area, Drawn, Figure, FigureError, INK, Key, TITLE_PX, alike, axes, chart, colour, dashes,
    legend, line as line_of, number, save, speck, titled,
};
use crate::{
    data::{DemoFile, Labels, component_name},
    evaluate::modes::ModeReport,
};

/// Name of the picture of what each code does.
pub const NAME: &str = "trajectories";

/// Rollouts drawn of each code where a task's folder does not say.
const DRAWN: usize = 3;

/// What the axes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Paths in the plane, metres, both axes alike.
    Plane,
    /// Forward speed in m/s over time in seconds.
    Speed,
    /// Where the gripper ends, seen from above, metres, both axes alike.
    Reached,
}

impl View {
    /// The view that tells a task's ways apart, as its folder says it (`[plot]`).
    pub fn of(task: &TaskFolder) -> Self {
        let places = |info: &TaskInfo| match &info.modes {
            Modes::Continuous(space) => space.dims() > 1,
            Modes::Discrete(_) => false,
        };
        match (task.definition().plot.series.is_empty(), places(task.info())) {
            (false, _) => Self::Speed,
            (true, true) => Self::Reached,
            (true, false) => Self::Plane,
        }
    }
}

impl View {
    /// What the axes are, where the robot's place or speed is known.
    fn axes(self) -> [String; 2] {
        match self {
            Self::Plane | Self::Reached => ["x / m", "y / m"],
            Self::Speed => ["time / s", "forward speed / (m/s)"],
        }
        .map(str::to_string)
    }
}

/// Trajectories drawn of each code or mode, unless a task's folder says another number.
fn drawn(task: &TaskFolder, usual: usize) -> usize {
    task.definition().plot.count.unwrap_or(usual)
}

/// The rollouts of one code, or the demonstrations of one mode.
struct Lines {
    label: String,
    /// Which colour.
    code: usize,
    /// A line of a single point is drawn as a dot.
    lines: Vec<Vec<(f64, f64)>>,
}

struct Trajectories {
    title: String,
    view: View,
    codes: Vec<Lines>,
    /// Reference lines: the three circles, or the goal speeds.
    references: Vec<Vec<(f64, f64)>>,
    /// What the axes are.
    axes: [String; 2],
}

/// Draws a few rollouts of each code as `DIR/trajectories.png` and `.svg`. The report must
/// have been made with probes captured.
///
/// # Errors
/// [`FigureError`].
pub fn draw(
    report: &ModeReport,
    task: &TaskFolder,
    title: &str,
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    let view = View::of(task);
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
            let lines = episodes
                .iter()
                .take(drawn(task, DRAWN))
                .map(|e| line(view, task.info(), e))
                .collect();
            Lines { label, code, lines }
        })
        .collect();
    let references = references(view, task.info());
    let (title, axes) = (title.to_string(), view.axes());
    save(&Trajectories { title, view, codes, references, axes }, dir, NAME)
}

/// Draws rollouts of a policy where no mode is matched with a code: groups of like codes with their
/// labels, as `DIR/trajectories.png` and `.svg`.
///
/// # Errors
/// [`FigureError`].
pub fn draw_by_code(
    labels: Vec<String>,
    groups: &[Vec<Episode>],
    task: &TaskFolder,
    title: &str,
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    let view = View::of(task);
    let drawn = if view == View::Reached { usize::MAX } else { 6 };
    let codes = labels
        .into_iter()
        .zip(groups)
        .enumerate()
        .map(|(code, (label, episodes))| {
            // Spread over the group, which is in the code's order.
            let step = episodes.len().div_ceil(drawn).max(1);
            let lines = episodes.iter().step_by(step).map(|e| line(view, task.info(), e)).collect();
            Lines { label, code, lines }
        })
        .collect();
    let references = references(view, task.info());
    let (title, axes) = (title.to_string(), view.axes());
    save(&Trajectories { title, view, codes, references, axes }, dir, NAME)
}

/// Demonstrations drawn of each mode where a task's folder does not say, and of goals.
const DEMONSTRATIONS_DRAWN: usize = 5;
const GOALS_DRAWN: usize = 1000;

/// Intervals that a range of goals, or of codes, is drawn in.
pub const GOAL_BINS: usize = 5;

/// Draws a few demonstrations of each mode (or of each interval of goals) as `DIR/NAME.png` and
/// `.svg`. Paths of robots whose observations hold no position are the integral of their velocity.
///
/// # Errors
/// [`FigureError`].
pub fn draw_demonstrations(
    file: &DemoFile,
    task: &TaskFolder,
    dir: &Path,
    name: &str,
) -> Result<Vec<PathBuf>, FigureError> {
    let view = View::of(task);
    let demos = &file.demonstrations;
    let (labels, group): (Vec<String>, Vec<usize>) = match (&file.labels, &task.info().modes) {
        (Some(Labels::Modes(modes)), Modes::Discrete(known)) => (
            (0..modes.iter().max().map_or(0, |&m| m as usize + 1).max(known.len()))
                .map(|m| known.get(m).map_or(format!("mode {m}"), |mode| mode.label.clone()))
                .collect(),
            modes.iter().map(|&m| m as usize).collect(),
        ),
        (Some(Labels::Goals { dims: 1, values }), Modes::Continuous(space)) => {
            let width = (space.high[0] - space.low[0]) / GOAL_BINS as f64;
            let edge = |bin: usize| space.low[0] + bin as f64 * width;
            let label = |bin| format!("goal {:.1} to {:.1} m/s", edge(bin), edge(bin + 1));
            let bin = |&g: &f32| ((f64::from(g) - space.low[0]) / width).max(0.0) as usize;
            (
                (0..GOAL_BINS).map(label).collect(),
                values.iter().map(|g| bin(g).min(GOAL_BINS - 1)).collect(),
            )
        }
        (Some(Labels::Goals { .. }), _) => (vec!["reached".to_string()], vec![0; demos.len()]),
        _ => (vec!["unlabelled".to_string()], vec![0; demos.len()]),
    };
    let usual = if view == View::Reached { GOALS_DRAWN } else { DEMONSTRATIONS_DRAWN };
    let count = if view == View::Reached { usual } else { drawn(task, usual) };
    let of_group = |k: usize| (0..demos.len()).filter(move |&n| group[n] == k);
    let codes = labels
        .into_iter()
        .enumerate()
        .map(|(code, label)| {
            let chosen = of_group.clone()(code).take(count);
            let lines =
                chosen.map(|n| demonstrated(view, task.info(), demos.observations_of(n))).collect();
            Lines { label, code, lines }
        })
        .collect();
    let title = format!("Demonstrations of {}", task.info().name());
    let (references, axes) = (references(view, task.info()), demonstrated_axes(view, task.info()));
    save(&Trajectories { title, view, codes, references, axes }, dir, name)
}

/// What the axes of [`demonstrated`] are: the names of the first components where no term says where
/// the robot is.
fn demonstrated_axes(view: View, task: &TaskInfo) -> [String; 2] {
    let known = |names: &[&str]| names.iter().any(|name| term(task, name).is_some());
    let name = |c: usize| component_name(&task.obs_terms, c.min(task.obs_dim() - 1));
    let [x, y] = view.axes();
    match view {
        View::Plane if known(&["position_history", "torso_velocity"]) => [x, y],
        View::Speed if known(&["torso_velocity_xz"]) => [x, y],
        View::Reached if known(&["gripper_position"]) => [x, y],
        View::Speed => [x, name(0)],
        View::Plane | View::Reached => [name(0), name(1)],
    }
}

/// One demonstration as a line, from its observations `[T, S]`: what the terms that say where the
/// robot is or how fast it moves tell, else the first components.
fn demonstrated(view: View, task: &TaskInfo, observations: &[f32]) -> Vec<(f64, f64)> {
    let rows = || observations.chunks_exact(task.obs_dim());
    let pair =
        |row: &[f32], at: usize| (f64::from(row[at]), f64::from(row[(at + 1).min(row.len() - 1)]));
    let over_time = |at: usize| {
        rows().enumerate().map(|(t, row)| (t as f64 * task.dt_s, f64::from(row[at]))).collect()
    };
    match view {
        View::Plane => {
            if let Some(positions) = term(task, "position_history") {
                // The newest comes last.
                return rows().map(|row| pair(row, positions.end - 2)).collect();
            }
            let Some(velocity) = term(task, "torso_velocity") else {
                return rows().map(|row| pair(row, 0)).collect();
            };
            let (mut x, mut y) = (0.0, 0.0);
            rows()
                .map(|row| {
                    let (vx, vy) = pair(row, velocity.start);
                    (x, y) = (x + vx * task.dt_s, y + vy * task.dt_s);
                    (x, y)
                })
                .collect()
        }
        View::Speed => over_time(term(task, "torso_velocity_xz").map_or(0, |t| t.start)),
        View::Reached => {
            let at = term(task, "gripper_position").map_or(0, |t| t.start);
            rows().last().map(|row| vec![pair(row, at)]).unwrap_or_default()
        }
    }
}

/// Where an observation term lies, if there is one of that name.
fn term(task: &TaskInfo, name: &str) -> Option<Range<usize>> {
    let at = task.obs_terms.0.iter().position(|t| t.name == name)?;
    let start = task.obs_terms.0[..at].iter().map(|t| t.width).sum();
    Some(start..start + task.obs_terms.0[at].width)
}

fn line(view: View, task: &TaskInfo, episode: &Episode) -> Vec<(f64, f64)> {
    let probes = episode.trace.probes.iter();
    match view {
        View::Plane => probes.map(|p| (p.position_m[0], p.position_m[1])).collect(),
        View::Reached => {
            probes.last().map(|p| vec![(p.position_m[0], p.position_m[1])]).unwrap_or_default()
        }
        View::Speed => {
            probes.enumerate().map(|(t, p)| (t as f64 * task.dt_s, p.velocity_m_s[0])).collect()
        }
    }
}

/// Lines that the modes are held to, where their names say them: circles of a signed radius
/// (`R = 20`), or speeds.
fn references(view: View, task: &TaskInfo) -> Vec<Vec<(f64, f64)>> {
    let Modes::Discrete(modes) = &task.modes else { return vec![] };
    let end = task.horizon as f64 * task.dt_s;
    let circle = |value: f64| {
        let degrees = (0..=360).map(|degree| f64::from(degree) / 360.0 * TAU);
        degrees.map(|a| (value.abs() * a.cos(), value + value.abs() * a.sin())).collect()
    };
    let of_mode = |mode: &Mode| match view {
        View::Plane if mode.label.starts_with("R = ") => Some(circle(mode.value)),
        View::Speed if mode.label.ends_with("m/s") => {
            Some(vec![(0.0, mode.value), (end, mode.value)])
        }
        _ => None,
    };
    modes.iter().filter_map(of_mode).collect()
}

impl Trajectories {
    /// Least and largest value on each axis.
    fn ranges(&self) -> [(f64, f64); 2] {
        let all = || {
            let lines = self.codes.iter().flat_map(|c| &c.lines).chain(&self.references);
            lines.flatten().copied().filter(|p| p.0.is_finite() && p.1.is_finite())
        };
        let range = |of: fn((f64, f64)) -> f64| {
            let low = all().map(of).fold(f64::INFINITY, f64::min);
            let high = all().map(of).fold(f64::NEG_INFINITY, f64::max);
            if low < high { (low, high) } else { (-1.0, 1.0) }
        };
        [range(|p| p.0), range(|p| p.1)]
    }

    fn legend(&self) -> Vec<(String, Key)> {
        let of_code = |code: &Lines| {
            let dots = code.lines.iter().all(|line| line.len() == 1);
            let colour = colour(code.code);
            (code.label.clone(), if dots { Key::Dot(colour) } else { Key::Line(line_of(colour)) })
        };
        let mut entries: Vec<_> =
            self.codes.iter().filter(|code| !code.lines.is_empty()).map(of_code).collect();
        if !self.references.is_empty() {
            entries.push(("reference".to_string(), Key::Dashes(line_of(INK))));
        }
        entries
    }
}

impl Figure for Trajectories {
    fn size(&self) -> (u32, u32) {
        match self.view {
            View::Plane | View::Reached => (1000, 900),
            View::Speed => (1000, 640),
        }
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let area = titled(area, &self.title, TITLE_PX)?;
        let area = legend(&area, &self.legend())?;
        let [x, y] = self.ranges();
        let (x, y) = match self.view {
            View::Speed => (x.0..x.1, y.0 - 0.05 * (y.1 - y.0)..y.1 + 0.05 * (y.1 - y.0)),
            View::Plane | View::Reached => alike(&area, x, y),
        };
        let mut chart = chart(&area).build_cartesian_2d(x, y)?;
        axes(&mut chart)
            .x_labels(8)
            .y_labels(8)
            .x_desc(&self.axes[0])
            .y_desc(&self.axes[1])
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .draw()?;
        for code in &self.codes {
            let colour = colour(code.code);
            for line in &code.lines {
                match line[..] {
                    [point] => chart.draw_series([speck(point, colour)])?,
                    _ => {
                        let style = line_of(colour.mix(0.8));
                        chart.draw_series(LineSeries::new(line.iter().copied(), style))?
                    }
                };
            }
        }
        for line in &self.references {
            chart.draw_series(dashes(line.iter().copied(), line_of(INK)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lines_are_is_said_beside_them() {
        let codes = |lines: Vec<Vec<(f64, f64)>>| -> Vec<Lines> {
            let of = |code| Lines {
                label: format!("code {code}: -180\u{b0}, return {}", 1000 + code),
                code,
                lines: lines.clone(),
            };
            (0..6).map(of).collect()
        };
        let way = vec![(-20.0, 3.0), (0.0, -1.5), (20.0, 8.0)];
        for (view, lines) in [
            (View::Plane, vec![way.clone()]),
            (View::Speed, vec![way.clone()]),
            (View::Reached, vec![vec![(0.1, 0.2)], vec![(0.4, 0.3)]]),
        ] {
            let title = "SOG-GAIL on halfcheetah-fwd-back: what each code does".to_string();
            let references = vec![way.clone()];
            let axes = view.axes();
            let figure = Trajectories { title, view, codes: codes(lines), references, axes };
            crate::figures::look::check(&figure);
        }
    }
}
