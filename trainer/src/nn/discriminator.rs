//! The discriminator's update on candle: the losses of `sog_engine::discriminator`.
//!
//! candle has no double backward. Behind piecewise linear layers the gradient of the logit with
//! respect to the input is a product of the weights with fixed masks,
//! ∇_x f = W₁ᵀ M₁ … W_Tᵀ M_T w; written out like that, the penalty is an ordinary function of the
//! weights.

use candle_core::{D, Device, Result, Tensor};
use sog_engine::{
    adam::Adam,
    discriminator::{DiscriminatorBatch, DiscriminatorConfig, DiscriminatorStats},
    net::Mlp,
};

use super::{
    adam::{DeviceAdam, clip_scale, global_norm},
    input,
    mlp::{CandleMlp, slopes},
    scalars,
};

/// A discriminator that is trained on a device.
pub struct DeviceDiscriminator {
    net: CandleMlp,
    adam: DeviceAdam,
}

impl DeviceDiscriminator {
    /// Goes on with a network and its optimiser on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &Mlp, adam: &Adam, device: &Device) -> Result<Self> {
        let on_device = CandleMlp::new(net, device)?;
        let adam = DeviceAdam::new(&on_device.params, &net.params, adam)?;
        Ok(Self { net: on_device, adam })
    }

    /// Gives network and optimiser back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, net: &mut Mlp, adam: &mut Adam) -> Result<()> {
        self.adam.store(&mut net.params, adam)
    }

    /// One update, as the engine's.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    pub fn update(
        &mut self,
        config: &DiscriminatorConfig,
        lr: f32,
        batch: DiscriminatorBatch<'_>,
    ) -> Result<DiscriminatorStats> {
        let params = &self.net.params;
        let device = params.device();
        let (expert, policy) = (input(batch.expert, device)?, input(batch.policy, device)?);
        let logits = self.net.forward(&Tensor::cat(&[&expert, &policy], 0)?)?.squeeze(1)?;
        let rows = logits.elem_count() / 2;
        let (of_expert, of_policy) = (logits.narrow(0, 0, rows)?, logits.narrow(0, rows, rows)?);
        let loss =
            (softplus(&of_expert.neg()?)?.mean_all()? + softplus(&of_policy)?.mean_all()?)?;
        let zero = Tensor::zeros((), candle_core::DType::F32, device)?;
        let (mut penalty, mut slope) = (zero.clone(), (&zero + f64::NAN)?);
        if config.penalty > 0.0 {
            let mix = Tensor::from_slice(batch.mix, (rows, 1), device)?;
            let mixed =
                (expert.broadcast_mul(&mix)? + policy.broadcast_mul(&mix.affine(-1.0, 1.0)?)?)?;
            let norms = self.input_gradient(&mixed)?.sqr()?.sum(D::Minus1)?.sqrt()?;
            penalty = ((&norms - 1.0)?.sqr()?.mean_all()? * f64::from(config.penalty))?;
            slope = norms.mean_all()?;
        }
        let gradient = params.gradient(&(&loss + &penalty)?)?;
        let norm = global_norm(&[&gradient])?;
        let scale = config.max_grad_norm.map(|max| clip_scale(&norm, max.into())).transpose()?;
        let share = |hits: Tensor| hits.to_dtype(candle_core::DType::F32)?.mean_all();
        let [
            loss,
            penalty,
            expert_logit,
            policy_logit,
            expert_accuracy,
            policy_accuracy,
            slope,
            grad_norm,
        ] = scalars([
            &loss,
            &penalty,
            &of_expert.mean_all()?,
            &of_policy.mean_all()?,
            &share(of_expert.gt(0.0)?)?,
            &share(of_policy.lt(0.0)?)?,
            &slope,
            &norm,
        ])?;
        self.adam.step(params, &gradient, lr, scale.as_ref())?;
        Ok(DiscriminatorStats {
            loss,
            penalty,
            expert_logit,
            policy_logit,
            expert_accuracy,
            policy_accuracy,
            slope,
            grad_norm,
        })
    }

    /// ∇_x f `[n, inputs]` at `x [n, inputs]`, a function of the weights.
    fn input_gradient(&self, x: &Tensor) -> Result<Tensor> {
        let params = &self.net.params;
        let weight = |name: &str| params.get(&format!("{name}.weight"));
        let (mut x, mut masks) = (x.clone(), vec![]);
        let layers = self.net.layers();
        let (last, hidden) = layers.split_last().ok_or_else(|| {
            candle_core::Error::Msg("the discriminator has no layers".to_string())
        })?;
        for layer in hidden {
            let z = params.linear(&layer.name, &x)?.detach();
            let mask = slopes(&z, layer.activation)?;
            x = match &mask {
                Some(mask) => (z * mask)?,
                None => z,
            };
            masks.push(mask);
        }
        let mut u = weight(&last.name)?.broadcast_as((x.dim(0)?, last.inputs))?.contiguous()?;
        for (layer, mask) in hidden.iter().zip(masks).rev() {
            if let Some(mask) = mask {
                u = (u * mask)?;
            }
            u = u.matmul(weight(&layer.name)?)?;
        }
        Ok(u)
    }
}

/// log(1 + exp x), for any x.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
