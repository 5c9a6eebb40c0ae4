//! Chains of dense layers on candle, over the engine's layout.

use candle_core::{DType, Device, Result, Tensor};
use sog_engine::net::{Activation, LayerSpec, Mlp};

use super::Params;

/// A network's parameters on a device.
pub struct CandleMlp {
    layers: Vec<LayerSpec>,
    /// The parameters.
    pub params: Params,
}

impl CandleMlp {
    /// The same network on `device`.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn new(net: &Mlp, device: &Device) -> Result<Self> {
        let params = Params::new(net.layout().clone(), &net.params, device)?;
        Ok(Self { layers: net.arch().layers(), params })
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[LayerSpec] {
        &self.layers
    }

    /// Outputs `[n, outputs]` of inputs `[n, inputs]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| {
            let z = self.params.linear(&layer.name, &x)?;
            match layer.activation {
                Activation::Tanh => z.tanh(),
                Activation::Elu => z.elu(1.0),
                Activation::ScaledTanh { scale } => z.tanh()? * f64::from(scale),
                piecewise => match slopes(&z, piecewise)? {
                    Some(slopes) => z * slopes,
                    None => Ok(z),
                },
            }
        })
    }
}

/// Derivative of a piecewise linear activation at `z`, as a constant; none where it is 1
/// everywhere.
pub(super) fn slopes(z: &Tensor, activation: Activation) -> Result<Option<Tensor>> {
    let below = match activation {
        Activation::Relu => 0.0,
        Activation::LeakyRelu { slope } => slope,
        Activation::Identity
        | Activation::Tanh
        | Activation::Elu
        | Activation::ScaledTanh { .. } => return Ok(None),
    };
    let one = Tensor::ones(z.shape(), DType::F32, z.device())?;
    let below = (&one * f64::from(below))?;
    z.gt(0.0)?.where_cond(&one, &below).map(Some)
}
