//! Learning curves: one panel a metric, over the steps of a run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use plotters::{
    backend::DrawingBackend,
    chart::{ChartBuilder, LabelAreaPosition, SeriesLabelPosition},
    coord::Shift,
    drawing::DrawingArea,
    series::LineSeries,
    style::{Color, IntoFont},
};

use super::{Figure, FigureError, LABEL_PX, TITLE_PX, axes, colour, legend, save};

/// Name of the picture of the learning curves.
pub const NAME: &str = "learning";

/// Width and height of a panel in pixels.
const PANEL_PX: (u32, u32) = (560, 300);

/// Panels side by side.
const COLUMNS: usize = 2;

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
        (PANEL_PX.0 * COLUMNS as u32, PANEL_PX.1 * rows + 2 * TITLE_PX)
    }

    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        DB::ErrorType: 'static,
    {
        let area = area.titled(&self.title, ("sans-serif", TITLE_PX).into_font())?;
        let cells = area.split_evenly((self.panels.len().div_ceil(COLUMNS), COLUMNS));
        for (cell, (name, panel)) in cells.iter().zip(&self.panels) {
            draw_panel(cell, name, panel)?;
        }
        Ok(())
    }
}

fn draw_panel<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    name: &str,
    panel: &Panel,
) -> Result<(), Box<dyn std::error::Error>>
where
    DB::ErrorType: 'static,
{
    let points = || panel.curves.iter().flat_map(|(_, points)| points);
    let last = points().map(|p| p.0).fold(1.0, f64::max);
    let low = points().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let margin = if high > low { 0.05 * (high - low) } else { 0.5 * high.abs().max(1e-6) };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(24)
        .caption(name, ("sans-serif", LABEL_PX).into_font())
        .set_label_area_size(LabelAreaPosition::Left, 78)
        .set_label_area_size(LabelAreaPosition::Bottom, 44)
        .build_cartesian_2d(0.0..last, low - margin..high + margin)?;
    axes(&mut chart)
        .x_labels(5)
        .y_labels(5)
        .x_desc("step")
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .draw()?;
    for (i, (label, points)) in panel.curves.iter().enumerate() {
        let series = LineSeries::new(points.iter().copied(), colour(i).stroke_width(2));
        let drawn = chart.draw_series(series)?;
        if panel.curves.len() > 1 {
            drawn.label(label.replace('_', " ")).legend(move |(x, y)| {
                plotters::element::PathElement::new(
                    [(x, y), (x + 18, y)],
                    colour(i).stroke_width(3),
                )
            });
        }
    }
    if panel.curves.len() > 1 {
        legend(&mut chart, SeriesLabelPosition::UpperRight)?;
    }
    Ok(())
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
        a if a >= 0.01 => trim(format!("{x:.3}")),
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
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.00412, "4.1e-3"), (0.25, "0.25"), (997.83, "997.8")];
        for (x, text) in cases.into_iter().chain([(40_000.0, "40 k"), (1_200_000.0, "1.2 M")]) {
            assert_eq!(short(x), text);
        }
    }
}
