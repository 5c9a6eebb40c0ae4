//! Places reached while one dimension of a continuous code varies (paper, Fig. 8).

use std::path::{Path, PathBuf};

use plotters::series::LineSeries;

use super::{
    Area, Drawn, Figure, FigureError, INK, Key, LABEL_PX, TITLE_PX, alike, axes, chart, colour,
    dot, legend, line, save, thin, titled,
};

/// Name of the picture.
pub const NAME: &str = "reaches";

/// Width and height of a panel in pixels.
const PANEL_PX: (u32, u32) = (620, 600);

/// A panel: its title, the coordinates that it shows, and their names.
const PANELS: [(&str, [usize; 2], [&str; 2]); 2] =
    [("from above", [1, 0], ["y, m", "x, m"]), ("from the side", [1, 2], ["y, m", "z, m"])];

struct Reaches {
    title: String,
    /// Places reached, by dimension of the code, in the order of its values.
    places: Vec<Vec<[f64; 3]>>,
    /// Corners of the box that goals were shown in.
    goals: [[f64; 3]; 2],
}

/// Draws the places in metres that are reached while one dimension of the code rises and the others are 0, a line a
/// dimension, seen from above and from the side, as `DIR/reaches.png` and `.svg`; `goals` are the least and the
/// largest corner of the box that goals come from.
///
/// # Errors
/// [`FigureError`].
pub fn draw(
    places: &[Vec<[f64; 3]>],
    goals: [[f64; 3]; 2],
    title: &str,
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    save(&Reaches { title: title.to_string(), places: places.to_vec(), goals }, dir, NAME)
}

impl Figure for Reaches {
    fn size(&self) -> (u32, u32) {
        (2 * PANEL_PX.0, PANEL_PX.1)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let area = titled(area, &self.title, TITLE_PX)?;
        let dimension = |i| (format!("dimension {}", i + 1), Key::Line(line(colour(i))));
        let mut entries: Vec<_> = (0..self.places.len()).map(dimension).collect();
        entries.push(("goals".to_string(), Key::Line(thin(INK))));
        let area = legend(&area, &entries)?;
        for (panel, (view, shown, names)) in area.split_evenly((1, 2)).iter().zip(PANELS) {
            let all = || self.places.iter().flatten().chain(&self.goals);
            let range = |axis: usize| {
                all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
                    (low.min(place[axis]), high.max(place[axis]))
                })
            };
            let ranges = shown.map(range);
            let panel = titled(panel, view, LABEL_PX)?;
            let (x, y) = alike(&panel, ranges[0], ranges[1]);
            let mut chart = chart(&panel).build_cartesian_2d(x, y)?;
            axes(&mut chart)
                .x_desc(names[0])
                .y_desc(names[1])
                .x_labels(6)
                .y_labels(6)
                .x_label_formatter(&|x| format!("{x:.2}"))
                .y_label_formatter(&|y| format!("{y:.2}"))
                .draw()?;
            let [low, high] = self.goals.map(|corner| shown.map(|axis| corner[axis]));
            let outline = [
                (low[0], low[1]),
                (high[0], low[1]),
                (high[0], high[1]),
                (low[0], high[1]),
                (low[0], low[1]),
            ];
            chart.draw_series(LineSeries::new(outline, thin(INK)))?;
            for (i, places) in self.places.iter().enumerate() {
                let points = || places.iter().map(|place| (place[shown[0]], place[shown[1]]));
                chart.draw_series(LineSeries::new(points(), line(colour(i))))?;
                chart.draw_series(points().map(|at| dot(at, colour(i))))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dimension_is_named_in_both_views() {
        let dir = tempfile::tempdir().unwrap();
        let line = |axis: usize| -> Vec<[f64; 3]> {
            let place = |i: u32| {
                let mut place = [1.3, 0.7, 0.5];
                place[axis] += 0.05 * f64::from(i);
                place
            };
            (0..5).map(place).collect()
        };
        let goals = [[1.2, 0.6, 0.4], [1.5, 0.9, 0.7]];
        let places = vec![line(0), line(2)];
        crate::figures::look::check(&Reaches { title: "arm".to_string(), places, goals });
        let paths = draw(&[line(0), line(2)], goals, "arm", dir.path()).unwrap();
        let svg = std::fs::read_to_string(&paths[1]).unwrap();
        for said in ["dimension 1", "dimension 2", "goals", "from above", "from the side"] {
            assert!(svg.contains(said), "{said}");
        }
    }
}
