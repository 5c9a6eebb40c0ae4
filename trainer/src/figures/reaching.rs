//! Ways of the arm through space, and the targets that their codes were found for (paper, Fig. 4).

use std::path::{Path, PathBuf};

use plotters::series::LineSeries;

use super::{
    Area, Drawn, FAINT, Figure, FigureError, INK, Key, TICK_PX, TITLE_PX, colour, dot, legend,
    line, px, ring, save, text, thin, titled,
};
use crate::evaluate::goals::Reach;

/// Name of the picture.
pub const NAME: &str = "reaching";

/// Width and height in pixels.
const SIZE_PX: (u32, u32) = (900, 800);
/// The view, radians.
const PITCH: f64 = 0.35;
const YAW: f64 = 0.65;
/// Around what is shown: room between the numbers of two axes where they meet.
const MARGIN_M: f64 = 0.05;

struct Reaching {
    title: String,
    reaches: Vec<Reach>,
    /// Corners of the box that goals come from, m.
    goals: [[f64; 3]; 2],
}

/// Draws ways in three dimensions, in metres, each from a dark dot at its beginning to its end, with blue
/// circles at the targets, where there are any, as `DIR/reaching.png` and `.svg`. `goals` are the least and
/// the largest corner of the box that goals come from.
///
/// # Errors
/// [`FigureError`].
pub fn draw(
    reaches: &[Reach],
    goals: [[f64; 3]; 2],
    title: &str,
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    save(&Reaching { title: title.to_string(), reaches: reaches.to_vec(), goals }, dir, NAME)
}

/// The chart's coordinates of a place: its second axis stands upright.
fn upright([x, y, z]: [f64; 3]) -> (f64, f64, f64) {
    (x, z, y)
}

impl Figure for Reaching {
    fn size(&self) -> (u32, u32) {
        SIZE_PX
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let ways = self.reaches.iter().flat_map(|reach| &reach.way_m);
        let all = ways.chain(&self.goals).collect::<Vec<_>>();
        let range = |axis: usize| {
            let (low, high) =
                all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
                    (low.min(place[axis]), high.max(place[axis]))
                });
            low - MARGIN_M..high + MARGIN_M
        };
        let area = titled(area, &self.title, TITLE_PX)?;
        let mut entries = vec![("start".to_string(), Key::Dot(INK))];
        if self.reaches.iter().any(|reach| reach.target_m.is_some()) {
            entries.push(("target".to_string(), Key::Ring));
        }
        let area = legend(&area, &entries)?;
        let mut chart = plotters::chart::ChartBuilder::on(&area).build_cartesian_3d(
            range(0),
            range(2),
            range(1),
        )?;
        chart.with_projection(|mut projection| {
            (projection.pitch, projection.yaw, projection.scale) = (PITCH, YAW, 0.8);
            projection.into_matrix()
        });
        chart
            .configure_axes()
            .axis_panel_style(plotters::style::TRANSPARENT)
            .bold_grid_style(thin(FAINT))
            .tick_size(px(6))
            .light_grid_style(plotters::style::TRANSPARENT)
            .label_style(text(TICK_PX))
            .x_labels(4)
            .y_labels(5)
            .z_labels(4)
            .x_formatter(&|x| format!("x {x:.2} m"))
            .y_formatter(&|z| format!("z {z:.2} m"))
            .z_formatter(&|y| format!("y {y:.2} m"))
            .draw()?;
        for (i, reach) in self.reaches.iter().enumerate() {
            let way = reach.way_m.iter().copied().map(upright);
            chart.draw_series(LineSeries::new(way, line(colour(i))))?;
            let begin = reach.way_m.first().copied().map(upright);
            chart.draw_series(begin.map(|at| dot(at, INK)))?;
            chart.draw_series(reach.target_m.map(upright).map(ring))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_circled_and_every_way_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let reach = |i: u32, target_m| {
            let at = f64::from(i) * 0.02;
            Reach { target_m, way_m: vec![[1.3, 0.7, 0.5], [1.3 + at, 0.7 - at, 0.5 + at]] }
        };
        let goals = [[1.2, 0.6, 0.4], [1.5, 0.9, 0.7]];
        let circles = |reaches: &[Reach]| {
            let paths = draw(reaches, goals, "arm", dir.path()).unwrap();
            let svg = std::fs::read_to_string(&paths[1]).unwrap();
            assert!(svg.contains("x 1.") && svg.contains("z 0.") && svg.contains("y 0."), "{svg}");
            svg.matches("<circle").count()
        };
        // Three beginnings and three targets; without targets the beginnings alone.
        let with: Vec<Reach> = (1..4).map(|i| reach(i, Some([1.4, 0.8, 0.5]))).collect();
        assert_eq!(circles(&with), 6 + 2, "and two in the legend");
        let title = "SOG-BC on fetchreach: codes of demonstrations".to_string();
        crate::figures::look::check(&Reaching { title, reaches: with, goals });
        let without: Vec<Reach> = (1..4).map(|i| reach(i, None)).collect();
        assert_eq!(circles(&without), 3 + 1, "and one in the legend");
    }
}
