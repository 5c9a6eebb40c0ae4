//! InfoGAIL's posterior on candle: the losses of `sog_engine::posterior`.

use candle_core::{D, Device, Result, Tensor};
use sog_engine::{
    adam::Adam,
    mlp::Part,
    net::Mlp,
    posterior::{CodeKind, LOG_STD_MAX, LOG_STD_MIN, PosteriorStep},
};

use super::{
    Told,
    adam::{DeviceAdam, SCALARS, minimise},
    data, input, lengths,
    mlp::CandleMlp,
    recorded::{Inputs, Places, Recorded},
    shapes, views,
};

/// ½ log 2π
const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;

/// A posterior network that is trained on a device.
pub struct DevicePosterior {
    kind: CodeKind,
    net: CandleMlp,
    adam: DeviceAdam,
    places: Places<Vec<[usize; 2]>, Place>,
}

/// A minibatch on the device, its codes, and what is said of the step.
struct Place {
    inputs: Inputs,
    x: Vec<Tensor>,
    codes: Tensor,
    scalars: Tensor,
    told: Told<2>,
    recorded: Recorded,
}

impl Place {
    fn new(shapes: &[[usize; 2]], codes: usize, device: &Device) -> Result<Self> {
        let rows = shapes.first().map_or(0, |shape| shape[0]);
        let mut all = lengths(shapes);
        all.extend([rows * codes, SCALARS]);
        let inputs = Inputs::new(&all, device)?;
        let parts = shapes.len();
        Ok(Self {
            x: views(&inputs, 0, shapes)?,
            codes: inputs.view(parts, (rows, codes))?,
            scalars: inputs.view(parts + 1, SCALARS)?,
            inputs,
            told: Told::new(device)?,
            recorded: Recorded::default(),
        })
    }
}

impl DevicePosterior {
    /// Goes on with a network and its optimiser on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &Mlp, adam: &Adam, kind: CodeKind, device: &Device) -> Result<Self> {
        let on_device = CandleMlp::new(net, device)?;
        let adam = DeviceAdam::new(adam, device)?;
        Ok(Self { kind, net: on_device, adam, places: Places::default() })
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

    /// One step on −1/n Σ log q(z|s,a), as the engine's.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    pub fn update(&mut self, lr: f32, x: &[Part<'_>], codes: &[f32]) -> Result<PosteriorStep> {
        let device = self.net.params.device().clone();
        let scalars = self.adam.scalars(lr, None);
        let shapes = shapes(x);
        let kind = self.kind;
        let place = self.places.of(shapes.clone(), || Place::new(&shapes, kind.len(), &device))?;
        let Place { inputs, x: views, codes: z, scalars: step, told, recorded } = place;
        let mut parts = data(x);
        parts.extend([codes, &scalars]);
        inputs.upload(&parts)?;
        let (net, adam) = (&self.net, &self.adam);
        recorded.run(&device, || {
            let y = net.forward(&input(views)?)?;
            let log_q = match kind {
                CodeKind::OneHot(_) => (candle_nn::ops::log_softmax(&y, D::Minus1)? * &*z)?,
                CodeKind::Gaussian(d) => gaussian(&y.narrow(1, 0, d)?, &y.narrow(1, d, d)?, z)?,
            };
            let loss = log_q.sum(D::Minus1)?.mean_all()?.neg()?;
            let norm = minimise(&[(&net.params, adam)], &loss.backward()?, step)?;
            told.tell([&loss, &norm])
        })?;
        let [loss, grad_norm] = told.read()?;
        Ok(PosteriorStep { loss, grad_norm })
    }
}

/// log N(z; μ, σ²) of each coordinate, `raw` being log σ before it is limited. Outside its range
/// log σ feels only what would bring it back.
fn gaussian(mean: &Tensor, raw: &Tensor, z: &Tensor) -> Result<Tensor> {
    let limited = raw.clamp(LOG_STD_MIN, LOG_STD_MAX)?.detach();
    let u = ((z - mean)? * limited.neg()?.exp()?)?;
    // dlog q/dlog σ = u² − 1: where it is positive, log σ wants to grow.
    let grows = u.sqr()?.detach().gt(1.0)?;
    let flag = |t: Tensor| t.to_dtype(candle_core::DType::F32);
    let grows = flag(grows)?;
    let outward = ((flag(raw.gt(f64::from(LOG_STD_MAX))?)? * &grows)?
        + (flag(raw.lt(f64::from(LOG_STD_MIN))?)? * grows.affine(-1.0, 1.0)?)?)?;
    // The limited value, with the derivative 1 with respect to `raw`, or 0 where it leads outward.
    let moving = (raw * outward.affine(-1.0, 1.0)?)?;
    let log_std = (&moving - moving.detach())?.add(&limited)?;
    let u = ((z - mean)? * log_std.neg()?.exp()?)?;
    (u.sqr()? * -0.5)? - (log_std + HALF_LOG_TAU)?
}
