//! Convolutional networks as data: layers between grids of channels, and how their positions are
//! connected.

use serde::{Deserialize, Serialize};

use crate::{error::EngineError, layout::Layout, net::Activation};

/// Positions with channels each; values lie position by position, `[height, width, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels of each position.
    pub channels: usize,
}

impl Grid {
    /// One position: a plain vector.
    pub const fn vector(channels: usize) -> Self {
        Self { height: 1, width: 1, channels }
    }

    /// Number of positions.
    pub const fn positions(self) -> usize {
        self.height * self.width
    }

    /// Number of values.
    pub const fn values(self) -> usize {
        self.positions() * self.channels
    }
}

/// How positions of a layer's input and output are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Kind {
    /// Every position with every other, each by weights of its own.
    Dense,
    /// A strided convolution with a square kernel: output (i, j) sees inputs
    /// (s·i + u − p, s·j + v − p) through tap (u, v).
    Conv {
        /// Side of the kernel.
        kernel: usize,
        /// s
        stride: usize,
        /// p
        padding: usize,
    },
    /// The transpose of [`Kind::Conv`], a fractionally strided convolution: input (i, j) adds to
    /// outputs (s·i + u − p, s·j + v − p) through tap (u, v).
    ConvTranspose {
        /// Side of the kernel.
        kernel: usize,
        /// s
        stride: usize,
        /// p
        padding: usize,
    },
}

/// A layer: connections, batch normalisation where wanted, activation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConvLayer {
    /// How its positions are connected.
    pub kind: Kind,
    /// Its output.
    pub out: Grid,
    /// Batch normalisation over channels (Ioffe and Szegedy 2015), instead of a bias.
    pub norm: bool,
    /// What follows.
    pub activation: Activation,
}

/// A chain of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConvArch {
    /// First part of the tensors' names.
    pub name: String,
    /// The input.
    pub input: Grid,
    /// The layers.
    pub layers: Vec<ConvLayer>,
}

/// Slope of the encoder's LeakyReLU below 0, as in the discriminator of Radford et al. (2015).
const LEAK: f32 = 0.2;

impl ConvArch {
    /// The generator of Radford et al. (2015) for pictures of `image`'s size: the code is projected
    /// on a small grid of many channels, and fractionally strided convolutions double its sides and
    /// halve its channels, down to `width` before the picture; batch normalisation and ReLU
    /// between, tanh at the end. Sides of 7, 14 and 28 come from a grid of 4 whose first layer has
    /// a kernel of 3.
    ///
    /// # Errors
    /// [`EngineError::Range`] if a side is not 28, 32 or 64 or the picture is not square.
    pub fn generator(code: usize, image: Grid, width: usize) -> Result<Self, EngineError> {
        let sides: &[usize] = match (image.height, image.width) {
            (28, 28) => &[4, 7, 14, 28],
            (32, 32) => &[4, 8, 16, 32],
            (64, 64) => &[4, 8, 16, 32, 64],
            (height, width) => {
                return Err(EngineError::Range {
                    what: "size of the pictures",
                    got: format!("{height} × {width}"),
                    need: "28 × 28, 32 × 32 or 64 × 64",
                });
            }
        };
        let grid = |i: usize| Grid {
            height: sides[i],
            width: sides[i],
            channels: width << (sides.len() - 2 - i),
        };
        let relu = |kind, out| ConvLayer { kind, out, norm: true, activation: Activation::Relu };
        let mut layers = vec![relu(Kind::Dense, grid(0))];
        for i in 1..sides.len() {
            let kernel = if sides[i] == 2 * sides[i - 1] { 4 } else { 3 };
            let kind = Kind::ConvTranspose { kernel, stride: 2, padding: 1 };
            layers.push(if i + 1 < sides.len() {
                relu(kind, grid(i))
            } else {
                ConvLayer { kind, out: image, norm: false, activation: Activation::Tanh }
            });
        }
        Ok(Self { name: "generator".to_string(), input: Grid::vector(code), layers })
    }

    /// The mirror image of a [`generator`](Self::generator), with LeakyReLU between as in the
    /// discriminator of Radford et al. (2015): from a picture to `outputs` numbers.
    pub fn mirrored(&self, name: &str, outputs: usize) -> Self {
        let mut layers = vec![];
        for i in (1..self.layers.len()).rev() {
            let kind = match self.layers[i].kind {
                Kind::ConvTranspose { kernel, stride, padding } => {
                    Kind::Conv { kernel, stride, padding }
                }
                other => other,
            };
            // The first layer sees the picture itself and is not normalised, as there.
            let norm = i + 1 < self.layers.len();
            let activation = Activation::LeakyRelu { slope: LEAK };
            layers.push(ConvLayer { kind, out: self.layers[i - 1].out, norm, activation });
        }
        layers.push(ConvLayer {
            kind: Kind::Dense,
            out: Grid::vector(outputs),
            norm: false,
            activation: Activation::Identity,
        });
        let input = self.layers.last().map_or(self.input, |layer| layer.out);
        Self { name: name.to_string(), input, layers }
    }

    /// The output.
    pub fn output(&self) -> Grid {
        self.layers.last().map_or(self.input, |layer| layer.out)
    }

    /// The input of layer `i`.
    pub fn input_of(&self, i: usize) -> Grid {
        i.checked_sub(1).map_or(self.input, |before| self.layers[before].out)
    }

    /// The tensors: `NAME.i.weight [taps, out, in]` (of channels), then `NAME.i.gain [out]` and
    /// `NAME.i.shift [out]` with batch normalisation, `NAME.i.bias [out]` without.
    pub fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        for (i, layer) in self.layers.iter().enumerate() {
            let (input, out) = (self.input_of(i), layer.out);
            let name = |tensor: &str| format!("{}.{i}.{tensor}", self.name);
            layout
                .push(name("weight"), &[layer.kind.taps(input, out), out.channels, input.channels]);
            if layer.norm {
                layout.push(name("gain"), &[out.channels]);
                layout.push(name("shift"), &[out.channels]);
            } else {
                layout.push(name("bias"), &[out.channels]);
            }
        }
        layout
    }

    /// The running statistics: `NAME.i.mean [out]` and `NAME.i.variance [out]` of each layer with
    /// batch normalisation.
    pub fn stats_layout(&self) -> Layout {
        let mut layout = Layout::default();
        for (i, layer) in self.layers.iter().enumerate().filter(|(_, layer)| layer.norm) {
            for tensor in ["mean", "variance"] {
                layout.push(format!("{}.{i}.{tensor}", self.name), &[layer.out.channels]);
            }
        }
        layout
    }
}

impl Kind {
    /// Number of weight matrices between channels.
    pub fn taps(self, input: Grid, out: Grid) -> usize {
        match self {
            Self::Dense => input.positions() * out.positions(),
            Self::Conv { kernel, .. } | Self::ConvTranspose { kernel, .. } => kernel * kernel,
        }
    }
}

/// Which positions are connected, by which tap.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    /// For each output position: (input position, tap).
    pub(crate) to: Vec<Vec<(usize, usize)>>,
    /// For each input position: (output position, tap).
    pub(crate) from: Vec<Vec<(usize, usize)>>,
    /// For each tap: (output position, input position).
    pub(crate) by_tap: Vec<Vec<(usize, usize)>>,
}

impl Connections {
    pub(crate) fn new(kind: Kind, input: Grid, out: Grid) -> Self {
        let mut all = vec![];
        match kind {
            Kind::Dense => {
                for o in 0..out.positions() {
                    all.extend((0..input.positions()).map(|i| (o, i, o * input.positions() + i)));
                }
            }
            Kind::Conv { kernel, stride, padding } => {
                strided(out, input, (kernel, stride, padding), |o, i, tap| all.push((o, i, tap)));
            }
            Kind::ConvTranspose { kernel, stride, padding } => {
                strided(input, out, (kernel, stride, padding), |i, o, tap| all.push((o, i, tap)));
            }
        }
        let mut this = Self {
            to: vec![vec![]; out.positions()],
            from: vec![vec![]; input.positions()],
            by_tap: vec![vec![]; kind.taps(input, out)],
        };
        for (o, i, tap) in all {
            this.to[o].push((i, tap));
            this.from[i].push((o, tap));
            this.by_tap[tap].push((o, i));
        }
        this
    }
}

/// Every (position of `coarse`, position of `fine`, tap) of a strided kernel.
fn strided(
    coarse: Grid,
    fine: Grid,
    (kernel, stride, padding): (usize, usize, usize),
    mut connect: impl FnMut(usize, usize, usize),
) {
    let at = |i: usize, u: usize, size: usize| {
        (stride * i + u).checked_sub(padding).filter(|&at| at < size)
    };
    for i in 0..coarse.height {
        for j in 0..coarse.width {
            for u in 0..kernel {
                for v in 0..kernel {
                    if let (Some(y), Some(x)) = (at(i, u, fine.height), at(j, v, fine.width)) {
                        connect(i * coarse.width + j, y * fine.width + x, u * kernel + v);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Grid = Grid { height: 28, width: 28, channels: 1 };

    #[test]
    fn every_output_of_the_generator_is_connected_and_the_mirror_has_its_shapes() {
        let arch = ConvArch::generator(2, IMAGE, 8).expect("28 is a size");
        assert_eq!(arch.output(), IMAGE);
        for (i, layer) in arch.layers.iter().enumerate() {
            let connections = Connections::new(layer.kind, arch.input_of(i), layer.out);
            assert!(connections.to.iter().all(|to| !to.is_empty()), "layer {i}");
            assert!(connections.from.iter().all(|from| !from.is_empty()), "layer {i}");
        }
        let mirror = arch.mirrored("encoder", 4);
        assert_eq!((mirror.input, mirror.output()), (IMAGE, Grid::vector(4)));
        let error = ConvArch::generator(2, Grid { height: 30, ..IMAGE }, 8).expect_err("30");
        assert!(error.to_string().contains("got 30 × 28"), "{error}");
    }
}
