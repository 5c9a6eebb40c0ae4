//! The file of a model of pictures.

use std::{collections::BTreeMap, path::Path};

use sog_engine::{
    conv::{ConvArch, ConvNet, Grid, Scratch},
    layout::Layout,
};
use sog_rl::run::Run;
use sog_runtime::tensors::{Metadata, Tensor, TensorFile, serialize};

use super::{
    config::ImageConfig, data::Dataset, error::ImageError, sog::SogImages, vae::VaeImages,
};

/// Schema of the file.
const SCHEMA: &str = "sog.images/1";

/// Prefix of the VAE's tensors.
const VAE: &str = "vae.";

/// A trained generator, the VAE beside it, and where they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageModel {
    /// SOG's generator.
    pub generator: ConvNet,
    /// The VAE's encoder and decoder, where there is one.
    pub vae: Option<(ConvNet, ConvNet)>,
    /// Everything else that the file says: data set, seed, updates, times.
    pub provenance: BTreeMap<String, String>,
}

impl ImageModel {
    /// What a run has learned; `cpu_s` is the processor's time of SOG and of the VAE.
    pub(super) fn of(
        run: &Run,
        config: &ImageConfig,
        dataset: &Dataset,
        sog: &SogImages<'_>,
        vae: &VaeImages<'_>,
        cpu_s: [f64; 2],
    ) -> Self {
        let mut provenance = BTreeMap::new();
        let mut say = |key: &str, value: String| provenance.insert(key.to_string(), value);
        say("producer", concat!("sog ", env!("CARGO_PKG_VERSION")).to_string());
        say("dataset", dataset.name.clone());
        say("pictures", dataset.train.len().to_string());
        say("seed", config.seed.to_string());
        say("batch", config.batch.to_string());
        // 0: all of them.
        say("sog.pictures", config.sog.pictures.to_string());
        say("sog.updates", config.sog.updates.to_string());
        say("sog.candidates", config.sog.candidates.to_string());
        say("sog.cpu_s", format!("{:.1}", cpu_s[0]));
        say("vae.updates", config.vae.updates.to_string());
        say("vae.cpu_s", format!("{:.1}", cpu_s[1]));
        say("wall_s", format!("{:.1}", run.wall_s()));
        let vae = (config.vae.updates > 0).then(|| {
            let (encoder, decoder) = vae.nets();
            (encoder.clone(), decoder.clone())
        });
        Self { generator: sog.net().clone(), vae, provenance }
    }

    /// d: dimensions of the code.
    pub fn latent(&self) -> usize {
        self.generator.arch().input.values()
    }

    /// Size of the pictures.
    pub fn size(&self) -> Grid {
        self.generator.arch().output()
    }

    /// The pictures `[n, height, width, channels]`, 0 black, that the codes `[n, d]` make.
    ///
    /// # Errors
    /// If there is not a whole number of codes.
    pub fn make(&self, codes: &[f32]) -> Result<Vec<u8>, ImageError> {
        made_by(&self.generator, codes)
    }

    /// Bytes of the file: the generator's tensors, the VAE's behind `vae.`, and metadata.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut tensors = BTreeMap::new();
        let mut add = |prefix: &str, net: &ConvNet| {
            let arch = net.arch();
            for (layout, values) in
                [(arch.layout(), &net.params), (arch.stats_layout(), &net.stats)]
            {
                for t in &layout.tensors {
                    let tensor = Tensor::f32(&t.shape, &values[t.range()]);
                    tensors.insert(format!("{prefix}{}", t.name), tensor);
                }
            }
        };
        add("", &self.generator);
        if let Some((encoder, decoder)) = &self.vae {
            add(VAE, encoder);
            add(VAE, decoder);
        }
        let mut metadata: Metadata = self.provenance.clone();
        let (size, width) = (self.size(), self.width());
        for (key, value) in [
            ("schema", SCHEMA.to_string()),
            ("latent", self.latent().to_string()),
            ("height", size.height.to_string()),
            ("width", size.width.to_string()),
            ("channels", size.channels.to_string()),
            ("base", width.to_string()),
            ("vae", self.vae.is_some().to_string()),
        ] {
            metadata.insert(key.to_string(), value);
        }
        serialize(&tensors, &metadata)
    }

    /// Channels before the picture.
    fn width(&self) -> usize {
        let layers = &self.generator.arch().layers;
        layers.len().checked_sub(2).map_or(0, |i| layers[i].out.channels)
    }

    /// Reads a file; every shape is checked.
    ///
    /// # Errors
    /// [`ImageError::Tensors`], [`ImageError::Metadata`], [`ImageError::Engine`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let file = TensorFile::parse(bytes)?;
        let schema = file.meta("schema")?;
        if schema != SCHEMA {
            let found = schema.to_string();
            return Err(ImageError::Metadata { key: "schema", found, needed: SCHEMA });
        }
        file.verify_checksum()?;
        let number = |key: &'static str| -> Result<usize, ImageError> {
            let text = file.meta(key)?;
            let bad = || ImageError::Metadata {
                key,
                found: text.to_string(),
                needed: "a number from 1 to 4096",
            };
            let number = text.parse().ok().filter(|n| (1..=4096).contains(n));
            number.ok_or_else(bad)
        };
        let size = Grid {
            height: number("height")?,
            width: number("width")?,
            channels: number("channels")?,
        };
        let arch = ConvArch::generator(number("latent")?, size, number("base")?)?;
        let encoder = arch.mirrored("encoder", 2 * arch.input.values());
        let generator = read(&file, "", &arch)?;
        let vae = match file.meta("vae")? {
            "true" => Some((read(&file, VAE, &encoder)?, read(&file, VAE, &arch)?)),
            _ => None,
        };
        let own = ["schema", "latent", "height", "width", "channels", "base", "vae", "checksum"];
        let provenance = file.metadata().iter().filter(|(key, _)| !own.contains(&key.as_str()));
        let provenance = provenance.map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Self { generator, vae, provenance })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`ImageError::Io`].
    pub fn load(path: &Path) -> Result<Self, ImageError> {
        Self::parse(&std::fs::read(path).map_err(ImageError::io(path))?)
    }
}

/// As [`ImageModel::make`], of any generator.
///
/// # Errors
/// If there is not a whole number of codes.
pub fn made_by(generator: &ConvNet, codes: &[f32]) -> Result<Vec<u8>, ImageError> {
    let values = generator.frozen().forward(codes, &mut Scratch::default())?;
    // From [−1, 1]; the cast saturates.
    Ok(values.iter().map(|&v| ((v + 1.0) * 127.5).round() as u8).collect())
}

/// The network whose tensors have that prefix.
fn read(file: &TensorFile<'_>, prefix: &str, arch: &ConvArch) -> Result<ConvNet, ImageError> {
    let values = |layout: Layout| -> Result<Vec<f32>, ImageError> {
        let mut values = vec![];
        for t in &layout.tensors {
            values.extend(file.f32_of(&format!("{prefix}{}", t.name), &t.shape)?);
        }
        Ok(values)
    };
    Ok(ConvNet::with(arch.clone(), values(arch.layout())?, values(arch.stats_layout())?)?)
}
