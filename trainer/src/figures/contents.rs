//! What is in demonstrations, at a glance: lengths, ranges, steps out of line, time between steps.

use std::path::{Path, PathBuf};

use plotters::{
    element::{PathElement, Rectangle},
    style::Color,
};
use sog_formats::{
    Recording,
    inspect::{FindingKind, Report},
};

use super::{
    Area, Drawn, Figure, FigureError, Key, LABEL_PX, axes, chart, colour, legend, mark, number,
    save, thin, titled,
};

/// Width and height of a panel in pixels.
const PANEL_PX: (u32, u32) = (620, 420);
/// Bars of a histogram.
const BINS: usize = 40;

/// Draws what `report` says of `recording` as `DIR/name.png` and `.svg`, in four panels: the length
/// of each episode, where something was found in the second colour; the range of each component in
/// standard deviations about its mean; its largest change in a step likewise, jumps in the second
/// colour; the time between steps, where the file says it.
///
/// # Errors
/// [`FigureError`].
pub fn draw(
    recording: &Recording,
    report: &Report,
    dir: &Path,
    name: &str,
) -> Result<Vec<PathBuf>, FigureError> {
    save(&Contents::of(recording, report), dir, name)
}

/// Numbers of the four panels.
struct Contents {
    /// Steps of each episode, and whether something was found in it.
    lengths: Vec<(f64, bool)>,
    /// Smallest and largest value of each component in standard deviations about its mean.
    ranges: Vec<(f64, f64)>,
    /// Largest change of each component in a step, in standard deviations, and whether one is out of
    /// line.
    changes: Vec<(f64, bool)>,
    /// Time between steps in ms.
    periods_ms: Vec<f64>,
}

impl Contents {
    fn of(recording: &Recording, report: &Report) -> Self {
        let found = |n| report.findings.iter().any(|finding| finding.episode == Some(n));
        let lengths = recording.episodes.iter().enumerate();
        let lengths = lengths.map(|(n, episode)| (episode.length as f64, found(n))).collect();
        let spread = |std: f64| if std > 0.0 { std } else { 1.0 };
        let ranges = report.components.iter().map(|component| {
            let m = &component.moments;
            ((m.min - m.mean) / spread(m.std), (m.max - m.mean) / spread(m.std))
        });
        let jumps = |name: &str| {
            let jumps = report.findings.iter().filter(|f| f.kind == FindingKind::Jump);
            jumps.into_iter().any(|finding| finding.what.contains(name))
        };
        let changes = report.components.iter().map(|component| {
            let name = format!("{}[{}]", component.column, component.component);
            let column = recording.columns.iter().position(|c| c.name == component.column);
            let most = column.map_or(0.0, |c| largest_change(recording, c, component.component));
            (most / spread(component.moments.std), jumps(&name))
        });
        let times = recording.episodes.iter().filter_map(|episode| episode.times_s.as_deref());
        Self {
            lengths,
            ranges: ranges.collect(),
            changes: changes.collect(),
            periods_ms: times
                .flat_map(|times| times.windows(2).map(|pair| 1e3 * (pair[1] - pair[0])))
                .filter(|period| period.is_finite())
                .collect(),
        }
    }
}

/// The largest change of a component from one step to the next.
fn largest_change(recording: &Recording, column: usize, component: usize) -> f64 {
    let width = recording.columns[column].width;
    let changes = recording.episodes.iter().flat_map(|episode| {
        let values = episode.data[column].iter().skip(component).step_by(width);
        let next = values.clone().skip(1);
        values.zip(next).map(|(a, b)| (b - a).abs()).collect::<Vec<_>>()
    });
    changes.filter(|change| change.is_finite()).fold(0.0, f64::max)
}

/// A panel: its title, the names of its axes, and what is on them.
struct Panel {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    /// Left, right, lower, upper.
    range: [f64; 4],
    bars: Vec<Bar>,
}

/// From `low` to `high` at `x`.
struct Bar {
    x: (f64, f64),
    low: f64,
    high: f64,
    marked: bool,
}

impl Contents {
    fn panels(&self) -> [Panel; 4] {
        let at = |i: usize| (i as f64 - 0.4, i as f64 + 0.4);
        let bar =
            |(i, &(high, marked)): (usize, &(f64, bool))| Bar { x: at(i), low: 0.0, high, marked };
        let highest = |bars: &[Bar]| 1.05 * bars.iter().map(|b| b.high).fold(1e-9, f64::max);
        let across = |count: usize| (-0.6, count.max(1) as f64 - 0.4);
        let counted = |title, x, y, bars: Vec<Bar>| {
            let (left, right) = across(bars.len());
            Panel { title, x, y, range: [left, right, 0.0, highest(&bars)], bars }
        };
        let ranges = self.ranges.iter().enumerate().map(|(i, &(low, high))| Bar {
            x: at(i),
            low,
            high,
            marked: false,
        });
        let ranges: Vec<Bar> = ranges.collect();
        let lowest = 1.05 * ranges.iter().map(|bar| bar.low).fold(-1e-9, f64::min);
        let (left, right) = across(ranges.len());
        let range = [left, right, lowest, highest(&ranges)];
        [
            counted(
                "length of episodes",
                "episode",
                "steps",
                self.lengths.iter().enumerate().map(bar).collect(),
            ),
            Panel {
                title: "range of components",
                x: "component",
                y: "standard deviations",
                range,
                bars: ranges,
            },
            counted(
                "largest change in a step",
                "component",
                "standard deviations",
                self.changes.iter().enumerate().map(bar).collect(),
            ),
            self.histogram(),
        ]
    }

    /// How often each time between steps is.
    fn histogram(&self) -> Panel {
        let title =
            if self.periods_ms.is_empty() { "no time stamps" } else { "time between steps" };
        let least = self.periods_ms.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.periods_ms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Rounding is no jitter.
        let apart = most - least > 1e-3 * most.abs();
        let (least, most) = if apart { (least, most) } else { (least - 0.5, least + 0.5) };
        let (least, most) = if least.is_finite() { (least, most) } else { (0.0, 1.0) };
        let width = (most - least) / BINS as f64;
        let mut counts = [0.0; BINS];
        for period in &self.periods_ms {
            counts[(((period - least) / width) as usize).min(BINS - 1)] += 1.0;
        }
        let bars = counts.iter().enumerate().map(|(i, &high)| Bar {
            x: (least + i as f64 * width, least + (i + 1) as f64 * width),
            low: 0.0,
            high,
            marked: false,
        });
        let bars: Vec<Bar> = bars.collect();
        let highest = 1.05 * counts.iter().copied().fold(1.0, f64::max);
        Panel { title, x: "ms", y: "steps", range: [least, most, 0.0, highest], bars }
    }
}

impl Figure for Contents {
    fn size(&self) -> (u32, u32) {
        (2 * PANEL_PX.0, 2 * PANEL_PX.1)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let panels = self.panels();
        let marked = panels.iter().any(|panel| panel.bars.iter().any(|bar| bar.marked));
        let entries = marked.then(|| ("something was found here".to_string(), Key::Mark));
        let area = legend(area, entries.as_slice())?;
        for (place, panel) in area.split_evenly((2, 2)).iter().zip(panels) {
            let [left, right, low, high] = panel.range;
            let place = titled(place, panel.title, LABEL_PX)?;
            let mut chart = chart(&place).build_cartesian_2d(left..right, low..high)?;
            axes(&mut chart)
                .x_desc(panel.x)
                .y_desc(panel.y)
                .x_label_formatter(&number)
                .y_label_formatter(&number)
                .draw()?;
            for bar in panel.bars.iter().filter(|bar| bar.low < bar.high) {
                let colour = colour(usize::from(bar.marked));
                let corners = [(bar.x.0, bar.low), (bar.x.1, bar.high)];
                chart.draw_series([Rectangle::new(corners, colour.filled())])?;
                // Where many stand side by side a bar is narrower than a pixel.
                let middle = (bar.x.0 + bar.x.1) / 2.0;
                let line = vec![(middle, bar.low), (middle, bar.high)];
                chart.draw_series([PathElement::new(line, thin(colour))])?;
                if bar.marked {
                    chart.draw_series([mark((middle, bar.high))])?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sog_formats::inspect::inspect;

    #[test]
    fn episodes_with_findings_are_marked_and_an_empty_panel_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let rows: Vec<String> =
            (0..60).map(|t| format!("{},{}", f64::from(t).sin(), f64::from(t) * 0.5)).collect();
        let tables = dir.path().join("tables");
        std::fs::create_dir(&tables).unwrap();
        for name in ["a.csv", "b.csv"] {
            std::fs::write(tables.join(name), format!("q,u\n{}\n", rows.join("\n"))).unwrap();
        }
        let recording = sog_formats::read(&tables, None).unwrap();
        let report = inspect(&recording, &[]);
        let contents = Contents::of(&recording, &report);
        // The second repeats the first.
        assert_eq!(contents.lengths, [(60.0, false), (60.0, true)]);
        // Rows of u grow by 0.5: the largest change in standard deviations.
        let std = report.components[1].moments.std;
        assert!((contents.changes[1].0 - 0.5 / std).abs() < 1e-9, "{:?}", contents.changes);
        assert!(contents.changes.iter().all(|(_, jumps)| !jumps) && contents.periods_ms.is_empty());
        crate::figures::look::check(&contents);
        let written = draw(&recording, &report, dir.path(), "contents").unwrap();
        assert!(written.iter().all(|path| std::fs::metadata(path).unwrap().len() > 1000));
    }
}
