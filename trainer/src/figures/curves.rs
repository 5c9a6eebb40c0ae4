//! Learning curves: one panel a metric, over the steps of a run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use plotters::{series::LineSeries, style::Color};

use super::{
    Area, Drawn, Figure, FigureError, INK, Key, LABEL_PX, TITLE_PX, axes, chart, colour, dot,
    legend, line, save, thin, titled,
};

/// Name of the picture of the learning curves.
pub const NAME: &str = "learning";

/// Width and height of a panel in pixels.
const PANEL_PX: (u32, u32) = (600, 340);

/// Panels side by side.
const COLUMNS: usize = 2;

/// Share of a run's steps that the mean of a noisy curve runs over.
const WINDOW: f64 = 0.05;

/// A curve is noisy whose ups and downs come to so many times its range, over at least so many points.
const NOISY: (f64, usize) = (4.0, 20);

/// One panel: curves that share a unit.
#[derive(Debug, Default, PartialEq)]
struct Panel {
    /// Name of each curve with its points.
    curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// All panels of a run.
struct Curves {
    title: String,
    panels: Vec<(String, Panel)>,
}

/// Draws the metrics in `metrics` (JSON lines) as `DIR/learning.png` and `.svg`.
///
/// # Errors
/// [`FigureError`].
pub fn draw(metrics: &Path, title: &str, dir: &Path) -> Result<Vec<PathBuf>, FigureError> {
    let bad = |reason: String| FigureError::Metrics { path: metrics.to_path_buf(), reason };
    let text = std::fs::read_to_string(metrics).map_err(|e| bad(e.to_string()))?;
    let panels = panels(&text).map_err(bad)?;
    if panels.is_empty() {
        return Err(bad("it holds no metrics yet".to_string()));
    }
    save(&Curves { title: title.to_string(), panels }, dir, NAME)
}

/// Groups the metrics: all `code_…_share` in one panel, `x_expert` and `x_policy` in one, every
/// other metric in its own.
fn panels(text: &str) -> Result<Vec<(String, Panel)>, String> {
    let mut panels: BTreeMap<String, BTreeMap<String, Vec<(f64, f64)>>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1))?;
        let Some(step) = object.get("step").and_then(serde_json::Value::as_f64) else {
            return Err(format!("line {} has no step", number + 1));
        };
        for (name, value) in &object {
            let Some(value) = value.as_f64() else { continue };
            if name != "step" && name != "wall_s" {
                let curves = panels.entry(panel_of(name)).or_default();
                curves.entry(name.clone()).or_default().push((step, value));
            }
        }
    }
    let panel = |curves: BTreeMap<_, _>| Panel { curves: curves.into_iter().collect() };
    Ok(panels.into_iter().map(|(name, curves)| (name, panel(curves))).collect())
}

fn panel_of(metric: &str) -> String {
    if metric.starts_with("code_") && metric.ends_with("_share") {
        return "share of each code".to_string();
    }
    for suffix in ["_expert", "_policy"] {
        if let Some(stem) = metric.strip_suffix(suffix) {
            return stem.replace('_', " ");
        }
    }
    metric.replace('_', " ")
}

impl Figure for Curves {
    fn size(&self) -> (u32, u32) {
        let rows = self.panels.len().div_ceil(COLUMNS) as u32;
        (PANEL_PX.0 * COLUMNS as u32, PANEL_PX.1 * rows + 4 * TITLE_PX)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let area = titled(area, &self.title, TITLE_PX)?;
        let all = || self.panels.iter().flat_map(|(_, panel)| &panel.curves);
        let smoothed = all().any(|(_, points)| noisy(points));
        let entries = smoothed.then(|| {
            let mean = format!("mean over {:.0} % of the steps", 100.0 * WINDOW);
            [
                ("as measured".to_string(), Key::Line(thin(INK.mix(RAW)))),
                (mean, Key::Line(line(INK))),
            ]
        });
        let area = legend(&area, entries.as_ref().map_or(&[], |entries| entries))?;
        let cells = area.split_evenly((self.panels.len().div_ceil(COLUMNS), COLUMNS));
        for (cell, (name, panel)) in cells.iter().zip(&self.panels) {
            draw_panel(cell, name, panel)?;
        }
        Ok(())
    }
}

/// How much of its colour a curve keeps behind its mean.
const RAW: f64 = 0.35;

fn draw_panel(area: &Area<'_>, name: &str, panel: &Panel) -> Drawn {
    let points = || panel.curves.iter().flat_map(|(_, points)| points);
    let last = points().map(|p| p.0).fold(1.0, f64::max);
    let low = points().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let margin = if high > low { 0.05 * (high - low) } else { 0.5 * high.abs().max(1e-6) };
    let area = titled(area, name, LABEL_PX)?;
    let names = panel.curves.iter().enumerate().filter(|_| panel.curves.len() > 1);
    let names = names.map(|(i, (name, _))| (name.replace('_', " "), Key::Line(line(colour(i)))));
    let area = legend(&area, &names.collect::<Vec<_>>())?;
    let mut chart = chart(&area).build_cartesian_2d(0.0..last, low - margin..high + margin)?;
    axes(&mut chart)
        .x_labels(5)
        .y_labels(5)
        .x_desc("step")
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .draw()?;
    for (i, (_, points)) in panel.curves.iter().enumerate() {
        if noisy(points) {
            let raw = thin(colour(i).mix(RAW));
            chart.draw_series(LineSeries::new(points.iter().copied(), raw))?;
            chart.draw_series(LineSeries::new(running_mean(points), line(colour(i))))?;
        } else if let [point] = points[..] {
            chart.draw_series([dot(point, colour(i))])?;
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), line(colour(i))))?;
        }
    }
    Ok(())
}

/// Whether a curve goes up and down more than it goes anywhere.
fn noisy(points: &[(f64, f64)]) -> bool {
    let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let way: f64 = points.windows(2).map(|pair| (pair[1].1 - pair[0].1).abs()).sum();
    points.len() >= NOISY.1 && way > NOISY.0 * (high - low)
}

/// The mean of the points that lie within half a window before and after each.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let last = points.last().map_or(0.0, |p| p.0);
    let half = 0.5 * WINDOW * last;
    let (mut from, mut to, mut sum) = (0, 0, 0.0);
    let mean = |&(step, _): &(f64, f64)| {
        while to < points.len() && points[to].0 <= step + half {
            sum += points[to].1;
            to += 1;
        }
        while points[from].0 < step - half {
            sum -= points[from].1;
            from += 1;
        }
        (step, sum / (to - from) as f64)
    };
    points.iter().map(mean).collect()
}

/// A number with three significant digits: `0.00412`, `40 k`, `1.2 M`.
fn short(x: f64) -> String {
    let trim = |text: String| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        } else {
            text
        }
    };
    match x.abs() {
        a if a >= 1e6 => format!("{} M", trim(format!("{:.2}", x / 1e6))),
        a if a >= 1e4 => format!("{} k", trim(format!("{:.1}", x / 1e3))),
        a if a >= 10.0 => trim(format!("{x:.1}")),
        a if a >= 0.01 => trim(format!("{x:.4}")),
        0.0 => "0".to_string(),
        _ => format!("{x:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_that_belong_together_share_a_panel() {
        let text = "{\"step\":1,\"wall_s\":0.1,\"code_0_share\":0.5,\"code_1_share\":0.5,\"loss\":1}\n\
                    {\"step\":2,\"wall_s\":0.2,\"logit_expert\":1,\"logit_policy\":-1,\"loss\":null}\n";
        let panels = panels(text).unwrap();
        let names: Vec<&str> = panels.iter().map(|p| p.0.as_str()).collect();
        assert_eq!(names, ["logit", "loss", "share of each code"]);
        assert_eq!(panels[1].1.curves, [("loss".to_string(), vec![(1.0, 1.0)])]);
        assert_eq!(panels[2].1.curves.len(), 2);
    }

    #[test]
    fn noisy_curves_are_drawn_with_their_mean() {
        let wave = |i: u32| {
            (f64::from(i), if i.is_multiple_of(2) { 1.0 } else { -1.0 } + 0.01 * f64::from(i))
        };
        let noise: Vec<(f64, f64)> = (0..=100).map(wave).collect();
        let slope: Vec<(f64, f64)> = (0..=100).map(|i| (f64::from(i), f64::from(i))).collect();
        assert!(noisy(&noise) && !noisy(&slope) && !noisy(&noise[..5]));
        // Two and a half steps to either side: five points, of which three are alike; fewer at the ends.
        let mean = running_mean(&noise);
        assert_eq!(mean.len(), noise.len());
        assert!((mean[50].1 - (0.2 + 0.5)).abs() < 1e-9, "{:?}", mean[50]);
        assert!((mean[0].1 - (1.0 / 3.0 + 0.01)).abs() < 1e-9, "{:?}", mean[0]);
        assert!(running_mean(&[]).is_empty());
        let panel = |points: &[(f64, f64)], names: &[&str]| Panel {
            curves: names.iter().map(|name| (name.to_string(), points.to_vec())).collect(),
        };
        let panels = |noisy| {
            let shares =
                panel(&slope, &["code_0_share", "code_1_share", "code_2_share", "code_3_share"]);
            vec![("share".to_string(), shares), ("loss".to_string(), panel(noisy, &["loss"]))]
        };
        let title = "Training of circles".to_string();
        let figure = Curves { title: title.clone(), panels: panels(&noise) };
        crate::figures::look::check(&figure);
        assert!(crate::figures::svg(&figure).unwrap().contains("mean over 5 % of the steps"));
        let figure = Curves { title, panels: panels(&slope) };
        assert!(!crate::figures::svg(&figure).unwrap().contains("mean over"));
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.00412, "4.1e-3"), (0.25, "0.25"), (997.83, "997.8")];
        for (x, text) in cases.into_iter().chain([(40_000.0, "40 k"), (1_200_000.0, "1.2 M")]) {
            assert_eq!(short(x), text);
        }
    }
}
