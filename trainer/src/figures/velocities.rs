//! Speed against the code of a policy with one continuous code (paper, Fig. 2).

use std::path::{Path, PathBuf};

use plotters::{element::Polygon, series::LineSeries, style::Color};

use super::{
    Area, Drawn, Figure, FigureError, INK, Key, TITLE_PX, axes, chart, colour, dashes, legend,
    line, save, titled,
};

/// Name of the picture.
pub const NAME: &str = "velocities";

/// Quantiles of the speeds under one code that the band lies between, and its middle.
const BAND: [f64; 3] = [0.1, 0.5, 0.9];

struct Velocities {
    title: String,
    /// Distribution function at the code, and [`BAND`] of the speeds under it.
    points: Vec<(f64, [f64; 3])>,
    /// Least and largest speed that was demonstrated.
    demonstrated: [f64; 2],
}

/// Draws the band that the middle 80 % of the speeds under each code lie in, over the distribution function of
/// the prior at the code, as `DIR/velocities.png` and `.svg`. `speeds`: the function's value with the speeds in
/// m/s, of rising values. Demonstrations, spread evenly over the speeds from `low` to `high`, would be the
/// dashed line, or its mirror image: which end of the code is fast is not said to the learner.
///
/// # Errors
/// [`FigureError`].
pub fn draw(
    speeds: &[(f64, Vec<f64>)],
    (low, high): (f64, f64),
    title: &str,
    dir: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    let band = |speeds: &[f64]| {
        let mut sorted = speeds.to_vec();
        sorted.sort_by(f64::total_cmp);
        BAND.map(|q| {
            sorted.get(((sorted.len().max(1) - 1) as f64 * q) as usize).copied().unwrap_or(f64::NAN)
        })
    };
    let points: Vec<(f64, [f64; 3])> = speeds.iter().map(|(cdf, all)| (*cdf, band(all))).collect();
    let demonstrated = if rises(&points) { [low, high] } else { [high, low] };
    save(&Velocities { title: title.to_string(), points, demonstrated }, dir, NAME)
}

/// Whether the median rises from the first code to the last.
fn rises(points: &[(f64, [f64; 3])]) -> bool {
    match points {
        [first, .., last] => last.1[1] >= first.1[1],
        _ => true,
    }
}

impl Figure for Velocities {
    fn size(&self) -> (u32, u32) {
        (760, 600)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let all = || self.points.iter().flat_map(|(_, band)| *band).chain(self.demonstrated);
        let low = all().fold(f64::INFINITY, f64::min).min(0.0);
        let high = all().fold(f64::NEG_INFINITY, f64::max);
        let (fill, middle) = (colour(0).mix(0.25).filled(), line(colour(0)));
        let area = titled(area, &self.title, TITLE_PX)?;
        let entries = [
            ("middle 80 %", Key::Band(fill)),
            ("median", Key::Line(middle)),
            ("demonstrations", Key::Dashes(line(INK))),
        ];
        let area = legend(&area, &entries.map(|(name, key)| (name.to_string(), key)))?;
        let above = 0.05 * (high - low);
        let mut chart = chart(&area).build_cartesian_2d(0.0..1.0, low..high + above)?;
        axes(&mut chart)
            .x_desc("distribution function of the prior at the code")
            .y_desc("speed in the second half of an episode, m/s")
            .draw()?;
        let edge = |i: usize| self.points.iter().map(move |(cdf, band)| (*cdf, band[i]));
        let outline: Vec<(f64, f64)> = edge(0).chain(edge(2).rev()).collect();
        chart.draw_series([Polygon::new(outline, fill)])?;
        chart.draw_series(LineSeries::new(edge(1), middle))?;
        let [from, to] = self.demonstrated;
        chart.draw_series(dashes([(0.0, from), (1.0, to)], line(INK)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashed_line_rises_as_the_band_does() {
        let band = |median: f64| [median - 0.1, median, median + 0.1];
        assert!(rises(&[(0.1, band(1.0)), (0.9, band(2.0))]));
        assert!(!rises(&[(0.1, band(2.0)), (0.5, band(3.0)), (0.9, band(1.0))]));
    }

    #[test]
    fn any_number_of_codes_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let speeds: Vec<(f64, Vec<f64>)> =
            (1..10).map(|i| (0.1 * f64::from(i), vec![3.0 - 0.3 * f64::from(i); 5])).collect();
        let paths = draw(&speeds, (0.5, 3.0), "falling", dir.path()).unwrap();
        let svg = std::fs::read_to_string(&paths[1]).unwrap();
        assert!(svg.contains("falling") && svg.contains("middle 80 %") && svg.contains("<polygon"));
        let points = (1..10).map(|i| (0.1 * f64::from(i), [f64::from(i), 1.0, 2.0])).collect();
        let title = "SOG-BC on halfcheetah-vel: speed by code".to_string();
        crate::figures::look::check(&Velocities { title, points, demonstrated: [0.5, 3.0] });
        let empty = draw(&[], (0.5, 3.0), "nothing", dir.path());
        assert!(empty.is_ok(), "{empty:?}");
    }
}
