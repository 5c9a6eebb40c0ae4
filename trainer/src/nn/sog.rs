//! SOG on candle: the code search and L_SOG of `sog_engine::sog_bc`, and the cloning update.

use candle_core::{D, Device, Error, Result, Tensor};
use rand::Rng;
use sog_engine::{
    adam::Adam,
    net::PolicyNet,
    search::{Candidates, CodeSearch, Groups, LatentModel, Search},
    sog_bc::{SogBatch, SogStep},
};

use super::{
    adam::{DeviceAdam, clip_scale, global_norm},
    mean_squared_distance,
    policy::CandlePolicy,
    scalars,
};

/// A minibatch of demonstrations on a device, its state branch evaluated.
pub struct Loaded {
    /// State branch `[rows, M]`, a function of the parameters.
    base: Tensor,
    /// Actions `[rows, A]`.
    actions: Tensor,
    /// 1 where row i belongs to group g `[groups, rows]`.
    members: Tensor,
    /// Group of each row.
    group_of: Vec<usize>,
}

impl Loaded {
    /// Loads a minibatch.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    pub fn new(net: &CandlePolicy, batch: SogBatch<'_>) -> Result<Self> {
        let (arch, device) = (net.arch(), net.params.device());
        let rows = batch.actions.len() / arch.action;
        let obs = Tensor::from_slice(batch.obs, (rows, arch.obs), device)?;
        let group_of: Vec<usize> = (0..rows).map(|row| batch.groups.of(row)).collect();
        let groups = batch.groups.count(rows);
        let mut members = vec![0.0f32; groups * rows];
        group_of.iter().enumerate().for_each(|(row, g)| members[g * rows + row] = 1.0);
        Ok(Self {
            base: net.state_branch(&obs)?,
            actions: Tensor::from_slice(batch.actions, (rows, arch.action), device)?,
            members: Tensor::from_vec(members, (groups, rows), device)?,
            group_of,
        })
    }

    /// Finds the best code of each group; see [`Search::codes`] and [`Search::losses`].
    ///
    /// # Errors
    /// If the search is empty or the device fails.
    pub fn search(
        &self,
        net: &CandlePolicy,
        groups: Groups<'_>,
        plan: CodeSearch,
        search: &mut Search,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<()> {
        let mut model = Model { net, batch: self, base: self.base.detach(), error: None };
        search.run(&mut model, groups, plan, rng).map_err(Error::wrap)?;
        model.error.map_or(Ok(()), Err)
    }

    /// L_SOG for the codes `[groups, Z]`, a function of the parameters.
    ///
    /// # Errors
    /// If there are not as many codes as groups or the device fails.
    pub fn loss(&self, net: &CandlePolicy, codes: &[f32]) -> Result<Tensor> {
        let z = net.arch().latent;
        let codes = (z > 0).then(|| self.row_codes(net, codes)).transpose()?;
        mean_squared_distance(&net.mean_from(&self.base, codes.as_ref())?, &self.actions)
    }

    /// The code of each row's group `[rows, Z]`.
    fn row_codes(&self, net: &CandlePolicy, codes: &[f32]) -> Result<Tensor> {
        let z = net.arch().latent;
        let needed = self.members.dim(0)? * z;
        if codes.len() != needed {
            return Err(Error::Msg(format!("codes of length {}, need {needed}", codes.len())));
        }
        let rows = self.group_of.iter().flat_map(|g| &codes[g * z..(g + 1) * z]).copied();
        Tensor::from_vec(rows.collect(), (self.group_of.len(), z), net.params.device())
    }
}

/// A loaded minibatch as the search sees it.
struct Model<'a> {
    net: &'a CandlePolicy,
    batch: &'a Loaded,
    /// As the minibatch's, a constant.
    base: Tensor,
    /// What the device said; the search itself knows no errors.
    error: Option<Error>,
}

impl Model<'_> {
    /// Sums of losses `[groups, candidates]`.
    fn sums(&self, candidates: &Candidates<'_>) -> Result<Vec<f32>> {
        let (net, arch, device) = (self.net, self.net.arch(), self.net.params.device());
        let (weight, bias) = net.latent_branch()?;
        let (weight, bias) = (weight.detach(), bias.map(Tensor::detach));
        let (base, deltas) = match candidates {
            Candidates::Codes(codes) => {
                let count = codes.len() / arch.latent;
                let codes = Tensor::from_slice(codes, (count, arch.latent), device)?;
                (self.base.clone(), codes.matmul(&weight.t()?)?)
            }
            Candidates::Block { codes, block, values, keep } => {
                let mut rest = codes.to_vec();
                for code in rest.chunks_exact_mut(arch.latent) {
                    code[block.clone()].iter_mut().for_each(|z| *z *= *keep);
                }
                let rest = self.batch.row_codes(net, &rest)?;
                let shape = (values.len() / block.len(), block.len());
                let values = Tensor::from_slice(values, shape, device)?;
                let columns = weight.narrow(1, block.start, block.len())?;
                let base = (&self.base + rest.matmul(&weight.t()?)?)?;
                (base, values.matmul(&columns.t()?.contiguous()?)?)
            }
        };
        let (rows, count) = (base.dim(0)?, deltas.dim(0)?);
        let base = bias.map_or(Ok(base.clone()), |bias| base.broadcast_add(&bias))?.unsqueeze(1)?;
        let sums = base.broadcast_add(&deltas.unsqueeze(0)?)?;
        let means = net.last(&sums.reshape((rows * count, net.sum_width()))?)?.detach();
        let means = means.reshape((rows, count, arch.action))?;
        let errors = means.broadcast_sub(&self.batch.actions.unsqueeze(1)?)?;
        let losses = errors.sqr()?.sum(D::Minus1)?;
        self.batch.members.matmul(&losses)?.flatten_all()?.to_vec1()
    }
}

impl LatentModel for Model<'_> {
    fn code_len(&self) -> usize {
        self.net.arch().latent
    }

    fn rows(&self) -> usize {
        self.batch.group_of.len()
    }

    fn losses(&mut self, candidates: Candidates<'_>, _groups: Groups<'_>, sums: &mut [f64]) {
        match self.sums(&candidates) {
            Ok(found) => sums.iter_mut().zip(found).for_each(|(sum, x)| *sum = x.into()),
            Err(error) => {
                sums.fill(f64::NAN);
                self.error = Some(error);
            }
        }
    }
}

/// A policy that is cloned on a device (Algorithm 2).
pub struct DeviceCloning {
    net: CandlePolicy,
    adam: DeviceAdam,
    search: Search,
    codes: Vec<f32>,
    loaded: Option<Loaded>,
}

impl DeviceCloning {
    /// Goes on with a policy and its optimiser on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &PolicyNet, adam: &Adam, device: &Device) -> Result<Self> {
        let on_device = CandlePolicy::new(net, device)?;
        let adam = DeviceAdam::new(&on_device.params, &net.params, adam)?;
        Ok(Self { net: on_device, adam, search: Search::default(), codes: vec![], loaded: None })
    }

    /// Gives policy and optimiser back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, net: &mut PolicyNet, adam: &mut Adam) -> Result<()> {
        self.adam.store(&mut net.params, adam)
    }

    /// Loads a minibatch.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    pub fn load(&mut self, batch: SogBatch<'_>) -> Result<()> {
        self.loaded = Some(Loaded::new(&self.net, batch)?);
        Ok(())
    }

    /// Loads a minibatch and finds the best code of each group.
    ///
    /// # Errors
    /// If a shape does not match, the search is empty or the device fails.
    pub fn search(
        &mut self,
        batch: SogBatch<'_>,
        plan: CodeSearch,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<()> {
        let loaded = Loaded::new(&self.net, batch)?;
        loaded.search(&self.net, batch.groups, plan, &mut self.search, rng)?;
        self.codes = self.search.codes().to_vec();
        self.loaded = Some(loaded);
        Ok(())
    }

    /// Codes `[groups, Z]` found or set.
    pub fn codes(&self) -> &[f32] {
        &self.codes
    }

    /// Mean losses of the last search, as [`Search::losses`], and the codes, to be replaced.
    pub fn losses_and_codes(&mut self) -> (&[f32], &mut [f32]) {
        (self.search.losses(), &mut self.codes)
    }

    /// Replaces the codes `[groups, Z]`.
    pub fn set_codes(&mut self, codes: &[f32]) {
        self.codes = codes.to_vec();
    }

    /// A step on L_SOG of the loaded minibatch, its codes taken as given.
    ///
    /// # Errors
    /// If nothing is loaded or the device fails.
    pub fn step(&mut self, lr: f32, max_grad_norm: Option<f32>) -> Result<SogStep> {
        let Some(loaded) = &self.loaded else {
            return Err(Error::Msg("no minibatch has been loaded".to_string()));
        };
        let loss = loaded.loss(&self.net, &self.codes)?;
        let gradient = self.net.params.gradient(&loss)?;
        let norm = global_norm(&[&gradient])?;
        let scale = max_grad_norm.map(|max| clip_scale(&norm, max.into())).transpose()?;
        let [loss, grad_norm] = scalars([&loss, &norm])?;
        self.adam.step(&self.net.params, &gradient, lr, scale.as_ref())?;
        Ok(SogStep { loss, grad_norm })
    }
}
