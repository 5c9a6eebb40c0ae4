//! SOG-BC (Algorithm 2): search the code that explains a minibatch best, then step on its loss.
//!
//! L_SOG = 1/n Σᵢ ‖f_θ(sᵢ, z_g(i)) − aᵢ‖², with z_g the best code of row i's group. The gradient
//! takes the codes as given (the minimum over codes has the gradient of its winner).

use rand::Rng;

use crate::adam::{Adam, clip_scale, square_norm};
use crate::error::{EngineError, check_len};
use crate::factored::{Buffers, LoadedPolicy};
use crate::kernel::{PANEL, Row, panel_from_rows, panels};
use crate::net::{PolicyArch, PolicyNet};
use crate::policy::{PanelOutput, PolicyPass};
use crate::search::{CodeSearch, Groups, Search};
use crate::shard::{Parallelism, Target};
use crate::standby::Pace;

/// A minibatch of demonstrations.
#[derive(Debug, Clone, Copy)]
pub struct SogBatch<'a> {
    /// Normalised observations `[rows, S]`.
    pub obs: &'a [f32],
    /// Expert actions `[rows, A]`.
    pub actions: &'a [f32],
    /// Which rows share a code.
    pub groups: Groups<'a>,
}

/// The cloning part of training: search, loss, gradient. Owns its buffers; after the largest batch
/// has been seen, nothing allocates.
#[derive(Debug, Clone)]
pub struct SogBc {
    pass: PolicyPass,
    search: Search,
    factored: Buffers,
    /// Actions, feature-major `[panels][A]`.
    targets: Vec<Row>,
    /// Code of each row `[rows, Z]`.
    row_codes: Vec<f32>,
    grad: Vec<f32>,
    pace: Pace,
}

/// Where the codes of a minibatch come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Codes<'a> {
    /// The best of these under the present policy (Algorithm 2); with an unconditioned policy
    /// (Z = 0) nothing is searched.
    Search(CodeSearch),
    /// Given ones `[groups, Z]`.
    Given(&'a [f32]),
}

/// How one [`SogBc::update`] steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SogPlan<'a> {
    /// Where the codes come from.
    pub codes: Codes<'a>,
    /// Adam's step size.
    pub lr: f32,
    /// Bound on the norm of the gradient, if any.
    pub max_grad_norm: Option<f32>,
}

/// What one [`SogBc::update`] did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SogStep {
    /// L_SOG before the step.
    pub loss: f32,
    /// Norm of the gradient before clipping.
    pub grad_norm: f32,
}

impl SogBc {
    /// The same, worked on by the threads that `parallelism` says; results do not change.
    pub fn with_parallelism(self, parallelism: Parallelism) -> Self {
        Self { pass: self.pass.with_parallelism(parallelism), ..self }
    }

    /// Buffers for policies of shape `arch`.
    pub fn new(arch: &PolicyArch) -> Self {
        Self {
            pass: PolicyPass::new(arch),
            search: Search::default(),
            factored: Buffers::default(),
            targets: Vec::new(),
            row_codes: Vec::new(),
            grad: vec![0.0; arch.layout().len()],
            pace: Pace::default(),
        }
    }

    /// One full update (lines 4–8 of Algorithm 2): search, gradient, Adam.
    ///
    /// An unconditioned policy (Z = 0) skips the search: plain behaviour cloning.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn update(
        &mut self,
        net: &mut PolicyNet,
        adam: &mut Adam,
        plan: SogPlan<'_>,
        batch: SogBatch<'_>,
        rng: &mut (impl Rng + Send + ?Sized),
    ) -> Result<SogStep, EngineError> {
        self.update_choosing(net, adam, plan, batch, rng, |_, _, _| ())
    }

    /// [`SogBc::update`] with an assignment other than the plain minimum: behind the search, `choose`
    /// gets what it found, [`SogBc::losses`] and [`SogBc::codes`] `[groups, Z]`, and may replace the
    /// codes before the gradient takes them as given; it draws from the same generator.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn update_choosing<R: Rng + Send + ?Sized>(
        &mut self,
        net: &mut PolicyNet,
        adam: &mut Adam,
        plan: SogPlan<'_>,
        batch: SogBatch<'_>,
        rng: &mut R,
        choose: impl FnOnce(&[f32], &mut [f32], &mut R) + Send,
    ) -> Result<SogStep, EngineError> {
        let mut pace = std::mem::take(&mut self.pace);
        let result = self.pass.parallelism.update(&mut pace, || {
            match plan.codes {
                Codes::Search(search) => {
                    self.search(net, batch, search, rng)?;
                    choose(&self.search.losses, &mut self.search.codes, rng);
                }
                Codes::Given(codes) => {
                    self.load(net, batch)?;
                    self.set_codes(codes)?;
                }
            }
            let mut grad = std::mem::take(&mut self.grad);
            let result = self.step(net, adam, plan, batch.groups, &mut grad);
            self.grad = grad;
            result
        });
        self.pace = pace;
        result
    }

    fn step(
        &mut self,
        net: &mut PolicyNet,
        adam: &mut Adam,
        plan: SogPlan<'_>,
        groups: Groups<'_>,
        grad: &mut [f32],
    ) -> Result<SogStep, EngineError> {
        let loss = self.gradient_onto(net, groups, 1.0, Target::replace(grad))?;
        let parallelism = self.pass.parallelism;
        let norm = square_norm(parallelism, grad).sqrt();
        let scale = plan.max_grad_norm.map_or(1.0, |max| clip_scale(norm, max.into()));
        adam.step_with(parallelism, &mut net.params, grad, plan.lr, scale)?;
        Ok(SogStep { loss, grad_norm: norm as f32 })
    }

    /// Takes a batch: evaluates the state branch and keeps the actions. Needed before
    /// [`SogBc::set_codes`], [`SogBc::losses_of`] and [`SogBc::gradient`]; [`SogBc::search`] does
    /// it itself.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn load(&mut self, net: &PolicyNet, batch: SogBatch<'_>) -> Result<(), EngineError> {
        self.begin(net, batch)?;
        self.pass.load_shards(net, batch.obs);
        Ok(())
    }

    /// Takes a batch but for its state branch.
    fn begin(&mut self, net: &PolicyNet, batch: SogBatch<'_>) -> Result<(), EngineError> {
        self.pass.begin(net, batch.obs)?;
        let (rows, action) = (self.pass.rows(), self.pass.shape.arch.action);
        check_len("expert actions", batch.actions.len(), rows * action)?;
        batch.groups.check(rows)?;
        self.targets.resize(panels(rows) * action, Row::ZERO);
        for (actions, panel) in
            batch.actions.chunks(PANEL * action).zip(self.targets.chunks_exact_mut(action))
        {
            panel_from_rows(actions, action, panel);
        }
        Ok(())
    }

    /// Loads a batch and finds the best code of each group; see [`SogBc::codes`] and
    /// [`SogBc::losses`].
    ///
    /// # Errors
    /// If a shape does not match or the search is empty.
    pub fn search(
        &mut self,
        net: &PolicyNet,
        batch: SogBatch<'_>,
        search: CodeSearch,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<(), EngineError> {
        self.begin(net, batch)?;
        let mut model = LoadedPolicy {
            net,
            pass: &mut self.pass,
            unloaded: Some(batch.obs),
            targets: &self.targets,
            buffers: &mut self.factored,
        };
        let found = self.search.run(&mut model, batch.groups, search, rng);
        // If there was nothing to search.
        model.load();
        found
    }

    /// Mean losses of given codes `[candidates, Z]` on the loaded batch, per group
    /// `[groups, candidates]`: with [`Groups::Shared`] over a whole trajectory, its embedding is
    /// the code of the smallest.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn losses_of(
        &mut self,
        net: &PolicyNet,
        groups: Groups<'_>,
        codes: &[f32],
    ) -> Result<&[f32], EngineError> {
        self.pass.check_net(net)?;
        let mut model = LoadedPolicy {
            net,
            pass: &mut self.pass,
            unloaded: None,
            targets: &self.targets,
            buffers: &mut self.factored,
        };
        self.search.evaluate(&mut model, groups, codes)
    }

    /// Codes `[groups, Z]` of the last search (or as set).
    pub fn codes(&self) -> &[f32] {
        self.search.codes()
    }

    /// Mean losses of the last search: of every code, `[groups, K]`, when one-hot; of the winner,
    /// `[groups]`, when continuous. A group without rows has NaN.
    pub fn losses(&self) -> &[f32] {
        self.search.losses()
    }

    /// Replaces the codes `[groups, Z]` that [`SogBc::gradient`] takes as given, for assignments
    /// other than the plain minimum.
    ///
    /// # Errors
    /// If `codes` is not a whole number of codes.
    pub fn set_codes(&mut self, codes: &[f32]) -> Result<(), EngineError> {
        let latent = self.pass.shape.arch.latent;
        let count = codes.len().checked_div(latent).unwrap_or(0);
        check_len("codes", codes.len(), count * latent)?;
        self.search.codes.clear();
        self.search.codes.extend_from_slice(codes);
        Ok(())
    }

    /// L_SOG of the loaded batch with the present codes; adds `scale`·dL_SOG/dθ to `grad`.
    ///
    /// `scale` is λ_S when the loss is added to another's.
    ///
    /// # Errors
    /// If a shape does not match or no codes have been found or set for the loaded batch.
    pub fn gradient(
        &mut self,
        net: &PolicyNet,
        groups: Groups<'_>,
        scale: f32,
        grad: &mut [f32],
    ) -> Result<f32, EngineError> {
        self.gradient_onto(net, groups, scale, Target::add_to(grad))
    }

    /// [`SogBc::gradient`], to be added or not.
    pub(crate) fn gradient_onto(
        &mut self,
        net: &PolicyNet,
        groups: Groups<'_>,
        scale: f32,
        target: Target<'_>,
    ) -> Result<f32, EngineError> {
        self.pass.check_net(net)?;
        check_len("gradient", target.len(), net.params.len())?;
        let (rows, latent, action) =
            (self.pass.rows(), self.pass.shape.arch.latent, self.pass.shape.arch.action);
        groups.check(rows)?;
        let codes = self.search.codes();
        check_len("codes", codes.len(), groups.count(rows) * latent)?;
        self.row_codes.clear();
        for row in 0..rows {
            let g = groups.of(row);
            self.row_codes.extend_from_slice(&codes[g * latent..(g + 1) * latent]);
        }
        let targets = &self.targets;
        let factor = 2.0 * scale / rows as f32;
        let [total, ..] = self.pass.backward(net, &self.row_codes, target, |panel| {
            let from = panel.rows.start / PANEL * action;
            let sum = squared_error(panel, &targets[from..from + action], factor);
            [sum, 0.0, 0.0, 0.0, 0.0, 0.0]
        });
        Ok((total / rows as f64) as f32)
    }
}

/// Σ (mean − target)² over a panel; writes factor·(mean − target) as the gradient.
fn squared_error(panel: PanelOutput<'_>, targets: &[Row], factor: f32) -> f64 {
    let lanes = panel.rows.len();
    let mut total = 0.0;
    for ((mean, target), d) in panel.mean.iter().zip(targets).zip(panel.d_mean) {
        let mut sum = 0.0;
        for lane in 0..lanes {
            let error = mean.0[lane] - target.0[lane];
            sum += error * error;
            d.0[lane] = factor * error;
        }
        total += f64::from(sum);
    }
    total
}
