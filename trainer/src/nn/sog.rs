//! SOG on candle: the code search and L_SOG of `sog_engine::sog_bc`, and the cloning update.

use std::ops::Range;

use candle_core::{D, DType, Device, Error, Result, Tensor};
use rand::Rng;
use sog_engine::{
    adam::Adam,
    net::PolicyNet,
    search::{Candidates, CodeSearch, Groups, LatentModel, Search},
    sog_bc::{Codes, SogBatch, SogStep},
};

use super::{
    adam::{DeviceAdam, SCALARS, minimise},
    policy::CandlePolicy,
    recorded::{Inputs, Places, Recorded},
    updates::{Heard, Member},
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

/// A minibatch of demonstrations on a device; of several policies ([`CandlePolicy::of`]) one for each, of the
/// same groups of rows.
pub struct Loaded {
    inputs: Inputs,
    /// The members below, which seldom change.
    of_groups: Inputs,
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
        let of_groups = Inputs::new(&[if per_row { 0 } else { groups * rows }], device)?;
        let shape = |width| net.params.shape(&[rows, width]);
        let (obs, actions) = (shape(arch.obs), shape(arch.action));
        let lengths = [&obs, &actions].map(|shape| shape.iter().product());
        let inputs = Inputs::new(&lengths, device)?;
        Ok(Self {
            obs: inputs.view(0, obs)?,
            actions: inputs.view(1, actions)?,
            members: (!per_row).then(|| of_groups.view(0, (groups, rows))).transpose()?,
            inputs,
            of_groups,
            group_of: vec![],
            groups,
            base: Tensor::zeros(shape(net.sum_width()), DType::F32, device)?,
            branch: Recorded::default(),
            searched: Places::default(),
        })
    }

    /// Brings minibatches there, one for each policy.
    ///
    /// # Errors
    /// If they are of another size, their rows are in different groups, or the device fails.
    pub fn load(&mut self, batches: &[SogBatch<'_>]) -> Result<()> {
        let rows = self.rows()?;
        for (i, batch) in batches.iter().enumerate() {
            let same = self.group_of.iter().copied().eq((0..rows).map(|row| batch.groups.of(row)));
            if !same && i > 0 {
                candle_core::bail!(
                    "minibatches of policies that are trained together differ in their groups"
                );
            }
            if !same {
                self.group_of = (0..rows).map(|row| batch.groups.of(row)).collect();
                if self.members.is_some() {
                    let mut members = vec![0.0f32; self.groups * rows];
                    let each = self.group_of.iter().enumerate();
                    each.for_each(|(row, g)| members[g * rows + row] = 1.0);
                    self.of_groups.upload(&[&members])?;
                }
            }
        }
        let obs: Vec<&[f32]> = batches.iter().map(|batch| batch.obs).collect();
        let actions: Vec<&[f32]> = batches.iter().map(|batch| batch.actions).collect();
        self.inputs.upload_pieces(&[&obs, &actions])
    }

    fn rows(&self) -> Result<usize> {
        self.actions.dim(D::Minus2)
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
            self.branch(net)?;
        }
        let mut model = Model { net, batch: self, error: None };
        search.run(&mut model, groups, plan, rng).map_err(Error::wrap)?;
        model.error.map_or(Ok(()), Err)
    }

    /// Brings the state branch up to date, which the search starts from.
    fn branch(&mut self, net: &CandlePolicy) -> Result<()> {
        let (obs, base) = (&self.obs, &self.base);
        self.branch
            .run(net.params.device(), || base.slice_set(&net.state_branch(obs)?.detach(), 0, 0))
    }

    /// L_SOG (each policy's) for each row's code `[rows, Z]`, a function of the parameters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn loss(&self, net: &CandlePolicy, codes: Option<&Tensor>) -> Result<Tensor> {
        self.loss_from(net, &net.state_branch(&self.obs)?, codes)
    }

    /// The same from the state branch `[rows, M]`.
    fn loss_from(
        &self,
        net: &CandlePolicy,
        state: &Tensor,
        codes: Option<&Tensor>,
    ) -> Result<Tensor> {
        let error = (net.mean_from(state, codes)? - &self.actions)?;
        error.sqr()?.sum(D::Minus1)?.mean(D::Minus1)
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
        let (rows, groups) = (self.rows()?, self.groups);
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
                sums: Tensor::zeros(net.params.shape(&[groups, count]), DType::F32, device)?,
                recorded: Recorded::default(),
            })
        })?;
        place.inputs.upload(&[values, &rest])?;
        let Searched { candidates, rest, sums, recorded, .. } = place;
        let batch =
            Rows { base: &self.base, actions: &self.actions, members: self.members.as_ref() };
        recorded.run(device, || {
            let found = batch.sums(net, candidates, block.clone(), rest.as_ref())?;
            sums.slice_set(&found, 0, 0)
        })?;
        sums.flatten_all()?.to_vec1()
    }

    /// The number of the code of smallest loss of each group `[groups]` and that code `[groups, K]`, from the
    /// state branch `[rows, M]`. Nothing leaves the device.
    ///
    /// # Errors
    /// If the device fails.
    fn best(
        &self,
        net: &CandlePolicy,
        state: &Tensor,
        constants: &Constants,
    ) -> Result<(Tensor, Tensor)> {
        let batch =
            Rows { base: &state.detach(), actions: &self.actions, members: self.members.as_ref() };
        let sums = batch.sums(net, &constants.one_hot, None, None)?;
        let number = sums.argmin(D::Minus1)?.to_dtype(DType::F32)?;
        let code = number.unsqueeze(D::Minus1)?.broadcast_eq(&constants.numbers)?;
        Ok((number, code.to_dtype(DType::F32)?))
    }

    /// The code of each row's group, of the groups' codes `[groups, Z]` on the device.
    ///
    /// # Errors
    /// If the device fails.
    fn of_rows(&self, net: &CandlePolicy, codes: &Tensor) -> Result<Tensor> {
        match &self.members {
            Some(members) => net.params.for_all(&members.t()?)?.matmul(codes),
            None => Ok(codes.clone()),
        }
    }
}

/// Rows on a device, whose losses a search asks for.
struct Rows<'a> {
    base: &'a Tensor,
    actions: &'a Tensor,
    members: Option<&'a Tensor>,
}

impl Rows<'_> {
    /// Sums of losses `[groups, candidates]` under candidates `[candidates, Z]`, the same for every policy,
    /// or under values of a block `[candidates, Δ]`, the rest of each row's code being `[rows, Z]`.
    fn sums(
        &self,
        net: &CandlePolicy,
        candidates: &Tensor,
        block: Option<Range<usize>>,
        rest: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (rows, count) = (self.actions.dim(D::Minus2)?, candidates.dim(0)?);
        let (action, width) = (net.arch().action, net.sum_width());
        let (weight, bias) = net.latent_branch()?;
        let (weight, bias) = (weight.detach(), bias.map(Tensor::detach));
        let columns = match block {
            None => weight.t()?,
            Some(block) => weight.narrow(D::Minus1, block.start, block.len())?.t()?.contiguous()?,
        };
        let deltas = net.params.for_all(candidates)?.matmul(&columns)?;
        let base = match rest {
            None => self.base.clone(),
            Some(rest) => (self.base + rest.matmul(&weight.t()?)?)?,
        };
        let base = bias.map_or(Ok(base.clone()), |bias| base.broadcast_add(&bias))?;
        let all = base.unsqueeze(D::Minus2)?.broadcast_add(&deltas.unsqueeze(D::Minus(3))?)?;
        let means = net.last(&all.reshape(net.params.shape(&[rows * count, width]))?)?.detach();
        let means = means.reshape(net.params.shape(&[rows, count, action]))?;
        let errors = means.broadcast_sub(&self.actions.unsqueeze(D::Minus2)?)?;
        let losses = errors.sqr()?.sum(D::Minus1)?;
        match self.members {
            Some(members) => net.params.for_all(members)?.matmul(&losses),
            None => Ok(losses),
        }
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

/// What never changes.
struct Constants {
    /// All codes `[K, K]`, here and there.
    codes: Vec<f32>,
    one_hot: Tensor,
    /// Their numbers `[K]`.
    numbers: Tensor,
}

impl Constants {
    fn new(codes: usize, device: &Device) -> Result<Self> {
        let mut all = vec![0.0f32; codes * codes];
        all.iter_mut().step_by(codes + 1).for_each(|z| *z = 1.0);
        let numbers: Vec<f32> = (0..codes).map(|k| k as f32).collect();
        Ok(Self {
            one_hot: Tensor::from_slice(&all, (codes, codes), device)?,
            numbers: Tensor::from_vec(numbers, codes, device)?,
            codes: all,
        })
    }
}

/// Sums of losses `[groups, K]` that have been found, as the search sees them.
struct Found<'a> {
    codes: usize,
    rows: usize,
    sums: &'a [f32],
}

impl LatentModel for Found<'_> {
    fn code_len(&self) -> usize {
        self.codes
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn losses(&mut self, _candidates: Candidates<'_>, _groups: Groups<'_>, sums: &mut [f64]) {
        sums.iter_mut().zip(self.sums).for_each(|(sum, &x)| *sum = x.into());
    }
}

/// Policies that are cloned on a device (Algorithm 2), one or several at once.
pub struct DeviceCloning {
    net: CandlePolicy,
    adam: DeviceAdam,
    search: Search,
    constants: Constants,
    places: Places<Sizes, Place>,
    /// Of the minibatches before.
    sizes: Option<Sizes>,
    /// What has been read back.
    heard: Vec<Heard>,
}

/// Updates of which the device remembers what is to be said, until it is read back.
const REMEMBERED: usize = 512;

/// Numbers of an update: loss and norm, and then each group's code.
const SAID: usize = 2;

/// Minibatches with their codes and what else a step needs.
struct Place {
    loaded: Loaded,
    inputs: Inputs,
    /// Codes `[groups, Z]` that were chosen elsewhere.
    codes: Option<Tensor>,
    scalars: Tensor,
    /// What is said of the last update, and of those before that have not been read back.
    said: Tensor,
    all_said: Tensor,
    unread: usize,
    /// A step with codes from elsewhere, and one that searches them.
    given: Recorded,
    searched: Recorded,
}

impl Place {
    fn new(net: &CandlePolicy, sizes: Sizes) -> Result<Self> {
        let (device, latent) = (net.params.device(), net.arch().latent);
        let codes = net.params.shape(&[sizes.groups, latent]);
        let inputs = Inputs::new(&[codes.iter().product(), SCALARS], device)?;
        let groups = if latent > 0 { sizes.groups } else { 0 };
        let width = net.params.shape(&[SAID + groups]).iter().product::<usize>();
        Ok(Self {
            loaded: Loaded::new(net, sizes)?,
            codes: (latent > 0).then(|| inputs.view(0, codes)).transpose()?,
            scalars: inputs.view(1, SCALARS)?,
            inputs,
            said: Tensor::zeros((1, width), DType::F32, device)?,
            all_said: Tensor::zeros((REMEMBERED, width), DType::F32, device)?,
            unread: 0,
            given: Recorded::default(),
            searched: Recorded::default(),
        })
    }

    /// A step of this size and bound on L_SOG, under the best codes or the `chosen` ones of each policy.
    fn step(
        &mut self,
        net: &CandlePolicy,
        adam: &mut DeviceAdam,
        constants: &Constants,
        (lr, max_grad_norm): (f32, Option<f32>),
        chosen: Option<&[&[f32]]>,
    ) -> Result<()> {
        let needed = self.loaded.groups * net.arch().latent;
        let mut lengths = chosen.unwrap_or_default().iter().map(|codes| codes.len());
        if let Some(found) = lengths.find(|&length| length != needed) {
            candle_core::bail!("codes of length {found}, need {needed}");
        }
        let scalars = adam.scalars(lr, max_grad_norm);
        self.inputs.upload_pieces(&[chosen.unwrap_or_default(), &[&scalars]])?;
        let Self { loaded, codes, scalars, said, all_said, unread, given, searched, .. } = self;
        let recorded = if chosen.is_some() { given } else { searched };
        recorded.run(net.params.device(), || {
            let state = net.state_branch(&loaded.obs)?;
            let of_groups = match (&*codes, chosen) {
                (None, _) => None,
                (Some(codes), Some(_)) => {
                    Some((codes.argmax(D::Minus1)?.to_dtype(DType::F32)?, codes.clone()))
                }
                (Some(_), None) => Some(loaded.best(net, &state, constants)?),
            };
            let of_rows = of_groups.as_ref().map(|(_, codes)| loaded.of_rows(net, codes));
            let loss = loaded.loss_from(net, &state, of_rows.transpose()?.as_ref())?;
            let norm = minimise(&[(&net.params, adam)], &loss.backward()?, scalars)?;
            let mut say = vec![loss.detach().unsqueeze(D::Minus1)?, norm];
            say.extend(of_groups.map(|(number, _)| number));
            said.slice_set(&Tensor::cat(&say, D::Minus1)?.reshape(said.shape())?, 0, 0)
        })?;
        all_said.slice_set(said, 0, *unread)?;
        *unread += 1;
        Ok(())
    }

    /// Reads back what is to be said of the updates that have not been, of so many policies.
    fn read(&mut self, policies: usize, heard: &mut Vec<Heard>) -> Result<()> {
        let unread = std::mem::take(&mut self.unread);
        if unread == 0 {
            return Ok(());
        }
        let all: Vec<f32> = self.all_said.narrow(0, 0, unread)?.flatten_all()?.to_vec1()?;
        heard.extend(all.chunks_exact(all.len() / (unread * policies)).map(|said| Heard {
            step: SogStep { loss: said[0], grad_norm: said[1] },
            codes: said[SAID..].iter().map(|&number| number as u32).collect(),
        }));
        Ok(())
    }
}

impl DeviceCloning {
    /// Goes on with policies of one shape and their optimisers on `device`.
    ///
    /// # Errors
    /// If they differ in more than their numbers or the device fails.
    pub fn new(members: &[Member<'_>], device: &Device) -> Result<Self> {
        let nets: Vec<&PolicyNet> = members.iter().map(|member| &*member.net).collect();
        let adams: Vec<&Adam> = members.iter().map(|member| &*member.adam).collect();
        let net = CandlePolicy::of(&nets, device)?;
        Ok(Self {
            constants: Constants::new(net.arch().latent, device)?,
            net,
            adam: DeviceAdam::of(&adams, device)?,
            search: Search::default(),
            places: Places::default(),
            sizes: None,
            heard: vec![],
        })
    }

    /// Goes on with other parameters of the same policies.
    ///
    /// # Errors
    /// If there are more or fewer, or the device fails.
    pub fn resume(&mut self, members: &[Member<'_>]) -> Result<()> {
        let params: Vec<&[f32]> = members.iter().map(|m| m.net.params.as_slice()).collect();
        let adams: Vec<&Adam> = members.iter().map(|member| &*member.adam).collect();
        self.net.params.set(&params.concat())?;
        self.adam.load_each(&adams)
    }

    /// Gives policies and optimisers back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store<'n>(
        &self,
        members: impl IntoIterator<Item = (&'n mut PolicyNet, &'n mut Adam)>,
    ) -> Result<()> {
        let members = members.into_iter().map(|(net, adam)| (&mut net.params, adam));
        self.adam.store_each(&self.net.params, members)
    }

    /// One update of each policy on its minibatch. The device is waited for only where codes are chosen
    /// on the processor: by more than the smallest loss, or among continuous ones.
    ///
    /// # Errors
    /// If a shape does not match, the search is empty or is one that several policies cannot do at once,
    /// or the device fails.
    pub fn update(&mut self, members: &mut [Member<'_>]) -> Result<()> {
        let Some(first) = members.first() else { return Ok(()) };
        let (latent, plan, chooses) = (self.net.arch().latent, first.plan, first.choose.is_some());
        let sizes = Sizes::of(&first.batch, self.net.arch().action);
        if self.sizes != Some(sizes) {
            self.read()?;
        }
        let place = self.places.of(sizes, || Place::new(&self.net, sizes))?;
        self.sizes = Some(sizes);
        let batches: Vec<SogBatch<'_>> = members.iter().map(|member| member.batch).collect();
        place.loaded.load(&batches)?;
        let mut chosen: Option<Vec<Vec<f32>>> = None;
        match plan.codes {
            Codes::Given(_) => {
                let given = |member: &Member<'_>| match member.plan.codes {
                    Codes::Given(codes) => Ok(codes.to_vec()),
                    Codes::Search(_) => candle_core::bail!("codes are given to some policies only"),
                };
                chosen = Some(members.iter().map(given).collect::<Result<_>>()?);
            }
            Codes::Search(CodeSearch::OneHot) if !chooses || latent == 0 => {}
            Codes::Search(CodeSearch::OneHot) => {
                let all = Candidates::Codes(&self.constants.codes);
                place.loaded.branch(&self.net)?;
                let sums = place.loaded.sums(&self.net, &all)?;
                let each = sums.chunks_exact(sums.len() / members.len());
                let mut codes = vec![];
                for (member, sums) in members.iter_mut().zip(each) {
                    let mut found = Found { codes: latent, rows: sizes.rows, sums };
                    let search = &mut self.search;
                    search
                        .run(&mut found, member.batch.groups, CodeSearch::OneHot, member.rng)
                        .map_err(Error::wrap)?;
                    let mut own = search.codes().to_vec();
                    if let Some(choose) = &mut member.choose {
                        choose(search.losses(), &mut own, member.rng);
                    }
                    codes.push(own);
                }
                chosen = Some(codes);
            }
            Codes::Search(search) => {
                let [member] = members else {
                    candle_core::bail!("continuous codes are searched for one policy at a time");
                };
                let (found, groups) = (&mut self.search, member.batch.groups);
                place.loaded.search(&self.net, groups, search, found, member.rng)?;
                chosen = Some(vec![found.codes().to_vec()]);
            }
        }
        let chosen: Option<Vec<&[f32]>> =
            chosen.as_ref().map(|each| each.iter().map(Vec::as_slice).collect());
        let step = (plan.lr, plan.max_grad_norm);
        place.step(&self.net, &mut self.adam, &self.constants, step, chosen.as_deref())?;
        if place.unread == REMEMBERED { self.read() } else { Ok(()) }
    }

    /// Reads back what is to be said of the updates that have not been.
    fn read(&mut self) -> Result<()> {
        let policies = self.net.params.networks();
        match self.sizes.as_ref().and_then(|sizes| self.places.get(sizes)) {
            Some(place) => place.read(policies, &mut self.heard),
            None => Ok(()),
        }
    }

    /// What there is to say of the updates since the last call, of each policy in turn.
    ///
    /// # Errors
    /// If the device fails.
    pub fn told(&mut self) -> Result<Vec<Heard>> {
        self.read()?;
        Ok(std::mem::take(&mut self.heard))
    }
}
