//! The engine's Adam over one flat tensor on a device.

use std::ops::Range;

use candle_core::{Result, Tensor};
use sog_engine::adam::{Adam, AdamConfig};

use super::Params;

/// Parameters with their moments, taken from the engine's vectors and given back to them.
pub struct DeviceAdam {
    config: AdamConfig,
    steps: u64,
    flat: Tensor,
    m: Tensor,
    v: Tensor,
}

impl DeviceAdam {
    /// Goes on where `adam` is, with the parameters `values` that `params` was made from.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(params: &Params, values: &[f32], adam: &Adam) -> Result<Self> {
        let tensor = |x: &[f32]| Tensor::from_slice(x, x.len(), params.device());
        Ok(Self {
            config: adam.config,
            steps: adam.steps,
            flat: tensor(values)?,
            m: tensor(&adam.m)?,
            v: tensor(&adam.v)?,
        })
    }

    /// One step of [`Adam::step`]'s formula with step size `lr`; the flat gradient is multiplied by
    /// the scalar tensor `scale` on the way, if there is one. `params` take the new values.
    ///
    /// # Errors
    /// If the lengths differ or the device fails.
    pub fn step(
        &mut self,
        params: &Params,
        gradient: &Tensor,
        lr: f32,
        scale: Option<&Tensor>,
    ) -> Result<()> {
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps } = self.config;
        let exponent = self.steps.min(i32::MAX as u64) as i32;
        let correction1 = 1.0 - f64::from(beta1).powi(exponent);
        let correction2 = 1.0 - f64::from(beta2).powi(exponent);
        let gradient = match scale {
            Some(scale) => gradient.broadcast_mul(scale)?,
            None => gradient.clone(),
        };
        let share = |beta: f32| f64::from(1.0 - beta);
        self.m = ((&self.m * f64::from(beta1))? + (&gradient * share(beta1))?)?;
        self.v = ((&self.v * f64::from(beta2))? + (gradient.sqr()? * share(beta2))?)?;
        let root = self.v.sqrt()?.affine((1.0 / correction2).sqrt(), eps.into())?;
        let change = ((&self.m * (f64::from(lr) / correction1))? / root)?;
        self.flat = (&self.flat - change)?;
        params.set_flat(&self.flat)
    }

    /// Brings the parameters in `range` of the flat vector back between `low` and `high`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn bound(
        &mut self,
        params: &Params,
        range: Range<usize>,
        low: f32,
        high: f32,
    ) -> Result<()> {
        let bounded = self.flat.narrow(0, range.start, range.len())?.clamp(low, high)?;
        self.flat = self.flat.slice_scatter0(&bounded, range.start)?;
        params.set_flat(&self.flat)
    }

    /// Gives parameters and moments back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, values: &mut Vec<f32>, adam: &mut Adam) -> Result<()> {
        *values = self.flat.to_vec1()?;
        adam.m = self.m.to_vec1()?;
        adam.v = self.v.to_vec1()?;
        adam.steps = self.steps;
        Ok(())
    }
}

/// Euclidean norm of the concatenation of flat gradients, a scalar.
///
/// # Errors
/// If the device fails.
pub fn global_norm(gradients: &[&Tensor]) -> Result<Tensor> {
    let squares = gradients.iter().map(|g| g.sqr()?.sum_all()).collect::<Result<Vec<Tensor>>>()?;
    Tensor::stack(&squares, 0)?.sum_all()?.sqrt()
}

/// The factor that brings a gradient of norm `norm` (a scalar) down to `max`; 1 if it is not above.
///
/// # Errors
/// If the device fails.
pub fn clip_scale(norm: &Tensor, max: f64) -> Result<Tensor> {
    ((norm + 1e-6)?.recip()? * max)?.minimum(1.0)
}
