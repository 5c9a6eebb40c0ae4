//! How many codes demonstrations ask for: loss and overlap against the number of codes.

use std::path::{Path, PathBuf};

use plotters::series::LineSeries;

use super::{
    Area, Drawn, Figure, FigureError, INK, Key, LABEL_PX, axes, chart, colour, dashes, dot, legend,
    line, mark, save, titled,
};

/// Name of the picture of how many codes demonstrations ask for.
pub const NAME: &str = "codes";

/// Width and height of a panel in pixels.
const PANEL_PX: (u32, u32) = (560, 440);

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

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let entries =
            [("chosen", Key::Mark), ("most that clusters may share", Key::Dashes(line(INK)))];
        let area = legend(area, &entries.map(|(name, key)| (name.to_string(), key)))?;
        let most = self.rows.len().max(1) as f64;
        let (left, right) = ("loss, one code 1", "share between clusters");
        for (which, (panel, title)) in
            area.split_evenly((1, 2)).iter().zip([left, right]).enumerate()
        {
            let of = |row: &CountRow| if which == 0 { row.loss } else { row.between };
            let highest = self.rows.iter().map(of).fold(2.0 * self.limit, f64::max);
            let panel = titled(panel, title, LABEL_PX)?;
            let mut chart =
                chart(&panel).build_cartesian_2d(0.5..most + 0.5, 0.0..1.1 * highest)?;
            axes(&mut chart)
                .x_labels(self.rows.len().max(1))
                .x_desc("codes K")
                .y_desc("held-out demonstrations")
                .x_label_formatter(&|v| format!("{v:.0}"))
                .draw()?;
            let points = || self.rows.iter().map(|row| (row.codes as f64, of(row)));
            chart.draw_series(LineSeries::new(points(), line(colour(which))))?;
            chart.draw_series(self.rows.iter().map(|row| {
                let at = (row.codes as f64, of(row));
                if row.codes == self.chosen { mark(at) } else { dot(at, colour(which)) }
            }))?;
            if which == 1 {
                let limit = [(0.5, self.limit), (most + 0.5, self.limit)];
                chart.draw_series(dashes(limit, line(INK)))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_number_of_codes_is_marked() {
        let row =
            |codes| CountRow { codes, loss: 1.0 / codes as f64, between: 0.01 * codes as f64 };
        let rows: Vec<CountRow> = (1..=8).map(row).collect();
        let count = Count { rows: &rows, chosen: 3, limit: 0.1 };
        crate::figures::look::check(&count);
        // In both panels and the legend, in ink; the other points in colours.
        let svg = crate::figures::svg(&count).unwrap();
        let marks =
            svg.lines().filter(|line| line.starts_with("<circle") && line.contains("#282828"));
        assert_eq!((marks.count(), svg.matches("<circle").count()), (3, 2 * 8 + 1));
    }
}
