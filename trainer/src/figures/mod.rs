//! Figures, each as PNG and SVG: print-sized, with units, in colours that colour-blind readers
//! tell apart (Okabe and Ito 2008).
//!
//! * [`trajectories`]: what each code does (paper, Figs. 1 and 3);
//! * [`codes`]: how many codes demonstrations ask for;
//! * [`contents`]: what is in demonstrations;
//! * [`curves`]: learning curves from a run's metrics;
//! * [`images`]: what a generator of pictures has learned (paper, Figs. 9 to 11);
//! * [`velocities`]: speed by code (paper, Fig. 2);
//! * [`reaching`], [`reaches`]: ways to targets, and places reached by code (paper, Figs. 4 and 8);
//! * [`robustness`]: returns over λ_S, and paths under switched codes (paper, Figs. 6 and 7).

pub mod codes;
pub mod contents;
pub mod curves;
pub mod images;
pub mod reaches;
pub mod reaching;
pub mod robustness;
pub mod trajectories;
pub mod velocities;

use std::{
    path::{Path, PathBuf},
    sync::Once,
};

use plotters::{
    backend::DrawingBackend,
    chart::{ChartBuilder, ChartContext, LabelAreaPosition, MeshStyle, SeriesLabelPosition},
    coord::{
        Shift,
        cartesian::Cartesian2d,
        ranged1d::{Ranged, ValueFormatter},
    },
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    prelude::{BitMapBackend, SVGBackend},
    style::{Color, FontStyle, IntoFont, RGBColor, register_font},
};
use sog_rl::run::write_atomic;

/// Okabe–Ito palette without its yellow and black: codes in order.
pub const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// Axis labels and grid.
pub(crate) const INK: RGBColor = RGBColor(40, 40, 40);
pub(crate) const FAINT: RGBColor = RGBColor(225, 225, 225);

/// Font sizes in pixels.
pub(crate) const TITLE_PX: u32 = 26;
pub(crate) const LABEL_PX: u32 = 20;
pub(crate) const TICK_PX: u32 = 17;

/// Why a figure is not drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FigureError {
    /// The file cannot be written or the drawing backend refuses.
    #[error("{}: cannot draw ({reason})", path.display())]
    Draw {
        /// The picture.
        path: PathBuf,
        /// What the backend said.
        reason: String,
    },
    /// The metrics cannot be read.
    #[error("{}: {reason}", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A figure that any backend can draw.
pub(crate) trait Figure {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws on an area of [`size`](Self::size), white to begin with.
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        DB::ErrorType: 'static;
}

/// The colour of code number `code`.
pub fn colour(code: usize) -> RGBColor {
    PALETTE[code % PALETTE.len()]
}

/// Writes `DIR/name.png` and `DIR/name.svg` and returns their paths.
pub(crate) fn save(
    figure: &impl Figure,
    dir: &Path,
    name: &str,
) -> Result<Vec<PathBuf>, FigureError> {
    let png = save_png(figure, dir, name)?;
    let svg = dir.join(format!("{name}.svg"));
    let mut text = String::new();
    paint(figure, SVGBackend::with_string(&mut text, figure.size()))
        .map_err(|e| failed(&svg, e.to_string()))?;
    write_atomic(&svg, text.as_bytes()).map_err(|e| failed(&svg, e.to_string()))?;
    Ok(vec![png, svg])
}

/// Writes `DIR/name.png` alone, for figures that are pixels themselves, and returns its path.
pub(crate) fn save_png(
    figure: &impl Figure,
    dir: &Path,
    name: &str,
) -> Result<PathBuf, FigureError> {
    use_own_font();
    let png = dir.join(format!("{name}.png"));
    std::fs::create_dir_all(dir).map_err(|e| failed(&png, e.to_string()))?;
    let (width, height) = figure.size();
    let mut pixels = vec![0; (width * height * 3) as usize];
    paint(figure, BitMapBackend::with_buffer(&mut pixels, (width, height)))
        .map_err(|e| failed(&png, e.to_string()))?;
    let bytes = encode(&pixels, (width, height)).map_err(|e| failed(&png, e.to_string()))?;
    write_atomic(&png, &bytes).map_err(|e| failed(&png, e.to_string()))?;
    Ok(png)
}

fn failed(path: &Path, reason: String) -> FigureError {
    FigureError::Draw { path: path.into(), reason }
}

/// RGB `pixels` as a PNG file.
pub(crate) fn encode(
    pixels: &[u8],
    (width, height): (u32, u32),
) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// A chart with a title, `left` pixels for the names and numbers of the vertical axis, still to be given its ranges.
pub(crate) fn titled<'a, 'b, DB: DrawingBackend>(
    area: &'a DrawingArea<DB, Shift>,
    title: &str,
    left: u32,
) -> ChartBuilder<'a, 'b, DB> {
    let mut chart = ChartBuilder::on(area);
    chart
        .margin(16)
        .caption(title, ("sans-serif", TITLE_PX).into_font())
        .set_label_area_size(LabelAreaPosition::Left, left)
        .set_label_area_size(LabelAreaPosition::Bottom, 56);
    chart
}

/// Axes in the style of all figures, still to be named and drawn.
pub(crate) fn axes<'a, 'b, DB, X, Y>(
    chart: &'b mut ChartContext<'a, DB, Cartesian2d<X, Y>>,
) -> MeshStyle<'a, 'b, X, Y, DB>
where
    DB: DrawingBackend,
    X: Ranged + ValueFormatter<X::ValueType>,
    Y: Ranged + ValueFormatter<Y::ValueType>,
{
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(plotters::style::TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style(("sans-serif", TICK_PX).into_font().color(&INK))
        .axis_desc_style(("sans-serif", LABEL_PX).into_font().color(&INK));
    mesh
}

/// Draws the names of the series.
pub(crate) fn legend<'a, DB, X, Y>(
    chart: &mut ChartContext<'a, DB, Cartesian2d<X, Y>>,
    position: SeriesLabelPosition,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>>
where
    DB: DrawingBackend + 'a,
    X: Ranged,
    Y: Ranged,
{
    chart
        .configure_series_labels()
        .position(position)
        .background_style(plotters::style::WHITE.mix(0.85))
        .border_style(FAINT)
        .label_font(("sans-serif", TICK_PX).into_font().color(&INK))
        .draw()
}

fn paint<DB: DrawingBackend>(
    figure: &impl Figure,
    backend: DB,
) -> Result<(), Box<dyn std::error::Error>>
where
    DB::ErrorType: 'static,
{
    let area = backend.into_drawing_area();
    area.fill(&plotters::style::WHITE)?;
    figure.draw(&area)?;
    area.present()?;
    Ok(())
}

/// The font comes with the program: a bare machine has none.
fn use_own_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for style in [FontStyle::Normal, FontStyle::Bold] {
            // Fails only for bytes that are no font; these are.
            let _ = register_font("sans-serif", style, epaint_default_fonts::UBUNTU_LIGHT);
        }
    });
}
