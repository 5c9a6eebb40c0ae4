//! Figures, each as SVG and as the PNG that is made from it: print-sized, with units, in colours that colour-blind
//! readers tell apart (Okabe and Ito 2008), with the font that comes with the program.
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
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use plotters::{
    chart::{ChartBuilder, ChartContext, LabelAreaPosition, MeshStyle},
    coord::{
        Shift,
        cartesian::Cartesian2d,
        ranged1d::{Ranged, ValueFormatter},
    },
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, PathElement, Rectangle},
    prelude::SVGBackend,
    series::DashedLineSeries,
    style::{
        Color, FontStyle, IntoFont, RGBColor, ShapeStyle, TextStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};
use resvg::{
    tiny_skia::{Pixmap, PremultipliedColorU8, Transform},
    usvg::{Options, Tree, fontdb::Database},
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

/// The program's own font under its name; a viewer without it takes its sans-serif.
const FONT: &str = "Ubuntu Light, Ubuntu, sans-serif";

/// Pixels of the PNG for one of the figure: enough for print.
const PRINT: u32 = 2;

/// Units of drawing in a pixel: coordinates are whole numbers, and lines on whole pixels would be stairs.
const UNITS: u32 = 10;

/// Room around a chart: above, below, at the left and at the right, in pixels.
const ROOM: [u32; 4] = [10, 10, 14, 26];
/// Room for the numbers and names of the axes: at the left and below.
const AXES: [u32; 2] = [80, 56];

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

/// What figures are drawn on, in units of which [`px`] has the number in a pixel.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What drawing comes to.
pub(crate) type Drawn<T = ()> = Result<T, Box<dyn Error>>;

/// A figure.
pub(crate) trait Figure {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws on an area of [`size`](Self::size), white to begin with.
    fn draw(&self, area: &Area<'_>) -> Drawn;

    /// Pictures that are part of the figure: of its PNG alone.
    fn pictures(&self) -> Vec<Picture> {
        vec![]
    }
}

/// Pixels in a figure.
pub(crate) struct Picture {
    /// The upper left corner, in pixels of the figure.
    pub(crate) at: (u32, u32),
    /// Pixels in a row.
    pub(crate) width: u32,
    /// Pixels of the figure for one of the picture, across and down.
    pub(crate) scale: u32,
    /// Row by row from the top.
    pub(crate) rgb: Vec<[u8; 3]>,
}

/// Pixels in units of drawing.
pub(crate) const fn px(pixels: u32) -> u32 {
    UNITS * pixels
}

/// Like [`px`], for places.
pub(crate) const fn at(x: i32, y: i32) -> (i32, i32) {
    (UNITS as i32 * x, UNITS as i32 * y)
}

/// The colour of code number `code`.
pub fn colour(code: usize) -> RGBColor {
    PALETTE[code % PALETTE.len()]
}

/// Lines of data, and thinner ones.
pub(crate) fn line(colour: impl Color) -> ShapeStyle {
    colour.stroke_width(px(2))
}

/// Outlines, and many lines close together.
pub(crate) fn thin(colour: impl Color) -> ShapeStyle {
    colour.stroke_width(px(1))
}

/// What is compared with: a dashed line.
pub(crate) fn dashes<I>(points: I, style: ShapeStyle) -> DashedLineSeries<I::IntoIter, u32>
where
    I: IntoIterator<IntoIter: Clone>,
{
    DashedLineSeries::new(points, px(8), px(6), style)
}

/// A measured point.
pub(crate) fn dot<C>(at: C, colour: RGBColor) -> Circle<C, u32> {
    Circle::new(at, px(4), colour.filled())
}

/// One of many points.
pub(crate) fn speck<C>(at: C, colour: RGBColor) -> Circle<C, u32> {
    Circle::new(at, px(5) / 2, colour.mix(0.75).filled())
}

/// A point that something is said of.
pub(crate) fn mark<C>(at: C) -> Circle<C, u32> {
    Circle::new(at, px(6), INK.filled())
}

/// A place to be reached.
pub(crate) fn ring<C>(at: C) -> Circle<C, u32> {
    Circle::new(at, px(7), line(colour(0)))
}

/// A number at an axis, to two decimals, small ones to four digits: those at neighbouring ticks differ.
pub(crate) fn number(value: &f64) -> String {
    let below_one = (-value.abs().log10().floor()).clamp(0.0, 5.0) as usize;
    let text = format!("{value:.*}", if below_one == 0 { 2 } else { below_one + 3 });
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => "0".to_string(),
        shown => shown.to_string(),
    }
}

/// Text of a size in pixels.
pub(crate) fn text(size_px: u32) -> TextStyle<'static> {
    (FONT, px(size_px)).into_font().color(&INK)
}

/// Writes `DIR/name.svg` and `DIR/name.png`, which is made from it, and returns their paths, the PNG's first.
pub(crate) fn save(
    figure: &impl Figure,
    dir: &Path,
    name: &str,
) -> Result<Vec<PathBuf>, FigureError> {
    let path = dir.join(format!("{name}.svg"));
    let text = svg(figure).map_err(|e| failed(&path, &*e))?;
    let png = write_png(figure, &text, dir, name)?;
    write_atomic(&path, text.as_bytes()).map_err(|e| failed(&path, &e))?;
    Ok(vec![png, path])
}

/// Writes `DIR/name.png` alone, for figures with pictures in them, and returns its path.
pub(crate) fn save_png(
    figure: &impl Figure,
    dir: &Path,
    name: &str,
) -> Result<PathBuf, FigureError> {
    let text = svg(figure).map_err(|e| failed(&dir.join(format!("{name}.png")), &*e))?;
    write_png(figure, &text, dir, name)
}

fn write_png(
    figure: &impl Figure,
    svg: &str,
    dir: &Path,
    name: &str,
) -> Result<PathBuf, FigureError> {
    let path = dir.join(format!("{name}.png"));
    std::fs::create_dir_all(dir).map_err(|e| failed(&path, &e))?;
    let mut pixels = render(svg, &FONTS).map_err(|e| failed(&path, &*e))?;
    for picture in figure.pictures() {
        stamp(&mut pixels, &picture);
    }
    let rgb: Vec<u8> =
        pixels.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
    let bytes = encode(&rgb, (pixels.width(), pixels.height())).map_err(|e| failed(&path, &e))?;
    write_atomic(&path, &bytes).map_err(|e| failed(&path, &e))?;
    Ok(path)
}

fn failed(path: &Path, reason: &dyn Error) -> FigureError {
    FigureError::Draw { path: path.into(), reason: reason.to_string() }
}

/// The figure as SVG.
fn svg(figure: &impl Figure) -> Drawn<String> {
    LazyLock::force(&FONTS);
    let (width, height) = figure.size();
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (px(width), px(height))).into_drawing_area();
        area.fill(&plotters::style::WHITE)?;
        figure.draw(&area)?;
        area.present()?;
    }
    // The size in pixels, and round corners for lines; numbers as far above as below the tick that they belong to; a
    // pixel where plotters lets no width be chosen.
    let (_, drawn) = text.split_once('\n').unwrap_or_default();
    let (wide, high) = (px(width), px(height));
    Ok(format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {wide} {high}\" \
         xmlns=\"http://www.w3.org/2000/svg\" stroke-linejoin=\"round\">\n{}",
        drawn
            .replace("dy=\"0.5ex\"", "dy=\"0.35em\"")
            .replace("stroke-width=\"1\"", &format!("stroke-width=\"{UNITS}\""))
    ))
}

/// The picture of an SVG at the size of print.
fn render(svg: &str, fonts: &Arc<Database>) -> Drawn<Pixmap> {
    let options = Options { fontdb: Arc::clone(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size();
    let mut pixels = Pixmap::new(PRINT * size.width(), PRINT * size.height())
        .ok_or("a picture without pixels")?;
    let scale = PRINT as f32;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    Ok(pixels)
}

/// Puts a picture where it belongs.
fn stamp(pixels: &mut Pixmap, picture: &Picture) {
    let side = PRINT * picture.scale;
    let width = pixels.width();
    let rows = picture.rgb.chunks(picture.width.max(1) as usize);
    for (row, y0) in rows.zip((PRINT * picture.at.1..).step_by(side as usize)) {
        for (&[r, g, b], x0) in row.iter().zip((PRINT * picture.at.0..).step_by(side as usize)) {
            let Some(colour) = PremultipliedColorU8::from_rgba(r, g, b, 255) else { continue };
            for y in y0..y0 + side {
                let from = (y * width + x0) as usize;
                pixels.pixels_mut()[from..from + side as usize].fill(colour);
            }
        }
    }
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
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// Draws a title in the middle of what is above the rest, which is returned: on two lines, and smaller, where it is too
/// long for one.
pub(crate) fn titled<'a>(area: &Area<'a>, title: &str, size_px: u32) -> Drawn<Area<'a>> {
    let width = area.dim_in_pixel().0;
    let room = width.saturating_sub(px(2 * ROOM[2]));
    let wide =
        |line: &str, size| Ok::<_, Box<dyn Error>>(area.estimate_text_size(line, &text(size))?.0);
    // Best where the halves are alike: between words, if there are any.
    let middle = title.len() / 2;
    let between = title.match_indices(|c: char| !c.is_alphanumeric()).map(|(i, c)| i + c.len());
    let anywhere = title.char_indices().map(|(i, _)| i);
    let nearest =
        |places: &mut dyn Iterator<Item = usize>| places.min_by_key(|i| i.abs_diff(middle));
    let cut = nearest(&mut between.filter(|&i| i < title.len()))
        .or_else(|| nearest(&mut anywhere.skip(1)));
    let (first, second) = title.split_at(cut.unwrap_or(0));
    let layouts = [vec![title], vec![first.trim_end(), second]];
    let mut size = size_px;
    let lines = 'fit: loop {
        for lines in &layouts {
            let widths = lines.iter().map(|line| wide(line, size)).collect::<Drawn<Vec<u32>>>()?;
            if size == 1 || widths.into_iter().all(|wide| wide <= room) {
                break 'fit lines;
            }
        }
        size -= 1;
    };
    let step = size + size / 4;
    for (i, line) in lines.iter().enumerate() {
        let y = px(ROOM[0] + step / 2 + i as u32 * step);
        let style = text(size).pos(Pos::new(HPos::Center, VPos::Center));
        area.draw_text(line, &style, ((width / 2) as i32, y as i32))?;
    }
    Ok(area.split_vertically(px(ROOM[0] + lines.len() as u32 * step)).1)
}

/// How the data of a legend's entry are drawn.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Line(ShapeStyle),
    Dashes(ShapeStyle),
    Band(ShapeStyle),
    Dot(RGBColor),
    Mark,
    Ring,
}

/// Width of a key in pixels, its distance from its name, and between one name and the next key.
const KEY: [u32; 3] = [26, 8, 28];

/// Draws the names of what is shown below the rest, which is returned; nothing if there are none.
pub(crate) fn legend<'a>(area: &Area<'a>, entries: &[(String, Key)]) -> Drawn<Area<'a>> {
    let style = text(TICK_PX).pos(Pos::new(HPos::Left, VPos::Center));
    let mut widest = 0;
    for (name, _) in entries {
        widest = widest.max(area.estimate_text_size(name, &style)?.0);
    }
    let (width, height) = area.dim_in_pixel();
    let cell = widest + px(KEY.iter().sum());
    let room = width.saturating_sub(px(ROOM[2] + ROOM[3]));
    let columns = ((room / cell) as usize).clamp(1, entries.len().max(1));
    let rows = entries.len().div_ceil(columns) as u32;
    // Rows alike.
    let columns = entries.len().div_ceil(rows.max(1) as usize).max(1);
    let step = TICK_PX + TICK_PX / 3;
    let below = if rows == 0 { 0 } else { px(rows * step + ROOM[1]) };
    let (rest, place) = area.split_vertically(height.saturating_sub(below));
    let left = width.saturating_sub(columns as u32 * cell - px(KEY[2])) / 2;
    for (i, (name, key)) in entries.iter().enumerate() {
        let (column, row) = ((i % columns) as u32, (i / columns) as u32);
        let (x, y) = ((left + column * cell) as i32, px(row * step + step / 2) as i32);
        let end = x + px(KEY[0]) as i32;
        let middle = ((x + end) / 2, y);
        match *key {
            Key::Line(style) => place.draw(&PathElement::new([(x, y), (end, y)], style))?,
            Key::Dashes(style) => {
                let dash = |from: u32, to: u32| [(x + px(from) as i32, y), (x + px(to) as i32, y)];
                place.draw(&PathElement::new(dash(0, 10), style))?;
                place.draw(&PathElement::new(dash(16, 26), style))?;
            }
            Key::Band(style) => {
                let half = px(6) as i32;
                place.draw(&Rectangle::new([(x, y - half), (end, y + half)], style))?;
            }
            Key::Dot(colour) => place.draw(&dot(middle, colour))?,
            Key::Mark => place.draw(&mark(middle))?,
            Key::Ring => place.draw(&ring(middle))?,
        }
        place.draw_text(name, &style, (end + px(KEY[1]) as i32, y))?;
    }
    Ok(rest)
}

/// A chart with room for its axes, still to be given its ranges.
pub(crate) fn chart<'a, 'b, 'c>(area: &'b Area<'a>) -> ChartBuilder<'b, 'c, SVGBackend<'a>> {
    let mut chart = ChartBuilder::on(area);
    chart
        .margin_top(px(ROOM[0]))
        .margin_bottom(px(ROOM[1]))
        .margin_left(px(ROOM[2]))
        .margin_right(px(ROOM[3]))
        .set_label_area_size(LabelAreaPosition::Left, px(AXES[0]))
        .set_label_area_size(LabelAreaPosition::Bottom, px(AXES[1]));
    chart
}

/// Ranges of a [`chart`] on `area` around `x` and `y` in which one unit is as long on either axis.
pub(crate) fn alike(
    area: &Area<'_>,
    x: (f64, f64),
    y: (f64, f64),
) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
    let (width, height) = area.dim_in_pixel();
    let width = f64::from(width.saturating_sub(px(ROOM[2] + ROOM[3] + AXES[0])).max(1));
    let height = f64::from(height.saturating_sub(px(ROOM[0] + ROOM[1] + AXES[1])).max(1));
    let scale = 1.08 * ((x.1 - x.0) / width).max((y.1 - y.0) / height);
    let around = |(low, high): (f64, f64), size: f64| {
        let middle = 0.5 * (low + high);
        middle - 0.5 * scale * size..middle + 0.5 * scale * size
    };
    (around(x, width), around(y, height))
}

/// Axes in the style of all figures, still to be named and drawn.
pub(crate) fn axes<'a, 'b, 'c, X, Y>(
    chart: &'b mut ChartContext<'a, SVGBackend<'c>, Cartesian2d<X, Y>>,
) -> MeshStyle<'a, 'b, X, Y, SVGBackend<'c>>
where
    X: Ranged + ValueFormatter<X::ValueType>,
    Y: Ranged + ValueFormatter<Y::ValueType>,
{
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(plotters::style::TRANSPARENT)
        .bold_line_style(thin(FAINT))
        .axis_style(thin(INK))
        .set_all_tick_mark_size(px(5))
        .label_style(text(TICK_PX))
        .axis_desc_style(text(LABEL_PX));
    mesh
}

/// The fonts that come with the program, a bare machine has none: for measuring and, in here, for drawing.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    // Fails only for bytes that are no font; these are.
    let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    let mut fonts = Database::new();
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    // For letters that the first lacks.
    fonts.load_font_data(epaint_default_fonts::HACK_REGULAR.to_vec());
    Arc::new(fonts)
});

/// What every figure keeps to.
#[cfg(test)]
pub(crate) mod look {
    use super::*;
    use resvg::usvg::{Group, Node, Rect};

    /// Boxes of letters, in pixels, with what they say.
    fn texts(group: &Group, found: &mut Vec<(String, Rect)>) {
        for node in group.children() {
            match node {
                Node::Group(group) => texts(group, found),
                Node::Text(text) => {
                    let said = text.chunks().iter().map(|chunk| chunk.text()).collect();
                    found.push((said, text.flattened().abs_bounding_box()));
                }
                _ => {}
            }
        }
    }

    /// Every text is drawn, in the picture, and over nothing, neither other text nor data; nothing is cut at the edge.
    pub(crate) fn check(figure: &impl Figure) {
        let svg = svg(figure).unwrap();
        let options = Options { fontdb: Arc::clone(&FONTS), ..Options::default() };
        let tree = Tree::from_str(&svg, &options).unwrap();
        let mut all = vec![];
        texts(tree.root(), &mut all);
        assert_eq!(all.len(), svg.matches("<text").count(), "text without a font");
        let (width, height) = (tree.size().width(), tree.size().height());
        // Without fonts, all that is no text.
        let drawn = render(&svg, &Arc::new(Database::new())).unwrap();
        let ink = |x: u32, y: u32| {
            let p = drawn.pixel(x, y).unwrap();
            assert_eq!(p.alpha(), 255, "the ground is white");
            [p.red(), p.green(), p.blue()] != [255; 3]
        };
        for (i, (said, place)) in all.iter().enumerate() {
            let inside = place.left() >= 4.0 && place.top() >= 4.0;
            let inside = inside && place.right() <= width - 4.0 && place.bottom() <= height - 4.0;
            assert!(inside, "`{said}` is cut: {place:?} of {width} by {height}");
            for (other, beside) in &all[..i] {
                assert!(place.intersect(beside).is_none(), "`{said}` is over `{other}`");
            }
            let pixels =
                |from: f32, to: f32| (PRINT as f32 * from) as u32..(PRINT as f32 * to) as u32;
            let clear = pixels(place.top(), place.bottom())
                .all(|y| !pixels(place.left(), place.right()).any(|x| ink(x, y)));
            assert!(clear, "`{said}` is over what is drawn: {place:?}");
        }
        let (right, below) = (drawn.width() - 1, drawn.height() - 1);
        assert!(!(0..=right).any(|x| ink(x, 0) || ink(x, below)), "ink at the edge");
        assert!(!(0..=below).any(|y| ink(0, y) || ink(right, y)), "ink at the edge");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line below a title, and named.
    struct Line(String);

    impl Figure for Line {
        fn size(&self) -> (u32, u32) {
            (500, 400)
        }

        fn draw(&self, area: &Area<'_>) -> Drawn {
            let area = titled(area, &self.0, TITLE_PX)?;
            let names = (0..7).map(|i| (format!("way number {i}"), Key::Line(line(colour(i)))));
            let area = legend(&area, &names.collect::<Vec<_>>())?;
            let mut chart = chart(&area).build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
            axes(&mut chart).x_desc("x / m").y_desc("y / m").draw()?;
            chart.draw_series([PathElement::new([(0.0, 0.0), (1.0, 1.0)], line(colour(0)))])?;
            Ok(())
        }
    }

    #[test]
    fn numbers_at_neighbouring_ticks_differ() {
        let at = |values: &[f64]| values.iter().map(number).collect::<Vec<_>>().join(" ");
        assert_eq!(at(&[0.0, 0.005, 0.01, 0.015]), "0 0.005 0.01 0.015");
        assert_eq!(at(&[-1.5, -0.0, 2e-17, 0.5, 20.0, 1000.0]), "-1.5 0 0 0.5 20 1000");
        assert_eq!(at(&[0.995, 1.25, 2.0 / 3.0]), "0.995 1.25 0.6667");
    }

    #[test]
    fn titles_of_any_length_and_legends_of_any_size_have_room() {
        let titles = ["short".to_string(), "many long words ".repeat(20), "unbroken".repeat(30)];
        for title in titles {
            look::check(&Line(title));
        }
    }

    #[test]
    fn the_png_is_the_svg_at_twice_its_size_with_the_own_font() {
        let dir = tempfile::tempdir().unwrap();
        let paths = save(&Line("Title".to_string()), dir.path(), "line").unwrap();
        let svg = std::fs::read_to_string(&paths[1]).unwrap();
        let png = image::open(&paths[0]).unwrap().to_rgb8();
        assert_eq!((png.width(), png.height()), (1000, 800));
        let rgb = |fonts: &Arc<Database>| -> Vec<u8> {
            let pixels = render(&svg, fonts).unwrap();
            pixels.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect()
        };
        assert!(*png.as_raw() == rgb(&FONTS), "the PNG is another picture than the SVG");
        // Above the chart there is the title alone: without a font, nothing.
        let title = |rgb: &[u8]| rgb[..3 * 1000 * 80].iter().filter(|&&value| value < 128).count();
        assert!(title(png.as_raw()) > 300);
        assert_eq!(title(&rgb(&Arc::new(Database::new()))), 0);
    }

    #[test]
    fn pictures_lie_where_the_figure_says() {
        let mut pixels = Pixmap::new(10, 10).unwrap();
        let rgb = vec![[1, 2, 3], [4, 5, 6]];
        stamp(&mut pixels, &Picture { at: (1, 2), width: 1, scale: 1, rgb });
        let red = |x, y| pixels.pixel(x, y).unwrap().red();
        assert_eq!([red(2, 4), red(3, 5), red(2, 6), red(3, 7)], [1, 1, 4, 4]);
        assert_eq!([red(1, 4), red(4, 4), red(2, 3), red(2, 8)], [0; 4]);
    }
}
