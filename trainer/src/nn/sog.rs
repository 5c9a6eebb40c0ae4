//! SOG on candle: the code search and L_SOG of `sog_engine::sog_bc`, and the cloning update.

use std::ops::Range;

use candle_core::{D, DType, Device, Error, Result, Tensor};
use rand::Rng;
use sog_engine::{
    adam::Adam,
    net::PolicyNet,
    search::{Candidates, CodeSearch, Groups, LatentModel, Search},
    sog_bc::{SogBatch, SogStep},
};

use super::{
    Told,
    adam::{DeviceAdam, SCALARS, minimise},
    mean_squared_distance,
    policy::CandlePolicy,
    recorded::{Inputs, Places, Recorded},
};

/// Sizes of a minibatch of demonstrations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    rows: usize,
    groups: usize,
    /// Whether each row is a group of its own, in its order.
    per_row: bool,
}

impl Sizes {
    /// Those of a minibatch of a policy with actions of size `action`.
    pub fn of(batch: &SogBatch<'_>, action: usize) -> Self {
        let rows = batch.actions.len() / action;
        let per_row = matches!(batch.groups, Groups::PerRow);
        Self { rows, groups: batch.groups.count(rows), per_row }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// A minibatch of demonstrations on a device.
pub struct Loaded {
    inputs: Inputs,
    /// Normalised observations `[rows, S]`.
    obs: Tensor,
    /// Actions `[rows, A]`.
    actions: Tensor,
    /// 1 where row i belongs to group g `[groups, rows]`; none where each row is its own.
    members: Option<Tensor>,
    /// Group of each row.
    group_of: Vec<usize>,
    groups: usize,
    /// What the search starts from: the state branch `[rows, M]`.
    base: Tensor,
    branch: Recorded,
    searched: Places<Asked, Searched>,
}

/// What losses a search asks for: of so many candidates, which replace a block of the codes or are codes.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    block: Option<Range<usize>>,
    count: usize,
}

struct Searched {
    inputs: Inputs,
    /// Candidates `[count, Z]`, or values of a block.
    candidates: Tensor,
    /// What is left of each row's code without the block `[rows, Z]`.
    rest: Option<Tensor>,
    /// Sums of losses `[groups, count]`.
    sums: Tensor,
    recorded: Recorded,
}

impl Loaded {
    /// Room for a minibatch of this size.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &CandlePolicy, sizes: Sizes) -> Result<Self> {
        let (arch, device) = (net.arch(), net.params.device());
        let Sizes { rows, groups, per_row } = sizes;
        let of_members = if per_row { 0 } else { groups * rows };
        let inputs = Inputs::new(&[rows * arch.obs, rows * arch.action, of_members], device)?;
        Ok(Self {
            obs: inputs.view(0, (rows, arch.obs))?,
            actions: inputs.view(1, (rows, arch.action))?,
            members: (!per_row).then(|| inputs.view(2, (groups, rows))).transpose()?,
            inputs,
            group_of: vec![],
            groups,
            base: Tensor::zeros((rows, net.sum_width()), DType::F32, device)?,
            branch: Recorded::default(),
            searched: Places::default(),
        })
    }

    /// Brings a minibatch there.
    ///
    /// # Errors
    /// If it is of another size or the device fails.
    pub fn load(&mut self, batch: SogBatch<'_>) -> Result<()> {
        let rows = self.actions.dim(0)?;
        self.group_of.clear();
        self.group_of.extend((0..rows).map(|row| batch.groups.of(row)));
        let mut members = vec![];
        if self.members.is_some() {
            members.resize(self.groups * rows, 0.0f32);
            let each = self.group_of.iter().enumerate();
            each.for_each(|(row, g)| members[g * rows + row] = 1.0);
        }
        self.inputs.upload(&[batch.obs, batch.actions, &members])
    }

    /// Finds the best code of each group; see [`Search::codes`] and [`Search::losses`].
    ///
    /// # Errors
    /// If the search is empty or the device fails.
    pub fn search(
        &mut self,
        net: &CandlePolicy,
        groups: Groups<'_>,
        plan: CodeSearch,
        search: &mut Search,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<()> {
        if net.arch().latent > 0 {
            let (obs, base) = (&self.obs, &self.base);
            self.branch.run(net.params.device(), || {
                base.slice_set(&net.state_branch(obs)?.detach(), 0, 0)
            })?;
        }
        let mut model = Model { net, batch: self, error: None };
        search.run(&mut model, groups, plan, rng).map_err(Error::wrap)?;
        model.error.map_or(Ok(()), Err)
    }

    /// L_SOG for each row's code `[rows, Z]`, a function of the parameters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn loss(&self, net: &CandlePolicy, codes: Option<&Tensor>) -> Result<Tensor> {
        mean_squared_distance(&net.mean(&self.obs, codes)?, &self.actions)
    }

    /// The code of each row's group `[rows, Z]`, of the groups' codes `[groups, Z]`.
    ///
    /// # Errors
    /// If there are not as many codes as groups.
    pub fn row_codes(&self, latent: usize, codes: &[f32]) -> Result<Vec<f32>> {
        let needed = self.groups * latent;
        if codes.len() != needed {
            candle_core::bail!("codes of length {}, need {needed}", codes.len());
        }
        let of = |&g: &usize| &codes[g * latent..(g + 1) * latent];
        Ok(self.group_of.iter().flat_map(of).copied().collect())
    }

    /// Sums of losses `[groups, candidates]`.
    fn sums(&mut self, net: &CandlePolicy, candidates: &Candidates<'_>) -> Result<Vec<f32>> {
        let (arch, device) = (net.arch(), net.params.device());
        let (rows, groups) = (self.obs.dim(0)?, self.groups);
        let (block, values, rest) = match candidates {
            Candidates::Codes(codes) => (None, *codes, vec![]),
            Candidates::Block { codes, block, values, keep } => {
                let mut rest = codes.to_vec();
                for code in rest.chunks_exact_mut(arch.latent) {
                    code[block.clone()].iter_mut().for_each(|z| *z *= *keep);
                }
                (Some(block.clone()), *values, self.row_codes(arch.latent, &rest)?)
            }
        };
        let width = block.as_ref().map_or(arch.latent, ExactSizeIterator::len);
        let count = values.len() / width.max(1);
        let asked = Asked { block: block.clone(), count };
        let place = self.searched.of(asked, || {
            let inputs = Inputs::new(&[values.len(), rest.len()], device)?;
            Ok(Searched {
                candidates: inputs.view(0, (count, width))?,
                rest: block.is_some().then(|| inputs.view(1, (rows, arch.latent))).transpose()?,
                inputs,
                sums: Tensor::zeros((groups, count), DType::F32, device)?,
                recorded: Recorded::default(),
            })
        })?;
        place.inputs.upload(&[values, &rest])?;
        let Searched { candidates, rest, sums, recorded, .. } = place;
        let (base, actions, members) = (&self.base, &self.actions, &self.members);
        recorded.run(device, || {
            let (weight, bias) = net.latent_branch()?;
            let (weight, bias) = (weight.detach(), bias.map(Tensor::detach));
            let deltas = match &block {
                None => candidates.matmul(&weight.t()?)?,
                Some(block) => {
                    let columns = weight.narrow(1, block.start, block.len())?;
                    candidates.matmul(&columns.t()?.contiguous()?)?
                }
            };
            let base = match rest {
                None => base.clone(),
                Some(rest) => (base + rest.matmul(&weight.t()?)?)?,
            };
            let base = bias.map_or(Ok(base.clone()), |bias| base.broadcast_add(&bias))?;
            let all = base.unsqueeze(1)?.broadcast_add(&deltas.unsqueeze(0)?)?;
            let means = net.last(&all.reshape((rows * count, net.sum_width()))?)?.detach();
            let means = means.reshape((rows, count, arch.action))?;
            let errors = means.broadcast_sub(&actions.unsqueeze(1)?)?;
            let losses = errors.sqr()?.sum(D::Minus1)?;
            match members {
                Some(members) => sums.slice_set(&members.matmul(&losses)?, 0, 0),
                None => sums.slice_set(&losses, 0, 0),
            }
        })?;
        sums.flatten_all()?.to_vec1()
    }
}

/// A loaded minibatch as the search sees it.
struct Model<'a> {
    net: &'a CandlePolicy,
    batch: &'a mut Loaded,
    /// What the device said; the search itself knows no errors.
    error: Option<Error>,
}

impl LatentModel for Model<'_> {
    fn code_len(&self) -> usize {
        self.net.arch().latent
    }

    fn rows(&self) -> usize {
        self.batch.group_of.len()
    }

    fn losses(&mut self, candidates: Candidates<'_>, _groups: Groups<'_>, sums: &mut [f64]) {
        match self.batch.sums(self.net, &candidates) {
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
    places: Places<Sizes, Place>,
    /// Of the minibatch that is loaded.
    sizes: Option<Sizes>,
}

/// A minibatch with the codes and what else a step needs.
struct Place {
    loaded: Loaded,
    inputs: Inputs,
    codes: Option<Tensor>,
    scalars: Tensor,
    told: Told<2>,
    recorded: Recorded,
}

impl Place {
    fn new(net: &CandlePolicy, sizes: Sizes) -> Result<Self> {
        let (device, latent) = (net.params.device(), net.arch().latent);
        let inputs = Inputs::new(&[sizes.rows * latent, SCALARS], device)?;
        Ok(Self {
            loaded: Loaded::new(net, sizes)?,
            codes: (latent > 0).then(|| inputs.view(0, (sizes.rows, latent))).transpose()?,
            scalars: inputs.view(1, SCALARS)?,
            inputs,
            told: Told::new(device)?,
            recorded: Recorded::default(),
        })
    }
}

impl DeviceCloning {
    /// Goes on with a policy and its optimiser on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &PolicyNet, adam: &Adam, device: &Device) -> Result<Self> {
        Ok(Self {
            net: CandlePolicy::new(net, device)?,
            adam: DeviceAdam::new(adam, device)?,
            search: Search::default(),
            codes: vec![],
            places: Places::default(),
            sizes: None,
        })
    }

    /// Goes on with other parameters of the same policy.
    ///
    /// # Errors
    /// If there are more or fewer, or the device fails.
    pub fn resume(&mut self, net: &PolicyNet, adam: &Adam) -> Result<()> {
        self.net.params.set(&net.params)?;
        self.adam.load(adam)
    }

    /// Gives policy and optimiser back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, net: &mut PolicyNet, adam: &mut Adam) -> Result<()> {
        self.adam.store(&self.net.params, &mut net.params, adam)
    }

    /// Loads a minibatch.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    pub fn load(&mut self, batch: SogBatch<'_>) -> Result<()> {
        let sizes = Sizes::of(&batch, self.net.arch().action);
        let place = self.places.of(sizes, || Place::new(&self.net, sizes))?;
        self.sizes = Some(sizes);
        place.loaded.load(batch)
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
        self.load(batch)?;
        if let Some(place) = self.sizes.as_ref().and_then(|sizes| self.places.get(sizes)) {
            place.loaded.search(&self.net, batch.groups, plan, &mut self.search, rng)?;
        }
        self.codes = self.search.codes().to_vec();
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
        let Some(place) = self.sizes.as_ref().and_then(|sizes| self.places.get(sizes)) else {
            candle_core::bail!("no minibatch has been loaded");
        };
        let scalars = self.adam.scalars(lr, max_grad_norm);
        let row_codes = place.loaded.row_codes(self.net.arch().latent, &self.codes)?;
        place.inputs.upload(&[&row_codes, &scalars])?;
        let Place { loaded, codes, scalars, told, recorded, .. } = place;
        let (net, adam) = (&self.net, &self.adam);
        recorded.run(net.params.device(), || {
            let loss = loaded.loss(net, codes.as_ref())?;
            let norm = minimise(&[(&net.params, adam)], &loss.backward()?, scalars)?;
            told.tell([&loss, &norm])
        })?;
        let [loss, grad_norm] = told.read()?;
        Ok(SogStep { loss, grad_norm })
    }
}
