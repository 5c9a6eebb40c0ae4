//! How many codes demonstrations ask for: loss and overlap against the number of codes.

use std::path::{Path, PathBuf};

use plotters::{
    backend::DrawingBackend,
    coord::Shift,
    drawing::DrawingArea,
    element::Circle,
    series::{DashedLineSeries, LineSeries},
    style::Color,
};

use super::{Figure, FigureError, INK, axes, colour, save, titled};

/// Name of the picture of how many codes demonstrations ask for.
pub const NAME: &str = "codes";

/// Width and height of a panel in pixels.
const PANEL_PX: (u32, u32) = (560, 420);

/// A number of codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountRow {
    /// K.
    pub codes: usize,
    /// Held-out loss, relative to that of one code.
    pub loss: f64,
    /// Share of held-out trajectories between two clusters.
    pub between: f64,
}

struct Count<'a> {
    rows: &'a [CountRow],
    chosen: usize,
    limit: f64,
}

/// Draws `rows` as `DIR/codes.png` and `.svg`: loss on the left, overlap on the right with its
/// `limit` dashed; the `chosen` number of codes is filled.
///
/// # Errors
/// [`FigureError`].
pub fn draw(
    rows: &[CountRow],
    chosen: usize,
    limit: f64,
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    save(&Count { rows, chosen, limit }, dir, NAME)
}

impl Figure for Count<'_> {
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
        let most = self.rows.len().max(1) as f64;
        let (left, right) = ("loss, one code 1", "share between clusters");
        for (which, (panel, title)) in
            area.split_evenly((1, 2)).iter().zip([left, right]).enumerate()
        {
            let of = |row: &CountRow| if which == 0 { row.loss } else { row.between };
            let highest = self.rows.iter().map(of).fold(2.0 * self.limit, f64::max);
            let mut chart =
                titled(panel, title, 64).build_cartesian_2d(0.5..most + 0.5, 0.0..1.1 * highest)?;
            axes(&mut chart)
                .x_labels(self.rows.len().max(1))
                .x_desc("codes K")
                .y_desc("held-out demonstrations")
                .x_label_formatter(&|v| format!("{v:.0}"))
                .draw()?;
            let points = || self.rows.iter().map(|row| (row.codes as f64, of(row)));
            chart.draw_series(LineSeries::new(points(), colour(which).stroke_width(3)))?;
            chart.draw_series(self.rows.iter().map(|row| {
                let at = (row.codes as f64, of(row));
                if row.codes == self.chosen {
                    Circle::new(at, 7, INK.filled())
                } else {
                    Circle::new(at, 4, colour(which).filled())
                }
            }))?;
            if which == 1 {
                let line = [(0.5, self.limit), (most + 0.5, self.limit)];
                chart.draw_series(DashedLineSeries::new(line, 8, 6, INK.stroke_width(2)))?;
            }
        }
        Ok(())
    }
}
