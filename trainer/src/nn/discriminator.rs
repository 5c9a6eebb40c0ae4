//! The discriminator's update on candle: the losses of `sog_engine::discriminator`.
//!
//! candle has no double backward. Behind piecewise linear layers the gradient of the logit with
//! respect to the input is a product of the weights with fixed masks,
//! ∇_x f = W₁ᵀ M₁ … W_Tᵀ M_T w; written out like that, the penalty is an ordinary function of the
//! weights.

use candle_core::{D, DType, Device, Result, Tensor};
use sog_engine::{
    adam::Adam,
    discriminator::{DiscriminatorBatch, DiscriminatorConfig, DiscriminatorStats},
    net::Mlp,
};

use super::{
    Told,
    adam::{DeviceAdam, SCALARS, minimise},
    data, input, lengths,
    mlp::{CandleMlp, slopes},
    recorded::{Inputs, Places, Recorded},
    shapes, views,
};

/// A discriminator that is trained on a device.
pub struct DeviceDiscriminator {
    net: CandleMlp,
    adam: DeviceAdam,
    places: Places<(Vec<[usize; 2]>, f32), Place>,
}

/// A minibatch on the device, and what is said of the step.
struct Place {
    inputs: Inputs,
    expert: Vec<Tensor>,
    policy: Vec<Tensor>,
    mix: Tensor,
    scalars: Tensor,
    told: Told<8>,
    recorded: Recorded,
}

impl Place {
    /// For as many rows of the expert as of the policy, in blocks of these shapes.
    fn new(shapes: &[[usize; 2]], device: &Device) -> Result<Self> {
        let rows = shapes.first().map_or(0, |shape| shape[0]);
        let each = lengths(shapes);
        let all = [&each[..], &each, &[rows, SCALARS]].concat();
        let inputs = Inputs::new(&all, device)?;
        let blocks = shapes.len();
        Ok(Self {
            expert: views(&inputs, 0, shapes)?,
            policy: views(&inputs, blocks, shapes)?,
            mix: inputs.view(2 * blocks, (rows, 1))?,
            scalars: inputs.view(2 * blocks + 1, SCALARS)?,
            inputs,
            told: Told::new(device)?,
            recorded: Recorded::default(),
        })
    }
}

impl DeviceDiscriminator {
    /// Goes on with a network and its optimiser on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &Mlp, adam: &Adam, device: &Device) -> Result<Self> {
        let on_device = CandleMlp::new(net, device)?;
        let adam = DeviceAdam::new(adam, device)?;
        Ok(Self { net: on_device, adam, places: Places::default() })
    }

    /// Goes on with other parameters of the same network.
    ///
    /// # Errors
    /// If there are more or fewer, or the device fails.
    pub fn load(&mut self, net: &Mlp, adam: &Adam) -> Result<()> {
        self.net.params.set(&net.params)?;
        self.adam.load(adam)
    }

    /// Gives network and optimiser back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, net: &mut Mlp, adam: &mut Adam) -> Result<()> {
        self.adam.store(&self.net.params, &mut net.params, adam)
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
        let device = self.net.params.device().clone();
        let scalars = self.adam.scalars(lr, config.max_grad_norm);
        let shapes = shapes(batch.expert);
        let key = (shapes.clone(), config.penalty);
        let place = self.places.of(key, || Place::new(&shapes, &device))?;
        let Place { inputs, expert, policy, mix, scalars: step, told, recorded } = place;
        let mut parts = data(batch.expert);
        parts.extend(data(batch.policy));
        // None where there is no penalty.
        parts.extend([batch.mix, &scalars]);
        inputs.upload(&parts)?;
        let (net, adam) = (&self.net, &self.adam);
        recorded.run(&device, || {
            let (expert, policy) = (input(expert)?, input(policy)?);
            let (loss, of) = losses(net, &expert, &policy, mix, config.penalty)?;
            let norm = minimise(&[(&net.params, adam)], &loss.backward()?, step)?;
            let [a, b, c, d, e, f, g] = &of;
            told.tell([a, b, c, d, e, f, g, &norm])
        })?;
        let [
            loss,
            penalty,
            expert_logit,
            policy_logit,
            expert_accuracy,
            policy_accuracy,
            slope,
            grad_norm,
        ] = told.read()?;
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
}

/// The loss with its penalty; and loss, penalty, mean logits of expert and policy, their shares on the right
/// side, and mean slope, each a scalar.
fn losses(
    net: &CandleMlp,
    expert: &Tensor,
    policy: &Tensor,
    mix: &Tensor,
    penalty: f32,
) -> Result<(Tensor, [Tensor; 7])> {
    let logits = net.forward(&Tensor::cat(&[expert, policy], 0)?)?.squeeze(1)?;
    let rows = logits.elem_count() / 2;
    let (of_expert, of_policy) = (logits.narrow(0, 0, rows)?, logits.narrow(0, rows, rows)?);
    let loss = (softplus(&of_expert.neg()?)?.mean_all()? + softplus(&of_policy)?.mean_all()?)?;
    let zero = Tensor::zeros((), DType::F32, expert.device())?;
    let (mut all, mut added, mut slope) = (loss.clone(), zero.clone(), (&zero + f64::NAN)?);
    if penalty > 0.0 {
        let mixed =
            (expert.broadcast_mul(mix)? + policy.broadcast_mul(&mix.affine(-1.0, 1.0)?)?)?;
        let norms = input_gradient(net, &mixed)?.sqr()?.sum(D::Minus1)?.sqrt()?;
        added = ((&norms - 1.0)?.sqr()?.mean_all()? * f64::from(penalty))?;
        slope = norms.mean_all()?;
        all = (&loss + &added)?;
    }
    let share = |hits: Tensor| hits.to_dtype(DType::F32)?.mean_all();
    let (expert_share, policy_share) = (share(of_expert.gt(0.0)?)?, share(of_policy.lt(0.0)?)?);
    let (expert_logit, policy_logit) = (of_expert.mean_all()?, of_policy.mean_all()?);
    let of = [loss, added, expert_logit, policy_logit, expert_share, policy_share, slope];
    Ok((all, of))
}

/// ∇_x f `[n, inputs]` at `x [n, inputs]`, a function of the weights.
fn input_gradient(net: &CandleMlp, x: &Tensor) -> Result<Tensor> {
    let params = &net.params;
    let weight = |name: &str| params.get(&format!("{name}.weight"));
    let (mut x, mut masks) = (x.clone(), vec![]);
    let layers = net.layers();
    let (last, hidden) = layers
        .split_last()
        .ok_or_else(|| candle_core::Error::Msg("the discriminator has no layers".to_string()))?;
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

/// log(1 + exp x), for any x.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
