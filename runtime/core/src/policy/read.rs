//! Reading a policy file: nothing in it is believed before it has been checked.

use core::str::FromStr;

use super::{
    BOOK_KEY, Dimensions, LayerPlace, METADATA_KEYS, MOST_HIDDEN, NeededShape, PolicyError,
    PolicyWarning, SCHEMA, error::WidthError,
};
use crate::{
    Numbers,
    kinds::{Activation, Architecture, LatentKind, MeanScale, ParseKindError, TermsView},
    tensors::{CHECKSUM_KEY, TensorView},
    text::{Excerpt, Text},
};

/// A dense layer y = W·x + b whose numbers lie in the file.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Where it stands.
    pub place: LayerPlace,
    /// W, row-major `[outputs, inputs]`.
    pub weight: Numbers<'a>,
    /// b, `[outputs]`.
    pub bias: Numbers<'a>,
    /// Number of inputs.
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
}

/// All layers of a network.
type Layers<'a> = heapless::Vec<Layer<'a>, { MOST_HIDDEN + 2 }>;

/// Inputs with the action means that any implementation must give for them.
#[derive(Clone, Copy, Debug)]
pub struct Golden<'a> {
    /// `golden.obs`, `[n, S]`, not normalised.
    pub obs: Numbers<'a>,
    /// `golden.latent`, `[n, Z]`; empty without a code.
    pub latent: Numbers<'a>,
    /// `golden.action`, `[n, A]`: action means before any limit.
    pub action: Numbers<'a>,
}

/// Where a policy comes from, as `docs/policy-file.md` has it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Provenance<'a> {
    pub producer: Text<'a>,
    pub algorithm: Text<'a>,
    pub seed: u64,
    pub demos_sha256: Text<'a>,
    pub created: Text<'a>,
}

/// A policy file that was checked; what has a length lies in the file's bytes.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    pub(super) file: TensorView<'a>,
    /// Task name.
    pub task: Text<'a>,
    /// Observation terms, in order; their widths add to S.
    pub obs_terms: TermsView<'a>,
    /// Action terms, in order; their widths add to A.
    pub action_terms: TermsView<'a>,
    /// Control period in seconds.
    pub dt_s: f64,
    /// Lower action bounds, `[A]`.
    pub action_low: Numbers<'a>,
    /// Upper action bounds, `[A]`.
    pub action_high: Numbers<'a>,
    /// Latent code.
    pub latent: LatentKind,
    /// How the layers hang together.
    pub architecture: Architecture,
    /// σ, behind every layer but the last.
    pub activation: Activation,
    /// How the last layer becomes the action mean.
    pub mean_scale: MeanScale,
    /// The hidden layers first to last, the latent branch if there is one, the mean.
    pub layers: Layers<'a>,
    /// `obs.mean`, `[S]`.
    pub obs_mean: Numbers<'a>,
    /// `obs.var`, `[S]`.
    pub obs_var: Numbers<'a>,
    /// `obs.clip`: bound of the normalised observation.
    pub obs_clip: f32,
    /// Logarithm of the exploration standard deviation, `[A]`.
    pub log_std: Numbers<'a>,
    /// Golden vectors.
    pub golden: Golden<'a>,
    /// Origin.
    pub provenance: Provenance<'a>,
}

impl<'a> Policy<'a> {
    /// Reads and verifies a whole file. `scratch` is as for [`mean_action`](Self::mean_action); the
    /// file's own need is in [`WidthError`] where it is too small.
    ///
    /// # Errors
    /// The first of these that does not hold: readable tensors; schema; known metadata and
    /// tensors; shapes that fit the terms; finite numbers in range; golden actions to 1e-5;
    /// checksum.
    pub fn open(bytes: &'a [u8], scratch: &mut [f32]) -> Result<Self, PolicyError> {
        let mut policy = Self::read(bytes);
        // Not moved on success: memory for a second one may not be there.
        if let Ok(read) = &policy
            && let Err(error) =
                read.check_golden(scratch).and_then(|()| read.verify_checksum().map(drop))
        {
            policy = Err(error);
        }
        policy
    }

    /// Reads a file with every check but the golden vectors and the checksum.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(bytes: &'a [u8]) -> Result<Self, PolicyError> {
        let file = TensorView::parse(bytes)?;
        let schema = meta(file, "schema")?;
        if !schema.is(SCHEMA) {
            return Err(PolicyError::Schema { found: Excerpt::of(schema) });
        }
        let mut policy = Self::view(file);
        if let Ok(view) = &policy
            && let Err(error) = view.refuse_unknown().and_then(|()| view.check_numbers())
        {
            policy = Err(error);
        }
        policy
    }

    /// Checks the content against the checksum in the file; where there is none, says so.
    ///
    /// # Errors
    /// [`PolicyError::Checksum`].
    pub fn verify_checksum(&self) -> Result<Option<PolicyWarning>, PolicyError> {
        let checked = self.file.verify_checksum()?;
        Ok((!checked).then_some(PolicyWarning::NoChecksum))
    }

    #[inline(never)]
    fn view(file: TensorView<'a>) -> Result<Self, PolicyError> {
        let architecture: Architecture = parse_meta(file, "arch")?;
        let activation: Activation = parse_meta(file, "activation")?;
        let obs_terms = terms(file, "obs.terms")?;
        let action_terms = terms(file, "action.terms")?;
        let latent: LatentKind = parse_meta(file, "latent.kind")?;
        let (s, z, a) = (obs_terms.width(), latent.width(), action_terms.width());
        let widths = hidden_widths(file, architecture)?;
        let n = rows(file, "golden.obs", &[s])?;
        let task = meta(file, "task")?;
        let dt_s = positive(file, "dt")?;
        let action_low = tensor(file, "action.low", &[a])?;
        let action_high = tensor(file, "action.high", &[a])?;
        let mean_scale = parse_meta(file, "mean.scale")?;
        let mut layers = Layers::new();
        read_layers(file, architecture, [s, z, a], &widths, &mut layers)?;
        Ok(Self {
            file,
            task,
            obs_terms,
            action_terms,
            dt_s,
            action_low,
            action_high,
            latent,
            architecture,
            activation,
            mean_scale,
            layers,
            obs_mean: tensor(file, "obs.mean", &[s])?,
            obs_var: tensor(file, "obs.var", &[s])?,
            obs_clip: positive(file, "obs.clip")? as f32,
            log_std: tensor(file, "log_std", &[a])?,
            golden: Golden {
                obs: tensor(file, "golden.obs", &[n, s])?,
                latent: match latent {
                    LatentKind::None => Numbers::EMPTY,
                    _ => tensor(file, "golden.latent", &[n, z])?,
                },
                action: tensor(file, "golden.action", &[n, a])?,
            },
            provenance: Provenance {
                producer: meta(file, "producer")?,
                algorithm: meta(file, "algorithm")?,
                seed: seed(file)?,
                demos_sha256: meta(file, "demos.sha256")?,
                created: meta(file, "created")?,
            },
        })
    }

    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.obs_mean.len()
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.action_low.len()
    }

    /// Latent width Z.
    pub fn latent_dim(&self) -> usize {
        self.latent.width()
    }

    /// Whether a tensor of this name belongs to this file.
    fn knows(&self, name: Text<'_>) -> bool {
        let of_layer = |layer: &Layer<'_>| {
            let own = layer.place.name(self.architecture);
            ["weight", "bias"].into_iter().any(|part| {
                let expected = own.as_str().chars().chain(['.']).chain(part.chars());
                name.chars().eq(expected)
            })
        };
        let rest = ["obs.mean", "obs.var", "action.low", "action.high", "log_std", "golden.obs"];
        rest.into_iter().chain(["golden.action"]).any(|known| name.is(known))
            || (self.latent != LatentKind::None && name.is("golden.latent"))
            || (matches!(self.latent, LatentKind::Gaussian(_)) && name.is(BOOK_KEY))
            || self.layers.iter().any(of_layer)
    }

    #[inline(never)]
    fn refuse_unknown(&self) -> Result<(), PolicyError> {
        let mut count = 0;
        for (key, _) in self.file.metadata() {
            if !METADATA_KEYS.into_iter().chain([CHECKSUM_KEY, BOOK_KEY]).any(|known| key.is(known))
            {
                return Err(PolicyError::UnknownMetadata { key: Excerpt::of(key) });
            }
            // What is known is not many, so that this ends soon.
            let earlier = self.file.metadata().take(count);
            if earlier.into_iter().any(|(other, _)| other.order(key).is_eq()) {
                return Err(PolicyError::Twice { name: Excerpt::of(key) });
            }
            count += 1;
        }
        count = 0;
        for entry in self.file.entries() {
            if !self.knows(entry.name) {
                return Err(PolicyError::UnknownTensor { name: Excerpt::of(entry.name) });
            }
            let earlier = self.file.entries().take(count);
            if earlier.into_iter().any(|other| other.name.order(entry.name).is_eq()) {
                return Err(PolicyError::Twice { name: Excerpt::of(entry.name) });
            }
            count += 1;
        }
        Ok(())
    }

    /// Numbers of every tensor, with the layer that it belongs to and the name, or its last part.
    fn numbers(
        &self,
    ) -> impl Iterator<Item = (Option<LayerPlace>, &'static str, Numbers<'a>)> + '_ {
        let of_layers = self.layers.iter().flat_map(|layer| {
            let place = Some(layer.place);
            [(place, "weight", layer.weight), (place, "bias", layer.bias)]
        });
        let Golden { obs, latent, action } = self.golden;
        let rest = [
            ("obs.mean", self.obs_mean),
            ("obs.var", self.obs_var),
            ("action.low", self.action_low),
            ("action.high", self.action_high),
            ("log_std", self.log_std),
            ("golden.obs", obs),
            ("golden.action", action),
            ("golden.latent", latent),
        ];
        of_layers.chain(rest.into_iter().map(|(name, numbers)| (None, name, numbers)))
    }

    #[inline(never)]
    fn check_numbers(&self) -> Result<(), PolicyError> {
        for (place, part, numbers) in self.numbers() {
            let found = numbers.iter().enumerate().find(|(_, v)| !v.is_finite());
            if let Some((index, value)) = found {
                let name = place.map_or_else(
                    || part.into(),
                    |p| Excerpt::of(format_args!("{}.{part}", p.name(self.architecture))),
                );
                return Err(PolicyError::NonFinite { name, index, value });
            }
        }
        if let Some((index, value)) = self.obs_var.iter().enumerate().find(|(_, v)| *v < 0.0) {
            let needed = "a variance, 0 or more";
            return Err(PolicyError::Range { name: "obs.var".into(), index, value, needed });
        }
        let mut range = self.action_low.iter().zip(self.action_high.iter()).enumerate();
        if let Some((index, (value, _))) = range.find(|(_, (low, high))| low >= high) {
            let needed = "less than `action.high`";
            return Err(PolicyError::Range { name: "action.low".into(), index, value, needed });
        }
        Ok(())
    }
}

fn meta<'a>(file: TensorView<'a>, key: &'static str) -> Result<Text<'a>, PolicyError> {
    file.meta(key).ok_or(PolicyError::MissingMetadata { key })
}

/// A metadata entry that means something, and so has no escapes.
fn plain<'a>(
    file: TensorView<'a>,
    key: &'static str,
    needed: &'static str,
) -> Result<&'a str, PolicyError> {
    let text = meta(file, key)?;
    let found = || Excerpt::of(text);
    text.as_str().ok_or_else(|| PolicyError::Metadata { key, found: found(), needed })
}

fn terms<'a>(file: TensorView<'a>, key: &'static str) -> Result<TermsView<'a>, PolicyError> {
    let text = plain(file, key, "names without quotation marks, backslashes and escapes")?;
    TermsView::parse(text).map_err(PolicyError::of_kind(key))
}

fn parse_meta<T>(file: TensorView<'_>, key: &'static str) -> Result<T, PolicyError>
where
    T: FromStr<Err = ParseKindError>,
{
    plain(file, key, "letters, digits and signs alone")?.parse().map_err(PolicyError::of_kind(key))
}

fn positive(file: TensorView<'_>, key: &'static str) -> Result<f64, PolicyError> {
    let needed = "a positive number";
    let text = plain(file, key, needed)?;
    let number = text.parse::<f64>().ok().filter(|v| v.is_finite() && *v > 0.0);
    number.ok_or_else(|| PolicyError::Metadata { key, found: text.into(), needed })
}

fn seed(file: TensorView<'_>) -> Result<u64, PolicyError> {
    let (key, needed) = ("seed", "an unsigned 64-bit number");
    let text = plain(file, key, needed)?;
    text.parse().map_err(|_| PolicyError::Metadata { key, found: text.into(), needed })
}

/// An `F32` tensor of exactly this shape.
fn tensor<'a>(
    file: TensorView<'a>,
    name: &str,
    shape: &[usize],
) -> Result<Numbers<'a>, PolicyError> {
    let missing = || PolicyError::Missing { name: name.into() };
    let entry = file.entry(name).ok_or_else(missing)?;
    if !entry.shape.is(shape) {
        let needed = NeededShape::Exactly(Dimensions::of(shape.iter().copied()));
        let found = Dimensions::of(entry.shape.iter());
        return Err(PolicyError::Shape { name: name.into(), found, needed });
    }
    if entry.dtype != "F32" {
        return Err(PolicyError::Dtype { name: name.into(), found: entry.dtype });
    }
    Numbers::from_bytes(file.data(&entry)).ok_or_else(missing)
}

/// First dimension of a tensor that must have the shape `[n, rest…]` with n ≥ 1.
fn rows(file: TensorView<'_>, name: &str, rest: &[usize]) -> Result<usize, PolicyError> {
    let entry = file.entry(name).ok_or_else(|| PolicyError::Missing { name: name.into() })?;
    let mut dimensions = entry.shape.iter();
    match dimensions.next() {
        Some(n) if n >= 1 && dimensions.eq(rest.iter().copied()) => Ok(n),
        _ => Err(PolicyError::Shape {
            name: name.into(),
            found: Dimensions::of(entry.shape.iter()),
            needed: NeededShape::Rows(Dimensions::of(rest.iter().copied())),
        }),
    }
}

/// Widths of the hidden layers, first to last: as many as the largest number in their names says.
fn hidden_widths(
    file: TensorView<'_>,
    architecture: Architecture,
) -> Result<heapless::Vec<usize, MOST_HIDDEN>, PolicyError> {
    let prefix = architecture.hidden_layers();
    let number = |name: Text<'_>| -> Option<usize> {
        let number = name.as_str()?.strip_prefix(prefix)?.strip_prefix('.')?.split('.').next()?;
        number.parse().ok()
    };
    let last = file.entries().filter_map(|entry| number(entry.name)).max().unwrap_or(0);
    let mut widths = heapless::Vec::new();
    // Ends at the first that is missing, however large the number.
    for i in 0..=last {
        let name = Excerpt::of(format_args!("{prefix}.{i}.bias"));
        let width = rows(file, name.as_str(), &[])?;
        widths.push(width).map_err(|_| PolicyError::Layers { most: MOST_HIDDEN })?;
    }
    Ok(widths)
}

/// Reads the layers of a network of these widths S, Z, A and of the hidden layers.
fn read_layers<'a>(
    file: TensorView<'a>,
    architecture: Architecture,
    [s, z, a]: [usize; 3],
    hidden: &[usize],
    layers: &mut Layers<'a>,
) -> Result<(), PolicyError> {
    let mut read = |place: LayerPlace, inputs, outputs| {
        let weight = layer_tensor(file, architecture, place, "weight", &[outputs, inputs])?;
        let bias = layer_tensor(file, architecture, place, "bias", &[outputs])?;
        let layer = Layer { place, weight, bias, inputs, outputs };
        // There is room for as many as there are widths, and two more.
        layers.push(layer).map_err(|_| PolicyError::Layers { most: MOST_HIDDEN })
    };
    let mut inputs = match architecture {
        Architecture::TwoBranch => s,
        Architecture::Mlp => s + z,
    };
    for (i, &outputs) in hidden.iter().enumerate() {
        read(LayerPlace::Hidden(i), inputs, outputs)?;
        inputs = outputs;
    }
    if architecture == Architecture::TwoBranch && z > 0 {
        read(LayerPlace::Latent, z, inputs)?;
    }
    read(LayerPlace::Mean, inputs, a)
}

#[inline(never)]
fn layer_tensor<'a>(
    file: TensorView<'a>,
    architecture: Architecture,
    place: LayerPlace,
    part: &str,
    shape: &[usize],
) -> Result<Numbers<'a>, PolicyError> {
    let name = Excerpt::of(format_args!("{}.{part}", place.name(architecture)));
    tensor(file, name.as_str(), shape)
}

/// The error of a slice that was lent.
pub(super) fn check_width(
    what: &'static str,
    found: usize,
    needed: usize,
    fits: bool,
) -> Result<(), WidthError> {
    if fits { Ok(()) } else { Err(WidthError { what, found, needed }) }
}
