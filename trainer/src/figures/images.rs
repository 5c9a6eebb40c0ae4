//! What a generator of pictures has learned: pictures over the plane of two coordinates, the codes
//! of held-out pictures, blocks within blocks over more coordinates, and reconstructions (paper,
//! Figs. 9 to 11).
//!
//! Axes are the shares Φ(z) of the prior below a coordinate, so that equal areas are equally likely.

use std::path::{Path, PathBuf};

use plotters::style::{
    FontTransform, RGBColor,
    text_anchor::{HPos, Pos, VPos},
};
use sog_engine::conv::Grid;

use super::{
    Area, Drawn, Figure, FigureError, Key, LABEL_PX, Picture, TICK_PX, TITLE_PX, at, axes, chart,
    legend, save_png, speck, text, titled,
};
use crate::codes::quantile::{normal_cdf, normal_quantile};

/// Ten colours that keep apart, for digits and other classes (Tableau's; Okabe and Ito's are fewer).
const CLASSES: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(110, 110, 110),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
];

/// Side of the plane of pictures in [`plane`].
const PLANE: usize = 20;

/// Sides of the innermost block and of the block of blocks in [`blocks`].
const INNER: usize = 6;
const OUTER: usize = 4;

/// Width that a title needs; height of a title, of a caption, and room beside and below a panel for its axes.
const TITLE_WIDTH: i32 = 620;
const TITLE_ROOM: i32 = 54;
const CAPTION_ROOM: i32 = 32;
const AXIS_ROOM: i32 = 64;
const MARGIN: i32 = 16;

/// Room between blocks.
const GAP: i32 = 6;

/// The middle of bin `i` of `n` equal shares of the prior.
fn middle(i: usize, n: usize) -> f32 {
    normal_quantile((i as f64 + 0.5) / n as f64) as f32
}

/// The codes of the pictures of [`plane`], `[n², 2]`, row by row from the top, where z₂ is largest.
pub fn plane_codes() -> Vec<f32> {
    let cells = (0..PLANE * PLANE).map(|at| (at / PLANE, at % PLANE));
    cells.flat_map(|(row, x)| [middle(x, PLANE), middle(PLANE - 1 - row, PLANE)]).collect()
}

/// Draws the pictures of [`plane_codes`] as `DIR/plane.png` (Fig. 9a).
///
/// # Errors
/// [`FigureError`].
pub fn plane(pictures: &[u8], size: Grid, dir: &Path) -> Result<PathBuf, FigureError> {
    let title = "Pictures over the shares of the prior".to_string();
    let axes = Some(("Φ(z₁)".to_string(), "Φ(z₂)".to_string()));
    let sheet = Sheet::new(pictures, size, PLANE, PLANE).with_scale(2);
    save_png(&Panels { title, panels: vec![Panel { sheet, caption: None, axes }] }, dir, "plane")
}

/// Draws codes `[N, 2]` coloured by what their pictures show, as `DIR/embedding.png` (Fig. 9b).
///
/// # Errors
/// [`FigureError`].
pub fn embedding(codes: &[f32], labels: &[u8], dir: &Path) -> Result<PathBuf, FigureError> {
    save_png(&Embedding { codes, labels }, dir, "embedding")
}

/// Pairs of coordinates that [`blocks`] sweeps: two panels of four coordinates, as far as there are.
fn swept(latent: usize) -> Vec<[usize; 4]> {
    (0..latent / 4).take(2).map(|p| [4 * p, 4 * p + 1, 4 * p + 2, 4 * p + 3]).collect()
}

/// The codes of the pictures of [`blocks`], `[panels · (inner · outer)², d]`.
pub fn block_codes(latent: usize) -> Vec<f32> {
    let side = INNER * OUTER;
    let mut codes = vec![];
    for [a, b, c, d] in swept(latent) {
        for at in 0..side * side {
            let (row, column) = (at / side, at % side);
            let from = codes.len();
            codes.resize(from + latent, 0.0);
            codes[from + a] = middle(column % INNER, INNER);
            codes[from + b] = middle(INNER - 1 - row % INNER, INNER);
            codes[from + c] = middle(column / INNER, OUTER);
            codes[from + d] = middle(OUTER - 1 - row / INNER, OUTER);
        }
    }
    codes
}

/// Draws the pictures of [`block_codes`] as `DIR/blocks.png`: within each block two coordinates are
/// swept, from block to block two more, the others are at their median (Fig. 10).
///
/// # Errors
/// [`FigureError`].
pub fn blocks(
    pictures: &[u8],
    size: Grid,
    latent: usize,
    dir: &Path,
) -> Result<PathBuf, FigureError> {
    let side = INNER * OUTER;
    let of_panel = side * side * size.values();
    let panels = swept(latent).into_iter().zip(pictures.chunks_exact(of_panel)).map(
        |([a, b, c, d], pictures)| Panel {
            sheet: Sheet::new(pictures, size, side, side).in_blocks_of(INNER),
            caption: None,
            axes: Some((
                format!("within a block Φ(z{}), between blocks Φ(z{})", a + 1, c + 1),
                format!("within a block Φ(z{}), between blocks Φ(z{})", b + 1, d + 1),
            )),
        },
    );
    let title = "Blocks of blocks over the shares of the prior".to_string();
    save_png(&Panels { title, panels: panels.collect() }, dir, "blocks")
}

/// Columns of pictures in [`reconstructions`], and how many are drawn at most.
const COLUMNS: usize = 8;

/// Pictures that [`reconstructions`] draws.
pub const RECONSTRUCTED: usize = 64;

/// Draws sets of as many pictures each side by side, with their captions, as
/// `DIR/reconstructions.png` (Fig. 11).
///
/// # Errors
/// [`FigureError`].
pub fn reconstructions(
    sets: &[(&str, Vec<u8>)],
    size: Grid,
    dir: &Path,
) -> Result<PathBuf, FigureError> {
    let panels = sets.iter().map(|(caption, pictures)| {
        let rows = (pictures.len() / size.values().max(1)).div_ceil(COLUMNS);
        let sheet = Sheet::new(pictures, size, COLUMNS, rows);
        let scale = if size.width < 64 { 2 } else { 1 };
        Panel { sheet: sheet.with_scale(scale), caption: Some(caption.to_string()), axes: None }
    });
    let title = "Held-out pictures and their reconstructions".to_string();
    save_png(&Panels { title, panels: panels.collect() }, dir, "reconstructions")
}

/// Pictures side by side.
struct Sheet<'a> {
    /// `[rows · columns, height, width, channels]`
    pictures: &'a [u8],
    size: Grid,
    columns: usize,
    rows: usize,
    /// Pixels of the figure for one of a picture.
    scale: usize,
    /// Pictures between two gaps, where there are any.
    block: Option<usize>,
}

impl<'a> Sheet<'a> {
    fn new(pictures: &'a [u8], size: Grid, columns: usize, rows: usize) -> Self {
        Self { pictures, size, columns, rows, scale: 1, block: None }
    }

    fn with_scale(self, scale: usize) -> Self {
        Self { scale, ..self }
    }

    fn in_blocks_of(self, block: usize) -> Self {
        Self { block: Some(block), ..self }
    }

    /// Where picture number `i` of a row or column begins.
    fn at(&self, i: usize, side: usize) -> i32 {
        let gaps = self.block.map_or(0, |block| i / block) as i32;
        (i * side * self.scale) as i32 + gaps * GAP
    }

    /// Width and height in pixels.
    fn extent(&self) -> (i32, i32) {
        let last = |n: usize, side: usize| {
            n.checked_sub(1).map_or(0, |i| self.at(i, side) + (side * self.scale) as i32)
        };
        (last(self.columns, self.size.width), last(self.rows, self.size.height))
    }

    /// The pictures, from the upper left corner of the sheet on.
    fn pictures(&self, (left, top): (i32, i32)) -> impl Iterator<Item = Picture> {
        let Grid { height, width, channels } = self.size;
        let of_one = self.pictures.chunks_exact(self.size.values().max(1)).enumerate();
        of_one.map(move |(n, picture)| {
            let x = left + self.at(n % self.columns, width);
            let y = top + self.at(n / self.columns, height);
            let pixel = |values: &[u8]| [0, 1, 2].map(|c: usize| values[c.min(channels - 1)]);
            Picture {
                at: (x as u32, y as u32),
                width: width as u32,
                scale: self.scale as u32,
                rgb: picture.chunks_exact(channels).map(pixel).collect(),
            }
        })
    }
}

/// A sheet, and what stands beside it.
struct Panel<'a> {
    sheet: Sheet<'a>,
    /// Above it.
    caption: Option<String>,
    /// Below it and at its left; both run over the shares from 0 to 1.
    axes: Option<(String, String)>,
}

impl Panel<'_> {
    /// Room at the left, above and below.
    fn room(&self) -> (i32, i32, i32) {
        let axis = if self.axes.is_some() { AXIS_ROOM } else { 0 };
        (axis, if self.caption.is_some() { CAPTION_ROOM } else { 0 }, axis)
    }

    fn size(&self) -> (i32, i32) {
        let ((width, height), (left, above, below)) = (self.sheet.extent(), self.room());
        (width + left, height + above + below)
    }
}

/// Panels side by side below a title.
struct Panels<'a> {
    title: String,
    panels: Vec<Panel<'a>>,
}

impl Panels<'_> {
    /// The panels with the upper left corner of each sheet.
    fn places(&self) -> impl Iterator<Item = (&Panel<'_>, (i32, i32))> {
        self.panels.iter().scan(MARGIN, |x, panel| {
            let (left, above, _) = panel.room();
            let place = (*x + left, TITLE_ROOM + above);
            *x += panel.size().0 + MARGIN;
            Some((panel, place))
        })
    }
}

impl Figure for Panels<'_> {
    fn size(&self) -> (u32, u32) {
        let sizes = self.panels.iter().map(Panel::size);
        let width: i32 = sizes.clone().map(|(width, _)| width + MARGIN).sum();
        let height = sizes.map(|(_, height)| height).max().unwrap_or(0);
        ((width + MARGIN).max(TITLE_WIDTH) as u32, (height + TITLE_ROOM + MARGIN) as u32)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        titled(area, &self.title, TITLE_PX)?;
        let centred = |size: u32| text(size).pos(Pos::new(HPos::Center, VPos::Center));
        for (panel, (x0, y0)) in self.places() {
            let (width, height) = panel.sheet.extent();
            if let Some(caption) = &panel.caption {
                area.draw_text(
                    caption,
                    &centred(LABEL_PX),
                    at(x0 + width / 2, y0 - CAPTION_ROOM / 2),
                )?;
            }
            if let Some((across, up)) = &panel.axes {
                let below = y0 + height;
                for (share, label) in [(0, "0"), (1, "0.5"), (2, "1")] {
                    let (right, rise) = (x0 + share * width / 2, below - share * height / 2);
                    area.draw_text(label, &centred(TICK_PX), at(right, below + 14))?;
                    let beside = at(x0 - 18, rise.clamp(y0 + 8, below - 8));
                    area.draw_text(label, &centred(TICK_PX), beside)?;
                }
                area.draw_text(across, &centred(LABEL_PX), at(x0 + width / 2, below + 42))?;
                let upright = centred(LABEL_PX).transform(FontTransform::Rotate270);
                area.draw_text(up, &upright, at(x0 - 46, y0 + height / 2))?;
            }
        }
        Ok(())
    }

    fn pictures(&self) -> Vec<Picture> {
        self.places().flat_map(|(panel, place)| panel.sheet.pictures(place)).collect()
    }
}

/// Codes in the plane of the shares.
struct Embedding<'a> {
    codes: &'a [f32],
    labels: &'a [u8],
}

impl Figure for Embedding<'_> {
    fn size(&self) -> (u32, u32) {
        (900, 960)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let area = titled(area, "Codes of held-out pictures", TITLE_PX)?;
        let colour = |label: u8| CLASSES[usize::from(label) % CLASSES.len()];
        let mut classes: Vec<u8> = self.labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let entries = classes.iter().map(|&label| (label.to_string(), Key::Dot(colour(label))));
        let area = legend(&area, &entries.collect::<Vec<_>>())?;
        let mut chart = chart(&area).build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        axes(&mut chart).x_desc("Φ(z₁)").y_desc("Φ(z₂)").draw()?;
        chart.draw_series(self.codes.chunks_exact(2).zip(self.labels).map(|(z, &label)| {
            speck((normal_cdf(z[0].into()), normal_cdf(z[1].into())), colour(label))
        }))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_sweep_the_prior_evenly() {
        let codes = plane_codes();
        assert_eq!(codes.len(), 2 * PLANE * PLANE);
        let shares: Vec<f64> = codes.iter().map(|&z| normal_cdf(z.into())).collect();
        let (first, last) = (&shares[..2], &shares[shares.len() - 2..]);
        let (low, high) = (0.5 / PLANE as f64, 1.0 - 0.5 / PLANE as f64);
        for (got, want) in [(first, [low, high]), (last, [high, low])] {
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        }
        // Eight coordinates in two panels, four of them swept in each.
        let codes = block_codes(8);
        let panel = (INNER * OUTER).pow(2) * 8;
        assert_eq!(codes.len(), 2 * panel);
        assert!(codes[..panel].chunks(8).all(|z| z[4..].iter().all(|&z| z == 0.0)));
        assert!(codes[panel..].chunks(8).all(|z| z[..4].iter().all(|&z| z == 0.0)));
        assert!(block_codes(3).is_empty());
    }

    #[test]
    fn every_figure_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let size = Grid { height: 4, width: 4, channels: 1 };
        let grey = |n: usize| vec![200u8; n * size.values()];
        plane(&grey(PLANE * PLANE), size, dir.path()).unwrap();
        blocks(&grey(2 * (INNER * OUTER).pow(2)), size, 8, dir.path()).unwrap();
        embedding(&[0.0, 1.0, -1.0, 0.5], &[3, 9], dir.path()).unwrap();
        let sets = [("originals", grey(10)), ("SOG", grey(10))];
        reconstructions(&sets, size, dir.path()).unwrap();
        crate::figures::look::check(&Embedding { codes: &[0.0, 1.0, -1.0, 0.5], labels: &[3, 9] });
        for name in ["plane", "blocks", "embedding", "reconstructions"] {
            let picture = image::open(dir.path().join(format!("{name}.png"))).unwrap().to_luma8();
            assert!(picture.pixels().any(|p| p.0[0] < 230), "{name} is empty");
        }
    }
}
